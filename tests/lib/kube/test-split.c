/* The splitter: every way of cutting the same bytes gives the same objects; bounds hold. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/kube/split.h"

struct seen {
	char text[4096];
	int count, stop_at;
};

static int on_object(void *user, const char *text, size_t len)
{
	struct seen *seen = user;

	assert_int_equal(strlen(text), len);
	snprintf(seen->text + strlen(seen->text), sizeof(seen->text) - strlen(seen->text), "%s\n", text);
	seen->count++;
	return seen->count == seen->stop_at ? -ECANCELED : 0;
}

/* Feeds TEXT in pieces of STEP bytes: the result of the end, or of the piece that failed. */
static int split(enum ygr_kube_split_mode mode, const char *text, size_t step, struct seen *seen,
		 char *envelope)
{
	struct ygr_kube_split s;
	int r = 0;

	memset(seen->text, 0, sizeof(seen->text));
	seen->count = 0;
	ygr_kube_split_init(&s, mode, on_object, seen);
	for (size_t at = 0, len = strlen(text); r == 0 && at < len; at += step)
		r = ygr_kube_split_feed(&s, text + at, len - at < step ? len - at : step);
	if (r == 0)
		r = ygr_kube_split_end(&s);
	if (r == 0 && envelope)
		strcpy(envelope, (const char *)s.envelope.data);
	ygr_kube_split_deinit(&s);
	return r;
}

static void test_list(void **state)
{
	static const char text[] =
	    "{\"kind\":\"XList\", \"metadata\":{\"resourceVersion\":\"7\",\"items\":[1]},\n"
	    " \"items\":[ {\"metadata\":{\"name\":\"a]}\\\"\",\"managedFields\":[{\"x\":[{}]}],\"z\":1}},\n"
	    "{\"managedFields\":[1],\"spec\":{\"managedFields\":[2]},\"metadata\":{\"managedFields\":{}}} ] "
	    "}\n";
	static const char objects[] =
	    "{\"metadata\":{\"name\":\"a]}\\\"\",\"managedFields\":null,\"z\":1}}\n"
	    "{\"managedFields\":[1],\"spec\":{\"managedFields\":[2]},\"metadata\":{\"managedFields\":null}}"
	    "\n";
	struct seen seen = {.stop_at = -1};
	char envelope[512];

	(void)state;
	for (size_t step = 1; step <= sizeof(text); step++) {
		assert_int_equal(split(YGR_KUBE_SPLIT_LIST, text, step, &seen, envelope), 0);
		assert_string_equal(seen.text, objects);
		assert_string_equal(envelope, "{\"kind\":\"XList\", \"metadata\":{\"resourceVersion\":\"7\","
					      "\"items\":[1]},\n \"items\":[] }");
	}
}

static void test_stream(void **state)
{
	static const char text[] =
	    "{\"type\":\"ADDED\",\"object\":{\"metadata\":{\"managedFields\":[{\"a\":\"]\"}],\"name\":\"n\"}"
	    "}}\n\n"
	    "{\"type\":\"BOOKMARK\",\"object\":{\"metadata\":{\"name\":\"managedFields\",\"q\":[[],{}]}}}"
	    "{\"metadata\":{\"managedFields\":[3]}}\n";
	struct seen seen = {.stop_at = -1};

	(void)state;
	for (size_t step = 1; step <= sizeof(text); step++) {
		assert_int_equal(split(YGR_KUBE_SPLIT_STREAM, text, step, &seen, NULL), 0);
		assert_int_equal(seen.count, 3);
		assert_non_null(strstr(seen.text, "{\"metadata\":{\"managedFields\":null,\"name\":\"n\"}}"));
		assert_non_null(strstr(seen.text, "{\"metadata\":{\"managedFields\":[3]}}"));
	}
	seen.stop_at = 2;
	assert_int_equal(split(YGR_KUBE_SPLIT_STREAM, text, 5, &seen, NULL), -ECANCELED);
}

static void test_wrong(void **state)
{
	static const char *const lists[] = {
	    "",
	    "[]",
	    "{",
	    "{}{}",
	    "{\"items\":[{}",
	    "{\"items\":[1]}",
	    "null",
	    "{\"a\":]}",
	    "{]",
	    "}",
	    "{\"items\":[\"x\"]}",
	    "{\"items\":[[]]}",
	    "{\"a",
	    "{\"items\":[{]}]}",
	    "<html>",
	    "{\"items\":{}}",
	    "{\"items\":[{}]}x",
	};
	static const char *const streams[] = {"[", "1", "{\"a\":1", "\"x\"", "{}}", "{}]", "true", "{[}]"};
	struct seen seen = {.stop_at = -1};

	(void)state;
	for (size_t i = 0; i < sizeof(lists) / sizeof(*lists); i++)
		for (size_t step = 1; step < 20; step++)
			assert_int_equal(split(YGR_KUBE_SPLIT_LIST, lists[i], step, &seen, NULL), -EINVAL);
	for (size_t i = 0; i < sizeof(streams) / sizeof(*streams); i++)
		for (size_t step = 1; step < 20; step++)
			assert_int_equal(split(YGR_KUBE_SPLIT_STREAM, streams[i], step, &seen, NULL),
					 -EINVAL);
	assert_int_equal(split(YGR_KUBE_SPLIT_LIST, "{\"items\":null}", 3, &seen, NULL), 0);
}

static int feed_many(enum ygr_kube_split_mode mode, const char *head, const char *piece, size_t times)
{
	struct seen seen = {.stop_at = -1};
	struct ygr_kube_split s;

	ygr_kube_split_init(&s, mode, on_object, &seen);
	int r = ygr_kube_split_feed(&s, head, strlen(head));
	for (size_t i = 0; r == 0 && i < times; i++)
		r = ygr_kube_split_feed(&s, piece, strlen(piece));
	ygr_kube_split_deinit(&s);
	return r;
}

static void test_bounds(void **state)
{
	char kilobyte[1025];

	(void)state;
	memset(kilobyte, 'x', 1024);
	kilobyte[1024] = '\0';
	assert_int_equal(feed_many(YGR_KUBE_SPLIT_STREAM, "{\"a\":\"", kilobyte, 4096), -EMSGSIZE);
	assert_int_equal(feed_many(YGR_KUBE_SPLIT_LIST, "{\"items\":[{\"a\":\"", kilobyte, 4096), -EMSGSIZE);
	assert_int_equal(feed_many(YGR_KUBE_SPLIT_LIST, "{\"a\":\"", kilobyte, 100), -EMSGSIZE);
	assert_int_equal(feed_many(YGR_KUBE_SPLIT_STREAM, "{\"a\":", "[", 200), -EINVAL);
	/* What is left out does not count, however long it is. */
	assert_int_equal(feed_many(YGR_KUBE_SPLIT_LIST, "{\"items\":[{\"metadata\":{\"managedFields\":[\"",
				   kilobyte, 8192),
			 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_list),
	    cmocka_unit_test(test_stream),
	    cmocka_unit_test(test_wrong),
	    cmocka_unit_test(test_bounds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
