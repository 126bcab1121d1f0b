/*
 * Page frame numbers by /proc/self/pagemap (Documentation/admin-guide/mm/pagemap.rst): one u64 for each
 * virtual page, bit 63 "present", bits 0-54 the frame, zero for who may not see it. Perf rings are mapped on
 * first touch, so each page is read once before it is looked up.
 */
#include "guest-image/guest/pages.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "lib/wire/message.h"

#define PAGEMAP_PRESENT (1ull << 63)
#define PAGEMAP_PFN     ((1ull << 55) - 1)
#define PAGEMAP_CHUNK   512

static void touch(const volatile uint8_t *address, size_t pages, size_t page_size)
{
	for (size_t i = 0; i < pages; i++)
		(void)address[i * page_size];
}

static int append_frame(struct ygr_buf *out, uint64_t pfn, struct ygr_run *run)
{
	if (run->count && run->pfn + run->count == pfn && run->count < UINT32_MAX) {
		run->count++;
		return 0;
	}
	if (run->count) {
		int r = ygr_buf_append(out, run, sizeof(*run));
		if (r < 0)
			return r;
	}
	*run = (struct ygr_run){.pfn = pfn, .count = 1};
	return 0;
}

static int look_up(int fd, const uint8_t *address, size_t pages, size_t page_size, struct ygr_buf *out)
{
	struct ygr_run run = {0};
	uint64_t entries[PAGEMAP_CHUNK];

	for (size_t done = 0; done < pages;) {
		size_t n = pages - done < PAGEMAP_CHUNK ? pages - done : PAGEMAP_CHUNK;
		off_t at = (off_t)(((uintptr_t)address / page_size + done) * sizeof(uint64_t));
		touch(address + done * page_size, n, page_size);
		if (pread(fd, entries, n * sizeof(uint64_t), at) != (ssize_t)(n * sizeof(uint64_t)))
			return -EOPNOTSUPP;
		for (size_t i = 0; i < n; i++) {
			uint64_t pfn = entries[i] & PAGEMAP_PFN;
			if (!(entries[i] & PAGEMAP_PRESENT) || pfn == 0)
				return -EOPNOTSUPP;
			int r = append_frame(out, pfn, &run);
			if (r < 0)
				return r;
		}
		done += n;
	}
	return run.count ? ygr_buf_append(out, &run, sizeof(run)) : 0;
}

int ygr_guest_pages_runs(const void *address, size_t pages, struct ygr_buf *out, uint32_t *ret_count)
{
	_cleanup_close_ int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -EOPNOTSUPP;

	size_t before = out->len;
	int r = look_up(fd, address, pages, (size_t)sysconf(_SC_PAGESIZE), out);
	if (r < 0) {
		out->len = before;
		return r;
	}
	*ret_count = (uint32_t)((out->len - before) / sizeof(struct ygr_run));
	return 0;
}
