/* The ring buffer of verdicts, read by its own positions, so that only what is acknowledged makes room. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "guest-image/frames/frames.h"

struct ygr_verdicts {
	uint64_t *consumer;       /* mapped */
	const uint64_t *producer; /* mapped, its page, then the data twice */
	const uint8_t *data;
	uint64_t size, next; /* position of what comes next */
};

int ygr_verdicts_open(struct ygr_verdicts *verdicts, int map_fd);
void ygr_verdicts_close(struct ygr_verdicts *verdicts);
/* 1 with the next record and the position behind it, 0: none (yet). */
int ygr_verdicts_next(struct ygr_verdicts *verdicts, struct ygr_frame_context *ret_record,
		      uint64_t *ret_position);
/* What is before POSITION needs not be kept. Positions that were not handed out are ignored. */
void ygr_verdicts_release(struct ygr_verdicts *verdicts, uint64_t position);
