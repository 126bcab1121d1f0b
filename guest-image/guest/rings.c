/* RING_*: opening rings for the node, telling it that there is more, and sending records where it streams.
 */
#include "guest-image/guest/session.h"

#include <errno.h>
#include <linux/bpf.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "guest-image/guest/pages.h"

#define RUNS_MAX_BYTES (2u << 20) /* 131072 runs: 512 MiB of pages of which no two are neighbours */

static struct ygr_guest_ring *find(struct ygr_guest_session *session, uint32_t handle)
{
	for (unsigned i = 0; i < session->ring_count; i++)
		if (session->rings[i].handle == handle)
			return &session->rings[i];
	return NULL;
}

/*
 * Edge-triggered, so that a record which is being written does not wake the loop again and again; and out of
 * the set when nobody waits, so that a busy ring costs nothing while the node polls its pages by itself.
 */
static void watch(struct ygr_guest_session *session, struct ygr_guest_ring *ring, bool on)
{
	struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.fd = ring->fd};
	if (ring->watched == on)
		return;
	if (epoll_ctl(session->epoll_fd, on ? EPOLL_CTL_ADD : EPOLL_CTL_DEL, ring->fd, &event) == 0)
		ring->watched = on; /* else the fallback timer finds its records */
}

static uint64_t perf_bytes(const struct ygr_guest_ring *ring)
{
	return ring->kind == YGR_RING_PERF ? ring->map_bytes : 0;
}

static void drop(struct ygr_guest_session *session, struct ygr_guest_ring *ring)
{
	watch(session, ring, false);
	session->ring_bytes -= perf_bytes(ring);
	ygr_guest_ring_deinit(ring);
	*ring = session->rings[--session->ring_count];
}

void ygr_guest_rings_deinit(struct ygr_guest_session *session)
{
	while (session->ring_count)
		drop(session, &session->rings[session->ring_count - 1]);
}

static int check_kind(const struct ygr_object *object, const struct ygr_ring_open *open)
{
	if (open->kind == YGR_RING_PERF)
		return object->kind == YGR_OBJECT_PERF ? 0 : -EINVAL;
	if (open->kind != YGR_RING_BPF || object->kind != YGR_OBJECT_MAP ||
	    object->map_type != BPF_MAP_TYPE_RINGBUF || object->max_entries != open->data_bytes)
		return -EINVAL;
	return 0;
}

/* Makes the ring the session's last one: 0 or the status for RING_OPENED. */
static int make(struct ygr_guest_session *session, const struct ygr_ring_open *open)
{
	const struct ygr_guest_handle *slot = ygr_guest_handles_find(&session->handles, open->handle);
	if (!slot)
		return -EBADF;
	int r = check_kind(&slot->object, open);
	if (r < 0)
		return r;
	if (find(session, open->handle))
		return -EEXIST;
	if (session->ring_count == YGR_GUEST_RINGS_MAX)
		return -EMFILE;
	uint64_t used = session->handles.charged + session->ring_bytes;
	if (open->kind == YGR_RING_PERF &&
	    (used > session->memory || open->data_bytes > session->memory - used))
		return -ENOMEM;

	struct ygr_guest_ring *ring = &session->rings[session->ring_count];
	r = ygr_guest_ring_init(ring, slot->fd, open);
	if (r < 0)
		return r;
	session->ring_count++;
	session->ring_bytes += perf_bytes(ring);
	return 0;
}

/* Page mode: where the pages are, once the server holds them too. */
static int share(struct ygr_guest_session *session, const struct ygr_guest_ring *ring, struct ygr_buf *runs,
		 uint32_t *ret_count)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	int r = ygr_guest_pages_runs(ring->map, 1 + ring->data_bytes / page, runs, ret_count);
	if (r < 0)
		return r == -EMSGSIZE ? -EOPNOTSUPP : r;
	return ygr_guest_session_keep(session, ring->handle, ring->fd,
				      ring->kind == YGR_RING_PERF ? ring->map_bytes : page);
}

static int open_ring(struct ygr_guest_session *session, uint32_t id, const struct ygr_ring_open *open)
{
	struct ygr_ring_opened opened = {0};
	struct ygr_buf runs = YGR_BUF_INIT(RUNS_MAX_BYTES);

	opened.status = make(session, open);
	if (opened.status == 0) {
		struct ygr_guest_ring *ring = &session->rings[session->ring_count - 1];
		opened.producer = ygr_guest_ring_producer(ring);
		opened.consumer = ygr_guest_ring_consumer(ring);
		if (ring->stream)
			watch(session, ring, true);
		else
			opened.status = share(session, ring, &runs, &opened.run_count);
		if (opened.status < 0) {
			opened.run_count = 0;
			drop(session, ring);
		}
	}
	struct iovec pieces[] = {{&opened, sizeof(opened)},
				 {runs.data, opened.run_count * sizeof(struct ygr_run)}};
	int r = ygr_guest_link_send(&session->link, YGR_MSG_RING_OPENED, id, pieces, 2);
	ygr_buf_deinit(&runs);
	return r;
}

static int position(struct ygr_guest_session *session, bool arm, const struct ygr_ring_position *to,
		    struct ygr_error *error)
{
	struct ygr_guest_ring *ring = find(session, to->handle);
	if (!ring)
		return 0; /* closed while this was under way */
	int r = ring->stream ? ygr_guest_ring_credit(ring, to->position)
			     : ygr_guest_ring_consume(ring, to->position);
	if (r < 0)
		return ygr_error_set(error, -r, "ring %u cannot be consumed up to %llu", to->handle,
				     (unsigned long long)to->position);
	if (!ring->stream && arm) {
		ring->armed = true;
		watch(session, ring, true);
	}
	return 0;
}

int ygr_guest_rings(struct ygr_guest_session *session, const struct ygr_frame *frame,
		    struct ygr_error *error)
{
	struct ygr_ring_open open;
	struct ygr_ring_position to;
	struct ygr_handle_close closing;
	struct ygr_guest_ring *ring;

	switch (frame->type) {
	case YGR_MSG_RING_OPEN:
		if (frame->length != sizeof(open))
			break;
		memcpy(&open, frame->payload, sizeof(open));
		return open_ring(session, frame->id, &open);
	case YGR_MSG_RING_ARM:
	case YGR_MSG_RING_CONSUMED:
		if (frame->length != sizeof(to))
			break;
		memcpy(&to, frame->payload, sizeof(to));
		return position(session, frame->type == YGR_MSG_RING_ARM, &to, error);
	case YGR_MSG_RING_CLOSE:
		if (frame->length != sizeof(closing))
			break;
		memcpy(&closing, frame->payload, sizeof(closing));
		ring = find(session, closing.handle);
		if (ring)
			drop(session, ring);
		ygr_guest_regions_close(session, closing.handle);
		ygr_guest_session_forget(session, closing.handle);
		return 0;
	default:
		break;
	}
	return ygr_error_set(error, EPROTO, "a ring message (%u) of %u bytes", frame->type, frame->length);
}

static int tell_ready(struct ygr_guest_session *session, struct ygr_guest_ring *ring)
{
	struct ygr_ring_position at = {.handle = ring->handle, .position = ygr_guest_ring_producer(ring)};
	struct iovec piece = {&at, sizeof(at)};
	ring->armed = false;
	watch(session, ring, false);
	return ygr_guest_link_send(&session->link, YGR_MSG_RING_READY, 0, &piece, 1);
}

static int too_long(struct ygr_guest_session *session, struct ygr_guest_ring *ring, uint64_t length)
{
	struct ygr_error error = YGR_ERROR_INIT;
	ring->broken = true;
	ygr_error_set(&error, EMSGSIZE,
		      "%s: a record of %llu bytes is longer than a frame, the ring has ended",
		      ygr_grant_program(session->grant), (unsigned long long)length);
	return ygr_guest_session_notice(session, &error);
}

static int send_records(struct ygr_guest_session *session, struct ygr_guest_ring *ring)
{
	uint64_t length;
	while (ygr_guest_link_backlog(&session->link) < YGR_GUEST_BACKLOG &&
	       (length = ygr_guest_ring_sendable(ring)) > 0) {
		struct ygr_ring_records records = {.handle = ring->handle, .length = (uint32_t)length};
		uint8_t *payload;
		if (length > YGR_FRAME_MAX - sizeof(records))
			return too_long(session, ring, length);
		int r = ygr_guest_link_begin(&session->link, YGR_MSG_RING_RECORDS, 0,
					     (uint32_t)(sizeof(records) + length), &payload);
		if (r < 0)
			return r;
		records.position = ygr_guest_ring_take(ring, payload + sizeof(records), length);
		memcpy(payload, &records, sizeof(records));
	}
	return 0;
}

int ygr_guest_rings_service(struct ygr_guest_session *session)
{
	int r = 0;
	for (unsigned i = 0; i < session->ring_count && r == 0; i++) {
		struct ygr_guest_ring *ring = &session->rings[i];
		if (ring->stream)
			r = send_records(session, ring);
		else if (ring->armed && ygr_guest_ring_ready(ring))
			r = tell_ready(session, ring);
	}
	return r;
}

bool ygr_guest_rings_waiting(const struct ygr_guest_session *session)
{
	for (unsigned i = 0; i < session->ring_count; i++)
		if (session->rings[i].armed || session->rings[i].stream)
			return true;
	return false;
}
