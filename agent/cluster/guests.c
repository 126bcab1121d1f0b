/* The set of VMGuests, and the informer that shows what the server has of them. */
#include "agent/cluster/guests.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/api/guest.h"
#include "lib/base/log.h"

const struct ygr_kube_resource ygr_cluster_vmguests = {"yagura.dev", "v1alpha1", "vmguests", YGR_GUEST_KIND,
						       false};

static struct ygr_cluster_guest *find(const struct ygr_guests *guests, const char *ns, const char *name)
{
	for (size_t i = 0; i < guests->count; i++)
		if (!strcmp(guests->items[i]->name, name) && !strcmp(guests->items[i]->namespace_, ns))
			return guests->items[i];
	return NULL;
}

static struct ygr_cluster_guest *add(struct ygr_guests *guests, const char *ns, const char *name)
{
	struct ygr_cluster_guest *guest = find(guests, ns, name);

	if (guest || guests->count == YGR_GUESTS_MAX)
		return guest;
	struct ygr_cluster_guest **grown = reallocarray(guests->items, guests->count + 1, sizeof(*grown));
	if (!grown)
		return NULL;
	guests->items = grown;
	guest = calloc(1, sizeof(*guest));
	if (!guest)
		return NULL;
	guest->guests = guests;
	guest->namespace_ = strdup(ns);
	guest->name = strdup(name);
	if (!guest->namespace_ || !guest->name)
		return ygr_cluster_guest_free(guest);
	guests->items[guests->count++] = guest;
	return guest;
}

static void sweep(uv_timer_t *timer)
{
	struct ygr_guests *guests = timer->data;
	uint64_t now = uv_now(ygr_kube_loop(guests->kube)), next = UINT64_MAX;

	/* Before the copy is complete nobody knows what differs. */
	if (!ygr_kube_informer_synced(guests->informer))
		return;
	for (size_t i = guests->count; i-- > 0;) {
		ygr_cluster_guest_advance(guests->items[i], &next);
		if (!guests->items[i]->dead)
			continue;
		ygr_cluster_guest_free(guests->items[i]);
		guests->items[i] = guests->items[--guests->count];
	}
	if (next != UINT64_MAX)
		ygr_guests_soon(guests, next > now ? next - now : 0);
}

void ygr_guests_soon(struct ygr_guests *guests, uint64_t delay_ms)
{
	if (guests->closing)
		return;
	if (uv_is_active((uv_handle_t *)&guests->timer) && uv_timer_get_due_in(&guests->timer) <= delay_ms)
		return;
	uv_timer_start(&guests->timer, sweep, delay_ms, 0);
}

/* The informer's values are what the server has. */
static int decode(void *user, const json_t *object, void **ret_value, struct ygr_error *error)
{
	struct ygr_guest_seen *seen = calloc(1, sizeof(*seen));

	(void)user;
	if (!seen)
		return ygr_error_set(error, ENOMEM, "out of memory");
	ygr_guest_seen_read(seen, object);
	*ret_value = seen;
	return 0;
}

static void free_value(void *user, void *value)
{
	(void)user;
	ygr_guest_seen_clear(value);
	free(value);
}

static void on_changed(void *user, const char *ns, const char *name, void *old, void *value)
{
	struct ygr_guests *guests = user;
	struct ygr_guest_seen *seen = value;
	struct ygr_cluster_guest *guest = add(guests, ns, name);

	(void)old;
	if (!guest) {
		ygr_log(YGR_LOG_ERROR, "cluster", "VMGuest %s/%s is left out: there are too many", ns, name);
		return;
	}
	if (seen->version >= guest->seen.version) { /* an answer to a write may have come before its event */
		ygr_guest_seen_clear(&guest->seen);
		guest->seen = *seen;
		json_incref(guest->seen.labels);
		json_incref(guest->seen.spec);
		json_incref(guest->seen.status);
	}
	ygr_guests_soon(guests, 0);
}

static void on_gone(void *user, const char *ns, const char *name, void *value)
{
	struct ygr_guests *guests = user;
	struct ygr_cluster_guest *guest = find(guests, ns, name);

	(void)value;
	if (guest)
		ygr_guest_seen_clear(&guest->seen);
	ygr_guests_soon(guests, 0);
}

static void on_synced(void *user)
{
	ygr_guests_soon(user, 0);
}

void ygr_guests_publish(struct ygr_guests *guests, const json_t *vms, bool complete)
{
	const json_t *vm;
	size_t i;

	for (i = 0; i < guests->count; i++)
		guests->items[i]->present = false;
	json_array_foreach(vms, i, vm)
	{
		const char *ns = ygr_kube_meta(vm, "namespace"), *name = ygr_kube_meta(vm, "name");
		struct ygr_cluster_guest *guest = ns && name ? add(guests, ns, name) : NULL;
		if (!guest)
			continue;
		guest->present = true;
		ygr_cluster_guest_set(guest, vm);
	}
	for (i = 0; i < guests->count; i++)
		if (!guests->items[i]->present)
			ygr_cluster_guest_set(guests->items[i], NULL);
	guests->complete |= complete;
	ygr_guests_soon(guests, 0);
}

int ygr_guests_new(struct ygr_kube *kube, struct ygr_kube_recorder *recorder, const char *node,
		   struct ygr_guests **ret)
{
	struct ygr_guests *guests = calloc(1, sizeof(*guests));

	if (!guests)
		return -ENOMEM;
	guests->kube = kube;
	guests->recorder = recorder;
	guests->node = node;
	if (asprintf(&guests->selector, "spec.nodeName=%s", node) < 0) {
		free(guests);
		return -ENOMEM;
	}
	const struct ygr_kube_informer_options options = {.kube = kube,
							  .resource = ygr_cluster_vmguests,
							  .field_selector = guests->selector,
							  .objects_max = YGR_GUESTS_MAX,
							  .decode = decode,
							  .free = free_value,
							  .changed = on_changed,
							  .gone = on_gone,
							  .synced = on_synced,
							  .user = guests};
	int r = ygr_kube_informer_start(&options, &guests->informer);
	if (r < 0) {
		free(guests->selector);
		free(guests);
		return r;
	}
	guests->timer.data = guests;
	uv_timer_init(ygr_kube_loop(kube), &guests->timer);
	*ret = guests;
	return 0;
}

static void on_closed(uv_handle_t *handle)
{
	struct ygr_guests *guests = handle->data;

	free(guests->selector); /* the informer has looked at it until now */
	free(guests);
}

struct ygr_guests *ygr_guests_free(struct ygr_guests *guests)
{
	if (!guests)
		return NULL;
	guests->closing = true;
	ygr_kube_informer_stop(guests->informer);
	for (size_t i = 0; i < guests->count; i++)
		ygr_cluster_guest_free(guests->items[i]);
	free(guests->items);
	uv_close((uv_handle_t *)&guests->timer, on_closed);
	return NULL;
}
