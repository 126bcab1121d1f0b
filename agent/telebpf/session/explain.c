/*
 * What `yagura run --explain` shows at the end: how the application's calls were hooked, what of it was forwarded, how
 * ring data came. An object for programs, and in it a text for people.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/telebpf/session/session.h"
#include "lib/base/cleanup.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

const char *ygr_explain_mechanism(const struct ygr_session *session)
{
	switch (session->mechanism) {
	case YGR_LOCAL_REWRITE:
		return "Rewrite";
	case YGR_LOCAL_DISPATCH:
	case YGR_LOCAL_DISPATCH_GO:
		return "Dispatch";
	default:
		return "None";
	}
}

const char *ygr_explain_entrance(const struct ygr_session *session)
{
	if (!session->mechanism)
		return "None";
	return session->entrance == YGR_LOCAL_LOADED ? "Loaded" : "Preloaded";
}

static const char *hooked(const struct ygr_session *session)
{
	switch (session->mechanism) {
	case YGR_LOCAL_REWRITE:
		return "calls are rewritten where they are first made";
	case YGR_LOCAL_DISPATCH:
		return "by Syscall User Dispatch, since address 0 cannot be mapped here";
	case YGR_LOCAL_DISPATCH_GO:
		return "by Syscall User Dispatch, since Go's stacks are too small for more";
	default:
		return "not at all: no shim came into the application";
	}
}

static const char *entered(const struct ygr_session *session)
{
	if (!session->mechanism)
		return "";
	return session->entrance == YGR_LOCAL_LOADED
		   ? "; the executable is static and was loaded by the shim"
		   : "; the dynamic loader brought the shim along";
}

static const char *delivery(const struct ygr_session *session)
{
	return ygr_delivery_name(session->ram ? session->config.delivery : YGR_DELIVERY_STREAM);
}

/* All that was forwarded, by name. */
static json_t *calls_of(const struct ygr_session *session)
{
	const struct {
		const char *name;
		uint64_t count;
	} others[] = {{"perf_event_open", session->perf_events},
		      {"ioctl", session->ioctls},
		      {"read", session->reads},
		      {"open", session->opens}};
	json_t *calls = json_object();

	for (int cmd = 0; cmd < (int)COUNT(session->calls); cmd++) {
		const struct ygr_command_info *info = ygr_command_info(cmd);

		if (session->calls[cmd] && info)
			json_object_set_new(calls, info->name,
					    json_integer((json_int_t)session->calls[cmd]));
	}
	for (size_t i = 0; i < COUNT(others); i++)
		if (others[i].count)
			json_object_set_new(calls, others[i].name,
					    json_integer((json_int_t)others[i].count));
	return calls;
}

static void print(FILE *out, const struct ygr_session *session, json_t *calls)
{
	const uint64_t *rings = session->deliveries;
	uint64_t total = 0;
	const char *name;
	json_t *count;

	json_object_foreach(calls, name, count) total += (uint64_t)json_integer_value(count);
	fprintf(out, "hooked:    %s%s\n", hooked(session), entered(session));
	fprintf(out, "programs:  %" PRIu64 " (processes and executables with the shim)\n",
		session->greetings);
	fprintf(out, "forwarded: %" PRIu64 " calls", total);
	json_object_foreach(calls, name, count)
	    fprintf(out, "\n           %6" JSON_INTEGER_FORMAT " %s", json_integer_value(count), name);
	fprintf(out, "\nrefused:   %" PRIu64 "\n", session->counters.refused);
	fprintf(out,
		"rings:     %" PRIu64 " copied, %" PRIu64 " shared, %" PRIu64 " streamed; %" PRIu64
		" records, %" PRIu64 " bytes, %" PRIu64 " dropped, %" PRIu64 " invalid\n",
		rings[YGR_DELIVERY_COPIED], rings[YGR_DELIVERY_SHARED], rings[YGR_DELIVERY_STREAM],
		session->counters.ring_records, session->counters.ring_bytes, session->counters.ring_dropped,
		session->counters.ring_invalid);
	fprintf(out, "delivery:  %s%s%s\n", delivery(session), session->not_shared ? ", not Shared: " : "",
		session->not_shared ? session->not_shared : "");
	if (session->confined && ygr_confine_features(session->confined)->time)
		fprintf(out, "clocks:    the guest's, to %" PRIu64 " us",
			session->clock.uncertainty / 1000 + 1);
	else
		fprintf(out, "clocks:    the node's: this kernel has no time namespaces");
}

void ygr_explain(struct ygr_session *session)
{
	_cleanup_free_ char *text = NULL;
	json_t *calls = calls_of(session);
	size_t length = 0;
	FILE *out = open_memstream(&text, &length);

	if (out) {
		print(out, session, calls);
		fclose(out);
	}
	ygr_report_object(
	    &session->report,
	    json_pack("{s:s, s:s, s:s, s:I, s:o, s:{s:I, s:I, s:I}, s:I, s:s*}", "event", "explain",
		      "mechanism", ygr_explain_mechanism(session), "entrance", ygr_explain_entrance(session),
		      "programs", (json_int_t)session->greetings, "calls", calls, "rings", "Copied",
		      (json_int_t)session->deliveries[YGR_DELIVERY_COPIED], "Shared",
		      (json_int_t)session->deliveries[YGR_DELIVERY_SHARED], "Stream",
		      (json_int_t)session->deliveries[YGR_DELIVERY_STREAM], "clockUncertaintyNs",
		      (json_int_t)session->clock.uncertainty, "line", text));
}
