/* YAML documents: types of scalars, positions, everything that is refused and the words it is refused with.
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

#include "lib/base/yaml.h"

static struct ygr_doc **parse(const char *text, size_t *count)
{
	struct ygr_doc **docs = NULL;
	struct ygr_error error = YGR_ERROR_INIT;

	int r = ygr_yaml_parse("f.yaml", text, strlen(text), &docs, count, &error);
	if (r < 0)
		fail_msg("%s", error.message);
	return docs;
}

static void test_scalars(void **state)
{
	size_t n;
	struct ygr_doc **docs =
	    parse("a: true\nb: 'true'\nc: 12\nd: \"12\"\ne: 1.5\nf: ~\ng: 0x1f\nh: -7\ni: web-3\n"
		  "j: 2026-11-20\nk: 1e3\nl: FALSE\nm: !!str 5\nn: |\n  two\n  lines\no:\np: 1.2.3\n",
		  &n);
	(void)state;
	assert_int_equal(n, 1);
	char *dump = json_dumps(ygr_doc_root(docs[0]), JSON_COMPACT | JSON_SORT_KEYS);
	assert_string_equal(
	    dump, "{\"a\":true,\"b\":\"true\",\"c\":12,\"d\":\"12\",\"e\":1.5,\"f\":null,\"g\":31,"
		  "\"h\":-7,\"i\":\"web-3\",\"j\":\"2026-11-20\",\"k\":1000.0,\"l\":false,\"m\":\"5\","
		  "\"n\":\"two\\nlines\\n\",\"o\":null,\"p\":\"1.2.3\"}");
	free(dump);
	ygr_docs_free(docs, n);
}

static void expect_position(const struct ygr_doc *doc, const char *pointer, unsigned line, unsigned column)
{
	unsigned l = 0, c = 0;

	assert_int_equal(ygr_doc_position(doc, pointer, &l, &c), 0);
	assert_int_equal(l, line);
	assert_int_equal(c, column);
}

static void test_positions(void **state)
{
	size_t n;
	struct ygr_doc **docs =
	    parse("# comment\n---\nspec:\n  apps:\n  - name: exec\n    args: [\"-x\", y]\n"
		  "  labels: {example.org/app: web, a~b: c}\n---\nkind: Second\n---\n---\n",
		  &n);
	unsigned l, c;
	(void)state;
	assert_int_equal(n, 2);
	expect_position(docs[0], "", 3, 1);
	expect_position(docs[0], "/spec/apps", 5, 3);
	expect_position(docs[0], "/spec/apps/0/name", 5, 11);
	expect_position(docs[0], "/spec/apps/0/args/1", 6, 18);
	expect_position(docs[0], "/spec/labels/example.org~1app", 7, 29);
	expect_position(docs[0], "/spec/labels/a~0b", 7, 39);
	expect_position(docs[1], "/kind", 9, 7);
	assert_int_equal(ygr_doc_position(docs[0], "/spec/nothing", &l, &c), -ENOENT);
	assert_int_equal(ygr_doc_position(docs[0], "/spec/apps/1", &l, &c), -ENOENT);
	ygr_docs_free(docs, n);
}

static void test_json_is_yaml(void **state)
{
	size_t n;
	struct ygr_doc **docs = parse("{\n\t\"a\": [1, {\"b\": null}],\n\t\"c\": \"\\u00e9\"\n}\n", &n);
	(void)state;
	assert_int_equal(n, 1);
	assert_string_equal(json_string_value(json_object_get(ygr_doc_root(docs[0]), "c")), "\xc3\xa9");
	expect_position(docs[0], "/a/1/b", 2, 17);
	ygr_docs_free(docs, n);
}

static void test_refusals(void **state)
{
	static const struct {
		const char *text;
		int code;
		const char *message;
	} cases[] = {
	    {"a: 1\nb: 2\na: 3\n", EINVAL, "f.yaml:3:1: duplicate key \"a\""},
	    {"a: &x [1]\nb: *x\n", EINVAL,
	     "f.yaml:2:4: aliases (*name) are not accepted; write the value out"},
	    {"a: yes\n", EINVAL,
	     "f.yaml:1:4: yes: some YAML readers take this word for a boolean; write true or false, or "
	     "quote it"},
	    {"a: [on]\n", EINVAL,
	     "f.yaml:1:5: on: some YAML readers take this word for a boolean; write true or false, or quote "
	     "it"},
	    {"a: 0755\n", EINVAL,
	     "f.yaml:1:4: 0755: some YAML readers take a leading zero for octal; drop the zero, or quote "
	     "it"},
	    {"a: .nan\n", EINVAL,
	     "f.yaml:1:4: .nan: not a number that JSON knows; quote it if it is a string"},
	    {"a: 99999999999999999999\n", EINVAL,
	     "f.yaml:1:4: 99999999999999999999: the number does not fit 64 bits; quote it if it is a "
	     "string"},
	    {"a: \"x\\0y\"\n", EINVAL, "f.yaml:1:4: NUL character in a string"},
	    {"a: !!binary aGk=\n", EINVAL, "f.yaml:1:4: tags other than !!str are not accepted"},
	    {"a: [1, 2\n", EINVAL,
	     "f.yaml:2:1: did not find expected ',' or ']' while parsing a flow sequence"},
	    {"a: b: c\n", EINVAL, "f.yaml:1:5: mapping values are not allowed in this context"},
	    {"? [a]\n: 1\n", EINVAL, "f.yaml:1:3: expected a plain key"},
	};
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct ygr_error error = YGR_ERROR_INIT;
		struct ygr_doc **docs;
		size_t n;
		int r = ygr_yaml_parse("f.yaml", cases[i].text, strlen(cases[i].text), &docs, &n, &error);
		assert_int_equal(r, -cases[i].code);
		assert_string_equal(error.message, cases[i].message);
	}
}

static void expect_code(const char *text, size_t len, int code)
{
	struct ygr_error error = YGR_ERROR_INIT;
	struct ygr_doc **docs;
	size_t n;

	assert_int_equal(ygr_yaml_parse("f.yaml", text, len, &docs, &n, &error), code);
	assert_true(error.message[0]);
}

static void test_bounds(void **state)
{
	char *text = malloc(YGR_YAML_FILE_MAX + 16);
	(void)state;

	memset(text, '[', 64);
	expect_code(text, 64, -E2BIG);
	memset(text, ' ', YGR_YAML_FILE_MAX + 1);
	expect_code(text, YGR_YAML_FILE_MAX + 1, -E2BIG);
	text[0] = '[';
	for (size_t i = 1; i < 2 * YGR_YAML_NODES_MAX + 10; i += 2)
		memcpy(text + i, "1,", 2);
	expect_code(text, 2 * YGR_YAML_NODES_MAX + 10, -E2BIG);
	memset(text, 'k', YGR_YAML_KEY_MAX + 1);
	strcpy(text + YGR_YAML_KEY_MAX + 1, ": 1\n");
	expect_code(text, YGR_YAML_KEY_MAX + 5, -E2BIG);
	expect_code("\xff\xfe\xff", 3, -EINVAL);
	free(text);
}

static void test_read(void **state)
{
	struct ygr_error error = YGR_ERROR_INIT;
	struct ygr_doc **docs;
	size_t n;
	(void)state;

	assert_int_equal(ygr_yaml_read("/nonexistent/x.yaml", "x.yaml", &docs, &n, &error), -ENOENT);
	assert_string_equal(error.message, "x.yaml: No such file or directory");
	assert_int_equal(ygr_yaml_read("/dev/null", NULL, &docs, &n, &error), -EINVAL);
	assert_string_equal(error.message, "/dev/null: not a regular file");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_scalars),      cmocka_unit_test(test_positions),
	    cmocka_unit_test(test_json_is_yaml), cmocka_unit_test(test_refusals),
	    cmocka_unit_test(test_bounds),       cmocka_unit_test(test_read),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
