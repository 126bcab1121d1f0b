/*
 * Ring mappings; see ring.h. Layouts: kernel/bpf/ringbuf.c maps a consumer page (read-write) at 0, a
 * producer page and the data area twice in a row (read-only) behind it. A perf event maps a control page and
 * 2^n data pages; mapping them writable makes the kernel honour data_tail rather than overwrite.
 */
#include "guest-image/guest/ring.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/perf_event.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "guest-image/guest/records.h"

static int map_bpf(struct ygr_guest_ring *ring, size_t page)
{
	ring->consumer_map = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_SHARED, ring->fd, 0);
	if (ring->consumer_map == MAP_FAILED)
		return -errno;
	ring->map_bytes = page + 2 * ring->data_bytes;
	ring->map = mmap(NULL, ring->map_bytes, PROT_READ, MAP_SHARED, ring->fd, (off_t)page);
	if (ring->map == MAP_FAILED)
		return -errno;
	ring->consumer_position = ring->consumer_map;
	ring->producer_position = ring->map;
	return 0;
}

static int map_perf(struct ygr_guest_ring *ring, size_t page)
{
	ring->map_bytes = page + ring->data_bytes;
	ring->map = mmap(NULL, ring->map_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, ring->fd, 0);
	if (ring->map == MAP_FAILED)
		return -errno;
	struct perf_event_mmap_page *control = ring->map;
	ring->producer_position = (uint64_t *)&control->data_head;
	ring->consumer_position = (uint64_t *)&control->data_tail;
	return 0;
}

int ygr_guest_ring_init(struct ygr_guest_ring *ring, int fd, const struct ygr_ring_open *open)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	*ring = (struct ygr_guest_ring){
	    .handle = open->handle,
	    .kind = open->kind,
	    .fd = -1,
	    .map = MAP_FAILED,
	    .consumer_map = MAP_FAILED,
	    .data_bytes = open->data_bytes,
	    .stream = open->stream != 0,
	    .window = open->window,
	};
	if (open->data_bytes < page || (open->data_bytes & (open->data_bytes - 1)) ||
	    open->data_bytes > UINT32_MAX)
		return -EINVAL;
	if (ring->window < YGR_RING_WINDOW_MIN)
		ring->window = YGR_RING_WINDOW_MIN;
	if (ring->window > YGR_RING_WINDOW_MAX)
		ring->window = YGR_RING_WINDOW_MAX;

	ring->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (ring->fd < 0)
		return -errno;
	int r = ring->kind == YGR_RING_BPF ? map_bpf(ring, page) : map_perf(ring, page);
	if (r < 0) {
		ygr_guest_ring_deinit(ring);
		return r;
	}
	ring->data = (const uint8_t *)ring->map + page;
	ring->sent = ring->credited = ygr_guest_ring_consumer(ring);
	return 0;
}

void ygr_guest_ring_deinit(struct ygr_guest_ring *ring)
{
	if (ring->map != MAP_FAILED)
		munmap(ring->map, ring->map_bytes);
	if (ring->consumer_map != MAP_FAILED)
		munmap(ring->consumer_map, (size_t)sysconf(_SC_PAGESIZE));
	if (ring->fd >= 0)
		close(ring->fd);
	*ring = (struct ygr_guest_ring){.fd = -1, .map = MAP_FAILED, .consumer_map = MAP_FAILED};
}

uint64_t ygr_guest_ring_producer(const struct ygr_guest_ring *ring)
{
	return __atomic_load_n(ring->producer_position, __ATOMIC_ACQUIRE);
}

uint64_t ygr_guest_ring_consumer(const struct ygr_guest_ring *ring)
{
	return __atomic_load_n(ring->consumer_position,
			       __ATOMIC_RELAXED); /* this process is its only writer */
}

int ygr_guest_ring_consume(struct ygr_guest_ring *ring, uint64_t position)
{
	uint64_t consumer = ygr_guest_ring_consumer(ring), producer = ygr_guest_ring_producer(ring);
	if (position - consumer > producer - consumer || (position & 7))
		return -EPROTO;
	__atomic_store_n(ring->consumer_position, position, __ATOMIC_RELEASE);
	return 0;
}

int ygr_guest_ring_credit(struct ygr_guest_ring *ring, uint64_t position)
{
	if (position - ring->credited > ring->sent - ring->credited)
		return -EPROTO;
	ring->credited = position;
	return 0;
}

static uint64_t records(struct ygr_guest_ring *ring, uint64_t max)
{
	bool broken;
	if (ring->broken)
		return 0;
	uint64_t length =
	    ygr_guest_records(ring->kind, ring->data, ring->data_bytes, ygr_guest_ring_consumer(ring),
			      ygr_guest_ring_producer(ring), max, &broken);
	ring->broken = broken && length == 0;
	return length;
}

bool ygr_guest_ring_ready(struct ygr_guest_ring *ring)
{
	if (ygr_guest_ring_producer(ring) == ygr_guest_ring_consumer(ring))
		return false;
	/* of perf only finished records are visible, and its reader may stop inside what is there */
	return ring->kind == YGR_RING_PERF || records(ring, 1) > 0;
}

uint64_t ygr_guest_ring_sendable(struct ygr_guest_ring *ring)
{
	uint64_t under_way = ring->sent - ring->credited;
	if (under_way >= ring->window)
		return 0;
	uint64_t room = ring->window - under_way;
	uint64_t length = records(ring, room < YGR_RING_CHUNK ? room : YGR_RING_CHUNK);
	/* a record longer than the window goes out when nothing else is under way */
	return length > room && under_way ? 0 : length;
}

uint64_t ygr_guest_ring_take(struct ygr_guest_ring *ring, uint8_t *out, uint64_t length)
{
	uint64_t from = ygr_guest_ring_consumer(ring);
	uint64_t at = from & (ring->data_bytes - 1);
	uint64_t first = ring->data_bytes - at < length ? ring->data_bytes - at : length;
	memcpy(out, ring->data + at, first);
	memcpy(out + first, ring->data, length - first);
	__atomic_store_n(ring->consumer_position, from + length, __ATOMIC_RELEASE);
	ring->sent = from + length;
	return from;
}
