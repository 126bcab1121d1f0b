/* Conditions as in metav1: a list-map by type, with the time of the last change of status. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#define YGR_CONDITION_MESSAGE_MAX 512

enum ygr_condition_status { YGR_CONDITION_UNKNOWN, YGR_CONDITION_FALSE, YGR_CONDITION_TRUE };

struct ygr_condition {
	const char *type; /* a literal */
	enum ygr_condition_status status;
	char reason[64]; /* CamelCase */
	char message[YGR_CONDITION_MESSAGE_MAX];
	int64_t changed; /* seconds since the epoch; 0: never set */
	int64_t generation;
};

/* Sets; `changed` moves to NOW only when status changes. Returns whether anything but the time changed. */
bool ygr_condition_set(struct ygr_condition *condition, enum ygr_condition_status status, const char *reason,
		       int64_t generation, int64_t now, const char *format, ...)
    __attribute__((format(printf, 6, 7)));

/* One entry of status.conditions; NULL when out of memory. */
json_t *ygr_condition_encode(const struct ygr_condition *condition);

/* "2026-11-20T13:00:00Z"; NULL when out of memory. */
json_t *ygr_time_encode(int64_t seconds);
