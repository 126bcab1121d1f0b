/*
 * A libbpf application for test-shared.c.
 *   share N    consumes N records of a ring buffer and of a perf buffer, maps the ring again and again while a
 *              thread and a child look for a descriptor of guest RAM, and tries what must not be possible
 *   length     consumes records and believes their lengths, as applications do
 *   wait       consumes one record, says so, and goes on consuming
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#define MUST(condition)                                                                                     \
	do {                                                                                                \
		if (!(condition)) {                                                                         \
			fprintf(stderr, "%s:%d: %s (errno %d)\n", __FILE__, __LINE__, #condition, errno);   \
			exit(1);                                                                            \
		}                                                                                           \
	} while (0)

#define PAGE   4096
#define RING   (16 * PAGE)
#define ROUNDS 200

static atomic_bool stop;
static atomic_ulong scans, alarms, naps;
static sigjmp_buf fault;
static unsigned long long ring_next, perf_next;

static int on_ring(void *context, void *data, size_t size)
{
	unsigned long long value;

	(void)context;
	MUST(size == 8);
	memcpy(&value, data, 8);
	MUST(value == ring_next);
	ring_next++;
	return 0;
}

static void on_perf(void *context, int cpu, void *data, unsigned size)
{
	unsigned long long value;

	(void)context;
	(void)cpu;
	MUST(size >= 8);
	memcpy(&value, data, 8);
	MUST(value == perf_next);
	perf_next++;
}

static bool sees_ram(const char *directory)
{
	DIR *dir = opendir(directory);
	const struct dirent *entry;
	bool found = false;

	if (!dir)
		return false;
	while ((entry = readdir(dir))) {
		char path[320], target[64];
		ssize_t n;

		snprintf(path, sizeof(path), "%s/%s", directory, entry->d_name);
		n = readlink(path, target, sizeof(target) - 1);
		target[n > 0 ? n : 0] = '\0';
		found |= strstr(target, "guest-ram") != NULL;
	}
	closedir(dir);
	return found;
}

static void *scanner(void *argument)
{
	(void)argument;
	while (!stop) {
		MUST(!sees_ram("/proc/self/fd"));
		scans++;
	}
	return NULL;
}

static void *napper(void *argument)
{
	(void)argument;
	while (!stop) {
		usleep(100);
		naps++;
	}
	return NULL;
}

static void on_alarm(int number)
{
	(void)number;
	alarms++;
}

static void on_fault(int number)
{
	(void)number;
	siglongjmp(fault, 1);
}

static pid_t start_child(void)
{
	char parent[64];
	pid_t child;

	snprintf(parent, sizeof(parent), "/proc/%d/fd", getpid());
	child = fork();
	MUST(child >= 0);
	if (child == 0)
		for (;;)
			if (sees_ram(parent) || sees_ram("/proc/self/fd"))
				_exit(1);
	return child;
}

static void try_everything(uint8_t *pages, size_t length)
{
	struct iovec piece = {pages, PAGE};
	int pipes[2];

	MUST(mremap(pages, length, length + 16 * PAGE, MREMAP_MAYMOVE) == MAP_FAILED);
	MUST(mremap(pages + PAGE, PAGE, 2 * PAGE, MREMAP_MAYMOVE) == MAP_FAILED);
	MUST(syscall(SYS_remap_file_pages, pages, PAGE, 0, 3, 0) < 0 && errno == EPERM);
	MUST(mprotect(pages, PAGE, PROT_READ | PROT_WRITE) < 0 && errno == EACCES);
	MUST(madvise(pages, PAGE, MADV_REMOVE) < 0);
	MUST(pipe(pipes) == 0);
	MUST(vmsplice(pipes[1], &piece, 1, 0) < 0 && errno == EPERM);
	MUST(syscall(SYS_ptrace, 16, getppid(), 0, 0) < 0);
	MUST(syscall(SYS_clone, CLONE_UNTRACED | SIGCHLD, 0, 0, 0, 0) < 0);
	close(pipes[0]);
	close(pipes[1]);
	if (sigsetjmp(fault, 1) == 0) {
		*(volatile uint8_t *)pages = 1;
		MUST(!"a write to a guest page went through");
	}
}

static void again_and_again(int map, const char *expected)
{
	unsigned long before = alarms;
	int tries;

	for (int i = 0; i < ROUNDS; i++) {
		uint8_t *pages = mmap(NULL, PAGE + 2 * RING, PROT_READ, MAP_SHARED, map, PAGE);

		MUST(pages != MAP_FAILED);
		/* The producer's page, and the data twice in a row (which the guest may be adding to). */
		MUST(*(volatile uint64_t *)pages - ring_next * 16 <= RING);
		for (tries = 0; tries < 100 && memcmp(pages + PAGE, pages + PAGE + RING, RING); tries++)
			usleep(100);
		MUST(tries < 100);
		if (i == 0 && !strcmp(expected, "guest"))
			try_everything(pages, PAGE + 2 * RING);
		MUST(munmap(pages, PAGE + 2 * RING) == 0);
	}
	while (alarms < before + 3)
		usleep(1000);
}

static int share(unsigned long long count, const char *expected)
{
	struct itimerval timer = {{0, 1000}, {0, 1000}};
	struct sigaction act = {.sa_handler = on_alarm, .sa_flags = SA_RESTART};
	int map = bpf_map_create(BPF_MAP_TYPE_RINGBUF, "ring", 0, 0, RING, NULL);
	int array = bpf_map_create(BPF_MAP_TYPE_PERF_EVENT_ARRAY, "perf", 4, 4, 1, NULL);
	struct ring_buffer *ring = ring_buffer__new(map, on_ring, NULL, NULL);
	struct perf_buffer *perf;
	pthread_t threads[2];
	int status, r;
	pid_t child;

	MUST(ring);
	signal(SIGSEGV, on_fault);
	sigaction(SIGALRM, &act, NULL);
	MUST(pthread_create(&threads[0], NULL, scanner, NULL) == 0);
	MUST(pthread_create(&threads[1], NULL, napper, NULL) == 0);
	child = start_child();
	MUST(setitimer(ITIMER_REAL, &timer, NULL) == 0);
	perf = perf_buffer__new(array, 8, on_perf, NULL, NULL, NULL);
	MUST(perf);
	while (ring_next < count || perf_next < count) {
		r = ring_next < count ? ring_buffer__poll(ring, 1000) : 0;
		MUST(r >= 0 || r == -EINTR);
		r = perf_next < count ? perf_buffer__poll(perf, 1000) : 0;
		MUST(r >= 0 || r == -EINTR);
	}
	while (ring_buffer__consume(ring) > 0)
		;
	MUST(kill(child, 0) == 0);
	again_and_again(map, expected);
	MUST(waitpid(child, &status, WNOHANG) == 0);
	kill(child, SIGKILL);
	MUST(waitpid(child, &status, 0) == child && WIFSIGNALED(status));
	stop = true;
	MUST(pthread_join(threads[0], NULL) == 0 && pthread_join(threads[1], NULL) == 0);
	MUST(scans > 0 && naps > 0 && alarms > 0);
	ring_buffer__free(ring);
	perf_buffer__free(perf);
	printf("shared ok: %d rounds, %lu scans, %lu alarms\n", ROUNDS, (unsigned long)scans,
	       (unsigned long)alarms);
	return 0;
}

static int believe(void *context, void *data, size_t size)
{
	const volatile uint8_t *bytes = data;
	volatile uint64_t sum = 0;

	(void)context;
	if (size <= RING)
		return 0;
	printf("a record of %zu bytes\n", size);
	fflush(stdout);
	if (sigsetjmp(fault, 1) == 0) {
		for (size_t i = 0; i < size; i += PAGE)
			sum += bytes[i];
		printf("read them all: %llu\n", (unsigned long long)sum);
	} else {
		printf("read beyond the ring\n");
	}
	exit(3);
}

static int tell(void *context, void *data, size_t size)
{
	static bool told;

	(void)context;
	(void)data;
	(void)size;
	if (!told)
		printf("holding\n");
	told = true;
	return 0;
}

int main(int argc, char **argv)
{
	int map;
	struct ring_buffer *ring;

	MUST(argc > 1);
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (!strcmp(argv[1], "share"))
		return share(strtoull(argv[2], NULL, 0), argv[3]);
	signal(SIGSEGV, on_fault);
	map = bpf_map_create(BPF_MAP_TYPE_RINGBUF, "ring", 0, 0, RING, NULL);
	ring = ring_buffer__new(map, strcmp(argv[1], "wait") ? believe : tell, NULL, NULL);
	MUST(ring);
	for (;;)
		ring_buffer__poll(ring, 1000);
}
