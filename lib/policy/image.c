/*
 * See image.h. A lookup finds one entry, so each entry carries all that follows from it: a directory's value
 * has the sets of the directories above it, a prefix's those of the prefixes around it. Rows are gathered with
 * one set each, sorted, and put together.
 */
#include "lib/policy/image.h"

#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/cleanup.h"
#include "lib/policy/operation.h"

static const uint32_t key_sizes[YGR_MAPS] = {
    [YGR_MAP_EVENT] = 4,
    [YGR_MAP_FILES] = sizeof(struct ygr_policy_identity),
    [YGR_MAP_NAMES] = sizeof(struct ygr_policy_entry_name),
    [YGR_MAP_DIRECTORIES] = sizeof(struct ygr_policy_identity),
    [YGR_MAP_EXES] = sizeof(struct ygr_policy_identity),
    [YGR_MAP_EXE_DIRECTORIES] = sizeof(struct ygr_policy_identity),
    [YGR_MAP_CGROUPS] = sizeof(__u64),
    [YGR_MAP_RANGES] = sizeof(struct ygr_policy_range),
    [YGR_MAP_COUNTS] = sizeof(struct ygr_policy_count),
};

#define NO_BIT UINT_MAX /* a row that is there, whatever is in it */

/* A table while it grows: rows of key and value as in the end, keys repeated. */
struct rows {
	uint8_t *data;
	size_t count, room, key_size, row_size;
};

struct filling {
	const struct ygr_policy_code *code;
	const struct ygr_policy_names *names;
	struct ygr_policy_image *image;
	struct rows rows[YGR_MAPS];
};

static uint32_t *add_row(struct rows *rows, const void *key)
{
	if (rows->count == rows->room) {
		size_t room = rows->room ? rows->room * 2 : 64;
		uint8_t *more = reallocarray(rows->data, room, rows->row_size);
		if (!more)
			return NULL;
		rows->data = more;
		rows->room = room;
	}
	uint8_t *row = rows->data + rows->count++ * rows->row_size;
	memset(row, 0, rows->row_size);
	memcpy(row, key, rows->key_size);
	return (uint32_t *)(row + rows->key_size);
}

static int add(struct filling *filling, enum ygr_policy_map map, const void *key, unsigned bit)
{
	if (filling->image->tables[map].value_words == 0)
		return 0; /* no program looks there */
	uint32_t *value = add_row(&filling->rows[map], key);
	if (!value)
		return -ENOMEM;
	if (bit != NO_BIT)
		value[bit / 32] |= 1u << (bit % 32);
	return 0;
}

static int by_key(const void *a, const void *b, void *size)
{
	return memcmp(a, b, *(size_t *)size);
}

/* Sorts and puts rows of the same key together; the table owns the memory from here on. */
static void settle(struct rows *rows, struct ygr_policy_table *table)
{
	size_t kept = 0, words = table->value_words;
	if (rows->count)
		qsort_r(rows->data, rows->count, rows->row_size, by_key, &rows->key_size);
	for (size_t i = 0; i < rows->count; i++) {
		uint8_t *row = rows->data + i * rows->row_size;
		uint8_t *last = kept ? rows->data + (kept - 1) * rows->row_size : NULL;
		if (!last || memcmp(last, row, rows->key_size) != 0) {
			memmove(rows->data + kept++ * rows->row_size, row, rows->row_size);
			continue;
		}
		for (size_t j = 0; j < words; j++)
			((uint32_t *)(last + rows->key_size))[j] |= ((uint32_t *)(row + rows->key_size))[j];
	}
	table->count = kept;
	table->rows = ygr_steal_ptr(&rows->data);
}

const uint32_t *ygr_policy_table_find(const struct ygr_policy_table *table, const void *key)
{
	size_t row = table->key_size + table->value_words * 4, low = 0, high = table->count;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		const uint8_t *at = table->rows + middle * row;
		int order = memcmp(key, at, table->key_size);
		if (order == 0)
			return (const uint32_t *)(at + table->key_size);
		if (order < 0)
			high = middle;
		else
			low = middle + 1;
	}
	return NULL;
}

/* A name that a set has, for finding out what is above it. */
struct marked {
	const char *path;
	size_t length;
	unsigned bit;
};

static int by_path(const void *a, const void *b)
{
	const struct marked *x = a, *y = b;
	size_t shorter = x->length < y->length ? x->length : y->length;
	int order = memcmp(x->path, y->path, shorter);
	return order ? order : x->length < y->length ? -1 : x->length > y->length;
}

/* The first of MARKS that is PATH, or NULL. */
static const struct marked *find_mark(const struct marked *marks, size_t count, const char *path,
				      size_t length)
{
	struct marked key = {path, length, 0};
	size_t low = 0, high = count;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (by_path(&marks[middle], &key) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low < count && by_path(&marks[low], &key) == 0 ? &marks[low] : NULL;
}

/* Gives the row KEY the bits of every mark on the way from PATH up. */
static int add_above(struct filling *filling, enum ygr_policy_map map, const void *key,
		     const struct marked *marks, size_t count, const char *path, size_t length)
{
	for (;;) {
		const struct marked *mark = find_mark(marks, count, path, length);
		for (; mark && mark < marks + count && mark->length == length &&
		       memcmp(mark->path, path, length) == 0;
		     mark++)
			if (add(filling, map, key, mark->bit) < 0)
				return -ENOMEM;
		if (length == 0)
			return 0;
		while (length > 0 && path[length - 1] != '/')
			length--;
		length -= length > 0;
	}
}

static int look_up(struct filling *filling, const char *path, size_t length,
		   struct ygr_policy_identity *ret_identity)
{
	char copy[YGR_POLICY_PATH_MAX + 1];
	memcpy(copy, length ? path : "/", length ? length : 1);
	copy[length ? length : 1] = '\0';
	return filling->names->file(filling->names->user, copy, ret_identity);
}

/* An exact path: the file that is there, and, for objects, the entry of its directory. */
static int add_exact(struct filling *filling, const struct ygr_policy_item *item, enum ygr_policy_map map,
		     unsigned bit)
{
	struct ygr_policy_entry_name entry = {0};
	struct ygr_policy_identity identity;
	int r = look_up(filling, item->text, item->length, &identity);
	if (r == 0)
		r = add(filling, map, &identity, bit);
	if ((r < 0 && r != -ENOENT) || map != YGR_MAP_FILES)
		return r == -ENOENT ? 0 : r;

	const char *name = strrchr(item->text, '/') + 1;
	if (!*name || strlen(name) >= sizeof(entry.name))
		return 0; /* "/" is in no directory; an event with so long a name is incomplete */
	strcpy(entry.name, name);
	r = look_up(filling, item->text, (size_t)(name - 1 - item->text), &entry.directory);
	return r == 0 ? add(filling, YGR_MAP_NAMES, &entry, bit) : r == -ENOENT ? 0 : r;
}

static int add_mark(struct marked **marks, size_t *count, struct marked mark)
{
	if ((*count & (*count - 1)) == 0) {
		struct marked *more = reallocarray(*marks, *count ? *count * 2 : 1, sizeof(**marks));
		if (!more)
			return -ENOMEM;
		*marks = more;
	}
	(*marks)[(*count)++] = mark;
	return 0;
}

static int add_foreign(const struct ygr_policy_marks *foreign, struct marked **marks, size_t *count)
{
	int r = 0;
	for (size_t i = 0; i < foreign->count && r == 0; i++)
		r = add_mark(marks, count,
			     (struct marked){foreign->paths[i], strlen(foreign->paths[i]), NO_BIT});
	return r;
}

/* The directories (or cgroups) of all sets of a class. */
static int gather_marks(const struct ygr_policy_set *sets, enum ygr_policy_item_kind kind, unsigned skip,
			struct marked **marks, size_t *count)
{
	for (const struct ygr_policy_set *set = sets; set; set = set->next)
		for (size_t i = 0; i < set->value->flat_count; i++) {
			const struct ygr_policy_item *item = set->value->flat[i];
			if (item->kind != kind)
				continue;
			size_t length = strcmp(item->text, "/") == 0 ? 0 : item->length;
			int r =
			    add_mark(marks, count, (struct marked){item->text, length, skip + set->number});
			if (r < 0)
				return r;
		}
	return 0;
}

static int fill_marks(struct filling *filling, enum ygr_policy_map map, struct marked *marks, size_t count)
{
	if (count)
		qsort(marks, count, sizeof(*marks), by_path);
	for (size_t i = 0; i < count; i++) {
		struct ygr_policy_identity identity;
		__u64 id = 0;
		if (i > 0 && by_path(&marks[i - 1], &marks[i]) == 0)
			continue;
		int r = map == YGR_MAP_CGROUPS
			    ? filling->names->cgroup(filling->names->user, marks[i].path, &id)
			    : look_up(filling, marks[i].path, marks[i].length, &identity);
		if (r == 0)
			r = add_above(filling, map, map == YGR_MAP_CGROUPS ? (void *)&id : (void *)&identity,
				      marks, count, marks[i].path, marks[i].length);
		if (r < 0 && r != -ENOENT)
			return r;
	}
	return 0;
}

static int fill_paths(struct filling *filling, enum ygr_policy_set_class class, enum ygr_policy_map exact,
		      unsigned skip)
{
	for (const struct ygr_policy_set *set = filling->code->policy->sets[class]; set; set = set->next)
		for (size_t i = 0; i < set->value->flat_count; i++) {
			if (set->value->flat[i]->kind != YGR_ITEM_EXACT)
				continue;
			int r = add_exact(filling, set->value->flat[i], exact, skip + set->number);
			if (r < 0)
				return r;
		}
	return 0;
}

static int fill_programs(struct filling *filling)
{
	const struct ygr_policy *policy = filling->code->policy;
	unsigned skip = 32 * YGR_POLICY_LINEAGE_WORDS;
	_cleanup_free_ struct marked *marks = NULL;
	size_t count = 0;
	int r = fill_paths(filling, YGR_SET_EXE, YGR_MAP_EXES, skip);
	if (r == 0)
		r = fill_paths(filling, YGR_SET_LINEAGE, YGR_MAP_EXES, 0);
	if (r == 0)
		r = gather_marks(policy->sets[YGR_SET_EXE], YGR_ITEM_UNDER, skip, &marks, &count);
	if (r == 0)
		r = gather_marks(policy->sets[YGR_SET_LINEAGE], YGR_ITEM_UNDER, 0, &marks, &count);
	if (r == 0)
		r = add_foreign(&filling->names->exe_directories, &marks, &count);
	return r < 0 ? r : fill_marks(filling, YGR_MAP_EXE_DIRECTORIES, marks, count);
}

static int fill_objects(struct filling *filling)
{
	_cleanup_free_ struct marked *marks = NULL;
	size_t count = 0;
	int r = fill_paths(filling, YGR_SET_OBJECT, YGR_MAP_FILES, 0);
	if (r == 0)
		r = gather_marks(filling->code->policy->sets[YGR_SET_OBJECT], YGR_ITEM_UNDER, 0, &marks,
				 &count);
	if (r == 0)
		r = add_foreign(&filling->names->directories, &marks, &count);
	return r < 0 ? r : fill_marks(filling, YGR_MAP_DIRECTORIES, marks, count);
}

static int fill_cgroups(struct filling *filling)
{
	_cleanup_free_ struct marked *marks = NULL;
	size_t count = 0;
	int r = gather_marks(filling->code->policy->sets[YGR_SET_CGROUP], YGR_ITEM_EXACT, 0, &marks, &count);
	if (r == 0)
		r = add_foreign(&filling->names->cgroups, &marks, &count);
	return r < 0 ? r : fill_marks(filling, YGR_MAP_CGROUPS, marks, count);
}

/* LOW..HIGH as prefixes of 32 bits: the largest aligned block that fits, then what is left. */
static int add_numbers(struct filling *filling, enum ygr_policy_range_kind kind, uint64_t low, uint64_t high,
		       unsigned bit)
{
	while (low <= high) {
		unsigned bits = 0;
		while (bits < 32 && (low & ((2ull << bits) - 1)) == 0 && low + (2ull << bits) - 1 <= high)
			bits++;
		struct ygr_policy_range range = {.prefix = 64 - bits, .kind = kind};
		uint32_t data = htonl((uint32_t)low);
		memcpy(range.data, &data, sizeof(data));
		int r = add(filling, YGR_MAP_RANGES, &range, bit);
		if (r < 0)
			return r;
		low += 1ull << bits;
	}
	return 0;
}

static int fill_numbers(struct filling *filling, enum ygr_policy_set_class class,
			enum ygr_policy_range_kind kind)
{
	for (const struct ygr_policy_set *set = filling->code->policy->sets[class]; set; set = set->next)
		for (size_t i = 0; i < set->value->flat_count; i++) {
			int r = add_numbers(filling, kind, set->value->flat[i]->low,
					    set->value->flat[i]->high, set->number);
			if (r < 0)
				return r;
		}
	return 0;
}

static int fill_addresses(struct filling *filling)
{
	for (const struct ygr_policy_set *set = filling->code->policy->sets[YGR_SET_OBJECT]; set;
	     set = set->next)
		for (size_t i = 0; i < set->value->flat_count; i++) {
			const struct ygr_policy_item *item = set->value->flat[i];
			bool v6 = item->kind == YGR_ITEM_IPV6;
			if (item->kind != YGR_ITEM_IPV4 && !v6)
				continue;
			struct ygr_policy_range range = {.prefix = 32 + item->prefix,
							 .kind = v6 ? YGR_POLICY_RANGE_IPV6
								    : YGR_POLICY_RANGE_IPV4};
			memcpy(range.data, item->address, v6 ? 16 : 4);
			int r = add(filling, YGR_MAP_RANGES, &range, set->number);
			if (r < 0)
				return r;
		}
	return 0;
}

/* Every prefix gets the bits of the shorter ones that it lies in. */
static void widen_ranges(struct ygr_policy_table *table)
{
	size_t row = table->key_size + table->value_words * 4;
	bool used[32 + 128 + 1] = {false};
	for (size_t i = 0; i < table->count; i++)
		used[((struct ygr_policy_range *)(table->rows + i * row))->prefix] = true;
	for (size_t i = 0; i < table->count; i++) {
		struct ygr_policy_range *range = (struct ygr_policy_range *)(table->rows + i * row),
					outer = *range;
		uint32_t *value = (uint32_t *)(range + 1);
		while (outer.prefix-- > 32) {
			unsigned at = outer.prefix - 32;
			outer.data[at / 8] &= (uint8_t) ~(0x80 >> (at % 8));
			const uint32_t *found =
			    used[outer.prefix] ? ygr_policy_table_find(table, &outer) : NULL;
			for (size_t j = 0; found && j < table->value_words; j++)
				value[j] |= found[j];
		}
	}
}

static int fill(struct filling *filling)
{
	static const struct {
		enum ygr_policy_set_class class;
		enum ygr_policy_range_kind kind;
	} numbers[] = {{YGR_SET_PORT, YGR_POLICY_RANGE_PORT},
		       {YGR_SET_USER, YGR_POLICY_RANGE_USER},
		       {YGR_SET_GROUP, YGR_POLICY_RANGE_GROUP},
		       {YGR_SET_OWNER, YGR_POLICY_RANGE_OWNER}};
	int r = fill_objects(filling);
	if (r == 0)
		r = fill_programs(filling);
	if (r == 0)
		r = fill_cgroups(filling);
	if (r == 0)
		r = fill_addresses(filling);
	for (size_t i = 0; i < 4 && r == 0; i++)
		r = fill_numbers(filling, numbers[i].class, numbers[i].kind);
	return r;
}

int ygr_policy_image_new(const struct ygr_policy_code *code, const struct ygr_policy_names *names,
			 struct ygr_policy_image **ret_image)
{
	struct filling filling = {.code = code, .names = names, .image = calloc(1, sizeof(*filling.image))};
	if (!filling.image)
		return -ENOMEM;
	for (unsigned map = 0; map < YGR_MAPS; map++) {
		filling.image->tables[map].key_size = key_sizes[map];
		filling.image->tables[map].value_words = code->value_words[map];
		filling.rows[map].key_size = key_sizes[map];
		filling.rows[map].row_size = key_sizes[map] + code->value_words[map] * 4;
	}
	int r = fill(&filling);
	for (unsigned map = 0; map < YGR_MAPS; map++) {
		if (r == 0)
			settle(&filling.rows[map], &filling.image->tables[map]);
		free(filling.rows[map].data);
	}
	if (r < 0) {
		ygr_policy_image_free(filling.image);
		return r;
	}
	widen_ranges(&filling.image->tables[YGR_MAP_RANGES]);
	*ret_image = filling.image;
	return 0;
}

struct ygr_policy_image *ygr_policy_image_free(struct ygr_policy_image *image)
{
	for (unsigned map = 0; image && map < YGR_MAPS; map++)
		free(image->tables[map].rows);
	free(image);
	return NULL;
}
