/*
 * What the provider does, one request of a VM at a time. Pause and links follow from the active actions: what should
 * be and is not is asked for, with growing pauses when it fails; only what this node paused is resumed.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "agent/enforce/room.h"
#include "lib/base/log.h"

#define RETRY_MIN_MS 1000
#define RETRY_MAX_MS 60000
#define SETTLE_MS    1000 /* until a new phase has been seen */

static void set_problem(struct guarded *guarded, enum ygr_policy_host_kind kind, const char *message)
{
	for (size_t i = 0; i < guarded->active_count; i++)
		if (guarded->active[i].kind == kind)
			snprintf(guarded->active[i].problem, sizeof(guarded->active[i].problem), "%.250s",
				 message);
}

static void forget_link(struct guarded *guarded, const char *mac)
{
	for (size_t i = 0; i < guarded->link_count; i++)
		if (!strcmp(guarded->links_down[i], mac)) {
			guarded->link_count--;
			memmove(guarded->links_down[i], guarded->links_down[guarded->link_count],
				sizeof(guarded->links_down[i]));
			return;
		}
}

static bool is_down(const struct guarded *guarded, const char *mac)
{
	for (size_t i = 0; i < guarded->link_count; i++)
		if (!strcmp(guarded->links_down[i], mac))
			return true;
	return false;
}

static void succeeded(struct guarded *guarded, const struct ygr_vm_request *request)
{
	guarded->failures = 0;
	switch (request->operation) {
	case YGR_VM_PAUSE:
		guarded->paused_by_us = true;
		guarded->settled_ms = uv_now(guarded->enforce->options.loop) + SETTLE_MS;
		ygr_enforce_soon(guarded->enforce, SETTLE_MS + 1);
		set_problem(guarded, YGR_HOST_PAUSE, "");
		break;
	case YGR_VM_RESUME:
		guarded->paused_by_us = false;
		break;
	case YGR_VM_LINK_DOWN:
		if (guarded->link_count < YGR_VM_NICS_MAX && !is_down(guarded, request->argument))
			snprintf(guarded->links_down[guarded->link_count++], sizeof(guarded->links_down[0]),
				 "%.17s", request->argument);
		set_problem(guarded, YGR_HOST_INTERFACE, "");
		break;
	case YGR_VM_LINK_UP:
		forget_link(guarded, request->argument);
		break;
	default:
		break;
	}
}

static void failed(struct guarded *guarded, const struct ygr_vm_request *request,
		   const struct ygr_error *error)
{
	uint64_t delay = RETRY_MIN_MS << (guarded->failures < 6 ? guarded->failures : 6);

	ygr_log(YGR_LOG_WARNING, "enforce", "%s: %s", guarded->name ?: guarded->uuid, error->message);
	guarded->failures++;
	guarded->retry_ms =
	    uv_now(guarded->enforce->options.loop) + (delay > RETRY_MAX_MS ? RETRY_MAX_MS : delay);
	if (request->operation == YGR_VM_PAUSE)
		set_problem(guarded, YGR_HOST_PAUSE, error->message);
	else if (request->operation == YGR_VM_LINK_DOWN)
		set_problem(guarded, YGR_HOST_INTERFACE, error->message);
	ygr_enforce_soon(guarded->enforce, delay);
}

/* The VM may be gone from the list by now: it is found again by its UUID. */
static void on_done(void *user, const struct ygr_vm_request *request, const struct ygr_error *error)
{
	struct ygr_enforce *enforce = user;
	struct guarded *guarded = enforce->stopped ? NULL : ygr_enforce_find(enforce, request->uuid);

	ygr_enforce_handle_closed(enforce);
	if (!guarded)
		return;
	guarded->busy = false;
	if (error->code)
		failed(guarded, request, error);
	else
		succeeded(guarded, request);
	ygr_enforce_news(enforce);
	ygr_enforce_state_write(enforce);
	ygr_enforce_control(guarded);
}

static void ask(struct guarded *guarded, enum ygr_vm_operation operation, const char *argument)
{
	struct ygr_enforce *enforce = guarded->enforce;
	struct ygr_vm_request request = {.operation = operation};
	struct ygr_error error = YGR_ERROR_INIT;

	memcpy(request.uuid, guarded->uuid, sizeof(request.uuid));
	snprintf(request.argument, sizeof(request.argument), "%s", argument);
	guarded->busy = true;
	enforce->open_handles++;
	int r = enforce->options.control(enforce->options.user, &request, on_done, enforce);
	if (r < 0) {
		enforce->open_handles--;
		guarded->busy = false;
		ygr_error_set(&error, -r, "%s: %s", ygr_vm_operation_word(operation), strerror(-r));
		failed(guarded, &request, &error);
	}
}

int ygr_enforce_control_once(struct guarded *guarded, enum ygr_vm_operation operation, const char *argument)
{
	for (size_t i = 0; i < guarded->once_count; i++)
		if (guarded->once[i].operation == operation)
			return 0; /* it waits already */
	if (guarded->once_count == ONCE_MAX)
		return -E2BIG;
	struct ygr_vm_request *request = &guarded->once[guarded->once_count++];
	*request = (struct ygr_vm_request){.operation = operation};
	snprintf(request->argument, sizeof(request->argument), "%s", argument);
	return 0;
}

static bool wanted(const struct guarded *guarded, enum ygr_policy_host_kind kind,
		   const struct ygr_vm_nic *nic)
{
	for (size_t i = 0; i < guarded->active_count; i++) {
		const struct active *active = &guarded->active[i];
		if (active->kind == kind &&
		    (!nic || !strcmp(active->name, nic->alias) || !strcmp(active->name, nic->device) ||
		     !strcmp(active->name, nic->mac)))
			return true;
	}
	return false;
}

/* A link that is not as it should be is asked for: true when there was one. */
static bool settle_links(struct guarded *guarded)
{
	for (size_t i = 0; i < guarded->vm->nic_count; i++) {
		const struct ygr_vm_nic *nic = &guarded->vm->nics[i];
		bool down = is_down(guarded, nic->mac), should = wanted(guarded, YGR_HOST_INTERFACE, nic);
		if (down == should)
			continue;
		ask(guarded, should ? YGR_VM_LINK_DOWN : YGR_VM_LINK_UP, nic->mac);
		return true;
	}
	return false;
}

void ygr_enforce_control(struct guarded *guarded)
{
	const struct ygr_vm *vm = guarded->vm;
	bool pause = wanted(guarded, YGR_HOST_PAUSE, NULL);

	if (guarded->busy || !vm || uv_now(guarded->enforce->options.loop) < guarded->retry_ms)
		return;
	if (vm->phase == YGR_VM_STOPPED) { /* a new start has its links up, and runs */
		guarded->link_count = guarded->once_count = 0;
		guarded->paused_by_us = false;
		return;
	}
	if (pause && vm->phase == YGR_VM_RUNNING &&
	    uv_now(guarded->enforce->options.loop) >= guarded->settled_ms) {
		ask(guarded, YGR_VM_PAUSE, "");
	} else if (guarded->once_count) {
		struct ygr_vm_request next = guarded->once[0];
		guarded->once_count--;
		memmove(guarded->once, guarded->once + 1, guarded->once_count * sizeof(*guarded->once));
		ask(guarded, next.operation, next.argument);
	} else if (!pause && guarded->paused_by_us && vm->phase == YGR_VM_PAUSED) {
		ask(guarded, YGR_VM_RESUME, "");
	} else {
		(void)settle_links(guarded);
	}
}
