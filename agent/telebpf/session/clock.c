/* See clock.h. */
#include "agent/telebpf/session/clock.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/base/cleanup.h"
#include "lib/wire/message.h"
#include "lib/wire/transport.h"

#define ROUNDS   8
#define ROUND_MS 5000
#define TIME_MAX (100ull * 366 * 86400 * 1000000000) /* 100 years: no sum with an offset overflows */

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static int ask(int channel, uint32_t id, struct ygr_pong *ret)
{
	_cleanup_free_ uint8_t *payload = NULL;
	struct ygr_frame frame;
	int r = ygr_frame_send(channel, YGR_MSG_PING, id, NULL, 0, ROUND_MS);

	if (r == 0)
		r = ygr_frame_receive(channel, sizeof(*ret), ROUND_MS, &frame, &payload);
	if (r < 0)
		return r;
	if (frame.type != YGR_MSG_PONG || frame.id != id || frame.length != sizeof(*ret))
		return -EPROTO;
	memcpy(ret, payload, sizeof(*ret));
	return ret->monotonic_ns > TIME_MAX || ret->boottime_ns > TIME_MAX ? -EPROTO : 0;
}

int ygr_clock_measure(int channel, struct ygr_clock_offset *ret)
{
	struct ygr_clock_offset best = {.uncertainty = UINT64_MAX};
	struct ygr_pong pong;

	for (uint32_t i = 1; i <= ROUNDS; i++) {
		uint64_t boottime = clock_ns(CLOCK_BOOTTIME), before = clock_ns(CLOCK_MONOTONIC), half;
		int r = ask(channel, i, &pong);

		if (r < 0)
			return r;
		half = (clock_ns(CLOCK_MONOTONIC) - before) / 2;
		if (half < best.uncertainty)
			best = (struct ygr_clock_offset){
			    .monotonic = (int64_t)(pong.monotonic_ns - before - half),
			    .boottime = (int64_t)(pong.boottime_ns - boottime - half),
			    .uncertainty = half,
			};
	}
	*ret = best;
	return 0;
}
