/* The inside of this room: VMs with their tables and active actions. */
#pragma once

#include "agent/enforce/enforce.h"
#include "agent/enforce/kernel.h"

/* One active action: what one reaction of one policy asked for. */
struct active {
	char *policy;
	char rule[YGR_ENFORCE_NAME_MAX];
	char *text; /* the action's; its identity together with policy and rule */
	enum ygr_policy_host_kind kind;
	char name[YGR_ENFORCE_NAME_MAX];
	enum ygr_policy_direction direction;
	uint64_t bits_per_second;
	int64_t since_ms, expires_ms; /* realtime; expires 0: until released */
	char problem[256];
};

/* How far a reaction has counted. */
struct tally {
	uint32_t count;
	int64_t since_ms; /* loop time */
};

struct attached {
	struct ygr_enforce_plan *plan;
	struct tally *tallies; /* one for each reaction */
};

#define ONCE_MAX 16 /* requests that wait for the provider */

struct guarded {
	struct ygr_enforce *enforce;
	char uuid[YGR_UUID_TEXT];
	char *namespace_, *name;
	const struct ygr_vm *vm; /* NULL while the provider does not know it */
	uint32_t slot;
	/* Bits: what a disk and a block is numbered, kept for as long as anything is active. */
	char *disks[YGR_VM_DISKS_MAX];
	char *blocks[YGR_ENFORCE_BLOCKS_MAX];
	struct attached *attached;
	size_t attached_count;
	bool planned; /* the plans are known: before, what was adopted stays as it is */
	struct active *active;
	size_t active_count;
	/* Of the kernel: */
	struct ygr_enforce_image *images;
	size_t image_count;
	uint32_t devices[YGR_VM_NICS_MAX]; /* interface indices that are guarded */
	size_t device_count;
	/* Of the provider: */
	pid_t pid; /* that the following is about */
	bool paused_by_us;
	char links_down[YGR_VM_NICS_MAX][18]; /* MACs */
	size_t link_count;
	struct ygr_vm_request once[ONCE_MAX];
	size_t once_count;
	bool busy;           /* a request is under way */
	uint64_t retry_ms;   /* loop time before which nothing is asked */
	uint64_t settled_ms; /* loop time until which a pause that was done need not show in the phase */
	unsigned failures;
};

struct ygr_enforce {
	struct ygr_enforce_options options;
	char *pin_directory, *state_directory, *snapshot_directory;
	struct ygr_enforce_kernel *kernel;
	uv_timer_t timer; /* the next expiry or retry */
	uv_timer_t news;  /* `changed` is due */
	int open_handles;
	struct guarded **vms;
	size_t vm_count;
	bool stopped;
};

/* Handles and requests to the provider keep the room's memory; after ygr_enforce_free() the last one frees it. */
void ygr_enforce_handle_closed(struct ygr_enforce *enforce);
int64_t ygr_enforce_now_ms(void); /* realtime */
struct guarded *ygr_enforce_find(const struct ygr_enforce *enforce, const char *uuid);
/* The VM's record, made if need be: NULL without memory or slots. */
struct guarded *ygr_enforce_get(struct ygr_enforce *enforce, const char *uuid);
void ygr_enforce_drop(struct guarded *guarded);
void ygr_enforce_say(struct guarded *guarded, const struct active *active, const char *what,
		     const char *severity, const char *message);
/* Looks again no later than in DELAY_MS. */
void ygr_enforce_soon(struct ygr_enforce *enforce, uint64_t delay_ms);
void ygr_enforce_news(struct ygr_enforce *enforce);
void ygr_enforce_active_deinit(struct active *active);
/* Lets go of all plans; what is active stays. */
void ygr_enforce_detach(struct guarded *guarded);
/* Ends what has expired at NOW (realtime, ms); *delay is lowered to when the next one does. */
void ygr_enforce_expire(struct guarded *guarded, int64_t now, uint64_t *delay);

/* effect.c: what follows from the active actions, in the kernel. */
/* One update: disks and blocks that are in force. */
int ygr_enforce_effect_apply(struct guarded *guarded);
/* Images and devices of the VM as it is now, for the plans that are attached. */
void ygr_enforce_effect_prepare(struct guarded *guarded);
/* The bit of TEXT among BITS, taken if need be; -1 when all are taken. */
int ygr_enforce_bit(char **bits, size_t count, const char *text, bool take);
void ygr_enforce_effect_limits(struct guarded *guarded);
void ygr_enforce_effect_forget(struct guarded *guarded);

/* control.c: pause, links and what happens once, by the provider. */
void ygr_enforce_control(struct guarded *guarded);
int ygr_enforce_control_once(struct guarded *guarded, enum ygr_vm_operation operation, const char *argument);
const struct ygr_vm_nic *ygr_enforce_nic(const struct ygr_vm *vm, const char *name);

/* state.c */
int ygr_enforce_state_read(struct ygr_enforce *enforce, struct ygr_error *error);
void ygr_enforce_state_write(const struct ygr_enforce *enforce);
