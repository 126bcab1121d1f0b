/*
 * How far the guest's monotonic clock is from the node's realtime clock, through a page that both see.
 *
 *   clock write SECONDS            in the guest: prints the page's frame number, then writes the time into
 * it clock read FILE OFFSET         on the node: FILE is the guest's RAM, OFFSET the page in it
 *
 * What the reader sees is at least as old as the writer's loop is long, so the smallest distance over many
 * readings is the clocks' distance, too large by less than one turn of that loop; `read` prints both in ns.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096

static int64_t now(clockid_t clock)
{
	struct timespec ts;
	clock_gettime(clock, &ts);
	return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

static int write_clock(int seconds)
{
	volatile int64_t *page =
	    mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_LOCKED, -1, 0);
	uint64_t entry = 0;
	int pagemap = open("/proc/self/pagemap", O_RDONLY);
	if (page == MAP_FAILED || pagemap < 0)
		return 1;
	page[0] = 1;
	if (pread(pagemap, &entry, sizeof(entry), (off_t)((uintptr_t)page / PAGE * 8)) != sizeof(entry))
		return 1;
	printf("%llu\n", (unsigned long long)(entry & ((1ULL << 55) - 1)));
	fflush(stdout);
	for (int64_t end = now(CLOCK_MONOTONIC) + seconds * 1000000000LL, t;
	     (t = now(CLOCK_MONOTONIC)) < end;)
		page[0] = t;
	return 0;
}

static int read_clock(const char *path, off_t offset)
{
	int fd = open(path, O_RDONLY);
	const volatile int64_t *page =
	    fd < 0 ? MAP_FAILED : mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, offset);
	if (page == MAP_FAILED) {
		perror(path);
		return 1;
	}
	int64_t least = INT64_MAX, step = INT64_MAX, before = 0;
	for (int64_t end = now(CLOCK_MONOTONIC) + 300000000; now(CLOCK_MONOTONIC) < end;) {
		int64_t theirs = page[0], ours = now(CLOCK_REALTIME);
		if (theirs > 1 && ours - theirs < least)
			least = ours - theirs;
		if (before > 1 && theirs > before && theirs - before < step)
			step = theirs - before;
		before = theirs;
	}
	printf("{\"distance_ns\":%lld,\"uncertainty_ns\":%lld}\n", (long long)least, (long long)step);
	return least == INT64_MAX;
}

int main(int argc, char **argv)
{
	if (argc == 3 && strcmp(argv[1], "write") == 0)
		return write_clock(atoi(argv[2]));
	if (argc == 4 && strcmp(argv[1], "read") == 0)
		return read_clock(argv[2], (off_t)strtoll(argv[3], NULL, 0));
	fprintf(stderr, "usage: clock write SECONDS | clock read FILE OFFSET\n");
	return 2;
}
