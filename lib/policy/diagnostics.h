/*
 * What a person is told about a policy: sentences with a place, shown as
 *
 *     web.policy:4:14: error: there is no operation "opne"
 *       rule shadow: deny opne of "/etc/shadow"
 *                         ^~~~
 *       did you mean "open"?
 *
 * Columns count characters, not bytes. The number kept is bounded; what is beyond is counted.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/buf.h"

#define YGR_POLICY_ERRORS_MAX   32
#define YGR_POLICY_WARNINGS_MAX 32

/* A place in the text. */
struct ygr_policy_place {
	uint32_t offset, length; /* bytes */
};

struct ygr_policy_diagnostics;

/* FILE is copied, TEXT borrowed for as long as this lives. NULL without memory. */
struct ygr_policy_diagnostics *ygr_policy_diagnostics_new(const char *file, const char *text, size_t len);
struct ygr_policy_diagnostics *ygr_policy_diagnostics_free(struct ygr_policy_diagnostics *diagnostics);

void ygr_policy_error(struct ygr_policy_diagnostics *diagnostics, struct ygr_policy_place place,
		      const char *format, ...) __attribute__((format(printf, 3, 4)));
void ygr_policy_warning(struct ygr_policy_diagnostics *diagnostics, struct ygr_policy_place place,
			const char *format, ...) __attribute__((format(printf, 3, 4)));
/* One line of advice under what was said last; a second hint replaces the first. */
void ygr_policy_hint(struct ygr_policy_diagnostics *diagnostics, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

unsigned ygr_policy_error_count(const struct ygr_policy_diagnostics *diagnostics);
unsigned ygr_policy_warning_count(const struct ygr_policy_diagnostics *diagnostics);
/* No more errors are kept: there is no sense in going on. */
bool ygr_policy_errors_full(const struct ygr_policy_diagnostics *diagnostics);

/* Line and column of PLACE, from 1. */
void ygr_policy_position(const struct ygr_policy_diagnostics *diagnostics, struct ygr_policy_place place,
			 unsigned *ret_line, unsigned *ret_column);

/* What was said and kept, one at a time in the order in which it was said: false when there is no number I. */
struct ygr_policy_said {
	unsigned line, column;
	bool warning;
	const char *sentence, *hint; /* hint: "" when there is none; borrowed */
};
bool ygr_policy_diagnostics_at(const struct ygr_policy_diagnostics *diagnostics, size_t i,
			       struct ygr_policy_said *ret);

/* Appends everything in the order of the text: 0, -EMSGSIZE or -ENOMEM. */
int ygr_policy_diagnostics_write(const struct ygr_policy_diagnostics *diagnostics, struct ygr_buf *out);
