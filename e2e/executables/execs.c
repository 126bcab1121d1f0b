/*
 * A libbpf application, built dynamic and static: prints a line for each executable that runs, with how long ago that
 * was (microseconds) by the program's own monotonic and boot clocks. See test_executables.py.
 */
#include <bpf/libbpf.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <time.h>

#include "execs.skel.h"

struct event {
	unsigned long long monotonic, boottime;
	char name[48];
};

static volatile sig_atomic_t over;

static void on_signal(int number)
{
	(void)number;
	over = 1;
}

static long long since(clockid_t clock, unsigned long long then)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (now.tv_sec * 1000000000ll + now.tv_nsec - (long long)then) / 1000;
}

static int on_event(void *user, void *data, size_t size)
{
	const struct event *event = data;

	(void)user;
	if (size >= sizeof(*event))
		printf("exec %.48s %lld %lld\n", event->name, since(CLOCK_MONOTONIC, event->monotonic),
		       since(CLOCK_BOOTTIME, event->boottime));
	return 0;
}

int main(void)
{
	struct execs *execs = execs__open_and_load();
	struct ring_buffer *ring = NULL;
	int r = -1;

	setlinebuf(stdout);
	signal(SIGINT, on_signal);
	if (execs && execs__attach(execs) == 0)
		ring = ring_buffer__new(bpf_map__fd(execs->maps.events), on_event, NULL, NULL);
	if (!ring) {
		perror("execs");
		return 1;
	}
	printf("ready\n");
	while (!over && (r = ring_buffer__poll(ring, 200)) != -1)
		if (r < 0 && r != -EINTR)
			return 1;
	ring_buffer__free(ring);
	execs__destroy(execs);
	return 0;
}
