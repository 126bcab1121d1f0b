/*
 * From rules to instructions. A program is: find the event, begin with the verdict "default", gather what the
 * event is a member of (gather.c), then rule after rule, the strongest first: jump on when a condition does
 * not hold, else write the verdict and leave with a constant. Conditions become jumps as in any compiler of
 * boolean expressions. Every exit returns a constant within [-4095, 0].
 *
 * Where the frame could not find out everything (a name too long, a path too deep) and there is a rule that
 * would forbid something, the answer is no: what cannot be judged must not slip through.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/policy/code.h"
#include "lib/policy/gather.h"
#include "lib/policy/operation.h"

#define EVENT(field) offsetof(struct ygr_policy_event, field)
#define JUMP32(op)   (BPF_JMP32 | (op) | BPF_K)

struct span {
	uint32_t low, high;
};

static void verdict(struct ygr_policy_emitter *e, uint32_t rule, enum ygr_policy_action action, int error)
{
	ygr_emit_set(e, BPF_W, YGR_REG_EVENT, EVENT(rule), (int32_t)rule);
	ygr_emit_set(e, BPF_W, YGR_REG_EVENT, EVENT(action), (int32_t)action);
	ygr_emit_alu(e, BPF_MOV, 0, -error);
	ygr_emit(e, BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
}

/* Jumps to TARGET when the word at FIELD is in one of the SPANS, or, unless WANT, when it is in none. */
static void test_spans(struct ygr_policy_emitter *e, size_t field, const struct span *spans, size_t count,
		       bool want, struct ygr_policy_label *target)
{
	struct ygr_policy_label inside = {0};
	struct ygr_policy_label *hit = want ? target : &inside;

	ygr_emit_load32(e, 1, YGR_REG_EVENT, field);
	for (size_t i = 0; i < count; i++) {
		struct ygr_policy_label next = {0};
		if (spans[i].low == spans[i].high) {
			ygr_emit_jump(e, JUMP32(BPF_JEQ), 1, (int32_t)spans[i].low, hit);
			continue;
		}
		if (spans[i].low > 0)
			ygr_emit_jump(e, JUMP32(BPF_JLT), 1, (int32_t)spans[i].low, &next);
		ygr_emit_jump(e, JUMP32(BPF_JLE), 1, (int32_t)spans[i].high, hit);
		ygr_emit_here(e, &next);
	}
	if (!want)
		ygr_emit_jump(e, BPF_JMP | BPF_JA, 0, 0, target);
	ygr_emit_here(e, &inside);
}

static void test_numbers(struct ygr_policy_emitter *e, size_t field, const struct ygr_policy_value *value,
			 bool want, struct ygr_policy_label *target)
{
	struct span
	    spans[256]; /* protocols and capabilities are at most so many, other long sets are looked up */
	size_t count = 0;
	for (size_t i = 0; i < value->flat_count && count < 256; i++)
		spans[count++] =
		    (struct span){(uint32_t)value->flat[i]->low, (uint32_t)value->flat[i]->high};
	test_spans(e, field, spans, count, want, target);
}

/* Jumps to TARGET when BIT of the words at OFFSET from BASE is WANT. */
static void test_bit(struct ygr_policy_emitter *e, uint8_t base, int offset, uint32_t bit, bool want,
		     struct ygr_policy_label *target)
{
	ygr_emit(e, BPF_LDX | BPF_MEM | BPF_W, 1, base, (int16_t)(offset + 4 * (int)(bit / 32)), 0);
	ygr_emit(e, BPF_ALU | BPF_AND | BPF_K, 1, 0, 0, (int32_t)(1u << (bit % 32)));
	ygr_emit_jump(e, JUMP32(want ? BPF_JNE : BPF_JEQ), 1, 0, target);
}

static size_t number_field(const struct ygr_policy_expr *expr)
{
	switch (expr->condition) {
	case YGR_COND_PORT:
		return EVENT(port);
	case YGR_COND_PROTOCOL:
		return EVENT(protocol);
	case YGR_COND_OWNER:
		return EVENT(owner);
	case YGR_COND_OBJECT:
		return expr->value->type == YGR_TYPE_USER ? EVENT(target_user) : EVENT(capability);
	default:
		return expr->value->type == YGR_TYPE_USER ? EVENT(user) : EVENT(group);
	}
}

/* The membership itself, with `not` behind the condition's word taken into account. */
static void test_member(struct ygr_policy_emitter *e, const struct ygr_policy_expr *expr, bool want,
			struct ygr_policy_label *target)
{
	want ^= expr->outside;
	switch (expr->set_class) {
	case YGR_SET_INLINE:
		test_numbers(e, number_field(expr), expr->value, want, target);
		break;
	case YGR_SET_OBJECT:
		test_bit(e, 10, YGR_STACK_OBJECT, expr->set, want, target);
		break;
	case YGR_SET_EXE:
		test_bit(e, 10, YGR_STACK_EXE, expr->set, want, target);
		break;
	case YGR_SET_LINEAGE:
		test_bit(e, YGR_REG_EVENT, (int)EVENT(lineage), expr->set, want, target);
		break;
	default:
		test_bit(e, 10, YGR_STACK_SMALL + 8 * (int)ygr_policy_small_slot(expr), expr->set, want,
			 target);
		break;
	}
}

/* What must be so for the question to make sense; when it is not, the condition does not hold. */
static void test_sense(struct ygr_policy_emitter *e, const struct ygr_policy_expr *expr,
		       struct ygr_policy_label *senseless)
{
	static const struct span internet = {YGR_POLICY_IPV4, YGR_POLICY_IPV6};
	static const struct span local = {YGR_POLICY_UNIX, YGR_POLICY_UNIX};
	enum ygr_policy_type type = expr->value ? expr->value->type : YGR_TYPE_NONE;
	bool object = expr->condition == YGR_COND_OBJECT;

	if (expr->condition == YGR_COND_PORT || expr->condition == YGR_COND_PROTOCOL ||
	    (object && type == YGR_TYPE_ADDRESS))
		test_spans(e, EVENT(family), &internet, 1, false, senseless);
	else if (object && type == YGR_TYPE_UNIX)
		test_spans(e, EVENT(family), &local, 1, false, senseless);
	else if (expr->condition == YGR_COND_OWNER || expr->condition == YGR_COND_MODE) {
		ygr_emit_load64(e, 1, YGR_REG_EVENT, EVENT(file.inode));
		ygr_emit_jump(e, BPF_JMP | BPF_JEQ | BPF_K, 1, 0, senseless);
	}
}

static void test_during(struct ygr_policy_emitter *e, const struct ygr_policy_expr *expr, bool want,
			struct ygr_policy_label *target)
{
	struct span spans[2] = {{expr->low, expr->high - 1}, {0, 0}};
	size_t count = 1;
	if (expr->high < expr->low) {
		spans[0].high = 24 * 60 - 1;
		if (expr->high > 0)
			spans[count++] = (struct span){0, expr->high - 1};
	}
	test_spans(e, EVENT(minute), spans, count, want, target);
}

/* Jumps to TARGET when the condition's outcome is WANT, else goes on behind. */
static void test_condition(struct ygr_policy_emitter *e, const struct ygr_policy_expr *expr, bool want,
			   struct ygr_policy_label *target)
{
	struct ygr_policy_label behind = {0};

	test_sense(e, expr, want ? &behind : target);
	switch (expr->condition) {
	case YGR_COND_ACCESS:
	case YGR_COND_MODE:
		ygr_emit_load32(e, 1, YGR_REG_EVENT,
				expr->condition == YGR_COND_MODE ? EVENT(mode) : EVENT(access));
		ygr_emit(e, BPF_ALU | BPF_AND | BPF_K, 1, 0, 0, (int32_t)expr->low);
		if (expr->condition == YGR_COND_MODE)
			ygr_emit_jump(e, JUMP32(want ? BPF_JEQ : BPF_JNE), 1, (int32_t)expr->low, target);
		else
			ygr_emit_jump(e, JUMP32(want ? BPF_JNE : BPF_JEQ), 1, 0, target);
		break;
	case YGR_COND_DURING:
		test_during(e, expr, want, target);
		break;
	default:
		test_member(e, expr, want, target);
		break;
	}
	ygr_emit_here(e, &behind);
}

static void test_expr(struct ygr_policy_emitter *e, const struct ygr_policy_expr *expr, bool want,
		      struct ygr_policy_label *target)
{
	struct ygr_policy_label behind = {0};
	/* The outcome of one side that settles it. */
	bool settles = expr->kind == YGR_EXPR_OR;

	switch (expr->kind) {
	case YGR_EXPR_CONDITION:
		test_condition(e, expr, want, target);
		return;
	case YGR_EXPR_NOT:
		test_expr(e, expr->left, !want, target);
		return;
	case YGR_EXPR_AND:
	case YGR_EXPR_OR:
		test_expr(e, expr->left, settles, settles == want ? target : &behind);
		test_expr(e, expr->right, want, target);
		ygr_emit_here(e, &behind);
		return;
	}
}

static void count_scope(struct ygr_policy_emitter *e, enum ygr_policy_scope scope)
{
	int at = YGR_STACK_KEY + (int)offsetof(struct ygr_policy_count, scope);
	ygr_emit_set(e, BPF_DW, 10, at, 0);
	ygr_emit_set(e, BPF_DW, 10, at + 8, 0);
	switch (scope) {
	case YGR_SCOPE_ALL:
		return;
	case YGR_SCOPE_PROCESS:
	case YGR_SCOPE_USER:
		ygr_emit_load32(e, 1, YGR_REG_EVENT, scope == YGR_SCOPE_USER ? EVENT(user) : EVENT(process));
		break;
	case YGR_SCOPE_CGROUP:
		ygr_emit_load64(e, 1, YGR_REG_EVENT, EVENT(own_cgroup));
		break;
	case YGR_SCOPE_EXE:
		ygr_emit_load64(e, 1, YGR_REG_EVENT, EVENT(exe));
		ygr_emit_store(e, BPF_DW, 10, at + 8, 1);
		ygr_emit_load64(e, 1, YGR_REG_EVENT, EVENT(exe.inode));
		break;
	}
	ygr_emit_store(e, BPF_DW, 10, at, 1);
}

static void look_up_count(struct ygr_policy_emitter *e)
{
	ygr_emit_wide(e, 1, BPF_PSEUDO_MAP_FD, YGR_MAP_COUNTS);
	ygr_emit_move(e, 2, 10);
	ygr_emit_alu(e, BPF_ADD, 2, YGR_STACK_KEY);
}

/* Counts, and jumps to NOT_YET while the rule's number is not passed. Without room for a counter it is. */
static void test_count(struct ygr_policy_emitter *e, const struct ygr_policy_rule *rule,
		       struct ygr_policy_label *not_yet)
{
	struct ygr_policy_label found = {0}, over = {0};

	ygr_emit_set(e, BPF_W, 10, YGR_STACK_KEY, (int32_t)rule->number);
	ygr_emit_set(e, BPF_W, 10, YGR_STACK_KEY + 4, 0);
	count_scope(e, rule->scope);
	ygr_emit_load64(e, 1, YGR_REG_EVENT, EVENT(time_ns));
	ygr_emit_wide(e, 2, 0, rule->window_ns);
	ygr_emit(e, BPF_ALU64 | BPF_DIV | BPF_X, 1, 2, 0, 0);
	ygr_emit_store(e, BPF_DW, 10, YGR_STACK_KEY + (int)offsetof(struct ygr_policy_count, window), 1);

	look_up_count(e);
	ygr_emit(e, BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_map_lookup_elem);
	ygr_emit_jump(e, BPF_JMP | BPF_JNE | BPF_K, 0, 0, &found);
	ygr_emit_set(e, BPF_DW, 10, YGR_STACK_VALUE, 0);
	look_up_count(e);
	ygr_emit_move(e, 3, 10);
	ygr_emit_alu(e, BPF_ADD, 3, YGR_STACK_VALUE);
	ygr_emit_alu(e, BPF_MOV, 4, BPF_NOEXIST);
	ygr_emit(e, BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_map_update_elem);
	look_up_count(e);
	ygr_emit(e, BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_map_lookup_elem);
	ygr_emit_jump(e, BPF_JMP | BPF_JEQ | BPF_K, 0, 0, &over);
	ygr_emit_here(e, &found);
	ygr_emit_alu(e, BPF_MOV, 1, 1);
	ygr_emit(e, BPF_STX | BPF_ATOMIC | BPF_DW, 0, 1, 0, BPF_ADD | BPF_FETCH);
	ygr_emit_jump(e, BPF_JMP | BPF_JLT | BPF_K, 1, (int32_t)rule->count, not_yet);
	ygr_emit_here(e, &over);
}

static void emit_rule(struct ygr_policy_emitter *e, const struct ygr_policy_rule *rule)
{
	struct ygr_policy_label next = {0};
	enum ygr_policy_action action = ygr_policy_rule_action(rule);
	int error = action == YGR_ACTION_DENY ? rule->error : action == YGR_ACTION_KILL ? EPERM : 0;

	if (rule->when)
		test_expr(e, rule->when, false, &next);
	if (rule->unless)
		test_expr(e, rule->unless, true, &next);
	if (rule->window_ns)
		test_count(e, rule, &next);
	verdict(e, rule->number, action, error);
	ygr_emit_here(e, &next);
}

static bool has_arguments(const struct ygr_policy_expr *expr)
{
	if (!expr)
		return false;
	if (expr->kind == YGR_EXPR_CONDITION)
		return expr->condition == YGR_COND_ARGUMENT;
	return has_arguments(expr->left) || has_arguments(expr->right);
}

static void emit_program(struct ygr_policy_emitter *e, const struct ygr_policy *policy,
			 const struct ygr_policy_rule **rules, size_t count)
{
	struct ygr_policy_needs needs = {0};
	struct ygr_policy_label complete = {0};

	for (size_t i = 0; i < count; i++) {
		ygr_policy_need(&needs, rules[i]->when, rules[i]->operation);
		ygr_policy_need(&needs, rules[i]->unless, rules[i]->operation);
	}
	ygr_emit_wide(e, YGR_REG_EVENT, BPF_PSEUDO_MAP_VALUE, YGR_MAP_EVENT);
	ygr_emit_set(e, BPF_W, YGR_REG_EVENT, EVENT(rule), YGR_POLICY_RULE_DEFAULT);
	ygr_emit_set(e, BPF_W, YGR_REG_EVENT, EVENT(action), YGR_ACTION_NONE);
	if (needs.paths && ygr_policy_rule_action(rules[0]) >= YGR_ACTION_DENY) {
		ygr_emit_load32(e, 1, YGR_REG_EVENT, EVENT(flags));
		ygr_emit(e, BPF_ALU | BPF_AND | BPF_K, 1, 0, 0, YGR_POLICY_INCOMPLETE);
		ygr_emit_jump(e, JUMP32(BPF_JEQ), 1, 0, &complete);
		verdict(e, YGR_POLICY_RULE_INCOMPLETE, YGR_ACTION_DENY, EPERM);
		ygr_emit_here(e, &complete);
	}
	ygr_policy_gather(e, &needs, policy);
	for (size_t i = 0; i < count; i++) {
		emit_rule(e, rules[i]);
		/* Behind a rule that always decides nothing can be reached, which the verifier refuses. */
		if (!rules[i]->when && !rules[i]->unless && !rules[i]->window_ns)
			return;
	}
	ygr_emit_alu(e, BPF_MOV, 0, 0);
	ygr_emit(e, BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
}

static int stronger(const void *a, const void *b)
{
	const struct ygr_policy_rule *const *x = a, *const *y = b;
	enum ygr_policy_action first = ygr_policy_rule_action(*x), second = ygr_policy_rule_action(*y);
	if (first != second)
		return first > second ? -1 : 1;
	return (*x)->number < (*y)->number ? -1 : (*x)->number > (*y)->number;
}

const struct ygr_policy_rule **ygr_policy_rules_in_order(const struct ygr_policy *policy, unsigned operation,
							 size_t *ret_count)
{
	const struct ygr_policy_rule **rules =
	    calloc(policy->rule_count + 1, sizeof(struct ygr_policy_rule *));
	size_t count = 0;
	if (!rules)
		return NULL;
	for (const struct ygr_policy_rule *rule = policy->rules; rule; rule = rule->next)
		if (rule->operation->number == operation)
			rules[count++] = rule;
	qsort(rules, count, sizeof(struct ygr_policy_rule *), stronger);
	*ret_count = count;
	return rules;
}

static int add_program(struct ygr_policy_code *code, unsigned operation, struct ygr_error *error)
{
	struct ygr_policy_emitter emitter = {0};
	size_t count;
	const struct ygr_policy_rule **rules = ygr_policy_rules_in_order(code->policy, operation, &count);
	if (!rules)
		return ygr_error_set(error, ENOMEM, "out of memory");
	for (size_t i = 0; i < count; i++)
		if (has_arguments(rules[i]->when) || has_arguments(rules[i]->unless)) {
			int r =
			    ygr_error_set(error, EOPNOTSUPP,
					  "policy %s: rule %s asks for arguments of exec, which no decision "
					  "program can know yet",
					  code->policy->name, rules[i]->name);
			free(rules);
			return r;
		}
	if (count > 0)
		emit_program(&emitter, code->policy, rules, count);
	free(rules);
	if (emitter.failed < 0) {
		free(emitter.insns);
		return ygr_error_set(error, -emitter.failed, "policy %s: the decision about %s %s",
				     code->policy->name, ygr_policy_operation(operation)->name,
				     emitter.failed == -E2BIG ? "is too long"
							      : "needs more memory than there is");
	}
	if (count > 0)
		code->programs[code->program_count++] = (struct ygr_policy_program){
		    ygr_policy_operation(operation), emitter.insns, emitter.count};
	return 0;
}

/* Maps that instructions refer to, with what the numbers of sets make of their values. */
static void size_maps(struct ygr_policy_code *code)
{
	const uint32_t *sets = code->policy->set_counts;
	uint32_t objects = (sets[YGR_SET_OBJECT] + 31) / 32, exes = (sets[YGR_SET_EXE] + 31) / 32;
	const uint32_t words[YGR_MAPS] = {
	    [YGR_MAP_EVENT] = sizeof(struct ygr_policy_event) / 4,
	    [YGR_MAP_FILES] = objects,
	    [YGR_MAP_NAMES] = objects,
	    [YGR_MAP_DIRECTORIES] = objects,
	    [YGR_MAP_EXES] = YGR_POLICY_LINEAGE_WORDS + exes,
	    [YGR_MAP_EXE_DIRECTORIES] = YGR_POLICY_LINEAGE_WORDS + exes,
	    [YGR_MAP_CGROUPS] = YGR_POLICY_SMALL_SETS / 32,
	    [YGR_MAP_RANGES] = objects > 2 ? objects : 2,
	    [YGR_MAP_COUNTS] = 2,
	};
	for (size_t i = 0; i < code->program_count; i++)
		for (size_t j = 0; j < code->programs[i].count; j++) {
			const struct bpf_insn *insn = &code->programs[i].insns[j];
			if (insn->code == (BPF_LD | BPF_IMM | BPF_DW) && insn->src_reg != 0)
				code->value_words[insn->imm] = words[insn->imm];
		}
	/* Where lineages are asked for, frames need the exes, whether programs look there or not. */
	if (sets[YGR_SET_LINEAGE] > 0) {
		code->value_words[YGR_MAP_EXES] = words[YGR_MAP_EXES];
		code->value_words[YGR_MAP_EXE_DIRECTORIES] = words[YGR_MAP_EXE_DIRECTORIES];
	}
}

int ygr_policy_linearize(const struct ygr_policy *policy, struct ygr_policy_code **ret_code,
			 struct ygr_error *error)
{
	struct ygr_policy_code *code = calloc(1, sizeof(*code));
	if (!code)
		return ygr_error_set(error, ENOMEM, "out of memory");
	code->policy = policy;
	for (unsigned i = 0; i < YGR_OPERATIONS; i++) {
		int r = add_program(code, i, error);
		if (r < 0) {
			ygr_policy_code_free(code);
			return r;
		}
	}
	size_maps(code);
	*ret_code = code;
	return 0;
}

struct ygr_policy_code *ygr_policy_code_free(struct ygr_policy_code *code)
{
	if (!code)
		return NULL;
	for (size_t i = 0; i < code->program_count; i++)
		free(code->programs[i].insns);
	free(code);
	return NULL;
}

const struct ygr_policy_program *ygr_policy_code_find(const struct ygr_policy_code *code, unsigned operation)
{
	for (size_t i = 0; i < code->program_count; i++)
		if (code->programs[i].operation->number == operation)
			return &code->programs[i];
	return NULL;
}
