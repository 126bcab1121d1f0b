/* A VM as the reconciler sees it: when it has a link, and what stands in the way of applications. */
#include <stdlib.h>
#include <string.h>

#include "agent/reconcile/policy.h"

static void on_link(void *user, struct ygr_link *link)
{
	struct ygr_observed *guest = user;

	if (ygr_link_state(link) == YGR_LINK_LOST && guest->vm->phase == YGR_VM_RUNNING &&
	    strcmp(ygr_link_reason(link) ?: "", "GuestSilent") == 0)
		guest->silent = true;
	guest->reconcile->dirty = true;
	ygr_reconcile_soon(guest->reconcile, 0);
}

void ygr_observed_reset(struct ygr_observed *guest)
{
	struct ygr_reconcile *reconcile = guest->reconcile;

	for (size_t i = 0; i < reconcile->work_count; i++)
		if (reconcile->works[i]->guest == guest)
			ygr_work_kill(reconcile->works[i]);
	ygr_runs_end(reconcile->runs, guest, "ChannelLost", "the VM was stopped, reset or moved away");
	guest->link = ygr_link_close(guest->link);
	free(guest->address);
	guest->address = NULL;
}

/*
 * A guest that runs and says nothing closes no connection either: its applications, who only wait for what it sends,
 * would wait for ever. One that is paused goes on where it was.
 */
static void end_silence(struct ygr_observed *guest)
{
	struct ygr_reconcile *reconcile = guest->reconcile;

	guest->silent = false;
	for (size_t i = 0; i < reconcile->work_count; i++)
		if (reconcile->works[i]->guest == guest && reconcile->works[i]->application)
			ygr_work_kill(reconcile->works[i]);
	ygr_runs_end(reconcile->runs, guest, "ChannelLost", "the guest was silent for too long");
}

static bool alive(const struct ygr_vm *vm)
{
	return vm->phase == YGR_VM_RUNNING || vm->phase == YGR_VM_PAUSED || vm->phase == YGR_VM_MIGRATING;
}

void ygr_observed_update(struct ygr_observed *guest)
{
	const struct ygr_vm *vm = guest->vm;
	bool wanted = alive(vm) && vm->channel && !guest->reconcile->stopping;

	/* A reset guest has forgotten everything; its applications would look at rings that are no more. */
	if (guest->link && (!wanted || strcmp(guest->address, vm->channel) != 0 || guest->pid != vm->pid ||
			    guest->resets != vm->resets))
		ygr_observed_reset(guest);
	if (guest->silent)
		end_silence(guest);
	/* Nobody answers in a paused VM, and a user-space vsock device may not survive what it was asked meanwhile. */
	if (!wanted || guest->link || vm->phase == YGR_VM_PAUSED)
		return;
	const struct ygr_link_target target = {vm->uuid, vm->namespace_, vm->name, vm->channel};
	guest->address = strdup(vm->channel);
	guest->pid = vm->pid;
	guest->resets = vm->resets;
	if (!guest->address ||
	    ygr_link_open(guest->reconcile->options.telebpf, &target, on_link, guest, &guest->link) < 0) {
		free(guest->address);
		guest->address = NULL;
		ygr_reconcile_soon(guest->reconcile, YGR_BACKOFF_MIN_MS);
	}
}

bool ygr_observed_ready(const struct ygr_observed *guest)
{
	return guest->vm->phase == YGR_VM_RUNNING && guest->link &&
	       ygr_link_state(guest->link) == YGR_LINK_CONNECTED && !guest->reconcile->stopping;
}

int ygr_observed_ram(const struct ygr_observed *guest, struct ygr_application_ram *ram, uint32_t *ret_count)
{
	const struct ygr_vm *vm = guest->vm;
	int fd = -1;

	*ret_count = 0;
	if (vm->memory != YGR_MEMORY_SHARED || ygr_vm_open_ram(vm, &fd, NULL) < 0)
		return -1;
	for (uint32_t i = 0; i < vm->region_count; i++)
		ram[i] = (struct ygr_application_ram){vm->regions[i].gpa, vm->regions[i].size,
						      vm->regions[i].offset};
	*ret_count = vm->region_count;
	return fd;
}

struct ygr_observed *ygr_observed_free(struct ygr_observed *guest)
{
	if (!guest)
		return NULL;
	ygr_observed_reset(guest);
	ygr_policing_free(guest->policing);
	free(guest);
	return NULL;
}
