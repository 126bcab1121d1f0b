/* Events to a file (with rotation) or to a descriptor, written by a thread of its own. */
#pragma once

#include "agent/events/bus.h"

struct ygr_file_sink;

struct ygr_file_sink_options {
	const char *path;   /* NULL: write to FD instead, e.g. standard error */
	int fd;             /* borrowed */
	uint64_t max_bytes; /* rotate above this size, 0: never */
	unsigned keep;      /* rotated files kept beside it: PATH.1 is the newest */
};

/* Starts writing what BUS publishes from now on. The file is opened for append with mode 0640. */
int ygr_file_sink_start(struct ygr_bus *bus, const struct ygr_file_sink_options *options,
			struct ygr_file_sink **ret_sink, struct ygr_error *error);

/* Writes what is queued, then ends. Stop it before the bus is freed. */
struct ygr_file_sink *ygr_file_sink_stop(struct ygr_file_sink *sink);

/* Events that found the queue full, or that could not be written. */
uint64_t ygr_file_sink_dropped(const struct ygr_file_sink *sink);
