/* Frames: whole, in pieces, too large, foreign, and over a socket with a peer who stops anywhere. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/wire/message.h"
#include "lib/wire/transport.h"

static void test_header_layout(void **state)
{
	(void)state;
	static const uint8_t expected[YGR_FRAME_HEADER] = {'Y', 'G', 'R', '1', 1, 0, 34, 0,
							   4,   3,   2,   1,   0, 1, 0,  0};
	uint8_t header[YGR_FRAME_HEADER];
	ygr_frame_header(header, YGR_MSG_CALL, 0x01020304, 256);
	assert_memory_equal(header, expected, sizeof(header));
}

static void test_parse(void **state)
{
	(void)state;
	uint8_t data[YGR_FRAME_HEADER + 5] = {0};
	ygr_frame_header(data, YGR_MSG_PING, 7, 4);
	memcpy(data + YGR_FRAME_HEADER, "abcd!", 5);
	struct ygr_frame frame = {.type = 99};
	for (size_t len = 0; len < YGR_FRAME_HEADER + 4; len++)
		assert_int_equal(ygr_frame_parse(data, len, 4, &frame), 0);
	assert_int_equal(frame.type, 99); /* untouched until the frame is whole */
	for (size_t len = YGR_FRAME_HEADER + 4; len <= sizeof(data); len++) {
		assert_int_equal(ygr_frame_parse(data, len, 4, &frame), YGR_FRAME_HEADER + 4);
		assert_int_equal(frame.type, YGR_MSG_PING);
		assert_int_equal(frame.id, 7);
		assert_int_equal(frame.length, 4);
		assert_memory_equal(frame.payload, "abcd", 4);
	}
	assert_int_equal(ygr_frame_parse(data, sizeof(data), 3, &frame), -EMSGSIZE);
	assert_int_equal(ygr_frame_parse(data, YGR_FRAME_HEADER, 3, &frame),
			 -EMSGSIZE); /* before the payload */

	ygr_frame_header(data, YGR_MSG_PING, 7, UINT32_MAX);
	assert_int_equal(ygr_frame_parse(data, sizeof(data), YGR_FRAME_MAX, &frame), -EMSGSIZE);
	assert_int_equal(ygr_frame_parse(data, sizeof(data), UINT32_MAX, &frame), 0);
}

static void test_foreign(void **state)
{
	(void)state;
	struct ygr_frame frame;
	uint8_t data[YGR_FRAME_HEADER];
	ygr_frame_header(data, YGR_MSG_PING, 7, 0);
	data[3] = '2';
	for (size_t len = 1; len < 4; len++)
		assert_int_equal(ygr_frame_parse(data, len, 0, &frame), 0);
	assert_int_equal(ygr_frame_parse(data, 4, 0, &frame), -EPROTO);
	assert_int_equal(ygr_frame_parse((const uint8_t *)"H", 1, 0, &frame), -EPROTO);
	ygr_frame_header(data, YGR_MSG_PING, 7, 0);
	data[4] = 2;
	assert_int_equal(ygr_frame_parse(data, sizeof(data), 0, &frame), -EPROTONOSUPPORT);
}

/* Random headers are never accepted as something that they are not. */
static void test_random(void **state)
{
	(void)state;
	srandom(4711);
	for (int i = 0; i < 200000; i++) {
		uint8_t data[YGR_FRAME_HEADER + 64];
		for (size_t j = 0; j < sizeof(data); j++)
			data[j] = (uint8_t)random();
		if (i & 1)
			memcpy(data, "YGR1\1\0", 6);
		if (i & 2)
			memset(data + 13, 0, 3);
		struct ygr_frame frame;
		int64_t r = ygr_frame_parse(data, sizeof(data), 256, &frame);
		if (r > 0) {
			assert_memory_equal(data, "YGR1\1\0", 6);
			assert_int_equal(r, YGR_FRAME_HEADER + data[12]);
			assert_ptr_equal(frame.payload, data + YGR_FRAME_HEADER);
		} else if (r == 0) {
			assert_true(data[12] > 64);
		}
	}
}

struct sender {
	int fd;
	const uint8_t *payload;
	uint32_t length;
	int result;
};

static void *sender_main(void *user)
{
	struct sender *sender = user;
	sender->result =
	    ygr_frame_send(sender->fd, YGR_MSG_CALL, 42, sender->payload, sender->length, 10000);
	return NULL;
}

/* A frame far larger than the socket's buffers arrives whole, in both directions. */
static void test_large_both_ways(void **state)
{
	(void)state;
	uint32_t length = 8 << 20;
	uint8_t *payload = malloc(length);
	assert_non_null(payload);
	for (uint32_t i = 0; i < length; i++)
		payload[i] = (uint8_t)(i * 2654435761u >> 24);

	int pair[2];
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	for (int way = 0; way < 2; way++) {
		struct sender sender = {.fd = pair[way], .payload = payload, .length = length};
		pthread_t thread;
		assert_int_equal(pthread_create(&thread, NULL, sender_main, &sender), 0);
		struct ygr_frame frame;
		uint8_t *got = NULL;
		assert_int_equal(ygr_frame_receive(pair[!way], YGR_FRAME_MAX, 10000, &frame, &got), 0);
		pthread_join(thread, NULL);
		assert_int_equal(sender.result, 0);
		assert_int_equal(frame.type, YGR_MSG_CALL);
		assert_int_equal(frame.id, 42);
		assert_int_equal(frame.length, length);
		assert_memory_equal(got, payload, length);
		assert_int_equal(got[length], 0);
		free(got);
	}
	assert_int_equal(ygr_frame_send(pair[0], YGR_MSG_CALL, 1, payload, YGR_FRAME_MAX + 1, 100),
			 -EMSGSIZE);
	free(payload);
	close(pair[0]);
	close(pair[1]);
}

/* What the receiver says about the first LEN bytes of a frame, and then the end (or silence). */
static int receive_of(const uint8_t *data, size_t len, uint32_t max, bool closed)
{
	int pair[2];
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	assert_int_equal(send(pair[0], data, len, 0), (ssize_t)len);
	if (closed)
		close(pair[0]);
	struct ygr_frame frame;
	uint8_t *payload = NULL;
	int r = ygr_frame_receive(pair[1], max, 30, &frame, &payload);
	assert_true(r < 0 || payload);
	free(payload);
	close(pair[1]);
	if (!closed)
		close(pair[0]);
	return r;
}

static void test_truncated(void **state)
{
	(void)state;
	uint8_t data[YGR_FRAME_HEADER + 4] = {0};
	ygr_frame_header(data, YGR_MSG_PING, 0, 4);
	for (size_t len = 0; len < sizeof(data); len++)
		assert_int_equal(receive_of(data, len, 4, true), -ECONNRESET);
	assert_int_equal(receive_of(data, sizeof(data), 4, true), 0);
	assert_int_equal(receive_of(data, 9, 4, false), -ETIMEDOUT);
	assert_int_equal(receive_of(data, 18, 4, false), -ETIMEDOUT);
	assert_int_equal(receive_of(data, sizeof(data), 3, false), -EMSGSIZE);
	data[0] = 'X';
	assert_int_equal(receive_of(data, sizeof(data), 4, false), -EPROTO);
}

static void test_send_to_nobody(void **state)
{
	(void)state;
	int pair[2];
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	static const uint8_t payload[1 << 20];
	assert_int_equal(ygr_frame_send(pair[0], YGR_MSG_CALL, 1, payload, sizeof(payload), 30), -ETIMEDOUT);
	close(pair[1]);
	assert_int_equal(ygr_frame_send(pair[0], YGR_MSG_CALL, 1, payload, sizeof(payload), 30),
			 -ECONNRESET);
	close(pair[0]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_header_layout),   cmocka_unit_test(test_parse),
	    cmocka_unit_test(test_foreign),         cmocka_unit_test(test_random),
	    cmocka_unit_test(test_large_both_ways), cmocka_unit_test(test_truncated),
	    cmocka_unit_test(test_send_to_nobody),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
