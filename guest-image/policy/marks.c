/*
 * See marks.h. A set of descendants is known by the sum of its members, so that it keeps its mark over
 * generations, and tasks that were marked stay so.
 */
#include "guest-image/policy/marks.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

static int put(struct ygr_mark_table *table, const void *key, const void *value)
{
	size_t size = table->key_size + table->value_size;
	if (table->count == table->room) {
		size_t room = table->room ? table->room * 2 : 16;
		uint8_t *more = reallocarray(table->rows, room, size);
		if (!more)
			return -ENOMEM;
		table->rows = more;
		table->room = room;
	}
	memcpy(table->rows + table->count * size, key, table->key_size);
	memcpy(table->rows + table->count++ * size + table->key_size, value, table->value_size);
	return 0;
}

static int add_path(struct ygr_policy_marks *marks, const char *path)
{
	if ((marks->count & (marks->count - 1)) == 0) {
		const char **more =
		    reallocarray((void *)marks->paths, marks->count ? marks->count * 2 : 1, sizeof(*more));
		if (!more)
			return -ENOMEM;
		marks->paths = more;
	}
	((const char **)marks->paths)[marks->count++] = path;
	return 0;
}

static int add_paths(struct ygr_policy_marks *marks, const struct ygr_policy_set *sets,
		     enum ygr_policy_item_kind kind)
{
	int r = 0;
	for (const struct ygr_policy_set *set = sets; set; set = set->next)
		for (size_t i = 0; i < set->value->flat_count && r == 0; i++)
			if (set->value->flat[i]->kind == kind)
				r = add_path(marks, set->value->flat[i]->text);
	return r;
}

static int put_directories(struct ygr_mark_table *table, const struct ygr_policy_marks *marks,
			   const struct ygr_guest_name_table *names)
{
	uint32_t one = 1;
	int r = 0;
	for (size_t i = 0; i < marks->count && r == 0; i++) {
		const struct ygr_guest_name *name = ygr_guest_names_find(names, marks->paths[i]);
		if (name && name->found)
			r = put(table, &name->identity, &one);
	}
	return r;
}

static int put_cgroups(struct ygr_mark_table *table, const struct ygr_policy_marks *marks)
{
	uint32_t one = 1;
	uint64_t id;
	int r = 0;
	for (size_t i = 0; i < marks->count && r == 0; i++)
		if (ygr_guest_names_cgroup(NULL, marks->paths[i], (__u64 *)&id) == 0)
			r = put(table, &id, &one);
	return r;
}

/* The entry PATH is known as what PATH means. */
static int watch_entry(struct ygr_mark_table *table, const struct ygr_guest_name_table *names,
		       const char *path, const struct ygr_policy_identity *identity)
{
	struct ygr_policy_entry_name entry = {0};
	char parent[YGR_POLICY_PATH_MAX + 1];
	const char *last;
	if (!ygr_guest_names_split(path, parent, &last) || strlen(last) >= sizeof(entry.name))
		return 0;
	const struct ygr_guest_name *above = ygr_guest_names_find(names, parent);
	if (!above || !above->found)
		return 0;
	entry.directory = above->identity;
	strcpy(entry.name, last);
	return put(table, &entry, identity);
}

static int watch_sets(struct ygr_mark_table *table, const struct ygr_guest_name_table *names,
		      const struct ygr_policy_set *sets)
{
	for (const struct ygr_policy_set *set = sets; set; set = set->next)
		for (size_t i = 0; i < set->value->flat_count; i++) {
			const struct ygr_policy_item *item = set->value->flat[i];
			struct ygr_policy_identity identity;
			char real[PATH_MAX];
			if (item->kind != YGR_ITEM_EXACT ||
			    ygr_guest_names_file((void *)names, item->text, &identity) < 0)
				continue;
			int r = watch_entry(table, names, item->text, &identity);
			if (r == 0 && realpath(item->text, real))
				r = watch_entry(table, names, real, &identity);
			if (r < 0)
				return r;
		}
	return 0;
}

static uint64_t sum_of(const struct ygr_policy_value *value)
{
	uint64_t h = 14695981039346656037ull;
	for (size_t i = 0; i < value->flat_count; i++) {
		h = (h ^ value->flat[i]->kind) * 1099511628211ull;
		for (const char *c = value->flat[i]->text; *c; c++)
			h = (h ^ (unsigned char)*c) * 1099511628211ull;
		h = (h ^ 0x100) * 1099511628211ull;
	}
	return h ? h : 1;
}

/* The mark of a set: the one it has, or a free one. */
static int number_set(struct ygr_frame_control *control, struct ygr_marks *marks,
		      const struct ygr_policy_value *value, uint8_t *ret_mark)
{
	uint64_t sum = sum_of(value);
	int unused = -1;
	for (unsigned i = 0; i < YGR_FRAME_LINEAGES; i++) {
		if (control->lineage_sets[i] == sum) {
			if (!(marks->lineage_used >> i & 1))
				marks->lineage_kept |= 1ull << i;
			marks->lineage_used |= 1ull << i;
			*ret_mark = (uint8_t)i;
			return 0;
		}
		if (control->lineage_sets[i] == 0 && unused < 0)
			unused = (int)i;
	}
	if (unused < 0)
		return -ENOSPC;
	control->lineage_sets[unused] = sum;
	marks->lineage_used |= 1ull << unused;
	*ret_mark = (uint8_t)unused;
	return 0;
}

/* Adds MARK to the row of IDENTITY. */
static int put_lineage(struct ygr_mark_table *table, const struct ygr_policy_identity *identity,
		       uint64_t mark)
{
	size_t size = table->key_size + table->value_size;
	for (size_t i = 0; i < table->count; i++)
		if (memcmp(table->rows + i * size, identity, sizeof(*identity)) == 0) {
			uint64_t marks;
			memcpy(&marks, table->rows + i * size + sizeof(*identity), sizeof(marks));
			marks |= mark;
			memcpy(table->rows + i * size + sizeof(*identity), &marks, sizeof(marks));
			return 0;
		}
	return put(table, identity, &mark);
}

static bool is_below(const char *path, const char *above)
{
	size_t length = strlen(above);
	return strncmp(path, above, length) == 0 && (path[length] == '/' || path[length] == '\0');
}

struct lineage_directory {
	const char *path;
	uint64_t mark;
};

static int put_lineages(struct ygr_loader *loader, const struct ygr_guest_name_table *names,
			struct ygr_ruling *ruling, struct ygr_marks *marks,
			struct lineage_directory *directories, size_t room, size_t *directory_count)
{
	for (const struct ygr_policy_set *set = ruling->bundle->code->policy->sets[YGR_SET_LINEAGE]; set;
	     set = set->next) {
		uint8_t mark = 0;
		int r = number_set(loader->control, marks, set->value, &mark);
		ruling->lineages[set->number] = mark;
		for (size_t i = 0; i < set->value->flat_count && r == 0; i++) {
			const struct ygr_policy_item *item = set->value->flat[i];
			struct ygr_policy_identity identity;
			if (item->kind == YGR_ITEM_UNDER && *directory_count < room)
				directories[(*directory_count)++] =
				    (struct lineage_directory){item->text, 1ull << mark};
			else if (ygr_guest_names_file((void *)names, item->text, &identity) == 0)
				r = put_lineage(&marks->tables[YGR_OUTER_LINEAGE_EXES], &identity,
						1ull << mark);
		}
		if (r < 0)
			return r;
	}
	return 0;
}

static int put_lineage_directories(const struct ygr_guest_name_table *names, struct ygr_marks *marks,
				   const struct lineage_directory *directories, size_t count)
{
	int r = 0;
	for (size_t i = 0; i < count && r == 0; i++) {
		const struct ygr_guest_name *name = ygr_guest_names_find(names, directories[i].path);
		for (size_t j = 0; j < count && r == 0 && name && name->found; j++)
			if (is_below(directories[i].path, directories[j].path))
				r = put_lineage(&marks->tables[YGR_OUTER_LINEAGE_DIRECTORIES],
						&name->identity, directories[j].mark);
	}
	return r;
}

static int make_lineages(struct ygr_loader *loader, const struct ygr_guest_name_table *names,
			 struct ygr_ruling *rulings, size_t count, struct ygr_marks *marks)
{
	size_t room = 1, directory_count = 0;
	for (size_t i = 0; i < count; i++)
		for (const struct ygr_policy_set *set =
			 rulings[i].bundle->code->policy->sets[YGR_SET_LINEAGE];
		     set; set = set->next)
			room += set->value->flat_count;
	struct lineage_directory *directories = calloc(room, sizeof(*directories));
	int r = directories ? 0 : -ENOMEM;
	for (size_t i = 0; i < count && r == 0; i++)
		r = put_lineages(loader, names, &rulings[i], marks, directories, room, &directory_count);
	if (r == 0)
		r = put_lineage_directories(names, marks, directories, directory_count);
	free(directories);
	return r;
}

static int make_paths(const struct ygr_policy *policy, const struct ygr_guest_name_table *names,
		      struct ygr_marks *marks)
{
	struct ygr_mark_table *watched = &marks->tables[YGR_OUTER_WATCHED];
	int r = add_paths(&marks->directories, policy->sets[YGR_SET_OBJECT], YGR_ITEM_UNDER);
	if (r == 0)
		r = add_paths(&marks->exe_directories, policy->sets[YGR_SET_EXE], YGR_ITEM_UNDER);
	if (r == 0)
		r = add_paths(&marks->exe_directories, policy->sets[YGR_SET_LINEAGE], YGR_ITEM_UNDER);
	if (r == 0)
		r = add_paths(&marks->cgroups, policy->sets[YGR_SET_CGROUP], YGR_ITEM_EXACT);
	if (r == 0)
		r = watch_sets(watched, names, policy->sets[YGR_SET_OBJECT]);
	if (r == 0)
		r = watch_sets(watched, names, policy->sets[YGR_SET_EXE]);
	return r < 0 ? r : watch_sets(watched, names, policy->sets[YGR_SET_LINEAGE]);
}

int ygr_marks_make(struct ygr_loader *loader, const struct ygr_guest_name_table *names,
		   struct ygr_ruling *rulings, size_t count, struct ygr_marks *ret_marks)
{
	static const uint32_t sizes[YGR_OUTERS][2] = {
	    [YGR_OUTER_DIRECTORIES] = {sizeof(struct ygr_policy_identity), 4},
	    [YGR_OUTER_EXE_DIRECTORIES] = {sizeof(struct ygr_policy_identity), 4},
	    [YGR_OUTER_CGROUPS] = {8, 4},
	    [YGR_OUTER_LINEAGE_EXES] = {sizeof(struct ygr_policy_identity), 8},
	    [YGR_OUTER_LINEAGE_DIRECTORIES] = {sizeof(struct ygr_policy_identity), 8},
	    [YGR_OUTER_WATCHED] = {sizeof(struct ygr_policy_entry_name), sizeof(struct ygr_policy_identity)},
	    [YGR_OUTER_HELD] = {sizeof(struct ygr_policy_identity), 4},
	    [YGR_OUTER_ALIASES] = {sizeof(struct ygr_policy_identity), sizeof(struct ygr_policy_identity)},
	};
	struct ygr_marks marks = {0};
	int r = 0;
	for (unsigned i = 0; i < YGR_OUTERS; i++) {
		marks.tables[i].key_size = sizes[i][0];
		marks.tables[i].value_size = sizes[i][1];
	}
	for (size_t i = 0; i < count && r == 0; i++)
		r = make_paths(rulings[i].bundle->code->policy, names, &marks);
	if (r == 0)
		r = put_directories(&marks.tables[YGR_OUTER_DIRECTORIES], &marks.directories, names);
	if (r == 0)
		r = put_directories(&marks.tables[YGR_OUTER_EXE_DIRECTORIES], &marks.exe_directories, names);
	if (r == 0)
		r = put_cgroups(&marks.tables[YGR_OUTER_CGROUPS], &marks.cgroups);
	if (r == 0)
		r = make_lineages(loader, names, rulings, count, &marks);
	if (r < 0) {
		ygr_marks_free(&marks);
		return r;
	}
	*ret_marks = marks;
	return 0;
}

void ygr_marks_free(struct ygr_marks *marks)
{
	for (unsigned i = 0; i < YGR_OUTERS; i++)
		free(marks->tables[i].rows);
	free((void *)marks->directories.paths);
	free((void *)marks->exe_directories.paths);
	free((void *)marks->cgroups.paths);
	*marks = (struct ygr_marks){0};
}
