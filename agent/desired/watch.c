/*
 * The directory source: inotify on the directory says "look again", a pass follows DEBOUNCE_MS after the
 * last change (an editor makes several), and the differences are reported. When the directory itself is not
 * there or goes away, it is looked for once a second.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "agent/desired/directory.h"
#include "lib/base/cleanup.h"

#define DEBOUNCE_MS 100
#define ABSENT_MS   1000
#define WATCHED                                                                                             \
	(IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE | IN_CREATE | IN_ATTRIB |                 \
	 IN_DELETE_SELF | IN_MOVE_SELF)

struct ygr_desired {
	uv_poll_t poll;
	uv_timer_t timer;
	int open_handles;
	int inotify;
	int watch; /* -1 while the directory is absent */
	char *directory;
	struct ygr_desired_handlers handlers;
	struct ygr_manifest_set set;
	bool synced;
};

static void report_problems(struct ygr_desired *desired, const struct ygr_manifest_set *set)
{
	struct ygr_manifest_problem *list = calloc(set->problem_count + 1, sizeof(*list));

	if (!list)
		return;
	for (size_t i = 0; i < set->problem_count; i++)
		list[i] = (struct ygr_manifest_problem){set->problems[i].file, set->problems[i].kind,
							set->problems[i].namespace_, set->problems[i].name,
							set->problems[i].message};
	desired->handlers.problems(desired->handlers.user, list, set->problem_count);
	free(list);
}

static bool same_problems(const struct ygr_manifest_set *a, const struct ygr_manifest_set *b)
{
	if (a->problem_count != b->problem_count)
		return false;
	for (size_t i = 0; i < a->problem_count; i++)
		if (strcmp(a->problems[i].message, b->problems[i].message) != 0)
			return false;
	return true;
}

/* What the old set still holds was not moved to the new one: objects that changed, or are gone. */
static void report(struct ygr_desired *desired, struct ygr_manifest_set *old)
{
	const struct ygr_desired_handlers *handlers = &desired->handlers;
	const struct ygr_manifest_set *set = &desired->set;

	for (size_t i = 0; i < old->count; i++) {
		const struct ygr_manifest *gone = &old->items[i];
		if (!gone->kind ||
		    ygr_manifest_find(set, gone->kind, gone->meta->namespace_, gone->meta->name))
			continue;
		(gone->policy ? handlers->policy_gone
			      : handlers->gone)(handlers->user, gone->meta->namespace_, gone->meta->name);
	}
	for (size_t i = 0; i < set->count; i++) {
		const struct ygr_manifest *manifest = &set->items[i];
		if (manifest
			->stale) /* the others always: the pointer is a new one; equal text has an equal generation */
			continue;
		if (manifest->policy)
			handlers->policy_changed(handlers->user, manifest->policy);
		else
			handlers->changed(handlers->user, manifest->monitor);
	}
	if (!desired->synced || !same_problems(old, set))
		report_problems(desired, set);
}

static void add_watch(struct ygr_desired *desired)
{
	if (desired->watch < 0)
		desired->watch =
		    inotify_add_watch(desired->inotify, desired->directory, WATCHED | IN_ONLYDIR);
}

static void on_timer(uv_timer_t *timer)
{
	struct ygr_desired *desired = timer->data;
	struct ygr_manifest_set fresh, old;

	add_watch(desired); /* before reading, so that nothing falls between */
	if (ygr_manifest_read(desired->directory, &desired->set, &fresh) < 0) {
		uv_timer_start(timer, on_timer, ABSENT_MS, 0);
		return;
	}
	old = desired->set;
	desired->set = fresh;
	report(desired, &old);
	ygr_manifest_deinit(&old);
	if (!desired->synced) {
		desired->synced = true;
		desired->handlers.synced(desired->handlers.user);
	}
	if (desired->watch < 0)
		uv_timer_start(timer, on_timer, ABSENT_MS, 0);
}

/* Does this event concern us? Also notices when the directory itself went away. */
static bool concerns(struct ygr_desired *desired, const struct inotify_event *event)
{
	if (event->mask & (IN_DELETE_SELF | IN_MOVE_SELF)) {
		inotify_rm_watch(desired->inotify, desired->watch);
		desired->watch = -1;
		return true;
	}
	if (event->mask & IN_Q_OVERFLOW)
		return true;
	/* "..data" is what the kubelet swaps when a mounted ConfigMap changes. */
	return event->len && (ygr_manifest_is_name(event->name) || !strcmp(event->name, "..data"));
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
	char data[4096] __attribute__((aligned(__alignof__(struct inotify_event))));
	struct ygr_desired *desired = poll->data;
	bool look = false;
	ssize_t n;

	(void)status, (void)events;
	while ((n = read(desired->inotify, data, sizeof(data))) > 0) {
		for (ssize_t at = 0; at < n;) {
			const struct inotify_event *event = (const void *)(data + at);
			look |= concerns(desired, event);
			at += (ssize_t)(sizeof(*event) + event->len);
		}
	}
	if (look)
		uv_timer_start(&desired->timer, on_timer, DEBOUNCE_MS, 0);
}

static void on_closed(uv_handle_t *handle)
{
	struct ygr_desired *desired = handle->data;

	if (--desired->open_handles)
		return;
	ygr_manifest_deinit(&desired->set);
	close(desired->inotify);
	free(desired->directory);
	free(desired);
}

int ygr_desired_watch_directory(uv_loop_t *loop, const char *directory,
				const struct ygr_desired_handlers *handlers, struct ygr_desired **ret,
				struct ygr_error *error)
{
	_cleanup_close_ int inotify = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);

	if (inotify < 0)
		return ygr_error_set(error, errno, "inotify: %s", strerror(errno));
	struct ygr_desired *desired = calloc(1, sizeof(*desired));
	_cleanup_free_ char *copy = strdup(directory);
	if (!desired || !copy || uv_poll_init(loop, &desired->poll, inotify) < 0) {
		free(desired);
		return ygr_error_set(error, ENOMEM, "%s: out of memory", directory);
	}
	desired->directory = ygr_steal_ptr(&copy);
	desired->inotify = ygr_steal_fd(&inotify);
	desired->watch = -1;
	desired->handlers = *handlers;
	desired->open_handles = 2;
	desired->poll.data = desired->timer.data = desired;
	uv_timer_init(loop, &desired->timer);
	uv_poll_start(&desired->poll, UV_READABLE, on_poll);
	uv_timer_start(&desired->timer, on_timer, 0, 0);
	*ret = desired;
	return 0;
}

struct ygr_desired *ygr_desired_stop(struct ygr_desired *desired)
{
	if (!desired)
		return NULL;
	uv_close((uv_handle_t *)&desired->poll, on_closed);
	uv_close((uv_handle_t *)&desired->timer, on_closed);
	return NULL;
}
