/* The questions that a grant answers about lists and files; see grant.h. */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "lib/wire/glob.h"
#include "lib/wire/grant-lists.h"

int ygr_grant_deny(const struct ygr_grant *grant, const char *who, struct ygr_error *error,
		   const char *format, ...)
{
	char thing[YGR_ERROR_MESSAGE_MAX / 2];
	va_list ap;
	va_start(ap, format);
	vsnprintf(thing, sizeof(thing), format, ap);
	va_end(ap);
	return ygr_error_set(error, EACCES, "%.128s%s%s is not in %s", grant->program,
			     *grant->program ? ": " : "", thing, who);
}

bool ygr_grant_list_has(const struct ygr_grant_list *list, const char *name)
{
	if (list->all)
		return true;
	for (size_t i = 0; i < list->count; i++)
		if (ygr_glob_match(list->entries[i], name))
			return true;
	return false;
}

bool ygr_grant_list_has_path(const struct ygr_grant_list *list, const char *path)
{
	if (list->all)
		return true;
	for (size_t i = 0; i < list->count; i++)
		if (ygr_glob_match_path(list->entries[i], path))
			return true;
	return false;
}

bool ygr_grant_path_is_clean(const char *path)
{
	if (path[0] != '/')
		return false;
	for (const char *p = path; *p;) {
		size_t len = strcspn(++p, "/");
		if (len == 0 || (len == 1 && p[0] == '.') || (len == 2 && p[0] == '.' && p[1] == '.'))
			return path[1] == '\0'; /* the root alone ends in a slash */
		p += len;
	}
	return true;
}

int ygr_grant_check_file(const struct ygr_grant *grant, const char *who, const char *path, int flags,
			 struct ygr_error *error)
{
	if (!ygr_grant_path_is_clean(path) || strlen(path) > 4095)
		return ygr_error_set(error, EACCES, "path '%.256s' is not absolute and plain", path);

	int mode = flags & O_ACCMODE;
	bool reads = mode == O_RDONLY || mode == O_RDWR;
	bool writes = mode != O_RDONLY || flags & (O_CREAT | O_TRUNC | O_APPEND);
	if (!reads && mode != O_WRONLY)
		return ygr_error_set(error, EACCES, "path '%.256s': unknown access mode", path);
	if (reads && !ygr_grant_list_has_path(&grant->read, path))
		return ygr_grant_deny(grant, who, error, "reading %s", path);
	if (writes && !ygr_grant_list_has_path(&grant->write, path))
		return ygr_grant_deny(grant, who, error, "writing %s", path);
	return 0;
}

static bool list_leads(const struct ygr_grant_list *list, const char *directory)
{
	if (list->all)
		return true;
	for (size_t i = 0; i < list->count; i++)
		if (ygr_glob_leads(list->entries[i], directory))
			return true;
	return false;
}

bool ygr_grant_leads_to(const struct ygr_grant *grant, const char *directory)
{
	return ygr_grant_path_is_clean(directory) &&
	       (list_leads(&grant->read, directory) || list_leads(&grant->write, directory));
}
