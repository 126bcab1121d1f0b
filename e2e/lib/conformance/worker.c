/*
 * A process of the guest that sleeps until it is told to work (SIGUSR1), and then does exactly the same each time:
 * tools that watch this one process must count the same from wherever they run. "working N" and "done N" go to the
 * file that its argument names; its other files lie in its working directory.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { WRITES = 64, READS = 200, NAPS = 60, PAGES = 50, BLOCK = 4096 };

#define MUST(condition)                                                                                     \
	do {                                                                                                \
		if (!(condition)) {                                                                         \
			perror(#condition);                                                                 \
			exit(1);                                                                            \
		}                                                                                           \
	} while (0)

static char block[BLOCK];

static void __attribute__((noinline)) save(int fd)
{
	MUST(fsync(fd) == 0);
}

static void files(void)
{
	int fd = open("worker-data", O_CREAT | O_TRUNC | O_RDWR | O_CLOEXEC, 0600);

	MUST(fd >= 0);
	for (int i = 0; i < WRITES; i++)
		MUST(pwrite(fd, block, sizeof(block), (off_t)i * BLOCK) == BLOCK);
	save(fd);
	for (int i = 0; i < READS; i++) {
		size_t size = (size_t)1 << i % 12;

		MUST(pread(fd, block, size, 0) == (ssize_t)size);
	}
	MUST(close(fd) == 0 && unlink("worker-data") == 0);
}

static void naps(void)
{
	for (int i = 0; i < NAPS; i++)
		nanosleep(&(struct timespec){.tv_nsec = 300000}, NULL);
}

static void faults(void)
{
	char *pages = mmap(NULL, PAGES * BLOCK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	MUST(pages != MAP_FAILED);
	for (int i = 0; i < PAGES; i++)
		pages[(size_t)i * BLOCK] = 1;
	MUST(munmap(pages, PAGES * BLOCK) == 0);
}

int main(int argc, char **argv)
{
	sigset_t set;
	int report, number;

	MUST(argc == 2);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	MUST(sigprocmask(SIG_BLOCK, &set, NULL) == 0);
	report = open(argv[1], O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);
	MUST(report >= 0);
	for (int round = 0; sigwait(&set, &number) == 0; round++) {
		files();
		naps();
		faults();
		dprintf(report, "done %d\n", round);
	}
	return 1;
}
