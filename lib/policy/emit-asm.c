/*
 * --emit asm: the part of the instruction set that linearize.c and gather.c use. Jumps name the instruction
 * that they lead to.
 */
#include <inttypes.h>

#include "lib/policy/show.h"

const char *ygr_policy_map_name(enum ygr_policy_map map)
{
	static const char *const names[YGR_MAPS] = {
	    [YGR_MAP_EVENT] = "event",     [YGR_MAP_FILES] = "files",
	    [YGR_MAP_NAMES] = "names",     [YGR_MAP_DIRECTORIES] = "directories",
	    [YGR_MAP_EXES] = "exes",       [YGR_MAP_EXE_DIRECTORIES] = "exe_directories",
	    [YGR_MAP_CGROUPS] = "cgroups", [YGR_MAP_RANGES] = "ranges",
	    [YGR_MAP_COUNTS] = "counts"};
	return (unsigned)map < YGR_MAPS ? names[map] : "?";
}

static const char *width(uint8_t code)
{
	switch (BPF_SIZE(code)) {
	case BPF_B:
		return "u8";
	case BPF_H:
		return "u16";
	case BPF_W:
		return "u32";
	default:
		return "u64";
	}
}

static const char *comparison(uint8_t op)
{
	switch (op) {
	case BPF_JEQ:
		return "==";
	case BPF_JNE:
		return "!=";
	case BPF_JLT:
		return "<";
	case BPF_JLE:
		return "<=";
	case BPF_JGE:
		return ">=";
	default:
		return "?";
	}
}

static const char *assignment(uint8_t op)
{
	switch (op) {
	case BPF_MOV:
		return "=";
	case BPF_ADD:
		return "+=";
	case BPF_SUB:
		return "-=";
	case BPF_DIV:
		return "/=";
	case BPF_OR:
		return "|=";
	case BPF_AND:
		return "&=";
	default:
		return "?=";
	}
}

static void show_alu(const struct bpf_insn *insn, struct ygr_policy_text *out)
{
	char letter = BPF_CLASS(insn->code) == BPF_ALU64 ? 'r' : 'w';
	if (BPF_OP(insn->code) == BPF_END)
		ygr_policy_put(out, "r%u = be%d r%u", insn->dst_reg, insn->imm, insn->dst_reg);
	else if (BPF_SRC(insn->code) == BPF_X)
		ygr_policy_put(out, "%c%u %s %c%u", letter, insn->dst_reg, assignment(BPF_OP(insn->code)),
			       letter, insn->src_reg);
	else
		ygr_policy_put(out, "%c%u %s %d", letter, insn->dst_reg, assignment(BPF_OP(insn->code)),
			       insn->imm);
}

static void show_jump(const struct bpf_insn *insn, size_t at, struct ygr_policy_text *out)
{
	char letter = BPF_CLASS(insn->code) == BPF_JMP ? 'r' : 'w';
	size_t target = at + 1 + (size_t)insn->off;
	if (BPF_OP(insn->code) == BPF_EXIT)
		ygr_policy_put(out, "exit");
	else if (BPF_OP(insn->code) == BPF_CALL)
		ygr_policy_put(out, "call %s",
			       insn->imm == BPF_FUNC_map_lookup_elem ? "map_lookup_elem"
								     : "map_update_elem");
	else if (BPF_OP(insn->code) == BPF_JA)
		ygr_policy_put(out, "goto %zu", target);
	else
		ygr_policy_put(out, "if %c%u %s %d goto %zu", letter, insn->dst_reg,
			       comparison(BPF_OP(insn->code)), insn->imm, target);
}

static void show_wide(const struct bpf_insn *insn, struct ygr_policy_text *out)
{
	uint64_t value = (uint32_t)insn[0].imm | (uint64_t)(uint32_t)insn[1].imm << 32;
	if (insn->src_reg == 0)
		ygr_policy_put(out, "r%u = %" PRIu64 " ll", insn->dst_reg, value);
	else
		ygr_policy_put(out, "r%u = %s %s", insn->dst_reg,
			       insn->src_reg == BPF_PSEUDO_MAP_FD ? "map" : "value of",
			       ygr_policy_map_name((enum ygr_policy_map)insn->imm));
}

static void show_store(const struct bpf_insn *insn, struct ygr_policy_text *out)
{
	const char *size = width(insn->code);
	if (BPF_CLASS(insn->code) == BPF_ST)
		ygr_policy_put(out, "*(%s *)(r%u %+d) = %d", size, insn->dst_reg, insn->off, insn->imm);
	else if (BPF_MODE(insn->code) == BPF_ATOMIC)
		ygr_policy_put(out, "r%u = atomic_fetch_add((%s *)(r%u %+d), r%u)", insn->src_reg, size,
			       insn->dst_reg, insn->off, insn->src_reg);
	else
		ygr_policy_put(out, "*(%s *)(r%u %+d) = r%u", size, insn->dst_reg, insn->off, insn->src_reg);
}

/* Shows the instruction AT; returns how many slots it takes. */
static size_t show(const struct ygr_policy_program *program, size_t at, struct ygr_policy_text *out)
{
	const struct bpf_insn *insn = &program->insns[at];
	ygr_policy_put(out, "%6zu: ", at);
	switch (BPF_CLASS(insn->code)) {
	case BPF_LD:
		show_wide(insn, out);
		break;
	case BPF_LDX:
		ygr_policy_put(out, "r%u = *(%s *)(r%u %+d)", insn->dst_reg, width(insn->code),
			       insn->src_reg, insn->off);
		break;
	case BPF_ST:
	case BPF_STX:
		show_store(insn, out);
		break;
	case BPF_ALU:
	case BPF_ALU64:
		show_alu(insn, out);
		break;
	default:
		show_jump(insn, at, out);
		break;
	}
	ygr_policy_put(out, "\n");
	return BPF_CLASS(insn->code) == BPF_LD ? 2 : 1;
}

void ygr_policy_show_asm(const struct ygr_policy_code *code, struct ygr_policy_text *out)
{
	for (size_t i = 0; i < code->program_count; i++) {
		const struct ygr_policy_program *program = &code->programs[i];
		ygr_policy_put(out, "%s.%s: # %zu instructions\n", code->policy->name,
			       program->operation->name, program->count);
		for (size_t at = 0; at < program->count && out->failed == 0;)
			at += show(program, at, out);
	}
}
