/*
 * --emit c: the same decisions as C for clang -target bpf, so that a person can read what was made, and so that
 * the tests have a second code generator to hold linearize.c to. Only the maps are shared between the two.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/policy/print.h"
#include "lib/policy/show.h"

static const char preamble[] =
    "#include <linux/bpf.h>\n"
    "#include <bpf/bpf_helpers.h>\n"
    "#include \"lib/policy/event.h\"\n\n"
    "#define INLINE static __attribute__((always_inline, unused)) inline\n\n"
    "/* Is bit N of a map's value set? No value, no bit. */\n"
    "INLINE int in(const __u32 *value, unsigned n)\n"
    "{\n\treturn value && (value[n / 32] >> (n % 32) & 1);\n}\n\n"
    "INLINE int verdict(struct ygr_policy_event *e, __u32 rule, __u32 action, int answer)\n"
    "{\n\te->rule = rule;\n\te->action = action;\n\treturn answer;\n}\n\n"
    "/* Does the last component begin with HEAD and end with TAIL? */\n"
    "INLINE int fits(const struct ygr_policy_event *e, const char *head, unsigned heads, const char *tail,\n"
    "\t\tunsigned tails)\n"
    "{\n\t__u32 length = e->name_length;\n"
    "\tif (length >= YGR_POLICY_NAME_MAX || length < heads + tails)\n\t\treturn 0;\n"
    "#pragma unroll\n\tfor (unsigned i = 0; i < heads; i++)\n\t\tif (e->entry.name[i] != "
    "head[i])\n\t\t\treturn 0;\n"
    "#pragma unroll\n\tfor (unsigned i = 0; i < tails; i++) {\n"
    "\t\t__u32 at = length - tails + i;\n"
    "\t\tasm volatile(\"\" : \"+r\"(at)); /* or clang drops the bound that the verifier wants */\n"
    "\t\tif (e->entry.name[at & (YGR_POLICY_NAME_MAX - 1)] != tail[i])\n"
    "\t\t\treturn 0;\n\t}\n\treturn 1;\n}\n\n"
    "INLINE struct ygr_policy_range number(__u32 kind, __u32 n)\n"
    "{\n\tstruct ygr_policy_range range = {.prefix = 64, .kind = kind};\n"
    "\trange.data[0] = n >> 24;\n\trange.data[1] = n >> 16;\n\trange.data[2] = n >> 8;\n\trange.data[3] = "
    "n;\n"
    "\treturn range;\n}\n\n"
    "INLINE struct ygr_policy_range peer(const struct ygr_policy_event *e)\n"
    "{\n\tstruct ygr_policy_range range = {.prefix = e->family == YGR_POLICY_IPV6 ? 160 : 64,\n"
    "\t\t\t\t\t .kind = e->family == YGR_POLICY_IPV6 ? YGR_POLICY_RANGE_IPV6\n"
    "\t\t\t\t\t\t\t\t\t      : YGR_POLICY_RANGE_IPV4};\n"
    "\t__builtin_memcpy(range.data, e->address, 16);\n\treturn range;\n}\n\n";

static const struct {
	const char *type, *key;
} map_types[YGR_MAPS] = {
    [YGR_MAP_EVENT] = {"ARRAY", "__u32"},
    [YGR_MAP_FILES] = {"HASH", "struct ygr_policy_identity"},
    [YGR_MAP_NAMES] = {"HASH", "struct ygr_policy_entry_name"},
    [YGR_MAP_DIRECTORIES] = {"HASH", "struct ygr_policy_identity"},
    [YGR_MAP_EXES] = {"HASH", "struct ygr_policy_identity"},
    [YGR_MAP_EXE_DIRECTORIES] = {"HASH", "struct ygr_policy_identity"},
    [YGR_MAP_CGROUPS] = {"HASH", "__u64"},
    [YGR_MAP_RANGES] = {"LPM_TRIE", "struct ygr_policy_range"},
    [YGR_MAP_COUNTS] = {"LRU_HASH", "struct ygr_policy_count"},
};

static bool has(const struct ygr_policy_code *code, enum ygr_policy_map map)
{
	return code->value_words[map] > 0;
}

static void put_maps(const struct ygr_policy_code *code, struct ygr_policy_text *out)
{
	for (unsigned map = 0; map < YGR_MAPS; map++) {
		if (!has(code, map))
			continue;
		ygr_policy_put(out,
			       "struct {\n\t__uint(type, BPF_MAP_TYPE_%s);\n\t__uint(max_entries, %u);\n"
			       "\t__uint(map_flags, %s);\n\t__type(key, %s);\n\t__type(value, __u32[%u]);\n"
			       "} %s SEC(\".maps\");\n\n",
			       map_types[map].type, map == YGR_MAP_COUNTS ? YGR_POLICY_COUNTS_MAX : 1,
			       map == YGR_MAP_RANGES ? "BPF_F_NO_PREALLOC" : "0", map_types[map].key,
			       code->value_words[map], ygr_policy_map_name(map));
	}
}

static void put_numbers(const char *field, const struct ygr_policy_value *value, struct ygr_policy_text *out)
{
	for (size_t i = 0; i < value->flat_count; i++)
		ygr_policy_put(out, "%s(e->%s >= %lluu && e->%s <= %lluu)", i ? " || " : "", field,
			       (unsigned long long)value->flat[i]->low, field,
			       (unsigned long long)value->flat[i]->high);
}

static void put_lookup(const struct ygr_policy_code *code, enum ygr_policy_map map, const char *key,
		       uint32_t bit, struct ygr_policy_text *out)
{
	if (has(code, map))
		ygr_policy_put(out, " || in(bpf_map_lookup_elem(&%s, &e->%s), %u)", ygr_policy_map_name(map),
			       key, bit);
}

static void put_object(const struct ygr_policy_code *code, const struct ygr_policy_expr *expr,
		       const struct ygr_policy_operation *operation, struct ygr_policy_text *out)
{
	if (expr->value->type == YGR_TYPE_ADDRESS) {
		ygr_policy_put(
		    out,
		    "({ struct ygr_policy_range key = peer(e); in(bpf_map_lookup_elem(&ranges, &key), "
		    "%u); })",
		    expr->set);
		return;
	}
	ygr_policy_put(out, "0");
	put_lookup(code, YGR_MAP_FILES, "file", expr->set, out);
	if (operation->object != YGR_POLICY_OBJECT_PROGRAM)
		put_lookup(code, YGR_MAP_NAMES, "entry", expr->set, out);
	put_lookup(code, YGR_MAP_DIRECTORIES, "file_directory", expr->set, out);
	for (size_t i = 0; i < expr->value->flat_count; i++) {
		const struct ygr_policy_item *item = expr->value->flat[i];
		if (item->kind != YGR_ITEM_GLOB)
			continue;
		size_t head = strcspn(item->text, "*");
		char before[YGR_POLICY_NAME_MAX] = {0};
		memcpy(before, item->text, head);
		ygr_policy_put(out, " || fits(e, ");
		ygr_policy_put_quoted(out, before);
		ygr_policy_put(out, ", %zu, ", head);
		ygr_policy_put_quoted(out, item->text + head + 1);
		ygr_policy_put(out, ", %zu)", item->length - head - 1);
	}
}

static const char *field_of(const struct ygr_policy_expr *expr)
{
	switch (expr->condition) {
	case YGR_COND_PORT:
		return "port";
	case YGR_COND_PROTOCOL:
		return "protocol";
	case YGR_COND_OWNER:
		return "owner";
	case YGR_COND_OBJECT:
		return expr->value->type == YGR_TYPE_USER ? "target_user" : "capability";
	default:
		return expr->value->type == YGR_TYPE_USER ? "user" : "group";
	}
}

static void put_member(const struct ygr_policy_code *code, const struct ygr_policy_expr *expr,
		       const struct ygr_policy_operation *operation, struct ygr_policy_text *out)
{
	static const unsigned kinds[YGR_SET_CLASSES] = {[YGR_SET_PORT] = YGR_POLICY_RANGE_PORT,
							[YGR_SET_USER] = YGR_POLICY_RANGE_USER,
							[YGR_SET_GROUP] = YGR_POLICY_RANGE_GROUP,
							[YGR_SET_OWNER] = YGR_POLICY_RANGE_OWNER};
	switch (expr->set_class) {
	case YGR_SET_INLINE:
		put_numbers(field_of(expr), expr->value, out);
		break;
	case YGR_SET_OBJECT:
		put_object(code, expr, operation, out);
		break;
	case YGR_SET_EXE:
		ygr_policy_put(out, "0");
		put_lookup(code, YGR_MAP_EXES, "exe", expr->set + 32 * YGR_POLICY_LINEAGE_WORDS, out);
		put_lookup(code, YGR_MAP_EXE_DIRECTORIES, "exe_directory",
			   expr->set + 32 * YGR_POLICY_LINEAGE_WORDS, out);
		break;
	case YGR_SET_LINEAGE:
		ygr_policy_put(out, "in(e->lineage, %u)", expr->set);
		break;
	case YGR_SET_CGROUP:
		ygr_policy_put(out, "in(bpf_map_lookup_elem(&cgroups, &e->cgroup), %u)", expr->set);
		break;
	default:
		ygr_policy_put(
		    out,
		    "({ struct ygr_policy_range key = number(%u, e->%s); in(bpf_map_lookup_elem(&ranges, "
		    "&key), %u); })",
		    kinds[expr->set_class], field_of(expr), expr->set);
		break;
	}
}

/* What must be so before a condition is asked at all. */
static const char *sense_of(const struct ygr_policy_expr *expr)
{
	enum ygr_policy_type type = expr->value ? expr->value->type : YGR_TYPE_NONE;
	bool object = expr->condition == YGR_COND_OBJECT;
	if (expr->condition == YGR_COND_PORT || expr->condition == YGR_COND_PROTOCOL ||
	    (object && type == YGR_TYPE_ADDRESS))
		return "(e->family == YGR_POLICY_IPV4 || e->family == YGR_POLICY_IPV6) && ";
	if (object && type == YGR_TYPE_UNIX)
		return "e->family == YGR_POLICY_UNIX && ";
	if (expr->condition == YGR_COND_OWNER || expr->condition == YGR_COND_MODE)
		return "e->file.inode && ";
	return "";
}

static void put_expr(const struct ygr_policy_code *code, const struct ygr_policy_expr *expr,
		     const struct ygr_policy_operation *operation, struct ygr_policy_text *out)
{
	ygr_policy_put(out, expr->kind == YGR_EXPR_NOT ? "!(" : "(");
	if (expr->kind != YGR_EXPR_CONDITION) {
		put_expr(code, expr->left, operation, out);
		if (expr->kind != YGR_EXPR_NOT) {
			ygr_policy_put(out, expr->kind == YGR_EXPR_AND ? " && " : " || ");
			put_expr(code, expr->right, operation, out);
		}
	} else if (expr->condition == YGR_COND_ACCESS) {
		ygr_policy_put(out, "e->access & %u", expr->low);
	} else if (expr->condition == YGR_COND_MODE) {
		ygr_policy_put(out, "%s(e->mode & 0%o) == 0%o", sense_of(expr), expr->low, expr->low);
	} else if (expr->condition == YGR_COND_DURING) {
		ygr_policy_put(out, "e->minute >= %u %s e->minute < %u", expr->low,
			       expr->low < expr->high ? "&&" : "||", expr->high);
	} else {
		ygr_policy_put(out, "%s%s(", sense_of(expr), expr->outside ? "!" : "");
		put_member(code, expr, operation, out);
		ygr_policy_put(out, ")");
	}
	ygr_policy_put(out, ")");
}

static void put_count(const struct ygr_policy_rule *rule, struct ygr_policy_text *out)
{
	static const char *const scopes[] = {
	    "", ".scope = {e->process}, ", ".scope = {e->user}, ",
	    ".scope = {e->exe.inode, e->exe.device | (__u64)e->exe.generation << 32}, ",
	    ".scope = {e->own_cgroup}, "};
	ygr_policy_put(out,
		       "\t\tstruct ygr_policy_count key = {.rule = %u, %s.window = e->time_ns / %lluull};\n"
		       "\t\t__u64 none = 0, *count = bpf_map_lookup_elem(&counts, &key);\n"
		       "\t\tif (!count) {\n\t\t\tbpf_map_update_elem(&counts, &key, &none, BPF_NOEXIST);\n"
		       "\t\t\tcount = bpf_map_lookup_elem(&counts, &key);\n\t\t}\n"
		       "\t\tif (!count || __sync_fetch_and_add(count, 1) >= %u)\n\t",
		       rule->number, scopes[rule->scope], (unsigned long long)rule->window_ns, rule->count);
}

static void put_rule(const struct ygr_policy_code *code, const struct ygr_policy_rule *rule,
		     struct ygr_policy_text *out)
{
	int error = rule->action == YGR_ACTION_DENY   ? rule->error
		    : rule->action == YGR_ACTION_KILL ? EPERM
						      : 0;
	ygr_policy_put(out, "\t/* rule %s */\n\tif (", rule->name);
	if (rule->when)
		put_expr(code, rule->when, rule->operation, out);
	else
		ygr_policy_put(out, "1");
	if (rule->unless) {
		ygr_policy_put(out, " &&\n\t    !");
		put_expr(code, rule->unless, rule->operation, out);
	}
	ygr_policy_put(out, ") {\n");
	if (rule->window_ns)
		put_count(rule, out);
	ygr_policy_put(out, "\t\treturn verdict(e, %u, %u, %d);\n\t}\n", rule->number,
		       (unsigned)rule->action, -error);
}

static bool asks_paths(const struct ygr_policy_expr *expr)
{
	if (!expr)
		return false;
	if (expr->kind == YGR_EXPR_CONDITION)
		return expr->condition == YGR_COND_OBJECT && expr->value->type <= YGR_TYPE_UNIX;
	return asks_paths(expr->left) || asks_paths(expr->right);
}

static void put_program(const struct ygr_policy_code *code, const struct ygr_policy_operation *operation,
			struct ygr_policy_text *out)
{
	size_t count = 0;
	bool paths = false;
	const struct ygr_policy_rule **rules =
	    ygr_policy_rules_in_order(code->policy, operation->number, &count);
	if (!rules) {
		out->failed = -ENOMEM;
		return;
	}
	for (size_t i = 0; i < count; i++)
		paths |= asks_paths(rules[i]->when) || asks_paths(rules[i]->unless);
	ygr_policy_put(out,
		       "SEC(\"raw_tracepoint/%s\")\nint decision_%u(void *context)\n{\n\t__u32 zero = 0;\n"
		       "\tstruct ygr_policy_event *e = bpf_map_lookup_elem(&event, &zero);\n"
		       "\tif (!e)\n\t\treturn -1;\n\tverdict(e, YGR_POLICY_RULE_DEFAULT, 0, 0);\n",
		       operation->name, operation->number);
	if (paths && rules[0]->action >= YGR_ACTION_DENY)
		ygr_policy_put(out,
			       "\tif (e->flags & YGR_POLICY_INCOMPLETE)\n"
			       "\t\treturn verdict(e, YGR_POLICY_RULE_INCOMPLETE, %u, %d);\n",
			       (unsigned)YGR_ACTION_DENY, -EPERM);
	for (size_t i = 0; i < count; i++) {
		put_rule(code, rules[i], out);
		/* As in linearize.c: what follows cannot be reached, and its maps are not there. */
		if (!rules[i]->when && !rules[i]->unless && !rules[i]->window_ns)
			break;
	}
	ygr_policy_put(out, "\treturn 0;\n}\n\n");
	free(rules);
}

void ygr_policy_show_c(const struct ygr_policy_code *code, struct ygr_policy_text *out)
{
	ygr_policy_put(out,
		       "/* Decisions of policy %s: clang -target bpf -O2 -g -I SOURCES -c THIS.c */\n%s",
		       code->policy->name, preamble);
	put_maps(code, out);
	for (size_t i = 0; i < code->program_count; i++)
		put_program(code, code->programs[i].operation, out);
	ygr_policy_put(out, "char LICENSE[] SEC(\"license\") = \"GPL\";\n");
}
