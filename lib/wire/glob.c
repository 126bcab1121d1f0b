/*
 * Globs; see glob.h. The classic two-pointer match: only the last star ever needs another try, since
 * whatever an earlier one could take, the later one can take too. For paths that holds within a component,
 * and a star that would have to take a '/' ends the match.
 */
#include "lib/wire/glob.h"

#include <stddef.h>
#include <string.h>

/* Matches the LEN bytes of PATTERN against TEXT; with STOP ('/' or NUL) no wildcard takes that character. */
static bool match(const char *pattern, size_t len, const char *text, char stop)
{
	const char *end = pattern + len, *star = NULL, *retry = NULL;
	while (*text) {
		if (pattern < end && *pattern == '*') {
			star = ++pattern;
			retry = text;
		} else if (pattern < end && (*pattern == *text || (*pattern == '?' && *text != stop))) {
			pattern++;
			text++;
		} else if (star && *retry != stop) {
			pattern = star;
			text = ++retry;
		} else {
			return false;
		}
	}
	while (pattern < end && *pattern == '*')
		pattern++;
	return pattern == end;
}

bool ygr_glob_match(const char *pattern, const char *text)
{
	return match(pattern, strlen(pattern), text, '\0');
}

/* Does the pattern end in two stars after a '/'? LEN of what comes before that '/'. */
static bool is_subtree(const char *pattern, size_t *ret_len)
{
	size_t len = strlen(pattern);
	if (len < 3 || strcmp(pattern + len - 3, "/**") != 0)
		return false;
	*ret_len = len - 3;
	return true;
}

/* The end of the Nth component of an absolute path, or NULL when it has fewer. */
static const char *after_components(const char *path, size_t n)
{
	while (n--) {
		if (*path != '/')
			return NULL;
		path += 1 + strcspn(path + 1, "/");
	}
	return path;
}

static size_t count_components(const char *path, size_t len)
{
	size_t n = 0;
	for (size_t i = 0; i < len; i++)
		n += path[i] == '/';
	return n;
}

bool ygr_glob_match_path(const char *pattern, const char *path)
{
	size_t len;
	if (!is_subtree(pattern, &len))
		return match(pattern, strlen(pattern), path, '/');

	/* The first components match what stands before, and there is something after them. */
	const char *rest = after_components(path, count_components(pattern, len));
	if (!rest || rest[0] != '/' || rest[1] == '\0')
		return false;
	char head[4096];
	size_t head_len = (size_t)(rest - path);
	if (head_len >= sizeof(head))
		return false;
	memcpy(head, path, head_len);
	head[head_len] = '\0';
	return match(pattern, len, head, '/');
}

bool ygr_glob_leads(const char *pattern, const char *directory)
{
	if (strcmp(directory, "/") == 0)
		return true;

	size_t len, directory_components = count_components(directory, strlen(directory));
	bool subtree = is_subtree(pattern, &len);
	if (!subtree)
		len = strlen(pattern);
	size_t components = count_components(pattern, len);
	if (subtree && components <= directory_components) {
		char with_child[4096];
		size_t n = strlen(directory);
		if (n + 3 > sizeof(with_child))
			return false;
		memcpy(with_child, directory, n);
		memcpy(with_child + n, "/x", 3); /* any child stands for all: the subtree takes every one */
		return ygr_glob_match_path(pattern, with_child);
	}
	if (components <= directory_components)
		return false;
	const char *end = after_components(pattern, directory_components);
	return end && match(pattern, (size_t)(end - pattern), directory, '/');
}
