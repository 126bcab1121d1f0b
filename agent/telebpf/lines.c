/* Lines of an application; see lines.h. */
#include "agent/telebpf/lines.h"

#include <stdlib.h>
#include <string.h>

#include "lib/base/text.h"

static bool blank(char c)
{
	return c == ' ' || c == '\t';
}

/* The next word of *TEXT (its length), past leading blanks; 0 at the end. */
static size_t word(const char **text)
{
	while (blank(**text))
		(*text)++;
	return strcspn(*text, " \t");
}

static void take_names(struct ygr_lines *lines)
{
	const char *at = lines->text;
	for (size_t n; lines->name_count < YGR_COLUMNS_MAX && (n = word(&at)); at += n) {
		char *name = ygr_text_from_bytes(at, n, false);
		if (!name)
			break;
		lines->names[lines->name_count++] = name;
	}
}

/* As many columns as there are names; the last takes the rest of the line, as ARGS or PATH do. */
static json_t *parse(const struct ygr_lines *lines)
{
	json_t *columns = json_object();
	const char *at = lines->text;
	for (unsigned i = 0; columns && i < lines->name_count; i++) {
		size_t n = word(&at);
		if (i + 1 == lines->name_count)
			for (n = strlen(at); n && blank(at[n - 1]);)
				n--;
		if (n == 0)
			break;
		char *value = ygr_text_from_bytes(at, n, false);
		if (value)
			json_object_set_new(columns, lines->names[i], json_string(value));
		free(value);
		at += n;
	}
	return columns;
}

static bool over_limit(struct ygr_lines *lines, int64_t now_ns)
{
	int64_t second = now_ns / 1000000000;
	if (second != lines->second) {
		lines->second = second;
		lines->in_second = 0;
	}
	return lines->per_second && lines->in_second++ >= lines->per_second;
}

static void emit(struct ygr_lines *lines, int64_t now_ns)
{
	if (lines->len && lines->text[lines->len - 1] == '\r')
		lines->len--;
	lines->text[lines->len] = '\0';
	lines->len = 0;
	lines->cutting = false;

	bool names = lines->header && !lines->has_names;
	if (names) {
		take_names(lines);
		lines->has_names = true;
	}
	if (over_limit(lines, now_ns)) {
		lines->dropped++;
		return;
	}
	json_t *columns = lines->header && !names ? parse(lines) : NULL;
	lines->line(lines->user, lines->text, columns);
	json_decref(columns);
}

void ygr_lines_feed(struct ygr_lines *lines, const char *data, size_t len, int64_t now_ns)
{
	while (len) {
		const char *newline = memchr(data, '\n', len);
		size_t n = newline ? (size_t)(newline - data) : len;
		size_t room = YGR_LINE_MAX - lines->len, taken = n < room ? n : room;
		memcpy(lines->text + lines->len, data, taken);
		lines->len += taken;
		if (taken < n && !lines->cutting) {
			lines->cutting = true;
			lines->cut++;
		}
		n += newline != NULL;
		data += n;
		len -= n;
		if (newline)
			emit(lines, now_ns);
	}
}

void ygr_lines_finish(struct ygr_lines *lines, int64_t now_ns)
{
	if (lines->len)
		emit(lines, now_ns);
}

void ygr_lines_deinit(struct ygr_lines *lines)
{
	for (unsigned i = 0; i < lines->name_count; i++)
		free(lines->names[i]);
	lines->name_count = 0;
}
