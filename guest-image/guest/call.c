/*
 * CALL: decode, ask both lists, perform, answer. A payload is decoded twice: first without this process'
 * pointers and descriptors, in the form that grants are checked in, and then for the kernel. Both readings
 * walk the same table over the same bytes.
 */
#include "guest-image/guest/session.h"

#include <errno.h>
#include <linux/bpf.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/cleanup.h"
#include "lib/wire/call.h"

struct job {
	struct ygr_call_plan plan;
	struct ygr_arena arena;
	uint64_t charge;
};

static void job_free(struct job **job)
{
	if (*job)
		free((*job)->arena.data);
	free(*job);
}

static struct job *job_new(const struct ygr_frame *frame)
{
	struct job *job = calloc(1, sizeof(*job));
	if (!job)
		return NULL;
	job->arena.size = ygr_call_decoded_size(frame->payload, frame->length);
	job->arena.data = malloc(job->arena.size ? job->arena.size : 1);
	if (!job->arena.data) {
		free(job);
		return NULL;
	}
	return job;
}

static int decode(struct ygr_guest_session *session, const struct ygr_frame *frame, bool for_kernel,
		  struct job *job)
{
	struct ygr_call_host host = {.object_of = ygr_guest_handles_object_of,
				     .fd_of = for_kernel ? ygr_guest_handles_fd_of : NULL,
				     .user = &session->handles};
	job->arena.used = 0;
	return ygr_call_decode(&host, frame->payload, frame->length, &job->arena, &job->plan);
}

/* New maps count against limits.memory with an estimate, since the kernel may have no memory cgroup for us.
 */
static int charge(struct ygr_guest_session *session, struct job *job, struct ygr_error *error)
{
	const union bpf_attr *attr = (const union bpf_attr *)job->plan.attr;
	if (job->plan.call.kind != YGR_CALL_BPF || job->plan.call.cmd != BPF_MAP_CREATE)
		return 0;

	struct ygr_object map = {.kind = YGR_OBJECT_MAP,
				 .map_type = attr->map_type,
				 .key_size = attr->key_size,
				 .value_size = attr->value_size,
				 .max_entries = attr->max_entries,
				 .map_flags = attr->map_flags,
				 .possible_cpus = session->handles.possible_cpus};
	job->charge = ygr_guest_map_charge(&map);
	uint64_t used = session->handles.charged + session->ring_bytes;
	if (used > session->memory || job->charge > session->memory - used)
		return ygr_error_set(
		    error, ENOMEM,
		    "%s: a map of about %llu bytes goes beyond the memory limit of the session (%llu)",
		    ygr_grant_program(session->grant), (unsigned long long)job->charge,
		    (unsigned long long)session->memory);
	return 0;
}

static int allowed(struct ygr_guest_session *session, struct job *job, struct ygr_error *error)
{
	struct ygr_grant_names names = ygr_guest_names_ops(&session->names);
	int r = ygr_grant_check_call(session->grant, "the catalogue entry", &job->plan, &names, error);
	if (r == 0) {
		r = ygr_grant_check_call(session->config->allow, "the owner's guest.yaml", &job->plan,
					 &names, error);
		if (r < 0) /* the owner's list is not about one program, the sentence is */
			ygr_error_prefix(error, "%s", ygr_grant_program(session->grant));
	}
	return r < 0 ? r : charge(session, job, error);
}

/* The handle for a new descriptor; *result becomes the error when there is no room for it. */
static uint32_t adopt(struct ygr_guest_session *session, struct job *job, int64_t *result,
		      struct ygr_object *object)
{
	uint32_t handle = YGR_HANDLE_NONE;
	int fd = (int)*result;

	int r = ygr_call_describe(&job->plan.call, fd, session->handles.possible_cpus, object);
	if (r < 0)
		close(fd);
	else
		r = ygr_guest_handles_add(&session->handles, fd, object, job->charge, &handle);
	*result = r;
	return r < 0 ? YGR_HANDLE_NONE : handle;
}

/* More than the reply can take, from the plan's own capacities, each of which the decoder has bounded. */
static size_t reply_bound(const struct ygr_call_plan *plan)
{
	size_t bound = sizeof(struct ygr_reply) + YGR_CALL_ATTR_MAX + 64;
	for (uint32_t i = 0; i < plan->segment_count; i++)
		bound += 16 + (size_t)plan->segments[i].out_capacity;
	return bound;
}

static int answer(struct ygr_guest_session *session, uint32_t id, const struct job *job, int64_t result,
		  uint32_t handle, const struct ygr_object *object)
{
	struct ygr_arena out = {.size = reply_bound(&job->plan)};
	_cleanup_free_ uint8_t *data = out.data = malloc(out.size);
	if (!data)
		return -ENOMEM;
	int r = ygr_call_encode_reply(&job->plan, result, handle, object, &out);
	if (r < 0)
		return r;
	struct iovec piece = {out.data, out.used};
	return ygr_guest_link_send(&session->link, YGR_MSG_REPLY, id, &piece, 1);
}

int ygr_guest_call(struct ygr_guest_session *session, const struct ygr_frame *frame, struct ygr_error *error)
{
	_cleanup_(job_free) struct job *job = job_new(frame);
	struct ygr_object object = {0};
	struct ygr_error refusal = YGR_ERROR_INIT;
	uint32_t handle = YGR_HANDLE_NONE;
	bool performed = false;

	if (!job)
		return ygr_error_set(error, ENOMEM, "out of memory for a call of %u bytes", frame->length);
	int64_t result = decode(session, frame, false, job);
	if (result == 0) {
		result = allowed(session, job, &refusal);
		if (result < 0 && ygr_guest_session_notice(session, &refusal) < 0)
			return -ENOMEM;
		if (result == 0)
			result = decode(session, frame, true, job);
	} else if (result != -EBADF) {
		return ygr_error_set(error, (int)-result, "a call that cannot be decoded");
	}
	if (result == 0) {
		performed = true;
		result = ygr_call_perform(&job->plan);
		if (result >= 0 && ygr_call_returns_fd(&job->plan.call))
			handle = adopt(session, job, &result, &object);
	}

	if (!performed)
		job->plan.segment_count = 0; /* nothing was written anywhere */
	int r = answer(session, frame->id, job, result, handle, &object);
	if (r < 0)
		return ygr_error_set(error, -r, "a reply cannot be sent: %s", strerror(-r));
	return 0;
}
