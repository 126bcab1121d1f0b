/*
 * Where the pages of a ring's mapping come from. The kernel's rules (ringbuf_map_mmap_kern() in
 * kernel/bpf/ringbuf.c, perf_mmap() in kernel/events/core.c) are kept, so that a consumer which the real
 * kernel would refuse is refused here, too.
 */
#include <errno.h>
#include <sys/mman.h>

#include "agent/telebpf/ring.h"

#define PAGE YGR_PAGE_SIZE

/* A part of what can be mapped: [from, to) of the mapping's offsets is at FILE of the memory file. */
struct part {
	uint64_t from, to, file;
};

static void add_piece(struct ygr_local_mapped *mapped, const struct ygr_local_map *map, uint64_t length,
		      const struct part *part)
{
	uint64_t from = map->offset > part->from ? map->offset : part->from;
	uint64_t end = map->offset + length < part->to ? map->offset + length : part->to;

	if (from >= end)
		return;
	mapped->piece[mapped->pieces].at = from - map->offset;
	mapped->piece[mapped->pieces].offset = part->file + (from - part->from);
	mapped->piece[mapped->pieces].length = end - from;
	mapped->piece[mapped->pieces].prot = map->prot;
	mapped->pieces++;
}

static int bpf_layout(const struct ygr_ring *ring, const struct ygr_local_map *map, uint64_t length,
		      struct ygr_local_mapped *ret)
{
	uint64_t size = ring->sink.size;
	const struct part parts[] = {
	    {0, 2 * PAGE, 0}, /* consumer and producer page */
	    {2 * PAGE, 2 * PAGE + size, 2 * PAGE},
	    {2 * PAGE + size, 2 * PAGE + 2 * size, 2 * PAGE},
	};

	if (map->offset > 2 * PAGE + 2 * size || length > 2 * PAGE + 2 * size - map->offset)
		return -EINVAL;
	if ((map->prot & PROT_WRITE) && (map->offset || length != PAGE))
		return -EPERM;
	for (unsigned i = 0; i < sizeof(parts) / sizeof(*parts); i++)
		add_piece(ret, map, length, &parts[i]);
	return 0;
}

static int perf_layout(const struct ygr_ring *ring, const struct ygr_local_map *map, uint64_t length,
		       struct ygr_local_mapped *ret)
{
	const struct part all = {0, ring->area_length, 0};

	if (map->offset || length != ring->area_length)
		return -EINVAL;
	if (!(map->prot & PROT_WRITE))
		return -EOPNOTSUPP;
	add_piece(ret, map, length, &all);
	return 0;
}

int ygr_ring_layout(const struct ygr_ring *ring, const struct ygr_local_map *map,
		    struct ygr_local_mapped *ret)
{
	struct ygr_local_mapped mapped = {.ring = 1};
	uint64_t length;
	int r;

	if (!map->length || map->length > UINT64_MAX - PAGE || map->offset % PAGE || (map->prot & PROT_EXEC))
		return -EINVAL;
	length = (map->length + PAGE - 1) & ~(uint64_t)(PAGE - 1);
	r = ring->kind == YGR_RING_BPF ? bpf_layout(ring, map, length, &mapped)
				       : perf_layout(ring, map, length, &mapped);
	if (r == 0)
		*ret = mapped;
	return r;
}
