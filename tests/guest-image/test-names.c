/*
 * Names of tracepoints, in a directory that looks like tracefs. Which files are opened for a name is what inotify says.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "guest-image/guest/names.h"

#define CATEGORIES 4
#define EVENTS     25

struct tree {
	char root[32];
	int notify;
	struct ygr_guest_names names;
	struct ygr_grant_names ops;
};

static void path_of(const struct tree *tree, const char *name, char out[128])
{
	snprintf(out, 128, "%s/%s", tree->root, name);
}

static void put_id(struct tree *tree, const char *name, int id)
{
	char path[128], file[160];

	path_of(tree, name, path);
	if (mkdir(path, 0700) == 0)
		assert_true(inotify_add_watch(tree->notify, path, IN_OPEN) >= 0);
	snprintf(file, sizeof(file), "%s/id", path);
	FILE *stream = fopen(file, "we");
	assert_non_null(stream);
	fprintf(stream, "%d\n", id);
	fclose(stream);
}

/* Opened ids since the last call. */
static int opened(struct tree *tree)
{
	char buffer[65536] __attribute__((aligned(8)));
	int count = 0;

	for (ssize_t n; (n = read(tree->notify, buffer, sizeof(buffer))) > 0;)
		for (ssize_t at = 0; at < n;) {
			const struct inotify_event *event = (const struct inotify_event *)(buffer + at);
			count += event->len && strcmp(event->name, "id") == 0;
			at += (ssize_t)(sizeof(*event) + event->len);
		}
	return count;
}

static int tree_init(void **state)
{
	struct tree *tree = calloc(1, sizeof(*tree));
	char path[128], name[32];

	snprintf(tree->root, sizeof(tree->root), "/tmp/yagura-names.XXXXXX");
	assert_non_null(mkdtemp(tree->root));
	tree->notify = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	for (int c = 0; c < CATEGORIES; c++) {
		snprintf(name, sizeof(name), "c%d", c);
		path_of(tree, name, path);
		assert_int_equal(mkdir(path, 0700), 0);
		for (int e = 0; e < EVENTS; e++) {
			snprintf(name, sizeof(name), "c%d/e%d", c, e);
			put_id(tree, name, 100 * c + e + 1);
		}
	}
	ygr_guest_names_init(&tree->names, NULL);
	tree->names.events = tree->root;
	tree->ops = ygr_guest_names_ops(&tree->names);
	(void)opened(tree);
	*state = tree;
	return 0;
}

static int tree_deinit(void **state)
{
	struct tree *tree = *state;
	char command[64];

	ygr_guest_names_deinit(&tree->names);
	close(tree->notify);
	snprintf(command, sizeof(command), "rm -rf %s", tree->root);
	int r = system(command);
	free(tree);
	return r;
}

static void assert_name(struct tree *tree, uint64_t id, const char *name)
{
	const char *found = tree->ops.tracepoint(tree->ops.user, id);

	if (!name) {
		assert_null(found);
		return;
	}
	assert_non_null(found);
	assert_string_equal(found, name);
}

static void open_id(struct tree *tree, const char *name)
{
	char path[160];

	snprintf(path, sizeof(path), "%s/%s/id", tree->root, name);
	ygr_guest_names_opened(&tree->names, path);
}

/* A name whose id the session has read costs one file. */
static void test_seen(void **state)
{
	struct tree *tree = *state;

	open_id(tree, "c2/e3");
	assert_name(tree, 204, "c2/e3");
	assert_int_equal(opened(tree), 1);
	ygr_guest_names_opened(&tree->names, "/sys/kernel/debug/tracing/events/c1/e0/id");
	assert_name(tree, 101, "c1/e0");
	assert_int_equal(opened(tree), 1);
	assert_name(tree, 204, "c2/e3");
	assert_int_equal(opened(tree), 2); /* the newest first */
	assert_false(tree->names.tracepoints_read);
}

static void test_others(void **state)
{
	static const char *const no[] = {"/",           "/id",     "/c1/id",    "/c1/e1/format",
					 "/c1/e1/x/id", "/c1//id", "x/c1/e1/id"};
	struct tree *tree = *state;
	char path[160];

	for (size_t i = 0; i < sizeof(no) / sizeof(no[0]); i++) {
		snprintf(path, sizeof(path), "%s%s", tree->root, no[i]);
		ygr_guest_names_opened(&tree->names, path);
	}
	ygr_guest_names_opened(&tree->names, "/etc/passwd");
	for (unsigned i = 0; i < YGR_GUEST_TRACEPOINTS_SEEN; i++)
		if (tree->names.seen[i])
			assert_string_equal(tree->names.seen[i], "c1/"); /* never has an id */
	/* One that nobody has opened: all are read, once. */
	assert_name(tree, 312, "c3/e11");
	assert_in_range(opened(tree), CATEGORIES * EVENTS, CATEGORIES * EVENTS + 2);
	assert_name(tree, 1, "c0/e0");
	assert_in_range(opened(tree), 1, 2);
	assert_name(tree, 99999, NULL);
}

/* A tracepoint that went, and whose id another has: the old name is not said any more. */
static void test_id_given_anew(void **state)
{
	struct tree *tree = *state;

	open_id(tree, "c0/e1");
	assert_name(tree, 2, "c0/e1");
	assert_name(tree, 7, "c0/e6");
	put_id(tree, "c0/e1", 4001);
	put_id(tree, "c0/e6", 4002);
	put_id(tree, "c3/new", 2);
	put_id(tree, "c3/newer", 7);
	assert_name(tree, 2, "c3/new");
	assert_name(tree, 7, "c3/newer");
	assert_name(tree, 4001, "c0/e1");
}

/* As many as are kept, and more. */
static void test_many(void **state)
{
	struct tree *tree = *state;
	char name[32];

	for (int round = 0; round < 3; round++)
		for (int c = 0; c < CATEGORIES; c++)
			for (int e = 0; e < EVENTS; e++) {
				snprintf(name, sizeof(name), "c%d/e%d", c, e);
				open_id(tree, name);
				assert_name(tree, (uint64_t)(100 * c + e + 1), name);
			}
	assert_int_equal(opened(tree), 3 * CATEGORIES * EVENTS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_seen, tree_init, tree_deinit),
	    cmocka_unit_test_setup_teardown(test_others, tree_init, tree_deinit),
	    cmocka_unit_test_setup_teardown(test_id_given_anew, tree_init, tree_deinit),
	    cmocka_unit_test_setup_teardown(test_many, tree_init, tree_deinit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
