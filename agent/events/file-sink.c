/*
 * Events to a file; see file-sink.h. The thread sleeps until the queue is no longer empty, takes whole lines
 * and writes them with as few calls as the kernel allows. A failing write (disk full) is said once, counted
 * by line, and tried again with the next events: it must not end the agent or the stream.
 */
#include "agent/events/file-sink.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/log.h"

#define QUEUE_BYTES (4u << 20)
#define CHUNK_BYTES                                                                                         \
	(256u                                                                                               \
	 << 10) /* more than the longest event: a line of 8 KiB, escaped, and its columns              \
		      */

struct ygr_file_sink {
	struct ygr_sink *sink;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t something;
	bool awake, stop;
	char *path;
	int fd;
	uint64_t written, max_bytes;
	unsigned keep;
	bool complained;
	atomic_ullong unwritten;
};

static void wake(void *user)
{
	struct ygr_file_sink *sink = user;
	pthread_mutex_lock(&sink->lock);
	sink->awake = true;
	pthread_cond_signal(&sink->something);
	pthread_mutex_unlock(&sink->lock);
}

static int reopen(struct ygr_file_sink *sink)
{
	struct stat st;
	int fd = open(sink->path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0640);
	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) == 0)
		sink->written = (uint64_t)st.st_size;
	if (sink->fd >= 0)
		close(sink->fd);
	sink->fd = fd;
	return 0;
}

/* PATH.1 becomes PATH.2 and so on; what falls off the end is overwritten. */
static void rotate(struct ygr_file_sink *sink)
{
	char from[4096], to[4096];
	for (unsigned i = sink->keep; i > 0; i--) {
		if (i == 1)
			snprintf(from, sizeof(from), "%s", sink->path);
		else
			snprintf(from, sizeof(from), "%s.%u", sink->path, i - 1);
		snprintf(to, sizeof(to), "%s.%u", sink->path, i);
		(void)rename(from, to); /* a gap in the sequence is fine */
	}
	if (sink->keep == 0)
		(void)unlink(sink->path);
	int r = reopen(sink);
	if (r < 0)
		ygr_log(YGR_LOG_WARNING, "events", "cannot reopen %s after rotation: %s", sink->path,
			strerror(-r));
}

static void count_unwritten(struct ygr_file_sink *sink, const char *data, size_t len)
{
	if (!sink->complained)
		ygr_log(YGR_LOG_WARNING, "events", "cannot write events to %s: %s",
			sink->path ? sink->path : "the log", strerror(errno));
	sink->complained = true;
	for (size_t i = 0; i < len; i++)
		if (data[i] == '\n')
			atomic_fetch_add(&sink->unwritten, 1);
}

static void write_lines(struct ygr_file_sink *sink, const char *data, size_t len)
{
	while (len) {
		ssize_t n = write(sink->fd, data, len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			count_unwritten(sink, data, len);
			return;
		}
		data += n;
		len -= (size_t)n;
		sink->written += (uint64_t)n;
		sink->complained = false;
	}
}

/* How many bytes of whole lines still fit into the file; 0: none, rotate first. An empty file takes any
 * line. */
static size_t fitting(const struct ygr_file_sink *sink, const char *data, size_t len)
{
	if (!sink->path || !sink->max_bytes || sink->written + len <= sink->max_bytes)
		return len;
	size_t room = sink->written < sink->max_bytes ? (size_t)(sink->max_bytes - sink->written) : 0;
	const char *last = room ? memrchr(data, '\n', room) : NULL;
	if (!last && sink->written == 0)
		last = memchr(data, '\n', len);
	return last ? (size_t)(last - data) + 1 : 0;
}

/* DATA is whole lines. */
static void write_out(struct ygr_file_sink *sink, const char *data, size_t len)
{
	while (len) {
		size_t n = fitting(sink, data, len);
		if (n == 0) {
			rotate(sink);
			if (sink->written) /* it could not be rotated: a large file is better than lost
					      events */
				n = len;
			else
				continue;
		}
		write_lines(sink, data, n);
		data += n;
		len -= n;
	}
}

static void *run(void *user)
{
	struct ygr_file_sink *sink = user;
	char *chunk = malloc(CHUNK_BYTES);
	bool stop = chunk == NULL;

	while (!stop) {
		pthread_mutex_lock(&sink->lock);
		while (!sink->awake && !sink->stop)
			pthread_cond_wait(&sink->something, &sink->lock);
		sink->awake = false;
		stop = sink->stop;
		pthread_mutex_unlock(&sink->lock);

		for (int64_t n; (n = ygr_sink_take(sink->sink, chunk, CHUNK_BYTES)) > 0;)
			write_out(sink, chunk, (size_t)n);
	}
	free(chunk);
	return NULL;
}

int ygr_file_sink_start(struct ygr_bus *bus, const struct ygr_file_sink_options *options,
			struct ygr_file_sink **ret_sink, struct ygr_error *error)
{
	struct ygr_file_sink *sink = calloc(1, sizeof(*sink));
	if (!sink)
		return ygr_error_set(error, ENOMEM, "out of memory");
	sink->fd = options->path ? -1 : options->fd;
	sink->max_bytes = options->max_bytes;
	sink->keep = options->keep;
	pthread_mutex_init(&sink->lock, NULL);
	pthread_cond_init(&sink->something, NULL);

	int r = 0;
	if (options->path) {
		sink->path = strdup(options->path);
		r = sink->path ? reopen(sink) : -ENOMEM;
		if (r < 0)
			ygr_error_set(error, -r, "cannot open the event file %s: %s", options->path,
				      strerror(-r));
	}
	if (r == 0)
		r = ygr_bus_subscribe(bus, NULL, QUEUE_BYTES, 0, wake, sink, &sink->sink);
	if (r == 0) {
		r = -pthread_create(&sink->thread, NULL, run, sink);
		if (r < 0)
			ygr_error_set(error, -r, "cannot start the event writer: %s", strerror(-r));
	}
	if (r == 0) {
		*ret_sink = sink;
		return 0;
	}

	ygr_sink_unsubscribe(sink->sink);
	if (sink->path && sink->fd >= 0)
		close(sink->fd);
	free(sink->path);
	free(sink);
	return r;
}

struct ygr_file_sink *ygr_file_sink_stop(struct ygr_file_sink *sink)
{
	if (!sink)
		return NULL;
	pthread_mutex_lock(&sink->lock);
	sink->stop = true;
	pthread_cond_signal(&sink->something);
	pthread_mutex_unlock(&sink->lock);
	pthread_join(sink->thread, NULL);

	ygr_sink_unsubscribe(sink->sink);
	if (sink->path && sink->fd >= 0)
		close(sink->fd);
	pthread_cond_destroy(&sink->something);
	pthread_mutex_destroy(&sink->lock);
	free(sink->path);
	free(sink);
	return NULL;
}

uint64_t ygr_file_sink_dropped(const struct ygr_file_sink *sink)
{
	return ygr_sink_dropped(sink->sink) + atomic_load(&sink->unwritten);
}
