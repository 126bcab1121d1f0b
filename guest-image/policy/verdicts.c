/* See verdicts.h; the layout is that of kernel/bpf/ringbuf.c. */
#include "guest-image/policy/verdicts.h"

#include <errno.h>
#include <linux/bpf.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int ygr_verdicts_open(struct ygr_verdicts *verdicts, int map_fd)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	*verdicts = (struct ygr_verdicts){.size = YGR_FRAME_RING_BYTES};
	void *consumer = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_SHARED, map_fd, 0);
	void *producer =
	    mmap(NULL, page + 2 * YGR_FRAME_RING_BYTES, PROT_READ, MAP_SHARED, map_fd, (off_t)page);
	if (consumer != MAP_FAILED)
		verdicts->consumer = consumer;
	if (producer != MAP_FAILED) {
		verdicts->producer = producer;
		verdicts->data = (const uint8_t *)producer + page;
	}
	if (!verdicts->consumer || !verdicts->producer) {
		int r = -errno;
		ygr_verdicts_close(verdicts);
		return r;
	}
	verdicts->next = *verdicts->consumer;
	return 0;
}

void ygr_verdicts_close(struct ygr_verdicts *verdicts)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	if (verdicts->consumer)
		munmap(verdicts->consumer, page);
	if (verdicts->producer)
		munmap((void *)(uintptr_t)verdicts->producer, page + 2 * YGR_FRAME_RING_BYTES);
	*verdicts = (struct ygr_verdicts){0};
}

int ygr_verdicts_next(struct ygr_verdicts *verdicts, struct ygr_frame_context *ret_record,
		      uint64_t *ret_position)
{
	while (verdicts->next < __atomic_load_n(verdicts->producer, __ATOMIC_ACQUIRE)) {
		const uint8_t *at = verdicts->data + (verdicts->next & (verdicts->size - 1));
		uint32_t head = __atomic_load_n((const uint32_t *)(const void *)at, __ATOMIC_ACQUIRE);
		if (head & BPF_RINGBUF_BUSY_BIT)
			return 0;
		uint32_t length = head & ~BPF_RINGBUF_DISCARD_BIT;
		verdicts->next += (length + BPF_RINGBUF_HDR_SZ + 7) & ~7ull;
		if (head & BPF_RINGBUF_DISCARD_BIT || length != sizeof(*ret_record))
			continue;
		memcpy(ret_record, at + BPF_RINGBUF_HDR_SZ, sizeof(*ret_record));
		*ret_position = verdicts->next;
		return 1;
	}
	return 0;
}

void ygr_verdicts_release(struct ygr_verdicts *verdicts, uint64_t position)
{
	if (position > *verdicts->consumer && position <= verdicts->next)
		__atomic_store_n(verdicts->consumer, position, __ATOMIC_RELEASE);
}
