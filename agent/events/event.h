/* The JSON form of an event; used by the bus only. */
#pragma once

#include <stddef.h>

#include "agent/events/bus.h"

/*
 * One line of NDJSON with its newline; MISSING > 0 says how many events this sink lost before this one.
 * malloc'ed, NULL without memory.
 */
char *ygr_event_json(const struct ygr_event *event, uint64_t missing, size_t *ret_len);
