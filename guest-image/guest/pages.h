/* Which physical pages of the guest lie behind a mapping of this process. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "lib/base/buf.h"

/*
 * Appends struct ygr_run entries for PAGES pages from ADDRESS (page-aligned, mapped, readable) to OUT,
 * neighbours joined, and counts them in *ret_count. The pages must be ones that the kernel does not move
 * while the mapping lasts (rings, BPF arrays). -EOPNOTSUPP when the kernel does not tell a frame number, as
 * for the perf rings of newer kernels or without CAP_SYS_ADMIN; -EMSGSIZE, -ENOMEM. OUT is as before on
 * failure.
 */
int ygr_guest_pages_runs(const void *address, size_t pages, struct ygr_buf *out, uint32_t *ret_count);
