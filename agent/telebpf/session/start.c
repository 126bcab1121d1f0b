#include "agent/telebpf/session/start.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#include "lib/base/cleanup.h"
#include "lib/wire/deadline.h"
#include "lib/wire/message.h"
#include "lib/wire/transport.h"

#define CONFIG_MS 10000 /* for the agent's first line */
#define OPEN_MS   10000 /* for the guest's answer to OPEN */

static int fail(struct ygr_session *session, const char *reason, const struct ygr_error *error)
{
	ygr_session_fail(session, reason, "%s", error->message);
	return error->code ? -error->code : -EINVAL;
}

/* Reads the first line; what the agent sent after it stays for the loop. */
static int read_config(struct ygr_session *session, struct ygr_error *error)
{
	struct ygr_buf line = YGR_BUF_INIT(YGR_SESSION_LINE_MAX);
	int64_t deadline = ygr_deadline_in(CONFIG_MS);
	uint8_t *end = NULL;
	int r = 0;

	while (!end && r == 0) {
		struct pollfd p = {.fd = YGR_SESSION_CONTROL_FD, .events = POLLIN};
		ssize_t n;

		r = ygr_buf_reserve(&line, 4096);
		if (r == 0 && poll(&p, 1, ygr_deadline_left(deadline)) <= 0)
			r = -ETIMEDOUT;
		if (r < 0)
			break;
		n = recv(YGR_SESSION_CONTROL_FD, line.data + line.len, 4096, 0);
		if (n <= 0) {
			r = n < 0 ? -errno : -ECONNRESET;
			break;
		}
		end = memchr(line.data + line.len, '\n', (size_t)n);
		line.len += (size_t)n;
	}
	if (r < 0) {
		ygr_error_set(error, -r, "session configuration: %s", strerror(-r));
	} else {
		size_t length = (size_t)(end - line.data) + 1;

		r = ygr_session_config_init(&session->config, (const char *)line.data, length, error);
		if (r == 0)
			r = ygr_buf_append(&session->control_in, line.data + length, line.len - length);
	}
	ygr_buf_deinit(&line);
	return r;
}

static int parse_grant(struct ygr_session *session, struct ygr_error *error)
{
	json_error_t json_error;
	json_t *json = json_loads(session->config.grant, JSON_REJECT_DUPLICATES, &json_error);

	if (!json)
		return ygr_error_set(error, EINVAL, "grant: %s", json_error.text);
	session->grant = ygr_grant_new_json(json, true, error);
	json_decref(json);
	if (!session->grant)
		return error->code ? -error->code : -EINVAL;
	session->objects.max = ygr_grant_max_handles(session->grant);
	return 0;
}

static const char *refusal_reason(uint32_t code)
{
	switch (code) {
	case EACCES:
		return "ForbiddenByOwner";
	case EKEYREJECTED:
	case EKEYEXPIRED:
		return "ForbiddenByCatalogue";
	case ENOMEM:
	case EMFILE:
		return "OutOfMemory";
	default:
		return "ProtocolError";
	}
}

static int refused(struct ygr_session *session, const struct ygr_frame *frame, const uint8_t *payload)
{
	struct ygr_refused refused = {.code = EPROTO};

	if (frame->length >= sizeof(refused))
		memcpy(&refused, payload, sizeof(refused));
	/* The payload ends with a NUL behind its length. */
	ygr_session_fail(session, refusal_reason(refused.code), "%.480s",
			 frame->length > sizeof(refused) ? (const char *)payload + sizeof(refused)
							 : "the guest refused the session");
	return -EACCES;
}

/* Shows the guest the signed grant: it decides whether this session may be. */
static int open_session(struct ygr_session *session)
{
	const struct ygr_session_config *config = &session->config;
	size_t length = strlen(config->grant);
	struct ygr_open open = {.grant_length = (uint32_t)length, .cert = config->grant_cert};
	_cleanup_free_ uint8_t *request = malloc(sizeof(open) + length), *answer = NULL;
	struct ygr_frame frame;
	int r;

	if (!request)
		return -ENOMEM;
	memcpy(open.session_id, config->session_id, sizeof(open.session_id));
	memcpy(open.signature, config->grant_signature, sizeof(open.signature));
	memcpy(request, &open, sizeof(open));
	memcpy(request + sizeof(open), config->grant, length);
	r = ygr_frame_send(YGR_SESSION_CHANNEL_FD, YGR_MSG_OPEN, 1, request,
			   (uint32_t)(sizeof(open) + length), OPEN_MS);
	if (r == 0)
		r = ygr_frame_receive(YGR_SESSION_CHANNEL_FD, YGR_FRAME_MAX_HELLO, OPEN_MS, &frame, &answer);
	if (r < 0) {
		ygr_session_fail(session, "ChannelLost", "opening the session in the guest: %s",
				 strerror(-r));
		return r;
	}
	if (frame.type == YGR_MSG_REFUSED)
		return refused(session, &frame, answer);
	if (frame.type != YGR_MSG_OPENED) {
		ygr_session_fail(session, "ProtocolError", "the guest answered OPEN with message %u",
				 frame.type);
		return -EPROTO;
	}
	r = ygr_clock_measure(YGR_SESSION_CHANNEL_FD, &session->clock);
	if (r < 0)
		ygr_session_fail(session, r == -EPROTO ? "GuestMisbehaved" : "ChannelLost",
				 "asking for the guest's clocks: %s", strerror(-r));
	return r;
}

/* Guest RAM, where the agent gave it. Without it, or where it cannot be used, everything streams. */
static int use_ram(struct ygr_session *session, struct ygr_error *error)
{
	const struct ygr_session_config *config = &session->config;

	if (!config->region_count)
		return 0;
	return ygr_ram_new(YGR_SESSION_RAM_FD, config->regions, config->region_count, &session->ram, error);
}

static int confine(struct ygr_session *session, int local_fd, struct ygr_error *error)
{
	const struct ygr_session_config *config = &session->config;
	struct ygr_confine_options options = {
	    .executable = config->executable,
	    .sha256 = config->has_sha256 ? config->sha256 : NULL,
	    .argv = config->argv,
	    .envp = config->envp,
	    .shim = config->shim,
	    .uid = config->uid,
	    .gid = config->gid,
	    .stdout_fd = 1,
	    .stderr_fd = 2,
	    .local_fd = local_fd,
	    .fuse_fd = ygr_guestfs_fd(session->guestfs),
	    .cgroup = config->cgroup,
	    .memory = config->memory,
	    .cpu_milli = config->cpu_milli,
	    .pids = config->pids,
	    .monotonic_offset_ns = session->clock.monotonic,
	    .boottime_offset_ns = session->clock.boottime,
	    .hostname = config->guest.hostname,
	    .traced = config->delivery == YGR_DELIVERY_SHARED,
	};
	int r;

	r = ygr_confine_start(&options, &session->confined, error);
	if (r == 0 && options.traced)
		ygr_sharing_prepare(session);
	return r;
}

/* The shim's socket and the confined application. */
static int launch(struct ygr_session *session, struct ygr_error *error)
{
	_cleanup_close_ int theirs = -1;
	struct ygr_local *local;
	int pair[2], r;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return ygr_error_set(error, errno, "cannot make the application's socket: %m");
	theirs = pair[1];
	r = ygr_local_add(session, pair[0], &local);
	if (r < 0) {
		close(pair[0]);
		return ygr_error_set(error, -r, "cannot watch the application's socket: %s", strerror(-r));
	}
	r = ygr_guestfs_new(session->channel, session->grant, &session->guestfs, error);
	if (r < 0)
		return r;
	return confine(session, theirs, error);
}

static int prepare(struct ygr_session *session)
{
	const struct ygr_channel_handlers handlers = {
	    .message = ygr_session_message, .lost = ygr_session_lost, .user = session};
	void *arena = mmap(NULL, YGR_SESSION_ARENA, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	int r;

	if (arena == MAP_FAILED)
		return -errno;
	session->arena = arena;
	r = ygr_loop_init(&session->loop);
	if (r < 0)
		return r;
	return ygr_channel_new(YGR_SESSION_CHANNEL_FD, &handlers, &session->channel);
}

int ygr_session_start(struct ygr_session *session)
{
	struct ygr_error error = YGR_ERROR_INIT;
	int r;

	signal(SIGPIPE, SIG_IGN);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (int fd = YGR_SESSION_CONTROL_FD; fd <= YGR_SESSION_RAM_FD; fd++)
		fcntl(fd, F_SETFD, FD_CLOEXEC);
	if (read_config(session, &error) < 0 || parse_grant(session, &error) < 0)
		return fail(session, "ProtocolError", &error);
	r = open_session(session);
	if (r < 0)
		return r;
	if (use_ram(session, &error) < 0)
		return fail(session, "LaunchFailed", &error);
	if (session->config.delivery == YGR_DELIVERY_SHARED) {
		session->not_shared = ygr_sharing_obstacle(session->ram);
		if (session->not_shared)
			session->config.delivery = YGR_DELIVERY_COPIED;
	}
	r = prepare(session);
	if (r < 0)
		return r;
	if (launch(session, &error) < 0)
		return fail(session, "LaunchFailed", &error);
	return 0;
}
