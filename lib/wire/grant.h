/*
 * What a TeleBPF session may do: a catalogue entry signed by a key with usage CATALOGUE, intersected with
 * the owner's guest.yaml. Both have the same form, and a call passes only when both let it pass. The session
 * applies it before a call leaves the node, the guest again before it reaches its kernel.
 *
 * JSON form (guest.yaml: the same under `sessions.allow`; what is missing there is everything):
 *   {"program": "execsnoop",            name in the catalogue; "adhoc:PATH" for what root ran by path
 *    "sha256": "...",                   of the executable
 *    "vm": "UUID",                      the domain it was issued for
 *    "issuedAt": 0, "notAfter": 0,      seconds since the epoch
 *    "programTypes": ["tracepoint", "kprobe", ...],   libbpf's names, "*" for all
 *    "attach": ["tracepoint:syscalls*", "kprobe:tcp_v4_connect", "raw_tracepoint:*", "perf:bpf_output", ...]
 *    "helpers": ["*"] or globs of names without bpf_ prefix ("probe_read_kernel"),
 *    "kfuncs": ["*"] or globs of names,
 *    "files": {"read": ["/sys/kernel/btf/vmlinux", ...], "write": []},   path globs as in glob.h: a '*' does
 * not cross '/'; two stars at the end mean everything below "ids": false,                      may reach
 * objects of others by their ids, and what describes them "limits": {"handles": 1024, "memory": 67108864}}
 *
 * attach forms (or "*"):
 *   tracepoint:CATEGORY/NAME
 *   raw_tracepoint:NAME
 *   kprobe:SYMBOL      also kretprobe and kprobe_multi
 *   uprobe:PATH        a path glob
 *   btf:FUNCTION       fentry, fexit, fmod_ret; tp_btf by its tracepoint's name
 *   lsm:HOOK
 *   iter:TARGET
 *   perf:EVENT         bpf_output, cpu_clock ... or their class: software, hardware; hw_cache, raw,
 * breakpoint, or the name of a PMU net:ATTACH_TYPE    tc, xdp, cgroup and socket programs, by libbpf's
 * names: xdp, cgroup_inet_egress ... struct_ops:NAME
 *
 * Not on any list: maps, BTF, own handles, and loading a socket_filter, which libbpf does to probe features
 * (only setsockopt could attach it, which is not forwarded; its helpers are checked). "*" does not cover the
 * helper sys_bpf, which goes around these lists and must be named.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "lib/base/error.h"
#include "lib/wire/call.h"

struct ygr_grant; /* immutable after parsing; may be used by several threads */

#define YGR_GRANT_LIST_MAX    4096 /* entries of one list */
#define YGR_GRANT_HANDLES_MAX 65536u
#define YGR_GRANT_MEMORY_MAX  (1ull << 40) /* bytes */

/*
 * Parses and validates; unknown fields are errors that name the field. STRICT (catalogue entries): program,
 * vm, issuedAt and notAfter are required, absent lists allow nothing, absent limits are 1024 handles and 64
 * MiB. STRICT=false (guest.yaml): what is absent allows everything. NULL with -EINVAL or -ENOMEM in ERROR,
 * which must not be NULL.
 */
struct ygr_grant *ygr_grant_new_json(const json_t *json, bool strict, struct ygr_error *error);
struct ygr_grant *ygr_grant_free(struct ygr_grant *grant);

/* "" when absent. */
const char *ygr_grant_program(const struct ygr_grant *grant);
const char *ygr_grant_vm(const struct ygr_grant *grant);
int64_t ygr_grant_not_after(const struct ygr_grant *grant);
uint32_t ygr_grant_max_handles(const struct ygr_grant *grant);
uint64_t ygr_grant_max_memory(const struct ygr_grant *grant);

/*
 * Names behind numbers, where this end knows them (the guest); with NULL members this end only asks whether
 * the list has any entry of that kind, and leaves the name to the other end. Each returns a string valid
 * until the next call, or NULL when there is no such thing (then only a "*" of its kind fits). BTF_OBJ is
 * the descriptor or handle as it stands in the plan, 0 for vmlinux.
 */
struct ygr_grant_names {
	const char *(*tracepoint)(void *user, uint64_t id); /* "syscalls/sys_enter_execve" */
	const char *(*btf_name)(void *user, uint32_t btf_obj, uint32_t type_id);
	const char *(*perf_pmu)(void *user, uint32_t type); /* "kprobe", "uprobe", "tracepoint", ... */
	void *user;
};

/*
 * May this call (decoded with or without fd_of) be made? 0, or -EACCES with a sentence that names program,
 * thing and the list that lacks it ("execsnoop: attach kprobe:do_exit is not in the catalogue entry"). WHO
 * says whose list it is: "the catalogue entry", "guest.yaml". NAMES may be NULL. Handles and memory are
 * counted by whoever keeps them; only a single map that is larger than limits.memory is refused here.
 */
int ygr_grant_check_call(const struct ygr_grant *grant, const char *who, const struct ygr_call_plan *plan,
			 const struct ygr_grant_names *names, struct ygr_error *error);

/* May PATH be opened with FLAGS (O_RDONLY ...)? PATH must be absolute and without "..", else -EACCES. */
int ygr_grant_check_file(const struct ygr_grant *grant, const char *who, const char *path, int flags,
			 struct ygr_error *error);

/*
 * May the LENGTH bytes at REQUEST be sent to NETLINK_ROUTE? One message that asks for devices, disciplines or
 * filters, and "ids". 0, -EACCES, or -EINVAL for what is no such message, each with a sentence in ERROR.
 */
int ygr_grant_check_route(const struct ygr_grant *grant, const char *who, const void *request, size_t length,
			  struct ygr_error *error);

/*
 * Is PATH a directory above (or within, where an entry covers everything below) something that the grant
 * lets be opened? For file systems that show only what may be opened. PATH as for ygr_grant_check_file().
 */
bool ygr_grant_leads_to(const struct ygr_grant *grant, const char *path);
