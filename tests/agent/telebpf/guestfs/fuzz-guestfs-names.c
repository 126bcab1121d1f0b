/* A guest's directory listing: whatever bytes it sends, only plain names of shown types come out. */
#include <dirent.h>
#include <stdlib.h>
#include <string.h>

#include "agent/telebpf/guestfs/names.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool shown(void *user, const char *name)
{
	(void)user;
	return name[0] != 'h';
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct ygr_guestfs_names names;

	if (ygr_guestfs_names_parse(data, size, shown, NULL, &names) < 0)
		return 0;
	for (uint32_t i = 0; i < names.count; i++) {
		const char *name = names.entries[i].name;

		if (name[0] == 'h' || !*name || strlen(name) > 255 || strchr(name, '/') ||
		    strcmp(name, ".") == 0 || strcmp(name, "..") == 0 || names.entries[i].type == DT_CHR)
			abort();
	}
	ygr_guestfs_names_deinit(&names);
	return 0;
}
