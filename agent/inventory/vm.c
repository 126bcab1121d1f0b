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
	free(vm);
	return NULL;
}

static bool same(const char *a, const char *b)
{
	return a == b || (a && b && !strcmp(a, b));
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
	       a->resets == b->resets;
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
