/* See diagnostics.h. */
#include "lib/policy/diagnostics.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/text.h"
#include "lib/policy/text.h"

#define SENTENCE_MAX 256
#define BEFORE_CARET 60 /* bytes of a long line that are shown before the place, and after it */
#define AFTER_CARET  100
#define CARET_MAX    40

struct diagnostic {
	struct ygr_policy_place place;
	bool warning;
	char sentence[SENTENCE_MAX];
	char hint[SENTENCE_MAX];
};

struct ygr_policy_diagnostics {
	char *file;
	const char *text;
	size_t len;
	struct diagnostic kept[YGR_POLICY_ERRORS_MAX + YGR_POLICY_WARNINGS_MAX];
	size_t count;
	unsigned errors, warnings;
	struct diagnostic *last; /* NULL when the last one was not kept */
};

struct ygr_policy_diagnostics *ygr_policy_diagnostics_new(const char *file, const char *text, size_t len)
{
	struct ygr_policy_diagnostics *diagnostics = calloc(1, sizeof(*diagnostics));
	if (!diagnostics)
		return NULL;
	diagnostics->file = strdup(file);
	diagnostics->text = text;
	diagnostics->len = len;
	return diagnostics->file ? diagnostics : ygr_policy_diagnostics_free(diagnostics);
}

struct ygr_policy_diagnostics *ygr_policy_diagnostics_free(struct ygr_policy_diagnostics *diagnostics)
{
	if (diagnostics)
		free(diagnostics->file);
	free(diagnostics);
	return NULL;
}

__attribute__((format(printf, 4, 0))) static void add(struct ygr_policy_diagnostics *diagnostics,
						      bool warning, struct ygr_policy_place place,
						      const char *format, va_list args)
{
	unsigned *count = warning ? &diagnostics->warnings : &diagnostics->errors;
	unsigned max = warning ? YGR_POLICY_WARNINGS_MAX : YGR_POLICY_ERRORS_MAX;

	diagnostics->last = NULL;
	if ((*count)++ >= max)
		return;
	struct diagnostic *diagnostic = &diagnostics->kept[diagnostics->count++];
	diagnostic->place = place;
	diagnostic->warning = warning;
	vsnprintf(diagnostic->sentence, sizeof(diagnostic->sentence), format, args);
	diagnostics->last = diagnostic;
}

void ygr_policy_error(struct ygr_policy_diagnostics *diagnostics, struct ygr_policy_place place,
		      const char *format, ...)
{
	va_list args;
	va_start(args, format);
	add(diagnostics, false, place, format, args);
	va_end(args);
}

void ygr_policy_warning(struct ygr_policy_diagnostics *diagnostics, struct ygr_policy_place place,
			const char *format, ...)
{
	va_list args;
	va_start(args, format);
	add(diagnostics, true, place, format, args);
	va_end(args);
}

void ygr_policy_hint(struct ygr_policy_diagnostics *diagnostics, const char *format, ...)
{
	va_list args;
	if (!diagnostics->last)
		return;
	va_start(args, format);
	vsnprintf(diagnostics->last->hint, sizeof(diagnostics->last->hint), format, args);
	va_end(args);
}

unsigned ygr_policy_error_count(const struct ygr_policy_diagnostics *diagnostics)
{
	return diagnostics->errors;
}

unsigned ygr_policy_warning_count(const struct ygr_policy_diagnostics *diagnostics)
{
	return diagnostics->warnings;
}

bool ygr_policy_errors_full(const struct ygr_policy_diagnostics *diagnostics)
{
	return diagnostics->errors >= YGR_POLICY_ERRORS_MAX;
}

static bool continues(char byte)
{
	return ((unsigned char)byte & 0xc0) == 0x80;
}

static size_t line_start(const struct ygr_policy_diagnostics *diagnostics, size_t offset)
{
	while (offset > 0 && diagnostics->text[offset - 1] != '\n')
		offset--;
	return offset;
}

void ygr_policy_position(const struct ygr_policy_diagnostics *diagnostics, struct ygr_policy_place place,
			 unsigned *ret_line, unsigned *ret_column)
{
	size_t offset = place.offset < diagnostics->len ? place.offset : diagnostics->len;
	unsigned line = 1, column = 1;
	for (size_t i = 0; i < offset; i++)
		line += diagnostics->text[i] == '\n';
	for (size_t i = line_start(diagnostics, offset); i < offset; i++)
		column += !continues(diagnostics->text[i]);
	*ret_line = line;
	*ret_column = column;
}

/*
 * Bytes FROM..TO as they may go to a terminal: what is no text is replaced, and so are the characters that
 * reorder it (U+202A..202E, U+2066..2069; e2 80 aa..ae, e2 81 a6..a9).
 */
static void put_shown(struct ygr_policy_text *out, const struct ygr_policy_diagnostics *diagnostics,
		      size_t from, size_t to)
{
	char *shown = ygr_text_from_bytes(diagnostics->text + from, to - from, true);
	if (!shown) {
		out->failed = -ENOMEM;
		return;
	}
	for (const char *at = shown; *at && out->failed == 0;) {
		unsigned char second = (unsigned char)at[1], third = second ? (unsigned char)at[2] : 0;
		bool reorders =
		    (unsigned char)at[0] == 0xe2 && ((second == 0x80 && third >= 0xaa && third <= 0xae) ||
						     (second == 0x81 && third >= 0xa6 && third <= 0xa9));
		ygr_policy_put(out, "%c", reorders ? '?' : *at);
		at += reorders ? 3 : 1;
	}
	free(shown);
}

static void put_line(struct ygr_policy_text *out, const struct ygr_policy_diagnostics *diagnostics,
		     struct ygr_policy_place place)
{
	const char *text = diagnostics->text;
	size_t offset = place.offset < diagnostics->len ? place.offset : diagnostics->len;
	size_t start = line_start(diagnostics, offset), from = start, to = offset;

	if (offset - from > BEFORE_CARET)
		for (from = offset - BEFORE_CARET; from < offset && continues(text[from]);)
			from++;
	while (to < diagnostics->len && text[to] != '\n' && to - offset < AFTER_CARET)
		to++;
	while (to < diagnostics->len && to > offset && continues(text[to]))
		to--;
	ygr_policy_put(out, "  %s", from > start ? "..." : "");
	put_shown(out, diagnostics, from, to);
	ygr_policy_put(out, "\n  %s", from > start ? "   " : "");
	for (size_t i = from; i < offset; i++)
		if (!continues(text[i]))
			ygr_policy_put(out, "%c", text[i] == '\t' ? '\t' : ' ');
	ygr_policy_put(out, "^");
	size_t shown = 1;
	for (size_t i = offset + 1; i < offset + place.length && i < to && shown < CARET_MAX; i++)
		if (!continues(text[i])) {
			ygr_policy_put(out, "~");
			shown++;
		}
	ygr_policy_put(out, "\n");
}

static void put_diagnostic(struct ygr_policy_text *out, const struct ygr_policy_diagnostics *diagnostics,
			   const struct diagnostic *diagnostic)
{
	unsigned line, column;
	ygr_policy_position(diagnostics, diagnostic->place, &line, &column);
	ygr_policy_put(out, "%s:%u:%u: %s: %s\n", diagnostics->file, line, column,
		       diagnostic->warning ? "warning" : "error", diagnostic->sentence);
	put_line(out, diagnostics, diagnostic->place);
	if (diagnostic->hint[0])
		ygr_policy_put(out, "  %s\n", diagnostic->hint);
}

static int by_place(const void *a, const void *b)
{
	const struct diagnostic *const *x = a, *const *y = b;
	if ((*x)->place.offset != (*y)->place.offset)
		return (*x)->place.offset < (*y)->place.offset ? -1 : 1;
	return *x < *y ? -1 : *x > *y;
}

int ygr_policy_diagnostics_write(const struct ygr_policy_diagnostics *diagnostics, struct ygr_buf *out)
{
	struct ygr_policy_text text = {.out = out};
	const struct diagnostic *sorted[YGR_POLICY_ERRORS_MAX + YGR_POLICY_WARNINGS_MAX] = {NULL};

	for (size_t i = 0; i < diagnostics->count; i++)
		sorted[i] = &diagnostics->kept[i];
	qsort(sorted, diagnostics->count, sizeof(sorted[0]), by_place);
	for (size_t i = 0; i < diagnostics->count; i++)
		put_diagnostic(&text, diagnostics, sorted[i]);
	if (diagnostics->errors >= YGR_POLICY_ERRORS_MAX)
		ygr_policy_put(&text, "%s: there may be more errors; the first %d are shown\n",
			       diagnostics->file, YGR_POLICY_ERRORS_MAX);
	if (diagnostics->warnings > YGR_POLICY_WARNINGS_MAX)
		ygr_policy_put(&text, "%s: %u more warnings\n", diagnostics->file,
			       diagnostics->warnings - YGR_POLICY_WARNINGS_MAX);
	return text.failed;
}

bool ygr_policy_diagnostics_at(const struct ygr_policy_diagnostics *diagnostics, size_t i,
			       struct ygr_policy_said *ret)
{
	if (i >= diagnostics->count)
		return false;
	const struct diagnostic *diagnostic = &diagnostics->kept[i];
	*ret = (struct ygr_policy_said){
	    .warning = diagnostic->warning, .sentence = diagnostic->sentence, .hint = diagnostic->hint};
	ygr_policy_position(diagnostics, diagnostic->place, &ret->line, &ret->column);
	return true;
}
