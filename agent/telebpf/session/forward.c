/*
 * Calls of the application: decoded without descriptors, held against the grant, and sent on byte for byte
 * as they came. Decoder and guest read the same bytes with the same rules, so what was checked is what is
 * performed; the guest checks again, with the names that only it knows.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/perf_event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "agent/telebpf/session/session.h"
#include "agent/telebpf/session/trace.h"
#include "lib/base/cleanup.h"
#include "lib/wire/message.h"

#define KEEP_ARENA   (1u << 20) /* of the arena; what lies beyond is given back after a call */
#define TOKEN_CREATE 36         /* bpf(), since 6.9 */

/* A call on its way to the guest and back. */
struct forward {
	struct ygr_local *local;
	uint32_t id; /* the process' */
	uint16_t type, reply_type;
	uint32_t kind, cmd;
	uint32_t map;      /* MAP_FREEZE */
	uint32_t shape[3]; /* MAP_CREATE: type, key and value size */
	uint32_t length;   /* FILE_READ */
	bool opens;        /* FILE_OPEN */
	bool makes;        /* its answer may bring a new handle */
	bool attaches;     /* when it succeeds a program runs in the guest */
	uint64_t sample_type;
	uint64_t started;
	char *text; /* for the trace, owned; NULL */
};

static bool object_of(void *user, uint32_t handle, struct ygr_object *ret_object)
{
	const struct ygr_entry *entry = ygr_objects_find(&((struct ygr_session *)user)->objects, handle);

	if (entry)
		*ret_object = entry->object;
	return entry != NULL;
}

/* The reply to a call that goes no further, in the shape that its plan asks for. 0 or -ENOMEM. */
static int answer_errno(struct ygr_local *local, uint32_t id, const struct ygr_call_plan *plan, int error)
{
	struct ygr_arena out = {.size = sizeof(struct ygr_reply) + YGR_CALL_ATTR_MAX + 64};
	_cleanup_free_ uint8_t *data = NULL;
	int r;

	for (uint32_t i = 0; i < plan->segment_count; i++)
		out.size += 16 + (size_t)plan->segments[i].out_capacity;
	out.data = data = malloc(out.size);
	if (!data)
		return -ENOMEM;
	r = ygr_call_encode_reply(plan, error, YGR_HANDLE_NONE, &(struct ygr_object){0}, &out);
	if (r < 0)
		return -EPROTO;
	ygr_local_answer(local, YGR_MSG_REPLY, id, out.data, (uint32_t)out.used, -1);
	return 0;
}

/* A call that has its answer. TEXT: what it was, NULL when nobody asked for traces. */
static void trace(struct ygr_session *session, const char *text, int64_t result, uint32_t handle,
		  uint64_t started, const char *why)
{
	char line[YGR_TRACE_MAX + 256];

	if (!text)
		return;
	ygr_trace_line(line, text, result, handle, ygr_session_now() - started, why);
	ygr_report_trace(&session->report, line);
}

/* One that goes no further. */
static void trace_refused(struct ygr_session *session, const struct ygr_call_plan *plan, int error,
			  const char *why)
{
	_cleanup_free_ char *text = session->config.trace ? ygr_trace_call(plan) : NULL;

	trace(session, text, error, YGR_HANDLE_NONE, ygr_session_now(), why);
}

/* Learns from a reply what the new handle is. 0, or -EBADMSG for a guest that contradicts itself. */
static int learn(struct forward *forward, const struct ygr_reply *reply)
{
	struct ygr_local *local = forward->local;
	struct ygr_session *session = local->session;
	struct ygr_entry *entry;
	int r;

	if (forward->kind == YGR_CALL_BPF && forward->cmd == BPF_MAP_FREEZE && reply->result == 0) {
		entry = ygr_objects_find(&session->objects, forward->map);
		if (entry)
			entry->frozen = true;
	}
	if (reply->handle == YGR_HANDLE_NONE)
		return 0;
	/*
	 * How much is written into the application's buffers later follows from the shape of a map, so the
	 * guest may not make it another than the one that was asked for.
	 */
	if (!forward->makes ||
	    (forward->kind == YGR_CALL_BPF && forward->cmd == BPF_MAP_CREATE &&
	     (reply->object.kind != YGR_OBJECT_MAP || reply->object.map_type != forward->shape[0] ||
	      reply->object.key_size != forward->shape[1] || reply->object.value_size != forward->shape[2])))
		return -EBADMSG;
	r = ygr_objects_add(&session->objects, reply->handle, &reply->object, &entry);
	if (r == -ENOMEM)
		return r;
	if (r < 0)
		return -EBADMSG;
	/* The cpus of a map's values are the guest's as it said at first, or lengths would depend on the
	 * map. */
	entry->object.possible_cpus = session->config.guest.possible_cpus;
	entry->sample_type = forward->sample_type;
	if (!local->process->closed)
		entry->holders = 1ull << local->process->index;
	ygr_mapping_release(session, entry); /* if nobody is left who wants it */
	return 0;
}

static void call_replied(struct ygr_session *session, struct forward *forward, const struct ygr_frame *frame)
{
	struct ygr_reply reply;
	int r = ygr_reply_parse(frame->payload, frame->length, &reply);

	if (r == 0)
		r = learn(forward, &reply);
	if (r == -ENOMEM) {
		ygr_session_fail(session, "OutOfMemory", "out of memory");
	} else if (r < 0) {
		ygr_session_fail(session, "GuestMisbehaved", "a reply of the guest does not fit its call");
	} else {
		session->attached |= forward->attaches && reply.result >= 0;
		trace(session, forward->text, reply.result, reply.handle, forward->started, NULL);
		ygr_local_answer(forward->local, YGR_MSG_REPLY, forward->id, frame->payload, frame->length,
				 -1);
	}
}

/* The answer to a read of LENGTH bytes: an errno alone, or as many bytes as its status says, and no more. */
static bool data_fits(const struct ygr_frame *frame, uint32_t length)
{
	struct ygr_status status;

	if (frame->length < sizeof(status))
		return false;
	memcpy(&status, frame->payload, sizeof(status));
	if (status.value < 0)
		return status.value >= -4095;
	return status.value <= length && (uint64_t)status.value == frame->length - sizeof(status);
}

/* A file of the guest was opened as a descriptor for calls: its handle belongs to who asked. */
static void opened(struct forward *forward, const struct ygr_frame *frame)
{
	struct ygr_session *session = forward->local->session;
	struct ygr_reply reply = {.object = {.kind = YGR_OBJECT_FILE}};
	struct ygr_status status = {0};
	int r = -EBADMSG;

	if (frame->length == sizeof(status)) {
		memcpy(&status, frame->payload, sizeof(status));
		if (status.value >= -4095 && status.value != 0 && status.value < YGR_HANDLE_BAD)
			r = 0;
	}
	if (r == 0 && status.value > 0) {
		reply.handle = (uint32_t)status.value;
		forward->makes = true;
		r = learn(forward, &reply);
	}
	if (r == -ENOMEM)
		ygr_session_fail(session, "OutOfMemory", "out of memory");
	else if (r < 0)
		ygr_session_fail(session, "GuestMisbehaved",
				 "the guest opened a file in a way that cannot be");
	if (r < 0)
		return;
	trace(session, forward->text, status.value, reply.handle, forward->started, NULL);
	ygr_local_answer(forward->local, frame->type, forward->id, frame->payload, frame->length, -1);
}

static void read_replied(struct ygr_session *session, const struct forward *forward,
			 const struct ygr_frame *frame)
{
	struct ygr_status status;

	memcpy(&status, frame->payload, sizeof(status));
	trace(session, forward->text, status.value, YGR_HANDLE_NONE, forward->started, NULL);
	ygr_local_answer(forward->local, frame->type, forward->id, frame->payload, frame->length, -1);
}

static void replied(void *user, const struct ygr_frame *frame)
{
	struct forward *forward = user;
	struct ygr_session *session = forward->local->session;

	forward->local->process->pending--;
	if (!frame)
		; /* the channel is lost, and the application with it */
	else if (frame->type != forward->reply_type)
		ygr_session_fail(session, "GuestMisbehaved", "the guest answered message %u with %u",
				 forward->type, frame->type);
	else if (frame->type == YGR_MSG_REPLY)
		call_replied(session, forward, frame);
	else if (forward->opens)
		opened(forward, frame);
	else if (!data_fits(frame, forward->length))
		ygr_session_fail(session, "GuestMisbehaved",
				 "the guest sent more than was to be read, or less");
	else
		read_replied(session, forward, frame);
	free(forward->text);
	free(forward);
}

/* Takes TEXT. */
static int send_on(struct ygr_local *local, const struct ygr_frame *frame, const struct forward *what,
		   char *text)
{
	const struct iovec piece = {(void *)frame->payload, frame->length};
	struct forward *forward = malloc(sizeof(*forward));
	int r;

	if (!forward) {
		free(text);
		return -ENOMEM;
	}
	*forward = *what;
	forward->text = text;
	forward->local = local;
	forward->id = frame->id;
	forward->type = frame->type;
	forward->started = ygr_session_now();
	r = ygr_channel_request(local->session->channel, frame->type, &piece, 1, replied, forward);
	if (r < 0) {
		free(forward->text);
		free(forward);
		return r == -EPIPE ? 0 : r;
	}
	local->process->pending++;
	return 0;
}

static void count(struct ygr_session *session, const struct ygr_call *call)
{
	session->counters.calls++;
	ygr_progress_asked(session);
	if (call->kind == YGR_CALL_BPF && call->cmd < sizeof(session->calls) / sizeof(*session->calls))
		session->calls[call->cmd]++;
	else if (call->kind == YGR_CALL_PERF)
		session->perf_events++;
	else
		session->ioctls++;
}

static bool attaches(const struct ygr_call_plan *plan)
{
	struct ygr_ioctl_args args;

	if (plan->call.kind == YGR_CALL_BPF)
		return plan->call.cmd == BPF_LINK_CREATE || plan->call.cmd == BPF_PROG_ATTACH ||
		       plan->call.cmd == BPF_RAW_TRACEPOINT_OPEN;
	if (plan->call.kind != YGR_CALL_IOCTL || plan->call.attr_size < sizeof(args))
		return false;
	memcpy(&args, plan->attr, sizeof(args));
	return args.request == PERF_EVENT_IOC_SET_BPF;
}

/* What has to be known when the reply comes. */
static struct forward note_call(const struct ygr_call_plan *plan)
{
	struct forward forward = {
	    .kind = plan->call.kind,
	    .cmd = plan->call.cmd,
	    .reply_type = YGR_MSG_REPLY,
	    .makes = ygr_call_returns_fd(&plan->call),
	    .attaches = attaches(plan),
	};
	const size_t at = sizeof(struct ygr_perf_args) + offsetof(struct perf_event_attr, sample_type);

	if (plan->call.kind == YGR_CALL_PERF && plan->call.attr_size >= at + sizeof(forward.sample_type))
		memcpy(&forward.sample_type, plan->attr + at, sizeof(forward.sample_type));
	if (plan->call.kind == YGR_CALL_BPF && plan->call.attr_size >= sizeof(forward.map))
		memcpy(&forward.map, plan->attr, sizeof(forward.map)); /* map_fd is the first field */
	if (plan->call.kind == YGR_CALL_BPF && plan->call.attr_size >= sizeof(forward.shape))
		memcpy(forward.shape, plan->attr,
		       sizeof(forward.shape)); /* map_type, key_size, value_size */
	return forward;
}

/* The arena is reserved once; pages that a large call touched go back. */
static void arena_done(struct ygr_session *session, const struct ygr_arena *arena)
{
	if (arena->used > KEEP_ARENA)
		madvise(session->arena + KEEP_ARENA, YGR_SESSION_ARENA - KEEP_ARENA, MADV_DONTNEED);
}

/*
 * libbpf 1.5 asks for a BPF token before each load, and goes on without. The bpffs that the application has is none
 * that the guest's kernel could know, so the answer is the kernel's to one that delegates nothing: no refusal that
 * anybody has to hear of.
 */
static bool asks_for_token(const struct ygr_call *call)
{
	return call->kind == YGR_CALL_BPF && call->cmd == TOKEN_CREATE;
}

int ygr_forward_call(struct ygr_local *local, const struct ygr_frame *frame)
{
	static struct ygr_call_plan plan; /* large; one thread */
	struct ygr_session *session = local->session;
	const struct ygr_call_host host = {.object_of = object_of, .user = session};
	struct ygr_arena arena = {.data = session->arena, .size = YGR_SESSION_ARENA};
	struct ygr_error error = YGR_ERROR_INIT;
	struct forward forward = {};
	char *text;
	int r = ygr_call_decode(&host, frame->payload, frame->length, &arena, &plan);

	if ((r == 0 || r == -EBADF) && asks_for_token(&plan.call)) {
		r = -ENOENT;
	} else if (r == 0) {
		r = ygr_grant_check_call(session->grant, "the catalogue entry", &plan,
					 &(struct ygr_grant_names){0}, &error);
		if (r < 0)
			ygr_refused_by_catalogue(session, error.message);
		forward = note_call(&plan);
		if (r == 0 && session->objects.count >= session->objects.max &&
		    ygr_call_returns_fd(&plan.call))
			r = -EMFILE;
	} else if (r != -EBADF) {
		return r; /* the shim's encoder makes nothing of the kind */
	}
	if (r < 0) {
		trace_refused(session, &plan, r, error.code ? error.message : NULL);
		r = answer_errno(local, frame->id, &plan, r) < 0 ? -ENOMEM : 1;
	}
	text = r == 0 && session->config.trace ? ygr_trace_call(&plan) : NULL;
	arena_done(session, &arena);
	if (r)
		return r < 0 ? r : 0;
	r = send_on(local, frame, &forward, text);
	if (r == 0)
		count(session, &plan.call);
	return r;
}

/* What an application reads by itself: iterators, counters of perf events, and what fdinfo says of anything. */
static bool readable(const struct ygr_entry *entry, const struct ygr_file_io *io)
{
	if (io->length > YGR_FILE_IO_MAX)
		return false;
	if (io->offset == YGR_FILE_FDINFO)
		return true;
	return io->offset == YGR_FILE_SEQUENTIAL &&
	       (entry->object.kind == YGR_OBJECT_ITER || entry->object.kind == YGR_OBJECT_PERF);
}

int ygr_forward_read(struct ygr_local *local, const struct ygr_frame *frame)
{
	struct forward forward = {.reply_type = YGR_MSG_FILE_DATA};
	struct ygr_session *session = local->session;
	const struct ygr_entry *entry;
	struct ygr_file_io io;

	if (frame->length != sizeof(io))
		return -EPROTO;
	memcpy(&io, frame->payload, sizeof(io));
	forward.length = io.length;
	entry = ygr_objects_find(&local->session->objects, io.handle);
	if (!entry || !readable(entry, &io)) {
		const struct ygr_status status = {.value = entry ? -EINVAL : -EBADF};

		ygr_local_answer(local, YGR_MSG_FILE_DATA, frame->id, &status, sizeof(status), -1);
		return 0;
	}
	session->reads++;
	return send_on(local, frame, &forward,
		       session->config.trace ? ygr_trace_read(io.handle, io.length) : NULL);
}

int ygr_forward_open(struct ygr_local *local, const struct ygr_frame *frame)
{
	struct forward forward = {.reply_type = YGR_MSG_FILE_DATA, .opens = true};
	struct ygr_session *session = local->session;
	struct ygr_error error = YGR_ERROR_INIT;
	struct ygr_file_open open;
	struct ygr_status status = {};
	const char *path = (const char *)frame->payload + sizeof(open);

	if (frame->length <= sizeof(open) || frame->payload[frame->length - 1] != '\0' ||
	    strlen(path) != frame->length - sizeof(open) - 1)
		return -EPROTO;
	memcpy(&open, frame->payload, sizeof(open));
	if (open.flags & ~(uint32_t)O_DIRECTORY) /* what is read or written goes through the file system */
		return -EPROTO;
	if (ygr_grant_check_file(session->grant, "the catalogue entry", path, O_RDONLY, &error) < 0) {
		ygr_refused_by_catalogue(session, error.message);
		status.value = -EACCES;
	} else if (session->objects.count >= session->objects.max) {
		status.value = -EMFILE;
	} else {
		session->opens++;
		return send_on(local, frame, &forward,
			       session->config.trace ? ygr_trace_open(path, open.flags) : NULL);
	}
	ygr_local_answer(local, YGR_MSG_FILE_DATA, frame->id, &status, sizeof(status), -1);
	return 0;
}
