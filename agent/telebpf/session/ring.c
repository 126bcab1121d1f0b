#include "agent/telebpf/session/ring.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/perf_event.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <unistd.h>

#include "lib/base/cleanup.h"

#define PAGE          YGR_PAGE_SIZE
#define READY_WAIT_US 2000 /* that an application can make the session wait, once for each eventfd */

const char *ygr_delivery_name(enum ygr_delivery delivery)
{
	switch (delivery) {
	case YGR_DELIVERY_COPIED:
		return "Copied";
	case YGR_DELIVERY_SHARED:
		return "Shared";
	case YGR_DELIVERY_STREAM:
		return "Stream";
	}
	return "Unknown";
}

/* Pages before the data: consumer and producer page, or the control page. */
static uint64_t head_length(enum ygr_ring_kind kind)
{
	return kind == YGR_RING_BPF ? 2 * PAGE : PAGE;
}

static uint64_t *private_producer(const struct ygr_ring *ring)
{
	if (ring->kind == YGR_RING_BPF)
		return (uint64_t *)(ring->area + PAGE);
	return (uint64_t *)(ring->area + offsetof(struct perf_event_mmap_page, data_head));
}

static uint64_t *private_consumer(const struct ygr_ring *ring)
{
	if (ring->kind == YGR_RING_BPF)
		return (uint64_t *)ring->area;
	return (uint64_t *)(ring->area + offsetof(struct perf_event_mmap_page, data_tail));
}

static uint64_t guest_producer(const struct ygr_ring *ring)
{
	size_t at = ring->kind == YGR_RING_BPF ? 0 : offsetof(struct perf_event_mmap_page, data_head);

	return __atomic_load_n((const uint64_t *)(ring->guest + at), __ATOMIC_ACQUIRE);
}

/* A memory file that nobody can shrink under our feet, nor grow at our cost. */
static int make_file(uint64_t length)
{
	_cleanup_close_ int fd = memfd_create("yagura-ring", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0 || ftruncate(fd, (off_t)length) < 0 ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
		return -errno;
	return ygr_steal_fd(&fd);
}

int ygr_ring_new(uint32_t handle, enum ygr_ring_kind kind, uint64_t data, uint64_t sample_type,
		 struct ygr_ring **ret)
{
	_cleanup_free_ struct ygr_ring *ring = NULL;
	_cleanup_close_ int fd = -1;
	uint8_t *area;

	if (data < PAGE || (data & (data - 1)))
		return -EINVAL;
	if (data > YGR_RING_DATA_MAX)
		return -E2BIG;
	ring = calloc(1, sizeof(*ring));
	if (!ring)
		return -ENOMEM;
	ring->handle = handle;
	ring->kind = kind;
	ring->area_length = head_length(kind) + data;
	fd = make_file(ring->area_length);
	if (fd < 0)
		return fd;
	area = mmap(NULL, ring->area_length, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (area == MAP_FAILED)
		return -errno;
	ring->area = area;
	ring->sink = (struct ygr_ring_sink){
	    .data = area + head_length(kind),
	    .size = data,
	    .sample_type = sample_type,
	};
	ring->memfd = ygr_steal_fd(&fd);
	*ret = ygr_steal_ptr(&ring);
	return 0;
}

struct ygr_ring *ygr_ring_free(struct ygr_ring *ring)
{
	if (!ring)
		return NULL;
	if (ring->guest)
		munmap((void *)ring->guest, ring->guest_length);
	munmap(ring->area, ring->area_length);
	close(ring->memfd);
	free(ring->extents);
	for (unsigned i = 0; i < ring->ready_count; i++)
		close(ring->ready[i]);
	free(ring);
	return NULL;
}

/*
 * What a perf consumer reads from the control page before any record. Nothing comes from the guest: counters
 * and clock factors of its processors mean nothing here, so the capabilities stay clear.
 */
static void fill_control_page(const struct ygr_ring *ring)
{
	struct perf_event_mmap_page *page = (void *)ring->area;

	page->size = offsetof(struct perf_event_mmap_page, __reserved);
	page->data_offset = PAGE;
	page->data_size = ring->sink.size;
}

static int note_extents(struct ygr_ring *ring, const struct ygr_ram *ram, const struct ygr_run *runs,
			uint32_t count, uint64_t pages)
{
	_cleanup_free_ struct ygr_ram_extent *extents = calloc(YGR_RAM_EXTENTS_MAX, sizeof(*extents));
	struct ygr_ram_extent *few;
	int n;

	if (!extents)
		return -ENOMEM;
	n = ygr_ram_extents(ram, runs, count, pages, extents, YGR_RAM_EXTENTS_MAX);
	if (n < 0)
		return n;
	few = realloc(extents, (size_t)n * sizeof(*extents));
	if (few)
		extents = few;
	ring->extents = ygr_steal_ptr(&extents);
	ring->extent_count = (unsigned)n;
	return 0;
}

int ygr_ring_start(struct ygr_ring *ring, const struct ygr_ram *ram, const uint8_t *payload, uint32_t length)
{
	_cleanup_free_ struct ygr_run *runs = NULL;
	struct ygr_ring_opened opened;
	uint64_t pages = 1 + ring->sink.size / PAGE;
	uint8_t *guest;
	int r;

	if (length < sizeof(opened))
		return -EBADMSG;
	memcpy(&opened, payload, sizeof(opened));
	if (opened.status)
		return opened.status < 0 && opened.status >= -4095 ? opened.status : -EBADMSG;
	if (opened.consumer % 8 || opened.producer % 8 ||
	    opened.producer - opened.consumer > ring->sink.size ||
	    (length - sizeof(opened)) / sizeof(*runs) < opened.run_count)
		return -EBADMSG;
	if (ram) {
		/* A copy, since a payload may lie at any address. */
		runs = malloc(opened.run_count * sizeof(*runs) + 1);
		if (!runs)
			return -ENOMEM;
		memcpy(runs, payload + sizeof(opened), opened.run_count * sizeof(*runs));
		r = ygr_ram_map(ram, runs, opened.run_count, pages, &guest);
		if (r < 0)
			return r;
		ring->guest = guest;
		ring->guest_length = pages * PAGE;
		if (ring->share) {
			r = note_extents(ring, ram, runs, opened.run_count, pages);
			if (r < 0)
				return r;
		}
	}
	if (!ram)
		ring->delivery = YGR_DELIVERY_STREAM;
	else
		ring->delivery = ring->share ? YGR_DELIVERY_SHARED : YGR_DELIVERY_COPIED;
	ring->sink.position = ring->sink.consumer = ring->acknowledged = opened.consumer;
	ring->counted = opened.consumer;
	if (ring->kind == YGR_RING_PERF)
		fill_control_page(ring);
	__atomic_store_n(private_consumer(ring), opened.consumer, __ATOMIC_RELEASE);
	__atomic_store_n(private_producer(ring), opened.consumer, __ATOMIC_RELEASE);
	return 0;
}

static void wake_up(int number)
{
	(void)number; /* that write(2) returns is all that is wanted */
}

void ygr_ring_init_ready(void)
{
	const struct sigaction action = {.sa_handler = wake_up}; /* without SA_RESTART */

	sigaction(SIGALRM, &action, NULL);
}

/*
 * Adds one to an eventfd whose open file the application shares. It may clear O_NONBLOCK and fill the counter
 * at any moment, also between a look and the write, and an eventfd has no write that never waits. So a timer
 * that repeats (the first tick may come too early) interrupts a write that does. False: it did.
 */
static bool write_one(int fd)
{
	static const struct itimerval tick = {.it_value.tv_usec = READY_WAIT_US,
					      .it_interval.tv_usec = READY_WAIT_US};
	static const uint64_t one = 1;
	bool waited;

	setitimer(ITIMER_REAL, &tick, NULL);
	waited = write(fd, &one, sizeof(one)) < 0 && errno == EINTR;
	setitimer(ITIMER_REAL, &(struct itimerval){}, NULL);
	return !waited;
}

/*
 * Makes the eventfds readable that are not. The shim takes the level away when a ring is drained. One that
 * made us wait is closed: only an application that plays fills its own.
 */
static void signal_ready(struct ygr_ring *ring)
{
	for (unsigned i = 0; i < ring->ready_count;) {
		struct pollfd p = {.fd = ring->ready[i], .events = POLLIN | POLLOUT};

		if (poll(&p, 1, 0) == 1 && !(p.revents & POLLIN) && (p.revents & POLLOUT) &&
		    !write_one(p.fd)) {
			close(p.fd);
			ring->ready[i] = ring->ready[--ring->ready_count];
			continue;
		}
		i++;
	}
}

static void publish(struct ygr_ring *ring, const struct ygr_ring_batch *batch)
{
	ring->full = batch->full;
	ring->records += batch->records;
	ring->bytes += batch->bytes;
	ring->dropped += batch->dropped;
	if (!batch->bytes)
		return;
	__atomic_store_n(private_producer(ring), ring->sink.position, __ATOMIC_RELEASE);
	signal_ready(ring);
}

static int copy(struct ygr_ring *ring, const struct ygr_ring_source *source, uint64_t producer,
		struct ygr_ring_batch *ret_batch)
{
	if (ring->kind == YGR_RING_BPF)
		return ygr_ring_copy_bpf(source, producer, &ring->sink, ret_batch);
	return ygr_ring_copy_perf(source, producer, &ring->sink, ret_batch);
}

bool ygr_ring_behind(const struct ygr_ring *ring)
{
	/* What the application has consumed of the guest's own pages matters, too. */
	if (ring->delivery == YGR_DELIVERY_SHARED)
		return ring->shared;
	return ring->guest && guest_producer(ring) != ring->sink.position;
}

/*
 * Shared: follows the guest's producer, which goes forward and never further than a ring beyond what the
 * guest was told to be consumed.
 */
static int follow(struct ygr_ring *ring)
{
	const struct ygr_ring_source source = {.data = ring->guest + PAGE, .size = ring->sink.size};
	uint64_t producer = guest_producer(ring);

	if (producer % 8 || producer - ring->acknowledged > ring->sink.size ||
	    producer - ring->acknowledged < ring->sink.position - ring->acknowledged)
		return -EBADMSG;
	ring->seen.bytes += producer - ring->sink.position;
	ring->sink.position = producer;
	/* What the guest may have overwritten says nothing any more. */
	if (ring->counted - ring->acknowledged > ring->sink.size)
		ring->counted = ring->acknowledged;
	ring->counted =
	    ygr_ring_count(&source, ring->kind == YGR_RING_PERF, ring->counted, producer, &ring->seen);
	if (ring->kind == YGR_RING_PERF)
		__atomic_store_n(private_producer(ring), producer, __ATOMIC_RELEASE);
	return 0;
}

static int pull_shared(struct ygr_ring *ring, struct ygr_ring_batch *ret_batch)
{
	int r = follow(ring);

	*ret_batch = ring->seen;
	ring->seen = (struct ygr_ring_batch){};
	ring->records += ret_batch->records;
	ring->bytes += ret_batch->bytes;
	ring->dropped += ret_batch->dropped;
	ring->full = ygr_ring_consumer(ring) != ring->sink.position;
	if (ret_batch->bytes && ring->full)
		signal_ready(ring);
	return r;
}

void ygr_ring_unshare(struct ygr_ring *ring)
{
	ring->delivery = YGR_DELIVERY_COPIED;
	ring->share = false;
}

int ygr_ring_pull(struct ygr_ring *ring, struct ygr_ring_batch *ret_batch)
{
	const struct ygr_ring_source source = {.data = ring->guest + PAGE, .size = ring->sink.size};
	int r;

	if (ring->delivery == YGR_DELIVERY_SHARED)
		return pull_shared(ring, ret_batch);
	ygr_ring_consumer(ring);
	r = copy(ring, &source, guest_producer(ring), ret_batch);
	publish(ring, ret_batch);
	return r;
}

int ygr_ring_feed(struct ygr_ring *ring, const struct ygr_ring_records *records, const uint8_t *bytes,
		  struct ygr_ring_batch *ret_batch)
{
	uint64_t end = records->position + records->length;
	struct ygr_ring_source source = {
	    .data = bytes, .size = records->length, .base = records->position, .message = true};
	struct ygr_ring_batch total = {}, batch = {};
	int r;

	ygr_ring_consumer(ring);
	do {
		r = copy(ring, &source, end, &batch);
		total.records += batch.records;
		total.bytes += batch.bytes;
		total.dropped += batch.dropped;
		if (r < 0)
			break; /* nothing was taken; the position may even lie before the message */
		source.data += ring->sink.position - source.base;
		source.size -= ring->sink.position - source.base;
		source.base = ring->sink.position;
	} while (batch.more);
	/* Not all was taken: a busy record, or more than the window. Neither may be sent. */
	if (r == 0 && source.size)
		r = -EBADMSG;
	publish(ring, &total);
	*ret_batch = total;
	return r;
}

uint64_t ygr_ring_consumer(struct ygr_ring *ring)
{
	uint64_t said = __atomic_load_n(private_consumer(ring), __ATOMIC_ACQUIRE);

	/* It may be ahead of what we have seen of the producer. */
	if (ring->shared)
		(void)follow(ring);

	/* Forward, and not beyond what was published. Else the last one stands: only the application loses.
	 */
	if (said - ring->sink.consumer <= ring->sink.position - ring->sink.consumer)
		ring->sink.consumer = said;
	return ring->sink.consumer;
}

uint64_t ygr_ring_released(struct ygr_ring *ring)
{
	/* The guest only takes whole words; an application may have written anything. */
	if (ring->delivery != YGR_DELIVERY_COPIED)
		return ygr_ring_consumer(ring) & ~7ull;
	return ring->sink.position;
}

int ygr_ring_add_ready(struct ygr_ring *ring, int fd)
{
	if (ring->ready_count == YGR_RING_READY_MAX)
		return -ENOSPC;
	ring->ready[ring->ready_count++] = fd;
	ygr_ring_idle(ring);
	return 0;
}

void ygr_ring_idle(struct ygr_ring *ring)
{
	if (ygr_ring_consumer(ring) != ring->sink.position)
		signal_ready(ring);
}
