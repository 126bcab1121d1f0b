/*
 * A directory as it was listed when it was opened: names that passed the checks, in the form in which
 * readdir hands them out. The guest's answer is the hostile input here.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define YGR_GUESTFS_NAMES_MAX  16384u     /* entries of one directory */
#define YGR_GUESTFS_NAMES_SIZE (2u << 20) /* bytes of one listing */

struct ygr_guestfs_name {
	uint8_t type; /* DT_DIR, DT_REG, DT_LNK or DT_UNKNOWN */
	const char *name;
};

struct ygr_guestfs_names {
	char *text; /* owned; the names point into it */
	struct ygr_guestfs_name *entries;
	uint32_t count;
};

/*
 * Reads the entries of a FILE_NAMES answer (what follows its status). Names with '/' or control characters,
 * "." and "..", and types that are not shown are left out, and those for which SHOWN says no. 0, -EPROTO (an
 * entry that does not end), -EOVERFLOW (a bound), -ENOMEM.
 */
int ygr_guestfs_names_parse(const uint8_t *data, size_t len, bool (*shown)(void *user, const char *name),
			    void *user, struct ygr_guestfs_names *ret);
void ygr_guestfs_names_deinit(struct ygr_guestfs_names *names);
