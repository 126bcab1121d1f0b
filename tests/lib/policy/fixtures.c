/* See fixtures.h. */
#include "tests/lib/policy/fixtures.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

struct fixtures fixtures_find(const char *directory)
{
	struct fixtures fixtures = {0};
	DIR *dir = opendir(directory);
	assert_non_null(dir);
	for (struct dirent *entry; (entry = readdir(dir));) {
		char *dot = strrchr(entry->d_name, '.');
		if (!dot || strcmp(dot, ".policy") != 0)
			continue;
		fixtures.names = realloc(fixtures.names, (fixtures.count + 1) * sizeof(char *));
		fixtures.names[fixtures.count++] = strndup(entry->d_name, (size_t)(dot - entry->d_name));
	}
	closedir(dir);
	assert_true(fixtures.count > 0);
	qsort(fixtures.names, fixtures.count, sizeof(char *), by_name);
	return fixtures;
}

void fixtures_free(struct fixtures *fixtures)
{
	for (size_t i = 0; i < fixtures->count; i++)
		free(fixtures->names[i]);
	free(fixtures->names);
}

static FILE *open_file(const char *directory, const char *name, const char *suffix, const char *mode)
{
	char path[1024];
	snprintf(path, sizeof(path), "%s/%s%s", directory, name, suffix);
	FILE *file = fopen(path, mode);
	if (!file)
		fail_msg("cannot open %s", path);
	return file;
}

char *fixtures_read(const char *directory, const char *name, const char *suffix, size_t *ret_len)
{
	FILE *file = open_file(directory, name, suffix, "rb");
	fseek(file, 0, SEEK_END);
	size_t len = (size_t)ftell(file);
	rewind(file);
	char *text = calloc(1, len + 1);
	assert_non_null(text);
	assert_int_equal(fread(text, 1, len, file), len);
	fclose(file);
	*ret_len = len;
	return text;
}

void fixtures_expect(const char *directory, const char *name, const char *suffix, const char *text,
		     size_t len)
{
	if (getenv("YGR_POLICY_REGENERATE")) {
		FILE *file = open_file(directory, name, suffix, "wb");
		assert_int_equal(fwrite(text, 1, len, file), len);
		assert_int_equal(fclose(file), 0);
		return;
	}
	size_t expected_len;
	char *expected = fixtures_read(directory, name, suffix, &expected_len);
	if (expected_len != len || memcmp(expected, text, len) != 0)
		fail_msg("%s%s differs. Expected:\n%s\nFound:\n%.*s", name, suffix, expected, (int)len,
			 text);
	free(expected);
}
