/*
 * One application: a channel dialled and a grant signed on a worker, then a yagura-session with its
 * descriptors (application-launch.c), whose control lines, process end and output pipes come back to the loop
 * (application-listen.c). It has ended when the process is reaped and both pipes and the control connection are
 * at their end, so that no line is lost; a pipe that somebody still holds open is given up after a second.
 */
#include "agent/telebpf/application.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "lib/base/cleanup.h"

void ygr_application_unref(struct ygr_application *a)
{
	if (--a->references)
		return;
	if (a->holds_uid)
		ygr_uid_release(a->telebpf, a->uid);
	if (a->options.ram_fd >= 0)
		close(a->options.ram_fd);
	for (char **arg = a->args; arg && *arg; arg++)
		free(*arg);
	free(a->args);
	free(a->ram);
	free(a->executable);
	free(a->cgroup);
	free(a->delivery_wanted);
	free((char *)a->vm.uuid);
	free((char *)a->vm.namespace_);
	free((char *)a->vm.name);
	free((char *)a->vm.address);
	free((char *)a->options.monitor);
	free((char *)a->options.namespace_);
	free((char *)a->options.monitor_name);
	free((char *)a->options.app);
	free((char *)a->options.program);
	ygr_session_grant_deinit(&a->grant);
	ygr_telebpf_unref(a->telebpf);
	ygr_buf_deinit(&a->control_input);
	for (unsigned i = 0; i < YGR_APPLICATION_STREAMS; i++)
		ygr_lines_deinit(&a->lines[i]);
	free(a);
}

void ygr_application_changed(struct ygr_application *a)
{
	if (!a->closed)
		a->handlers.changed(a->handlers.user, a);
}

/* The first reason stays: what follows is usually its consequence. */
void ygr_application_fail(struct ygr_application *a, const char *reason, const char *message)
{
	if (a->reason[0])
		return;
	snprintf(a->reason, sizeof(a->reason), "%s", reason);
	ygr_error_set(&a->error, EIO, "%s", message);
}

void ygr_application_handle_closed(uv_handle_t *handle)
{
	ygr_application_unref(handle->data);
}

void ygr_application_end_if_over(struct ygr_application *a)
{
	if (a->state == YGR_APPLICATION_ENDED || a->dial || !a->reaped || a->clearing || a->control_open ||
	    a->streams[YGR_APPLICATION_OUT].open || a->streams[YGR_APPLICATION_ERR].open)
		return;
	a->state = YGR_APPLICATION_ENDED;
	uv_timer_stop(&a->timer);
	ygr_application_changed(a);
}
static const char *deliverable(const struct ygr_application_options *options, bool allow_shared,
			       struct ygr_error *error)
{
	const char *wanted = options->delivery ? options->delivery : "Auto";
	bool ram = options->ram_fd >= 0;
	if (strcmp(wanted, "Shared") == 0 && !allow_shared) {
		ygr_error_set(error, EPERM,
			      "delivery Shared is not allowed on this node (allowShared in agent.yaml)");
		return NULL;
	}
	if (strcmp(wanted, "Auto") == 0)
		return ram ? "Copied" : "Stream";
	return ram ? wanted : "Stream";
}

static int find_program(struct ygr_application *a, struct ygr_error *error)
{
	const struct ygr_application_options *options = &a->options;
	const char *nearest;
	if (options->adhoc) {
		if (!options->wake)
			a->options.wake = ygr_wake_words[0];
		a->executable = strdup(options->program);
		return a->executable ? 0 : ygr_error_set(error, ENOMEM, "out of memory");
	}
	a->entry = ygr_catalogue_find(a->telebpf->catalogue, options->program, &nearest);
	if (!a->entry)
		return ygr_error_set(error, ENOENT, "no program \"%s\" in this node's catalogue%s%s%s",
				     options->program, nearest ? "; did you mean \"" : "",
				     nearest ? nearest : "", nearest ? "\"?" : "");
	if (!options->wake)
		a->options.wake = ygr_catalogue_wake(a->entry);
	a->executable = strdup(ygr_catalogue_executable(a->entry));
	if (!a->executable)
		return ygr_error_set(error, ENOMEM, "out of memory");
	return ygr_catalogue_check_args(a->entry, a->args, error);
}

/* Replaces what is borrowed in a->options by copies. */
static bool copy_options(struct ygr_application *a, const struct ygr_application_options *options)
{
	size_t n = 0;
	while (options->args && options->args[n])
		n++;
	a->args = calloc(n + 1, sizeof(char *));
	a->ram = calloc(options->ram_count + 1, sizeof(*a->ram));
	if (!a->args || !a->ram)
		return false;
	for (size_t i = 0; i < n; i++)
		if (!(a->args[i] = strdup(options->args[i])))
			return false;
	if (options->ram_count)
		memcpy(a->ram, options->ram, options->ram_count * sizeof(*a->ram));
	a->options.args = a->args;
	a->options.ram = a->ram;
	a->options.monitor = strdup(options->monitor);
	a->options.namespace_ = strdup(options->namespace_);
	a->options.monitor_name = strdup(options->monitor_name);
	a->options.app = strdup(options->app);
	a->options.program = strdup(options->program);
	const struct ygr_link_target *vm = ygr_link_target(options->link);
	a->vm.uuid = strdup(vm->uuid);
	a->vm.namespace_ = strdup(vm->namespace_);
	a->vm.name = strdup(vm->name);
	a->vm.address = strdup(vm->address);
	return a->vm.uuid && a->vm.namespace_ && a->vm.name && a->vm.address && a->options.monitor &&
	       a->options.namespace_ && a->options.monitor_name && a->options.app && a->options.program;
}

int ygr_application_start(struct ygr_telebpf *telebpf, const struct ygr_application_options *options,
			  const struct ygr_application_handlers *handlers, struct ygr_application **ret,
			  struct ygr_error *error)
{
	struct ygr_application *a = calloc(1, sizeof(*a));
	if (!a) {
		if (options->ram_fd >= 0)
			close(options->ram_fd);
		return ygr_error_set(error, ENOMEM, "out of memory");
	}
	a->telebpf = ygr_telebpf_ref(telebpf);
	a->options = *options;
	a->options.monitor = a->options.namespace_ = a->options.monitor_name = a->options.app =
	    a->options.program = NULL;
	a->handlers = *handlers;
	a->references = 1;
	a->exit_status = -1;
	a->control_input = YGR_BUF_INIT(YGR_CONTROL_LINE_MAX);

	int r = copy_options(a, options) ? find_program(a, error)
					 : ygr_error_set(error, ENOMEM, "out of memory");
	const char *delivery = r == 0 ? deliverable(options, telebpf->allow_shared, error) : NULL;
	if (r == 0 && !delivery)
		r = -EPERM;
	if (r == 0) {
		a->delivery_wanted = strdup(delivery);
		r = a->delivery_wanted && getrandom(a->id, sizeof(a->id), 0) == sizeof(a->id) ? 0 : -ENOMEM;
	}
	if (r == 0) {
		r = ygr_uid_hold(telebpf, options->monitor, a->vm.uuid, &a->uid);
		a->holds_uid = r == 0;
		if (r < 0)
			ygr_error_set(error, -r,
				      "no uid is left for this application (uidCount in agent.yaml)");
	}
	if (r == 0) {
		ygr_application_init_lines(a);
		r = ygr_application_dial(a);
		if (r < 0)
			ygr_error_set(error, -r, "out of memory");
	}
	if (r < 0) {
		ygr_application_unref(a);
		return r;
	}
	a->references += 2; /* dial, timer */
	uv_timer_init(telebpf->loop, &a->timer);
	a->timer.data = a;
	*ret = a;
	return 0;
}

static void kill_session(uv_timer_t *timer)
{
	struct ygr_application *a = timer->data;
	a->killed = true;
	if (a->process_open)
		uv_process_kill(&a->process, SIGKILL);
}

void ygr_application_stop(struct ygr_application *a)
{
	if (a->stopping || a->state == YGR_APPLICATION_ENDED)
		return;
	a->stopping = true;
	if (!a->process_open)
		return; /* seen when the dial is done, or it has ended already */
	ygr_application_tell(a, "stop", SIGINT);
	uv_timer_start(&a->timer, kill_session, YGR_APPLICATION_KILL_MS, 0);
}

int ygr_application_signal(struct ygr_application *a, int signal_number)
{
	return ygr_application_tell(a, "signal", signal_number);
}

struct ygr_application *ygr_application_close(struct ygr_application *a)
{
	if (!a)
		return NULL;
	a->closed = true;
	if (a->process_open) {
		uv_process_kill(&a->process, SIGKILL);
		/* The handle stays until the exit is seen, so that the process is reaped. */
	}
	ygr_application_close_stream(&a->streams[YGR_APPLICATION_OUT]);
	ygr_application_close_stream(&a->streams[YGR_APPLICATION_ERR]);
	ygr_application_close_control(a);
	uv_close((uv_handle_t *)&a->timer, ygr_application_handle_closed);
	ygr_application_unref(a);
	return NULL;
}

enum ygr_application_state ygr_application_state(const struct ygr_application *a)
{
	return a->state;
}

const char *ygr_application_reason(const struct ygr_application *a)
{
	return a->reason[0] ? a->reason : NULL;
}

const char *ygr_application_message(const struct ygr_application *a)
{
	return a->reason[0] ? a->error.message : NULL;
}

int ygr_application_exit_status(const struct ygr_application *a)
{
	return a->exit_status;
}

const char *ygr_application_delivery(const struct ygr_application *a)
{
	return a->delivery[0] ? a->delivery : NULL;
}

const char *ygr_application_mechanism(const struct ygr_application *a)
{
	return a->mechanism[0] ? a->mechanism : NULL;
}

const struct ygr_application_counters *ygr_application_counters(const struct ygr_application *a)
{
	return &a->counters;
}

int64_t ygr_application_last_event(const struct ygr_application *a)
{
	return a->last_event;
}
