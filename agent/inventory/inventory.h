/*
 * The VMs of this node. A provider (libvirt now) delivers complete snapshots from its own thread; on the
 * loop they are compared with what was known, and the difference is reported. So a lost event costs nothing:
 * the next snapshot says the same. While a provider is away its VMs stay as they were last seen.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <uv.h>

#include "lib/api/meta.h"
#include "lib/base/error.h"

#define YGR_VM_MAX         4096 /* on one node; more are left out with a warning */
#define YGR_VM_REGIONS_MAX 16
#define YGR_VM_DISKS_MAX   64 /* of one VM; one bit each in a map */
#define YGR_VM_IMAGES_MAX  64 /* in the chain of one disk */
#define YGR_VM_NICS_MAX    32
#define YGR_UUID_TEXT      37

enum ygr_vm_phase { YGR_VM_UNKNOWN, YGR_VM_RUNNING, YGR_VM_PAUSED, YGR_VM_MIGRATING, YGR_VM_STOPPED };
enum ygr_vm_memory { YGR_MEMORY_PRIVATE, YGR_MEMORY_SHARED, YGR_MEMORY_ENCRYPTED };

/* "Running", "Shared": the words of VMGuest. */
const char *ygr_vm_phase_word(enum ygr_vm_phase phase);
const char *ygr_vm_memory_word(enum ygr_vm_memory memory);

/* SIZE bytes of guest physical memory from GPA on lie at OFFSET of the RAM file. */
struct ygr_vm_region {
	uint64_t gpa, size, offset;
};

/* What a disk's bytes are in, as far as the node can do something about it. */
enum ygr_vm_disk_kind { YGR_DISK_FILE, YGR_DISK_BLOCK, YGR_DISK_NETWORK, YGR_DISK_OTHER };

struct ygr_vm_disk {
	char target[32]; /* "vda" */
	enum ygr_vm_disk_kind kind;
	bool readonly;
	char **images; /* of files and block devices: the writable one, then what it is based on */
	size_t image_count;
};

enum ygr_vm_nic_kind {
	YGR_NIC_TAP,    /* a device of the node that the VM's packets pass */
	YGR_NIC_BYPASS, /* vhost-user, a host's device, macvtap, user networking: no such device */
};

struct ygr_vm_nic {
	char alias[32];  /* "net0" */
	char device[16]; /* "vnet3"; empty with BYPASS or while the VM does not run */
	char mac[18];
	enum ygr_vm_nic_kind kind;
};

struct ygr_vm {
	char uuid[YGR_UUID_TEXT];
	char *namespace_, *name; /* unique together; from the provider's metadata */
	struct ygr_labels labels;
	enum ygr_vm_phase phase;
	char *channel; /* as for ygr_transport_dial(), or NULL: the VM has none */
	enum ygr_vm_memory memory;
	char *ram_path; /* with Shared: how to open the RAM file */
	uint64_t ram_dev, ram_ino, ram_size;
	struct ygr_vm_region regions[YGR_VM_REGIONS_MAX];
	uint32_t region_count;
	uint32_t vcpus;
	const char *provider; /* "Libvirt", a literal */
	char *provider_name;
	pid_t pid;       /* of the VMM, 0 when it does not run */
	uint64_t resets; /* grows when the guest was reset from outside */
	struct ygr_vm_disk *disks;
	size_t disk_count;
	struct ygr_vm_nic *nics;
	size_t nic_count;
};

struct ygr_vm *ygr_vm_new(void);
struct ygr_vm *ygr_vm_free(struct ygr_vm *vm);
bool ygr_vm_equal(const struct ygr_vm *a, const struct ygr_vm *b);

/*
 * Opens the RAM of a VM with memory Shared, read-only, and checks that it is still the file that was seen.
 * For any thread. -ENOENT when the VM is gone, -ESTALE when it is another one.
 */
int ygr_vm_open_ram(const struct ygr_vm *vm, int *ret_fd, struct ygr_error *error);

/* A snapshot: all VMs of a provider. */
struct ygr_vm_list {
	struct ygr_vm **items;
	size_t count;
};
int ygr_vm_list_add(struct ygr_vm_list *list, struct ygr_vm *vm); /* takes VM, also on error */
void ygr_vm_list_deinit(struct ygr_vm_list *list);

struct ygr_inventory;

/* All on the loop thread. VMs are borrowed and live until `gone` has
 * returned, or until `changed` is called for the same VM and has returned. */
struct ygr_inventory_handlers {
	void (*changed)(void *user, const struct ygr_vm *vm); /* new or different */
	void (*gone)(void *user, const struct ygr_vm *vm);
	/* The provider's connection; first call when the first snapshot is complete or has failed. */
	void (*connected)(void *user, bool connected, const char *reason);
	void *user;
};

/* What can be done to a VM from outside. Each is idempotent. */
enum ygr_vm_operation {
	YGR_VM_PAUSE,
	YGR_VM_RESUME,
	YGR_VM_SHUTDOWN,  /* asks the guest */
	YGR_VM_DESTROY,   /* pulls the plug */
	YGR_VM_LINK_DOWN, /* argument: MAC of the interface */
	YGR_VM_LINK_UP,
	YGR_VM_SNAPSHOT, /* the memory, as an ELF file; argument: its path */
};
const char *ygr_vm_operation_word(enum ygr_vm_operation operation);

struct ygr_vm_request {
	char uuid[YGR_UUID_TEXT];
	enum ygr_vm_operation operation;
	char argument[256];
};

struct ygr_inventory_provider {
	const char *type;
	/* Starts the provider's thread. OPTIONS are the provider's own. */
	int (*start)(struct ygr_inventory *inventory, const void *options, void **ret_state,
		     struct ygr_error *error);
	void (*stop)(void *state); /* joins the thread */
	/* A look soon; from any thread. */
	void (*look)(void *state);
	/* Does it, blocking, on any thread; NULL: this provider cannot. As ygr_inventory_control(). */
	int (*control)(void *state, const struct ygr_vm_request *request, struct ygr_error *error);
};

struct ygr_libvirt_options {
	const char *uri;     /* "qemu:///system" */
	const char *run_dir; /* pid files of the QEMU driver: "/run/libvirt/qemu" */
	/* Only domains whose name matches one of these shell patterns are looked at; none: all. Outlive the provider. */
	char *const *domains;
	size_t domain_count;
};
extern const struct ygr_inventory_provider ygr_inventory_libvirt; /* struct ygr_libvirt_options */

int ygr_inventory_start(uv_loop_t *loop, const struct ygr_inventory_provider *provider, const void *options,
			const struct ygr_inventory_handlers *handlers, struct ygr_inventory **ret,
			struct ygr_error *error);
/* Stops the provider; the memory is released once the loop has turned. NULL is allowed. */
struct ygr_inventory *ygr_inventory_stop(struct ygr_inventory *inventory);

const struct ygr_vm *ygr_inventory_find(const struct ygr_inventory *inventory, const char *namespace_,
					const char *name);

/*
 * Does REQUEST on a worker and calls DONE on the loop with what came of it (code 0: done), also after the
 * inventory was stopped. -EOPNOTSUPP, -ENOMEM: DONE is not called.
 */
int ygr_inventory_control(struct ygr_inventory *inventory, const struct ygr_vm_request *request,
			  void (*done)(void *user, const struct ygr_vm_request *request,
				       const struct ygr_error *error),
			  void *user);
/* Look at all VMs again soon, instead of at the next event. From any thread. */
void ygr_inventory_look(struct ygr_inventory *inventory);

/*
 * For providers, from their thread: a complete snapshot (contents taken), or with LIST NULL that the
 * provider is away and why. A newer snapshot replaces one that the loop has not seen.
 */
void ygr_inventory_deliver(struct ygr_inventory *inventory, struct ygr_vm_list *list, const char *reason);
