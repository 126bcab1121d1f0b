/* Instructions into a growing program, with labels for jumps forward. A failure is remembered. */
#pragma once

#include <linux/bpf.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/policy/code.h"

/* Jumps that wait for their target: chained through the offsets of the instructions themselves. */
struct ygr_policy_label {
	size_t last; /* index + 1 of the last jump to it, 0: none */
};

struct ygr_policy_emitter {
	struct bpf_insn *insns;
	size_t count, room;
	int failed; /* 0, -ENOMEM, -E2BIG */
};

void ygr_emit(struct ygr_policy_emitter *emitter, uint8_t code, uint8_t dst, uint8_t src, int16_t offset,
	      int32_t imm);
/* A 64 bit constant, or a map (SRC: BPF_PSEUDO_MAP_FD or _VALUE). */
void ygr_emit_wide(struct ygr_policy_emitter *emitter, uint8_t dst, uint8_t src, uint64_t value);
/* A jump with CODE to LABEL, which is placed later. */
void ygr_emit_jump(struct ygr_policy_emitter *emitter, uint8_t code, uint8_t dst, int32_t imm,
		   struct ygr_policy_label *label);
void ygr_emit_here(struct ygr_policy_emitter *emitter, struct ygr_policy_label *label);

static inline void ygr_emit_load32(struct ygr_policy_emitter *e, uint8_t dst, uint8_t base, size_t offset)
{
	ygr_emit(e, BPF_LDX | BPF_MEM | BPF_W, dst, base, (int16_t)offset, 0);
}

static inline void ygr_emit_load64(struct ygr_policy_emitter *e, uint8_t dst, uint8_t base, size_t offset)
{
	ygr_emit(e, BPF_LDX | BPF_MEM | BPF_DW, dst, base, (int16_t)offset, 0);
}

/* Stack offsets are negative, hence int. */
static inline void ygr_emit_store(struct ygr_policy_emitter *e, uint8_t size, uint8_t base, int offset,
				  uint8_t src)
{
	ygr_emit(e, BPF_STX | BPF_MEM | size, base, src, (int16_t)offset, 0);
}

static inline void ygr_emit_set(struct ygr_policy_emitter *e, uint8_t size, uint8_t base, int offset,
				int32_t imm)
{
	ygr_emit(e, BPF_ST | BPF_MEM | size, base, 0, (int16_t)offset, imm);
}

static inline void ygr_emit_move(struct ygr_policy_emitter *e, uint8_t dst, uint8_t src)
{
	ygr_emit(e, BPF_ALU64 | BPF_MOV | BPF_X, dst, src, 0, 0);
}

static inline void ygr_emit_alu(struct ygr_policy_emitter *e, uint8_t op, uint8_t dst, int32_t imm)
{
	ygr_emit(e, BPF_ALU64 | op | BPF_K, dst, 0, 0, imm);
}
