/*
 * Where the pages of a ring's mapping come from. The kernel's rules (ringbuf_map_mmap_kern() in
 * kernel/bpf/ringbuf.c, perf_mmap() in kernel/events/core.c) are kept, so that a consumer which the real
 * kernel would refuse is refused here, too.
 */
#include <errno.h>
#include <sys/mman.h>

#include "agent/telebpf/session/ring.h"

#define PAGE YGR_PAGE_SIZE

/*
 * A part of what can be mapped: [from, to) of the mapping's offsets is at FILE of the memory file, or of the
 * guest's pages of the ring.
 */
struct part {
	uint64_t from, to, file;
	bool guest;
};

/* What MAP asks for, sorted by who maps it. */
struct layout {
	struct ygr_local_mapped mapped;
	struct ygr_ring_part shared[YGR_RING_PARTS];
	int shared_count;
};

static void add_piece(struct layout *layout, const struct ygr_local_map *map, uint64_t length,
		      const struct part *part)
{
	struct ygr_local_mapped *mapped = &layout->mapped;
	uint64_t from = map->offset > part->from ? map->offset : part->from;
	uint64_t end = map->offset + length < part->to ? map->offset + length : part->to;

	if (from >= end)
		return;
	if (part->guest) {
		layout->shared[layout->shared_count++] =
		    (struct ygr_ring_part){from - map->offset, part->file + (from - part->from), end - from};
		return;
	}
	mapped->piece[mapped->pieces].at = from - map->offset;
	mapped->piece[mapped->pieces].offset = part->file + (from - part->from);
	mapped->piece[mapped->pieces].length = end - from;
	mapped->piece[mapped->pieces].prot = map->prot;
	mapped->pieces++;
}

static int bpf_layout(const struct ygr_ring *ring, const struct ygr_local_map *map, uint64_t length,
		      struct layout *ret)
{
	uint64_t size = ring->sink.size;
	const struct part private[] = {
	    {0, 2 * PAGE, 0, false}, /* consumer and producer page */
	    {2 * PAGE, 2 * PAGE + size, 2 * PAGE, false},
	    {2 * PAGE + size, 2 * PAGE + 2 * size, 2 * PAGE, false},
	};
	const struct part shared[] = {
	    {0, PAGE, 0, false},
	    {PAGE, 2 * PAGE + size, 0, true},
	    {2 * PAGE + size, 2 * PAGE + 2 * size, PAGE, true},
	};
	const struct part *parts = ring->delivery == YGR_DELIVERY_SHARED ? shared : private;

	if (map->offset > 2 * PAGE + 2 * size || length > 2 * PAGE + 2 * size - map->offset)
		return -EINVAL;
	if ((map->prot & PROT_WRITE) && (map->offset || length != PAGE))
		return -EPERM;
	for (unsigned i = 0; i < sizeof(shared) / sizeof(*shared); i++)
		add_piece(ret, map, length, &parts[i]);
	return 0;
}

static int perf_layout(const struct ygr_ring *ring, const struct ygr_local_map *map, uint64_t length,
		       struct layout *ret)
{
	bool shared = ring->delivery == YGR_DELIVERY_SHARED;
	const struct part head = {0, PAGE, 0, false}, data = {PAGE, ring->area_length, PAGE, shared},
			  all = {0, ring->area_length, 0, false};

	if (map->offset || length != ring->area_length)
		return -EINVAL;
	if (!(map->prot & PROT_WRITE))
		return -EOPNOTSUPP;
	if (shared) {
		add_piece(ret, map, length, &head);
		add_piece(ret, map, length, &data);
	} else {
		add_piece(ret, map, length, &all);
	}
	return 0;
}

static int lay_out(const struct ygr_ring *ring, const struct ygr_local_map *map, struct layout *ret)
{
	uint64_t length;

	*ret = (struct layout){.mapped.ring = 1};
	if (!map->length || map->length > UINT64_MAX - PAGE || map->offset % PAGE || (map->prot & PROT_EXEC))
		return -EINVAL;
	length = (map->length + PAGE - 1) & ~(uint64_t)(PAGE - 1);
	return ring->kind == YGR_RING_BPF ? bpf_layout(ring, map, length, ret)
					  : perf_layout(ring, map, length, ret);
}

int ygr_ring_layout(const struct ygr_ring *ring, const struct ygr_local_map *map,
		    struct ygr_local_mapped *ret)
{
	struct layout layout;
	int r = lay_out(ring, map, &layout);

	if (r == 0)
		*ret = layout.mapped;
	return r;
}

int ygr_ring_shared_parts(const struct ygr_ring *ring, const struct ygr_local_map *map,
			  struct ygr_ring_part ret[YGR_RING_PARTS])
{
	struct layout layout;
	int r = lay_out(ring, map, &layout);

	if (r < 0)
		return r;
	for (int i = 0; i < layout.shared_count; i++)
		ret[i] = layout.shared[i];
	return layout.shared_count;
}
