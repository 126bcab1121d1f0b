/*
 * Ring data, from the guest to the application. In the page modes the producer positions in guest RAM are
 * polled: right after a record without sleeping (spinMicroseconds), then with naps that are a share of the
 * time since the last record, so that polling adds little to how long a record was awaited anyway, and costs
 * less and less. Where records come fast, naps last long enough for some of them. A ring that was quiet for a
 * moment is armed besides, once, and the guest says when there is more; after a second without records there
 * are no looks any more, only that. While rings are polled the guest does nothing for them: a message costs
 * its processors more than the record did, and comes late when they are busy.
 *
 * A ring whose private copy is full is left alone until the application says that it is about to wait, or a
 * timer that backs off looks again; meanwhile the guest's own ring fills, and its kernel counts what it
 * drops.
 *
 * In Shared the application reads the guest's pages itself. "Full" then means that it has not consumed all
 * that is there: it was woken, and the guest is not asked for more before it is done.
 */
#include <errno.h>
#include <string.h>

#include "agent/telebpf/session/session.h"
#include "lib/wire/message.h"

#define WAIT_MIN_NS 1000000ull  /* 1 ms */
#define WAIT_MAX_NS 50000000ull /* 50 ms */

#define POLL_NS     1000000000ull /* after the last record */
#define ARM_NS      5000000ull    /* the same */
#define NAP_MIN_NS  20000ull
#define NAP_BUSY_NS 160000ull /* NAP_MIN_NS grows up to this while naps bring several records */
#define NAP_SHARE   32        /* of the time since the last record */

static uint64_t longer(uint64_t wait)
{
	if (!wait)
		return WAIT_MIN_NS;
	return 2 * wait > WAIT_MAX_NS ? WAIT_MAX_NS : 2 * wait;
}

static void post_position(struct ygr_session *session, uint16_t type, struct ygr_ring *ring)
{
	const struct ygr_ring_position position = {.handle = ring->handle,
						   .position = ygr_ring_released(ring)};
	int r = ygr_channel_post(session->channel, type,
				 &(struct iovec){(void *)&position, sizeof(position)}, 1);

	if (r == 0)
		ring->acknowledged = position.position;
	else if (r == -EAGAIN)
		ygr_session_fail(session, "ChannelLost", "the guest takes nothing more");
}

/* Lets the guest have its space back when that is worth a message. */
static void acknowledge(struct ygr_session *session, struct ygr_ring *ring)
{
	if (ygr_ring_released(ring) - ring->acknowledged > ring->sink.size / 4)
		post_position(session, YGR_MSG_RING_CONSUMED, ring);
}

static void account(struct ygr_session *session, const struct ygr_ring_batch *batch)
{
	session->counters.ring_records += batch->records;
	session->counters.ring_bytes += batch->bytes;
	session->counters.ring_dropped += batch->dropped;
}

static void misbehaved(struct ygr_session *session, const struct ygr_ring *ring)
{
	session->counters.ring_invalid++;
	ygr_session_fail(session, "GuestMisbehaved", "ring %u: a record or position that cannot be, at %llu",
			 ring->handle, (unsigned long long)ring->sink.position);
}

/*
 * Where records come faster than naps end, each nap may as well bring some more: looking, and waking the
 * application, cost as much for many as for one. Twice as long after two or more, half as long after none.
 */
static void pace(struct ygr_session *session, uint64_t records)
{
	if (records > 1 && session->nap_min < NAP_BUSY_NS)
		session->nap_min *= 2;
	else if (records == 0)
		session->nap_min /= 2;
	if (session->nap_min < NAP_MIN_NS)
		session->nap_min = NAP_MIN_NS;
}

/* True when something was copied. */
static bool pull(struct ygr_session *session, struct ygr_ring *ring)
{
	struct ygr_ring_batch batch;
	int r = ygr_ring_pull(ring, &batch);

	account(session, &batch);
	if (r < 0) {
		misbehaved(session, ring);
		return false;
	}
	acknowledge(session, ring);
	return batch.bytes > 0;
}

static void sweep(struct ygr_session *session)
{
	bool progress = false, full = false, pulled = false;
	uint64_t now;

	for (struct ygr_entry *entry = ygr_objects_first(&session->objects); entry && !session->killed;
	     entry = ygr_objects_next(&session->objects, entry)) {
		struct ygr_ring *ring = entry->ring;

		if (!ring || !entry->ready)
			continue;
		if (ring->delivery == YGR_DELIVERY_STREAM) {
			acknowledge(session, ring);
			/* One that consumes without ever waiting tells nobody. */
			full |= ring->sink.position - ring->acknowledged > ring->sink.size / 4;
			continue;
		}
		if (!ygr_ring_behind(ring))
			continue;
		/* What a program wrote to its arrays before it sent a record is there with the record. */
		if (!pulled)
			ygr_sync_pull_mapped(session);
		pulled = true;
		progress |= pull(session, ring);
		full |= ring->full;
	}
	now = ygr_session_now();
	if (progress) {
		session->progress_at = now;
		session->pressure_wait = 0;
	}
	if (full && (progress || now >= session->pressure_at)) {
		session->pressure_wait = longer(session->pressure_wait);
		session->pressure_at = now + session->pressure_wait;
	} else if (!full) {
		session->pressure_at = 0;
	}
}

static void arm(struct ygr_session *session, uint64_t now)
{
	session->arm_at = 0;
	for (struct ygr_entry *entry = ygr_objects_first(&session->objects); entry;
	     entry = ygr_objects_next(&session->objects, entry)) {
		struct ygr_ring *ring = entry->ring;

		if (!ring || !entry->ready || ring->armed || ring->full ||
		    ring->delivery == YGR_DELIVERY_STREAM)
			continue;
		if (ring->arm_at > now) {
			if (!session->arm_at || ring->arm_at < session->arm_at)
				session->arm_at = ring->arm_at;
			continue;
		}
		ring->armed = true;
		ring->armed_bytes = ring->bytes;
		post_position(session, YGR_MSG_RING_ARM, ring);
	}
}

int64_t ygr_delivery_poll(struct ygr_session *session)
{
	bool adaptive = session->config.wake == YGR_WAKE_ADAPTIVE;
	uint64_t now = ygr_session_now(), quiet, records = session->counters.ring_records;

	if ((adaptive && now - session->progress_at < POLL_NS) ||
	    (session->pressure_at && now >= session->pressure_at)) {
		sweep(session);
		pace(session, session->counters.ring_records - records);
	}
	/* One reading of the clock for both: a loop that may sleep must have armed the rings. */
	now = ygr_session_now();
	quiet = now - session->progress_at;
	if (!adaptive || quiet >= ARM_NS)
		arm(session, now);
	if (!adaptive || quiet >= POLL_NS)
		return -1;
	if (quiet < session->config.spin_us * 1000ull)
		return 0;
	return (int64_t)(quiet / NAP_SHARE < session->nap_min ? session->nap_min : quiet / NAP_SHARE);
}

static void ring_ready(struct ygr_session *session, const struct ygr_frame *frame)
{
	struct ygr_ring_position position;
	struct ygr_entry *entry;
	struct ygr_ring *ring;
	uint64_t now = ygr_session_now(), bytes;

	if (frame->length != sizeof(position)) {
		ygr_session_fail(session, "GuestMisbehaved", "a malformed RING_READY");
		return;
	}
	memcpy(&position, frame->payload, sizeof(position));
	entry = ygr_objects_find(&session->objects, position.handle);
	/* A ring that was just closed may still be spoken of. */
	if (!entry || !entry->ring || !entry->ready)
		return;
	ring = entry->ring;
	if (!ring->armed)
		return; /* owed to nobody */
	ring->armed = false;
	bytes = ring->bytes;
	sweep(session);
	/*
	 * Nothing came since the ring was armed: a record that is still being written, or a guest that
	 * plays. Not at once again.
	 */
	if (ring->bytes == bytes && ring->armed_bytes == bytes) {
		ring->arm_wait = longer(ring->arm_wait);
		ring->arm_at = now + ring->arm_wait;
	} else {
		ring->arm_wait = 0;
	}
}

static void ring_records(struct ygr_session *session, const struct ygr_frame *frame)
{
	struct ygr_ring_records records;
	struct ygr_ring_batch batch;
	struct ygr_entry *entry;
	int r;

	if (frame->length < sizeof(records)) {
		ygr_session_fail(session, "GuestMisbehaved", "a malformed RING_RECORDS");
		return;
	}
	memcpy(&records, frame->payload, sizeof(records));
	entry = ygr_objects_find(&session->objects, records.handle);
	if (!entry || !entry->ring || !entry->ready)
		return;
	if (records.length != frame->length - sizeof(records) ||
	    entry->ring->delivery != YGR_DELIVERY_STREAM) {
		misbehaved(session, entry->ring);
		return;
	}
	ygr_sync_pull_mapped(session);
	r = ygr_ring_feed(entry->ring, &records, frame->payload + sizeof(records), &batch);
	account(session, &batch);
	if (r < 0)
		misbehaved(session, entry->ring);
	else
		acknowledge(session, entry->ring);
	if (!session->pressure_at) {
		session->pressure_wait = longer(0);
		session->pressure_at = ygr_session_now() + session->pressure_wait;
	}
}

void ygr_delivery_message(struct ygr_session *session, const struct ygr_frame *frame)
{
	if (session->killed)
		return;
	if (frame->type == YGR_MSG_RING_READY)
		ring_ready(session, frame);
	else
		ring_records(session, frame);
}

/*
 * The application waits, so what it has not consumed must wake it; and where it has consumed all of a
 * stream, the whole window goes back: the next record may need it.
 */
void ygr_delivery_idle(struct ygr_session *session)
{
	for (struct ygr_entry *entry = ygr_objects_first(&session->objects); entry;
	     entry = ygr_objects_next(&session->objects, entry)) {
		struct ygr_ring *ring = entry->ring;

		if (!ring || !entry->ready)
			continue;
		ygr_ring_idle(ring);
		if (ring->delivery == YGR_DELIVERY_STREAM && ring->sink.consumer == ring->sink.position &&
		    ring->acknowledged != ygr_ring_released(ring))
			post_position(session, YGR_MSG_RING_CONSUMED, ring);
	}
	session->pressure_wait = 0;
	sweep(session);
}
