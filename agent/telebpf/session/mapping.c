/*
 * LOCAL_MAP: the first mapping of a handle makes its ring or array, in one or two questions to the guest
 * (pages, and where they cannot be had the stream); those who ask meanwhile wait. An entry lives as long as
 * a process holds its handle or maps it, as the kernel's object does.
 */
#include <errno.h>
#include <linux/bpf.h>
#include <stdlib.h>
#include <string.h>

#include "agent/telebpf/session/session.h"
#include "lib/base/cleanup.h"
#include "lib/wire/message.h"

#define KERNEL_ENOTSUPP 524 /* what mmap says for maps that cannot be mapped; not in errno.h */

struct ygr_waiter {
	struct ygr_waiter *next;
	struct ygr_local *local;
	uint32_t id;
	struct ygr_local_map map;
};

/* An opening that is under way. */
struct opening {
	struct ygr_session *session;
	struct ygr_entry *entry; /* stays while entry->busy */
	bool stream;
};

static bool is_ring(const struct ygr_object *object)
{
	return object->kind == YGR_OBJECT_PERF ||
	       (object->kind == YGR_OBJECT_MAP && object->map_type == BPF_MAP_TYPE_RINGBUF);
}

static bool is_array(const struct ygr_object *object)
{
	return object->kind == YGR_OBJECT_MAP && object->map_type == BPF_MAP_TYPE_ARRAY &&
	       (object->map_flags & BPF_F_MMAPABLE);
}

void ygr_mapping_refuse(struct ygr_local *local, uint32_t id, int status)
{
	const struct ygr_local_mapped mapped = {.status = status};

	ygr_local_answer(local, YGR_LOCAL_MAPPED, id, &mapped, sizeof(mapped), -1);
}

void ygr_mapping_mapped(struct ygr_local *local, uint32_t id, struct ygr_entry *entry,
			const struct ygr_local_mapped *mapped)
{
	int fd = entry->ring ? entry->ring->memfd : entry->array->memfd;

	entry->maps++;
	entry->mappers |= 1ull << local->process->index;
	ygr_local_answer(local, YGR_LOCAL_MAPPED, id, mapped, sizeof(*mapped), mapped->pieces ? fd : -1);
}

void ygr_mapping_now(struct ygr_local *local, uint32_t id, struct ygr_entry *entry,
		     const struct ygr_local_map *map)
{
	struct ygr_local_mapped mapped = {};
	struct ygr_ring_part parts[YGR_RING_PARTS];
	int r;

	if (local->process->closed)
		return;
	if (entry->ring) {
		r = ygr_ring_layout(entry->ring, map, &mapped);
		if (r == 0 && ygr_ring_shared_parts(entry->ring, map, parts) > 0) {
			r = ygr_sharing_start(local, id, entry, map);
			if (r == 0)
				return;
		}
	} else {
		entry->array->constant |= entry->frozen;
		r = ygr_array_layout(entry->array, map, &mapped);
	}
	if (r < 0) {
		ygr_mapping_refuse(local, id, r);
		return;
	}
	ygr_mapping_mapped(local, id, entry, &mapped);
}

static void drop_memory(struct ygr_session *session, struct ygr_entry *entry)
{
	if (entry->ring)
		session->memory -= entry->ring->area_length;
	if (entry->array)
		session->memory -= entry->array->length;
	entry->ring = ygr_ring_free(entry->ring);
	entry->array = ygr_array_free(entry->array);
	entry->ready = false;
}

/* Everybody who waits for ENTRY is answered: mapped, or RESULT. */
static void opened(struct ygr_session *session, struct ygr_entry *entry, int result)
{
	struct ygr_waiter *waiter = entry->waiters;

	entry->busy++; /* a process that cannot be answered lets go of what it holds */
	entry->waiters = NULL;
	if (result < 0)
		drop_memory(session, entry);
	entry->ready = result == 0;
	while (waiter) {
		struct ygr_waiter *next = waiter->next;

		waiter->local->process->pending--;
		if (result == 0)
			ygr_mapping_now(waiter->local, waiter->id, entry, &waiter->map);
		else
			ygr_mapping_refuse(waiter->local, waiter->id, result);
		free(waiter);
		waiter = next;
	}
	entry->busy--;
	ygr_mapping_release(session, entry);
}

static int ask_open(struct ygr_session *session, struct ygr_entry *entry, bool stream);

static void array_filled(void *user, int result)
{
	struct opening *opening = user;
	struct ygr_session *session = opening->session;
	struct ygr_entry *entry = opening->entry;

	free(opening);
	entry->busy--;
	opened(session, entry, result);
}

/* The pages could not be had, by the guest's word or since they are too many pieces for this process. */
static bool wants_stream(int result)
{
	return result == -EOPNOTSUPP || result == -EBUSY || result == -E2BIG || result == -ENOMEM;
}

static int ring_opened(struct opening *opening, const struct ygr_frame *frame)
{
	struct ygr_session *session = opening->session;
	struct ygr_ring *ring = opening->entry->ring;
	struct ygr_ring_opened answer;
	int r = ygr_ring_start(ring, opening->stream ? NULL : session->ram, frame->payload, frame->length);

	if (r == 0) {
		session->deliveries[ring->delivery]++;
		session->progress_at = ygr_session_now();
		return 0;
	}
	if (opening->stream || !wants_stream(r))
		return r;
	/* Opened there, but not to be mapped here: that ring has to go before it is opened anew. */
	memcpy(&answer, frame->payload, sizeof(answer));
	if (answer.status == 0) {
		const struct ygr_handle_close close = {.handle = ring->handle};

		ygr_channel_post(session->channel, YGR_MSG_RING_CLOSE,
				 &(struct iovec){(void *)&close, sizeof(close)}, 1);
	}
	r = ask_open(session, opening->entry, true);
	return r < 0 ? r : 1;
}

/* 0: there; 1: another answer is awaited; negative: it cannot be had. */
static int array_opened(struct opening *opening, const struct ygr_frame *frame)
{
	struct ygr_array *array = opening->entry->array;
	struct opening *filling;
	int r = ygr_array_start(array, opening->session->ram, frame->payload, frame->length);

	if (r < 0)
		return r;
	if (array->guest) {
		ygr_array_pull(array);
		return 0;
	}
	filling = malloc(sizeof(*filling));
	if (!filling)
		return -ENOMEM;
	*filling = *opening;
	opening->entry->busy++;
	r = ygr_sync_fill(opening->session, array, array_filled, filling);
	if (r < 0) {
		opening->entry->busy--;
		free(filling);
		return r;
	}
	return 1;
}

static void open_replied(void *user, const struct ygr_frame *frame)
{
	struct opening *opening = user;
	struct ygr_session *session = opening->session;
	struct ygr_entry *entry = opening->entry;
	uint16_t want = entry->ring ? YGR_MSG_RING_OPENED : YGR_MSG_MEM_OPENED;
	int r = -EIO;

	entry->busy--;
	if (frame && frame->type != want)
		r = -EBADMSG;
	else if (frame)
		r = entry->ring ? ring_opened(opening, frame) : array_opened(opening, frame);
	free(opening);
	if (r == -EBADMSG || r == -ERANGE) {
		session->counters.ring_invalid++;
		ygr_session_fail(session, "GuestMisbehaved",
				 "the guest described memory that cannot be (handle %u): %s", entry->handle,
				 r == -ERANGE ? "pages that are not its RAM" : "a malformed answer");
		r = -EIO;
	}
	if (r <= 0)
		opened(session, entry, r);
}

static int ask_open(struct ygr_session *session, struct ygr_entry *entry, bool stream)
{
	struct opening *opening = malloc(sizeof(*opening));
	const struct ygr_ring *ring = entry->ring;
	struct ygr_ring_open ring_open;
	struct ygr_mem mem;
	struct iovec piece = {&ring_open, sizeof(ring_open)};
	int r;

	if (!opening)
		return -ENOMEM;
	*opening = (struct opening){.session = session, .entry = entry, .stream = stream};
	if (ring) {
		entry->ring->share = session->tracer && !stream;
		ring_open = (struct ygr_ring_open){.handle = entry->handle,
						   .kind = ring->kind,
						   .data_bytes = ring->sink.size,
						   .stream = stream,
						   .window = (uint32_t)ring->sink.size};
	} else {
		mem = (struct ygr_mem){.handle = entry->handle, .length = (uint32_t)entry->array->length};
		piece = (struct iovec){&mem, sizeof(mem)};
	}
	r = ygr_channel_request(session->channel, ring ? YGR_MSG_RING_OPEN : YGR_MSG_MEM_OPEN, &piece, 1,
				open_replied, opening);
	if (r < 0)
		free(opening);
	else
		entry->busy++;
	return r;
}

/* The private memory for ENTRY as MAP wants to map it: 0, or what mmap shall say. */
static int make_memory(struct ygr_session *session, struct ygr_entry *entry, const struct ygr_local_map *map)
{
	const struct ygr_object *object = &entry->object;
	uint64_t length;
	int r;

	if (is_ring(object)) {
		bool perf = object->kind == YGR_OBJECT_PERF;

		if (perf && (map->offset || map->length <= YGR_PAGE_SIZE))
			return map->offset ? -EINVAL : -EOPNOTSUPP;
		length = perf ? map->length - YGR_PAGE_SIZE : object->max_entries;
		if (length > YGR_SESSION_MEMORY ||
		    length + 2 * YGR_PAGE_SIZE > YGR_SESSION_MEMORY - session->memory)
			return -ENOMEM;
		r = ygr_ring_new(entry->handle, perf ? YGR_RING_PERF : YGR_RING_BPF, length,
				 entry->sample_type, &entry->ring);
		if (r == 0)
			session->memory += entry->ring->area_length;
		return r;
	}
	if (!is_array(object))
		return object->kind == YGR_OBJECT_MAP ? -KERNEL_ENOTSUPP : -ENODEV;
	length = (uint64_t)object->max_entries * ((object->value_size + 7ull) & ~7ull);
	if (length > YGR_SESSION_MEMORY || length + YGR_PAGE_SIZE > YGR_SESSION_MEMORY - session->memory)
		return -ENOMEM;
	r = ygr_array_new(entry->handle, length, &entry->array);
	if (r == 0)
		session->memory += entry->array->length;
	return r;
}

static int wait_for(struct ygr_local *local, uint32_t id, struct ygr_entry *entry,
		    const struct ygr_local_map *map)
{
	struct ygr_waiter *waiter = malloc(sizeof(*waiter));

	if (!waiter)
		return -ENOMEM;
	*waiter = (struct ygr_waiter){.next = entry->waiters, .local = local, .id = id, .map = *map};
	entry->waiters = waiter;
	local->process->pending++;
	return 0;
}

int ygr_mapping_map(struct ygr_local *local, const struct ygr_frame *frame)
{
	struct ygr_session *session = local->session;
	struct ygr_local_map map;
	struct ygr_entry *entry;
	int r;

	if (frame->length != sizeof(map))
		return -EPROTO;
	memcpy(&map, frame->payload, sizeof(map));
	entry = ygr_objects_find(&session->objects, map.handle);
	if (!entry) {
		ygr_mapping_refuse(local, frame->id, -EBADF);
		return 0;
	}
	if (entry->ready) {
		ygr_mapping_now(local, frame->id, entry, &map);
		return 0;
	}
	if (!entry->ring && !entry->array) {
		r = make_memory(session, entry, &map);
		if (r == 0) {
			bool stream = !session->ram || session->config.delivery == YGR_DELIVERY_STREAM;

			r = ask_open(session, entry, stream);
			if (r < 0)
				drop_memory(session, entry);
			if (r == -EAGAIN)
				return r;
		}
		if (r < 0) {
			ygr_mapping_refuse(local, frame->id, r == -EPIPE ? -EIO : r);
			return 0;
		}
	}
	return wait_for(local, frame->id, entry, &map);
}

int ygr_mapping_unmap(struct ygr_local *local, const struct ygr_frame *frame)
{
	struct ygr_local_unmap unmap;
	struct ygr_entry *entry;

	if (frame->length != sizeof(unmap))
		return -EPROTO;
	memcpy(&unmap, frame->payload, sizeof(unmap));
	entry = ygr_objects_find(&local->session->objects, unmap.handle);
	if (entry && entry->maps) {
		entry->maps--;
		ygr_mapping_release(local->session, entry);
	}
	return 0;
}

int ygr_mapping_close(struct ygr_local *local, const struct ygr_frame *frame)
{
	struct ygr_handle_close close;
	struct ygr_entry *entry;

	if (frame->length != sizeof(close))
		return -EPROTO;
	memcpy(&close, frame->payload, sizeof(close));
	entry = ygr_objects_find(&local->session->objects, close.handle);
	if (entry) {
		entry->holders &= ~(1ull << local->process->index);
		ygr_mapping_release(local->session, entry);
	}
	return 0;
}

static void post_close(struct ygr_session *session, uint16_t type, uint32_t handle)
{
	const struct ygr_handle_close close = {.handle = handle};

	/* Held back by nothing: a post is small, and a channel that takes no more is about to be lost. */
	if (ygr_channel_post(session->channel, type, &(struct iovec){(void *)&close, sizeof(close)}, 1) ==
	    -EAGAIN)
		ygr_session_fail(session, "ChannelLost", "the guest takes nothing more");
}

void ygr_mapping_release(struct ygr_session *session, struct ygr_entry *entry)
{
	if (entry->holders || entry->busy)
		return;
	if (!entry->closed) {
		entry->closed = true;
		post_close(session, YGR_MSG_HANDLE_CLOSE, entry->handle);
	}
	if (entry->maps && entry->mappers)
		return;
	/*
	 * That guest pages are unmapped is only the application's word; they are given back when it is gone
	 * (ygr_mapping_close_rings()).
	 */
	if (entry->ring && entry->ring->shared)
		return;
	if (entry->ring || entry->array)
		post_close(session, YGR_MSG_RING_CLOSE, entry->handle);
	drop_memory(session, entry);
	ygr_objects_remove(&session->objects, entry);
}

void ygr_mapping_forget_process(struct ygr_session *session, unsigned index)
{
	struct ygr_entry *next;

	for (struct ygr_entry *entry = ygr_objects_first(&session->objects); entry; entry = next) {
		uint64_t bit = 1ull << index;

		next = ygr_objects_next(&session->objects, entry);
		if (!((entry->holders | entry->mappers) & bit))
			continue;
		entry->holders &= ~bit;
		entry->mappers &= ~bit;
		ygr_mapping_release(session, entry);
	}
}

void ygr_mapping_inherit(struct ygr_session *session, unsigned parent, unsigned child)
{
	for (struct ygr_entry *entry = ygr_objects_first(&session->objects); entry;
	     entry = ygr_objects_next(&session->objects, entry)) {
		entry->holders |= (entry->holders >> parent & 1) << child;
		entry->mappers |= (entry->mappers >> parent & 1) << child;
	}
}

void ygr_mapping_close_rings(struct ygr_session *session)
{
	for (struct ygr_entry *entry = ygr_objects_first(&session->objects); entry;
	     entry = ygr_objects_next(&session->objects, entry))
		if (entry->ring || entry->array)
			post_close(session, YGR_MSG_RING_CLOSE, entry->handle);
}

void ygr_mapping_free_all(struct ygr_session *session)
{
	struct ygr_entry *next;

	for (struct ygr_entry *entry = ygr_objects_first(&session->objects); entry; entry = next) {
		next = ygr_objects_next(&session->objects, entry);
		while (entry->waiters) {
			struct ygr_waiter *waiter = entry->waiters;

			entry->waiters = waiter->next;
			free(waiter);
		}
		drop_memory(session, entry);
		ygr_objects_remove(&session->objects, entry);
	}
}
