/*
 * Mmapable arrays in step with the guest's. A LOCAL_SYNC is a small machine: it sends what the application
 * changed, some spans at a time, then asks for contents where no pages are mapped, and answers when all of
 * it has come back. Several may be under way; each word is compared when its turn comes.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/telebpf/session/session.h"
#include "lib/wire/message.h"

#define SPAN_MAX    (64u << 10)  /* bytes of one MEM_WRITE */
#define READ_MAX    (1u << 20)   /* bytes of one MEM_READ */
#define UNDER_WAY   16           /* requests of one sync */
#define INLINE_PULL (256u << 10) /* bytes of arrays that are brought with ring data */

struct sync {
	struct ygr_session *session;
	struct ygr_local *local; /* NULL: fill */
	uint32_t id;
	bool push, pull;
	uint32_t cursor; /* handle of the array at hand, 0: the first */
	bool begun;
	uint64_t offset;
	uint32_t under_way;
	bool finished; /* nothing more to send */
	bool running;  /* in advance(): replies do not come meanwhile, but a lost channel may */
	/* fill */
	struct ygr_array *only;
	void (*done)(void *user, int result);
	void *user;
	int result;
};

/* A span that was asked for. */
struct span {
	struct sync *sync;
	uint32_t handle;
	struct ygr_array *only;
	uint64_t offset;
	uint32_t length;
	bool write;
};

static void advance(struct sync *sync);

static struct ygr_array *array_of(struct ygr_session *session, uint32_t handle)
{
	struct ygr_entry *entry = ygr_objects_find(&session->objects, handle);

	return entry && entry->ready ? entry->array : NULL;
}

static void replied(void *user, const struct ygr_frame *frame)
{
	struct span *span = user;
	struct sync *sync = span->sync;
	struct ygr_array *array = span->only ? span->only : array_of(sync->session, span->handle);
	struct ygr_status status = {.value = -EIO};

	sync->under_way--;
	if (frame && (frame->type != YGR_MSG_MEM_DATA || frame->length < sizeof(status))) {
		ygr_session_fail(sync->session, "GuestMisbehaved", "a malformed answer about an array");
	} else if (frame) {
		memcpy(&status, frame->payload, sizeof(status));
		if (!span->write && status.value >= 0 && frame->length - sizeof(status) != span->length)
			ygr_session_fail(sync->session, "GuestMisbehaved", "an array of another length");
		else if (!span->write && status.value >= 0 && array &&
			 span->offset + span->length <= array->length)
			ygr_array_merge(array, span->offset, frame->payload + sizeof(status), span->length);
	}
	if (!span->write && status.value < 0 && !sync->result)
		sync->result = status.value < -4095 ? -EIO : (int)status.value;
	free(span);
	advance(sync);
}

/* 0, or why it cannot be sent now. */
static int ask(struct sync *sync, const struct ygr_array *array, uint64_t offset, uint32_t length,
	       const uint8_t *bytes)
{
	struct ygr_mem mem = {.handle = array->handle, .length = length, .offset = offset};
	struct iovec pieces[2] = {{&mem, sizeof(mem)}, {(void *)bytes, bytes ? length : 0}};
	struct span *span = malloc(sizeof(*span));
	int r;

	if (!span)
		return -ENOMEM;
	*span = (struct span){.sync = sync,
			      .handle = array->handle,
			      .only = sync->only,
			      .offset = offset,
			      .length = length,
			      .write = bytes != NULL};
	r = ygr_channel_request(sync->session->channel, bytes ? YGR_MSG_MEM_WRITE : YGR_MSG_MEM_READ, pieces,
				bytes ? 2 : 1, replied, span);
	if (r < 0)
		free(span);
	else
		sync->under_way++;
	return r;
}

/* Sends the next changed span of ARRAY: 1 sent, 0 no more, negative: not now. */
static int push_next(struct sync *sync, struct ygr_array *array)
{
	static uint8_t bytes[SPAN_MAX];
	uint64_t length = ygr_array_push(array, &sync->offset, bytes, sizeof(bytes));
	int r;

	if (!length)
		return 0;
	r = ask(sync, array, sync->offset, (uint32_t)length, bytes);
	if (r < 0) {
		ygr_array_unpush(array, sync->offset, length);
		return r;
	}
	sync->offset += length;
	return 1;
}

static int pull_next(struct sync *sync, struct ygr_array *array)
{
	uint64_t length = array->length - sync->offset;
	int r;

	if (array->guest) {
		ygr_array_pull(array);
		return 0;
	}
	if (!length)
		return 0;
	if (length > READ_MAX)
		length = READ_MAX;
	r = ask(sync, array, sync->offset, (uint32_t)length, NULL);
	if (r < 0)
		return r;
	sync->offset += length;
	return 1;
}

/* The array after the cursor that changes at all; handles are looked up anew, since entries come and go. */
static struct ygr_array *next_array(struct sync *sync)
{
	struct ygr_entry *entry;
	bool seen = !sync->begun;

	for (entry = ygr_objects_first(&sync->session->objects); entry;
	     entry = ygr_objects_next(&sync->session->objects, entry)) {
		if (seen && entry->ready && entry->array && !entry->array->constant) {
			sync->begun = true;
			sync->cursor = entry->handle;
			sync->offset = 0;
			return entry->array;
		}
		if (entry->handle == sync->cursor)
			seen = true;
	}
	return NULL;
}

/* One step: 1 sent something, 0 this phase is over, negative errno. */
static int step(struct sync *sync)
{
	struct ygr_array *array = sync->only    ? sync->only
				  : sync->begun ? array_of(sync->session, sync->cursor)
						: NULL;
	int r = 0;

	for (;;) {
		if (array)
			r = sync->push ? push_next(sync, array) : pull_next(sync, array);
		if (r || sync->only)
			return r;
		array = next_array(sync);
		if (!array)
			return 0;
	}
}

static void finish(struct sync *sync)
{
	if (sync->local) {
		sync->local->process->pending--;
		ygr_local_done(sync->local, sync->id, 0, -1);
	} else {
		sync->done(sync->user, sync->result);
	}
	free(sync);
}

static void advance(struct sync *sync)
{
	int r;

	if (sync->running)
		return;
	sync->running = true;
	while (!sync->finished && sync->under_way < UNDER_WAY) {
		r = step(sync);
		if (r == -EAGAIN && sync->under_way)
			break; /* goes on when an answer comes */
		if (r < 0) {
			sync->finished = true;
			if (!sync->result)
				sync->result = r;
		} else if (r == 0) {
			if (sync->push && sync->under_way)
				break; /* all of it must have arrived before anything is read */
			sync->finished = !(sync->push && sync->pull);
			sync->push = false;
			sync->begun = false;
			sync->cursor = 0;
		}
	}
	sync->running = false;
	if (sync->finished && !sync->under_way)
		finish(sync);
}

int ygr_sync_start(struct ygr_local *local, const struct ygr_frame *frame)
{
	struct ygr_local_sync what;
	struct sync *sync;

	if (frame->length != sizeof(what))
		return -EPROTO;
	memcpy(&what, frame->payload, sizeof(what));
	sync = calloc(1, sizeof(*sync));
	if (!sync)
		return -ENOMEM;
	sync->session = local->session;
	sync->local = local;
	sync->id = frame->id;
	sync->push = what.push;
	sync->pull = what.pull;
	sync->finished = !what.push && !what.pull;
	local->process->pending++;
	advance(sync);
	return 0;
}

int ygr_sync_fill(struct ygr_session *session, struct ygr_array *array, void (*done)(void *user, int result),
		  void *user)
{
	struct sync *sync = calloc(1, sizeof(*sync));

	if (!sync)
		return -ENOMEM;
	sync->session = session;
	sync->only = array;
	sync->pull = true;
	sync->done = done;
	sync->user = user;
	advance(sync);
	return 0;
}

void ygr_sync_pull_mapped(struct ygr_session *session)
{
	uint64_t left = INLINE_PULL;

	for (struct ygr_entry *entry = ygr_objects_first(&session->objects); entry;
	     entry = ygr_objects_next(&session->objects, entry)) {
		struct ygr_array *array = entry->array;

		if (!array || !entry->ready || array->constant || !array->guest || array->length > left)
			continue;
		ygr_array_pull(array);
		left -= array->length;
	}
}
