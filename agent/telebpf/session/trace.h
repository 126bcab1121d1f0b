/*
 * A forwarded call in words, as strace(1) prints it: for `yagura run --trace`. Objects of the guest are shown by their
 * handles, "#7", since descriptors are the application's own affair.
 */
#pragma once

#include <stdint.h>

#include "lib/wire/call.h"

#define YGR_TRACE_MAX 1024 /* bytes of a line; what is longer ends with "..." */

/*
 * PLAN as the session decoded it (lib/wire/call.h): "bpf(BPF_MAP_CREATE, {map_type=BPF_MAP_TYPE_HASH, ...}, 72)". Bytes
 * that are no printable ASCII are escaped. Caller frees; NULL when out of memory.
 */
char *ygr_trace_call(const struct ygr_call_plan *plan);
char *ygr_trace_read(uint32_t handle, uint32_t length);
char *ygr_trace_open(const char *path, uint32_t flags);

/*
 * CALL with its outcome: " = #7 <0.000210>", " = 0 <...>", " = -1 ENOENT (No such file or directory) <...>". RESULT: 0 or
 * more, or negative errno; HANDLE: of a new object or YGR_HANDLE_NONE; NS: what it took; WHY: an explanation or NULL.
 */
void ygr_trace_line(char line[YGR_TRACE_MAX + 256], const char *call, int64_t result, uint32_t handle,
		    uint64_t ns, const char *why);
