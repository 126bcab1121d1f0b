/* See recorder.h. Entries are looked for one by one: there are few, and events are rare. */
#include "lib/kube/recorder.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define TICK_MS      10000
#define ATTEMPTS_MAX 12

static const struct ygr_kube_resource events = {"events.k8s.io", "v1", "events", "Event", false};

/* One event, and what we have said of it. */
struct entry {
	struct ygr_kube_recorder *recorder;
	struct ygr_kube_call *call;
	json_t *event; /* as it was or will be created */
	char *about;   /* of the object: the beginning of key */
	char *key;
	unsigned count, written; /* written 0: not created yet */
	unsigned attempts;
	int64_t last_ns;              /* wall clock */
	uint64_t seen_ms, counted_ms; /* loop time: last said, count last written */
};

/* What one object may still say. */
struct budget {
	char *about;
	double tokens;
	uint64_t refilled_ms;
};

struct ygr_kube_recorder {
	struct ygr_kube *kube;
	const char *controller, *instance;
	uv_timer_t timer;
	struct entry *entries[YGR_KUBE_EVENTS_MAX];
	struct budget budgets[YGR_KUBE_EVENTS_MAX];
};

static uint64_t now_of(const struct ygr_kube_recorder *recorder)
{
	return uv_now(ygr_kube_loop(recorder->kube));
}

static void count(const struct ygr_kube_recorder *recorder, const char *result)
{
	ygr_kube_count(ygr_kube_metrics(recorder->kube)->recorded, result, NULL);
}

static void entry_free(struct entry *entry)
{
	struct entry **slot = entry->recorder->entries;

	while (*slot != entry)
		slot++;
	*slot = NULL;
	ygr_kube_cancel(entry->call);
	json_decref(entry->event);
	free(entry->about);
	free(entry->key);
	free(entry);
}

/* May a new event be made about ABOUT? */
static bool may_say(struct ygr_kube_recorder *recorder, const char *about)
{
	struct budget *budget = NULL, *oldest = &recorder->budgets[0];
	uint64_t now = now_of(recorder);

	for (size_t i = 0; i < YGR_KUBE_EVENTS_MAX && !budget; i++) {
		struct budget *b = &recorder->budgets[i];
		if (b->about && !strcmp(b->about, about))
			budget = b;
		else if (oldest->about && (!b->about || b->refilled_ms < oldest->refilled_ms))
			oldest = b;
	}
	if (!budget) {
		char *copy = strdup(about);
		if (!copy)
			return false;
		budget = oldest;
		free(budget->about);
		*budget = (struct budget){copy, YGR_KUBE_EVENT_BURST, now};
	}
	budget->tokens += (double)(now - budget->refilled_ms) / 1000 / YGR_KUBE_EVENT_REFILL_S;
	if (budget->tokens > YGR_KUBE_EVENT_BURST)
		budget->tokens = YGR_KUBE_EVENT_BURST;
	budget->refilled_ms = now;
	if (budget->tokens < 1)
		return false;
	budget->tokens--;
	return true;
}

static json_t *series_of(const struct entry *entry)
{
	char last[40];

	ygr_kube_time(entry->last_ns, last);
	return json_pack("{s:i, s:s}", "count", (int)entry->count, "lastObservedTime", last);
}

static void on_created(void *user, const struct ygr_kube_answer *answer)
{
	struct entry *entry = user;
	bool passing = !answer->status || answer->status >= 500 || answer->status == 429;

	entry->call = NULL;
	if (answer->error == 0 || answer->status == 409) { /* 409: an answer was lost, and it is there */
		entry->written = 1;
		count(entry->recorder, "created");
	} else if (!passing || ++entry->attempts >= ATTEMPTS_MAX) {
		count(entry->recorder, "failed");
		entry_free(entry);
	}
}

static void on_counted(void *user, const struct ygr_kube_answer *answer)
{
	struct entry *entry = user;

	entry->call = NULL;
	if (answer->error == 0) {
		count(entry->recorder, "counted");
	} else if (answer->status == 404) { /* it has expired */
		entry_free(entry);
	} else {
		entry->written = 1; /* the next one says the same and more */
		count(entry->recorder, "failed");
	}
}

static int start_call(struct entry *entry, enum ygr_kube_verb verb, const json_t *object,
		      void (*done)(void *user, const struct ygr_kube_answer *answer))
{
	const struct ygr_kube_op op = {.verb = verb,
				       .resource = &events,
				       .namespace_ = ygr_kube_meta(entry->event, "namespace"),
				       .name = ygr_kube_meta(entry->event, "name"),
				       .object = object,
				       .manager = entry->recorder->controller,
				       .done = done,
				       .user = entry};
	int r = ygr_kube_do(entry->recorder->kube, &op, &entry->call);

	if (r < 0)
		entry->call = NULL;
	return r;
}

/* Sends what is due about ENTRY. */
static void advance(struct entry *entry)
{
	uint64_t now = now_of(entry->recorder);

	if (entry->call)
		return;
	if (!entry->written) {
		if (start_call(entry, YGR_KUBE_VERB_CREATE, entry->event, on_created) < 0)
			entry->attempts++;
		return;
	}
	bool over = now >= entry->seen_ms + YGR_KUBE_EVENT_SERIES_S * 1000ull;
	bool due =
	    over || entry->written == 1 || now >= entry->counted_ms + YGR_KUBE_EVENT_COUNT_S * 1000ull;
	if (entry->count > entry->written && due) {
		json_t *patch = json_pack("{s:o}", "series", series_of(entry));
		if (patch && start_call(entry, YGR_KUBE_VERB_MERGE_PATCH, patch, on_counted) == 0) {
			entry->written = entry->count;
			entry->counted_ms = now;
		}
		json_decref(patch);
	} else if (over) {
		entry_free(entry);
	}
}

static void on_timer(uv_timer_t *timer)
{
	struct ygr_kube_recorder *recorder = timer->data;

	for (size_t i = 0; i < YGR_KUBE_EVENTS_MAX; i++)
		if (recorder->entries[i])
			advance(recorder->entries[i]);
}

/* A place for one more: an empty one, or that of the longest quiet. */
static struct entry **make_room(struct ygr_kube_recorder *recorder)
{
	struct entry **oldest = &recorder->entries[0];

	for (size_t i = 0; i < YGR_KUBE_EVENTS_MAX; i++) {
		if (!recorder->entries[i])
			return &recorder->entries[i];
		if (recorder->entries[i]->seen_ms < (*oldest)->seen_ms)
			oldest = &recorder->entries[i];
	}
	if (!(*oldest)->written)
		count(recorder, "dropped");
	entry_free(*oldest);
	return oldest;
}

static json_t *make_event(const struct ygr_kube_recorder *recorder, const struct ygr_kube_event *event,
			  int64_t now_ns)
{
	char name[253], when[40], note[YGR_KUBE_EVENT_NOTE_MAX];
	const char *namespace_ = event->namespace_ ? event->namespace_ : "default";

	snprintf(name, sizeof(name), "%.220s.%llx", event->name, (unsigned long long)now_ns);
	ygr_kube_time(now_ns, when);
	snprintf(note, sizeof(note), "%s", event->note);
	size_t len = strlen(note);
	while (len &&
	       ((unsigned char)event->note[len] & 0xc0) == 0x80) /* not in the middle of a character */
		len--;
	note[len] = '\0';
	return json_pack(
	    "{s:s, s:s, s:{s:s, s:s}, s:s, s:s, s:s, s:s, s:s, s:s, s:{s:s, s:s, s:s*, s:s, s:s*}, s:s}",
	    "apiVersion", "events.k8s.io/v1", "kind", "Event", "metadata", "namespace", namespace_, "name",
	    name, "eventTime", when, "reportingController", recorder->controller, "reportingInstance",
	    recorder->instance, "type", event->warning ? "Warning" : "Normal", "reason", event->reason,
	    "action", event->action, "regarding", "apiVersion", event->api_version, "kind", event->kind,
	    "namespace", event->namespace_, "name", event->name, "uid", event->uid, "note", note);
}

static struct entry *entry_new(struct ygr_kube_recorder *recorder, const struct ygr_kube_event *event,
			       char *about, char *key, int64_t now_ns)
{
	struct entry *entry = calloc(1, sizeof(*entry)), **slot;

	if (!entry)
		return NULL;
	*entry = (struct entry){.recorder = recorder, .event = make_event(recorder, event, now_ns)};
	entry->about = strdup(about);
	entry->key = strdup(key);
	if (!entry->event || !entry->about || !entry->key) {
		json_decref(entry->event);
		free(entry->about);
		free(entry->key);
		free(entry);
		return NULL;
	}
	slot = make_room(recorder);
	*slot = entry;
	return entry;
}

void ygr_kube_record(struct ygr_kube_recorder *recorder, const struct ygr_kube_event *event)
{
	char about[640], key[2048];
	struct entry *entry = NULL;
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	int64_t now_ns = (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
	snprintf(about, sizeof(about), "%s/%s/%s/%s", event->kind,
		 event->namespace_ ? event->namespace_ : "", event->name, event->uid ? event->uid : "");
	snprintf(key, sizeof(key), "%s|%d|%s|%s|%s", about, event->warning, event->reason, event->action,
		 event->note);
	for (size_t i = 0; i < YGR_KUBE_EVENTS_MAX && !entry; i++)
		if (recorder->entries[i] && !strcmp(recorder->entries[i]->key, key))
			entry = recorder->entries[i];
	if (!entry && may_say(recorder, about))
		entry = entry_new(recorder, event, about, key, now_ns);
	if (!entry) {
		count(recorder, "dropped");
		return;
	}
	entry->count++;
	entry->last_ns = now_ns;
	entry->seen_ms = now_of(recorder);
	advance(entry);
}

int ygr_kube_recorder_new(struct ygr_kube *kube, const char *controller, const char *instance,
			  struct ygr_kube_recorder **ret)
{
	struct ygr_kube_recorder *recorder = calloc(1, sizeof(*recorder));

	if (!recorder)
		return -ENOMEM;
	recorder->kube = kube;
	recorder->controller = controller;
	recorder->instance = instance;
	recorder->timer.data = recorder;
	uv_timer_init(ygr_kube_loop(kube), &recorder->timer);
	uv_timer_start(&recorder->timer, on_timer, TICK_MS, TICK_MS);
	*ret = recorder;
	return 0;
}

static void on_closed(uv_handle_t *handle)
{
	free(handle->data);
}

struct ygr_kube_recorder *ygr_kube_recorder_free(struct ygr_kube_recorder *recorder)
{
	if (!recorder)
		return NULL;
	for (size_t i = 0; i < YGR_KUBE_EVENTS_MAX; i++) {
		if (recorder->entries[i])
			entry_free(recorder->entries[i]);
		free(recorder->budgets[i].about);
	}
	uv_close((uv_handle_t *)&recorder->timer, on_closed);
	return NULL;
}
