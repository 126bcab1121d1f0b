/*
 * stranger ADDRESS UUID KEY CERT: some process of the node that can reach a guest's AF_VSOCK port, and tries
 * to be taken for the node: calls without a handshake, calls in the middle of one, and a handshake with keys
 * that are good in themselves, but whose root the VM's owner does not know.
 *
 * Prints a line for each attempt. Status 0: the guest was reached each time and let nobody in; 1: it could
 * not be reached, which proves nothing; 3: it answered.
 */
#include <errno.h>
#include <grp.h>
#include <linux/bpf.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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

static int dial(const char *address)
{
	struct ygr_error error = YGR_ERROR_INIT;
	int fd = -1;

	if (ygr_transport_dial(address, NULL, WAIT_MS, &fd, &error) < 0)
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

	if (argc != 5 || parse_uuid(argv[2], vm) < 0) {
		fprintf(stderr, "usage: stranger ADDRESS UUID KEY CERT\n");
		return USAGE;
	}
	int r = become_nobody();
	if (r < 0) {
		fprintf(stderr, "stranger: cannot become nobody: %s\n", strerror(-r));
		return USAGE;
	}
	r = try_without_handshake(argv[1]);
	if (r == REFUSED)
		r = try_half_a_handshake(argv[1], vm);
	if (r == REFUSED)
		r = try_own_keys(argv[1], vm, argv[3], argv[4]);
	return r;
}
