/*
 * stranger ADDRESS UUID KEY CERT [NODE-CERT]: some process of the node that can reach a guest's port, and tries
 * to be taken for the node: each message that a node may send without a handshake, calls in the middle of one,
 * calls sent behind a handshake that fails, and handshakes with keys that are good in themselves, but whose root
 * the VM's owner does not know; with NODE-CERT also that of the real node, which is no secret, under its own key.
 *
 * ADDRESS is one of lib/wire/transport.h, or "broker:FD": a SOCK_SEQPACKET descriptor on which a byte is answered
 * by a connection to the guest, as if somebody careless had left one open.
 *
 * Prints a line for each attempt. Status 0: the guest was reached each time and let nobody in; 1: it could
 * not be reached, which proves nothing; 3: it answered.
 */
#include <errno.h>
#include <grp.h>
#include <libgen.h>
#include <linux/bpf.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "lib/wire/call.h"
#include "lib/wire/keys.h"
#include "lib/wire/transport.h"

#define WAIT_MS 30000
#define NOBODY  65534

enum { REFUSED = 0, UNREACHABLE = 1, USAGE = 2, LET_IN = 3 };

/* Root's rights and the node's network go first: what is left is what any process has. */
static int become_nobody(void)
{
	return unshare(CLONE_NEWNET) < 0 || setgroups(0, NULL) < 0 ||
		       setresgid(NOBODY, NOBODY, NOBODY) < 0 || setresuid(NOBODY, NOBODY, NOBODY) < 0
		   ? -errno
		   : 0;
}

/* A map of one element: the least that a kernel can be asked for. */
static int send_call(int fd)
{
	struct {
		struct ygr_call call;
		union bpf_attr attr;
	} message = {
	    .call = {.kind = YGR_CALL_BPF, .cmd = BPF_MAP_CREATE, .attr_size = sizeof(union bpf_attr)},
	    .attr = {.map_type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 4, .max_entries = 1},
	};

	return ygr_frame_send(fd, YGR_MSG_CALL, 1, &message, sizeof(message), WAIT_MS);
}

/* Reads what the guest says until it closes: a REFUSED at most, after the CHALLENGE that anybody gets. */
static int hear(int fd, const char *attempt)
{
	for (;;) {
		struct ygr_frame frame;
		_cleanup_free_ uint8_t *payload = NULL;
		int r = ygr_frame_receive(fd, YGR_FRAME_MAX, WAIT_MS, &frame, &payload);
		if (r < 0) {
			printf("%s: %s\n", attempt, strerror(-r));
			return r == -ETIMEDOUT ? LET_IN : REFUSED;
		}
		if (frame.type == YGR_MSG_REFUSED && frame.length > sizeof(struct ygr_refused))
			printf("%s: refused: %s\n", attempt, (char *)payload + sizeof(struct ygr_refused));
		else if (frame.type != YGR_MSG_CHALLENGE) {
			printf("%s: answered with a message of type %u\n", attempt, frame.type);
			return LET_IN;
		}
	}
}

/* A connection that somebody else has made. */
static int ask_broker(int broker)
{
	union {
		struct cmsghdr head;
		uint8_t space[CMSG_SPACE(sizeof(int))];
	} control;
	char byte = 'c';
	struct iovec piece = {&byte, 1};
	struct msghdr message = {
	    .msg_iov = &piece, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
	int fd = -1;

	if (send(broker, &byte, 1, MSG_NOSIGNAL) != 1 || recvmsg(broker, &message, MSG_CMSG_CLOEXEC) != 1)
		return -1;
	struct cmsghdr *head = CMSG_FIRSTHDR(&message);
	if (head && head->cmsg_level == SOL_SOCKET && head->cmsg_type == SCM_RIGHTS)
		memcpy(&fd, CMSG_DATA(head), sizeof(fd));
	return fd;
}

/* The directory of a hybrid address' socket; transport.h wants to know it. */
static const char *hybrid_root(const char *address, char buffer[256])
{
	if (strncmp(address, "hvsock:", 7) != 0 || strlen(address) >= 256)
		return NULL;
	return dirname(strcpy(buffer, address + 7));
}

static int dial(const char *address)
{
	struct ygr_error error = YGR_ERROR_INIT;
	char root[256];
	int fd = -1;

	if (strncmp(address, "broker:", 7) == 0)
		return ask_broker(atoi(address + 7));
	if (ygr_transport_dial(address, hybrid_root(address, root), WAIT_MS, &fd, &error) < 0)
		printf("not reached: %s\n", error.message);
	return fd;
}

static int try_without_handshake(const char *address)
{
	_cleanup_close_ int fd = dial(address);

	if (fd < 0)
		return UNREACHABLE;
	int r = send_call(fd);
	return r < 0 ? UNREACHABLE : hear(fd, "a call at once");
}

/* Everything that a node may say on whatever connection, but for HELLO, which is where it may begin. */
static int try_every_message(const char *address)
{
	static const uint8_t types[] = {
	    YGR_MSG_AUTH,          YGR_MSG_PING,          YGR_MSG_RELEASE,    YGR_MSG_OPEN,
	    YGR_MSG_CALL,          YGR_MSG_HANDLE_CLOSE,  YGR_MSG_RING_OPEN,  YGR_MSG_RING_ARM,
	    YGR_MSG_RING_CONSUMED, YGR_MSG_RING_CLOSE,    YGR_MSG_MEM_OPEN,   YGR_MSG_MEM_READ,
	    YGR_MSG_MEM_WRITE,     YGR_MSG_FILE_STAT,     YGR_MSG_FILE_LIST,  YGR_MSG_FILE_LINK,
	    YGR_MSG_FILE_OPEN,     YGR_MSG_FILE_READ,     YGR_MSG_FILE_WRITE, YGR_MSG_POLICY_LOAD,
	    YGR_MSG_POLICY_ASK,    YGR_MSG_VIOLATION_ACK,
	};
	const uint8_t payload[64] = "/sys/kernel/btf/vmlinux";

	for (size_t i = 0; i < sizeof(types); i++) {
		_cleanup_close_ int fd = dial(address);
		char attempt[32];
		snprintf(attempt, sizeof(attempt), "message %u at once", types[i]);
		if (fd < 0 || ygr_frame_send(fd, types[i], 1, payload, sizeof(payload), WAIT_MS) < 0)
			return UNREACHABLE;
		int r = hear(fd, attempt);
		if (r != REFUSED)
			return r;
	}
	return REFUSED;
}

static int try_half_a_handshake(const char *address, const uint8_t vm[16])
{
	struct ygr_hello hello = {.purpose = YGR_PURPOSE_SESSION};
	_cleanup_close_ int fd = dial(address);

	memcpy(hello.vm, vm, sizeof(hello.vm));
	if (fd < 0 || ygr_frame_send(fd, YGR_MSG_HELLO, 1, &hello, sizeof(hello), WAIT_MS) < 0)
		return UNREACHABLE;
	int r = send_call(fd);
	return r < 0 ? UNREACHABLE : hear(fd, "a call after HELLO");
}

static int try_own_keys(const char *address, const uint8_t vm[16], const char *key, const char *cert)
{
	struct ygr_error error = YGR_ERROR_INIT;
	struct ygr_identity *identity = NULL;
	_cleanup_free_ char *welcome = NULL;
	_cleanup_close_ int fd = dial(address);

	if (fd < 0)
		return UNREACHABLE;
	if (ygr_identity_open(key, cert, &identity, &error) < 0) {
		printf("%s\n", error.message);
		return USAGE;
	}
	int r = ygr_handshake_node(fd, YGR_PURPOSE_SESSION, vm, identity, WAIT_MS, &welcome, &error);
	ygr_identity_free(identity);
	printf("keys of its own: %s\n", r < 0 ? error.message : "welcomed");
	return r < 0 && r != -ETIMEDOUT ? REFUSED : LET_IN;
}

/*
 * The certificate CERT_PATH (of the real node) with a signature of the key at hand, and what a session would do
 * next already on its way: none of it may be looked at.
 */
static int try_borrowed_certificate(const char *address, const uint8_t vm[16], const char *key,
				    const char *cert, const char *cert_path)
{
	struct ygr_hello hello = {.purpose = YGR_PURPOSE_SESSION, .node_nonce = "always the same"};
	struct ygr_error error = YGR_ERROR_INIT;
	struct ygr_auth auth;
	struct ygr_challenge challenge;
	struct ygr_identity *identity = NULL;
	uint8_t text[YGR_AUTH_TEXT_BYTES];
	_cleanup_free_ uint8_t *payload = NULL;
	struct ygr_frame frame;
	_cleanup_close_ int fd = dial(address);

	memcpy(hello.vm, vm, sizeof(hello.vm));
	if (ygr_keys_read_cert(cert_path, &auth.cert, &error) < 0 ||
	    ygr_identity_open(key, cert, &identity, &error) < 0) {
		printf("%s\n", error.message);
		return USAGE;
	}
	if (fd < 0 || ygr_frame_send(fd, YGR_MSG_HELLO, 1, &hello, sizeof(hello), WAIT_MS) < 0 ||
	    ygr_frame_receive(fd, YGR_FRAME_MAX, WAIT_MS, &frame, &payload) < 0 ||
	    frame.type != YGR_MSG_CHALLENGE || frame.length != sizeof(challenge)) {
		ygr_identity_free(identity);
		return UNREACHABLE;
	}
	memcpy(&challenge, payload, sizeof(challenge));
	int r = ygr_identity_sign(identity, text, ygr_auth_text(&hello, &challenge, text), auth.signature);
	ygr_identity_free(identity);
	if (r == 0)
		r = ygr_frame_send(fd, YGR_MSG_AUTH, 2, &auth, sizeof(auth), WAIT_MS);
	if (r == 0)
		(void)send_call(fd); /* it may have closed by now */
	return r < 0 ? UNREACHABLE : hear(fd, "the node's certificate");
}

/* The 32 digits of a UUID, wherever its dashes are. */
static int parse_uuid(const char *text, uint8_t out[16])
{
	for (int i = 0; i < 16; i++) {
		unsigned byte;
		text += *text == '-';
		if (sscanf(text, "%2x", &byte) != 1)
			return -EINVAL;
		out[i] = (uint8_t)byte;
		text += 2;
	}
	return *text ? -EINVAL : 0;
}

int main(int argc, char **argv)
{
	uint8_t vm[16];

	if (argc < 5 || argc > 6 || parse_uuid(argv[2], vm) < 0) {
		fprintf(stderr, "usage: stranger ADDRESS UUID KEY CERT [NODE-CERT]\n");
		return USAGE;
	}
	int r = become_nobody();
	if (r < 0) {
		fprintf(stderr, "stranger: cannot become nobody: %s\n", strerror(-r));
		return USAGE;
	}
	r = try_without_handshake(argv[1]);
	if (r == REFUSED)
		r = try_every_message(argv[1]);
	if (r == REFUSED)
		r = try_half_a_handshake(argv[1], vm);
	if (r == REFUSED)
		r = try_own_keys(argv[1], vm, argv[3], argv[4]);
	if (r == REFUSED && argc == 6)
		r = try_borrowed_certificate(argv[1], vm, argv[3], argv[4], argv[5]);
	return r;
}
