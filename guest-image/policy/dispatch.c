/*
 * See dispatch.h. The event lies in the task's storage (frames.h). A decision begins with loading the event's
 * address from a map, which here becomes a copy of its argument; it jumps only forward, so nothing else moves.
 *
 * r6: the task's storage, r7: the context in it, r8: the answer so far, r9: the answer of one policy. Answers
 * go through memory, so that the verifier knows them as numbers and not as paths, and are brought into the
 * range that hooks may return at the end.
 */
#include "guest-image/policy/dispatch.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/cleanup.h"
#include "lib/policy/emit.h"

#define CONTEXT      offsetof(struct ygr_frame_task, context)
#define IN(field)    offsetof(struct ygr_frame_context, field)
#define EVENT(field) offsetof(struct ygr_frame_context, event.field)
#define LOG_BYTES    65536

static void call(struct ygr_policy_emitter *e, int helper)
{
	ygr_emit(e, BPF_JMP | BPF_CALL, 0, 0, 0, helper);
}

static void find_event(struct ygr_policy_emitter *e, const struct ygr_loader *loader)
{
	struct ygr_policy_label found = {0};
	call(e, BPF_FUNC_get_current_task_btf);
	ygr_emit_move(e, 2, 0);
	ygr_emit_wide(e, 1, BPF_PSEUDO_MAP_FD, (uint32_t)loader->tasks);
	ygr_emit_alu(e, BPF_MOV, 3, 0);
	ygr_emit_alu(e, BPF_MOV, 4, 0);
	call(e, BPF_FUNC_task_storage_get);
	ygr_emit_jump(e, BPF_JMP | BPF_JNE | BPF_K, 0, 0, &found);
	ygr_emit_alu(e, BPF_MOV, 0, -EPERM);
	ygr_emit(e, BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
	ygr_emit_here(e, &found);
	ygr_emit_move(e, 6, 0);
	ygr_emit_move(e, 7, 0);
	ygr_emit_alu(e, BPF_ADD, 7, (int32_t)CONTEXT);
	ygr_emit_alu(e, BPF_MOV, 8, 0);
}

/* The marks of the task, which all policies share, as the numbers that this policy knows. */
static void translate_lineage(struct ygr_policy_emitter *e, const struct ygr_ruling *ruling)
{
	uint32_t count = ruling->bundle->code->policy->set_counts[YGR_SET_LINEAGE];
	if (count == 0)
		return;
	ygr_emit_alu(e, BPF_MOV, 2, 0);
	for (uint32_t i = 0; i < count; i++) {
		ygr_emit_load64(e, 1, 6, offsetof(struct ygr_frame_task, lineage));
		ygr_emit_alu(e, BPF_RSH, 1, ruling->lineages[i]);
		ygr_emit_alu(e, BPF_AND, 1, 1);
		ygr_emit_alu(e, BPF_LSH, 1, (int32_t)i);
		ygr_emit(e, BPF_ALU64 | BPF_OR | BPF_X, 2, 1, 0, 0);
	}
	ygr_emit_store(e, BPF_DW, 7, (int)EVENT(lineage), 2);
}

static void store_wide(struct ygr_policy_emitter *e, size_t offset, uint64_t value)
{
	ygr_emit_wide(e, 1, 0, value);
	ygr_emit_store(e, BPF_DW, 7, (int)offset, 1);
}

static void report(struct ygr_policy_emitter *e, const struct ygr_loader *loader,
		   const struct ygr_ruling *ruling)
{
	struct ygr_policy_label sent = {0};
	uint64_t uid[2];
	memcpy(uid, ruling->bundle->about.policy, sizeof(uid));
	store_wide(e, IN(policy), uid[0]);
	store_wide(e, IN(policy) + 8, uid[1]);
	store_wide(e, IN(generation), ruling->bundle->about.generation);
	ygr_emit_wide(e, 1, BPF_PSEUDO_MAP_FD, (uint32_t)loader->verdicts);
	ygr_emit_move(e, 2, 7);
	ygr_emit_alu(e, BPF_MOV, 3, sizeof(struct ygr_frame_context));
	ygr_emit_alu(e, BPF_MOV, 4, BPF_RB_FORCE_WAKEUP);
	call(e, BPF_FUNC_ringbuf_output);
	ygr_emit_jump(e, BPF_JMP | BPF_JEQ | BPF_K, 0, 0, &sent);
	/* A value's address: descriptor, then offset in the second half. */
	ygr_emit_wide(e, 1, BPF_PSEUDO_MAP_VALUE,
		      (uint32_t)loader->control_map | (uint64_t)offsetof(struct ygr_frame_control, lost)
							  << 32);
	ygr_emit_alu(e, BPF_MOV, 2, 1);
	ygr_emit(e, BPF_STX | BPF_ATOMIC | BPF_DW, 1, 2, 0, BPF_ADD);
	ygr_emit_here(e, &sent);
}

/* Asks one policy. Returns where the call stands, whose target is not known yet. */
static size_t ask(struct ygr_policy_emitter *e, const struct ygr_loader *loader,
		  const struct ygr_ruling *ruling)
{
	struct ygr_policy_label silent = {0}, loud = {0}, merciful = {0}, refused = {0};

	translate_lineage(e, ruling);
	ygr_emit_move(e, 1, 7);
	size_t at = e->count;
	ygr_emit(e, BPF_JMP | BPF_CALL, 0, BPF_PSEUDO_CALL, 0, 0);
	ygr_emit_store(e, BPF_W, 7, (int)IN(answer), 0);
	ygr_emit_load32(e, 9, 7, IN(answer));

	ygr_emit_load32(e, 1, 7, EVENT(action));
	ygr_emit_jump(e, BPF_JMP | BPF_JEQ | BPF_K, 1, 0, &silent);
	ygr_emit_load32(e, 1, 7, IN(flags));
	ygr_emit_alu(e, BPF_AND, 1, YGR_CONTEXT_QUIET);
	ygr_emit_jump(e, BPF_JMP | BPF_JEQ | BPF_K, 1, 0, &loud);
	ygr_emit_jump(e, BPF_JMP | BPF_JEQ | BPF_K, 9, 0, &silent);
	ygr_emit_here(e, &loud);
	report(e, loader, ruling);
	ygr_emit_load32(e, 1, 7, EVENT(action));
	ygr_emit_jump(e, BPF_JMP | BPF_JNE | BPF_K, 1, YGR_ACTION_KILL, &merciful);
	ygr_emit_alu(e, BPF_MOV, 1, SIGKILL);
	call(e, BPF_FUNC_send_signal);
	ygr_emit_here(e, &merciful);
	ygr_emit_here(e, &silent);
	ygr_emit_jump(e, BPF_JMP | BPF_JNE | BPF_K, 8, 0, &refused);
	ygr_emit_move(e, 8, 9);
	ygr_emit_here(e, &refused);
	return at;
}

static void answer(struct ygr_policy_emitter *e)
{
	struct ygr_policy_label strange = {0}, also_strange = {0};
	ygr_emit_alu(e, BPF_LSH, 8, 32);
	ygr_emit_alu(e, BPF_ARSH, 8, 32);
	ygr_emit_jump(e, BPF_JMP | BPF_JSGT | BPF_K, 8, 0, &strange);
	ygr_emit_jump(e, BPF_JMP | BPF_JSLT | BPF_K, 8, -YGR_POLICY_ERRNO_MAX, &also_strange);
	ygr_emit_move(e, 0, 8);
	ygr_emit(e, BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
	ygr_emit_here(e, &strange);
	ygr_emit_here(e, &also_strange);
	ygr_emit_alu(e, BPF_MOV, 0, -EPERM);
	ygr_emit(e, BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
}

/* A decision as a function of the event. */
static void add_decision(struct ygr_policy_emitter *e, const struct ygr_ruling *ruling,
			 const struct ygr_policy_program *program)
{
	ygr_emit_move(e, 6, 1);
	ygr_emit(e, BPF_JMP | BPF_JA, 0, 0, 0, 0); /* the other half of what loaded the address */
	for (size_t i = 2; i < program->count; i++) {
		struct bpf_insn insn = program->insns[i];
		if (insn.code == (BPF_LD | BPF_IMM | BPF_DW) && insn.src_reg != 0)
			insn.imm = ruling->maps[insn.imm];
		ygr_emit(e, insn.code, insn.dst_reg, insn.src_reg, insn.off, insn.imm);
	}
}

static int load(const struct ygr_loader *loader, unsigned frame, const struct ygr_policy_emitter *e,
		struct ygr_error *error)
{
	LIBBPF_OPTS(bpf_prog_load_opts, options, .expected_attach_type = BPF_LSM_MAC,
		    .attach_btf_id = loader->hook_ids[frame]);
	int fd = bpf_prog_load(BPF_PROG_TYPE_LSM, "decision", "GPL", e->insns, e->count, &options);
	if (fd >= 0)
		return fd;
	int code = errno;
	_cleanup_free_ char *log = calloc(1, LOG_BYTES);
	options.log_buf = log;
	options.log_size = log ? LOG_BYTES : 0;
	options.log_level = log ? 1 : 0;
	fd = bpf_prog_load(BPF_PROG_TYPE_LSM, "decision", "GPL", e->insns, e->count, &options);
	if (fd >= 0)
		return fd;
	size_t len = log ? strlen(log) : 0;
	return ygr_error_set(error, code, "the decision for %s does not load: %s: %s",
			     ygr_hook_frames[frame].name, strerror(code),
			     len > 300 ? log + len - 300
			     : len     ? log
				       : "");
}

int ygr_dispatch_load(const struct ygr_loader *loader, unsigned frame, const struct ygr_ruling *rulings,
		      size_t count, struct ygr_error *error)
{
	struct ygr_policy_emitter e = {0};
	size_t calls[YGR_POLICIES_MAX], asked = 0;
	const struct ygr_policy_program *programs[YGR_POLICIES_MAX];
	const struct ygr_ruling *who[YGR_POLICIES_MAX];

	find_event(&e, loader);
	for (size_t i = 0; i < count; i++) {
		const struct ygr_policy_program *program =
		    ygr_policy_code_find(rulings[i].bundle->code, ygr_hook_frames[frame].operation);
		if (!program)
			continue;
		who[asked] = &rulings[i];
		programs[asked] = program;
		calls[asked++] = ask(&e, loader, &rulings[i]);
	}
	answer(&e);
	for (size_t i = 0; i < asked; i++) {
		size_t target = e.count;
		add_decision(&e, who[i], programs[i]);
		if (e.failed == 0)
			e.insns[calls[i]].imm = (int32_t)(target - calls[i] - 1);
	}
	int r = e.failed < 0 ? ygr_error_set(error, -e.failed, "the decisions for %s are too long together",
					     ygr_hook_frames[frame].name)
			     : load(loader, frame, &e, error);
	free(e.insns);
	return r;
}
