/* See names.h. */
#include "agent/telebpf/guestfs/names.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

static bool name_ok(const char *name, size_t len)
{
	if (len == 0 || len > NAME_MAX || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return false;
	for (size_t i = 0; i < len; i++)
		if (name[i] == '/' || (unsigned char)name[i] < 0x20 || name[i] == 0x7f)
			return false;
	return true;
}

static bool type_ok(uint8_t type)
{
	return type == DT_DIR || type == DT_REG || type == DT_LNK || type == DT_UNKNOWN;
}

static int add(struct ygr_guestfs_names *names, uint8_t type, const char *name)
{
	/* Doubles at powers of two, beginning with 64. */
	if (names->count >= 64 ? (names->count & (names->count - 1)) == 0 : names->count == 0) {
		size_t room = names->count ? names->count * 2 : 64;
		struct ygr_guestfs_name *entries = reallocarray(names->entries, room, sizeof(*entries));

		if (!entries)
			return -ENOMEM;
		names->entries = entries;
	}
	names->entries[names->count++] = (struct ygr_guestfs_name){type, name};
	return 0;
}

int ygr_guestfs_names_parse(const uint8_t *data, size_t len, bool (*shown)(void *user, const char *name),
			    void *user, struct ygr_guestfs_names *ret)
{
	struct ygr_guestfs_names names = {0};
	int r = 0;

	if (len > YGR_GUESTFS_NAMES_SIZE)
		return -EOVERFLOW;
	names.text = malloc(len ? len : 1);
	if (!names.text)
		return -ENOMEM;
	if (len)
		memcpy(names.text, data, len);
	for (size_t at = 0; r == 0 && at < len;) {
		const char *name = names.text + at + 1;
		size_t room = len - at - 1, size = strnlen(name, room);

		if (size == room)
			r = -EPROTO;
		else if (names.count == YGR_GUESTFS_NAMES_MAX)
			r = -EOVERFLOW;
		else if (name_ok(name, size) && type_ok(data[at]) && shown(user, name))
			r = add(&names, data[at], name);
		at += size + 2;
	}
	if (r < 0) {
		ygr_guestfs_names_deinit(&names);
		return r;
	}
	*ret = names;
	return 0;
}

void ygr_guestfs_names_deinit(struct ygr_guestfs_names *names)
{
	free(names->text);
	free(names->entries);
	*names = (struct ygr_guestfs_names){0};
}
