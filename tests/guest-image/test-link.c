/* What the guest sends: whole, in order, and in pieces that every vsock device takes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "guest-image/guest/link.h"
#include "lib/wire/message.h"

#define PAYLOAD (300u << 10)

/* The largest piece that the kernel keeps linear: 32 KiB without skb_shared_info and the packet's header. */
#define LINEAR_MAX (32768 - 320 - 44)

/* A SEQPACKET socket keeps the limits of each send(), as a vsock packet does. */
static void test_pieces(void **state)
{
	struct ygr_guest_link link;
	uint8_t *payload = malloc(PAYLOAD), *got = malloc(PAYLOAD + YGR_FRAME_HEADER);
	const struct iovec piece = {payload, PAYLOAD};
	struct ygr_frame frame;
	size_t length = 0;
	int fds[2];

	(void)state;
	for (size_t i = 0; i < PAYLOAD; i++)
		payload[i] = (uint8_t)(i * 7 + i / 251);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds), 0);
	assert_int_equal(ygr_guest_link_init(&link, fds[0]), 0);
	assert_int_equal(ygr_guest_link_send(&link, YGR_MSG_FILE_DATA, 9, &piece, 1), 0);
	while (length < PAYLOAD + YGR_FRAME_HEADER) {
		assert_int_equal(ygr_guest_link_flush(&link), 0);
		ssize_t n = recv(fds[1], got + length, PAYLOAD + YGR_FRAME_HEADER - length, 0);
		assert_in_range(n, 1, LINEAR_MAX);
		length += (size_t)n;
	}
	assert_int_equal(ygr_guest_link_backlog(&link), 0);
	assert_int_equal(ygr_frame_parse(got, length, YGR_FRAME_MAX, &frame), length);
	assert_int_equal(frame.id, 9);
	assert_memory_equal(frame.payload, payload, PAYLOAD);
	ygr_guest_link_deinit(&link);
	close(fds[0]);
	close(fds[1]);
	free(payload);
	free(got);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_pieces)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
