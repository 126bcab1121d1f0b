/*
 * How many bytes of a ring are whole records. Pure functions over the ring's memory: DATA holds SIZE bytes
 * (a power of two, at least 8), positions run freely and are taken modulo SIZE. They read each header once,
 * since the writer is concurrent, and never beyond SIZE whatever a header says.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "lib/wire/message.h"

/*
 * Bytes from FROM on, at most up to PRODUCER, that are complete records: discarded ones count, a busy one
 * ends the walk. Stops before MAX is exceeded, except that a first record longer than MAX is returned alone.
 * *ret_broken is set when a header cannot be right; what precedes it is still returned.
 */
uint64_t ygr_guest_records(enum ygr_ring_kind kind, const uint8_t *data, uint64_t size, uint64_t from,
			   uint64_t producer, uint64_t max, bool *ret_broken);
