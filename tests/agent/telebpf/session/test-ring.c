/*
 * A whole ring: what the application maps, sees and is woken by; how a guest's page runs and an
 * application's consumer positions that lie are met.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <linux/perf_event.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "agent/telebpf/session/ring.h"

#define PAGE YGR_PAGE_SIZE

/* A guest of 16 pages whose ring pages lie scattered: producer page at 3, data at 9 and 4. */
struct guest {
	struct ygr_ram *ram;
	uint8_t *memory;
};

static struct guest make_guest(void)
{
	static const struct ygr_ram_region region = {.size = 16 * PAGE};
	int fd = memfd_create("test-ram", MFD_CLOEXEC);
	struct guest guest;

	assert_true(fd >= 0 && ftruncate(fd, 16 * PAGE) == 0);
	guest.memory = mmap(NULL, 16 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_ptr_not_equal(guest.memory, MAP_FAILED);
	assert_int_equal(ygr_ram_new(fd, &region, 1, &guest.ram, NULL), 0);
	return guest;
}

static void guest_deinit(struct guest *guest)
{
	munmap(guest->memory, 16 * PAGE);
	ygr_ram_free(guest->ram);
}

struct answer {
	struct ygr_ring_opened opened;
	struct ygr_run runs[3];
};

static const struct answer two_pages = {.opened = {.run_count = 3, .producer = 16, .consumer = 0},
					.runs = {{3, 1, 0}, {9, 1, 0}, {4, 1, 0}}};

static struct ygr_ring *open_ring(struct guest *guest, enum ygr_ring_kind kind)
{
	struct ygr_ring *ring = NULL;

	assert_int_equal(ygr_ring_new(7, kind, 2 * PAGE, kind == YGR_RING_PERF ? PERF_SAMPLE_RAW : 0, &ring),
			 0);
	assert_int_equal(ygr_ring_start(ring, guest->ram, (const uint8_t *)&two_pages, sizeof(two_pages)),
			 0);
	return ring;
}

static bool readable(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return poll(&p, 1, 0) == 1;
}

static void test_new(void **state)
{
	struct ygr_ring *ring = NULL;

	(void)state;
	assert_int_equal(ygr_ring_new(1, YGR_RING_BPF, 0, 0, &ring), -EINVAL);
	assert_int_equal(ygr_ring_new(1, YGR_RING_BPF, 2048, 0, &ring), -EINVAL);
	assert_int_equal(ygr_ring_new(1, YGR_RING_BPF, 3 * PAGE, 0, &ring), -EINVAL);
	assert_int_equal(ygr_ring_new(1, YGR_RING_BPF, 2ull * YGR_RING_DATA_MAX, 0, &ring), -E2BIG);
	assert_int_equal(ygr_ring_new(1, YGR_RING_BPF, 1ull << 63, 0, &ring), -E2BIG);
	assert_null(ring);
}

static void test_hostile_answers(void **state)
{
	struct guest guest = make_guest();
	struct answer bad[8];
	static const int results[8] = {-EOPNOTSUPP, -EBADMSG, -EBADMSG, -EBADMSG,
				       -EBADMSG,    -EBADMSG, -ERANGE,  -EBADMSG};

	(void)state;
	for (unsigned i = 0; i < 8; i++)
		bad[i] = two_pages;
	bad[0].opened.status = -EOPNOTSUPP;
	bad[1].opened.status = 5;
	bad[2].opened.producer = 3 * PAGE;
	bad[3].opened.consumer = 24; /* beyond the producer */
	bad[4].opened.run_count = 4; /* more than came */
	bad[5].opened.run_count = 2;
	bad[6].runs[2].pfn = 16;
	bad[7].runs[1].count = 2;
	for (unsigned i = 0; i < 8; i++) {
		struct ygr_ring *ring = NULL;

		assert_int_equal(ygr_ring_new(7, YGR_RING_BPF, 2 * PAGE, 0, &ring), 0);
		assert_int_equal(ygr_ring_start(ring, guest.ram, (const uint8_t *)&bad[i], sizeof(bad[i])),
				 results[i]);
		assert_int_equal(ygr_ring_start(ring, guest.ram, (const uint8_t *)&bad[i], 23), -EBADMSG);
		ygr_ring_free(ring);
	}
	guest_deinit(&guest);
}

static void test_bpf(void **state)
{
	struct guest guest = make_guest();
	struct ygr_ring *ring;
	struct ygr_ring_batch batch;
	int fd = eventfd(0, EFD_NONBLOCK);
	volatile uint64_t *producer = (void *)(guest.memory + 3 * PAGE);
	uint64_t *consumer, *seen;

	(void)state;
	*producer = 16;
	memcpy(guest.memory + 9 * PAGE, &(uint32_t[]){8, 0, 0x1234, 0}, 16);
	ring = open_ring(&guest, YGR_RING_BPF);
	consumer = (uint64_t *)ring->area;
	seen = (uint64_t *)(ring->area + PAGE);
	assert_int_equal(ygr_ring_add_ready(ring, fd), 0);
	assert_false(readable(fd));
	assert_true(ygr_ring_behind(ring));
	assert_int_equal(ygr_ring_pull(ring, &batch), 0);
	assert_false(ygr_ring_behind(ring));
	assert_int_equal(*seen, 16);
	assert_int_equal(ygr_ring_released(ring), 16);
	assert_true(readable(fd));
	/* The shim took the signal though not all was consumed: it comes again; when all was: not. */
	assert_int_equal(read(fd, &(uint64_t){0}, 8), 8);
	ygr_ring_idle(ring);
	assert_true(readable(fd));
	*consumer = 16;
	assert_int_equal(read(fd, &(uint64_t){0}, 8), 8);
	ygr_ring_idle(ring);
	assert_false(readable(fd));
	/* A record across the two scattered pages and the end. */
	memcpy(guest.memory + 9 * PAGE + 16, &(uint32_t[]){2 * PAGE - 24, 0}, 8);
	memset(guest.memory + 4 * PAGE, 0x77, PAGE);
	*producer = 2 * PAGE;
	assert_int_equal(ygr_ring_pull(ring, &batch), 0);
	assert_int_equal(ring->sink.data[2 * PAGE - 1], 0x77);
	assert_true(readable(fd));
	*producer = 2 * PAGE - 8;
	assert_int_equal(ygr_ring_pull(ring, &batch), -EBADMSG);
	ygr_ring_free(ring);
	guest_deinit(&guest);
}

static void test_hostile_consumer(void **state)
{
	static const uint64_t lies[] = {UINT64_MAX, 17, 1ull << 63, 24};
	struct guest guest = make_guest();
	struct ygr_ring *ring = open_ring(&guest, YGR_RING_BPF);
	struct ygr_ring_batch batch;
	uint64_t *consumer = (uint64_t *)ring->area;

	(void)state;
	*(uint64_t *)(guest.memory + 3 * PAGE) = 16;
	*(uint32_t *)(guest.memory + 9 * PAGE) = 8;
	assert_int_equal(ygr_ring_pull(ring, &batch), 0);
	*consumer = 8;
	assert_int_equal(ygr_ring_consumer(ring), 8);
	for (unsigned i = 0; i < 4; i++) {
		*consumer = lies[i];
		assert_int_equal(ygr_ring_consumer(ring), 8);
	}
	*consumer = 0; /* backwards */
	assert_int_equal(ygr_ring_consumer(ring), 8);
	*consumer = 16;
	assert_int_equal(ygr_ring_consumer(ring), 16);
	ygr_ring_free(ring);
	guest_deinit(&guest);
}

static void test_perf(void **state)
{
	struct guest guest = make_guest();
	struct ygr_ring *ring = open_ring(&guest, YGR_RING_PERF);
	struct perf_event_mmap_page *page = (void *)ring->area;
	struct perf_event_mmap_page *theirs = (void *)(guest.memory + 3 * PAGE);
	struct perf_event_header header = {.type = PERF_RECORD_SAMPLE, .size = 16};
	struct ygr_ring_batch batch;

	(void)state;
	assert_int_equal(page->data_offset, PAGE);
	assert_int_equal(page->data_size, 2 * PAGE);
	theirs->capabilities = UINT64_MAX;
	memcpy(guest.memory + 9 * PAGE, &header, sizeof(header));
	memcpy(guest.memory + 9 * PAGE + 8, &(uint32_t[]){4, 0x4321}, 8);
	theirs->data_head = 16;
	assert_int_equal(ygr_ring_pull(ring, &batch), 0);
	assert_int_equal(page->data_head, 16);
	assert_int_equal(page->capabilities, 0);
	assert_int_equal(*(uint32_t *)(ring->sink.data + 12), 0x4321);
	ygr_ring_free(ring);
	guest_deinit(&guest);
}

static void test_stream(void **state)
{
	struct answer answer = {.opened = {.producer = 0}};
	struct ygr_ring_records records = {.handle = 7, .length = 16};
	uint32_t bytes[2 * PAGE / 4 + 4] = {8, 0, 5, 6};
	struct ygr_ring_batch batch;
	struct ygr_ring *ring = NULL;

	(void)state;
	assert_int_equal(ygr_ring_new(7, YGR_RING_BPF, PAGE, 0, &ring), 0);
	assert_int_equal(ygr_ring_start(ring, NULL, (const uint8_t *)&answer, sizeof(answer.opened)), 0);
	assert_int_equal(ring->delivery, YGR_DELIVERY_STREAM);
	assert_int_equal(ygr_ring_feed(ring, &records, (const uint8_t *)bytes, &batch), 0);
	assert_int_equal(batch.records, 1);
	assert_int_equal(ygr_ring_released(ring), 0);
	*(uint64_t *)ring->area = 16;
	assert_int_equal(ygr_ring_released(ring), 16);
	assert_int_equal(ygr_ring_feed(ring, &records, (const uint8_t *)bytes, &batch),
			 -EBADMSG); /* again */
	records.position = 16;
	bytes[0] = 8 | (1u << 31);
	assert_int_equal(ygr_ring_feed(ring, &records, (const uint8_t *)bytes, &batch), -EBADMSG); /* busy */
	records.length = 2 * PAGE;
	memset(bytes, 0, sizeof(bytes));
	assert_int_equal(ygr_ring_feed(ring, &records, (const uint8_t *)bytes, &batch),
			 -EBADMSG); /* window */
	ygr_ring_free(ring);
}

static void test_layout(void **state)
{
	struct ygr_ring *bpf = NULL, *perf = NULL;
	struct ygr_local_mapped mapped;
	struct ygr_local_map map = {.prot = PROT_READ | PROT_WRITE, .length = PAGE};

	(void)state;
	assert_int_equal(ygr_ring_new(7, YGR_RING_BPF, 2 * PAGE, 0, &bpf), 0);
	assert_int_equal(ygr_ring_new(8, YGR_RING_PERF, 2 * PAGE, 0, &perf), 0);
	assert_int_equal(ygr_ring_layout(bpf, &map, &mapped), 0);
	assert_int_equal(mapped.pieces, 1);
	assert_int_equal(mapped.ring, 1);
	/* Producer page and the data twice, as libbpf maps it. */
	map = (struct ygr_local_map){.prot = PROT_READ, .offset = PAGE, .length = 5 * PAGE};
	assert_int_equal(ygr_ring_layout(bpf, &map, &mapped), 0);
	assert_int_equal(mapped.pieces, 3);
	assert_int_equal(mapped.piece[0].offset, PAGE);
	assert_int_equal(mapped.piece[0].length, PAGE);
	assert_int_equal(mapped.piece[1].at, PAGE);
	assert_int_equal(mapped.piece[1].offset, 2 * PAGE);
	assert_int_equal(mapped.piece[1].length, 2 * PAGE);
	assert_int_equal(mapped.piece[2].at, 3 * PAGE);
	assert_int_equal(mapped.piece[2].offset, 2 * PAGE);
	map.prot |= PROT_WRITE;
	assert_int_equal(ygr_ring_layout(bpf, &map, &mapped), -EPERM);
	map = (struct ygr_local_map){.prot = PROT_READ, .offset = PAGE, .length = 5 * PAGE + 1};
	assert_int_equal(ygr_ring_layout(bpf, &map, &mapped), -EINVAL);
	map.length = UINT64_MAX;
	assert_int_equal(ygr_ring_layout(bpf, &map, &mapped), -EINVAL);
	map = (struct ygr_local_map){.prot = PROT_READ, .offset = UINT64_MAX - PAGE + 1, .length = PAGE};
	assert_int_equal(ygr_ring_layout(bpf, &map, &mapped), -EINVAL);
	map = (struct ygr_local_map){.prot = PROT_READ | PROT_WRITE, .length = 3 * PAGE};
	assert_int_equal(ygr_ring_layout(perf, &map, &mapped), 0);
	assert_int_equal(mapped.pieces, 1);
	assert_int_equal(mapped.piece[0].length, 3 * PAGE);
	map.prot = PROT_READ;
	assert_int_equal(ygr_ring_layout(perf, &map, &mapped), -EOPNOTSUPP);
	map.length = 2 * PAGE;
	assert_int_equal(ygr_ring_layout(perf, &map, &mapped), -EINVAL);
	ygr_ring_free(bpf);
	ygr_ring_free(perf);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_new),    cmocka_unit_test(test_hostile_answers),
	    cmocka_unit_test(test_bpf),    cmocka_unit_test(test_hostile_consumer),
	    cmocka_unit_test(test_perf),   cmocka_unit_test(test_stream),
	    cmocka_unit_test(test_layout),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
