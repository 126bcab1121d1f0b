/* See situation.h. What frames do by walking dentries and cgroups is done here on the text of names. */
#include "lib/policy/situation.h"

#include <string.h>

static uint64_t number_of(const char *path, size_t length)
{
	uint64_t h = 14695981039346656037ull;
	for (size_t i = 0; i < length; i++)
		h = (h ^ (unsigned char)path[i]) * 1099511628211ull;
	return h | 1; /* never 0, which is no file */
}

static struct ygr_policy_identity identity_of(const char *path, size_t length)
{
	return (struct ygr_policy_identity){.device = 1, .inode = number_of(path, length)};
}

static int named_file(void *user, const char *path, struct ygr_policy_identity *ret_identity)
{
	(void)user;
	*ret_identity = identity_of(path, strcmp(path, "/") == 0 ? 0 : strlen(path));
	return 0;
}

static int named_cgroup(void *user, const char *path, __u64 *ret_id)
{
	(void)user;
	*ret_id = number_of(path, strcmp(path, "/") == 0 ? 0 : strlen(path));
	return 0;
}

const struct ygr_policy_names ygr_policy_situation_names = {.file = named_file, .cgroup = named_cgroup};

/* The length of PATH without its last component: 0 for what is in "/". */
static size_t parent(const char *path, size_t length)
{
	while (length > 0 && path[length - 1] != '/')
		length--;
	return length > 0 ? length - 1 : 0;
}

/* The nearest directory above PATH that is in TABLE; all zero when there is none. */
static struct ygr_policy_identity nearest(const struct ygr_policy_table *table, const char *path)
{
	size_t length = strlen(path);
	while (length > 0) {
		length = parent(path, length);
		struct ygr_policy_identity identity = identity_of(path, length);
		if (ygr_policy_table_find(table, &identity))
			return identity;
	}
	return (struct ygr_policy_identity){0};
}

static __u64 nearest_cgroup(const struct ygr_policy_table *table, const char *path)
{
	for (size_t length = strcmp(path, "/") == 0 ? 0 : strlen(path);; length = parent(path, length)) {
		__u64 id = number_of(path, length);
		if (ygr_policy_table_find(table, &id))
			return id;
		if (length == 0)
			return 0;
	}
}

static void add_lineage(struct ygr_policy_event *event, const uint32_t *value)
{
	for (unsigned i = 0; value && i < YGR_POLICY_LINEAGE_WORDS; i++)
		event->lineage[i] |= value[i];
}

static void descend(struct ygr_policy_event *event, const struct ygr_policy_image *image, const char *exe)
{
	struct ygr_policy_identity identity = identity_of(exe, strlen(exe));
	struct ygr_policy_identity directory = nearest(&image->tables[YGR_MAP_EXE_DIRECTORIES], exe);
	add_lineage(event, ygr_policy_table_find(&image->tables[YGR_MAP_EXES], &identity));
	add_lineage(event, ygr_policy_table_find(&image->tables[YGR_MAP_EXE_DIRECTORIES], &directory));
}

static void set_file(struct ygr_policy_event *event, const struct ygr_policy_image *image, const char *path,
		     bool missing)
{
	size_t length = strlen(path), above = parent(path, length), name = length - above - 1;
	if (!missing)
		event->file = identity_of(path, length);
	event->entry.directory = identity_of(path, above);
	event->file_directory = nearest(&image->tables[YGR_MAP_DIRECTORIES], path);
	if (name >= YGR_POLICY_NAME_MAX) {
		event->flags |= YGR_POLICY_INCOMPLETE;
		return;
	}
	memcpy(event->entry.name, path + above + 1, name);
	event->name_length = (uint32_t)name;
}

void ygr_policy_situation_event(const struct ygr_policy_situation *situation,
				const struct ygr_policy_image *image, struct ygr_policy_event *ret_event)
{
	struct ygr_policy_event event = {
	    .access = situation->access,
	    .user = situation->user,
	    .group = situation->group,
	    .process = situation->process,
	    .minute = situation->minute,
	    .time_ns = situation->time_ns,
	    .owner = situation->owner,
	    .mode = situation->mode,
	    .family = situation->family,
	    .port = situation->port,
	    .protocol = situation->protocol,
	    .capability = situation->capability,
	    .target_user = situation->target_user,
	};
	memcpy(event.address, situation->address, sizeof(event.address));
	if (situation->exe) {
		event.exe = identity_of(situation->exe, strlen(situation->exe));
		event.exe_directory = nearest(&image->tables[YGR_MAP_EXE_DIRECTORIES], situation->exe);
		descend(&event, image, situation->exe);
	}
	for (size_t i = 0; i < situation->ancestor_count; i++)
		descend(&event, image, situation->ancestors[i]);
	if (situation->cgroup) {
		event.cgroup = nearest_cgroup(&image->tables[YGR_MAP_CGROUPS], situation->cgroup);
		named_cgroup(NULL, situation->cgroup, &event.own_cgroup);
	}
	if (situation->file && strcmp(situation->file, "/") == 0)
		event.file = identity_of("", 0); /* has no name, and is in no directory */
	else if (situation->file)
		set_file(&event, image, situation->file, situation->missing);
	*ret_event = event;
}
