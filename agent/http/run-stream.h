/* The HTTP side of an ad-hoc run's output; its loop side is in server.h. */
#pragma once

#include "agent/http/server.h"
#include "agent/http/stream.h"

/* One reference for each side; output wakes the stream of STREAMS that it feeds. */
struct ygr_run_stream *ygr_run_stream_new(struct ygr_streams *streams);

/* struct ygr_stream_source: */
int64_t ygr_run_stream_take(void *run, char *out, uint64_t size);
void ygr_run_stream_done(void *run);

/* Drops the reference of the loop side, for a run that never started. */
void ygr_run_stream_abandon(struct ygr_run_stream *run);
