/*
 * See policy-link.h. One question at a time: an ASK after connecting, then loads. The guest repeats violations that
 * were not acknowledged; what has been seen of one boot is not handed on again.
 */
#include "agent/telebpf/policy-link.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/telebpf/room.h"
#include "lib/base/buf.h"
#include "lib/base/cleanup.h"
#include "lib/base/log.h"
#include "lib/wire/frame.h"

#define BACKOFF_FIRST 500
#define BACKOFF_LAST  15000
#define INPUT_MAX     (4u << 20) /* no message of the guest is longer */
#define BOOT_ID_MAX   40

struct ygr_policy_link {
	struct ygr_telebpf *telebpf;
	struct ygr_link_target target;
	struct ygr_policy_link_handlers handlers;
	struct ygr_error error;
	const char *reason;
	uv_timer_t timer;
	uv_poll_t poll;
	bool polling, connected, awaiting, closed;
	int fd;
	struct ygr_buf input, output;
	uint32_t backoff_ms, request;
	char boot_id[BOOT_ID_MAX];
	uint64_t seen; /* position of the last violation of this boot */
	unsigned references;
};

static void dial_now(struct ygr_policy_link *link);

static void unref(struct ygr_policy_link *link)
{
	if (--link->references)
		return;
	free((char *)link->target.uuid);
	free((char *)link->target.namespace_);
	free((char *)link->target.name);
	free((char *)link->target.address);
	ygr_buf_deinit(&link->input);
	ygr_buf_deinit(&link->output);
	ygr_telebpf_unref(link->telebpf);
	free(link);
}

static void on_dial_timer(uv_timer_t *timer)
{
	dial_now(timer->data);
}

static void dial_later(struct ygr_policy_link *link)
{
	uint32_t random = 0;

	if (getrandom(&random, sizeof(random), GRND_NONBLOCK) < 0)
		random = 0;
	uv_timer_start(&link->timer, on_dial_timer, link->backoff_ms + random % (link->backoff_ms / 4), 0);
	link->backoff_ms = link->backoff_ms * 2 > BACKOFF_LAST ? BACKOFF_LAST : link->backoff_ms * 2;
}

static void on_poll_closed(uv_handle_t *handle)
{
	struct ygr_policy_link *link = handle->data;

	close(link->fd);
	link->fd = -1;
	link->polling = false;
	if (!link->closed)
		dial_later(link);
	unref(link);
}

static void drop(struct ygr_policy_link *link, const struct ygr_error *error)
{
	if (!link->connected)
		return;
	link->connected = link->awaiting = false;
	link->error = *error;
	link->reason = ygr_dial_reason(error->code);
	uv_close((uv_handle_t *)&link->poll, on_poll_closed);
	if (!link->closed)
		link->handlers.changed(link->handlers.user);
}

static void on_poll(uv_poll_t *poll, int status, int events);

static void watch(struct ygr_policy_link *link)
{
	uv_poll_start(&link->poll, UV_READABLE | UV_DISCONNECT | (link->output.len ? UV_WRITABLE : 0),
		      on_poll);
}

/* Sends what the socket takes; the rest waits until it takes more. */
static void flush(struct ygr_policy_link *link)
{
	struct ygr_error error = YGR_ERROR_INIT;

	while (link->output.len) {
		ssize_t n = send(link->fd, link->output.data, link->output.len, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno != EAGAIN) {
			ygr_error_set(&error, errno, "the policy channel broke: %s", strerror(errno));
			drop(link, &error);
			return;
		}
		if (n <= 0)
			break;
		ygr_buf_consume(&link->output, (size_t)n);
	}
	watch(link);
}

static int put(struct ygr_policy_link *link, uint16_t type, uint32_t id, const void *head, uint32_t head_len,
	       const void *body, size_t body_len)
{
	uint8_t header[YGR_FRAME_HEADER];

	if (head_len + body_len > YGR_FRAME_MAX)
		return -EMSGSIZE;
	int r = ygr_buf_reserve(&link->output, sizeof(header) + head_len + body_len);
	if (r < 0)
		return r;
	ygr_frame_header(header, type, id, (uint32_t)(head_len + body_len));
	(void)ygr_buf_append(&link->output, header, sizeof(header));
	(void)ygr_buf_append(&link->output, head, head_len);
	(void)ygr_buf_append(&link->output, body, body_len);
	flush(link);
	return 0;
}

static void take_status(struct ygr_policy_link *link, const struct ygr_frame *frame)
{
	struct ygr_status result;
	json_error_t where;

	if (frame->length < sizeof(result) || !link->awaiting || frame->id != link->request)
		return;
	memcpy(&result, frame->payload, sizeof(result));
	json_t *status = json_loadb((const char *)frame->payload + sizeof(result),
				    frame->length - sizeof(result), JSON_REJECT_DUPLICATES, &where);
	link->awaiting = false;
	if (json_is_object(status))
		link->handlers.status(link->handlers.user, result.value, status);
	else
		ygr_log(YGR_LOG_WARNING, "telebpf", "%s/%s: the guest's POLICY_STATUS is no JSON object",
			link->target.namespace_, link->target.name);
	json_decref(status);
}

static void take_violation(struct ygr_policy_link *link, const struct ygr_frame *frame)
{
	struct ygr_violation violation;

	if (frame->length != sizeof(violation))
		return;
	memcpy(&violation, frame->payload, sizeof(violation));
	violation.rule_name[sizeof(violation.rule_name) - 1] = '\0';
	violation.file[sizeof(violation.file) - 1] = '\0';
	violation.exe[sizeof(violation.exe) - 1] = '\0';
	violation.comm[sizeof(violation.comm) - 1] = '\0';
	if (violation.position <= link->seen)
		return;
	link->seen = violation.position;
	link->handlers.violation(link->handlers.user, &violation);
}

/* Takes what is complete: true while the connection is good. */
static bool take_frames(struct ygr_policy_link *link)
{
	struct ygr_error error = YGR_ERROR_INIT;
	uint64_t before = link->seen;
	struct ygr_frame frame;
	size_t at = 0;
	int64_t used = 0;

	while (link->connected && !link->closed &&
	       (used = ygr_frame_parse(link->input.data + at, link->input.len - at, INPUT_MAX, &frame)) >
		   0) {
		if (frame.type == YGR_MSG_VIOLATION)
			take_violation(link, &frame);
		else if (frame.type == YGR_MSG_POLICY_STATUS)
			take_status(link, &frame);
		at += (size_t)used;
	}
	if (link->closed || !link->connected)
		return false;
	ygr_buf_consume(&link->input, at);
	if (used < 0) {
		ygr_error_set(&error, EPROTO, "the guest breaks the protocol: %s", strerror((int)-used));
		drop(link, &error);
		return false;
	}
	const struct ygr_violation_ack ack = {link->seen};
	if (link->seen != before)
		(void)put(link, YGR_MSG_VIOLATION_ACK, 0, &ack, sizeof(ack), NULL, 0);
	return link->connected;
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
	struct ygr_policy_link *link = poll->data;
	struct ygr_error error = YGR_ERROR_INIT;
	uint8_t chunk[16384];

	if (status == 0 && events & UV_WRITABLE)
		flush(link);
	if (!link->connected || (status == 0 && !(events & (UV_READABLE | UV_DISCONNECT))))
		return;
	ssize_t n = status < 0 ? 0 : recv(link->fd, chunk, sizeof(chunk), MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0 || ygr_buf_append(&link->input, chunk, (size_t)n) < 0) {
		ygr_error_set(&error, ECONNRESET, "the guest closed the policy channel");
		drop(link, &error);
		return;
	}
	link->references++; /* handlers may close it */
	(void)take_frames(link);
	unref(link);
}

void ygr_policy_link_ask(struct ygr_policy_link *link)
{
	if (!link->connected || link->awaiting)
		return;
	link->awaiting = true;
	(void)put(link, YGR_MSG_POLICY_ASK, ++link->request, NULL, 0, NULL, 0);
}

int ygr_policy_link_load(struct ygr_policy_link *link, const void *bundle, size_t len,
			 const struct ygr_cert *cert, const uint8_t signature[64])
{
	struct ygr_policy_load load = {.length = (uint32_t)len, .cert = *cert};

	if (!link->connected)
		return -ENOTCONN;
	if (link->awaiting)
		return -EBUSY;
	memcpy(load.signature, signature, sizeof(load.signature));
	int r = put(link, YGR_MSG_POLICY_LOAD, ++link->request, &load, sizeof(load), bundle, len);
	if (r == 0)
		link->awaiting = true;
	return r;
}

static void remember_boot(struct ygr_policy_link *link, const json_t *welcome)
{
	const char *boot_id = json_string_value(json_object_get(welcome, "bootID")) ?: "";

	if (!strncmp(link->boot_id, boot_id, sizeof(link->boot_id) - 1))
		return;
	strncpy(link->boot_id, boot_id, sizeof(link->boot_id) - 1);
	link->seen = 0;
}

static void connected(struct ygr_policy_link *link, struct ygr_dial *dial)
{
	int r = uv_poll_init(link->telebpf->loop, &link->poll, dial->fd);

	if (r < 0) {
		ygr_error_set(&link->error, -r, "cannot watch the connection: %s", uv_strerror(r));
		dial_later(link);
		return;
	}
	link->fd = ygr_steal_fd(&dial->fd);
	remember_boot(link, dial->welcome);
	link->backoff_ms = BACKOFF_FIRST;
	link->input.len = link->output.len = 0;
	link->error = YGR_ERROR_INIT;
	link->reason = NULL;
	link->poll.data = link;
	link->polling = link->connected = true;
	link->awaiting = false;
	link->references++;
	watch(link);
	ygr_policy_link_ask(link);
	link->handlers.changed(link->handlers.user);
}

static void on_dialled(struct ygr_dial *dial)
{
	struct ygr_policy_link *link = dial->user;

	if (!link->closed && dial->fd >= 0) {
		connected(link, dial);
	} else if (!link->closed) {
		if (link->error.code != dial->error.code)
			ygr_log(YGR_LOG_INFO, "telebpf", "%s/%s: no policy channel: %s",
				link->target.namespace_, link->target.name, dial->error.message);
		link->error = dial->error;
		link->reason = ygr_dial_reason(dial->error.code);
		dial_later(link);
		link->handlers.changed(link->handlers.user);
	}
	ygr_dial_free(dial);
	unref(link);
}

static void dial_now(struct ygr_policy_link *link)
{
	if (link->polling || link->closed)
		return;
	link->references++;
	if (!ygr_dial_start(link->telebpf, &link->target, YGR_PURPOSE_POLICY, NULL, on_dialled, link)) {
		link->references--;
		dial_later(link);
	}
}

int ygr_policy_link_open(struct ygr_telebpf *telebpf, const struct ygr_link_target *target,
			 const struct ygr_policy_link_handlers *handlers, struct ygr_policy_link **ret)
{
	struct ygr_policy_link *link = calloc(1, sizeof(*link));

	if (!link)
		return -ENOMEM;
	*link = (struct ygr_policy_link){.telebpf = ygr_telebpf_ref(telebpf),
					 .handlers = *handlers,
					 .fd = -1,
					 .input = YGR_BUF_INIT(INPUT_MAX + YGR_FRAME_HEADER + 16384),
					 .output = YGR_BUF_INIT(2 * YGR_FRAME_MAX),
					 .backoff_ms = BACKOFF_FIRST,
					 .references = 1,
					 .target = {.uuid = strdup(target->uuid),
						    .namespace_ = strdup(target->namespace_),
						    .name = strdup(target->name),
						    .address = strdup(target->address)}};
	if (!link->target.uuid || !link->target.namespace_ || !link->target.name || !link->target.address) {
		unref(link);
		return -ENOMEM;
	}
	uv_timer_init(telebpf->loop, &link->timer);
	link->timer.data = link;
	link->references++;
	uv_timer_start(&link->timer, on_dial_timer, 0, 0);
	*ret = link;
	return 0;
}

static void on_timer_closed(uv_handle_t *handle)
{
	unref(handle->data);
}

struct ygr_policy_link *ygr_policy_link_close(struct ygr_policy_link *link)
{
	if (!link)
		return NULL;
	link->closed = true;
	link->connected = false;
	uv_close((uv_handle_t *)&link->timer, on_timer_closed);
	if (link->polling && !uv_is_closing((uv_handle_t *)&link->poll))
		uv_close((uv_handle_t *)&link->poll, on_poll_closed);
	unref(link);
	return NULL;
}

bool ygr_policy_link_connected(const struct ygr_policy_link *link)
{
	return link->connected;
}

const char *ygr_policy_link_reason(const struct ygr_policy_link *link)
{
	return link->reason;
}

const char *ygr_policy_link_message(const struct ygr_policy_link *link)
{
	return link->error.code ? link->error.message : NULL;
}
