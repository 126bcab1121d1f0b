/* The catalogue: what it accepts, what it says of what it does not, the grants it makes. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "agent/telebpf/catalogue.h"
#include "lib/base/hex.h"
#include "lib/wire/grant.h"

static char path[] = "/tmp/yagura-catalogue-XXXXXX.yaml";

#define HEAD "apiVersion: yagura.dev/v1alpha1\nkind: Catalogue\n"

static int read_text(const char *text, struct ygr_catalogue **ret, struct ygr_error *error)
{
	FILE *file = fopen(path, "w");
	assert_non_null(file);
	fputs(text, file);
	fclose(file);
	return ygr_catalogue_read((const char *const[]){path}, 1, ret, error);
}

static void merges_what_is_common(void **state)
{
	(void)state;
	struct ygr_catalogue *catalogue;
	struct ygr_error error = YGR_ERROR_INIT;
	if (read_text(HEAD "common:\n"
			   "  programTypes: [socket_filter]\n"
			   "  files: {read: [\"/sys/kernel/btf/*\"]}\n"
			   "programs:\n"
			   "- name: one\n"
			   "  executable: /bin/true\n"
			   "  args: [\"-x\", \"[0-9]*\"]\n"
			   "  columns: {header: true}\n"
			   "  wake: Notify\n"
			   "  programTypes: [kprobe]\n"
			   "  attach: [\"kprobe:tcp_v4_connect\"]\n",
		      &catalogue, &error) < 0)
		fail_msg("%s", error.message);

	const char *nearest;
	assert_null(ygr_catalogue_find(catalogue, "onw", &nearest));
	assert_string_equal(nearest, "one");
	const struct ygr_catalogue_entry *entry = ygr_catalogue_find(catalogue, "one", NULL);
	assert_non_null(entry);
	assert_true(ygr_catalogue_has_header(entry));
	assert_string_equal(ygr_catalogue_wake(entry), "Notify");
	assert_int_equal(ygr_catalogue_check_args(entry, (char *[]){"-x", "12", NULL}, &error), 0);
	assert_int_equal(ygr_catalogue_check_args(entry, (char *[]){"-x", "--evil", NULL}, &error), -EPERM);
	assert_non_null(strstr(error.message, "--evil"));

	uint8_t sha256[32] = {0};
	assert_int_equal(ygr_catalogue_hash(entry, sha256, &error), 0);
	json_t *grant = ygr_catalogue_grant(entry, sha256, "8f1b1f0e-0000-4000-8000-000000000001", 1000000);
	char *text = json_dumps(grant, JSON_COMPACT);
	assert_non_null(strstr(text, "\"programTypes\":[\"socket_filter\",\"kprobe\"]"));
	free(text);
	struct ygr_grant *parsed = ygr_grant_new_json(grant, true, &error);
	assert_non_null(parsed);
	assert_string_equal(ygr_grant_program(parsed), "one");
	assert_true(ygr_grant_not_after(parsed) > 1000000);
	ygr_grant_free(parsed);
	json_decref(grant);
	ygr_catalogue_free(catalogue);
}

static void an_adhoc_grant_is_a_grant(void **state)
{
	(void)state;
	const uint8_t sha256[32] = {0};
	struct ygr_error error = YGR_ERROR_INIT;
	json_t *grant =
	    ygr_catalogue_grant_adhoc("/root/tool", sha256, "8f1b1f0e-0000-4000-8000-000000000001", 5);
	struct ygr_grant *parsed = ygr_grant_new_json(grant, true, &error);
	if (!parsed)
		fail_msg("%s", error.message);
	assert_string_equal(ygr_grant_program(parsed), "adhoc:/root/tool");
	assert_int_equal(ygr_grant_max_memory(parsed), YGR_GRANT_MEMORY_MAX);
	assert_int_equal(ygr_grant_max_handles(parsed), YGR_GRANT_HANDLES_MAX);
	ygr_grant_free(parsed);
	json_decref(grant);
}

static void says_what_is_wrong(void **state)
{
	(void)state;
	static const struct {
		const char *text, *expected;
	} cases[] = {
	    {"kind: Catalogue\nprograms: []\n", "apiVersion"},
	    {HEAD "program: []\n", "programs"},
	    {HEAD "programs:\n- executable: /bin/true\n", "name"},
	    {HEAD "programs:\n- name: a\n", "executable"},
	    {HEAD "programs:\n- {name: a, executable: true}\n", ":4:"},
	    {HEAD "programs:\n- {name: a, executable: bin/true}\n", "absolute path"},
	    {HEAD "programs:\n- {name: a, executable: /bin/true, sha256: abcd}\n", "64 hexadecimal digits"},
	    {HEAD "programs:\n- {name: a, executable: /bin/true, programTypes: [nonsense]}\n", "nonsense"},
	    {HEAD "programs:\n- {name: a, executable: /bin/true, attach: [\"nonsense\"]}\n", "nonsense"},
	    {HEAD "programs:\n- {name: a, executable: /bin/true, helpers: [bpf_nonsense]}\n",
	     "bpf_nonsense"},
	    {HEAD "programs:\n- {name: a, executable: /bin/true}\n- {name: a, executable: /bin/true}\n",
	     "already"},
	    {HEAD "programs:\n- {name: a, executable: /bin/true, wake: Never}\n", "Adaptive"},
	    {HEAD "programs: 7\n", "programs"},
	    {"", ""},
	};
	for (size_t i = 0; cases[i].text[0]; i++) {
		struct ygr_catalogue *catalogue = NULL;
		struct ygr_error error = YGR_ERROR_INIT;
		assert_true(read_text(cases[i].text, &catalogue, &error) < 0);
		if (!strstr(error.message, cases[i].expected) || !strstr(error.message, path))
			fail_msg("case %zu: \"%s\" does not name %s and \"%s\"", i, error.message, path,
				 cases[i].expected);
	}
}

static void the_shipped_one_is_good(void **state)
{
	(void)state;
	struct ygr_catalogue *catalogue;
	struct ygr_error error = YGR_ERROR_INIT;
	if (ygr_catalogue_read((const char *const[]){YAGURA_CATALOGUE}, 1, &catalogue, &error) < 0)
		fail_msg("%s", error.message);
	for (const char **name = (const char *[]){"execsnoop", "opensnoop", "tcpconnect", NULL}; *name;
	     name++)
		assert_non_null(ygr_catalogue_find(catalogue, *name, NULL));
	ygr_catalogue_free(catalogue);
}

static void a_hash_is_held(void **state)
{
	(void)state;
	char tool[] = "/tmp/yagura-tool-XXXXXX", text[512];
	int fd = mkstemp(tool);
	assert_int_equal(write(fd, "one", 3), 3);
	struct ygr_catalogue *catalogue;
	struct ygr_error error = YGR_ERROR_INIT;
	snprintf(text, sizeof(text), HEAD "programs:\n- {name: a, executable: %s}\n", tool);
	assert_int_equal(read_text(text, &catalogue, &error), 0);
	const struct ygr_catalogue_entry *entry = ygr_catalogue_find(catalogue, "a", NULL);
	uint8_t before[32], after[32], now[32];
	char hex[65];
	assert_int_equal(ygr_catalogue_hash(entry, before, &error), 0);
	ygr_hex_encode(before, 32, hex);
	assert_string_equal(hex, "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed");
	assert_int_equal(write(fd, "two", 3), 3);
	assert_int_equal(ygr_catalogue_hash(entry, after, &error), 0);
	assert_memory_equal(before, after, 32);
	assert_int_equal(ygr_catalogue_hash_file(tool, now, &error), 0);
	assert_memory_not_equal(before, now, 32);
	close(fd);
	unlink(tool);
	ygr_catalogue_free(catalogue);
}

static int setup(void **state)
{
	(void)state;
	int fd = mkstemps(path, 5);
	return fd < 0 ? -1 : close(fd);
}

static int teardown(void **state)
{
	(void)state;
	return unlink(path);
}

/* Debian 13 calls its tools other than Debian 12. */
static void finds_by_suffix(void **state)
{
	(void)state;
	struct ygr_catalogue *catalogue;
	struct ygr_error error = YGR_ERROR_INIT;
	char text[512], without[sizeof(path)];

	snprintf(without, sizeof(without), "%.*s", (int)(strlen(path) - strlen(".yaml")), path);
	snprintf(text, sizeof(text),
		 HEAD "suffix: .yaml\n"
		      "programs:\n"
		      "- {name: there, executable: /bin/true}\n"
		      "- {name: other, executable: %s}\n"
		      "- {name: none, executable: /nonexistent}\n",
		 without);
	if (read_text(text, &catalogue, &error) < 0)
		fail_msg("%s", error.message);
	assert_string_equal(ygr_catalogue_executable(ygr_catalogue_find(catalogue, "there", NULL)),
			    "/bin/true");
	assert_string_equal(ygr_catalogue_executable(ygr_catalogue_find(catalogue, "other", NULL)), path);
	assert_string_equal(ygr_catalogue_executable(ygr_catalogue_find(catalogue, "none", NULL)),
			    "/nonexistent");
	ygr_catalogue_free(catalogue);
	assert_int_equal(read_text(HEAD "suffix: a/b\nprograms: []\n", &catalogue, &error), -EINVAL);
	assert_non_null(strstr(error.message, "ending of a file's name"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(merges_what_is_common), cmocka_unit_test(an_adhoc_grant_is_a_grant),
	    cmocka_unit_test(says_what_is_wrong),    cmocka_unit_test(the_shipped_one_is_good),
	    cmocka_unit_test(a_hash_is_held),        cmocka_unit_test(finds_by_suffix),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
