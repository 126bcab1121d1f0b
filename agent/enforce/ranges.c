/* See ranges.h. Sorted by key and then by length, what contains an entry comes before it: one stack suffices. */
#include "agent/enforce/ranges.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void clear_host_bits(struct ygr_enforce_entry *entry)
{
	for (unsigned i = 0; i < 16; i++) {
		unsigned keep = entry->bits > i * 8 ? entry->bits - i * 8 : 0;
		if (keep < 8)
			entry->key[i] &= (uint8_t)(0xff00 >> keep);
	}
}

int ygr_enforce_entries_add(struct ygr_enforce_entries *entries, uint8_t family, unsigned bits,
			    const uint8_t key[16], unsigned block)
{
	if (entries->count == YGR_ENFORCE_ENTRIES_MAX)
		return -E2BIG;
	if (entries->count == entries->room) {
		size_t room = entries->room ? entries->room * 2 : 64;
		struct ygr_enforce_entry *grown = reallocarray(entries->items, room, sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		entries->items = grown;
		entries->room = room;
	}
	struct ygr_enforce_entry *entry = &entries->items[entries->count++];
	*entry = (struct ygr_enforce_entry){
	    .family = family, .bits = (uint8_t)bits, .blocks = UINT64_C(1) << block};
	memcpy(entry->key, key, sizeof(entry->key));
	clear_host_bits(entry);
	return 0;
}

int ygr_enforce_entries_add_ports(struct ygr_enforce_entries *entries, uint16_t low, uint16_t high,
				  unsigned block)
{
	uint32_t at = low, end = (uint32_t)high + 1;
	int r = 0;

	while (r == 0 && at < end) {
		unsigned free_bits = at ? (unsigned)__builtin_ctz(at) : 16;
		while (at + (UINT32_C(1) << free_bits) > end)
			free_bits--;
		const uint8_t key[16] = {(uint8_t)(at >> 8), (uint8_t)at};
		r = ygr_enforce_entries_add(entries, 0, 16 - free_bits, key, block);
		at += UINT32_C(1) << free_bits;
	}
	return r;
}

static int compare(const void *a, const void *b)
{
	const struct ygr_enforce_entry *x = a, *y = b;

	if (x->family != y->family)
		return x->family < y->family ? -1 : 1;
	int order = memcmp(x->key, y->key, sizeof(x->key));
	return order ? order : (int)x->bits - (int)y->bits;
}

static bool contains(const struct ygr_enforce_entry *outer, const struct ygr_enforce_entry *inner)
{
	struct ygr_enforce_entry cut = *inner;

	if (outer->family != inner->family || outer->bits > inner->bits)
		return false;
	cut.bits = outer->bits;
	clear_host_bits(&cut);
	return !memcmp(cut.key, outer->key, sizeof(cut.key));
}

void ygr_enforce_entries_settle(struct ygr_enforce_entries *entries)
{
	struct ygr_enforce_entry *items = entries->items;
	size_t stack[130], depth = 0, kept = 0;

	if (!entries->count)
		return;
	qsort(items, entries->count, sizeof(*items), compare);
	for (size_t i = 0; i < entries->count; i++) {
		if (kept && !compare(&items[kept - 1], &items[i]))
			items[kept - 1].blocks |= items[i].blocks;
		else
			items[kept++] = items[i];
	}
	entries->count = kept;
	for (size_t i = 0; i < kept; i++) {
		while (depth && !contains(&items[stack[depth - 1]], &items[i]))
			depth--;
		if (depth)
			items[i].blocks |= items[stack[depth - 1]].blocks;
		stack[depth++] = i; /* each is longer than the one below: at most 129 */
	}
}

bool ygr_enforce_entries_have(const struct ygr_enforce_entries *entries, uint8_t family, unsigned bits,
			      const uint8_t key[16])
{
	struct ygr_enforce_entry wanted = {.family = family, .bits = (uint8_t)bits};

	memcpy(wanted.key, key, sizeof(wanted.key));
	return entries->count && bsearch(&wanted, entries->items, entries->count, sizeof(wanted), compare);
}

void ygr_enforce_entries_deinit(struct ygr_enforce_entries *entries)
{
	free(entries->items);
	*entries = (struct ygr_enforce_entries){0};
}
