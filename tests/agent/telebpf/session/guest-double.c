/* See guest-double.h. Records follow kernel/bpf/ringbuf.c and kernel/events/ring_buffer.c. */
#include "tests/agent/telebpf/session/guest-double.h"

#include <fcntl.h>
#include <linux/perf_event.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/wire/frame.h"
#include "lib/wire/transport.h"

#define PAGE    4096u
#define BATCH   7 /* records at once */
#define WAIT_MS 10000

static struct double_ring *find(struct guest_double *double_, uint32_t handle)
{
	for (unsigned i = 0; i < double_->count; i++)
		if (double_->rings[i].handle == handle)
			return &double_->rings[i];
	return NULL;
}

static void put(struct double_ring *ring, const void *bytes, size_t length)
{
	memcpy(ring->view + PAGE + (ring->producer & (ring->size - 1)), bytes, length);
	ring->producer += length;
}

static void produce_one(struct double_ring *ring)
{
	if (ring->kind == YGR_RING_BPF) {
		struct {
			uint32_t length, page;
			uint64_t value;
		} record = {8, 0, ring->next++};

		put(ring, &record, sizeof(record));
	} else {
		struct {
			struct perf_event_header header;
			uint32_t length, low, high, padding;
		} record = {{PERF_RECORD_SAMPLE, 0, sizeof(record)}, 12, (uint32_t)ring->next, 0, 0};

		ring->next++;
		/* In pieces of 8, as records wrap there. */
		for (size_t i = 0; i < sizeof(record); i += 8)
			put(ring, (const char *)&record + i, 8);
	}
}

static void publish(struct double_ring *ring)
{
	size_t at = ring->kind == YGR_RING_BPF ? 0 : offsetof(struct perf_event_mmap_page, data_head);

	__atomic_store_n((uint64_t *)(ring->view + at), ring->producer, __ATOMIC_RELEASE);
}

static void produce(struct guest_double *double_, struct double_ring *ring)
{
	uint64_t at = ring->producer;

	for (int i = 0; i < BATCH && ring->producer + 24 - ring->consumer <= ring->size; i++)
		produce_one(ring);
	publish(ring);
	if (double_->lie) {
		/* Checked by nobody in Shared. Far beyond any ring, below the busy bit. */
		const uint32_t length = 0x2ffffff8;

		memcpy(ring->view + PAGE + (at & (ring->size - 1)), &length, sizeof(length));
	}
}

/* Every second page changes places with its neighbour, so that no two pages of a ring are in order. */
static uint32_t page_at(uint32_t base, uint32_t i)
{
	return base + (i ^ 1);
}

static void open_ring(struct guest_double *double_, uint32_t id, const struct ygr_ring_open *open)
{
	struct {
		struct ygr_ring_opened opened;
		struct ygr_run runs[256];
	} answer = {};
	uint32_t pages = 1 + (uint32_t)(open->data_bytes / PAGE), base = double_->next_page;
	struct double_ring *ring = &double_->rings[double_->count++];

	*ring = (struct double_ring){.handle = open->handle,
				     .kind = (enum ygr_ring_kind)open->kind,
				     .size = open->data_bytes,
				     .stream = open->stream != 0};
	double_->opened++;
	double_->streams += ring->stream;
	double_->next_page += pages + 2;
	double_->next_page += double_->next_page & 1;
	ring->view = mmap(NULL, pages * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	for (uint32_t i = 0; i < pages; i++) {
		mmap(ring->view + i * PAGE, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
		     double_->ram, (off_t)page_at(base, i) * PAGE);
		answer.runs[i] = (struct ygr_run){DOUBLE_GPA / PAGE + page_at(base, i), 1, 0};
	}
	if (!ring->stream)
		answer.opened.run_count = pages;
	ygr_frame_send(double_->session, YGR_MSG_RING_OPENED, id, &answer,
		       (uint32_t)(sizeof(answer.opened) + answer.opened.run_count * sizeof(*answer.runs)),
		       WAIT_MS);
	if (ring->stream) {
		struct {
			struct ygr_ring_records head;
			uint32_t length, page;
			uint64_t value;
		} records = {{open->handle, 16, 0}, double_->lie ? 0x2ffffff8 : 8, 0, 0};

		ygr_frame_send(double_->session, YGR_MSG_RING_RECORDS, 0, &records, sizeof(records),
			       WAIT_MS);
	}
}

static void position(struct guest_double *double_, const struct ygr_frame *frame)
{
	struct ygr_ring_position to;
	struct double_ring *ring;

	memcpy(&to, frame->payload, sizeof(to));
	ring = find(double_, to.handle);
	if (!ring || ring->stream)
		return;
	if (to.position - ring->consumer > ring->producer - ring->consumer || to.position % 8)
		double_->wrong++;
	ring->consumer = to.position;
	if (frame->type != YGR_MSG_RING_ARM)
		return;
	if (ring->producer == ring->consumer)
		produce(double_, ring);
	to.position = ring->producer;
	ygr_frame_send(double_->session, YGR_MSG_RING_READY, 0, &to, sizeof(to), WAIT_MS);
}

static void from_session(struct guest_double *double_, const struct ygr_frame *frame)
{
	struct ygr_ring_open open;

	switch (frame->type) {
	case YGR_MSG_RING_OPEN:
		memcpy(&open, frame->payload, sizeof(open));
		open_ring(double_, frame->id, &open);
		return;
	case YGR_MSG_RING_ARM:
	case YGR_MSG_RING_CONSUMED:
		position(double_, frame);
		return;
	case YGR_MSG_RING_CLOSE:
		double_->closed++;
		return;
	default:
		ygr_frame_send(double_->guest, frame->type, frame->id, frame->payload, frame->length,
			       WAIT_MS);
	}
}

static void *serve(void *argument)
{
	struct guest_double *double_ = argument;
	struct pollfd p[2] = {{.fd = double_->session, .events = POLLIN},
			      {.fd = double_->guest, .events = POLLIN}};

	while (poll(p, 2, -1) > 0) {
		for (int i = 0; i < 2; i++) {
			struct ygr_frame frame;
			uint8_t *payload = NULL;

			if (!p[i].revents)
				continue;
			if (ygr_frame_receive(p[i].fd, YGR_FRAME_MAX, WAIT_MS, &frame, &payload) < 0) {
				double_->ended = i == 0;
				shutdown(double_->session, SHUT_RDWR);
				return NULL;
			}
			frame.payload = payload;
			if (i == 0)
				from_session(double_, &frame);
			else
				ygr_frame_send(double_->session, frame.type, frame.id, payload, frame.length,
					       WAIT_MS);
			free(payload);
		}
	}
	return NULL;
}

void double_start(struct guest_double *double_, int guest, bool lie, int *ret_channel)
{
	int pair[2];

	memset(double_, 0, sizeof(*double_));
	double_->guest = guest;
	double_->lie = lie;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		abort();
	double_->session = pair[0];
	double_->ram = memfd_create("guest-ram", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (ftruncate(double_->ram, DOUBLE_RAM) < 0 ||
	    pthread_create(&double_->thread, NULL, serve, double_) != 0)
		abort();
	*ret_channel = pair[1];
}

int double_ram(struct guest_double *double_, bool sealed)
{
	char path[64];
	int fd;

	if (sealed)
		fcntl(double_->ram, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", double_->ram);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		abort();
	return fd;
}

void double_cut(struct guest_double *double_)
{
	shutdown(double_->session, SHUT_RDWR);
}

void double_stop(struct guest_double *double_)
{
	shutdown(double_->guest, SHUT_RDWR);
	pthread_join(double_->thread, NULL);
	for (unsigned i = 0; i < double_->count; i++)
		munmap(double_->rings[i].view, PAGE + double_->rings[i].size);
	close(double_->session);
	close(double_->guest);
	close(double_->ram);
}
