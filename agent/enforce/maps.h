/*
 * What the node's programs and the agent share: the keys and values of the pinned maps. Plain C for both. Each
 * guarded VM has a slot; `vms` says for a slot what is in force, and is all that changes when a rule is violated
 * (a limit apart). The other maps are filled when a policy arrives, long before.
 */
#pragma once

#include <linux/types.h>

#define YGR_ENFORCE_VMS     4096
#define YGR_ENFORCE_IMAGES  65536
#define YGR_ENFORCE_DEVICES 8192
#define YGR_ENFORCE_RANGES  262144 /* address prefixes, and as many port prefixes */

/* What is in force for a VM: one bit for each disk, and one for each different network block. */
struct ygr_enforce_vm {
	__u64 disks;
	__u64 blocks;
};

/* What happened because of it; only grows. */
struct ygr_enforce_count {
	__u64 writes;   /* to disks, refused */
	__u64 packets;  /* dropped */
	__u64 first_ns; /* CLOCK_MONOTONIC of the first packet dropped, 0: none */
};

/* An image: a file by its file system's device and inode, a block device by its number and inode 0. */
struct ygr_enforce_image {
	__u64 inode;
	__u32 device; /* as the kernel counts: major << 20 | minor */
	__u32 reserved;
};

struct ygr_enforce_owner {
	__u32 slot;
	__u32 disk; /* bit */
};

/* As seen by the guest. */
enum { YGR_ENFORCE_OUT, YGR_ENFORCE_IN };

struct ygr_enforce_device {
	__u32 slot;
	__u32 reserved;
	__u64 all[2];      /* blocks of everything that passes, IP or not, by direction */
	__u64 any_port[2]; /* blocks that do not look at ports */
};

/* Longest prefix match: 32 bits of device and 16 of direction and family come before the address. */
struct ygr_enforce_address {
	__u32 prefix; /* bits, with the first 48 */
	__u32 device;
	__u8 direction;
	__u8 family; /* 4 or 6 */
	__u8 address[16];
	__u8 reserved[2];
};

struct ygr_enforce_port {
	__u32 prefix;
	__u32 device;
	__u8 direction;
	__u8 reserved;
	__u8 port[2]; /* big-endian */
};

#define YGR_ENFORCE_ADDRESS_HEAD 48 /* bits of device, direction and family */
#define YGR_ENFORCE_PORT_HEAD    48

struct ygr_enforce_bucket_key {
	__u32 device;
	__u32 direction;
};
