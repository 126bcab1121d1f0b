/* See condition.h. */
#include "lib/api/condition.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

bool ygr_condition_set(struct ygr_condition *condition, enum ygr_condition_status status, const char *reason,
		       int64_t generation, int64_t now, const char *format, ...)
{
	char message[YGR_CONDITION_MESSAGE_MAX];
	va_list args;

	va_start(args, format);
	vsnprintf(message, sizeof(message), format, args);
	va_end(args);
	bool first = !condition->changed;
	bool same = !first && condition->status == status && !strcmp(condition->reason, reason) &&
		    condition->generation == generation && !strcmp(condition->message, message);
	if (first || condition->status != status)
		condition->changed = now;
	condition->status = status;
	snprintf(condition->reason, sizeof(condition->reason), "%s", reason);
	condition->generation = generation;
	memcpy(condition->message, message, sizeof(message));
	return !same;
}

json_t *ygr_condition_encode(const struct ygr_condition *condition)
{
	static const char *const words[] = {"Unknown", "False", "True"};

	return json_pack("{s:s, s:s, s:s, s:s, s:I, s:o}", "type", condition->type, "status",
			 words[condition->status], "reason", condition->reason, "message",
			 condition->message, "observedGeneration", (json_int_t)condition->generation,
			 "lastTransitionTime", ygr_time_encode(condition->changed));
}

json_t *ygr_time_encode(int64_t seconds)
{
	time_t when = seconds;
	char text[32];
	struct tm tm;

	if (!gmtime_r(&when, &tm) || !strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm))
		return json_null();
	return json_string(text);
}
