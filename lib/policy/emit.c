/* See emit.h. */
#include "lib/policy/emit.h"

#include <errno.h>
#include <stdlib.h>

void ygr_emit(struct ygr_policy_emitter *emitter, uint8_t code, uint8_t dst, uint8_t src, int16_t offset,
	      int32_t imm)
{
	if (emitter->failed < 0)
		return;
	if (emitter->count == YGR_POLICY_INSNS_MAX) {
		emitter->failed = -E2BIG;
		return;
	}
	if (emitter->count == emitter->room) {
		size_t room = emitter->room ? emitter->room * 2 : 256;
		struct bpf_insn *more = reallocarray(emitter->insns, room, sizeof(*more));
		if (!more) {
			emitter->failed = -ENOMEM;
			return;
		}
		emitter->insns = more;
		emitter->room = room;
	}
	emitter->insns[emitter->count++] = (struct bpf_insn){
	    .code = code, .dst_reg = dst & 15, .src_reg = src & 15, .off = offset, .imm = imm};
}

void ygr_emit_wide(struct ygr_policy_emitter *emitter, uint8_t dst, uint8_t src, uint64_t value)
{
	ygr_emit(emitter, BPF_LD | BPF_IMM | BPF_DW, dst, src, 0, (int32_t)(uint32_t)value);
	ygr_emit(emitter, 0, 0, 0, 0, (int32_t)(uint32_t)(value >> 32));
}

/* Until the label is placed, a jump's offset is the distance back to the jump before it, or 0. */
void ygr_emit_jump(struct ygr_policy_emitter *emitter, uint8_t code, uint8_t dst, int32_t imm,
		   struct ygr_policy_label *label)
{
	size_t back = label->last ? emitter->count + 1 - label->last : 0;
	if (back > INT16_MAX)
		emitter->failed = -E2BIG;
	ygr_emit(emitter, code, dst, 0, (int16_t)back, imm);
	label->last = emitter->count;
}

void ygr_emit_here(struct ygr_policy_emitter *emitter, struct ygr_policy_label *label)
{
	if (emitter->failed < 0)
		return;
	for (size_t at = label->last; at;) {
		struct bpf_insn *jump = &emitter->insns[at - 1];
		size_t back = (size_t)jump->off, distance = emitter->count - at;
		if (distance > INT16_MAX) {
			emitter->failed = -E2BIG;
			return;
		}
		jump->off = (int16_t)distance;
		at = back ? at - back : 0;
	}
	label->last = 0;
}
