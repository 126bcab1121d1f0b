/*
 * Decisions: hundreds of random policies are compiled, loaded into the kernel (the verifier takes every one)
 * and asked about random events; a plain interpreter over the tree must give the same verdicts.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/policy/kernel.h"
#include "lib/policy/policy.h"
#include "lib/policy/show.h"
#include "tests/lib/policy/fixtures.h"
#include "tests/lib/policy/interpret.h"
#include "tests/lib/policy/random.h"

#define POLICIES 400
#define EVENTS   60

struct subject {
	struct ygr_policy_unit *unit;
	const struct ygr_policy *policy;
	struct ygr_policy_code *code;
	struct ygr_policy_image *image;
	struct ygr_policy_kernel *kernel;
};

static void compile(struct subject *subject, const char *text)
{
	struct ygr_error error = YGR_ERROR_INIT;
	assert_int_equal(ygr_policy_unit_new("p", text, strlen(text), &subject->unit, &error), 0);
	if (ygr_policy_unit_errors(subject->unit) > 0) {
		struct ygr_buf out = YGR_BUF_INIT(1 << 20);
		ygr_policy_unit_said(subject->unit, &out);
		fail_msg("%.*s", (int)out.len, (char *)out.data);
	}
	subject->policy = ygr_policy_unit_policies(subject->unit);
	if (ygr_policy_linearize(subject->policy, &subject->code, &error) < 0)
		fail_msg("%s", error.message);
	assert_int_equal(ygr_policy_image_new(subject->code, &ygr_policy_situation_names, &subject->image),
			 0);
}

static void load(struct subject *subject, const char *text)
{
	struct ygr_error error = YGR_ERROR_INIT;
	compile(subject, text);
	if (ygr_policy_kernel_new(subject->code, subject->image, &subject->kernel, &error) < 0)
		fail_msg("%s\n%s", error.message, text);
}

static void drop(struct subject *subject)
{
	ygr_policy_kernel_free(subject->kernel);
	ygr_policy_image_free(subject->image);
	ygr_policy_code_free(subject->code);
	ygr_policy_unit_free(subject->unit);
}

/* Every way out of every program returns a constant that an LSM hook may return. */
static void check_exits(const struct ygr_policy_code *code)
{
	for (size_t i = 0; i < code->program_count; i++) {
		const struct ygr_policy_program *program = &code->programs[i];
		size_t exits = 0;
		for (size_t j = 0; j < program->count; j++) {
			if (program->insns[j].code != (BPF_JMP | BPF_EXIT))
				continue;
			const struct bpf_insn *before = &program->insns[j - 1];
			assert_int_equal(before->code, BPF_ALU64 | BPF_MOV | BPF_K);
			assert_int_equal(before->dst_reg, 0);
			assert_in_range(-before->imm, 0, YGR_POLICY_ERRNO_MAX);
			exits++;
		}
		assert_true(exits >= 1);
	}
}

static void ask(const struct subject *subject, const struct ygr_policy_situation *situation,
		struct interpret_counters *counters, const char *text)
{
	struct ygr_policy_event event;
	struct ygr_error error = YGR_ERROR_INIT;
	int answer;
	ygr_policy_situation_event(situation, subject->image, &event);
	struct interpretation expected = interpret(subject->policy, situation, counters);
	if (ygr_policy_kernel_ask(subject->kernel, situation->operation->number, &event, &answer, &error) <
	    0)
		fail_msg("%s", error.message);
	if (event.rule != expected.rule || event.action != expected.action || answer != expected.answer)
		fail_msg("%s of %s by %s: the kernel says rule %u action %u answer %d, the tree rule %u "
			 "action %u "
			 "answer %d; user %u group %u port %u family %u minute %u mode %o\n%s",
			 situation->operation->name, situation->file ? situation->file : "-",
			 situation->exe ? situation->exe : "-", event.rule, event.action, answer,
			 expected.rule, expected.action, expected.answer, situation->user, situation->group,
			 situation->port, situation->family, situation->minute, situation->mode, text);
}

static void test_random(void **state)
{
	(void)state;
	struct random_source random = {0x9e3779b97f4a7c15ull};
	unsigned long matched = 0, asked = 0, insns = 0, programs = 0;

	for (unsigned i = 0; i < POLICIES; i++) {
		struct ygr_buf buf = YGR_BUF_INIT(1 << 20);
		struct ygr_policy_text text = {.out = &buf};
		struct subject subject = {0};
		struct interpret_counters counters = {0};
		random_policy(&random, i % 10 == 0 ? 60 : 12, &text);
		ygr_policy_put(&text, "%c", '\0');
		load(&subject, (char *)buf.data);
		check_exits(subject.code);
		for (unsigned j = 0; j < EVENTS; j++) {
			const struct ygr_policy_program *program =
			    &subject.code
				 ->programs[random_below(&random, (uint32_t)subject.code->program_count)];
			struct ygr_policy_situation situation =
			    random_situation(&random, program->operation);
			ask(&subject, &situation, &counters, (char *)buf.data);
			matched +=
			    interpret(subject.policy, &situation, &(struct interpret_counters){0}).rule != 0;
			asked++;
		}
		for (size_t j = 0; j < subject.code->program_count; j++, programs++)
			insns += subject.code->programs[j].count;
		drop(&subject);
		ygr_buf_deinit(&buf);
	}
	printf("%d policies, %lu programs, %lu instructions, %lu events, %lu matched\n", POLICIES, programs,
	       insns, asked, matched);
	/* Events that never match anything would prove little. */
	assert_in_range(matched, asked / 10, asked - asked / 10);
}

static void test_deterministic(void **state)
{
	(void)state;
	struct random_source random = {42};
	for (unsigned i = 0; i < 50; i++) {
		struct ygr_buf buf = YGR_BUF_INIT(1 << 20);
		struct ygr_policy_text text = {.out = &buf};
		struct subject a = {0}, b = {0};
		random_policy(&random, 20, &text);
		ygr_policy_put(&text, "%c", '\0');
		compile(&a, (char *)buf.data);
		compile(&b, (char *)buf.data);
		assert_int_equal(a.code->program_count, b.code->program_count);
		for (size_t j = 0; j < a.code->program_count; j++) {
			assert_int_equal(a.code->programs[j].count, b.code->programs[j].count);
			assert_memory_equal(a.code->programs[j].insns, b.code->programs[j].insns,
					    a.code->programs[j].count * sizeof(struct bpf_insn));
		}
		drop(&a);
		drop(&b);
		ygr_buf_deinit(&buf);
	}
}

/* A set of COUNT members each of files, addresses and users. */
static char *large_policy(unsigned count)
{
	char *text = malloc(1 << 20), *end = text;
	assert_non_null(text);
	end += sprintf(end, "policy p { guest {\nrule a: deny open of { \"/f/0\"");
	for (unsigned i = 1; i < count; i++)
		end += sprintf(end, ",\"/f/%u\"", i);
	end += sprintf(end, "} by user { 2");
	for (unsigned i = 1; i < count; i++)
		end += sprintf(end, ",%u", 2 + i * 2);
	end += sprintf(end, "}\nrule b: deny connect to { 10.0.0.0");
	for (unsigned i = 1; i < count; i++)
		end += sprintf(end, ",10.%u.%u.%u", i >> 15 & 255, i >> 7 & 255, i << 1 & 255);
	stpcpy(end, "} } }");
	return text;
}

static void test_large_sets(void **state)
{
	(void)state;
	struct subject small = {0}, large = {0};
	struct interpret_counters counters = {0};
	char *ten = large_policy(10), *many = large_policy(10000);
	load(&small, ten);
	load(&large, many);
	for (size_t i = 0; i < small.code->program_count; i++)
		assert_int_equal(small.code->programs[i].count, large.code->programs[i].count);
	const struct {
		const char *file;
		uint32_t user;
		bool in;
	} opens[] = {{"/f/9999", 20000, true}, {"/f/9999", 19999, false}, {"/f/10000", 20000, false}};
	for (size_t i = 0; i < 3; i++) {
		struct ygr_policy_situation situation = {.operation = ygr_policy_operation(YGR_OP_OPEN),
							 .file = opens[i].file,
							 .user = opens[i].user};
		assert_int_equal(interpret(large.policy, &situation, &counters).rule, opens[i].in);
		ask(&large, &situation, &counters, "10,000 members");
	}
	struct ygr_policy_situation connect = {.operation = ygr_policy_operation(YGR_OP_CONNECT),
					       .family = YGR_POLICY_IPV4,
					       .address = {10, 0, 78, 30}};
	assert_int_equal(interpret(large.policy, &connect, &counters).rule, 2);
	ask(&large, &connect, &counters, "10,000 members");
	connect.address[3] = 31;
	ask(&large, &connect, &counters, "10,000 members");
	drop(&small);
	drop(&large);
	free(ten);
	free(many);
}

/* Instructions and JSON of the fixtures are pinned: a change of them is seen. */
static void test_pinned(void **state)
{
	(void)state;
	static const char directory[] = YGR_POLICY_TESTS "/fixtures";
	static const char *const names[] = {"web", "precedence", "operations", "counted"};
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		size_t len;
		struct subject subject = {0};
		struct ygr_buf buf = YGR_BUF_INIT(1 << 20), json = YGR_BUF_INIT(1 << 20);
		struct ygr_policy_text text = {.out = &buf}, object = {.out = &json};
		char *source = fixtures_read(directory, names[i], ".policy", &len);
		load(&subject, source);
		ygr_policy_show_asm(subject.code, &text);
		ygr_policy_show_json(subject.code, &object);
		assert_int_equal(text.failed | object.failed, 0);
		fixtures_expect(directory, names[i], ".asm", (char *)buf.data, buf.len);
		fixtures_expect(directory, names[i], ".json", (char *)json.data, json.len);
		ygr_buf_deinit(&json);
		ygr_buf_deinit(&buf);
		drop(&subject);
		free(source);
	}
}

static void test_refused(void **state)
{
	(void)state;
	static const char text[] = "policy p { guest { rule a: kill exec argument \"-e\" } }";
	struct ygr_policy_unit *unit = NULL;
	struct ygr_policy_code *code = NULL;
	struct ygr_error error = YGR_ERROR_INIT;
	assert_int_equal(ygr_policy_unit_new("p", text, strlen(text), &unit, &error), 0);
	assert_int_equal(ygr_policy_unit_errors(unit), 0);
	assert_int_equal(ygr_policy_linearize(ygr_policy_unit_policies(unit), &code, &error), -EOPNOTSUPP);
	assert_null(code);
	assert_non_null(strstr(error.message, "rule a"));
	ygr_policy_unit_free(unit);
}

int main(void)
{
	struct subject probe = {0};
	struct ygr_error error = YGR_ERROR_INIT;
	compile(&probe, "policy p { guest { rule a: deny bpf } }");
	int r = ygr_policy_kernel_new(probe.code, probe.image, &probe.kernel, &error);
	drop(&probe);
	if (r == -EPERM || r == -EACCES) {
		printf("skipped: loading programs is not permitted here: %s\n", error.message);
		return 77;
	}
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_random),     cmocka_unit_test(test_deterministic),
	    cmocka_unit_test(test_large_sets), cmocka_unit_test(test_pinned),
	    cmocka_unit_test(test_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
