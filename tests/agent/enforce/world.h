/*
 * A node of the test's own: network and mount namespaces with a bpffs, and a VM whose tap the test holds the other
 * end of. What the test writes to the tap is what the guest sends.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "agent/enforce/enforce.h"

#define WORLD_UUID "11111111-2222-3333-4444-555555555555"

struct world {
	char folder[64], pins[96], state[96];
	uv_loop_t loop;
	struct ygr_enforce *enforce;
	struct ygr_vm *vm;
	int tap;        /* the guest's side */
	char log[8192]; /* events and requests, a line each */
	bool refuse;    /* the next requests fail */
	unsigned allowed;
};

/* Enters namespaces; false where this machine does not let us. Once for the process. */
bool world_enter(void);
/* A mount namespace alone: 0 or -1. */
int unshare_mounts(void);
/* Can disks be made read-only by this kernel? */
bool world_guards_disks(void);
void world_begin(struct world *world);
void world_end(struct world *world);
/* Starts or ends the room, as an agent that starts and ends would. */
void world_start(struct world *world);
void world_stop(struct world *world);
/* A tap called NAME with 192.0.2.1/24 in the place of the VM's; tells the room. */
void world_plug(struct world *world, const char *name);
/* The plan of TEXT, a whole policy, as POLICY. */
struct ygr_enforce_plan *world_plan(const char *policy, const char *text);
void world_turn(struct world *world, unsigned ms);

/* Does a datagram from the guest to ADDRESS:PORT (an address of the node) arrive? */
bool world_sends(struct world *world, const char *address, uint16_t port);
/* Does a datagram that the node sends to 192.0.2.2:PORT reach the guest? */
bool world_gets(struct world *world, uint16_t port);
/* How many of COUNT datagrams of 1000 bytes, sent at once, arrive. */
unsigned world_burst(struct world *world, unsigned count);
