/*
 * Bundles are read. They come signed, but what is signed can still be broken, so nothing is believed: counts
 * are checked against what is left before anything is allocated, and instructions may name only the maps and
 * the two helpers that linearize.c knows. Whether they are safe to run is for the kernel's verifier.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/policy/arena.h"
#include "lib/policy/bundle-format.h"

#define MEMORY_MAX (64u << 20)

struct reader {
	const uint8_t *at;
	size_t left;
	struct ygr_bundle *bundle;
	struct ygr_error *error;
};

static int broken(struct reader *reader, const char *what)
{
	return ygr_error_set(reader->error, EPROTO, "a policy bundle with %s", what);
}

static int no_memory(struct reader *reader)
{
	return ygr_error_set(reader->error, ENOMEM, "out of memory for a policy bundle");
}

/* LEN bytes and what pads them, or NULL. */
static const void *take(struct reader *reader, size_t len)
{
	size_t padded = (len + 7) & ~(size_t)7;
	const uint8_t *data = reader->at;
	if (padded < len || padded > reader->left)
		return NULL;
	reader->at += padded;
	reader->left -= padded;
	return data;
}

static bool is_name(const char name[64])
{
	const char *end = memchr(name, '\0', 64);
	for (const char *c = name; end && c < end; c++)
		if (*c <= 0x20 || *c > 0x7e || *c == '"' || *c == '\\')
			return false;
	return end && end > name;
}

static int read_rules(struct reader *reader, uint32_t count)
{
	struct ygr_bundle *bundle = reader->bundle;
	if (count > YGR_POLICY_RULES_MAX)
		return broken(reader, "too many rules");
	const void *rows = take(reader, count * sizeof(*bundle->rules));
	if (!rows)
		return broken(reader, "fewer rules than it says");
	bundle->rules = ygr_policy_arena_take(bundle->arena, (count + 1) * sizeof(*bundle->rules));
	if (!bundle->rules)
		return no_memory(reader);
	memcpy(bundle->rules, rows, count * sizeof(*bundle->rules));
	bundle->rule_count = count;
	for (uint32_t i = 0; i < count; i++) {
		const struct ygr_bundle_rule *rule = &bundle->rules[i];
		if (rule->operation >= YGR_OPERATIONS || rule->declared > YGR_ACTION_KILL ||
		    rule->action > YGR_ACTION_KILL || rule->reserved || !is_name(rule->name))
			return broken(reader, "a rule that makes no sense");
	}
	return 0;
}

static bool is_wide(const struct bpf_insn *insn)
{
	return insn->code == (BPF_LD | BPF_IMM | BPF_DW);
}

/* May instruction I of COUNT stand in a decision program? *ret_wide: it takes two places. */
static bool may_stand(const struct ygr_policy_code *code, const struct bpf_insn *insns, size_t i,
		      size_t count, bool *ret_wide)
{
	const struct bpf_insn *insn = &insns[i];
	*ret_wide = is_wide(insn);
	if (*ret_wide) {
		if (i + 1 >= count || insns[i + 1].code != 0)
			return false;
		if (insn->src_reg == 0)
			return true;
		if (insn->imm < 0 || insn->imm >= YGR_MAPS || code->value_words[insn->imm] == 0)
			return false;
		return i == 0 ? insn->src_reg == BPF_PSEUDO_MAP_VALUE && insn->imm == YGR_MAP_EVENT
			      : insn->src_reg == BPF_PSEUDO_MAP_FD && insn->imm != YGR_MAP_EVENT;
	}
	if (i == 0)
		return false; /* the event comes first */
	unsigned class = BPF_CLASS(insn->code);
	if ((class == BPF_JMP || class == BPF_JMP32) && BPF_OP(insn->code) == BPF_CALL)
		return insn->src_reg == 0 &&
		       (insn->imm == BPF_FUNC_map_lookup_elem || insn->imm == BPF_FUNC_map_update_elem);
	if (class == BPF_JMP32 && BPF_OP(insn->code) == BPF_JA)
		return false; /* jumps by its constant */
	/* Only forward, so that programs can be prefixed and joined, and end. */
	if ((class == BPF_JMP || class == BPF_JMP32) && BPF_OP(insn->code) != BPF_EXIT)
		return insn->off >= 0 && i + 1 + (size_t)insn->off < count;
	return class != BPF_LD;
}

static int check_program(struct reader *reader, const struct bpf_insn *insns, size_t count)
{
	bool wide;
	for (size_t i = 0; i < count; i += 1 + wide)
		if (!may_stand(reader->bundle->code, insns, i, count, &wide))
			return broken(reader, "an instruction that no decision has");
	if (insns[count - 1].code != (BPF_JMP | BPF_EXIT))
		return broken(reader, "a decision without an end");
	return 0;
}

static int read_program(struct reader *reader)
{
	struct ygr_policy_code *code = reader->bundle->code;
	const struct ygr_bundle_program *row = take(reader, sizeof(*row));
	if (!row || row->operation >= YGR_OPERATIONS || ygr_policy_code_find(code, row->operation) ||
	    row->insns < 3 || row->insns > YGR_POLICY_INSNS_MAX)
		return broken(reader, "a decision that makes no sense");
	size_t bytes = row->insns * sizeof(struct bpf_insn);
	const void *insns = take(reader, bytes);
	if (!insns)
		return broken(reader, "fewer instructions than it says");
	struct bpf_insn *copy = malloc(bytes);
	if (!copy)
		return no_memory(reader);
	memcpy(copy, insns, bytes);
	code->programs[code->program_count++] =
	    (struct ygr_policy_program){ygr_policy_operation(row->operation), copy, row->insns};
	return check_program(reader, copy, row->insns);
}

static bool is_path(const char *text, uint32_t length, enum ygr_policy_item_kind kind)
{
	if (length == 0 && kind == YGR_ITEM_UNDER)
		return true; /* under "/" */
	if (length == 0 || length > YGR_POLICY_PATH_MAX || memchr(text, '\0', length))
		return false;
	return kind == YGR_ITEM_GLOB || text[0] == '/';
}

static bool fits_class(unsigned class, const struct ygr_bundle_item *item)
{
	switch (class) {
	case YGR_SET_OBJECT:
		return item->kind != YGR_ITEM_RANGE &&
		       item->prefix <= (item->kind == YGR_ITEM_IPV4 ? 32 : 128);
	case YGR_SET_EXE:
	case YGR_SET_LINEAGE:
		return item->kind == YGR_ITEM_EXACT || item->kind == YGR_ITEM_UNDER;
	case YGR_SET_CGROUP:
		return item->kind == YGR_ITEM_EXACT;
	default:
		return item->kind == YGR_ITEM_RANGE && item->low <= item->high && item->high <= UINT32_MAX;
	}
}

static int read_item(struct reader *reader, unsigned class, struct ygr_policy_value *value)
{
	struct ygr_policy_arena *arena = reader->bundle->arena;
	const struct ygr_bundle_item *row = take(reader, sizeof(*row));
	if (!row || row->kind >= YGR_ITEM_WORD || row->reserved || !fits_class(class, row))
		return broken(reader, "a member that makes no sense");
	bool text = row->kind <= YGR_ITEM_GLOB;
	const char *name = take(reader, row->length);
	if (!name || (text ? !is_path(name, row->length, row->kind) : row->length != 0))
		return broken(reader, "a member without a name");
	struct ygr_policy_item *item = ygr_policy_arena_take(arena, sizeof(*item));
	if (!item)
		return no_memory(reader);
	*item = (struct ygr_policy_item){.kind = row->kind,
					 .length = row->length,
					 .prefix = row->prefix,
					 .low = row->low,
					 .high = row->high};
	memcpy(item->address, row->address, sizeof(item->address));
	if (text && !(item->text = ygr_policy_arena_text(arena, name, row->length)))
		return no_memory(reader);
	value->flat[value->flat_count++] = item;
	return 0;
}

static int read_set(struct reader *reader, struct ygr_policy_set **ends[YGR_SET_CLASSES])
{
	struct ygr_bundle *bundle = reader->bundle;
	struct ygr_policy *policy = (struct ygr_policy *)bundle->code->policy;
	const struct ygr_bundle_set *row = take(reader, sizeof(*row));
	if (!row || row->class == YGR_SET_INLINE || row->class >= YGR_SET_CLASSES ||
	    row->type >= YGR_TYPES || row->items > YGR_POLICY_ITEMS_MAX ||
	    row->items > reader->left / sizeof(struct ygr_bundle_item) ||
	    row->number != policy->set_counts[row->class] ||
	    row->number >= (row->class <= YGR_SET_EXE ? YGR_POLICY_SETS_MAX : YGR_POLICY_SMALL_SETS))
		return broken(reader, "a set that makes no sense");
	struct ygr_policy_set *set = ygr_policy_arena_take(bundle->arena, sizeof(*set));
	struct ygr_policy_value *value = ygr_policy_arena_take(bundle->arena, sizeof(*value));
	if (!set || !value)
		return no_memory(reader);
	value->type = row->type;
	value->flat =
	    ygr_policy_arena_take(bundle->arena, (row->items + 1) * sizeof(struct ygr_policy_item *));
	if (!value->flat)
		return no_memory(reader);
	set->value = value;
	set->number = policy->set_counts[row->class]++;
	*ends[row->class] = set;
	ends[row->class] = &set->next;
	for (uint32_t i = 0; i < row->items; i++) {
		int r = read_item(reader, row->class, value);
		if (r < 0)
			return r;
	}
	return 0;
}

/* The width of a value must be what the instructions were made for: at least what the sets need. */
static int check_words(struct reader *reader, const struct ygr_bundle_head *head)
{
	for (unsigned map = 0; map < 16; map++) {
		uint32_t words = head->value_words[map];
		uint32_t most = map >= YGR_MAPS        ? 0
				: map == YGR_MAP_EVENT ? sizeof(struct ygr_policy_event) / 4
						       : YGR_POLICY_SETS_MAX / 32 + YGR_POLICY_LINEAGE_WORDS;
		if (words > most)
			return broken(reader, "values that are too wide");
	}
	return 0;
}

static int check_sets(struct reader *reader)
{
	const struct ygr_policy_code *code = reader->bundle->code;
	const uint32_t *counts = code->policy->set_counts, *words = code->value_words;
	uint32_t objects = (counts[YGR_SET_OBJECT] + 31) / 32;
	uint32_t exes = YGR_POLICY_LINEAGE_WORDS + (counts[YGR_SET_EXE] + 31) / 32;
	const uint32_t least[YGR_MAPS] = {
	    [YGR_MAP_EVENT] = sizeof(struct ygr_policy_event) / 4,
	    [YGR_MAP_FILES] = objects,
	    [YGR_MAP_NAMES] = objects,
	    [YGR_MAP_DIRECTORIES] = objects,
	    [YGR_MAP_EXES] = exes,
	    [YGR_MAP_EXE_DIRECTORIES] = exes,
	    [YGR_MAP_CGROUPS] = YGR_POLICY_SMALL_SETS / 32,
	    [YGR_MAP_RANGES] = objects > 2 ? objects : 2,
	    [YGR_MAP_COUNTS] = 2,
	};
	for (unsigned map = 0; map < YGR_MAPS; map++)
		if (words[map] && words[map] < least[map])
			return broken(reader, "values that are too narrow");
	return 0;
}

static int read_content(struct reader *reader, const struct ygr_bundle_head *head)
{
	struct ygr_bundle *bundle = reader->bundle;
	struct ygr_policy *policy = ygr_policy_arena_take(bundle->arena, sizeof(*policy));
	struct ygr_policy_set **ends[YGR_SET_CLASSES];
	bundle->code = calloc(1, sizeof(*bundle->code));
	if (!policy || !bundle->code)
		return no_memory(reader);
	policy->name = bundle->name;
	bundle->code->policy = policy;
	memcpy(bundle->code->value_words, head->value_words, sizeof(bundle->code->value_words));
	for (unsigned class = 0; class < YGR_SET_CLASSES; class ++)
		ends[class] = &policy->sets[class];

	int r = check_words(reader, head);
	if (r == 0)
		r = read_rules(reader, head->rules);
	if (r == 0 && head->programs > YGR_OPERATIONS)
		r = broken(reader, "too many decisions");
	for (uint32_t i = 0; i < head->programs && r == 0; i++)
		r = read_program(reader);
	if (r == 0 && head->sets > YGR_SET_CLASSES * YGR_POLICY_SETS_MAX)
		r = broken(reader, "too many sets");
	for (uint32_t i = 0; i < head->sets && r == 0; i++)
		r = read_set(reader, ends);
	return r < 0 ? r : check_sets(reader);
}

static int read_head(struct reader *reader, size_t len)
{
	struct ygr_bundle *bundle = reader->bundle;
	const struct ygr_bundle_head *head = take(reader, sizeof(*head));
	if (!head || memcmp(head->magic, YGR_BUNDLE_MAGIC, sizeof(head->magic)) != 0)
		return broken(reader, "a head of another kind");
	if (head->length != len || head->reserved || head->flags & ~YGR_BUNDLE_REMOVED)
		return broken(reader, "a head that makes no sense");
	bundle->about = head->about;
	bundle->removed = head->flags & YGR_BUNDLE_REMOVED;
	int r = 0;
	if (!bundle->removed) {
		if (!is_name(head->name))
			return broken(reader, "a name that is none");
		memcpy(bundle->name, head->name, sizeof(bundle->name));
		r = read_content(reader, head);
	}
	if (r == 0 && reader->left > 0)
		r = broken(reader, "something behind its end");
	return r;
}

int ygr_bundle_read(const void *data, size_t len, struct ygr_bundle **ret_bundle, struct ygr_error *error)
{
	struct ygr_error ignored = YGR_ERROR_INIT;
	struct reader reader = {.at = data, .left = len, .error = error ? error : &ignored};
	uint64_t *aligned = NULL;
	int r;
	if (len > YGR_BUNDLE_BYTES_MAX || len % 8)
		return broken(&reader, "a length that is none");
	reader.bundle = calloc(1, sizeof(*reader.bundle));
	if (reader.bundle)
		reader.bundle->arena = ygr_policy_arena_new(MEMORY_MAX);
	if ((uintptr_t)data % 8) { /* rows are looked at where they lie */
		aligned = malloc(len);
		if (aligned)
			reader.at = memcpy(aligned, data, len);
	}
	if (!reader.bundle || !reader.bundle->arena || ((uintptr_t)data % 8 && !aligned))
		r = no_memory(&reader);
	else
		r = read_head(&reader, len);
	free(aligned);
	if (r < 0) {
		ygr_bundle_free(reader.bundle);
		return r;
	}
	*ret_bundle = reader.bundle;
	return 0;
}

struct ygr_bundle *ygr_bundle_free(struct ygr_bundle *bundle)
{
	if (!bundle)
		return NULL;
	ygr_policy_code_free(bundle->code);
	ygr_policy_arena_free(bundle->arena);
	free(bundle);
	return NULL;
}
