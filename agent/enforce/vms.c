/* The room itself: VMs, their slots, time, beginning and end. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "agent/enforce/room.h"
#include "lib/base/log.h"

int64_t ygr_enforce_now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

struct guarded *ygr_enforce_find(const struct ygr_enforce *enforce, const char *uuid)
{
	for (size_t i = 0; i < enforce->vm_count; i++)
		if (!strcmp(enforce->vms[i]->uuid, uuid))
			return enforce->vms[i];
	return NULL;
}

static bool slot_used(const struct ygr_enforce *enforce, uint32_t slot)
{
	for (size_t i = 0; i < enforce->vm_count; i++)
		if (enforce->vms[i]->slot == slot)
			return true;
	return false;
}

struct guarded *ygr_enforce_get(struct ygr_enforce *enforce, const char *uuid)
{
	struct guarded *guarded = ygr_enforce_find(enforce, uuid), **grown;
	uint32_t slot = 0;

	if (guarded)
		return guarded;
	while (slot < YGR_ENFORCE_VMS && slot_used(enforce, slot))
		slot++;
	guarded = slot < YGR_ENFORCE_VMS ? calloc(1, sizeof(*guarded)) : NULL;
	grown = guarded ? reallocarray(enforce->vms, enforce->vm_count + 1, sizeof(*grown)) : NULL;
	if (!grown) {
		free(guarded);
		return NULL;
	}
	enforce->vms = grown;
	guarded->enforce = enforce;
	guarded->slot = slot;
	snprintf(guarded->uuid, sizeof(guarded->uuid), "%s", uuid);
	return grown[enforce->vm_count++] = guarded;
}

static void guarded_free(struct guarded *guarded)
{
	ygr_enforce_detach(guarded);
	for (size_t i = 0; i < guarded->active_count; i++)
		ygr_enforce_active_deinit(&guarded->active[i]);
	for (size_t i = 0; i < YGR_VM_DISKS_MAX; i++)
		free(guarded->disks[i]);
	for (size_t i = 0; i < YGR_ENFORCE_BLOCKS_MAX; i++)
		free(guarded->blocks[i]);
	free(guarded->active);
	free(guarded->images);
	free(guarded->namespace_);
	free(guarded->name);
	free(guarded);
}

void ygr_enforce_drop(struct guarded *guarded)
{
	struct ygr_enforce *enforce = guarded->enforce;

	ygr_enforce_effect_forget(guarded);
	for (size_t i = 0; i < enforce->vm_count; i++)
		if (enforce->vms[i] == guarded)
			enforce->vms[i] = enforce->vms[--enforce->vm_count];
	guarded_free(guarded);
}

void ygr_enforce_vm_changed(struct ygr_enforce *enforce, const struct ygr_vm *vm)
{
	struct guarded *guarded = ygr_enforce_get(enforce, vm->uuid);

	if (!guarded) {
		ygr_log(YGR_LOG_ERROR, "enforce", "%s cannot be guarded: out of memory or slots", vm->name);
		return;
	}
	free(guarded->namespace_);
	free(guarded->name);
	guarded->namespace_ = strdup(vm->namespace_);
	guarded->name = strdup(vm->name);
	if (guarded->vm && guarded->pid && vm->pid && guarded->pid != vm->pid) { /* started anew meanwhile */
		guarded->link_count = guarded->once_count = 0;
		guarded->paused_by_us = false;
	}
	if (vm->pid)
		guarded->pid = vm->pid;
	guarded->vm = vm;
	ygr_enforce_effect_prepare(guarded);
	ygr_enforce_control(guarded);
}

void ygr_enforce_vm_gone(struct ygr_enforce *enforce, const struct ygr_vm *vm)
{
	struct guarded *guarded = ygr_enforce_find(enforce, vm->uuid);

	if (!guarded)
		return;
	guarded->vm = NULL;
	guarded->pid = 0;
	guarded->link_count = guarded->once_count = 0;
	guarded->paused_by_us = false;
	if (!guarded->active_count)
		ygr_enforce_drop(guarded);
	else
		ygr_enforce_effect_prepare(guarded); /* its devices are no more; its images stay blocked */
}

size_t ygr_enforce_list(const struct ygr_enforce *enforce, const char *uuid, struct ygr_enforce_active *ret)
{
	const struct guarded *guarded = ygr_enforce_find(enforce, uuid);

	for (size_t i = 0; guarded && i < guarded->active_count; i++) {
		const struct active *active = &guarded->active[i];
		ret[i] = (struct ygr_enforce_active){
		    .policy = active->policy,
		    .rule = active->rule,
		    .type = ygr_enforce_type_word(active->kind),
		    .action = active->text,
		    .target = active->name,
		    .since = active->since_ms / 1000,
		    .expires = (active->expires_ms + 999) / 1000,
		    .problem = active->problem[0] ? active->problem : NULL,
		};
	}
	return guarded ? guarded->active_count : 0;
}

void ygr_enforce_counted(const struct ygr_enforce *enforce, const char *uuid, uint64_t *ret_writes,
			 uint64_t *ret_packets)
{
	const struct guarded *guarded = ygr_enforce_find(enforce, uuid);
	struct ygr_enforce_count count = {0};

	if (guarded)
		(void)ygr_enforce_kernel_count(enforce->kernel, guarded->slot, &count);
	*ret_writes = count.writes;
	*ret_packets = count.packets;
}

static void on_timer(uv_timer_t *timer)
{
	struct ygr_enforce *enforce = timer->data;
	uint64_t delay = 60000; /* realtime may jump */

	for (size_t i = 0; i < enforce->vm_count; i++)
		ygr_enforce_expire(enforce->vms[i], ygr_enforce_now_ms(), &delay);
	ygr_enforce_soon(enforce, delay + 1);
}

bool ygr_enforce_disks_blocked(const struct ygr_enforce *enforce)
{
	for (size_t i = 0; enforce && i < enforce->vm_count; i++)
		for (size_t j = 0; j < enforce->vms[i]->active_count; j++)
			if (enforce->vms[i]->active[j].kind == YGR_HOST_DISK)
				return true;
	return false;
}

void ygr_enforce_soon(struct ygr_enforce *enforce, uint64_t delay_ms)
{
	if (enforce->stopped || (uv_is_active((uv_handle_t *)&enforce->timer) &&
				 uv_timer_get_due_in(&enforce->timer) <= delay_ms))
		return;
	uv_timer_start(&enforce->timer, on_timer, delay_ms, 0);
}

static void on_news(uv_timer_t *timer)
{
	struct ygr_enforce *enforce = timer->data;

	enforce->options.changed(enforce->options.user);
}

void ygr_enforce_news(struct ygr_enforce *enforce)
{
	if (!enforce->stopped && !uv_is_active((uv_handle_t *)&enforce->news))
		uv_timer_start(&enforce->news, on_news, 0, 0);
}

void ygr_enforce_handle_closed(struct ygr_enforce *enforce)
{
	if (--enforce->open_handles)
		return;
	while (enforce->vm_count)
		guarded_free(enforce->vms[--enforce->vm_count]);
	free(enforce->vms);
	free(enforce->pin_directory);
	free(enforce->state_directory);
	free(enforce->snapshot_directory);
	free(enforce);
}

static void on_closed(uv_handle_t *handle)
{
	ygr_enforce_handle_closed(handle->data);
}

struct ygr_enforce *ygr_enforce_free(struct ygr_enforce *enforce)
{
	if (!enforce)
		return NULL;
	ygr_enforce_state_write(enforce);
	enforce->stopped = true;
	enforce->kernel = ygr_enforce_kernel_close(enforce->kernel);
	uv_close((uv_handle_t *)&enforce->timer, on_closed);
	uv_close((uv_handle_t *)&enforce->news, on_closed);
	return NULL;
}

static struct guarded *find_slot(const struct ygr_enforce *enforce, uint32_t slot)
{
	for (size_t i = 0; i < enforce->vm_count; i++)
		if (enforce->vms[i]->slot == slot)
			return enforce->vms[i];
	return NULL;
}

static void adopt_image(void *user, const struct ygr_enforce_image *image, uint32_t slot)
{
	struct ygr_enforce *enforce = user;
	struct guarded *guarded = find_slot(enforce, slot);
	struct ygr_enforce_image *grown =
	    guarded ? reallocarray(guarded->images, guarded->image_count + 1, sizeof(*grown)) : NULL;

	if (!grown) {
		(void)ygr_enforce_kernel_image(enforce->kernel, image, NULL);
		return;
	}
	guarded->images = grown;
	grown[guarded->image_count++] = *image;
}

static void adopt_device(void *user, uint32_t ifindex, uint32_t slot)
{
	struct ygr_enforce *enforce = user;
	struct guarded *guarded = find_slot(enforce, slot);

	if (guarded && guarded->device_count < YGR_VM_NICS_MAX)
		guarded->devices[guarded->device_count++] = ifindex;
	else
		ygr_enforce_kernel_unguard(enforce->kernel, ifindex);
}

/* The list says what is in force; what is pinned and not in it is left over from something else. */
static void adopt(struct ygr_enforce *enforce)
{
	ygr_enforce_kernel_adopt(enforce->kernel, adopt_image, adopt_device, enforce);
	for (uint32_t slot = 0; slot < YGR_ENFORCE_VMS; slot++)
		if (!find_slot(enforce, slot))
			ygr_enforce_kernel_forget(enforce->kernel, slot);
	for (size_t i = 0; i < enforce->vm_count; i++)
		(void)ygr_enforce_effect_apply(enforce->vms[i]);
}

static struct ygr_enforce *make(const struct ygr_enforce_options *options)
{
	struct ygr_enforce *enforce = calloc(1, sizeof(*enforce));

	if (!enforce)
		return NULL;
	enforce->options = *options;
	enforce->pin_directory = strdup(options->pin_directory);
	enforce->state_directory = strdup(options->state_directory);
	enforce->snapshot_directory = strdup(options->snapshot_directory);
	enforce->timer.data = enforce->news.data = enforce;
	uv_timer_init(options->loop, &enforce->timer);
	uv_timer_init(options->loop, &enforce->news);
	enforce->open_handles = 2;
	return enforce;
}

int ygr_enforce_new(const struct ygr_enforce_options *options, struct ygr_enforce **ret,
		    struct ygr_error *error)
{
	struct ygr_enforce *enforce = make(options);

	if (!enforce)
		return ygr_error_set(error, ENOMEM, "out of memory");
	int r = enforce->pin_directory && enforce->state_directory && enforce->snapshot_directory
		    ? ygr_enforce_kernel_open(options->pin_directory, &enforce->kernel, error)
		    : ygr_error_set(error, ENOMEM, "out of memory");
	if (r == 0)
		r = ygr_enforce_state_read(enforce, error);
	if (r < 0) {
		enforce->stopped = true;
		ygr_enforce_kernel_close(enforce->kernel);
		uv_close((uv_handle_t *)&enforce->timer, on_closed);
		uv_close((uv_handle_t *)&enforce->news, on_closed);
		return r;
	}
	const char *no_nets = ygr_enforce_kernel_no_nets(enforce->kernel),
		   *no_disks = ygr_enforce_kernel_no_disks(enforce->kernel);
	if (no_nets)
		ygr_log(YGR_LOG_WARNING, "enforce", "networks cannot be blocked: %s", no_nets);
	if (no_disks)
		ygr_log(YGR_LOG_WARNING, "enforce", "disks cannot be made read-only: %s", no_disks);
	adopt(enforce);
	ygr_enforce_soon(enforce, 0);
	*ret = enforce;
	return 0;
}
