/*
 * One mmapable array: private pages that the application maps, and a shadow that says what both sides last
 * had in common. Words of 8 bytes that the application changed since go to the guest; words that the guest
 * changed come from it, unless the application changed them, too. The node never writes guest memory itself.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "agent/telebpf/local.h"
#include "agent/telebpf/session/memory.h"

#define YGR_ARRAY_BYTES_MAX (64u << 20)

struct ygr_array {
	uint32_t handle;
	uint64_t length; /* whole pages */
	int memfd;
	uint8_t *area;
	uint8_t *shadow;
	const uint8_t *guest; /* its pages, NULL: MEM_READ */
	bool constant;        /* frozen: nothing changes any more */
};

/* LENGTH bytes, rounded up to pages. -E2BIG above YGR_ARRAY_BYTES_MAX, -EINVAL for 0, -ENOMEM, -errno. */
int ygr_array_new(uint32_t handle, uint64_t length, struct ygr_array **ret);
struct ygr_array *ygr_array_free(struct ygr_array *array);

/* From the answer to MEM_OPEN, as ygr_ring_start(). RAM NULL: contents come by ygr_array_merge(). */
int ygr_array_start(struct ygr_array *array, const struct ygr_ram *ram, const uint8_t *payload,
		    uint32_t length);

/* Takes the guest's BYTES for [OFFSET, OFFSET + LENGTH), multiples of 8 inside the array. */
void ygr_array_merge(struct ygr_array *array, uint64_t offset, const uint8_t *bytes, uint64_t length);
/* The same for the whole array from the guest's pages. */
void ygr_array_pull(struct ygr_array *array);

/*
 * The next words that the application changed, from *OFFSET on: copies up to SIZE (a multiple of 8) bytes
 * that lie side by side to OUT, takes them into the shadow, and returns how many; *OFFSET is where they
 * begin. 0 when there is no more.
 */
uint64_t ygr_array_push(struct ygr_array *array, uint64_t *offset, uint8_t *out, uint64_t size);

/* Undoes a push whose words could not be sent: they count as changed again. */
void ygr_array_unpush(struct ygr_array *array, uint64_t offset, uint64_t length);

/* As ygr_ring_layout(). */
int ygr_array_layout(const struct ygr_array *array, const struct ygr_local_map *map,
		     struct ygr_local_mapped *ret);
