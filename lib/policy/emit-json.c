/* --emit json: for programs that want to look at what was made. All strings here are names without escapes. */
#include "lib/base/hex.h"
#include "lib/policy/show.h"

static void show_rules(const struct ygr_policy *policy, struct ygr_policy_text *out)
{
	ygr_policy_put(out, "  \"rules\": [");
	for (const struct ygr_policy_rule *rule = policy->rules; rule; rule = rule->next)
		ygr_policy_put(
		    out,
		    "%s\n    {\"number\": %u, \"name\": \"%s\", \"action\": \"%s\", \"operation\": \"%s\"}",
		    rule == policy->rules ? "" : ",", rule->number, rule->name,
		    ygr_policy_action_name(rule->action), rule->operation->name);
	ygr_policy_put(out, "\n  ],\n");
}

static void show_maps(const struct ygr_policy_code *code, struct ygr_policy_text *out)
{
	const char *between = "";
	ygr_policy_put(out, "  \"maps\": [");
	for (unsigned map = 0; map < YGR_MAPS; map++) {
		if (code->value_words[map] == 0)
			continue;
		ygr_policy_put(out, "%s\n    {\"number\": %u, \"name\": \"%s\", \"valueBytes\": %u}",
			       between, map, ygr_policy_map_name(map), code->value_words[map] * 4);
		between = ",";
	}
	ygr_policy_put(out, "\n  ],\n");
}

static void show_program(const struct ygr_policy_program *program, struct ygr_policy_text *out)
{
	ygr_policy_put(out, "\n    {\"operation\": \"%s\", \"hooks\": \"%s\", \"instructions\": [",
		       program->operation->name, program->operation->hooks);
	for (size_t i = 0; i < program->count; i++) {
		char digits[2 * sizeof(struct bpf_insn) + 1];
		ygr_hex_encode((const uint8_t *)&program->insns[i], sizeof(struct bpf_insn), digits);
		ygr_policy_put(out, "%s\"%s\"", i == 0 ? "" : i % 6 ? ", " : ",\n      ", digits);
	}
	ygr_policy_put(out, "]}");
}

void ygr_policy_show_json(const struct ygr_policy_code *code, struct ygr_policy_text *out)
{
	ygr_policy_put(out, "{\n  \"policy\": \"%s\",\n", code->policy->name);
	show_rules(code->policy, out);
	show_maps(code, out);
	ygr_policy_put(out, "  \"programs\": [");
	for (size_t i = 0; i < code->program_count; i++) {
		ygr_policy_put(out, i ? "," : "");
		show_program(&code->programs[i], out);
	}
	ygr_policy_put(out, "\n  ]\n}\n");
}
