/* The guest's clocks by question and answer, with guests that answer well, slowly, and wrongly. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "agent/telebpf/session/clock.h"
#include "lib/wire/message.h"
#include "lib/wire/transport.h"

#define AHEAD 5000000000ull /* of the node's clocks, ns */

enum lie { HONEST, SLOW, OTHER_ID, SHORT, OTHER_TYPE, FAR_FUTURE, SILENT };

struct guest {
	int fd;
	enum lie lie;
	pthread_t thread;
};

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void *serve(void *argument)
{
	struct guest *guest = argument;
	struct ygr_frame frame;
	uint8_t *payload = NULL;
	unsigned count = 0;

	while (ygr_frame_receive(guest->fd, 64, 10000, &frame, &payload) == 0) {
		struct ygr_pong pong = {.monotonic_ns = clock_ns(CLOCK_MONOTONIC) + AHEAD,
					.boottime_ns = clock_ns(CLOCK_BOOTTIME) + 2 * AHEAD};

		free(payload);
		payload = NULL;
		if (guest->lie == SILENT)
			break;
		if (guest->lie == SLOW && count++ != 5)
			usleep(20000); /* after it has looked at its clocks */
		if (guest->lie == FAR_FUTURE)
			pong.boottime_ns = UINT64_MAX;
		ygr_frame_send(guest->fd, guest->lie == OTHER_TYPE ? YGR_MSG_REPLY : YGR_MSG_PONG,
			       frame.id + (guest->lie == OTHER_ID), &pong,
			       guest->lie == SHORT ? 8 : sizeof(pong), 1000);
	}
	free(payload);
	close(guest->fd);
	return NULL;
}

static int measure(enum lie lie, struct ygr_clock_offset *ret)
{
	struct guest guest = {.lie = lie};
	int pair[2], r;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	guest.fd = pair[1];
	assert_int_equal(pthread_create(&guest.thread, NULL, serve, &guest), 0);
	r = ygr_clock_measure(pair[0], ret);
	close(pair[0]);
	pthread_join(guest.thread, NULL);
	return r;
}

/* However late answers are, the measure is wrong by no more than it says. */
static void check(enum lie lie)
{
	struct ygr_clock_offset offset;

	assert_int_equal(measure(lie, &offset), 0);
	assert_true(offset.uncertainty < 10000000000u);
	assert_in_range(offset.monotonic, AHEAD - offset.uncertainty, AHEAD + offset.uncertainty);
	/* Its two clocks are read a moment apart. */
	assert_in_range(offset.boottime, 2 * AHEAD - offset.uncertainty - 1000000000,
			2 * AHEAD + offset.uncertainty + 1000000000);
}

static void test_honest(void **state)
{
	(void)state;
	check(HONEST);
}

static void test_slow(void **state)
{
	(void)state;
	check(SLOW);
}

static void test_liars(void **state)
{
	const struct ygr_clock_offset before = {1, 2, 3};
	struct ygr_clock_offset offset = before;

	(void)state;
	for (enum lie lie = OTHER_ID; lie <= FAR_FUTURE; lie++) {
		int r = measure(lie, &offset);

		assert_true(r < 0 && r != -ETIMEDOUT);
		assert_memory_equal(&offset, &before, sizeof(offset));
	}
	assert_true(measure(SILENT, &offset) < 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_honest),
	    cmocka_unit_test(test_slow),
	    cmocka_unit_test(test_liars),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
