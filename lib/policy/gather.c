/*
 * See gather.h. Every word that is tested later begins as zero, and each lookup that finds something adds its
 * bits. Globs add theirs where the name of the event fits. What the verifier sees of a word afterwards is an
 * unknown number, the same on all paths, so that the rules are verified once and not once for each outcome.
 */
#include "lib/policy/gather.h"

#include <stddef.h>
#include <string.h>

#include "lib/policy/operation.h"

#define EVENT(field) offsetof(struct ygr_policy_event, field)

enum ygr_small_slot ygr_policy_small_slot(const struct ygr_policy_expr *expr)
{
	switch (expr->set_class) {
	case YGR_SET_CGROUP:
		return YGR_SMALL_CGROUP;
	case YGR_SET_PORT:
		return YGR_SMALL_PORT;
	case YGR_SET_GROUP:
		return YGR_SMALL_GROUP;
	case YGR_SET_OWNER:
		return YGR_SMALL_OWNER;
	default:
		return expr->condition == YGR_COND_OBJECT ? YGR_SMALL_TARGET : YGR_SMALL_USER;
	}
}

static void need_object(struct ygr_policy_needs *needs, const struct ygr_policy_expr *expr,
			const struct ygr_policy_operation *operation)
{
	needs->object[expr->set / 32] |= 1u << (expr->set % 32);
	if (expr->value->type == YGR_TYPE_ADDRESS) {
		needs->addresses = true;
		return;
	}
	needs->paths = true;
	for (size_t i = 0; i < expr->value->flat_count; i++) {
		enum ygr_policy_item_kind kind = expr->value->flat[i]->kind;
		/* A target's program exists; it is found by its identity alone. */
		needs->names |= kind == YGR_ITEM_EXACT && operation->object != YGR_POLICY_OBJECT_PROGRAM;
		needs->directories |= kind == YGR_ITEM_UNDER;
	}
}

void ygr_policy_need(struct ygr_policy_needs *needs, const struct ygr_policy_expr *expr,
		     const struct ygr_policy_operation *operation)
{
	if (!expr)
		return;
	ygr_policy_need(needs, expr->left, operation);
	ygr_policy_need(needs, expr->right, operation);
	if (expr->kind != YGR_EXPR_CONDITION)
		return;
	switch (expr->set_class) {
	case YGR_SET_INLINE:
	case YGR_SET_LINEAGE:
	case YGR_SET_CLASSES:
		break;
	case YGR_SET_OBJECT:
		need_object(needs, expr, operation);
		break;
	case YGR_SET_EXE:
		needs->exe[expr->set / 32] |= 1u << (expr->set % 32);
		for (size_t i = 0; i < expr->value->flat_count; i++)
			needs->exe_directories |= expr->value->flat[i]->kind == YGR_ITEM_UNDER;
		break;
	case YGR_SET_CGROUP:
	case YGR_SET_PORT:
	case YGR_SET_USER:
	case YGR_SET_GROUP:
	case YGR_SET_OWNER:
		needs->small[ygr_policy_small_slot(expr)] = true;
		break;
	}
}

static void lookup(struct ygr_policy_emitter *e, enum ygr_policy_map map, uint8_t base, int offset)
{
	ygr_emit_wide(e, 1, BPF_PSEUDO_MAP_FD, map);
	ygr_emit_move(e, 2, base);
	ygr_emit_alu(e, BPF_ADD, 2, offset);
	ygr_emit(e, BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_map_lookup_elem);
}

/* r0 is a value or NULL: adds the words of it that WANTED names to the stack at STACK. */
static void add_words(struct ygr_policy_emitter *e, const uint32_t *wanted, unsigned skip, int stack)
{
	struct ygr_policy_label missed = {0};
	ygr_emit_jump(e, BPF_JMP | BPF_JEQ | BPF_K, 0, 0, &missed);
	for (unsigned i = 0; i < YGR_POLICY_SETS_MAX / 32; i++) {
		if (!wanted[i])
			continue;
		ygr_emit_load32(e, 1, 0, (skip + i) * 4);
		ygr_emit(e, BPF_LDX | BPF_MEM | BPF_W, 2, 10, (int16_t)(stack + 4 * (int)i), 0);
		ygr_emit(e, BPF_ALU | BPF_OR | BPF_X, 2, 1, 0, 0);
		ygr_emit_store(e, BPF_W, 10, stack + 4 * (int)i, 2);
	}
	ygr_emit_here(e, &missed);
}

static void clear_words(struct ygr_policy_emitter *e, const uint32_t *wanted, int stack)
{
	for (unsigned i = 0; i < YGR_POLICY_SETS_MAX / 32; i++)
		if (wanted[i])
			ygr_emit_set(e, BPF_W, 10, stack + 4 * (int)i, 0);
}

/* Adds the bit of SET when the last component fits PATTERN: what is before the star, and what is behind. */
static void add_glob(struct ygr_policy_emitter *e, const char *pattern, uint32_t set)
{
	struct ygr_policy_label missed = {0};
	size_t head = (size_t)(strchr(pattern, '*') - pattern), tail = strlen(pattern) - head - 1;
	int stack = YGR_STACK_OBJECT + 4 * (int)(set / 32);

	/* Both bounds are for the verifier as well. */
	ygr_emit_load32(e, 1, YGR_REG_EVENT, EVENT(name_length));
	ygr_emit_jump(e, BPF_JMP | BPF_JGE | BPF_K, 1, YGR_POLICY_NAME_MAX, &missed);
	ygr_emit_jump(e, BPF_JMP | BPF_JLT | BPF_K, 1, (int32_t)(head + tail), &missed);
	for (size_t i = 0; i < head; i++) {
		ygr_emit(e, BPF_LDX | BPF_MEM | BPF_B, 2, YGR_REG_EVENT, (int16_t)(EVENT(entry.name) + i),
			 0);
		ygr_emit_jump(e, BPF_JMP | BPF_JNE | BPF_K, 2, (unsigned char)pattern[i], &missed);
	}
	if (tail > 0) {
		ygr_emit_alu(e, BPF_SUB, 1, (int32_t)tail);
		/* Again from below, since a subtraction loses what was known on older kernels. */
		ygr_emit_jump(e, BPF_JMP | BPF_JGE | BPF_K, 1, (int32_t)(YGR_POLICY_NAME_MAX - tail),
			      &missed);
		ygr_emit_move(e, 3, YGR_REG_EVENT);
		ygr_emit(e, BPF_ALU64 | BPF_ADD | BPF_X, 3, 1, 0, 0);
	}
	for (size_t i = 0; i < tail; i++) {
		ygr_emit(e, BPF_LDX | BPF_MEM | BPF_B, 2, 3, (int16_t)(EVENT(entry.name) + i), 0);
		ygr_emit_jump(e, BPF_JMP | BPF_JNE | BPF_K, 2, (unsigned char)pattern[head + 1 + i],
			      &missed);
	}
	ygr_emit(e, BPF_LDX | BPF_MEM | BPF_W, 2, 10, (int16_t)stack, 0);
	ygr_emit(e, BPF_ALU | BPF_OR | BPF_K, 2, 0, 0, (int32_t)(1u << (set % 32)));
	ygr_emit_store(e, BPF_W, 10, stack, 2);
	ygr_emit_here(e, &missed);
}

static void gather_globs(struct ygr_policy_emitter *e, const struct ygr_policy_needs *needs,
			 const struct ygr_policy *policy)
{
	for (const struct ygr_policy_set *set = policy->sets[YGR_SET_OBJECT]; set; set = set->next) {
		if (!(needs->object[set->number / 32] & 1u << (set->number % 32)))
			continue;
		for (size_t i = 0; i < set->value->flat_count; i++)
			if (set->value->flat[i]->kind == YGR_ITEM_GLOB)
				add_glob(e, set->value->flat[i]->text, set->number);
	}
}

/* The key of `ranges` on the stack, all but its data. */
static void range_key(struct ygr_policy_emitter *e, enum ygr_policy_range_kind kind, int bits)
{
	ygr_emit_set(e, BPF_W, 10, YGR_STACK_KEY, 32 + bits);
	ygr_emit_set(e, BPF_W, 10, YGR_STACK_KEY + 4, (int)kind);
}

static void gather_address(struct ygr_policy_emitter *e, const struct ygr_policy_needs *needs)
{
	struct ygr_policy_label v6 = {0}, look = {0}, none = {0};

	ygr_emit_load32(e, 7, YGR_REG_EVENT, EVENT(family));
	for (int i = 0; i < 2; i++) {
		ygr_emit_load64(e, 1, YGR_REG_EVENT, EVENT(address) + 8 * (size_t)i);
		ygr_emit_store(e, BPF_DW, 10, YGR_STACK_KEY + 8 + 8 * i, 1);
	}
	ygr_emit_jump(e, BPF_JMP | BPF_JEQ | BPF_K, 7, YGR_POLICY_IPV6, &v6);
	ygr_emit_jump(e, BPF_JMP | BPF_JNE | BPF_K, 7, YGR_POLICY_IPV4, &none);
	range_key(e, YGR_POLICY_RANGE_IPV4, 32);
	ygr_emit_jump(e, BPF_JMP | BPF_JA, 0, 0, &look);
	ygr_emit_here(e, &v6);
	range_key(e, YGR_POLICY_RANGE_IPV6, 128);
	ygr_emit_here(e, &look);
	lookup(e, YGR_MAP_RANGES, 10, YGR_STACK_KEY);
	add_words(e, needs->object, 0, YGR_STACK_OBJECT);
	ygr_emit_here(e, &none);
}

static void gather_object(struct ygr_policy_emitter *e, const struct ygr_policy_needs *needs,
			  const struct ygr_policy *policy)
{
	clear_words(e, needs->object, YGR_STACK_OBJECT);
	if (needs->paths) {
		lookup(e, YGR_MAP_FILES, YGR_REG_EVENT, EVENT(file));
		add_words(e, needs->object, 0, YGR_STACK_OBJECT);
		gather_globs(e, needs, policy);
	}
	if (needs->names) {
		lookup(e, YGR_MAP_NAMES, YGR_REG_EVENT, EVENT(entry));
		add_words(e, needs->object, 0, YGR_STACK_OBJECT);
	}
	if (needs->directories) {
		lookup(e, YGR_MAP_DIRECTORIES, YGR_REG_EVENT, EVENT(file_directory));
		add_words(e, needs->object, 0, YGR_STACK_OBJECT);
	}
	if (needs->addresses)
		gather_address(e, needs);
}

static void gather_small(struct ygr_policy_emitter *e, enum ygr_small_slot slot)
{
	static const struct {
		size_t field;
		enum ygr_policy_range_kind kind;
	} numbers[YGR_SMALL_SLOTS] = {
	    [YGR_SMALL_PORT] = {EVENT(port), YGR_POLICY_RANGE_PORT},
	    [YGR_SMALL_USER] = {EVENT(user), YGR_POLICY_RANGE_USER},
	    [YGR_SMALL_GROUP] = {EVENT(group), YGR_POLICY_RANGE_GROUP},
	    [YGR_SMALL_OWNER] = {EVENT(owner), YGR_POLICY_RANGE_OWNER},
	    [YGR_SMALL_TARGET] = {EVENT(target_user), YGR_POLICY_RANGE_USER},
	};
	uint32_t both[YGR_POLICY_SETS_MAX / 32] = {1, 1};
	int stack = YGR_STACK_SMALL + 8 * (int)slot;

	clear_words(e, both, stack);
	if (slot == YGR_SMALL_CGROUP) {
		lookup(e, YGR_MAP_CGROUPS, YGR_REG_EVENT, EVENT(cgroup));
	} else {
		range_key(e, numbers[slot].kind, 32);
		ygr_emit_load32(e, 1, YGR_REG_EVENT, numbers[slot].field);
		ygr_emit(e, BPF_ALU | BPF_END | BPF_TO_BE, 1, 0, 0, 32);
		ygr_emit_store(e, BPF_W, 10, YGR_STACK_KEY + 8, 1);
		/* The trie's keys have 16 bytes of data; what is behind the prefix does not count, but is read. */
		ygr_emit_set(e, BPF_W, 10, YGR_STACK_KEY + 12, 0);
		ygr_emit_set(e, BPF_DW, 10, YGR_STACK_KEY + 16, 0);
		lookup(e, YGR_MAP_RANGES, 10, YGR_STACK_KEY);
	}
	add_words(e, both, 0, stack);
}

void ygr_policy_gather(struct ygr_policy_emitter *e, const struct ygr_policy_needs *needs,
		       const struct ygr_policy *policy)
{
	static const uint32_t nothing[YGR_POLICY_SETS_MAX / 32];

	if (needs->paths || needs->addresses)
		gather_object(e, needs, policy);
	if (memcmp(needs->exe, nothing, sizeof(nothing)) != 0) {
		clear_words(e, needs->exe, YGR_STACK_EXE);
		lookup(e, YGR_MAP_EXES, YGR_REG_EVENT, EVENT(exe));
		add_words(e, needs->exe, YGR_POLICY_LINEAGE_WORDS, YGR_STACK_EXE);
		if (needs->exe_directories) {
			lookup(e, YGR_MAP_EXE_DIRECTORIES, YGR_REG_EVENT, EVENT(exe_directory));
			add_words(e, needs->exe, YGR_POLICY_LINEAGE_WORDS, YGR_STACK_EXE);
		}
	}
	for (unsigned slot = 0; slot < YGR_SMALL_SLOTS; slot++)
		if (needs->small[slot])
			gather_small(e, slot);
}
