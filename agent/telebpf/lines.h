/*
 * Bytes of a pipe made into lines: at most YGR_LINE_MAX bytes each (what is longer is cut and counted), at
 * most so many a second (what is above is dropped and counted), with columns where the first line names
 * them.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define YGR_LINE_MAX    8192
#define YGR_COLUMNS_MAX 32

struct ygr_lines {
	/* One line without its newline; COLUMNS is borrowed or NULL. */
	void (*line)(void *user, const char *text, json_t *columns);
	void *user;
	bool header;         /* the first line names the columns */
	uint32_t per_second; /* 0: no limit */

	char text[YGR_LINE_MAX + 1];
	size_t len;
	bool cutting;
	bool has_names;
	char *names[YGR_COLUMNS_MAX];
	unsigned name_count;
	int64_t second; /* the one being counted */
	uint32_t in_second;
	uint64_t dropped, cut;
};

/* NOW_NS: realtime in ns, for the limit. */
void ygr_lines_feed(struct ygr_lines *lines, const char *data, size_t len, int64_t now_ns);
/* The end: what came without a newline is a line too. */
void ygr_lines_finish(struct ygr_lines *lines, int64_t now_ns);
void ygr_lines_deinit(struct ygr_lines *lines);
