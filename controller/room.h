/* What world.c, watches.c and dead.c share. */
#pragma once

#include "controller/node.h"
#include "controller/seen.h"
#include "controller/subject.h"
#include "controller/world.h"
#include "lib/kube/informer.h"

/* The first are the subjects, by ygr_subject_kind. */
enum { YGR_WATCH_GUESTS = YGR_SUBJECT_KINDS, YGR_WATCH_NAMESPACES, YGR_WATCH_LEASES, YGR_WATCH_KINDS };

extern const struct ygr_kube_resource ygr_world_kinds[YGR_WATCH_KINDS];

struct ygr_watch {
	struct ygr_world *world;
	int kind;
	struct ygr_kube_informer *informer;
};

struct ygr_world {
	struct ygr_kube *kube;
	struct ygr_watch watches[YGR_WATCH_KINDS];
	struct ygr_nodes nodes;
	unsigned grace_s;
	void (*ready)(void *user, bool synced);
	void *user;
	uv_timer_t settle;
	bool leading, synced;
	bool blind; /* Leases cannot be seen */
	unsigned writing;
	int64_t hold_until;
	struct ygr_metric *writes, *duration, *node_gauge, *buried;
};

/* Which subjects are to be counted again: those that select a guest as it was or as it is, or all. */
struct ygr_world_mark {
	bool cluster_wide; /* only such */
	const struct ygr_seen *before, *after;
	const struct ygr_labels *labels; /* of their namespace */
};

/* Monotonic seconds. */
int64_t ygr_world_now(void);
void ygr_world_mark(struct ygr_world *world, const struct ygr_world_mark *what);
/* What is dirty is counted, and what waits is written, soon. */
void ygr_world_schedule(struct ygr_world *world);
int ygr_world_watch(struct ygr_world *world, const char *lease_namespace);
/* VMGuests of dead nodes. */
void ygr_world_bury(struct ygr_world *world);
