/*
 * One VMGuest. Labels and spec are applied to the object, status to its subresource, each only when the server's
 * differs. Where the server answers with something else than what it was sent (it prunes what its schema does not
 * know), that answer counts as the same until somebody else changes it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/cluster/cluster.h"
#include "agent/cluster/guests.h"
#include "lib/api/guest.h"
#include "lib/base/cleanup.h"
#include "lib/base/log.h"

#define REWRITES_WINDOW_MS 60000 /* somebody who changes our fields again within this is met with patience */

void ygr_guest_seen_clear(struct ygr_guest_seen *seen)
{
	json_decref(seen->labels);
	json_decref(seen->spec);
	json_decref(seen->status);
	*seen = (struct ygr_guest_seen){.version = 0};
}

void ygr_guest_seen_read(struct ygr_guest_seen *seen, const json_t *object)
{
	const char *version = ygr_kube_meta(object, "resourceVersion"), *uid = ygr_kube_meta(object, "uid");

	*seen = (struct ygr_guest_seen){
	    .labels = json_incref(json_object_get(json_object_get(object, "metadata"), "labels")),
	    .spec = json_incref(json_object_get(object, "spec")),
	    .status = json_incref(json_object_get(object, "status")),
	    .version = version ? strtoull(version, NULL, 10) : 0,
	};
	if (uid && strlen(uid) < sizeof(seen->uid))
		strcpy(seen->uid, uid);
}

static json_t *find_condition(const json_t *status, const json_t *like)
{
	const char *type = json_string_value(json_object_get(like, "type"));
	json_t *condition;
	size_t i;

	json_array_foreach(json_object_get(status, "conditions"), i, condition)
	{
		const char *other = json_string_value(json_object_get(condition, "type"));
		if (type && other && !strcmp(type, other))
			return condition;
	}
	return NULL;
}

static bool same_member(const json_t *a, const json_t *b, const char *key)
{
	const json_t *x = json_object_get(a, key), *y = json_object_get(b, key);

	return x == y || (x && y && json_equal((json_t *)x, (json_t *)y));
}

/*
 * The status of DOCUMENT, with the times of those conditions that the server has with the same status: a restarted
 * agent does not know since when something is so. NULL without memory.
 */
static json_t *status_of(const struct ygr_cluster_guest *guest)
{
	json_t *status = json_deep_copy(json_object_get(guest->document, "status")), *condition;
	size_t i;

	json_array_foreach(json_object_get(status, "conditions"), i, condition)
	{
		const json_t *known = find_condition(guest->seen.status, condition);
		json_t *since = json_object_get(known, "lastTransitionTime");
		if (since && same_member(known, condition, "status"))
			json_object_set(condition, "lastTransitionTime", since);
	}
	return status;
}

void ygr_cluster_guest_set(struct ygr_cluster_guest *guest, const json_t *document)
{
	json_t *new = json_incref((json_t *)document);

	json_decref(guest->document);
	guest->document = new;
	json_decref(guest->status);
	guest->status = NULL; /* made when it is compared */
}

static void failed(struct ygr_cluster_guest *guest, const struct ygr_kube_answer *answer)
{
	unsigned shift = guest->failures > 5 ? 5 : guest->failures;
	uint64_t delay = (uint64_t)YGR_GUEST_RETRY_MIN_MS << shift;

	if (guest->failures++ == 0)
		ygr_log(YGR_LOG_WARNING, "cluster", "VMGuest %s/%s: %s", guest->namespace_, guest->name,
			answer->message);
	if (delay > YGR_GUEST_RETRY_MAX_MS)
		delay = YGR_GUEST_RETRY_MAX_MS;
	guest->not_before_ms = uv_now(ygr_kube_loop(guest->guests->kube)) + delay;
}

/* The server has this now. */
static void see(struct ygr_cluster_guest *guest, const json_t *object)
{
	struct ygr_guest_seen seen;

	ygr_guest_seen_read(&seen, object);
	if (seen.version < guest->seen.version) {
		ygr_guest_seen_clear(&seen);
		return;
	}
	ygr_guest_seen_clear(&guest->seen);
	guest->seen = seen;
}

static bool ended(struct ygr_cluster_guest *guest, const struct ygr_kube_answer *answer)
{
	guest->call = NULL;
	ygr_guests_soon(guest->guests, 0);
	if (answer->error) {
		if (answer->status == 404)
			ygr_guest_seen_clear(&guest->seen); /* somebody deleted it: it is made anew */
		failed(guest, answer);
		return false;
	}
	guest->failures = 0;
	see(guest, answer->object);
	return true;
}

static void on_document_written(void *user, const struct ygr_kube_answer *answer)
{
	struct ygr_cluster_guest *guest = user;

	if (ended(guest, answer))
		guest->accepted_document_version = guest->seen.version;
}

static void on_status_written(void *user, const struct ygr_kube_answer *answer)
{
	struct ygr_cluster_guest *guest = user;

	if (ended(guest, answer))
		guest->accepted_status_version = guest->seen.version;
}

static void on_labels_removed(void *user, const struct ygr_kube_answer *answer)
{
	ended(user, answer);
}

static void on_deleted(void *user, const struct ygr_kube_answer *answer)
{
	struct ygr_cluster_guest *guest = user;

	guest->call = NULL;
	ygr_guests_soon(guest->guests, 0);
	if (answer->error && answer->status != 404 && answer->status != 409)
		failed(guest, answer);
	else
		ygr_guest_seen_clear(&guest->seen); /* 409: it is another one's by now */
}

static void begin(struct ygr_cluster_guest *guest, enum ygr_kube_verb verb, const char *subresource,
		  const json_t *object, void (*done)(void *user, const struct ygr_kube_answer *answer))
{
	const struct ygr_kube_op op = {.verb = verb,
				       .resource = &ygr_cluster_vmguests,
				       .namespace_ = guest->namespace_,
				       .name = guest->name,
				       .subresource = subresource,
				       .object = object,
				       .manager = YGR_CLUSTER_MANAGER,
				       .force = true,
				       .done = done,
				       .user = guest};
	int r = object ? ygr_kube_do(guest->guests->kube, &op, &guest->call) : -ENOMEM;

	if (r < 0) {
		const struct ygr_kube_answer answer = {.error = r, .message = strerror(-r)};
		guest->call = NULL;
		failed(guest, &answer);
	}
}

/* The object with PART (a member of the document, or the status) and nothing else. */
static json_t *object_with(const struct ygr_cluster_guest *guest, const char *member, json_t *part)
{
	json_t *object = ygr_kube_object_new(&ygr_cluster_vmguests, guest->namespace_, guest->name);

	if (object)
		json_object_set(object, member, part);
	return object;
}

/* Labels of the server's that are none of ours, as a patch that takes them away; NULL: there are none. */
static json_t *foreign_labels(const struct ygr_cluster_guest *guest, const json_t *labels)
{
	json_t *gone = NULL, *value;
	const char *key;

	json_object_foreach(guest->seen.labels, key, value)
	{
		if (json_object_get(labels, key))
			continue;
		gone = gone ? gone : json_object();
		json_object_set_new(gone, key, json_null());
	}
	return gone ? json_pack("{s:{s:o}}", "metadata", "labels", gone) : NULL;
}

static bool equal(const json_t *a, const json_t *b)
{
	bool none_a = !a || (json_is_object(a) && !json_object_size(a));
	bool none_b = !b || (json_is_object(b) && !json_object_size(b));

	return none_a || none_b ? none_a == none_b : json_equal((json_t *)a, (json_t *)b);
}

/* Somebody else changed what is ours: the more often, the longer we wait before it is put back. */
static bool patient(struct ygr_cluster_guest *guest, uint64_t now)
{
	if (now > guest->rewritten_ms + REWRITES_WINDOW_MS)
		guest->rewrites = 0;
	unsigned shift = guest->rewrites > 5 ? 5 : guest->rewrites;
	uint64_t wait = guest->rewrites ? (uint64_t)YGR_GUEST_RETRY_MIN_MS << (shift - 1) : 0;
	if (now < guest->rewritten_ms + wait) {
		guest->not_before_ms = guest->rewritten_ms + wait;
		return true;
	}
	guest->rewrites++;
	guest->rewritten_ms = now;
	return false;
}

/* What is applied to the object itself; NULL without memory. */
static json_t *applied(const struct ygr_cluster_guest *guest)
{
	json_t *labels = json_object_get(json_object_get(guest->document, "metadata"), "labels");
	json_t *object = object_with(guest, "spec", json_object_get(guest->document, "spec"));

	if (labels)
		json_object_set(json_object_get(object, "metadata"), "labels", labels);
	return object;
}

/* Brings labels and spec in step with OBJECT: true when a call is under way, or has to wait. */
static bool write_object(struct ygr_cluster_guest *guest, json_t *object, uint64_t now)
{
	const json_t *labels = json_object_get(json_object_get(object, "metadata"), "labels");
	bool same =
	    equal(guest->seen.labels, labels) && equal(guest->seen.spec, json_object_get(object, "spec"));
	bool accepted = guest->accepted_document && json_equal(guest->accepted_document, object);

	if (guest->seen.version &&
	    (same || (accepted && guest->seen.version == guest->accepted_document_version)))
		return false;
	if (guest->seen.version && accepted && patient(guest, now))
		return true;
	json_t *foreign = foreign_labels(guest, labels);
	if (foreign) {
		begin(guest, YGR_KUBE_VERB_MERGE_PATCH, NULL, foreign, on_labels_removed);
		json_decref(foreign);
		return true;
	}
	json_incref(object);
	json_decref(guest->accepted_document);
	guest->accepted_document = object;
	guest->accepted_document_version = 0;
	begin(guest, YGR_KUBE_VERB_APPLY, NULL, object, on_document_written);
	return true;
}

static bool write_document(struct ygr_cluster_guest *guest, uint64_t now)
{
	json_t *object = applied(guest);
	bool busy = !object || write_object(guest, object, now);

	json_decref(object);
	return busy;
}

/* An Event for each condition that is not what the server has. */
static void tell_conditions(const struct ygr_cluster_guest *guest)
{
	const json_t *condition;
	size_t i;

	json_array_foreach(json_object_get(guest->status, "conditions"), i, condition)
	{
		const json_t *known = find_condition(guest->seen.status, condition);
		const char *status = json_string_value(json_object_get(condition, "status"));
		if (known && same_member(known, condition, "status") &&
		    same_member(known, condition, "reason"))
			continue;
		const struct ygr_kube_event event = {
		    .api_version = YGR_API_VERSION,
		    .kind = YGR_GUEST_KIND,
		    .namespace_ = guest->namespace_,
		    .name = guest->name,
		    .uid = guest->seen.uid[0] ? guest->seen.uid : NULL,
		    .warning = status && strcmp(status, "True") != 0,
		    .reason = json_string_value(json_object_get(condition, "reason")),
		    .action = json_string_value(json_object_get(condition, "type")),
		    .note = json_string_value(json_object_get(condition, "message")),
		};
		if (event.reason && event.action && event.note)
			ygr_kube_record(guest->guests->recorder, &event);
	}
}

static void write_status(struct ygr_cluster_guest *guest, uint64_t now)
{
	if (!guest->status)
		guest->status = status_of(guest);
	if (!guest->status)
		return; /* out of memory: with the next document */
	bool accepted = guest->accepted_status && equal(guest->accepted_status, guest->status);
	if (equal(guest->seen.status, guest->status) ||
	    (accepted && guest->seen.version == guest->accepted_status_version))
		return;
	if (accepted && patient(guest, now))
		return;
	tell_conditions(guest);
	json_t *object = object_with(guest, "status", guest->status);
	json_incref(guest->status);
	json_decref(guest->accepted_status);
	guest->accepted_status = guest->status;
	guest->accepted_status_version = 0;
	begin(guest, YGR_KUBE_VERB_APPLY, "status", object, on_status_written);
	json_decref(object);
}

static void remove_object(struct ygr_cluster_guest *guest)
{
	const char *node = json_string_value(json_object_get(guest->seen.spec, "nodeName"));

	if (!guest->seen.version || !node || strcmp(node, guest->guests->node) != 0) {
		guest->dead = !guest->seen.version;
		return;
	}
	json_t *options = json_pack("{s:s, s:s, s:{s:s}}", "apiVersion", "v1", "kind", "DeleteOptions",
				    "preconditions", "uid", guest->seen.uid);
	begin(guest, YGR_KUBE_VERB_DELETE, NULL, options, on_deleted);
	json_decref(options);
}

void ygr_cluster_guest_advance(struct ygr_cluster_guest *guest, uint64_t *next_ms)
{
	uint64_t now = uv_now(ygr_kube_loop(guest->guests->kube));

	if (guest->call)
		return;
	if (now >= guest->not_before_ms) {
		if (!guest->document) {
			if (guest->guests->complete)
				remove_object(guest);
		} else if (!write_document(guest, now)) {
			write_status(guest, now);
		}
	}
	if (!guest->call && guest->not_before_ms > now && guest->not_before_ms < *next_ms)
		*next_ms = guest->not_before_ms;
}

struct ygr_cluster_guest *ygr_cluster_guest_free(struct ygr_cluster_guest *guest)
{
	if (!guest)
		return NULL;
	ygr_kube_cancel(guest->call);
	ygr_guest_seen_clear(&guest->seen);
	json_decref(guest->document);
	json_decref(guest->status);
	json_decref(guest->accepted_document);
	json_decref(guest->accepted_status);
	free(guest->namespace_);
	free(guest->name);
	free(guest);
	return NULL;
}
