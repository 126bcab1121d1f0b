#include "agent/telebpf/session/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "lib/base/cleanup.h"

struct ygr_ram {
	int fd;
	bool sealed;
	unsigned count;
	struct ygr_ram_region regions[YGR_RAM_REGIONS_MAX]; /* by gpa */
};

static int compare_regions(const void *a, const void *b)
{
	const struct ygr_ram_region *left = a, *right = b;

	return (left->gpa > right->gpa) - (left->gpa < right->gpa);
}

static bool whole_pages(uint64_t n)
{
	return n % YGR_PAGE_SIZE == 0;
}

static int check_region(const struct ygr_ram_region *region, uint64_t file_size, struct ygr_error *error)
{
	uint64_t end;

	if (!region->size || !whole_pages(region->gpa) || !whole_pages(region->size) ||
	    !whole_pages(region->offset) || __builtin_add_overflow(region->gpa, region->size, &end))
		return ygr_error_set(error, EINVAL, "guest RAM region at %#llx is not whole pages",
				     (unsigned long long)region->gpa);
	if (__builtin_add_overflow(region->offset, region->size, &end) || end > file_size)
		return ygr_error_set(
		    error, EINVAL, "guest RAM region at %#llx ends at %#llx of a file of %#llx bytes",
		    (unsigned long long)region->gpa, (unsigned long long)end, (unsigned long long)file_size);
	return 0;
}

int ygr_ram_new(int fd, const struct ygr_ram_region *regions, unsigned count, struct ygr_ram **ret,
		struct ygr_error *error)
{
	_cleanup_free_ struct ygr_ram *ram = NULL;
	struct stat st;
	int r, seals;

	if (!count || count > YGR_RAM_REGIONS_MAX)
		return ygr_error_set(error, EINVAL, "%u guest RAM regions, 1 to %u are possible", count,
				     YGR_RAM_REGIONS_MAX);
	if (fstat(fd, &st) < 0)
		return ygr_error_set(error, errno, "guest RAM: %s", strerror(errno));
	ram = calloc(1, sizeof(*ram));
	if (!ram)
		return ygr_error_set(error, ENOMEM, "out of memory");
	memcpy(ram->regions, regions, count * sizeof(*regions));
	ram->count = count;
	qsort(ram->regions, count, sizeof(*ram->regions), compare_regions);
	for (unsigned i = 0; i < count; i++) {
		r = check_region(&ram->regions[i], (uint64_t)st.st_size, error);
		if (r < 0)
			return r;
		if (i && ram->regions[i].gpa - ram->regions[i - 1].gpa < ram->regions[i - 1].size)
			return ygr_error_set(error, EINVAL, "guest RAM regions overlap at %#llx",
					     (unsigned long long)ram->regions[i].gpa);
	}
	seals = fcntl(fd, F_GET_SEALS);
	ram->sealed = seals >= 0 && (seals & F_SEAL_SHRINK);
	ram->fd = fd;
	*ret = ygr_steal_ptr(&ram);
	return 0;
}

struct ygr_ram *ygr_ram_free(struct ygr_ram *ram)
{
	if (ram)
		close(ram->fd);
	free(ram);
	return NULL;
}

bool ygr_ram_sealed(const struct ygr_ram *ram)
{
	return ram->sealed;
}

int ygr_ram_fd(const struct ygr_ram *ram)
{
	return ram->fd;
}

/* The file offset of guest address GPA, and how many bytes of RAM follow it there; false when it is not RAM.
 */
static bool locate(const struct ygr_ram *ram, uint64_t gpa, uint64_t *ret_offset, uint64_t *ret_left)
{
	for (unsigned i = 0; i < ram->count; i++) {
		const struct ygr_ram_region *region = &ram->regions[i];

		if (gpa < region->gpa || gpa - region->gpa >= region->size)
			continue;
		*ret_offset = region->offset + (gpa - region->gpa);
		*ret_left = region->size - (gpa - region->gpa);
		return true;
	}
	return false;
}

int ygr_ram_extents(const struct ygr_ram *ram, const struct ygr_run *runs, uint32_t count, uint64_t pages,
		    struct ygr_ram_extent *ret_extents, unsigned max)
{
	uint64_t seen = 0, offset, left, length;
	unsigned n = 0;

	for (uint32_t i = 0; i < count; i++) {
		if (!runs[i].count || runs[i].count > pages - seen)
			return -EBADMSG;
		/* A shift that would lose bits is far beyond any RAM. */
		if (runs[i].pfn > UINT64_MAX / YGR_PAGE_SIZE)
			return -ERANGE;
		length = (uint64_t)runs[i].count * YGR_PAGE_SIZE;
		if (!locate(ram, runs[i].pfn * YGR_PAGE_SIZE, &offset, &left) || left < length)
			return -ERANGE;
		seen += runs[i].count;
		if (n && ret_extents[n - 1].offset + ret_extents[n - 1].length == offset) {
			ret_extents[n - 1].length += length;
			continue;
		}
		if (n == max)
			return -E2BIG;
		ret_extents[n++] = (struct ygr_ram_extent){.offset = offset, .length = length};
	}
	return seen == pages ? (int)n : -EBADMSG;
}

int ygr_ram_map(const struct ygr_ram *ram, const struct ygr_run *runs, uint32_t count, uint64_t pages,
		uint8_t **ret_address)
{
	_cleanup_free_ struct ygr_ram_extent *extents = NULL;
	uint64_t length = pages * YGR_PAGE_SIZE, at = 0;
	uint8_t *area;
	int n, r;

	if (!pages || pages > UINT32_MAX)
		return -EBADMSG;
	extents = calloc(YGR_RAM_EXTENTS_MAX, sizeof(*extents));
	if (!extents)
		return -ENOMEM;
	n = ygr_ram_extents(ram, runs, count, pages, extents, YGR_RAM_EXTENTS_MAX);
	if (n < 0)
		return n;
	/* The place is taken first, so that the pieces cannot land on anything else. */
	area = mmap(NULL, length, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (area == MAP_FAILED)
		return -errno;
	for (int i = 0; i < n; i++) {
		if (mmap(area + at, extents[i].length, PROT_READ, MAP_SHARED | MAP_FIXED, ram->fd,
			 (off_t)extents[i].offset) == MAP_FAILED) {
			r = -errno;
			munmap(area, length);
			return r;
		}
		at += extents[i].length;
	}
	*ret_address = area;
	return 0;
}
