/*
 * What a TeleBPF session may do: a catalogue entry signed by a key with usage CATALOGUE, intersected with the
 * owner's guest.yaml. Both have the same form, and a call passes only when both let it pass. The session
 * applies it before a call leaves the node, the guest again before it reaches its kernel.
 *
 * JSON form (guest.yaml: the same under `sessions.allow`, lists may be missing there = everything):
 *   {"program": "execsnoop",            name in the catalogue; "adhoc:PATH" for what root ran by path
 *    "sha256": "...",                   of the executable
 *    "vm": "UUID",                      the domain it was issued for
 *    "issuedAt": 0, "notAfter": 0,      seconds since the epoch
 *    "programTypes": ["tracepoint", "kprobe", ...],   libbpf's names, "*" for all
 *    "attach": ["tracepoint:syscalls/*", "kprobe:tcp_v4_connect", "raw_tracepoint:*", "perf:bpf_output", ...]
 *    "helpers": ["*"] or names without bpf_ prefix ("probe_read_kernel"),
 *    "kfuncs": ["*"] or names,
 *    "files": {"read": ["/sys/kernel/btf/*", ...], "write": []},   globs (fnmatch, '*' does not cross '/';
 *                                        a trailing "/**" means everything below)
 *    "limits": {"handles": 1024, "memory": 67108864}}
 *
 * attach forms: tracepoint:CATEGORY/NAME, raw_tracepoint:NAME, kprobe:SYMBOL (also kretprobe and kprobe_multi),
 * uprobe:PATH, btf:FUNCTION (fentry, fexit, fmod_ret, tp_btf), lsm:HOOK, iter:TARGET, perf:software|hardware|
 * bpf_output|cpu_clock..., net:* (tc, xdp, cgroup, socket filters), struct_ops:NAME.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "lib/base/error.h"
#include "lib/wire/call.h"

struct ygr_grant; /* immutable after parsing; may be used by several threads */

/* Parses and validates; unknown fields are errors that name the field. STRICT=false: absent lists allow all. */
struct ygr_grant *ygr_grant_new_json(const json_t *json, bool strict, struct ygr_error *error);
struct ygr_grant *ygr_grant_free(struct ygr_grant *grant);

const char *ygr_grant_program(const struct ygr_grant *grant);
const char *ygr_grant_vm(const struct ygr_grant *grant);
int64_t ygr_grant_not_after(const struct ygr_grant *grant);
uint32_t ygr_grant_max_handles(const struct ygr_grant *grant);
uint64_t ygr_grant_max_memory(const struct ygr_grant *grant);

/*
 * Names behind numbers, where this end knows them (the guest); NULL members leave a name unchecked here and to
 * the other end. Each returns a string valid until the next call, or NULL when there is no such thing.
 */
struct ygr_grant_names {
	const char *(*tracepoint)(void *user, uint64_t id);           /* "syscalls/sys_enter_execve" */
	const char *(*btf_name)(void *user, uint32_t btf_obj_handle, uint32_t type_id);
	const char *(*perf_pmu)(void *user, uint32_t type);           /* "kprobe", "uprobe", "tracepoint", ... */
	void *user;
};

/*
 * May this call be made? 0, or -EACCES with a sentence that names program, thing and the list that lacks it
 * ("execsnoop: attach kprobe:do_exit is not in the catalogue entry"). WHO says whose list it is.
 */
int ygr_grant_check_call(const struct ygr_grant *grant, const char *who, const struct ygr_call_plan *plan,
			 const struct ygr_grant_names *names, struct ygr_error *error);

/* May PATH be opened with FLAGS (O_RDONLY ...)? PATH must be absolute and without "..", else -EACCES. */
int ygr_grant_check_file(const struct ygr_grant *grant, const char *who, const char *path, int flags,
			 struct ygr_error *error);

/*
 * Is PATH a directory above (or within, for "/**") something that the grant lets be opened? For file systems that
 * show only what may be opened. PATH as for ygr_grant_check_file().
 */
bool ygr_grant_leads_to(const struct ygr_grant *grant, const char *path);
