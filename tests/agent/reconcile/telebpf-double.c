/* See telebpf-double.h. */
#include "telebpf-double.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct ygr_link double_links[DOUBLE_MAX];
struct ygr_application double_applications[DOUBLE_MAX];
int double_starts, double_start_error;
char double_stream[4096];

const char *ygr_link_state_word(enum ygr_link_state state)
{
	static const char *const words[] = {"None", "Connecting", "Connected", "Lost", "Refused"};

	return words[state];
}

int ygr_link_open(struct ygr_telebpf *telebpf, const struct ygr_link_target *target,
		  void (*changed)(void *user, struct ygr_link *link), void *user, struct ygr_link **ret)
{
	(void)telebpf;
	for (int i = 0; i < DOUBLE_MAX; i++) {
		struct ygr_link *link = &double_links[i];
		if (link->open)
			continue;
		*link = (struct ygr_link){
		    .open = true, .state = YGR_LINK_CONNECTING, .changed = changed, .user = user};
		snprintf(link->name, sizeof(link->name), "%s", target->name);
		snprintf(link->address, sizeof(link->address), "%s", target->address);
		*ret = link;
		return 0;
	}
	return -ENOMEM;
}

struct ygr_link *ygr_link_close(struct ygr_link *link)
{
	if (link)
		link->open = false;
	return NULL;
}

void ygr_link_kick(struct ygr_link *link)
{
	(void)link;
}

enum ygr_link_state ygr_link_state(const struct ygr_link *link)
{
	return link->state;
}

const char *ygr_link_reason(const struct ygr_link *link)
{
	return link->state == YGR_LINK_REFUSED ? "UnknownNode" : NULL;
}

const char *ygr_link_message(const struct ygr_link *link)
{
	return link->state == YGR_LINK_REFUSED ? "the guest does not know this node" : NULL;
}

const json_t *ygr_link_welcome(const struct ygr_link *link)
{
	static json_t *welcome;

	if (link->state != YGR_LINK_CONNECTED)
		return NULL;
	if (!welcome)
		welcome = json_pack("{s:s, s:s, s:{s:i}, s:[s, s]}", "release", "6.1.0\033[31m", "bootID",
				    "b-1", "btf", "size", 1, "lsm", "capability", "bpf");
	return welcome;
}

void double_link_state(const char *name, enum ygr_link_state state)
{
	for (int i = 0; i < DOUBLE_MAX; i++)
		if (double_links[i].open && !strcmp(double_links[i].name, name)) {
			double_links[i].state = state;
			double_links[i].changed(double_links[i].user, &double_links[i]);
		}
}

const char *const ygr_wake_words[] = {"Adaptive", "Notify", NULL};

int ygr_application_start(struct ygr_telebpf *telebpf, const struct ygr_application_options *options,
			  const struct ygr_application_handlers *handlers, struct ygr_application **ret,
			  struct ygr_error *error)
{
	(void)telebpf;
	if (double_start_error)
		return ygr_error_set(error, -double_start_error, "no such program");
	for (int i = 0; i < DOUBLE_MAX; i++) {
		struct ygr_application *application = &double_applications[i];
		if (application->open)
			continue;
		*application = (struct ygr_application){.open = true, .handlers = *handlers, .status = -1};
		snprintf(application->app, sizeof(application->app), "%s", options->app);
		snprintf(application->program, sizeof(application->program), "%s", options->program);
		snprintf(application->delivery, sizeof(application->delivery), "%s", options->delivery);
		snprintf(application->vm, sizeof(application->vm), "%s", options->link->name);
		double_starts++;
		*ret = application;
		return 0;
	}
	return -ENOMEM;
}

void ygr_application_stop(struct ygr_application *application)
{
	application->stopped = true;
}

int ygr_application_signal(struct ygr_application *application, int signal_number)
{
	application->signal_number = signal_number;
	return 0;
}

void ygr_application_resume(struct ygr_application *application)
{
	(void)application;
}

struct ygr_application *ygr_application_close(struct ygr_application *application)
{
	if (application)
		application->open = false;
	return NULL;
}

enum ygr_application_state ygr_application_state(const struct ygr_application *application)
{
	return application->state;
}

const char *ygr_application_reason(const struct ygr_application *application)
{
	return application->reason;
}

const char *ygr_application_message(const struct ygr_application *application)
{
	return application->reason ? "the guest's kernel has no BTF" : NULL;
}

int ygr_application_exit_status(const struct ygr_application *application)
{
	return application->status;
}

const char *ygr_application_delivery(const struct ygr_application *application)
{
	return application->state == YGR_APPLICATION_RUNNING ? "Copied" : NULL;
}

const char *ygr_application_mechanism(const struct ygr_application *application)
{
	(void)application;
	return NULL;
}

const struct ygr_application_counters *ygr_application_counters(const struct ygr_application *application)
{
	return &application->counters;
}

int64_t ygr_application_last_event(const struct ygr_application *application)
{
	return application->last_event;
}

struct ygr_application *double_find(const char *vm, const char *app)
{
	for (int i = 0; i < DOUBLE_MAX; i++)
		if (double_applications[i].open && !strcmp(double_applications[i].vm, vm) &&
		    !strcmp(double_applications[i].app, app))
			return &double_applications[i];
	return NULL;
}

int double_open_applications(void)
{
	int count = 0;

	for (int i = 0; i < DOUBLE_MAX; i++)
		count += double_applications[i].open;
	return count;
}

void double_run(struct ygr_application *application)
{
	application->state = YGR_APPLICATION_RUNNING;
	application->handlers.changed(application->handlers.user, application);
}

void double_end(struct ygr_application *application, int status, const char *reason)
{
	application->state = YGR_APPLICATION_ENDED;
	application->status = status;
	application->reason = reason;
	application->handlers.changed(application->handlers.user, application);
}

static void say(const char *what, const char *text)
{
	size_t len = strlen(double_stream);

	snprintf(double_stream + len, sizeof(double_stream) - len, "%s %s\n", what, text);
}

void ygr_run_stream_begin(struct ygr_run_stream *stream, const char *id)
{
	(void)stream;
	say("begin", id);
}

void ygr_run_stream_data(struct ygr_run_stream *stream, const char *which, const char *data, uint64_t len)
{
	(void)stream, (void)len;
	say(which, data);
}

bool ygr_run_stream_wanted(const struct ygr_run_stream *stream)
{
	(void)stream;
	return true;
}

uint64_t ygr_run_stream_queued(const struct ygr_run_stream *stream)
{
	(void)stream;
	return 0;
}

void ygr_run_stream_end(struct ygr_run_stream *stream, json_t *last)
{
	char *text = json_dumps(last, JSON_COMPACT | JSON_SORT_KEYS);

	(void)stream;
	say("end", text);
	free(text);
	json_decref(last);
}

struct ygr_policy_link double_policy_links[DOUBLE_MAX];

int ygr_policy_link_open(struct ygr_telebpf *telebpf, const struct ygr_link_target *target,
			 const struct ygr_policy_link_handlers *handlers, struct ygr_policy_link **ret)
{
	(void)telebpf;
	for (int i = 0; i < DOUBLE_MAX; i++) {
		struct ygr_policy_link *link = &double_policy_links[i];
		if (link->open)
			continue;
		*link = (struct ygr_policy_link){.open = true, .handlers = *handlers};
		snprintf(link->name, sizeof(link->name), "%s", target->name);
		*ret = link;
		return 0;
	}
	return -ENOMEM;
}

struct ygr_policy_link *ygr_policy_link_close(struct ygr_policy_link *link)
{
	if (link) {
		link->open = false;
		free(link->bundle);
		link->bundle = NULL;
	}
	return NULL;
}

bool ygr_policy_link_connected(const struct ygr_policy_link *link)
{
	return link->connected;
}

const char *ygr_policy_link_reason(const struct ygr_policy_link *link)
{
	return link->connected ? NULL : "GuestSilent";
}

const char *ygr_policy_link_message(const struct ygr_policy_link *link)
{
	return link->connected ? NULL : "the guest does not answer";
}

int ygr_policy_link_load(struct ygr_policy_link *link, const void *bundle, size_t len,
			 const struct ygr_cert *cert, const uint8_t signature[64])
{
	if (!link->connected || link->awaiting)
		return link->connected ? -EBUSY : -ENOTCONN;
	free(link->bundle);
	link->bundle = malloc(len + 1);
	memcpy(link->bundle, bundle, len);
	link->len = len;
	link->cert = *cert;
	memcpy(link->signature, signature, sizeof(link->signature));
	link->awaiting = true;
	link->loads++;
	return 0;
}

void ygr_policy_link_ask(struct ygr_policy_link *link)
{
	(void)link;
}

struct ygr_policy_link *double_policy_link(const char *vm)
{
	for (int i = 0; i < DOUBLE_MAX; i++)
		if (double_policy_links[i].open && !strcmp(double_policy_links[i].name, vm))
			return &double_policy_links[i];
	return NULL;
}

void double_policy_connected(struct ygr_policy_link *link, bool connected)
{
	link->connected = connected;
	link->awaiting = false;
	link->handlers.changed(link->handlers.user);
}

void double_policy_status(struct ygr_policy_link *link, int64_t result, const char *status)
{
	json_t *object = json_loads(status, 0, NULL);

	link->awaiting = false;
	link->handlers.status(link->handlers.user, result, object);
	json_decref(object);
}
