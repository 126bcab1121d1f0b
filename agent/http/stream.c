/* Streaming responses; see stream.h. */
#include "agent/http/stream.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>

#define BLOCK_BYTES (256u << 10) /* holds the longest line that a source gives in one piece */

struct stream;

struct ygr_streams {
	pthread_mutex_t lock; /* the list and every stream's `suspended` */
	struct stream *first;
	unsigned count, max;
	bool stopping;
};

struct stream {
	struct ygr_streams *streams;
	struct stream *next;
	struct MHD_Connection *connection;
	struct ygr_stream_source source;
	bool suspended;
};

struct ygr_streams *ygr_streams_new(unsigned max)
{
	struct ygr_streams *streams = calloc(1, sizeof(*streams));
	if (!streams)
		return NULL;
	pthread_mutex_init(&streams->lock, NULL);
	streams->max = max;
	return streams;
}

struct ygr_streams *ygr_streams_free(struct ygr_streams *streams)
{
	if (!streams)
		return NULL;
	pthread_mutex_destroy(&streams->lock);
	free(streams);
	return NULL;
}

/* A new stream in the list, or NULL when there are too many or no memory. */
static struct stream *stream_new(struct ygr_streams *streams, struct MHD_Connection *connection,
				 const struct ygr_stream_source *source)
{
	struct stream *stream = calloc(1, sizeof(*stream));
	if (!stream)
		return NULL;
	*stream = (struct stream){.streams = streams, .connection = connection, .source = *source};

	pthread_mutex_lock(&streams->lock);
	bool room = streams->count < streams->max && !streams->stopping;
	if (room) {
		stream->next = streams->first;
		streams->first = stream;
		streams->count++;
	}
	pthread_mutex_unlock(&streams->lock);

	if (room)
		return stream;
	free(stream);
	return NULL;
}

static bool client_gone(struct MHD_Connection *connection)
{
	const union MHD_ConnectionInfo *info =
	    MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
	char byte;
	if (!info)
		return false;
	ssize_t n = recv(info->connect_fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
	return n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR);
}

static ssize_t pull(void *user, uint64_t position, char *out, size_t size)
{
	struct stream *stream = user;
	(void)position;

	if (client_gone(stream->connection))
		return MHD_CONTENT_READER_END_OF_STREAM;

	/* With the lock, so that a wake-up between an empty take and the suspension is not lost. */
	pthread_mutex_lock(&stream->streams->lock);
	ssize_t result = MHD_CONTENT_READER_END_OF_STREAM;
	int64_t n = stream->streams->stopping ? -1 : stream->source.take(stream->source.source, out, size);
	if (n > 0) {
		result = (ssize_t)n;
	} else if (n == 0) {
		stream->suspended = true;
		MHD_suspend_connection(stream->connection);
		result = 0;
	}
	pthread_mutex_unlock(&stream->streams->lock);
	return result;
}

static void end(void *user)
{
	struct stream *stream = user;
	struct ygr_streams *streams = stream->streams;

	pthread_mutex_lock(&streams->lock);
	for (struct stream **link = &streams->first; *link; link = &(*link)->next)
		if (*link == stream) {
			*link = stream->next;
			streams->count--;
			break;
		}
	pthread_mutex_unlock(&streams->lock);

	stream->source.done(stream->source.source);
	free(stream);
}

static enum MHD_Result refuse(struct MHD_Connection *connection)
{
	static char text[] =
	    "{\"error\":\"too many streams are open on this agent; close one and try again\"}\n";
	struct MHD_Response *response =
	    MHD_create_response_from_buffer(sizeof(text) - 1, text, MHD_RESPMEM_PERSISTENT);
	if (!response)
		return MHD_NO;
	enum MHD_Result r = MHD_queue_response(connection, MHD_HTTP_SERVICE_UNAVAILABLE, response);
	MHD_destroy_response(response);
	return r;
}

enum MHD_Result ygr_stream_respond(struct ygr_streams *streams, struct MHD_Connection *connection,
				   const struct ygr_stream_source *source)
{
	struct stream *stream = stream_new(streams, connection, source);
	if (!stream) {
		source->done(source->source);
		return refuse(connection);
	}

	struct MHD_Response *response =
	    MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, BLOCK_BYTES, pull, stream, end);
	if (!response) {
		end(stream);
		return MHD_NO;
	}
	MHD_add_response_header(response, "Content-Type", "application/x-ndjson");
	enum MHD_Result r = MHD_queue_response(connection, MHD_HTTP_OK, response);
	MHD_destroy_response(response); /* when it is the last reference this calls end() */
	return r;
}

static void resume(struct stream *stream)
{
	if (!stream->suspended)
		return;
	stream->suspended = false;
	MHD_resume_connection(stream->connection);
}

void ygr_streams_wake(struct ygr_streams *streams, const void *source)
{
	pthread_mutex_lock(&streams->lock);
	for (struct stream *stream = streams->first; stream; stream = stream->next)
		if (stream->source.source == source)
			resume(stream);
	pthread_mutex_unlock(&streams->lock);
}

void ygr_streams_tick(struct ygr_streams *streams)
{
	pthread_mutex_lock(&streams->lock);
	for (struct stream *stream = streams->first; stream; stream = stream->next)
		resume(stream);
	pthread_mutex_unlock(&streams->lock);
}

void ygr_streams_stop(struct ygr_streams *streams)
{
	pthread_mutex_lock(&streams->lock);
	streams->stopping = true;
	pthread_mutex_unlock(&streams->lock);
	ygr_streams_tick(streams);
}
