/* See names.h. Descriptors are opened with O_PATH, which touches nothing of what is behind the name. */
#include "guest-image/policy/names.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/policy/arena.h"

#define AT_ONCE     192
#define ARENA_BYTES (64u << 20)
#define CGROUPS     "/sys/fs/cgroup"
#define NO_DEVICE   0xffffffffu /* of identities for files that are not there */

bool ygr_guest_names_split(const char *path, char *out_parent, const char **ret_last)
{
	const char *slash = strrchr(path, '/');
	if (!slash || !slash[1])
		return false;
	size_t length = (size_t)(slash - path);
	memcpy(out_parent, path, length);
	out_parent[length] = '\0';
	if (length == 0)
		strcpy(out_parent, "/");
	*ret_last = slash + 1;
	return true;
}

static int add(struct ygr_guest_name_table *table, const char *path)
{
	if ((table->count & (table->count - 1)) == 0) {
		struct ygr_guest_name *more =
		    reallocarray(table->names, table->count ? table->count * 2 : 1, sizeof(*more));
		if (!more)
			return -ENOMEM;
		table->names = more;
	}
	const char *copy = ygr_policy_arena_text(table->arena, *path ? path : "/", *path ? strlen(path) : 1);
	if (!copy)
		return -ENOMEM;
	table->names[table->count++] = (struct ygr_guest_name){.path = copy};
	return 0;
}

/* PATH, its directory, and the same of where PATH really leads. */
static int add_exact(struct ygr_guest_name_table *table, const char *path)
{
	char real[PATH_MAX], parent[YGR_POLICY_PATH_MAX + 1];
	const char *last, *both[2] = {path, realpath(path, real)};
	int r = 0;
	for (unsigned i = 0; i < 2 && both[i] && r == 0; i++) {
		r = add(table, both[i]);
		if (r == 0 && ygr_guest_names_split(both[i], parent, &last))
			r = add(table, parent);
	}
	return r;
}

static int add_item(struct ygr_guest_name_table *table, struct ygr_bundle *bundle,
		    struct ygr_policy_item *item)
{
	char real[PATH_MAX];
	if (item->kind == YGR_ITEM_EXACT)
		return add_exact(table, item->text);
	if (item->kind != YGR_ITEM_UNDER)
		return 0;
	if (item->length > 0 && realpath(item->text, real)) {
		const char *text = strcmp(real, "/") == 0 ? "" : real;
		item->length = strlen(text);
		item->text = ygr_policy_arena_text(bundle->arena, text, item->length);
		if (!item->text)
			return -ENOMEM;
	}
	return add(table, item->text);
}

static int collect(struct ygr_guest_name_table *table, struct ygr_bundle *bundle)
{
	static const enum ygr_policy_set_class classes[] = {YGR_SET_OBJECT, YGR_SET_EXE, YGR_SET_LINEAGE};
	int r = 0;
	for (unsigned i = 0; i < 3; i++)
		for (const struct ygr_policy_set *set = bundle->code->policy->sets[classes[i]]; set;
		     set = set->next)
			for (size_t j = 0; j < set->value->flat_count && r == 0; j++)
				r = add_item(table, bundle, set->value->flat[j]);
	return r;
}

static int by_path(const void *a, const void *b)
{
	return strcmp(((const struct ygr_guest_name *)a)->path, ((const struct ygr_guest_name *)b)->path);
}

static int look_up(struct ygr_loader *loader, struct ygr_guest_name *names, size_t count)
{
	struct ygr_policy_identity identities[AT_ONCE];
	int fds[AT_ONCE];
	for (size_t i = 0; i < count; i++)
		fds[i] = open(names[i].path, O_PATH | O_CLOEXEC);
	int r = ygr_loader_identify(loader, fds, count, identities);
	for (size_t i = 0; i < count; i++) {
		names[i].identity = identities[i];
		names[i].found = fds[i] >= 0 && identities[i].inode != 0;
		if (fds[i] >= 0)
			close(fds[i]);
	}
	return r;
}

int ygr_guest_names_look_up(struct ygr_loader *loader, struct ygr_bundle *const *bundles, size_t count,
			    struct ygr_guest_name_table *ret_table, struct ygr_error *error)
{
	struct ygr_guest_name_table table = {.arena = ygr_policy_arena_new(ARENA_BYTES)};
	size_t kept = 0;
	int r = table.arena ? 0 : -ENOMEM;
	for (size_t i = 0; i < count && r == 0; i++)
		r = collect(&table, bundles[i]);
	if (table.count)
		qsort(table.names, table.count, sizeof(*table.names), by_path);
	for (size_t i = 0; i < table.count; i++)
		if (i == 0 || strcmp(table.names[i].path, table.names[kept - 1].path) != 0)
			table.names[kept++] = table.names[i];
	table.count = kept;
	for (size_t i = 0; i < kept && r == 0; i += AT_ONCE)
		r = look_up(loader, table.names + i, kept - i < AT_ONCE ? kept - i : AT_ONCE);
	if (r < 0) {
		ygr_guest_names_free(&table);
		return ygr_error_set(error, -r, "the names in policies cannot be looked up: %s",
				     strerror(-r));
	}
	*ret_table = table;
	return 0;
}

void ygr_guest_names_free(struct ygr_guest_name_table *table)
{
	free(table->names);
	ygr_policy_arena_free(table->arena);
	*table = (struct ygr_guest_name_table){0};
}

const struct ygr_guest_name *ygr_guest_names_find(const struct ygr_guest_name_table *table, const char *path)
{
	struct ygr_guest_name key = {.path = *path ? path : "/"};
	return table->count ? bsearch(&key, table->names, table->count, sizeof(key), by_path) : NULL;
}

int ygr_guest_names_file(void *user, const char *path, struct ygr_policy_identity *ret_identity)
{
	const struct ygr_guest_name_table *table = user;
	const struct ygr_guest_name *name = ygr_guest_names_find(table, path);
	char parent[YGR_POLICY_PATH_MAX + 1];
	const char *last;
	if (!name)
		return -ENOENT;
	if (name->found) {
		*ret_identity = name->identity;
		return 0;
	}
	if (!ygr_guest_names_split(name->path, parent, &last))
		return -ENOENT;
	const struct ygr_guest_name *above = ygr_guest_names_find(table, parent);
	if (!above || !above->found)
		return -ENOENT;
	*ret_identity =
	    (struct ygr_policy_identity){.device = NO_DEVICE, .inode = (uint64_t)(name - table->names) + 1};
	return 0;
}

int ygr_guest_names_cgroup(void *user, const char *path, __u64 *ret_id)
{
	char full[sizeof(CGROUPS) + YGR_POLICY_PATH_MAX + 1] = CGROUPS;
	struct stat st;
	(void)user;
	strncat(full, path, YGR_POLICY_PATH_MAX);
	if (stat(full, &st) < 0)
		return -ENOENT;
	*ret_id = st.st_ino;
	return 0;
}
