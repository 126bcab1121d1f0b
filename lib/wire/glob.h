/*
 * Globs of grants: '*' is any run of characters, '?' any one, all else is itself. Time is bounded by the
 * product of both lengths, whatever the pattern (fnmatch(3) can take exponentially long).
 */
#pragma once

#include <stdbool.h>

/* For names: '*' matches everything, '/' too. */
bool ygr_glob_match(const char *pattern, const char *text);

/* For absolute paths: '*' and '?' do not match '/'; a trailing "/" followed by two stars is everything
 * below. */
bool ygr_glob_match_path(const char *pattern, const char *path);

/* Could something below the directory DIRECTORY ("/" or without trailing '/') match the path pattern? */
bool ygr_glob_leads(const char *pattern, const char *directory);
