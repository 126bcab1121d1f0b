/*
 * A link: one control connection to a guest, made on a worker, kept alive by PING and made again with
 * backoff when it dies. Freed only when nothing of libuv refers to it any more: a dial in progress and the
 * closing of two handles may outlast ygr_link_close().
 */
#include "agent/telebpf/room.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/base/buf.h"
#include "lib/base/cleanup.h"
#include "lib/base/log.h"
#include "lib/wire/frame.h"

#define SILENCE_PINGS 3 /* unanswered ones after which the guest is taken for dead */
#define BACKOFF_FIRST 500
#define BACKOFF_LAST  15000
#define CONTROL_MAX   (64u << 10) /* no answer on this connection is longer */

struct ygr_link {
	struct ygr_telebpf *telebpf;
	struct ygr_link_target target;
	void (*changed)(void *user, struct ygr_link *link);
	void *user;
	enum ygr_link_state state;
	struct ygr_error error;
	const char *reason;
	json_t *welcome;
	struct ygr_dial *dial;
	uv_timer_t timer; /* next dial, or next ping */
	uv_poll_t poll;
	bool polling, kicked;
	int fd;
	struct ygr_buf input;
	uint32_t backoff_ms;
	unsigned unanswered;
	unsigned references; /* owner, dial, timer, poll */
	bool closed;
};

const char *ygr_link_state_word(enum ygr_link_state state)
{
	static const char *const words[] = {"None", "Connecting", "Connected", "Lost", "Refused"};
	return words[state];
}

static void dial_later(struct ygr_link *link);
static void dial_now(struct ygr_link *link);

static void unref(struct ygr_link *link)
{
	if (--link->references)
		return;
	free((char *)link->target.uuid);
	free((char *)link->target.namespace_);
	free((char *)link->target.name);
	free((char *)link->target.address);
	json_decref(link->welcome);
	ygr_buf_deinit(&link->input);
	ygr_telebpf_unref(link->telebpf);
	free(link);
}

static void set_state(struct ygr_link *link, enum ygr_link_state state)
{
	link->state = state;
	if (!link->closed)
		link->changed(link->user, link);
}

static void poll_closed(uv_handle_t *handle)
{
	struct ygr_link *link = handle->data;
	close(link->fd);
	link->fd = -1;
	link->polling = false;
	bool again = link->kicked && !link->closed;
	link->kicked = false;
	if (again)
		dial_now(link);
	else if (!link->closed)
		dial_later(link);
	unref(link);
}

/* Ends the connection; a new one is dialled once the descriptor is closed. */
static void drop(struct ygr_link *link, const struct ygr_error *error)
{
	if (!link->polling || uv_is_closing((uv_handle_t *)&link->poll))
		return;
	uv_timer_stop(&link->timer);
	uv_close((uv_handle_t *)&link->poll, poll_closed);
	link->error = *error;
	link->reason = ygr_dial_reason(error->code);
	ygr_log(YGR_LOG_WARNING, "telebpf", "%s/%s: channel lost: %s", link->target.namespace_,
		link->target.name, error->message);
	set_state(link, YGR_LINK_LOST);
}

static void take_frame(struct ygr_link *link, const struct ygr_frame *frame)
{
	if (frame->type == YGR_MSG_PONG && frame->length == sizeof(struct ygr_pong))
		link->unanswered = 0;
	else if (frame->type != YGR_MSG_RELEASED)
		ygr_log(YGR_LOG_DEBUG, "telebpf", "%s/%s: unexpected message %u", link->target.namespace_,
			link->target.name, frame->type);
}

static void on_input(uv_poll_t *poll, int status, int events)
{
	struct ygr_link *link = poll->data;
	struct ygr_error error = YGR_ERROR_INIT;
	uint8_t chunk[4096];
	(void)events;

	ssize_t n = status < 0 ? 0 : recv(link->fd, chunk, sizeof(chunk), MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		ygr_error_set(&error, ECONNRESET,
			      "the guest closed the connection: yagura-guest ended, or the guest restarts");
		drop(link, &error);
		return;
	}
	int64_t used = ygr_buf_append(&link->input, chunk, (size_t)n);
	while (used >= 0) {
		struct ygr_frame frame;
		used = ygr_frame_parse(link->input.data, link->input.len, CONTROL_MAX, &frame);
		if (used <= 0)
			break;
		take_frame(link, &frame);
		ygr_buf_consume(&link->input, (size_t)used);
	}
	if (used < 0) {
		ygr_error_set(&error, EPROTO, "the guest breaks the protocol: %s", strerror((int)-used));
		drop(link, &error);
	}
}

static bool say(struct ygr_link *link, uint16_t type, const void *payload, uint32_t len)
{
	uint8_t bytes[YGR_FRAME_HEADER + sizeof(struct ygr_release)];
	ygr_frame_header(bytes, type, 1, len);
	if (len)
		memcpy(bytes + YGR_FRAME_HEADER, payload, len);
	/* A connection that cannot take 32 bytes is stuck; the missing PONG will say so. */
	return send(link->fd, bytes, YGR_FRAME_HEADER + len, MSG_DONTWAIT | MSG_NOSIGNAL) > 0 ||
	       errno == EAGAIN;
}

static void on_ping(uv_timer_t *timer)
{
	struct ygr_link *link = timer->data;
	struct ygr_error error = YGR_ERROR_INIT;
	if (link->unanswered++ >= SILENCE_PINGS || !say(link, YGR_MSG_PING, NULL, 0)) {
		ygr_error_set(&error, ETIMEDOUT, "the guest has not answered for %d s",
			      SILENCE_PINGS * (int)link->telebpf->ping_ms / 1000);
		drop(link, &error);
	}
}

static void not_connected(struct ygr_link *link, const struct ygr_dial *dial)
{
	bool refused = dial->error.code == EKEYREJECTED || dial->error.code == EKEYEXPIRED ||
		       dial->error.code == ENOTUNIQ || dial->error.code == EACCES ||
		       dial->error.code == EPERM;
	bool said = link->error.code == dial->error.code; /* once, not on every attempt */

	link->error = dial->error;
	link->reason = ygr_dial_reason(dial->error.code);
	if (!said)
		ygr_log(YGR_LOG_WARNING, "telebpf", "%s/%s: %s", link->target.namespace_, link->target.name,
			dial->error.message);
	dial_later(link);
	set_state(link, refused ? YGR_LINK_REFUSED
			: link->state == YGR_LINK_LOST || dial->error.code == EHOSTDOWN
			    ? YGR_LINK_LOST
			    : YGR_LINK_CONNECTING);
}

static void connected(struct ygr_link *link, struct ygr_dial *dial)
{
	static const struct ygr_release everything;
	int r = uv_poll_init(link->telebpf->loop, &link->poll, dial->fd);

	if (r < 0) {
		ygr_error_set(&dial->error, -r, "cannot watch the connection: %s", uv_strerror(r));
		not_connected(link, dial);
		return;
	}
	link->fd = ygr_steal_fd(&dial->fd);
	json_decref(link->welcome);
	link->welcome = ygr_steal_ptr(&dial->welcome);
	link->backoff_ms = BACKOFF_FIRST;
	link->unanswered = 0;
	link->input.len = 0;
	link->reason = NULL;
	link->error = YGR_ERROR_INIT;
	link->poll.data = link;
	link->polling = true;
	link->references++;
	uv_poll_start(&link->poll, UV_READABLE | UV_DISCONNECT, on_input);
	uv_timer_start(&link->timer, on_ping, link->telebpf->ping_ms, link->telebpf->ping_ms);
	/* Sessions of this VM end with its link, so whatever the guest still holds for this node is not
	 * mapped. */
	say(link, YGR_MSG_RELEASE, &everything, sizeof(everything));
	ygr_log(YGR_LOG_INFO, "telebpf", "%s/%s: connected", link->target.namespace_, link->target.name);
	set_state(link, YGR_LINK_CONNECTED);
}

static void on_dialled(struct ygr_dial *dial)
{
	struct ygr_link *link = dial->user;
	link->dial = NULL;
	if (link->closed) {
		/* nobody waits for it */
	} else if (dial->fd >= 0) {
		connected(link, dial);
	} else {
		not_connected(link, dial);
	}
	ygr_dial_free(dial);
	unref(link);
}

static void dial_now(struct ygr_link *link)
{
	if (link->dial || link->polling)
		return;
	uv_timer_stop(&link->timer);
	link->dial =
	    ygr_dial_start(link->telebpf, &link->target, YGR_PURPOSE_CONTROL, NULL, on_dialled, link);
	if (link->dial)
		link->references++;
	else
		dial_later(link);
}

static void on_dial_timer(uv_timer_t *timer)
{
	dial_now(timer->data);
}

/* With jitter, so that a node that comes up does not dial all its guests at the same moments. */
static void dial_later(struct ygr_link *link)
{
	uint32_t random = 0;
	if (getrandom(&random, sizeof(random), GRND_NONBLOCK) < 0)
		random = 0;
	uv_timer_start(&link->timer, on_dial_timer, link->backoff_ms + random % (link->backoff_ms / 4), 0);
	link->backoff_ms = link->backoff_ms * 2 > BACKOFF_LAST ? BACKOFF_LAST : link->backoff_ms * 2;
}

int ygr_link_open(struct ygr_telebpf *telebpf, const struct ygr_link_target *target,
		  void (*changed)(void *user, struct ygr_link *link), void *user, struct ygr_link **ret)
{
	struct ygr_link *link = calloc(1, sizeof(*link));
	if (!link)
		return -ENOMEM;
	*link = (struct ygr_link){.telebpf = ygr_telebpf_ref(telebpf),
				  .changed = changed,
				  .user = user,
				  .state = YGR_LINK_CONNECTING,
				  .fd = -1,
				  .input = YGR_BUF_INIT(CONTROL_MAX + YGR_FRAME_HEADER),
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

static void timer_closed(uv_handle_t *handle)
{
	unref(handle->data);
}

struct ygr_link *ygr_link_close(struct ygr_link *link)
{
	if (!link)
		return NULL;
	link->closed = true;
	uv_close((uv_handle_t *)&link->timer, timer_closed);
	if (link->polling && !uv_is_closing((uv_handle_t *)&link->poll))
		uv_close((uv_handle_t *)&link->poll, poll_closed);
	unref(link);
	return NULL;
}

void ygr_link_kick(struct ygr_link *link)
{
	link->backoff_ms = BACKOFF_FIRST;
	if (link->polling && !uv_is_closing((uv_handle_t *)&link->poll))
		say(link, YGR_MSG_PING, NULL, 0); /* a dead connection answers with a reset */
	else if (link->polling)
		link->kicked = true;
	else
		dial_now(link);
}

enum ygr_link_state ygr_link_state(const struct ygr_link *link)
{
	return link->state;
}

const char *ygr_link_reason(const struct ygr_link *link)
{
	return link->reason;
}

const char *ygr_link_message(const struct ygr_link *link)
{
	return link->error.code ? link->error.message : NULL;
}

const json_t *ygr_link_welcome(const struct ygr_link *link)
{
	return link->state == YGR_LINK_CONNECTED ? link->welcome : NULL;
}

const struct ygr_link_target *ygr_link_target(const struct ygr_link *link)
{
	return &link->target;
}
