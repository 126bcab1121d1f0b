/* One VM and lists of them; see inventory.h. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "agent/inventory/inventory.h"
#include "lib/base/cleanup.h"

const char *ygr_vm_phase_word(enum ygr_vm_phase phase)
{
	static const char *const words[] = {"Unknown", "Running", "Paused", "Migrating", "Stopped"};

	return words[phase];
}

const char *ygr_vm_memory_word(enum ygr_vm_memory memory)
{
	static const char *const words[] = {"Private", "Shared", "Encrypted"};

	return words[memory];
}

const char *ygr_vm_operation_word(enum ygr_vm_operation operation)
{
	static const char *const words[] = {"pause",     "resume",  "shutdown", "destroy",
					    "link down", "link up", "snapshot"};

	return words[operation];
}

struct ygr_vm *ygr_vm_new(void)
{
	return calloc(1, sizeof(struct ygr_vm));
}

struct ygr_vm *ygr_vm_free(struct ygr_vm *vm)
{
	if (!vm)
		return NULL;
	free(vm->namespace_);
	free(vm->name);
	ygr_labels_deinit(&vm->labels);
	free(vm->channel);
	free(vm->ram_path);
	free(vm->provider_name);
	for (size_t i = 0; i < vm->disk_count; i++) {
		for (size_t j = 0; j < vm->disks[i].image_count; j++)
			free(vm->disks[i].images[j]);
		free(vm->disks[i].images);
	}
	free(vm->disks);
	free(vm->nics);
	free(vm);
	return NULL;
}

static bool same(const char *a, const char *b)
{
	return a == b || (a && b && !strcmp(a, b));
}

static bool same_disks(const struct ygr_vm *a, const struct ygr_vm *b)
{
	if (a->disk_count != b->disk_count)
		return false;
	for (size_t i = 0; i < a->disk_count; i++) {
		const struct ygr_vm_disk *x = &a->disks[i], *y = &b->disks[i];
		if (strcmp(x->target, y->target) != 0 || x->kind != y->kind || x->readonly != y->readonly ||
		    x->image_count != y->image_count)
			return false;
		for (size_t j = 0; j < x->image_count; j++)
			if (strcmp(x->images[j], y->images[j]) != 0)
				return false;
	}
	return true;
}

static bool same_nics(const struct ygr_vm *a, const struct ygr_vm *b)
{
	if (a->nic_count != b->nic_count)
		return false;
	for (size_t i = 0; i < a->nic_count; i++) {
		const struct ygr_vm_nic *x = &a->nics[i], *y = &b->nics[i];
		if (strcmp(x->alias, y->alias) != 0 || strcmp(x->device, y->device) != 0 ||
		    strcmp(x->mac, y->mac) != 0 || x->kind != y->kind)
			return false;
	}
	return true;
}

bool ygr_vm_equal(const struct ygr_vm *a, const struct ygr_vm *b)
{
	return same(a->uuid, b->uuid) && same(a->namespace_, b->namespace_) && same(a->name, b->name) &&
	       ygr_labels_equal(&a->labels, &b->labels) && a->phase == b->phase &&
	       same(a->channel, b->channel) && a->memory == b->memory && same(a->ram_path, b->ram_path) &&
	       a->ram_dev == b->ram_dev && a->ram_ino == b->ram_ino && a->ram_size == b->ram_size &&
	       a->region_count == b->region_count &&
	       !memcmp(a->regions, b->regions, a->region_count * sizeof(*a->regions)) &&
	       a->vcpus == b->vcpus && same(a->provider_name, b->provider_name) && a->pid == b->pid &&
	       a->resets == b->resets && same_disks(a, b) && same_nics(a, b);
}

int ygr_vm_open_ram(const struct ygr_vm *vm, int *ret_fd, struct ygr_error *error)
{
	struct stat st;

	if (vm->memory != YGR_MEMORY_SHARED || !vm->ram_path)
		return ygr_error_set(error, ENOENT, "%s has no RAM file that the node can read", vm->name);
	_cleanup_close_ int fd = open(vm->ram_path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		return ygr_error_set(error, errno, "RAM of %s: %s: %s", vm->name, vm->ram_path,
				     strerror(errno));
	if (st.st_dev != vm->ram_dev || st.st_ino != vm->ram_ino || (uint64_t)st.st_size != vm->ram_size)
		return ygr_error_set(error, ESTALE, "RAM of %s: %s is another file by now", vm->name,
				     vm->ram_path);
	*ret_fd = ygr_steal_fd(&fd);
	return 0;
}

int ygr_vm_list_add(struct ygr_vm_list *list, struct ygr_vm *vm)
{
	struct ygr_vm **grown = NULL;

	if (list->count < YGR_VM_MAX)
		grown = reallocarray(list->items, list->count + 1, sizeof(*grown));
	if (!grown) {
		ygr_vm_free(vm);
		return list->count < YGR_VM_MAX ? -ENOMEM : -E2BIG;
	}
	list->items = grown;
	list->items[list->count++] = vm;
	return 0;
}

void ygr_vm_list_deinit(struct ygr_vm_list *list)
{
	for (size_t i = 0; i < list->count; i++)
		ygr_vm_free(list->items[i]);
	free(list->items);
	*list = (struct ygr_vm_list){0};
}
