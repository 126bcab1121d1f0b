/*
 * What the session tells the agent: one JSON object a line on the control socket (session.md). Nothing here
 * blocks; beyond YGR_REPORT_BACKLOG lines of counters and traces are left out, and beyond twice that all.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <jansson.h>

#include "lib/base/buf.h"

#define YGR_REPORT_BACKLOG (256u << 10)

struct ygr_report {
	int fd;
	struct ygr_buf out;
};

struct ygr_counters {
	uint64_t calls, refused, ring_records, ring_bytes, ring_dropped, ring_invalid;
};

void ygr_report_init(struct ygr_report *report, int fd);
void ygr_report_deinit(struct ygr_report *report);

void ygr_report_error(struct ygr_report *report, const char *reason, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void ygr_report_counters(struct ygr_report *report, const struct ygr_counters *counters);
void ygr_report_trace(struct ygr_report *report, const char *line);
/* STATUS: as from waitpid(2). */
void ygr_report_exited(struct ygr_report *report, int status);
/* Any other event; takes ownership of OBJECT (NULL: out of memory, nothing is said). */
void ygr_report_object(struct ygr_report *report, json_t *object);

/* Whether there is something to write, and writing what fits now. -EPIPE when the agent is gone. */
bool ygr_report_waiting(const struct ygr_report *report);
int ygr_report_flush(struct ygr_report *report);
/* At the end: waits until all is written, at most TIMEOUT_MS. */
void ygr_report_finish(struct ygr_report *report, int timeout_ms);
