/*
 * How far the guest's clocks are from the node's, so that the application can be given the guest's. Asked for some
 * times over the channel before anything else is on it; the quickest answer is the best one: the guest read its clocks
 * somewhere between question and answer, so it is wrong by half of their distance at most (as in NTP, RFC 5905).
 */
#pragma once

#include <stdint.h>

/* To be added to the node's clock, ns. */
struct ygr_clock_offset {
	int64_t monotonic, boottime;
	uint64_t uncertainty; /* what both may be wrong by, ns */
};

/*
 * Waits for answers on CHANNEL, at most a few seconds. -EPROTO when the guest answers something else, or times that
 * nobody can have; -ETIMEDOUT and others of the socket.
 */
int ygr_clock_measure(int channel, struct ygr_clock_offset *ret);
