/*
 * Output of an ad-hoc run on its way to a client: the loop appends records, libmicrohttpd's thread takes
 * them. Two owners, one count; whoever leaves last frees it. A client that has gone makes the run unwanted,
 * output that comes later is thrown away.
 */
#include "agent/http/run-stream.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/buf.h"
#include "lib/base/text.h"

#define QUEUE_BYTES                                                                                         \
	(8u << 20)             /* the loop stops reading the application at 1 MiB; this is the hard bound   \
				*/
#define DATA_BYTES (16u << 10) /* of output in one record */

struct ygr_run_stream {
	pthread_mutex_t lock;
	unsigned references;
	struct ygr_buf queue;
	struct ygr_streams *streams;
	bool ended, gone;
};

struct ygr_run_stream *ygr_run_stream_new(struct ygr_streams *streams)
{
	struct ygr_run_stream *run = calloc(1, sizeof(*run));
	if (!run)
		return NULL;
	pthread_mutex_init(&run->lock, NULL);
	run->references = 2;
	run->streams = streams;
	run->queue = YGR_BUF_INIT(QUEUE_BYTES);
	return run;
}

static void unref(struct ygr_run_stream *run)
{
	pthread_mutex_lock(&run->lock);
	bool last = --run->references == 0;
	pthread_mutex_unlock(&run->lock);
	if (!last)
		return;
	ygr_buf_deinit(&run->queue);
	pthread_mutex_destroy(&run->lock);
	free(run);
}

void ygr_run_stream_abandon(struct ygr_run_stream *run)
{
	unref(run);
}

int64_t ygr_run_stream_take(void *user, char *out, uint64_t size)
{
	struct ygr_run_stream *run = user;
	pthread_mutex_lock(&run->lock);
	int64_t n = (int64_t)(run->queue.len < size ? run->queue.len : size);
	if (n) {
		memcpy(out, run->queue.data, (size_t)n);
		ygr_buf_consume(&run->queue, (size_t)n);
	} else if (run->ended) {
		n = -1;
	}
	pthread_mutex_unlock(&run->lock);
	return n;
}

void ygr_run_stream_done(void *user)
{
	struct ygr_run_stream *run = user;
	pthread_mutex_lock(&run->lock);
	run->gone = true;
	pthread_mutex_unlock(&run->lock);
	unref(run);
}

/* Appends RECORD (reference stolen) as a line. */
static void append(struct ygr_run_stream *run, json_t *record, bool last)
{
	char *text = record ? json_dumps(record, JSON_COMPACT) : NULL;
	json_decref(record);

	pthread_mutex_lock(&run->lock);
	if (text && !run->gone && ygr_buf_append(&run->queue, text, strlen(text)) == 0)
		(void)ygr_buf_append(&run->queue, "\n", 1);
	run->ended |= last;
	pthread_mutex_unlock(&run->lock);
	free(text);
	ygr_streams_wake(run->streams, run);
}

void ygr_run_stream_begin(struct ygr_run_stream *run, const char *id)
{
	append(run, json_pack("{s:s}", "id", id), false);
}

void ygr_run_stream_data(struct ygr_run_stream *run, const char *which, const char *data, uint64_t len)
{
	while (len) {
		size_t n = len < DATA_BYTES ? len : DATA_BYTES;
		char *text = ygr_text_from_bytes(data, n, true);
		append(run, json_pack("{s:s, s:s*}", "stream", which, "data", text), false);
		free(text);
		data += n;
		len -= n;
	}
}

bool ygr_run_stream_wanted(const struct ygr_run_stream *run)
{
	struct ygr_run_stream *r = (struct ygr_run_stream *)run;
	pthread_mutex_lock(&r->lock);
	bool wanted = !r->gone;
	pthread_mutex_unlock(&r->lock);
	return wanted;
}

uint64_t ygr_run_stream_queued(const struct ygr_run_stream *run)
{
	struct ygr_run_stream *r = (struct ygr_run_stream *)run;
	pthread_mutex_lock(&r->lock);
	uint64_t queued = r->queue.len;
	pthread_mutex_unlock(&r->lock);
	return queued;
}

void ygr_run_stream_end(struct ygr_run_stream *run, json_t *last)
{
	append(run, last, true);
	unref(run);
}
