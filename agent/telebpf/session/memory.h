/*
 * The guest's RAM as the session may see it: a file, mapped read-only and page by page, never as a whole. A
 * guest names pages by number (struct ygr_run); every number is checked against the region table that the
 * agent read from the hypervisor, so that no run reaches beyond what is RAM, whatever the guest says.
 *
 * A file that is not sealed against shrinking can make a read of the mapping raise SIGBUS. That ends this
 * session and with it this one application; where the application itself would read the pages (Shared) the
 * seal is required.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/error.h"
#include "lib/wire/message.h"

#define YGR_PAGE_SIZE       4096u
#define YGR_RAM_REGIONS_MAX 64

/* SIZE bytes of guest physical memory from GPA on lie at OFFSET of the file. All whole pages. */
struct ygr_ram_region {
	uint64_t gpa;
	uint64_t size;
	uint64_t offset;
};

/* A stretch of the file, after runs that lie side by side were joined. */
struct ygr_ram_extent {
	uint64_t offset; /* in the file */
	uint64_t length; /* bytes */
};

struct ygr_ram;

/*
 * Takes ownership of FD when it succeeds. COUNT regions, checked: whole pages, no
 * overlap, inside the file. -EINVAL with a sentence, -ENOMEM, -errno of fstat.
 */
int ygr_ram_new(int fd, const struct ygr_ram_region *regions, unsigned count, struct ygr_ram **ret,
		struct ygr_error *error);
struct ygr_ram *ygr_ram_free(struct ygr_ram *ram);

/* Whether the file can never shrink below its mappings. */
bool ygr_ram_sealed(const struct ygr_ram *ram);
int ygr_ram_fd(const struct ygr_ram *ram);

/*
 * Turns COUNT runs that must cover exactly PAGES pages into at most MAX extents of the file, in order.
 * Returns their number, -ERANGE for a page that is not RAM, -EBADMSG for a wrong number of pages, -E2BIG
 * beyond MAX.
 */
int ygr_ram_extents(const struct ygr_ram *ram, const struct ygr_run *runs, uint32_t count, uint64_t pages,
		    struct ygr_ram_extent *ret_extents, unsigned max);

/*
 * Maps the runs side by side, read-only; unmap with munmap(address, PAGES * page size). Errors as
 * ygr_ram_extents() with YGR_RAM_EXTENTS_MAX, -ENOMEM.
 */
int ygr_ram_map(const struct ygr_ram *ram, const struct ygr_run *runs, uint32_t count, uint64_t pages,
		uint8_t **ret_address);

/* One mapping has at most this many pieces: well below vm.max_map_count (65,530) for all rings of a session.
 */
#define YGR_RAM_EXTENTS_MAX 8192u
