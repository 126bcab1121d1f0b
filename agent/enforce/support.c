/* What can be done to a VM here, and why not. */
#include <stdio.h>
#include <string.h>

#include "agent/enforce/room.h"

static const char *disk_unsupported(const struct ygr_vm *vm, const char *name, char message[256])
{
	bool found = false;

	for (size_t i = 0; i < vm->disk_count; i++) {
		const struct ygr_vm_disk *disk = &vm->disks[i];
		if (name[0] && strcmp(disk->target, name) != 0)
			continue;
		found = true;
		if (disk->readonly || (disk->image_count && disk->kind <= YGR_DISK_BLOCK))
			continue;
		snprintf(message, 256,
			 "disk %s is %s, whose writes do not pass a file or block device of the node",
			 disk->target,
			 disk->kind == YGR_DISK_NETWORK ? "a network disk" : "no file or block device");
		return "UnsupportedBackend";
	}
	if (found)
		return NULL;
	snprintf(message, 256, "the VM has no disk%s%s", name[0] ? " " : "", name);
	return "NoSuchDisk";
}

static const char *net_unsupported(const struct ygr_vm *vm, const char *name, bool by_link,
				   char message[256])
{
	bool found = false;

	for (size_t i = 0; i < vm->nic_count; i++) {
		const struct ygr_vm_nic *nic = &vm->nics[i];
		if (name[0] && strcmp(nic->alias, name) != 0 && strcmp(nic->device, name) != 0 &&
		    strcmp(nic->mac, name) != 0)
			continue;
		found = true;
		if (by_link || nic->kind == YGR_NIC_TAP)
			continue;
		snprintf(message, 256, "the packets of interface %s pass no tap of the node",
			 nic->alias[0] ? nic->alias : nic->mac);
		return "UnsupportedBackend";
	}
	if (found)
		return NULL;
	snprintf(message, 256,
		 "the VM has no interface%s%s; names are those of the node: net0, vnet3 or a MAC",
		 name[0] ? " " : "", name);
	return "NoSuchInterface";
}

static const char *backend_unsupported(const struct ygr_enforce *enforce, const struct ygr_vm *vm,
				       const struct ygr_enforce_action *action, char message[256])
{
	const char *why = NULL, *reason = NULL;

	if (action->kind == YGR_HOST_DISK) {
		why = ygr_enforce_kernel_no_disks(enforce->kernel);
		reason = why ? "NodeCannot" : disk_unsupported(vm, action->name, message);
	} else if (action->kind == YGR_HOST_BLOCK || action->kind == YGR_HOST_LIMIT) {
		why = ygr_enforce_kernel_no_nets(enforce->kernel);
		reason = why ? "NodeCannot" : net_unsupported(vm, action->name, false, message);
	} else if (action->kind == YGR_HOST_INTERFACE) {
		reason = net_unsupported(vm, action->name, true, message);
	}
	if (why)
		snprintf(message, 256, "%s", why);
	return reason;
}

const char *ygr_enforce_unsupported(const struct ygr_enforce *enforce, const struct ygr_vm *vm,
				    const struct ygr_enforce_action *action, char message[256])
{
	bool always = action->kind == YGR_HOST_MARK || action->kind == YGR_HOST_EVENT;

	message[0] = '\0';
	if (!always && !(enforce->options.allowed >> action->kind & 1)) {
		snprintf(
		    message, 256,
		    "%s is not among the actions that the node allows (allowedHostActions in agent.yaml)",
		    ygr_enforce_type_word(action->kind));
		return "NotAllowedByNode";
	}
	if (always)
		return NULL;
	if (!vm) {
		snprintf(message, 256, "the VM is not there");
		return "NoSuchVM";
	}
	return backend_unsupported(enforce, vm, action, message);
}
