/*
 * The loop side: takes the newest snapshot out of a one-place mailbox when the provider's uv_async fires,
 * and reports the difference to the one before. Two VMs that claim the same namespace and name are a
 * conflict that the first one (by UUID) wins, so that which one is watched does not depend on the order of
 * listing.
 */
#include "agent/inventory/inventory.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/log.h"

struct ygr_inventory {
	uv_async_t async;
	const struct ygr_inventory_provider *provider;
	void *provider_state;
	struct ygr_inventory_handlers handlers;
	struct ygr_vm_list known;
	bool stopped;
	unsigned requests;    /* under way on workers */
	char complaint[1024]; /* about two VMs of one name, logged last */

	pthread_mutex_t lock; /* over the mailbox: */
	struct ygr_vm_list mail;
	bool has_mail, has_news;
	bool connected;
	char reason[YGR_ERROR_MESSAGE_MAX];
};

void ygr_inventory_deliver(struct ygr_inventory *inventory, struct ygr_vm_list *list, const char *reason)
{
	pthread_mutex_lock(&inventory->lock);
	inventory->connected = list;
	inventory->has_news = true;
	snprintf(inventory->reason, sizeof(inventory->reason), "%s", reason ? reason : "");
	if (list) {
		ygr_vm_list_deinit(&inventory->mail);
		inventory->mail = *list;
		inventory->has_mail = true;
		*list = (struct ygr_vm_list){0};
	}
	pthread_mutex_unlock(&inventory->lock);
	uv_async_send(&inventory->async);
}

static int by_uuid(const void *a, const void *b)
{
	return strcmp((*(struct ygr_vm *const *)a)->uuid, (*(struct ygr_vm *const *)b)->uuid);
}

static struct ygr_vm **find_uuid(const struct ygr_vm_list *list, const char *uuid)
{
	for (size_t i = 0; i < list->count; i++)
		if (!strcmp(list->items[i]->uuid, uuid))
			return &list->items[i];
	return NULL;
}

static struct ygr_vm *find_name(const struct ygr_vm_list *list, size_t count, const char *ns,
				const char *name)
{
	for (size_t i = 0; i < count; i++)
		if (!strcmp(list->items[i]->name, name) && !strcmp(list->items[i]->namespace_, ns))
			return list->items[i];
	return NULL;
}

/* Every snapshot has the conflict again; it is said when it is another one than before. */
static void complain(struct ygr_inventory *inventory, const struct ygr_vm *first,
		     const struct ygr_vm *second)
{
	char text[sizeof(inventory->complaint)];

	snprintf(text, sizeof(text), "VMs %.200s and %.200s both claim to be %s/%s; the latter is left out",
		 first->provider_name, second->provider_name, first->namespace_, first->name);
	if (!strcmp(text, inventory->complaint))
		return;
	memcpy(inventory->complaint, text, sizeof(text));
	ygr_log(YGR_LOG_WARNING, "inventory", "%s", text);
}

static void drop_conflicts(struct ygr_inventory *inventory, struct ygr_vm_list *list)
{
	size_t kept = 0;

	if (list->count)
		qsort(list->items, list->count, sizeof(*list->items), by_uuid);
	for (size_t i = 0; i < list->count; i++) {
		struct ygr_vm *vm = list->items[i], *other = find_name(list, kept, vm->namespace_, vm->name);
		if (!other) {
			list->items[kept++] = vm;
			continue;
		}
		complain(inventory, other, vm);
		ygr_vm_free(vm);
	}
	list->count = kept;
}

/* A VM that kept its UUID and got another name is a new VM to everybody else. */
static bool renamed(const struct ygr_vm *a, const struct ygr_vm *b)
{
	return strcmp(a->name, b->name) != 0 || strcmp(a->namespace_, b->namespace_) != 0;
}

static void compare(struct ygr_inventory *inventory, struct ygr_vm_list *fresh)
{
	struct ygr_vm_list old = inventory->known;

	drop_conflicts(inventory, fresh);
	for (size_t i = 0; i < old.count; i++) {
		struct ygr_vm **now = find_uuid(fresh, old.items[i]->uuid);
		if (!now || renamed(*now, old.items[i]))
			inventory->handlers.gone(inventory->handlers.user, old.items[i]);
	}
	inventory->known = *fresh;
	for (size_t i = 0; i < fresh->count; i++) {
		struct ygr_vm **before = find_uuid(&old, inventory->known.items[i]->uuid);
		if (!before || !ygr_vm_equal(*before, inventory->known.items[i])) {
			inventory->handlers.changed(inventory->handlers.user, inventory->known.items[i]);
			continue;
		}
		struct ygr_vm *same = *before; /* others hold a pointer to it */
		*before = inventory->known.items[i];
		inventory->known.items[i] = same;
	}
	ygr_vm_list_deinit(&old);
}

static void on_async(uv_async_t *async)
{
	struct ygr_inventory *inventory = async->data;
	struct ygr_vm_list fresh = {0};
	char reason[YGR_ERROR_MESSAGE_MAX];

	if (inventory->stopped)
		return;
	pthread_mutex_lock(&inventory->lock);
	bool has_mail = inventory->has_mail, has_news = inventory->has_news,
	     connected = inventory->connected;
	fresh = inventory->mail;
	inventory->mail = (struct ygr_vm_list){0};
	inventory->has_mail = inventory->has_news = false;
	memcpy(reason, inventory->reason, sizeof(reason));
	pthread_mutex_unlock(&inventory->lock);
	if (has_mail)
		compare(inventory, &fresh);
	if (has_news)
		inventory->handlers.connected(inventory->handlers.user, connected, reason);
}

static void on_closed(uv_handle_t *handle)
{
	struct ygr_inventory *inventory = handle->data;

	ygr_vm_list_deinit(&inventory->known);
	ygr_vm_list_deinit(&inventory->mail);
	pthread_mutex_destroy(&inventory->lock);
	free(inventory);
}

int ygr_inventory_start(uv_loop_t *loop, const struct ygr_inventory_provider *provider, const void *options,
			const struct ygr_inventory_handlers *handlers, struct ygr_inventory **ret,
			struct ygr_error *error)
{
	struct ygr_inventory *inventory = calloc(1, sizeof(*inventory));

	if (!inventory)
		return ygr_error_set(error, ENOMEM, "out of memory");
	inventory->provider = provider;
	inventory->handlers = *handlers;
	pthread_mutex_init(&inventory->lock, NULL);
	int r = uv_async_init(loop, &inventory->async, on_async);
	if (r < 0) {
		pthread_mutex_destroy(&inventory->lock);
		free(inventory);
		return ygr_error_set(error, -r, "inventory: %s", uv_strerror(r));
	}
	inventory->async.data = inventory;
	r = provider->start(inventory, options, &inventory->provider_state, error);
	if (r < 0) {
		inventory->stopped = true;
		uv_close((uv_handle_t *)&inventory->async, on_closed);
		return r;
	}
	*ret = inventory;
	return 0;
}

/* Requests under way use the provider; the last of them ends what was stopped meanwhile. */
static void end(struct ygr_inventory *inventory)
{
	inventory->provider->stop(inventory->provider_state);
	uv_close((uv_handle_t *)&inventory->async, on_closed);
}

struct ygr_inventory *ygr_inventory_stop(struct ygr_inventory *inventory)
{
	if (!inventory)
		return NULL;
	inventory->stopped = true;
	if (!inventory->requests)
		end(inventory);
	return NULL;
}

struct control {
	uv_work_t work;
	struct ygr_inventory *inventory;
	struct ygr_vm_request request;
	struct ygr_error error;
	void (*done)(void *user, const struct ygr_vm_request *request, const struct ygr_error *error);
	void *user;
};

static void control_work(uv_work_t *work)
{
	struct control *control = work->data;
	struct ygr_inventory *inventory = control->inventory;

	inventory->provider->control(inventory->provider_state, &control->request, &control->error);
}

static void control_done(uv_work_t *work, int status)
{
	struct control *control = work->data;
	struct ygr_inventory *inventory = control->inventory;

	if (status < 0)
		ygr_error_set(&control->error, -status, "%s: %s",
			      ygr_vm_operation_word(control->request.operation), uv_strerror(status));
	control->done(control->user, &control->request, &control->error);
	if (--inventory->requests == 0 && inventory->stopped)
		end(inventory);
	free(control);
}

int ygr_inventory_control(struct ygr_inventory *inventory, const struct ygr_vm_request *request,
			  void (*done)(void *user, const struct ygr_vm_request *request,
				       const struct ygr_error *error),
			  void *user)
{
	if (!inventory->provider->control || inventory->stopped)
		return -EOPNOTSUPP;
	struct control *control = calloc(1, sizeof(*control));
	if (!control)
		return -ENOMEM;
	*control = (struct control){.inventory = inventory, .request = *request, .done = done, .user = user};
	control->work.data = control;
	if (uv_queue_work(inventory->async.loop, &control->work, control_work, control_done) < 0) {
		free(control);
		return -ENOMEM;
	}
	inventory->requests++;
	return 0;
}

void ygr_inventory_look(struct ygr_inventory *inventory)
{
	if (inventory->provider->look && !inventory->stopped)
		inventory->provider->look(inventory->provider_state);
}

const struct ygr_vm *ygr_inventory_find(const struct ygr_inventory *inventory, const char *namespace_,
					const char *name)
{
	return find_name(&inventory->known, inventory->known.count, namespace_, name);
}
