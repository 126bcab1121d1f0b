/*
 * Ad-hoc runs. HTTP threads check what can be checked without the loop and put a request into a mailbox; the
 * loop starts the application and passes its output on. When the client is slower than the application, the
 * pipe is left alone until it has caught up; when the client has gone the application is stopped.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "agent/reconcile/state.h"
#include "lib/base/decode.h"
#include "lib/base/hex.h"

#define RUNS_MAX     32
#define MAIL_MAX     64
#define QUEUED_MAX   (1u << 20) /* bytes waiting for the client */
#define TICK_MS      50
#define RUN_MEMORY   (256u << 20)
#define RUN_ARGS_MAX 64

struct run {
	struct ygr_runs *runs;
	struct ygr_observed *guest;
	struct ygr_run_stream *stream;
	struct ygr_application *application;
	char id[17];
	uid_t owner;
	bool paused, stopping;
	struct run *next;
};

struct mail {
	json_t *request; /* NULL: a signal */
	struct ygr_run_stream *stream;
	struct ygr_peer peer;
	char id[17];
	int signal_number;
	struct mail *next;
};

struct known { /* what HTTP threads may know of a run */
	char id[17];
	uid_t owner;
};

struct ygr_runs {
	struct ygr_reconcile *reconcile;
	uv_async_t async;
	uv_timer_t timer;
	int open_handles;
	struct run *list;
	pthread_mutex_t lock; /* over: */
	struct mail *first, **last;
	unsigned mail_count;
	struct known known[RUNS_MAX];
	unsigned known_count;
};

static void end_stream(struct ygr_run_stream *stream, const char *reason, const char *message)
{
	ygr_run_stream_end(stream, json_pack("{s:s, s:s}", "error", message, "reason", reason));
}

static void forget_known(struct ygr_runs *runs, const char *id)
{
	pthread_mutex_lock(&runs->lock);
	for (unsigned i = 0; i < runs->known_count; i++)
		if (!strcmp(runs->known[i].id, id))
			runs->known[i] = runs->known[--runs->known_count];
	pthread_mutex_unlock(&runs->lock);
}

/* Takes RUN out of the list and says LAST to its client. */
static void finish(struct run *run, json_t *last)
{
	struct run **at = &run->runs->list;

	while (*at != run)
		at = &(*at)->next;
	*at = run->next;
	forget_known(run->runs, run->id);
	ygr_application_close(run->application);
	ygr_run_stream_end(run->stream, last);
	free(run);
}

static void finish_ended(struct run *run)
{
	int status = ygr_application_exit_status(run->application);
	const char *reason = ygr_application_reason(run->application);
	const char *message = ygr_application_message(run->application);

	if (reason || status < 0)
		finish(run, json_pack("{s:s, s:s}", "error", message ? message : "it could not be started",
				      "reason", reason ? reason : "LaunchFailed"));
	else if (status > 128)
		finish(run, json_pack("{s:i}", "signal", status - 128));
	else
		finish(run, json_pack("{s:i}", "exit", status));
}

/* Ended runs are finished, gone clients' runs stopped, paused ones resumed. */
static void on_tick(uv_timer_t *timer)
{
	struct ygr_runs *runs = timer->data;

	for (struct run *run = runs->list, *next; run; run = next) {
		next = run->next;
		if (ygr_application_state(run->application) == YGR_APPLICATION_ENDED) {
			finish_ended(run);
			continue;
		}
		if (!run->stopping && !ygr_run_stream_wanted(run->stream)) {
			run->stopping = true;
			ygr_application_stop(run->application);
		}
		if (run->paused && (run->stopping || ygr_run_stream_queued(run->stream) < QUEUED_MAX / 2)) {
			run->paused = false;
			ygr_application_resume(run->application);
		}
	}
	if (!runs->list)
		uv_timer_stop(timer);
}

static void on_changed(void *user, struct ygr_application *application)
{
	struct run *run = user;

	if (ygr_application_state(application) == YGR_APPLICATION_ENDED)
		uv_timer_start(&run->runs->timer, on_tick, 0, TICK_MS);
}

static bool on_output(void *user, const char *which, const char *data, size_t len)
{
	struct run *run = user;

	ygr_run_stream_data(run->stream, which, data, len);
	run->paused = ygr_run_stream_queued(run->stream) >= QUEUED_MAX;
	return !run->paused;
}

/* The guest called NAME ("web-3" or "default/web-3"); a bare name must be the only one. */
static struct ygr_observed *find_guest(struct ygr_reconcile *reconcile, const char *ns, const char *name,
				       struct ygr_error *error)
{
	struct ygr_observed *found = NULL;
	const char *slash = strchr(name, '/');

	for (size_t i = 0; i < reconcile->guest_count; i++) {
		const struct ygr_vm *vm = reconcile->guests[i]->vm;
		if (strcmp(vm->name, slash ? slash + 1 : name) != 0)
			continue;
		if (slash && (strncmp(vm->namespace_, name, (size_t)(slash - name)) != 0 ||
			      vm->namespace_[slash - name]))
			continue;
		if (ns && strcmp(vm->namespace_, ns) != 0)
			continue;
		if (found) {
			ygr_error_set(error, EINVAL, "%s is in more than one namespace; say NAMESPACE/NAME",
				      name);
			return NULL;
		}
		found = reconcile->guests[i];
	}
	if (!found)
		ygr_error_set(error, ENOENT, "there is no VM %s on this node", name);
	else if (!ygr_observed_ready(found)) {
		const char *why = found->link ? ygr_link_message(found->link) : NULL;
		ygr_error_set(error, ENOTCONN, "%s is %s and its channel %s%s%s", name,
			      ygr_vm_phase_word(found->vm->phase),
			      found->link ? ygr_link_state_word(ygr_link_state(found->link)) : "None",
			      why ? ": " : "", why ? why : "");
		return NULL;
	}
	return found;
}

static void collect_args(const json_t *list, char *args[RUN_ARGS_MAX + 1])
{
	size_t i, n = 0;
	json_t *item;

	json_array_foreach(list, i, item) if (n < RUN_ARGS_MAX) args[n++] = (char *)json_string_value(item);
	args[n] = NULL;
}

/* The word itself, or NULL: the request may go before the application does. */
static const char *wake_of(const json_t *request)
{
	const char *asked = json_string_value(json_object_get(request, "wake"));

	for (const char *const *word = ygr_wake_words; asked && *word; word++)
		if (strcmp(asked, *word) == 0)
			return *word;
	return NULL;
}

static int start(struct run *run, const json_t *request, struct ygr_error *error)
{
	const char *program = json_string_value(json_object_get(request, "program"));
	const char *delivery = json_string_value(json_object_get(request, "delivery"));
	struct ygr_application_ram ram[YGR_VM_REGIONS_MAX];
	char *args[RUN_ARGS_MAX + 1], monitor[32];

	snprintf(monitor, sizeof(monitor), "run/%s", run->id);
	collect_args(json_object_get(request, "args"), args);
	struct ygr_application_options options = {
	    .link = run->guest->link,
	    .monitor = monitor,
	    .namespace_ = run->guest->vm->namespace_,
	    .monitor_name = run->id,
	    .app = "run",
	    .program = program,
	    .adhoc = program[0] == '/',
	    .args = args,
	    .delivery = delivery ? delivery : "Auto",
	    .wake = wake_of(request),
	    .memory = RUN_MEMORY,
	    .cpu_milli = 1000,
	    .events_per_second = UINT32_MAX,
	    .trace = json_is_true(json_object_get(request, "trace")),
	    .explain = json_is_true(json_object_get(request, "explain")),
	};
	const struct ygr_application_handlers handlers = {on_changed, on_output, run};
	options.ram_fd = ygr_observed_ram(run->guest, ram, &options.ram_count);
	options.ram = ram;
	return ygr_application_start(run->runs->reconcile->options.telebpf, &options, &handlers,
				     &run->application, error);
}

static const char *reason_of(int r)
{
	switch (r) {
	case -ENOENT:
		return "NotFound";
	case -EPERM:
	case -EACCES:
		return "ForbiddenByCatalogue";
	case -ENOTCONN:
		return "ChannelLost";
	default:
		return "LaunchFailed";
	}
}

static int add_known(struct ygr_runs *runs, const struct run *run)
{
	int r = -EAGAIN;

	pthread_mutex_lock(&runs->lock);
	if (runs->known_count < RUNS_MAX) {
		struct known *known = &runs->known[runs->known_count++];
		memcpy(known->id, run->id, sizeof(known->id));
		known->owner = run->owner;
		r = 0;
	}
	pthread_mutex_unlock(&runs->lock);
	return r;
}

static void open_run(struct ygr_runs *runs, struct mail *mail)
{
	const char *vm = json_string_value(json_object_get(mail->request, "vm"));
	const char *ns = json_string_value(json_object_get(mail->request, "namespace"));
	struct ygr_error error = YGR_ERROR_INIT;
	struct run *run = calloc(1, sizeof(*run));
	uint8_t id[8];

	if (!run || getrandom(id, sizeof(id), 0) != sizeof(id)) {
		free(run);
		end_stream(mail->stream, "LaunchFailed", "out of memory");
		return;
	}
	*run = (struct run){.runs = runs, .stream = mail->stream, .owner = mail->peer.uid};
	ygr_hex_encode(id, sizeof(id), run->id);
	run->guest = find_guest(runs->reconcile, ns, vm, &error);
	int r = run->guest ? add_known(runs, run) : -error.code;
	if (r == -EAGAIN)
		ygr_error_set(&error, EAGAIN, "%d runs are under way already", RUNS_MAX);
	if (r == 0) {
		ygr_run_stream_begin(run->stream, run->id);
		r = start(run, mail->request, &error);
		if (r < 0)
			forget_known(runs, run->id);
	}
	if (r < 0) {
		end_stream(run->stream, reason_of(r), error.message);
		free(run);
		return;
	}
	run->next = runs->list;
	runs->list = run;
	uv_timer_start(&runs->timer, on_tick, TICK_MS, TICK_MS);
}

static void signal_run(struct ygr_runs *runs, const struct mail *mail)
{
	for (struct run *run = runs->list; run; run = run->next)
		if (!strcmp(run->id, mail->id))
			(void)ygr_application_signal(run->application, mail->signal_number);
}

static void on_async(uv_async_t *async)
{
	struct ygr_runs *runs = async->data;

	pthread_mutex_lock(&runs->lock);
	struct mail *mail = runs->first;
	runs->first = NULL;
	runs->last = &runs->first;
	runs->mail_count = 0;
	pthread_mutex_unlock(&runs->lock);
	while (mail) {
		struct mail *next = mail->next;
		if (!mail->request)
			signal_run(runs, mail);
		else if (runs->reconcile->stopping)
			end_stream(mail->stream, "Stopped", "the agent is being stopped");
		else
			open_run(runs, mail);
		json_decref(mail->request);
		free(mail);
		mail = next;
	}
}

static int post(struct ygr_runs *runs, struct mail *mail)
{
	pthread_mutex_lock(&runs->lock);
	bool full = runs->mail_count >= MAIL_MAX;
	if (!full) {
		*runs->last = mail;
		runs->last = &mail->next;
		runs->mail_count++;
	}
	pthread_mutex_unlock(&runs->lock);
	if (full) {
		json_decref(mail->request);
		free(mail);
		return -EAGAIN;
	}
	uv_async_send(&runs->async);
	return 0;
}

static int check_request(const json_t *request, bool root, struct ygr_error *error)
{
	static const char *const known[] = {"vm",   "namespace", "program", "args", "delivery",
					    "wake", "trace",     "explain", NULL};
	struct ygr_doc *doc = ygr_doc_new_json("request", (json_t *)request);
	const char *program = NULL, *vm;
	struct ygr_field field;
	char **args = NULL;
	size_t count = 0;
	bool flag;
	int word;

	if (!doc)
		return ygr_error_set(error, ENOMEM, "out of memory");
	struct ygr_field top = ygr_field_root(doc);
	int r = ygr_field_object(&top, known, error);
	if (r == 0)
		r = ygr_field_require(&top, "vm", &field, error);
	if (r == 0)
		r = ygr_field_string(&field, 1, YGR_API_NAME_MAX + YGR_API_LABEL_MAX + 1, &vm, error);
	if (r == 0 && ygr_field_member(&top, "namespace", &field))
		r = ygr_field_string(&field, 1, YGR_API_LABEL_MAX, &vm, error);
	if (r == 0)
		r = ygr_field_require(&top, "program", &field, error);
	if (r == 0)
		r = ygr_field_string(&field, 1, 4096, &program, error);
	if (r == 0 && program[0] == '/' && !root)
		r = ygr_error_set(error, EPERM,
				  "only root may run a program by path; others name one of the catalogue");
	if (r == 0 && ygr_field_member(&top, "args", &field))
		r = ygr_field_strings(&field, RUN_ARGS_MAX, 4096, &args, &count, error);
	ygr_strings_free(args, count);
	if (r == 0 && ygr_field_member(&top, "delivery", &field))
		r = ygr_field_enum(&field, ygr_app_delivery_words, &word, error);
	if (r == 0 && ygr_field_member(&top, "wake", &field))
		r = ygr_field_enum(&field, ygr_wake_words, &word, error);
	if (r == 0 && ygr_field_member(&top, "trace", &field))
		r = ygr_field_bool(&field, &flag, error);
	if (r == 0 && ygr_field_member(&top, "explain", &field))
		r = ygr_field_bool(&field, &flag, error);
	ygr_doc_free(doc);
	return r;
}

int ygr_reconcile_run_start(void *user, const struct ygr_peer *peer, const json_t *request,
			    struct ygr_run_stream *stream, struct ygr_error *error)
{
	struct ygr_reconcile *reconcile = user;
	int r = check_request(request, peer->uid == 0, error);

	if (r < 0)
		return r;
	struct mail *mail = calloc(1, sizeof(*mail));
	if (mail)
		mail->request = json_deep_copy(request);
	if (!mail || !mail->request) {
		free(mail);
		return ygr_error_set(error, ENOMEM, "out of memory");
	}
	mail->stream = stream;
	mail->peer = *peer;
	r = post(reconcile->runs, mail);
	return r < 0 ? ygr_error_set(error, -r, "too many requests at once") : 0;
}

int ygr_reconcile_run_signal(void *user, const struct ygr_peer *peer, const char *id, int signal_number,
			     struct ygr_error *error)
{
	struct ygr_runs *runs = ((struct ygr_reconcile *)user)->runs;
	int r = -ENOENT;

	pthread_mutex_lock(&runs->lock);
	for (unsigned i = 0; i < runs->known_count; i++)
		if (!strcmp(runs->known[i].id, id))
			r = peer->uid == 0 || peer->uid == runs->known[i].owner ? 0 : -EPERM;
	pthread_mutex_unlock(&runs->lock);
	if (r < 0)
		return ygr_error_set(error, -r,
				     r == -EPERM ? "run %s is another user's" : "there is no run %s", id);
	struct mail *mail = calloc(1, sizeof(*mail));
	if (!mail)
		return ygr_error_set(error, ENOMEM, "out of memory");
	snprintf(mail->id, sizeof(mail->id), "%s", id);
	mail->signal_number = signal_number;
	r = post(runs, mail);
	return r < 0 ? ygr_error_set(error, -r, "too many requests at once") : 0;
}

void ygr_runs_end(struct ygr_runs *runs, const struct ygr_observed *guest, const char *reason,
		  const char *message)
{
	for (struct run *run = runs->list, *next; run; run = next) {
		next = run->next;
		if (!guest || run->guest == guest)
			finish(run, json_pack("{s:s, s:s}", "error", message, "reason", reason));
	}
}

int ygr_runs_new(struct ygr_reconcile *reconcile, struct ygr_runs **ret)
{
	struct ygr_runs *runs = calloc(1, sizeof(*runs));

	if (!runs)
		return -ENOMEM;
	int r = uv_async_init(reconcile->options.loop, &runs->async, on_async);
	if (r < 0) {
		free(runs);
		return r;
	}
	uv_timer_init(reconcile->options.loop, &runs->timer);
	runs->reconcile = reconcile;
	runs->last = &runs->first;
	runs->open_handles = 2;
	runs->async.data = runs->timer.data = runs;
	pthread_mutex_init(&runs->lock, NULL);
	*ret = runs;
	return 0;
}

static void on_closed(uv_handle_t *handle)
{
	struct ygr_runs *runs = handle->data;

	if (--runs->open_handles)
		return;
	pthread_mutex_destroy(&runs->lock);
	free(runs);
}

struct ygr_runs *ygr_runs_free(struct ygr_runs *runs)
{
	if (!runs)
		return NULL;
	on_async(&runs->async); /* whoever waits is told; HTTP is stopped by now */
	uv_close((uv_handle_t *)&runs->async, on_closed);
	uv_close((uv_handle_t *)&runs->timer, on_closed);
	return NULL;
}
