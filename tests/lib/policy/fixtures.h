/* Files that say what is expected, beside the policies that are read. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct fixtures {
	char **names; /* without ".policy", sorted */
	size_t count;
};

/* The policies of DIRECTORY; fails the test when there are none. */
struct fixtures fixtures_find(const char *directory);
void fixtures_free(struct fixtures *fixtures);

/* The whole file, malloc'ed and NUL-terminated; fails the test when it cannot be read. */
char *fixtures_read(const char *directory, const char *name, const char *suffix, size_t *ret_len);

/*
 * Holds TEXT to what is in DIRECTORY/NAME SUFFIX and fails the test with both on a difference. With
 * YGR_POLICY_REGENERATE in the environment writes the file instead.
 */
void fixtures_expect(const char *directory, const char *name, const char *suffix, const char *text,
		     size_t len);
