/*
 * A response that goes on: bytes are produced elsewhere and pulled by libmicrohttpd, which is told to
 * suspend the connection while there are none. A suspended connection is not watched by libmicrohttpd, so
 * the server's ticker looks at all of them once a second and notices clients that have gone.
 */
#pragma once

#include <microhttpd.h>
#include <stdbool.h>
#include <stdint.h>

struct ygr_streams; /* all open streams of a server */

/* What feeds a stream. */
struct ygr_stream_source {
	/* Up to SIZE bytes: their number, 0 when there are none now, -1 at the end. Any thread. */
	int64_t (*take)(void *source, char *out, uint64_t size);
	/* The client has gone or all was sent; called once, last. */
	void (*done)(void *source);
	void *source;
};

struct ygr_streams *ygr_streams_new(unsigned max);
struct ygr_streams *ygr_streams_free(struct ygr_streams *streams);

/*
 * Answers CONNECTION with a stream of NDJSON from SOURCE, which belongs to the stream from here on: done()
 * is called in any case. MHD_NO when there is no memory; with too many streams open the client is told so.
 */
enum MHD_Result ygr_stream_respond(struct ygr_streams *streams, struct MHD_Connection *connection,
				   const struct ygr_stream_source *source);

/*
 * The stream fed by SOURCE, if it still exists, may have bytes now. Streams are named by their source and
 * not by a pointer of their own, since they end whenever their client likes. Any thread; never with a lock
 * held that take() takes.
 */
void ygr_streams_wake(struct ygr_streams *streams, const void *source);

/* Lets every suspended stream look at its client; once a second. */
void ygr_streams_tick(struct ygr_streams *streams);

/* Ends all streams: call before MHD_stop_daemon(). */
void ygr_streams_stop(struct ygr_streams *streams);
