/*
 * One application of one monitor on one VM, as a state machine that a pass moves on. A run that fails is
 * tried again after 1 s, 2 s, 4 s ... 60 s (each a quarter shorter or longer, so that many do not start at
 * once); one that ran for a minute starts from the beginning. What can only be mended by changing the
 * monitor or the catalogue is not tried again.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "agent/reconcile/state.h"
#include "lib/base/log.h"

const char *ygr_work_state_word(enum ygr_work_state state)
{
	static const char *const words[] = {"Pending", "Starting", "Running",  "Backoff",
					    "Stopped", "Failed",   "Completed"};

	return words[state];
}

static uint64_t now_ms(const struct ygr_work *work)
{
	return uv_now(work->guest->reconcile->options.loop);
}

static void set_state(struct ygr_work *work, enum ygr_work_state state)
{
	if (work->state == state)
		return;
	work->state = state;
	work->guest->reconcile->dirty = true;
}

int ygr_work_new(struct ygr_observed *guest, struct ygr_wanted *wanted, const struct ygr_app *app,
		 const json_t *spec, struct ygr_work **ret)
{
	struct ygr_work *work = calloc(1, sizeof(*work));

	if (work)
		work->app = strdup(app->name);
	if (!work || !work->app) {
		free(work);
		return -ENOMEM;
	}
	work->guest = guest;
	work->wanted = wanted;
	work->spec = json_incref((json_t *)spec);
	*ret = work;
	return 0;
}

void ygr_work_kill(struct ygr_work *work)
{
	if (work->application)
		ygr_reconcile_metrics_work(work);
	work->application = ygr_application_close(work->application);
	work->next_ms = 0;
	work->failures = 0;
	set_state(work, YGR_WORK_PENDING);
}

struct ygr_work *ygr_work_free(struct ygr_work *work)
{
	if (!work)
		return NULL;
	ygr_work_kill(work);
	work->guest->reconcile->dirty = true;
	json_decref(work->spec);
	free(work->app);
	free(work);
	return NULL;
}

bool ygr_work_stop(struct ygr_work *work)
{
	if (!work->application || ygr_application_state(work->application) == YGR_APPLICATION_ENDED)
		return true;
	if (work->state != YGR_WORK_STOPPED)
		ygr_application_stop(work->application);
	set_state(work, YGR_WORK_STOPPED);
	return false;
}

static void on_changed(void *user, struct ygr_application *application)
{
	struct ygr_work *work = user;
	struct ygr_reconcile *reconcile = work->guest->reconcile;
	int64_t last = ygr_application_last_event(application) / 1000000000;

	ygr_reconcile_metrics_work(work);
	if (last >= work->wanted->last_event + YGR_LAST_EVENT_S)
		reconcile->dirty = true;
	/* New counters of what runs are no news to a pass, a new state is. */
	if (work->state != YGR_WORK_RUNNING || ygr_application_state(application) != YGR_APPLICATION_RUNNING)
		ygr_reconcile_soon(reconcile, 0);
	else if (reconcile->dirty)
		ygr_reconcile_soon(reconcile, YGR_PUBLISH_MS);
}

static uint64_t backoff_ms(unsigned failures)
{
	uint64_t ms = failures > 6 ? YGR_BACKOFF_MAX_MS : (uint64_t)YGR_BACKOFF_MIN_MS << (failures - 1);
	uint16_t random = 0x8000;

	if (ms > YGR_BACKOFF_MAX_MS)
		ms = YGR_BACKOFF_MAX_MS;
	(void)!getrandom(&random, sizeof(random), GRND_NONBLOCK);
	return ms * 3 / 4 + ms / 2 * random / 0xffff;
}

/* Fails with REASON and MESSAGE: tried again later, or not at all. */
static void failed(struct ygr_work *work, const char *reason, const char *message, bool final)
{
	const struct ygr_vm *vm = work->guest->vm;

	if (strcmp(work->message, message) != 0)
		ygr_log(YGR_LOG_WARNING, "reconcile", "%s/%s: %s on %s: %s: %s", work->wanted->namespace_,
			work->wanted->name, work->app, vm->name, reason, message);
	snprintf(work->reason, sizeof(work->reason), "%s", reason);
	snprintf(work->message, sizeof(work->message), "%s", message);
	work->guest->reconcile->dirty = true;
	if (final) {
		set_state(work, YGR_WORK_FAILED);
		return;
	}
	work->failures++;
	work->next_ms = now_ms(work) + backoff_ms(work->failures);
	set_state(work, YGR_WORK_BACKOFF);
}

static void start(struct ygr_work *work, const struct ygr_app *app)
{
	struct ygr_reconcile *reconcile = work->guest->reconcile;
	struct ygr_application_ram ram[YGR_VM_REGIONS_MAX];
	struct ygr_error error = YGR_ERROR_INIT;
	char monitor[YGR_API_NAME_MAX + YGR_API_LABEL_MAX + 2];

	snprintf(monitor, sizeof(monitor), "%s/%s", work->wanted->namespace_, work->wanted->name);
	struct ygr_application_options options = {
	    .link = work->guest->link,
	    .monitor = monitor,
	    .namespace_ = work->wanted->namespace_,
	    .monitor_name = work->wanted->name,
	    .app = app->name,
	    .program = app->program,
	    .args = app->args,
	    .delivery = ygr_app_delivery_words[app->delivery],
	    .memory = app->limits.memory,
	    .cpu_milli = app->limits.cpu_milli,
	    .events_per_second = app->limits.events_per_second,
	};
	const struct ygr_application_handlers handlers = {.changed = on_changed, .user = work};
	options.ram_fd = ygr_observed_ram(work->guest, ram, &options.ram_count);
	options.ram = ram;
	if (work->ran) {
		work->restarts++;
		ygr_metric_add(reconcile->metrics.restarts, 1,
			       (const char *[]){work->wanted->namespace_, work->wanted->name, work->app});
	}
	work->ran = true;
	work->started_ms = now_ms(work);
	work->counted = (struct ygr_application_counters){0};
	int r = ygr_application_start(reconcile->options.telebpf, &options, &handlers, &work->application,
				      &error);
	if (r < 0)
		failed(work,
		       r == -ENOENT  ? "NotInCatalogue"
		       : r == -EPERM ? "ForbiddenByCatalogue"
				     : "LaunchFailed",
		       error.message, r == -ENOENT || r == -EPERM);
	else
		set_state(work, YGR_WORK_STARTING);
}

static void describe_exit(int status, char *out, size_t size)
{
	if (status > 128)
		snprintf(out, size, "ended by signal %d", status - 128);
	else
		snprintf(out, size, "ended with code %d", status);
}

static void ended(struct ygr_work *work, const struct ygr_app *app)
{
	int status = ygr_application_exit_status(work->application);
	const char *reason = ygr_application_reason(work->application);
	char message[YGR_ERROR_MESSAGE_MAX];

	describe_exit(status, message, sizeof(message));
	if (reason)
		snprintf(message, sizeof(message), "%s",
			 ygr_application_message(work->application) ?: reason);
	else if (status < 0)
		snprintf(message, sizeof(message), "it could not be started");
	char kept[64];
	snprintf(kept, sizeof(kept), "%s", reason ? reason : status < 0 ? "LaunchFailed" : "Exited");
	if (now_ms(work) - work->started_ms >= YGR_BACKOFF_RESET_MS)
		work->failures = 0;
	ygr_reconcile_metrics_work(work);
	work->application = ygr_application_close(work->application);
	if (work->state ==
	    YGR_WORK_STOPPED) { /* as we asked; the next pass starts it anew if it is needed */
		set_state(work, YGR_WORK_PENDING);
		return;
	}
	/* What ended because the guest or its channel did says nothing about the application. */
	bool by_itself = status >= 0 && !reason;
	if (by_itself && app->restart_policy == YGR_RESTART_NEVER && status != 0)
		failed(work, kept, message, true);
	else if (by_itself && app->restart_policy != YGR_RESTART_ALWAYS && status == 0)
		set_state(work, YGR_WORK_COMPLETED);
	else
		failed(work, kept, message, false);
}

void ygr_work_advance(struct ygr_work *work, const struct ygr_app *app, uint64_t *next_ms)
{
	if (work->application) {
		switch (ygr_application_state(work->application)) {
		case YGR_APPLICATION_STARTING:
			return;
		case YGR_APPLICATION_RUNNING:
			if (work->state == YGR_WORK_STARTING)
				set_state(work, YGR_WORK_RUNNING);
			if (work->message[0] && now_ms(work) - work->started_ms >= YGR_BACKOFF_RESET_MS)
				work->message[0] = work->reason[0] = '\0';
			return;
		case YGR_APPLICATION_ENDED:
			ended(work, app);
		}
	}
	if (work->state == YGR_WORK_COMPLETED || work->state == YGR_WORK_FAILED)
		return;
	if (work->state == YGR_WORK_BACKOFF && now_ms(work) < work->next_ms) {
		if (work->next_ms < *next_ms)
			*next_ms = work->next_ms;
		return;
	}
	if (!ygr_observed_ready(work->guest)) {
		set_state(work, YGR_WORK_PENDING);
		return;
	}
	start(work, app);
	if (work->state == YGR_WORK_BACKOFF && work->next_ms < *next_ms)
		*next_ms = work->next_ms;
}
