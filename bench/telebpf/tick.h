/* What the measured program sends for each tick, and how a tick is told from other getpgid() calls. */
#pragma once

/* getpgid(TICK_MARK | sequence): no such process can exist, pids are below 2^22. */
#define TICK_MARK     0x40000000u
#define TICK_SEQUENCE 0x3fffffffu

struct tick {
	unsigned long long produced_ns; /* CLOCK_MONOTONIC of the kernel that ran the program */
	unsigned int sequence;
	unsigned int filler[5]; /* 32 bytes in all: about what the snoop tools send at the least */
};
