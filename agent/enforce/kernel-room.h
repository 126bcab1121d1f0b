/* What kernel.c and kernel-net.c share. */
#pragma once

#include "agent/enforce/kernel.h"

#define YGR_ENFORCE_WHY_MAX 256

struct net;
struct disk;

struct ygr_enforce_kernel {
	char *directory;
	struct net *net;
	struct disk *disk;
	int vms, counts; /* of whichever was loaded; -1: neither */
	char no_disks[YGR_ENFORCE_WHY_MAX], no_nets[YGR_ENFORCE_WHY_MAX]; /* "": possible */
};

/* Loads the programs for networks into KERNEL: 0 or -errno. */
int ygr_enforce_net_load(struct ygr_enforce_kernel *kernel);
void ygr_enforce_net_unload(struct ygr_enforce_kernel *kernel);
void ygr_enforce_net_adopt(struct ygr_enforce_kernel *kernel,
			   void (*device)(void *user, uint32_t ifindex, uint32_t slot), void *user);
