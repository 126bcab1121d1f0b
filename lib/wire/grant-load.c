/*
 * Programs and maps as they are made: types, helpers and kfuncs of the instructions, and the target of those
 * that are bound to one from their load on. Offsets of fields younger than the installed header are written
 * as numbers.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "lib/wire/bpf-names.h"
#include "lib/wire/grant-question.h"

enum {
	MAP_VALUE_TYPE_BTF_OBJ_FD = 72,
	VTYPE_BTF_OBJ_FLAG = 1 << 15, /* BPF_F_VTYPE_BTF_OBJ_FD */
};

static int check_kfunc(const struct ygr_question *q, const struct bpf_insn *insn)
{
	uint32_t btf_obj = 0;
	if (insn->off) { /* an index into fd_array: a module's BTF */
		const struct ygr_segment *array = ygr_call_plan_field(q->plan, FIELD(fd_array), 0);
		size_t at = (size_t)(uint16_t)insn->off * 4;
		if (!array || !array->data || at + 4 > array->in_length)
			return ygr_grant_deny(q->grant, q->who, q->error, "kfunc #%u of module %d",
					      insn->imm, insn->off);
		memcpy(&btf_obj, array->data + at, 4);
	}
	if (!q->names->btf_name && (q->grant->kfuncs.all || q->grant->kfuncs.count))
		return 0;

	const char *name =
	    q->names->btf_name ? q->names->btf_name(q->names->user, btf_obj, (uint32_t)insn->imm) : NULL;
	if (ygr_grant_list_has(&q->grant->kfuncs, name ? name : "#unknown"))
		return 0;
	if (name)
		return ygr_grant_deny(q->grant, q->who, q->error, "kfunc %s", name);
	return ygr_grant_deny(q->grant, q->who, q->error, "kfunc #%u", insn->imm);
}

/* A program may make bpf() calls of its own by sys_bpf, past these lists: only an entry that says so allows
 * it. */
static bool names_helper(const struct ygr_grant_list *list, const char *name)
{
	for (size_t i = 0; i < list->count; i++)
		if (strcmp(list->entries[i], name) == 0)
			return true;
	return list->all;
}

static int check_helper(const struct ygr_question *q, uint32_t id)
{
	char number[16];
	const char *name = ygr_bpf_helper_name(id);
	if (!name) {
		snprintf(number, sizeof(number), "#%u", id);
		name = number;
	}
	bool may = strcmp(name, "sys_bpf") == 0 ? names_helper(&q->grant->helpers, name)
						: ygr_grant_list_has(&q->grant->helpers, name);
	return may ? 0 : ygr_grant_deny(q->grant, q->who, q->error, "helper %s", name);
}

/*
 * Every slot is looked at, also the second one of a 16-byte load: the kernel wants its opcode to be 0, so a
 * call there can only make us refuse what the kernel would refuse.
 */
static int check_instructions(const struct ygr_question *q)
{
	const struct ygr_segment *segment = ygr_call_plan_field(q->plan, FIELD(insns), 0);
	uint64_t count = ygr_question_field32(q, FIELD(insn_cnt));
	if (!segment || !segment->data)
		return 0; /* NULL or unreadable, for the kernel as well: there is nothing that it could load
			   */
	if (segment->in_length != count * sizeof(struct bpf_insn))
		return ygr_error_set(q->error, EACCES,
				     "instructions do not have the length that the call says");

	for (uint64_t i = 0; i < count; i++) {
		struct bpf_insn insn;
		memcpy(&insn, segment->data + i * sizeof(insn), sizeof(insn));
		if (insn.code != (BPF_JMP | BPF_CALL) || insn.src_reg == BPF_PSEUDO_CALL)
			continue;
		int r = insn.src_reg == 0 ? check_helper(q, (uint32_t)insn.imm)
			: insn.src_reg == BPF_PSEUDO_KFUNC_CALL
			    ? check_kfunc(q, &insn)
			    : ygr_error_set(q->error, EACCES, "unknown kind of call %u", insn.src_reg);
		if (r < 0)
			return r;
	}
	return 0;
}

/* What a program is bound to from its load on. */
static int check_load_target(const struct ygr_question *q, uint32_t type)
{
	uint32_t attach = ygr_question_field32(q, FIELD(expected_attach_type));
	uint32_t id = ygr_question_field32(q, FIELD(attach_btf_id)),
		 obj = ygr_question_field32(q, FIELD(attach_btf_obj_fd));
	if (type == BPF_PROG_TYPE_LSM)
		return ygr_check_btf_attach(q, "lsm:", "bpf_lsm_", obj, id);
	if (type != BPF_PROG_TYPE_TRACING)
		return 0; /* EXT replaces a function of another program, which is the session's own */
	if (attach == BPF_TRACE_ITER)
		return ygr_check_btf_attach(q, "iter:", "bpf_iter_", obj, id);
	return ygr_check_btf_attach(q, "btf:", attach == BPF_TRACE_RAW_TP ? "btf_trace_" : "", obj, id);
}

int ygr_check_prog_load(const struct ygr_question *q)
{
	uint32_t type = ygr_question_field32(q, FIELD(prog_type));
	const char *name = ygr_bpf_prog_type_name(type);
	if (type != BPF_PROG_TYPE_SOCKET_FILTER &&
	    !ygr_grant_list_has(&q->grant->program_types, name ? name : "#unknown"))
		return name ? ygr_grant_deny(q->grant, q->who, q->error, "program type %s", name)
			    : ygr_grant_deny(q->grant, q->who, q->error, "program type #%u", type);
	int r = check_load_target(q, type);
	return r < 0 ? r : check_instructions(q);
}

int ygr_check_map_create(const struct ygr_question *q)
{
	uint32_t type = ygr_question_field32(q, FIELD(map_type));
	uint64_t entries = ygr_question_field32(q, FIELD(max_entries));
	uint64_t entry =
	    (uint64_t)ygr_question_field32(q, FIELD(key_size)) + ygr_question_field32(q, FIELD(value_size));
	if (type == BPF_MAP_TYPE_RINGBUF || type == BPF_MAP_TYPE_USER_RINGBUF)
		entry = 1;
	if (entry && entries > q->grant->memory / entry)
		return ygr_error_set(
		    q->error, EACCES,
		    "%.128s: a map of %llu entries of %llu bytes is more than limits.memory in %s",
		    q->grant->program, (unsigned long long)entries, (unsigned long long)entry, q->who);
	if (type != BPF_MAP_TYPE_STRUCT_OPS)
		return 0;
	uint32_t obj = ygr_question_field32(q, FIELD(map_flags)) & VTYPE_BTF_OBJ_FLAG
			   ? ygr_question_field32(q, MAP_VALUE_TYPE_BTF_OBJ_FD)
			   : 0;
	return ygr_check_btf_attach(q, "struct_ops:", "bpf_struct_ops_", obj,
				    ygr_question_field32(q, FIELD(btf_vmlinux_value_type_id)));
}
