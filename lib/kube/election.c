/*
 * See lease.h: elections, as client-go's leaderelection makes them. A round reads the lease (unless we hold it and
 * know it), and writes it when it is free, ours, or has not changed for LEASE_S. The store refuses a write of a
 * lease that somebody else wrote since (resourceVersion), so two can never both succeed.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/kube/lease.h"

#define RELEASE_MS 2000

struct ygr_kube_election {
	struct ygr_kube_election_options options;
	uv_timer_t timer, deadline;
	unsigned open_handles;
	struct ygr_kube_call *call;
	json_t *lease;       /* as last seen */
	uint64_t changed_ms; /* loop time at which it was seen to have changed */
	uint64_t asked_ms;   /* loop time at which the write was sent */
	uint64_t before;     /* revision when the call began */
	bool leads, releasing;
	char *known_leader;
	void (*released)(void *user);
	void *released_user;
};

static const char *holder_of(const json_t *lease)
{
	const char *holder =
	    json_string_value(json_object_get(json_object_get(lease, "spec"), "holderIdentity"));

	return holder ? holder : "";
}

static uint64_t now_of(const struct ygr_kube_election *election)
{
	return uv_now(ygr_kube_loop(election->options.kube));
}

static void set_leads(struct ygr_kube_election *election, bool leads)
{
	const struct ygr_kube_election_options *o = &election->options;

	if (election->leads == leads)
		return;
	election->leads = leads;
	ygr_kube_gauge(ygr_kube_metrics(o->kube)->leader, leads, o->name);
	o->leading(o->user, leads);
}

/* LEASE is what the server has now. */
static void observe(struct ygr_kube_election *election, const json_t *lease)
{
	const struct ygr_kube_election_options *o = &election->options;
	const json_t *old = json_object_get(election->lease, "spec"), *spec = json_object_get(lease, "spec");
	const char *holder = holder_of(lease);

	if (!election->lease || !json_equal((json_t *)old, (json_t *)spec))
		election->changed_ms = now_of(election);
	json_incref((json_t *)lease);
	json_decref(election->lease);
	election->lease = (json_t *)lease;
	if (election->known_leader && !strcmp(election->known_leader, holder))
		return;
	free(election->known_leader);
	election->known_leader = strdup(holder);
	if (o->leader)
		o->leader(o->user, holder);
}

static void forget(struct ygr_kube_election *election)
{
	json_decref(election->lease);
	election->lease = NULL;
}

static void on_timer(uv_timer_t *timer);
static void release(struct ygr_kube_election *election);

static void again_later(struct ygr_kube_election *election)
{
	uint64_t retry = election->options.retry_s * 1000ull;

	if (!election->releasing && !uv_is_closing((uv_handle_t *)&election->timer))
		uv_timer_start(&election->timer, on_timer,
			       retry + arc4random_uniform((uint32_t)(retry / 5 + 1)), 0);
}

static void on_deadline(uv_timer_t *timer)
{
	set_leads(timer->data, false);
}

static void on_written(void *user, const struct ygr_kube_answer *answer)
{
	struct ygr_kube_election *election = user;
	const struct ygr_kube_election_options *o = &election->options;
	uint64_t end = election->asked_ms + o->renew_s * 1000ull, now = now_of(election);

	election->call = NULL;
	ygr_kube_count(ygr_kube_metrics(o->kube)->renewals, o->name, answer->error ? "failed" : "renewed");
	if (election->releasing) {
		if (answer->error == 0)
			observe(election, answer->object);
		release(election);
		return;
	}
	if (answer->error) {
		if (answer->status == 409 || answer->status == 404)
			forget(election); /* somebody else wrote it: read it first */
		again_later(election);
		return;
	}
	ygr_kube_lease_wrote(o->kube, election->before, answer->object);
	observe(election, answer->object);
	again_later(election);
	if (now >= end)
		return; /* it came too late to rely on */
	uv_timer_start(&election->deadline, on_deadline, end - now, 0);
	set_leads(election, true);
}

/* The lease with us as its holder; NULL without memory. */
static json_t *claim(const struct ygr_kube_election *election, const char *holder, unsigned seconds)
{
	const struct ygr_kube_election_options *o = &election->options;
	json_t *lease = election->lease ? json_deep_copy(election->lease)
					: ygr_kube_object_new(&ygr_kube_leases, o->namespace_, o->name);
	json_t *spec = json_object_get(lease, "spec"), *now = ygr_kube_lease_now();
	bool ours = !strcmp(holder_of(lease), o->identity);
	json_int_t transitions = json_integer_value(json_object_get(spec, "leaseTransitions"));

	if (lease && !json_is_object(spec)) {
		json_object_set_new(lease, "spec", json_object());
		spec = json_object_get(lease, "spec");
	}
	if (!ours) {
		json_object_set(spec, "acquireTime", now);
		if (election->lease)
			transitions++;
	}
	json_object_set_new(spec, "leaseTransitions", json_integer(transitions));
	json_object_set_new(spec, "holderIdentity", json_string(holder));
	json_object_set_new(spec, "leaseDurationSeconds", json_integer(seconds));
	json_object_set(spec, "renewTime", now);
	json_object_del(json_object_get(lease, "metadata"), "managedFields");
	json_decref(now);
	return lease;
}

static int call(struct ygr_kube_election *election, enum ygr_kube_verb verb, const json_t *object,
		void (*done)(void *user, const struct ygr_kube_answer *answer))
{
	const struct ygr_kube_election_options *o = &election->options;
	const struct ygr_kube_op op = {.verb = verb,
				       .resource = &ygr_kube_leases,
				       .namespace_ = o->namespace_,
				       .name = o->name,
				       .object = object,
				       .urgent = true,
				       .deadline_ms = election->releasing ? RELEASE_MS : o->renew_s * 500,
				       .done = done,
				       .user = election};

	election->before = ygr_kube_revision(o->kube);
	int r = ygr_kube_do(o->kube, &op, &election->call);
	if (r < 0)
		election->call = NULL;
	return r;
}

static void write_lease(struct ygr_kube_election *election)
{
	json_t *lease = claim(election, election->options.identity, election->options.lease_s);

	election->asked_ms = now_of(election);
	if (!lease || call(election, election->lease ? YGR_KUBE_VERB_UPDATE : YGR_KUBE_VERB_CREATE, lease,
			   on_written) < 0)
		again_later(election);
	json_decref(lease);
}

static void on_read(void *user, const struct ygr_kube_answer *answer)
{
	struct ygr_kube_election *election = user;
	const struct ygr_kube_election_options *o = &election->options;

	election->call = NULL;
	if (answer->status == 404) {
		forget(election);
		write_lease(election);
		return;
	}
	if (answer->error) {
		again_later(election);
		return;
	}
	observe(election, answer->object);
	const char *holder = holder_of(election->lease);
	bool ours = !strcmp(holder, o->identity);
	if (!ours)
		set_leads(election, false);
	if (*holder && !ours && now_of(election) < election->changed_ms + o->lease_s * 1000ull)
		again_later(election);
	else
		write_lease(election);
}

static void on_timer(uv_timer_t *timer)
{
	struct ygr_kube_election *election = timer->data;

	if (election->leads && election->lease)
		write_lease(election);
	else if (call(election, YGR_KUBE_VERB_GET, NULL, on_read) < 0)
		again_later(election);
}

int ygr_kube_election_start(const struct ygr_kube_election_options *options, struct ygr_kube_election **ret)
{
	struct ygr_kube_election *election = calloc(1, sizeof(*election));

	if (!election)
		return -ENOMEM;
	election->options = *options;
	if (!options->lease_s) {
		election->options.lease_s = 15;
		election->options.renew_s = 10;
		election->options.retry_s = 2;
	}
	election->timer.data = election->deadline.data = election;
	election->open_handles = 2;
	uv_timer_init(ygr_kube_loop(options->kube), &election->timer);
	uv_timer_init(ygr_kube_loop(options->kube), &election->deadline);
	uv_timer_start(&election->timer, on_timer, 0, 0);
	ygr_kube_gauge(ygr_kube_metrics(options->kube)->leader, 0, options->name);
	*ret = election;
	return 0;
}

bool ygr_kube_election_leads(const struct ygr_kube_election *election)
{
	return election->leads;
}

static void on_closed(uv_handle_t *handle)
{
	struct ygr_kube_election *election = handle->data;

	if (--election->open_handles)
		return;
	forget(election);
	free(election->known_leader);
	free(election);
}

static void leave(struct ygr_kube_election *election)
{
	void (*released)(void *user) = election->released;

	uv_close((uv_handle_t *)&election->timer, on_closed);
	uv_close((uv_handle_t *)&election->deadline, on_closed);
	if (released)
		released(election->released_user);
}

static void on_released(void *user, const struct ygr_kube_answer *answer)
{
	struct ygr_kube_election *election = user;

	(void)answer; /* if it failed, the lease runs out by itself */
	election->call = NULL;
	leave(election);
}

static void release(struct ygr_kube_election *election)
{
	json_t *lease = election->leads && election->lease ? claim(election, "", 1) : NULL;

	if (!lease || call(election, YGR_KUBE_VERB_UPDATE, lease, on_released) < 0)
		leave(election);
	json_decref(lease);
}

struct ygr_kube_election *ygr_kube_election_stop(struct ygr_kube_election *election,
						 void (*released)(void *user), void *user)
{
	if (!election)
		return NULL;
	election->releasing = true;
	election->released = released;
	election->released_user = user;
	election->options.leader = NULL;
	uv_timer_stop(&election->timer);
	uv_timer_stop(&election->deadline);
	ygr_kube_gauge(ygr_kube_metrics(election->options.kube)->leader, 0, election->options.name);
	if (election->leads && election->call)
		return NULL; /* a renewal is under way: it is released when that has ended */
	election->call = ygr_kube_cancel(election->call);
	release(election);
	return NULL;
}
