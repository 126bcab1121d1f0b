/*
 * The telebpf room's header, done by the test itself: links and applications are records that the test moves
 * from state to state, so that every order of events can be played without a guest.
 */
#pragma once

#include "agent/http/server.h"
#include "agent/telebpf/policy-link.h"
#include "agent/telebpf/telebpf.h"

#define DOUBLE_MAX 64

struct ygr_link {
	bool open;
	char name[64], address[128];
	enum ygr_link_state state;
	void (*changed)(void *user, struct ygr_link *link);
	void *user;
};

struct ygr_application {
	bool open;
	char app[64], program[64], delivery[16], vm[64];
	enum ygr_application_state state;
	const char *reason;
	int status;
	bool stopped;
	int signal_number;
	struct ygr_application_handlers handlers;
	struct ygr_application_counters counters;
	int64_t last_event;
};

extern struct ygr_link double_links[DOUBLE_MAX];
extern struct ygr_application double_applications[DOUBLE_MAX];
extern int double_starts;      /* applications started so far */
extern int double_start_error; /* what the next starts return */

/* The open application APP on VM, or NULL. */
struct ygr_application *double_find(const char *vm, const char *app);
int double_open_applications(void);
void double_link_state(const char *name, enum ygr_link_state state);
void double_run(struct ygr_application *application);
void double_end(struct ygr_application *application, int status, const char *reason);

/* A guest's policy channel: what was loaded last, and what the guest says. */
struct ygr_policy_link {
	bool open, connected, awaiting;
	char name[64];
	struct ygr_policy_link_handlers handlers;
	uint8_t *bundle; /* the last */
	size_t len;
	struct ygr_cert cert;
	uint8_t signature[64];
	unsigned loads;
};
extern struct ygr_policy_link double_policy_links[DOUBLE_MAX];
struct ygr_policy_link *double_policy_link(const char *vm); /* the open one, or NULL */
void double_policy_connected(struct ygr_policy_link *link, bool connected);
/* STATUS is a JSON text. */
void double_policy_status(struct ygr_policy_link *link, int64_t result, const char *status);

/* What a run's client got: "begin ID\n", "stdout DATA\n", "end {...}\n". */
extern char double_stream[4096];
