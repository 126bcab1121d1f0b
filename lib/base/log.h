/*
 * Logging to standard error, one line a record: `LEVEL room: message`, or with ygr_log_init(JSON) one JSON
 * object a line with time, level, room and message. Under systemd the level is given as a <N> prefix.
 * Thread-safe; a line is written by one write(2). Control characters are replaced, lines are cut at 1024
 * bytes.
 */
#pragma once

#include <stdbool.h>

enum ygr_log_level { YGR_LOG_ERROR, YGR_LOG_WARNING, YGR_LOG_INFO, YGR_LOG_DEBUG };
enum ygr_log_format { YGR_LOG_TEXT, YGR_LOG_JSON };

/* Sets the threshold and the form for the whole process; call once, before threads start. */
void ygr_log_init(enum ygr_log_level max_level, enum ygr_log_format format);

/* ROOM names the part that speaks, e.g. "inventory". */
void ygr_log(enum ygr_log_level level, const char *room, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* "error", "warning", "info", "debug" to its level; false when WORD is none of them. */
bool ygr_log_level_parse(const char *word, enum ygr_log_level *ret_level);
