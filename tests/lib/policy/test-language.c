/*
 * The language: what policies mean (canonical text, sentences), what is said about wrong ones, and that a
 * hostile text costs bounded time and memory.
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
#include <time.h>

#include "lib/policy/explain.h"
#include "lib/policy/lex.h"
#include "lib/policy/policy.h"
#include "lib/policy/print.h"
#include "tests/lib/policy/fixtures.h"

#define GOOD YGR_POLICY_TESTS "/fixtures"
#define BAD  YGR_POLICY_TESTS "/errors"

typedef void printer(const struct ygr_policy *policy, struct ygr_policy_text *out);

static struct ygr_policy_unit *unit_of(const char *name, const char *text, size_t len)
{
	struct ygr_policy_unit *unit = NULL;
	struct ygr_error error = YGR_ERROR_INIT;
	if (ygr_policy_unit_new(name, text, len, &unit, &error) < 0)
		fail_msg("%s", error.message);
	return unit;
}

static struct ygr_buf said(struct ygr_policy_unit *unit)
{
	struct ygr_buf out = YGR_BUF_INIT(YGR_POLICY_TEXT_MAX);
	assert_int_equal(ygr_policy_unit_said(unit, &out), 0);
	assert_int_equal(ygr_buf_append(&out, "", 1), 0);
	out.len--;
	return out;
}

static struct ygr_buf printed(const struct ygr_policy_unit *unit, printer *print)
{
	struct ygr_buf out = YGR_BUF_INIT(YGR_POLICY_TEXT_MAX);
	struct ygr_policy_text text = {.out = &out};
	for (const struct ygr_policy *policy = ygr_policy_unit_policies(unit); policy; policy = policy->next)
		print(policy, &text);
	assert_int_equal(text.failed, 0);
	return out;
}

static void expect_printed(const char *name, const char *suffix, const struct ygr_policy_unit *unit,
			   printer *print)
{
	struct ygr_buf out = printed(unit, print);
	fixtures_expect(GOOD, name, suffix, (const char *)out.data, out.len);
	ygr_buf_deinit(&out);
}

static void test_canonical(void **state)
{
	(void)state;
	struct fixtures fixtures = fixtures_find(GOOD);
	for (size_t i = 0; i < fixtures.count; i++) {
		size_t len;
		char *text = fixtures_read(GOOD, fixtures.names[i], ".policy", &len);
		struct ygr_policy_unit *unit = unit_of(fixtures.names[i], text, len);
		struct ygr_buf messages = said(unit);
		assert_string_equal((char *)messages.data, "");
		expect_printed(fixtures.names[i], ".text", unit, ygr_policy_print);
		expect_printed(fixtures.names[i], ".explain", unit, ygr_policy_explain);

		/* What is printed means the same, and prints as itself. */
		struct ygr_buf once = printed(unit, ygr_policy_print);
		struct ygr_policy_unit *again = unit_of("again", (char *)once.data, once.len);
		assert_int_equal(ygr_policy_unit_errors(again), 0);
		expect_printed(fixtures.names[i], ".text", again, ygr_policy_print);
		expect_printed(fixtures.names[i], ".explain", again, ygr_policy_explain);

		ygr_buf_deinit(&once);
		ygr_buf_deinit(&messages);
		ygr_policy_unit_free(again);
		ygr_policy_unit_free(unit);
		free(text);
	}
	fixtures_free(&fixtures);
}

static void test_messages(void **state)
{
	(void)state;
	struct fixtures fixtures = fixtures_find(BAD);
	for (size_t i = 0; i < fixtures.count; i++) {
		size_t len;
		char name[128], *text = fixtures_read(BAD, fixtures.names[i], ".policy", &len);
		snprintf(name, sizeof(name), "%s.policy", fixtures.names[i]);
		struct ygr_policy_unit *unit = unit_of(name, text, len);
		if (ygr_policy_unit_errors(unit) == 0)
			ygr_policy_unit_review(unit);
		assert_true(ygr_policy_unit_errors(unit) + ygr_policy_unit_warnings(unit) > 0);
		struct ygr_buf messages = said(unit);
		fixtures_expect(BAD, fixtures.names[i], ".said", (char *)messages.data, messages.len);
		ygr_buf_deinit(&messages);
		ygr_policy_unit_free(unit);
		free(text);
	}
	fixtures_free(&fixtures);
}

static double seconds(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* A text that repeats MIDDLE as often as fits, between HEAD and TAIL. */
static char *repeat(const char *head, const char *middle, const char *tail, size_t size)
{
	char *text = calloc(1, size + 1), *end = text;
	assert_non_null(text);
	end = stpcpy(end, head);
	while ((size_t)(end - text) + strlen(middle) + strlen(tail) < size)
		end = stpcpy(end, middle);
	strcpy(end, tail);
	return text;
}

/* Reads TEXT in bounded time, whatever comes of it; the errors must not be more than are kept. */
static void expect_bounded(const char *what, char *text, const char *sentence)
{
	struct ygr_policy_unit *unit = NULL;
	struct ygr_error error = YGR_ERROR_INIT;
	double start = seconds();
	int r = ygr_policy_unit_new(what, text, strlen(text), &unit, &error);
	if (r == 0 && ygr_policy_unit_errors(unit) == 0)
		ygr_policy_unit_review(unit);
	double took = seconds() - start;
	if (took > 10)
		fail_msg("%s took %.1f s", what, took);
	if (r < 0) {
		assert_int_equal(r, -E2BIG);
		assert_non_null(strstr(error.message, sentence));
	} else {
		struct ygr_buf messages = said(unit);
		if (!strstr((char *)messages.data, sentence))
			fail_msg("%s: \"%s\" is not in:\n%.2000s", what, sentence, (char *)messages.data);
		assert_true(messages.len < 64 * 1024);
		ygr_buf_deinit(&messages);
	}
	ygr_policy_unit_free(unit);
	free(text);
}

#define RULE "policy p { guest { rule a: deny exec if "

static void test_hostile(void **state)
{
	(void)state;
	size_t full = YGR_POLICY_SOURCE_MAX;
	expect_bounded("brackets", repeat(RULE, "(", "", full), "nested deeper than");
	expect_bounded("nots", repeat(RULE, "not ", "", full), "nested deeper than");
	expect_bounded("ands", repeat(RULE "by user 1", " and by user 1", "}}", full),
		       "at most 256 conditions");
	expect_bounded("braces", repeat("policy p {", "{", "", full), "expected");
	expect_bounded("policies", repeat("", "policy p { }\n", "", full), "at most 64 policies");
	expect_bounded("rules", repeat("policy p { guest {", "rule a: deny bpf\n", "}}", full),
		       "at most 4096 rules");
	expect_bounded("garbage", repeat("", "\x01\x80%;'[", "", full), "may be more errors");
	expect_bounded("one line", repeat("policy p { let a = \"", "/x", "", full), "does not end");
	expect_bounded("comment", repeat("# ", "\xc3\xa9", "", full), "expected \"policy\"");
	expect_bounded(
	    "doubling",
	    repeat("policy p { let a = user { 1, 3, 5 }\n", "let b = { a, a, a, a }\n", "}", full),
	    "made twice");
	expect_bounded("one set", repeat("policy p { let a = { \"/x\"", ",\"/y\"", "} }", full),
		       "at most 65536");
	expect_bounded("a word", repeat("policy ", "x", " { }", full), "at most 63 bytes");
	expect_bounded("a number", repeat("policy p { let a = port 1", "0", " }", full),
		       "expected a number");
}

static void test_let_chain(void **state)
{
	(void)state;
	char *text = calloc(1, YGR_POLICY_SOURCE_MAX), *end = text;
	end = stpcpy(end, "policy p { let a0 = user 1\n");
	for (int i = 1; i < 20000; i++)
		end += sprintf(end, "let z%05d = z%05d\n", 20000 - i, 20000 - i - 1);
	stpcpy(end, "}");
	expect_bounded("chain", text, "deeper than 32 levels");

	/* One large set in many others: memory is bounded, not the product. */
	text = calloc(1, YGR_POLICY_SOURCE_MAX);
	end = stpcpy(text, "policy p { let a = user { 1");
	for (int i = 1; i < 60000; i++)
		end += sprintf(end, ",%d", i * 2);
	end = stpcpy(end, "}\n");
	for (int i = 0; i < 10000; i++)
		end += sprintf(end, "let b%d = { a, %d }\n", i, i);
	stpcpy(end, "}");
	expect_bounded("product", text, "needs more than 64 MiB");
}

static void test_too_large(void **state)
{
	(void)state;
	size_t len = 10u << 20;
	char *text = calloc(1, len);
	memset(text, ' ', len);
	struct ygr_policy_unit *unit = NULL;
	struct ygr_error error = YGR_ERROR_INIT;
	assert_int_equal(ygr_policy_unit_new("large", text, len, &unit, &error), -EFBIG);
	assert_non_null(strstr(error.message, "at most 1024 KiB"));
	assert_null(unit);
	free(text);
}

/* Every prefix of a policy is refused or understood, never more: none may crash or loop. */
static void test_prefixes(void **state)
{
	(void)state;
	size_t len;
	char *text = fixtures_read(GOOD, "operations", ".policy", &len);
	while (len > 0 && text[len - 1] != '}')
		len--;
	for (size_t i = 0; i < len; i++) {
		struct ygr_policy_unit *unit = unit_of("prefix", text, i);
		assert_true(ygr_policy_unit_errors(unit) > 0);
		ygr_policy_unit_free(unit);
	}
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_canonical), cmocka_unit_test(test_messages),
	    cmocka_unit_test(test_hostile),   cmocka_unit_test(test_let_chain),
	    cmocka_unit_test(test_too_large), cmocka_unit_test(test_prefixes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
