/* From active actions to the kernel's maps. Preparing is slow and early, applying is one update. */
#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/enforce/room.h"
#include "lib/base/log.h"

int ygr_enforce_bit(char **bits, size_t count, const char *text, bool take)
{
	int free_bit = -1;

	for (size_t i = 0; i < count; i++) {
		if (bits[i] && !strcmp(bits[i], text))
			return (int)i;
		if (!bits[i] && free_bit < 0)
			free_bit = (int)i;
	}
	if (!take || free_bit < 0)
		return -1;
	bits[free_bit] = strdup(text);
	return bits[free_bit] ? free_bit : -1;
}

static void in_force(const struct guarded *guarded, struct ygr_enforce_vm *vm)
{
	*vm = (struct ygr_enforce_vm){0};
	for (size_t i = 0; i < guarded->active_count; i++) {
		const struct active *active = &guarded->active[i];
		int bit = -1;
		if (active->kind == YGR_HOST_DISK && !active->name[0])
			vm->disks = UINT64_MAX;
		else if (active->kind == YGR_HOST_DISK)
			bit =
			    ygr_enforce_bit((char **)guarded->disks, YGR_VM_DISKS_MAX, active->name, false);
		if (bit >= 0)
			vm->disks |= UINT64_C(1) << bit;
		if (active->kind != YGR_HOST_BLOCK)
			continue;
		bit = ygr_enforce_bit((char **)guarded->blocks, YGR_ENFORCE_BLOCKS_MAX, active->text, false);
		if (bit >= 0)
			vm->blocks |= UINT64_C(1) << bit;
	}
}

int ygr_enforce_effect_apply(struct guarded *guarded)
{
	struct ygr_enforce_vm vm;

	in_force(guarded, &vm);
	return ygr_enforce_kernel_set(guarded->enforce->kernel, guarded->slot, &vm);
}

static bool concerns(const struct ygr_vm_nic *nic, const char *name)
{
	return !name[0] || !strcmp(nic->alias, name) || !strcmp(nic->device, name) ||
	       !strcmp(nic->mac, name);
}

const struct ygr_vm_nic *ygr_enforce_nic(const struct ygr_vm *vm, const char *name)
{
	for (size_t i = 0; vm && i < vm->nic_count; i++)
		if (concerns(&vm->nics[i], name))
			return &vm->nics[i];
	return NULL;
}

void ygr_enforce_effect_limits(struct guarded *guarded)
{
	static const enum ygr_policy_direction other[] = {
	    [YGR_ENFORCE_OUT] = YGR_FROM, [YGR_ENFORCE_IN] = YGR_TO};

	for (size_t i = 0; guarded->vm && i < guarded->vm->nic_count; i++) {
		const struct ygr_vm_nic *nic = &guarded->vm->nics[i];
		uint32_t ifindex = nic->device[0] ? if_nametoindex(nic->device) : 0;
		for (unsigned direction = 0; ifindex && direction < 2; direction++) {
			uint64_t rate = 0;
			for (size_t j = 0; j < guarded->active_count; j++) {
				const struct active *active = &guarded->active[j];
				uint64_t bytes = active->bits_per_second / 8 ?: 1;
				if (active->kind == YGR_HOST_LIMIT && concerns(nic, active->name) &&
				    active->direction != other[direction] && (!rate || bytes < rate))
					rate = bytes;
			}
			(void)ygr_enforce_kernel_limit(guarded->enforce->kernel, ifindex, direction, rate);
		}
	}
}

static int add_block(struct ygr_enforce_guard *guard, const struct ygr_enforce_action *action, unsigned bit)
{
	static const uint8_t any[16];
	int r = 0;

	for (unsigned direction = 0; direction < 2 && r == 0; direction++) {
		struct ygr_enforce_entries *addresses = &guard->addresses[direction],
					   *ports = &guard->ports[direction];
		if (action->direction == (direction == YGR_ENFORCE_OUT ? YGR_FROM : YGR_TO))
			continue;
		if (!action->prefix_count) {
			r = ygr_enforce_entries_add(addresses, 4, 0, any, bit);
			if (r == 0)
				r = ygr_enforce_entries_add(addresses, 6, 0, any, bit);
		}
		for (size_t i = 0; i < action->prefix_count && r == 0; i++)
			r = ygr_enforce_entries_add(addresses, action->prefixes[i].family,
						    action->prefixes[i].bits, action->prefixes[i].address,
						    bit);
		for (size_t i = 0; i < action->port_count && r == 0; i++)
			r = ygr_enforce_entries_add_ports(ports, action->ports[i].low, action->ports[i].high,
							  bit);
		if (!action->port_count)
			guard->device.any_port[direction] |= UINT64_C(1) << bit;
		if (!action->port_count && !action->prefix_count)
			guard->device.all[direction] |= UINT64_C(1) << bit;
	}
	return r;
}

/* All blocks of all plans that concern NIC. */
static int gather(struct guarded *guarded, const struct ygr_vm_nic *nic, struct ygr_enforce_guard *guard)
{
	int r = 0;

	*guard = (struct ygr_enforce_guard){.device.slot = guarded->slot};
	for (size_t i = 0; i < guarded->attached_count; i++) {
		const struct ygr_enforce_plan *plan = guarded->attached[i].plan;
		for (size_t j = 0; j < plan->reaction_count; j++)
			for (size_t k = 0; k < plan->reactions[j].action_count && r == 0; k++) {
				const struct ygr_enforce_action *action = &plan->reactions[j].actions[k];
				if (action->kind != YGR_HOST_BLOCK || !concerns(nic, action->name))
					continue;
				int bit = ygr_enforce_bit(guarded->blocks, YGR_ENFORCE_BLOCKS_MAX,
							  action->text, true);
				r = bit < 0 ? -ENOSPC : add_block(guard, action, (unsigned)bit);
			}
	}
	for (unsigned direction = 0; direction < 2; direction++) {
		ygr_enforce_entries_settle(&guard->addresses[direction]);
		ygr_enforce_entries_settle(&guard->ports[direction]);
	}
	return r;
}

/* Does any plan, or anything active, ask for KIND (or, for blocks, a limit)? */
static bool asked(const struct guarded *guarded, enum ygr_policy_host_kind kind)
{
	for (size_t i = 0; i < guarded->active_count; i++)
		if (guarded->active[i].kind == kind)
			return true;
	for (size_t i = 0; i < guarded->attached_count; i++) {
		const struct ygr_enforce_plan *plan = guarded->attached[i].plan;
		for (size_t j = 0; j < plan->reaction_count; j++)
			for (size_t k = 0; k < plan->reactions[j].action_count; k++)
				if (plan->reactions[j].actions[k].kind == kind)
					return true;
	}
	return false;
}

static void prepare_nets(struct guarded *guarded)
{
	struct ygr_enforce_kernel *kernel = guarded->enforce->kernel;
	uint32_t kept[YGR_VM_NICS_MAX] = {0};
	size_t kept_count = 0;
	bool wanted = asked(guarded, YGR_HOST_BLOCK) || asked(guarded, YGR_HOST_LIMIT);

	for (size_t i = 0; wanted && guarded->vm && i < guarded->vm->nic_count; i++) {
		const struct ygr_vm_nic *nic = &guarded->vm->nics[i];
		struct ygr_error error = YGR_ERROR_INIT;
		struct ygr_enforce_guard guard;
		uint32_t ifindex = nic->device[0] ? if_nametoindex(nic->device) : 0;
		if (!ifindex)
			continue;
		int r = gather(guarded, nic, &guard);
		if (r == 0)
			r = ygr_enforce_kernel_guard(kernel, ifindex, &guard, &error);
		if (r < 0)
			ygr_log(YGR_LOG_WARNING, "enforce", "%s: %s", guarded->name ?: guarded->uuid,
				error.code ? error.message : strerror(-r));
		ygr_enforce_guard_deinit(&guard);
		kept[kept_count++] = ifindex;
	}
	for (size_t i = 0; i < guarded->device_count; i++) {
		bool still = false;
		for (size_t j = 0; j < kept_count; j++)
			still |= kept[j] == guarded->devices[i];
		if (!still)
			ygr_enforce_kernel_unguard(kernel, guarded->devices[i]);
	}
	memcpy(guarded->devices, kept, sizeof(kept[0]) * kept_count);
	guarded->device_count = kept_count;
}

/* Is IMAGE the base of another VM's disk too? Then nobody may write it anyway, and it is not this VM's. */
static bool is_shared(const struct guarded *guarded, const char *path)
{
	const struct ygr_enforce *enforce = guarded->enforce;

	for (size_t i = 0; i < enforce->vm_count; i++) {
		const struct ygr_vm *vm = enforce->vms[i]->vm;
		for (size_t j = 0; vm && enforce->vms[i] != guarded && j < vm->disk_count; j++)
			for (size_t k = 0; k < vm->disks[j].image_count; k++)
				if (!strcmp(vm->disks[j].images[k], path))
					return true;
	}
	return false;
}

static void add_image(struct guarded *guarded, const char *path, unsigned disk)
{
	const struct ygr_enforce_owner owner = {guarded->slot, disk};
	struct ygr_enforce_image image, *grown;

	if (ygr_enforce_image_find(path, &image) < 0)
		return; /* not there (any more): nothing writes it */
	grown = reallocarray(guarded->images, guarded->image_count + 1, sizeof(*grown));
	if (!grown)
		return;
	guarded->images = grown;
	grown[guarded->image_count++] = image;
	(void)ygr_enforce_kernel_image(guarded->enforce->kernel, &image, &owner);
}

static bool has_image(const struct ygr_enforce_image *images, size_t count,
		      const struct ygr_enforce_image *image)
{
	for (size_t i = 0; i < count; i++)
		if (images[i].inode == image->inode && images[i].device == image->device)
			return true;
	return false;
}

static void prepare_disks(struct guarded *guarded)
{
	struct ygr_enforce_image *old = guarded->images;
	size_t old_count = guarded->image_count;
	bool wanted = asked(guarded, YGR_HOST_DISK);

	if (!guarded->vm && wanted)
		return; /* the images stay as they were, until it is back */
	guarded->images = NULL;
	guarded->image_count = 0;
	for (size_t i = 0; wanted && i < guarded->vm->disk_count; i++) {
		const struct ygr_vm_disk *disk = &guarded->vm->disks[i];
		int bit = ygr_enforce_bit(guarded->disks, YGR_VM_DISKS_MAX, disk->target, true);
		for (size_t j = 0; bit >= 0 && !disk->readonly && j < disk->image_count; j++)
			if (j == 0 || !is_shared(guarded, disk->images[j]))
				add_image(guarded, disk->images[j], (unsigned)bit);
	}
	for (size_t i = 0; i < old_count; i++)
		if (!has_image(guarded->images, guarded->image_count, &old[i]))
			(void)ygr_enforce_kernel_image(guarded->enforce->kernel, &old[i], NULL);
	free(old);
}

/* Bits of blocks that nobody names any more are free again. */
static void free_bits(struct guarded *guarded)
{
	for (size_t i = 0; i < YGR_ENFORCE_BLOCKS_MAX; i++) {
		bool used = false;
		for (size_t j = 0; guarded->blocks[i] && j < guarded->active_count && !used; j++)
			used = !strcmp(guarded->active[j].text, guarded->blocks[i]);
		for (size_t j = 0; guarded->blocks[i] && j < guarded->attached_count && !used; j++) {
			const struct ygr_enforce_plan *plan = guarded->attached[j].plan;
			for (size_t k = 0; k < plan->reaction_count && !used; k++)
				for (size_t l = 0; l < plan->reactions[k].action_count && !used; l++)
					used =
					    !strcmp(plan->reactions[k].actions[l].text, guarded->blocks[i]);
		}
		if (used)
			continue;
		free(guarded->blocks[i]);
		guarded->blocks[i] = NULL;
	}
}

void ygr_enforce_effect_prepare(struct guarded *guarded)
{
	if (!guarded->planned)
		return;
	free_bits(guarded);
	prepare_disks(guarded);
	prepare_nets(guarded);
	ygr_enforce_effect_limits(guarded);
}

void ygr_enforce_effect_forget(struct guarded *guarded)
{
	for (size_t i = 0; i < guarded->image_count; i++)
		(void)ygr_enforce_kernel_image(guarded->enforce->kernel, &guarded->images[i], NULL);
	for (size_t i = 0; i < guarded->device_count; i++)
		ygr_enforce_kernel_unguard(guarded->enforce->kernel, guarded->devices[i]);
	ygr_enforce_kernel_forget(guarded->enforce->kernel, guarded->slot);
}
