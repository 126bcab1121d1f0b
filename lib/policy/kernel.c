/* See kernel.h. Plain bpf(2): what is needed of it is small, and the library stays without libbpf. */
#include "lib/policy/kernel.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "lib/policy/operation.h"

#define LOG_BYTES 65536

struct ygr_policy_kernel {
	int maps[YGR_MAPS];
	int programs[YGR_OPERATIONS];
};

static int bpf(enum bpf_cmd command, union bpf_attr *attr)
{
	long r = syscall(SYS_bpf, command, attr, sizeof(*attr));
	return r < 0 ? -errno : (int)r;
}

static int make_map(const struct ygr_policy_table *table, enum ygr_policy_map map)
{
	union bpf_attr attr = {.map_type = BPF_MAP_TYPE_HASH,
			       .key_size = table->key_size,
			       .value_size = table->value_words * 4,
			       .max_entries = table->count ? (uint32_t)table->count : 1};
	if (map == YGR_MAP_EVENT) {
		attr.map_type = BPF_MAP_TYPE_ARRAY;
	} else if (map == YGR_MAP_RANGES) {
		attr.map_type = BPF_MAP_TYPE_LPM_TRIE;
		attr.map_flags = BPF_F_NO_PREALLOC;
	} else if (map == YGR_MAP_COUNTS) {
		attr.map_type = BPF_MAP_TYPE_LRU_HASH;
		attr.max_entries = YGR_POLICY_COUNTS_MAX;
	}
	return bpf(BPF_MAP_CREATE, &attr);
}

static int fill_map(int fd, const struct ygr_policy_table *table)
{
	size_t row = table->key_size + table->value_words * 4;
	for (size_t i = 0; i < table->count; i++) {
		const uint8_t *key = table->rows + i * row;
		union bpf_attr attr = {.map_fd = (uint32_t)fd,
				       .key = (uintptr_t)key,
				       .value = (uintptr_t)(key + table->key_size)};
		int r = bpf(BPF_MAP_UPDATE_ELEM, &attr);
		if (r < 0)
			return r;
	}
	return 0;
}

static int load(const struct ygr_policy_kernel *kernel, const struct ygr_policy_program *program,
		struct ygr_error *error)
{
	_cleanup_free_ struct bpf_insn *insns = malloc(program->count * sizeof(*insns));
	_cleanup_free_ char *log = calloc(1, LOG_BYTES);
	if (!insns || !log)
		return ygr_error_set(error, ENOMEM, "out of memory");
	memcpy(insns, program->insns, program->count * sizeof(*insns));
	for (size_t i = 0; i < program->count; i++)
		if (insns[i].code == (BPF_LD | BPF_IMM | BPF_DW) && insns[i].src_reg != 0)
			insns[i].imm = kernel->maps[insns[i].imm];
	union bpf_attr attr = {.prog_type = BPF_PROG_TYPE_RAW_TRACEPOINT,
			       .insns = (uintptr_t)insns,
			       .insn_cnt = (uint32_t)program->count,
			       .license = (uintptr_t) "GPL"};
	int fd = bpf(BPF_PROG_LOAD, &attr);
	if (fd >= 0)
		return fd;
	int code = -fd;
	attr.log_buf = (uintptr_t)log;
	attr.log_size = LOG_BYTES;
	attr.log_level = 1;
	fd = bpf(BPF_PROG_LOAD, &attr);
	if (fd >= 0)
		close(fd);
	size_t len = strlen(log);
	return ygr_error_set(error, code, "the decision about %s does not load: %s%s%s",
			     program->operation->name, strerror(code), len ? ": " : "",
			     len > 300 ? log + len - 300 : log);
}

int ygr_policy_kernel_new(const struct ygr_policy_code *code, const struct ygr_policy_image *image,
			  struct ygr_policy_kernel **ret_kernel, struct ygr_error *error)
{
	struct ygr_policy_kernel *kernel = malloc(sizeof(*kernel));
	int r = 0;
	if (!kernel)
		return ygr_error_set(error, ENOMEM, "out of memory");
	memset(kernel, 0xff, sizeof(*kernel)); /* every descriptor is -1 */
	for (unsigned map = 0; map < YGR_MAPS && r >= 0; map++) {
		const struct ygr_policy_table *table = &image->tables[map];
		if (table->value_words == 0)
			continue;
		r = kernel->maps[map] = make_map(table, map);
		if (r >= 0)
			r = fill_map(kernel->maps[map], table);
		if (r < 0)
			ygr_error_set(error, -r, "cannot make the policy's maps: %s", strerror(-r));
	}
	for (size_t i = 0; i < code->program_count && r >= 0; i++) {
		r = load(kernel, &code->programs[i], error);
		kernel->programs[code->programs[i].operation->number] = r;
	}
	if (r < 0) {
		ygr_policy_kernel_free(kernel);
		return r;
	}
	*ret_kernel = kernel;
	return 0;
}

struct ygr_policy_kernel *ygr_policy_kernel_free(struct ygr_policy_kernel *kernel)
{
	for (unsigned i = 0; kernel && i < YGR_OPERATIONS; i++)
		ygr_closep(&kernel->programs[i]);
	for (unsigned i = 0; kernel && i < YGR_MAPS; i++)
		ygr_closep(&kernel->maps[i]);
	free(kernel);
	return NULL;
}

static int access_event(const struct ygr_policy_kernel *kernel, enum bpf_cmd command,
			struct ygr_policy_event *event)
{
	uint32_t key = 0;
	union bpf_attr attr = {.map_fd = (uint32_t)kernel->maps[YGR_MAP_EVENT],
			       .key = (uintptr_t)&key,
			       .value = (uintptr_t)event};
	return bpf(command, &attr);
}

int ygr_policy_kernel_ask(const struct ygr_policy_kernel *kernel, unsigned operation,
			  struct ygr_policy_event *event, int *ret_answer, struct ygr_error *error)
{
	if (kernel->programs[operation] < 0) {
		event->rule = YGR_POLICY_RULE_DEFAULT;
		event->action = YGR_ACTION_NONE;
		*ret_answer = 0;
		return 0;
	}
	union bpf_attr attr = {.test.prog_fd = (uint32_t)kernel->programs[operation]};
	int r = access_event(kernel, BPF_MAP_UPDATE_ELEM, event);
	if (r == 0)
		r = bpf(BPF_PROG_TEST_RUN, &attr);
	if (r == 0)
		r = access_event(kernel, BPF_MAP_LOOKUP_ELEM, event);
	if (r < 0)
		return ygr_error_set(error, -r, "cannot ask the decision about %s: %s",
				     ygr_policy_operation(operation)->name, strerror(-r));
	*ret_answer = (int)attr.test.retval;
	return 0;
}

int ygr_policy_kernel_map(const struct ygr_policy_kernel *kernel, enum ygr_policy_map map)
{
	return kernel->maps[map];
}

int ygr_policy_kernel_reset(struct ygr_policy_kernel *kernel)
{
	struct ygr_policy_count key;
	union bpf_attr next = {.map_fd = (uint32_t)kernel->maps[YGR_MAP_COUNTS],
			       .next_key = (uintptr_t)&key};
	union bpf_attr delete = {.map_fd = (uint32_t)kernel->maps[YGR_MAP_COUNTS], .key = (uintptr_t)&key};
	int r = 0;
	while (kernel->maps[YGR_MAP_COUNTS] >= 0 && (r = bpf(BPF_MAP_GET_NEXT_KEY, &next)) == 0)
		bpf(BPF_MAP_DELETE_ELEM, &delete);
	return r == -ENOENT ? 0 : r;
}

uint32_t ygr_policy_kernel_verified(const struct ygr_policy_kernel *kernel, unsigned operation)
{
	struct bpf_prog_info info = {0};
	union bpf_attr attr = {.info = {.bpf_fd = (uint32_t)kernel->programs[operation],
					.info_len = sizeof(info),
					.info = (uintptr_t)&info}};
	return kernel->programs[operation] >= 0 && bpf(BPF_OBJ_GET_INFO_BY_FD, &attr) == 0
		   ? info.verified_insns
		   : 0;
}
