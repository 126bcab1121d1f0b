/* What is read from a bundle is what was put in; what is damaged is refused or harmless. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/policy/bundle.h"
#include "lib/policy/bundle-format.h"
#include "lib/policy/policy.h"
#include "lib/policy/situation.h"
#include "tests/lib/policy/fixtures.h"
#include "tests/lib/policy/random.h"

static const struct ygr_bundle_about about = {
    .policy = {1, 2, 3}, .vm = {4, 5, 6}, .generation = 7, .not_after = 1900000000};

static struct ygr_policy_unit *read_text(const char *text, size_t len)
{
	struct ygr_policy_unit *unit = NULL;
	assert_int_equal(ygr_policy_unit_new("test", text, len, &unit, NULL), 0);
	return unit;
}

static uint8_t *make(const struct ygr_policy_code *code, size_t *ret_len)
{
	struct ygr_error error = YGR_ERROR_INIT;
	uint8_t *data = NULL;
	if (ygr_bundle_make(&about, code, &data, ret_len, &error) < 0)
		fail_msg("%s", error.message);
	return data;
}

static void expect_same_image(const struct ygr_policy_code *one, const struct ygr_policy_code *other)
{
	struct ygr_policy_image *a = NULL, *b = NULL;
	assert_int_equal(ygr_policy_image_new(one, &ygr_policy_situation_names, &a), 0);
	assert_int_equal(ygr_policy_image_new(other, &ygr_policy_situation_names, &b), 0);
	for (unsigned map = 0; map < YGR_MAPS; map++) {
		const struct ygr_policy_table *x = &a->tables[map], *y = &b->tables[map];
		assert_int_equal(x->count, y->count);
		assert_int_equal(x->value_words, y->value_words);
		if (x->count)
			assert_memory_equal(x->rows, y->rows, x->count * (x->key_size + x->value_words * 4));
	}
	ygr_policy_image_free(a);
	ygr_policy_image_free(b);
}

static void expect_rules(const struct ygr_policy *policy, const struct ygr_bundle *bundle)
{
	uint32_t i = 0;
	assert_int_equal(bundle->rule_count, policy->rule_count);
	for (const struct ygr_policy_rule *rule = policy->rules; rule; rule = rule->next, i++) {
		assert_string_equal(bundle->rules[i].name, rule->name);
		assert_int_equal(bundle->rules[i].operation, rule->operation->number);
		assert_int_equal(bundle->rules[i].declared, rule->action);
		assert_int_equal(bundle->rules[i].action, ygr_policy_rule_action(rule));
	}
}

static void round_trip(const struct ygr_policy *policy)
{
	struct ygr_error error = YGR_ERROR_INIT;
	struct ygr_policy_code *code = NULL;
	struct ygr_bundle *bundle = NULL;
	size_t len, again_len;
	if (ygr_policy_linearize(policy, &code, &error) < 0)
		return; /* rules that ask for arguments */
	uint8_t *data = make(code, &len), *again = make(code, &again_len);
	assert_int_equal(len, again_len);
	assert_memory_equal(data, again, len);

	if (ygr_bundle_read(data, len, &bundle, &error) < 0)
		fail_msg("%s", error.message);
	memset(data, 0xff, len); /* nothing of it is kept */
	assert_memory_equal(&bundle->about, &about, sizeof(about));
	assert_false(bundle->removed);
	assert_string_equal(bundle->name, policy->name);
	expect_rules(policy, bundle);
	assert_int_equal(bundle->code->program_count, code->program_count);
	for (size_t i = 0; i < code->program_count; i++) {
		const struct ygr_policy_program *x = &code->programs[i], *y = &bundle->code->programs[i];
		assert_ptr_equal(x->operation, y->operation);
		assert_int_equal(x->count, y->count);
		assert_memory_equal(x->insns, y->insns, x->count * sizeof(struct bpf_insn));
	}
	expect_same_image(code, bundle->code);
	ygr_bundle_free(bundle);
	ygr_policy_code_free(code);
	free(data);
	free(again);
}

static void test_fixtures(void **state)
{
	(void)state;
	struct fixtures fixtures = fixtures_find(YGR_POLICY_TESTS "/fixtures");
	for (size_t i = 0; i < fixtures.count; i++) {
		size_t len;
		char *text = fixtures_read(YGR_POLICY_TESTS "/fixtures", fixtures.names[i], ".policy", &len);
		struct ygr_policy_unit *unit = read_text(text, len);
		for (const struct ygr_policy *p = ygr_policy_unit_policies(unit); p; p = p->next)
			round_trip(p);
		ygr_policy_unit_free(unit);
		free(text);
	}
	fixtures_free(&fixtures);
}

static void test_random(void **state)
{
	(void)state;
	struct random_source random = {.state = 20261121};
	for (unsigned i = 0; i < 200; i++) {
		struct ygr_buf buf = YGR_BUF_INIT(YGR_POLICY_TEXT_MAX);
		struct ygr_policy_text text = {.out = &buf};
		random_policy(&random, 12, &text);
		struct ygr_policy_unit *unit = read_text((const char *)buf.data, buf.len);
		if (ygr_policy_unit_errors(unit) == 0)
			round_trip(ygr_policy_unit_policies(unit));
		ygr_policy_unit_free(unit);
		ygr_buf_deinit(&buf);
	}
}

static const char example[] =
    "policy web {\n"
    "  let shells = exe { \"/bin/sh\", \"/bin/bash\" }\n"
    "  guest {\n"
    "    rule no_shell: deny exec of shells by descendants of exe \"/usr/sbin/nginx\"\n"
    "    rule shadow:   deny open of { \"/etc/shadow\", under \"/root\", glob \"*.key\" }\n"
    "    rule egress:   audit connect to not { 10.0.0.0/8, ::1 } port { 1-5, 7, 9, 11, 13 }\n"
    "  }\n"
    "}\n";

static struct ygr_policy_code *compile_example(struct ygr_policy_unit **ret_unit, const char *audited)
{
	struct ygr_policy_unit *unit = read_text(example, strlen(example));
	struct ygr_policy_code *code = NULL;
	assert_int_equal(ygr_policy_unit_errors(unit), 0);
	if (audited)
		assert_int_equal(ygr_policy_unit_audit(unit, "web", audited, true), 0);
	assert_int_equal(ygr_policy_linearize(ygr_policy_unit_policies(unit), &code, NULL), 0);
	*ret_unit = unit;
	return code;
}

static void test_removal(void **state)
{
	(void)state;
	struct ygr_bundle *bundle = NULL;
	size_t len;
	uint8_t *data = make(NULL, &len);
	assert_int_equal(ygr_bundle_read(data, len, &bundle, NULL), 0);
	assert_true(bundle->removed);
	assert_null(bundle->code);
	assert_memory_equal(&bundle->about, &about, sizeof(about));
	ygr_bundle_free(bundle);
	free(data);
}

/* An audited rule is there, but does nothing; the others are as strong as before. */
static void test_audited(void **state)
{
	(void)state;
	struct ygr_policy_unit *unit;
	struct ygr_policy_code *code = compile_example(&unit, "shadow");
	struct ygr_bundle *bundle = NULL;
	size_t len;
	uint8_t *data = make(code, &len);
	assert_int_equal(ygr_bundle_read(data, len, &bundle, NULL), 0);
	assert_int_equal(bundle->rules[0].action, YGR_ACTION_DENY);
	assert_int_equal(bundle->rules[1].declared, YGR_ACTION_DENY);
	assert_int_equal(bundle->rules[1].action, YGR_ACTION_AUDIT);
	const struct ygr_policy_program *open = ygr_policy_code_find(bundle->code, YGR_OP_OPEN);
	for (size_t i = 0; i < open->count; i++) /* no way out of it has an error */
		if (open->insns[i].code == (BPF_ALU64 | BPF_MOV | BPF_K) && open->insns[i].dst_reg == 0)
			assert_int_equal(open->insns[i].imm, 0);
	assert_int_equal(ygr_policy_unit_audit(unit, "web", "nothing", true), -ENOENT);
	assert_int_equal(ygr_policy_unit_audit(unit, "db", NULL, true), -ENOENT);
	assert_int_equal(ygr_policy_unit_audit(unit, NULL, NULL, false), 0);
	ygr_bundle_free(bundle);
	free(data);
	ygr_policy_code_free(code);
	ygr_policy_unit_free(unit);
}

static void test_damaged(void **state)
{
	(void)state;
	struct ygr_policy_unit *unit;
	struct ygr_policy_code *code = compile_example(&unit, NULL);
	struct ygr_bundle *bundle = NULL;
	size_t len;
	uint8_t *data = make(code, &len);
	for (size_t cut = 0; cut < len; cut++)
		assert_int_equal(ygr_bundle_read(data, cut, &bundle, NULL), -EPROTO);
	for (size_t i = 0; i < len * 8; i++) {
		data[i / 8] ^= (uint8_t)(1u << (i % 8));
		int r = ygr_bundle_read(data, len, &bundle, NULL);
		assert_true(r == 0 || r == -EPROTO);
		if (r == 0)
			ygr_bundle_free(bundle);
		data[i / 8] ^= (uint8_t)(1u << (i % 8));
	}
	free(data);
	ygr_policy_code_free(code);
	ygr_policy_unit_free(unit);
}

/* Instructions that the compiler never makes: each is refused. */
static void test_foreign_instructions(void **state)
{
	(void)state;
	static const struct bpf_insn foreign[] = {
	    {.code = BPF_JMP | BPF_CALL, .imm = BPF_FUNC_override_return},
	    {.code = BPF_JMP | BPF_CALL, .imm = BPF_FUNC_probe_write_user},
	    {.code = BPF_JMP | BPF_CALL, .imm = BPF_FUNC_tail_call},
	    {.code = BPF_JMP | BPF_CALL, .src_reg = BPF_PSEUDO_CALL},
	    {.code = BPF_JMP | BPF_CALL, .src_reg = BPF_PSEUDO_KFUNC_CALL},
	    {.code = BPF_JMP | BPF_JA, .off = -1},
	    {.code = BPF_JMP | BPF_JA, .off = 32767},
	    {.code = BPF_JMP32 | BPF_JA, .imm = -1},
	    {.code = BPF_LD | BPF_ABS | BPF_W},
	    {.code = BPF_LD | BPF_IMM | BPF_DW, .src_reg = BPF_PSEUDO_MAP_FD, .imm = 99},
	    {.code = BPF_LD | BPF_IMM | BPF_DW, .src_reg = BPF_PSEUDO_BTF_ID, .imm = 1},
	    {.code = BPF_LD | BPF_IMM | BPF_DW, .src_reg = BPF_PSEUDO_MAP_FD, .imm = YGR_MAP_EVENT},
	};
	struct ygr_policy_unit *unit;
	struct ygr_policy_code *code = compile_example(&unit, NULL);
	struct ygr_bundle *bundle = NULL;
	for (size_t i = 0; i < sizeof(foreign) / sizeof(foreign[0]); i++) {
		struct bpf_insn *at = &code->programs[0].insns[2], saved = *at;
		size_t len;
		*at = foreign[i];
		uint8_t *data = make(code, &len);
		*at = saved;
		assert_int_equal(ygr_bundle_read(data, len, &bundle, NULL), -EPROTO);
		free(data);
	}
	ygr_policy_code_free(code);
	ygr_policy_unit_free(unit);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_fixtures), cmocka_unit_test(test_random),
	    cmocka_unit_test(test_removal),  cmocka_unit_test(test_audited),
	    cmocka_unit_test(test_damaged),  cmocka_unit_test(test_foreign_instructions),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
