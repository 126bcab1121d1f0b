/* The event bus: form of an event, filters, bounded queues that say what they lost, history, the file sink.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "agent/events/bus.h"
#include "agent/events/file-sink.h"

static void publish(struct ygr_bus *bus, const char *vm, const char *app, const char *line,
		    uint64_t sequence)
{
	ygr_bus_publish(bus, &(struct ygr_event){.time_ns = 1700000000123456789,
						 .node = "n1",
						 .namespace_ = "default",
						 .vm = vm,
						 .monitor = "base",
						 .app = app,
						 .stream = "stdout",
						 .line = line,
						 .sequence = sequence});
}

static json_t *next(struct ygr_sink *sink)
{
	static char text[1 << 20];
	static char *rest = text;
	if (rest == text || *rest == '\0') {
		int64_t n = ygr_sink_take(sink, text, sizeof(text) - 1);
		text[n] = '\0';
		rest = text;
		if (n == 0)
			return NULL;
	}
	char *newline = strchr(rest, '\n');
	assert_non_null(newline);
	json_t *event = json_loadb(rest, (size_t)(newline - rest), 0, NULL);
	assert_non_null(event);
	rest = newline + 1;
	return event;
}

static void an_event_is_one_line_of_json(void **state)
{
	(void)state;
	struct ygr_bus *bus = ygr_bus_new();
	struct ygr_sink *sink;
	assert_int_equal(ygr_bus_subscribe(bus, NULL, 1 << 16, 0, NULL, NULL, &sink), 0);

	publish(bus, "web-3", "exec", "a\xff\x1b[2J\xc3\xa9\xed\xa0\x80\"z", 7);
	json_t *event = next(sink);
	assert_string_equal(json_string_value(json_object_get(event, "time")),
			    "2023-11-14T22:13:20.123456789Z");
	assert_string_equal(json_string_value(json_object_get(event, "vm")), "web-3");
	assert_string_equal(json_string_value(json_object_get(event, "line")),
			    "a\xef\xbf\xbd [2J\xc3\xa9\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"z");
	assert_int_equal(json_integer_value(json_object_get(event, "sequence")), 7);
	json_decref(event);
	assert_null(next(sink));
	ygr_sink_unsubscribe(sink);
	ygr_bus_free(bus);
}

static void filters_select(void **state)
{
	(void)state;
	struct ygr_bus *bus = ygr_bus_new();
	struct ygr_sink *sink;
	const struct ygr_event_filter filter = {.vm = "a", .app = "exec"};
	publish(bus, "a", "exec", "old", 1);
	publish(bus, "b", "exec", "other vm", 1);
	assert_int_equal(ygr_bus_subscribe(bus, &filter, 1 << 16, 10, NULL, NULL, &sink), 0);
	publish(bus, "a", "open", "other app", 2);
	publish(bus, "a", "exec", "new", 3);

	json_t *event = next(sink);
	assert_string_equal(json_string_value(json_object_get(event, "line")), "old");
	json_decref(event);
	event = next(sink);
	assert_string_equal(json_string_value(json_object_get(event, "line")), "new");
	json_decref(event);
	assert_null(next(sink));
	ygr_sink_unsubscribe(sink);
	ygr_bus_free(bus);
}

static void a_full_queue_counts_and_says_what_is_missing(void **state)
{
	(void)state;
	struct ygr_bus *bus = ygr_bus_new();
	struct ygr_sink *slow;
	assert_int_equal(ygr_bus_subscribe(bus, NULL, 1000, 0, NULL, NULL, &slow), 0);
	for (uint64_t i = 1; i <= 100; i++)
		publish(bus, "a", "exec", "line", i);

	unsigned got = 0;
	json_t *event;
	while ((event = next(slow))) {
		got++;
		json_decref(event);
	}
	assert_in_range(got, 1, 10);
	assert_int_equal(ygr_sink_dropped(slow), 100 - got);
	assert_int_equal(ygr_bus_published(bus), 100);

	publish(bus, "a", "exec", "line", 101);
	event = next(slow);
	assert_int_equal(json_integer_value(json_object_get(event, "droppedBefore")), 100 - got);
	json_decref(event);
	ygr_sink_unsubscribe(slow);
	ygr_bus_free(bus);
}

static void history_is_bounded(void **state)
{
	(void)state;
	struct ygr_bus *bus = ygr_bus_new();
	char line[20000];
	memset(line, 'x', sizeof(line) - 1);
	line[sizeof(line) - 1] = '\0';
	for (uint64_t i = 1; i <= 3000; i++)
		publish(bus, "a", "exec", i % 10 ? "short" : line, i);

	struct ygr_sink *sink;
	assert_int_equal(ygr_bus_subscribe(bus, NULL, 4 << 20, 1000000, NULL, NULL, &sink), 0);
	uint64_t first = 0, last = 0;
	json_t *event;
	while ((event = next(sink))) {
		last = (uint64_t)json_integer_value(json_object_get(event, "sequence"));
		if (!first)
			first = last;
		json_decref(event);
	}
	assert_int_equal(last, 3000);
	assert_true(first > 3000 - 1024);
	ygr_sink_unsubscribe(sink);
	ygr_bus_free(bus);
}

static void a_file_rotates(void **state)
{
	(void)state;
	char directory[] = "/tmp/yagura-test-XXXXXX", path[64], rotated[80];
	assert_non_null(mkdtemp(directory));
	snprintf(path, sizeof(path), "%s/events", directory);

	struct ygr_bus *bus = ygr_bus_new();
	struct ygr_file_sink *sink;
	struct ygr_error error = YGR_ERROR_INIT;
	const struct ygr_file_sink_options options = {.path = path, .max_bytes = 1000, .keep = 2};
	assert_int_equal(ygr_file_sink_start(bus, &options, &sink, &error), 0);
	for (uint64_t i = 1; i <= 40; i++) {
		publish(bus, "a", "exec", "line", i);
		usleep(1000);
	}
	ygr_file_sink_stop(sink);
	ygr_bus_free(bus);

	struct stat st;
	assert_int_equal(stat(path, &st), 0);
	assert_in_range(st.st_size, 1, 1000);
	for (int i = 1; i <= 2; i++) {
		snprintf(rotated, sizeof(rotated), "%s.%d", path, i);
		assert_int_equal(stat(rotated, &st), 0);
		assert_int_equal(unlink(rotated), 0);
	}
	snprintf(rotated, sizeof(rotated), "%s.3", path);
	assert_int_not_equal(stat(rotated, &st), 0);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(rmdir(directory), 0);
}

static void a_file_that_cannot_be_opened_is_named(void **state)
{
	(void)state;
	struct ygr_bus *bus = ygr_bus_new();
	struct ygr_file_sink *sink;
	struct ygr_error error = YGR_ERROR_INIT;
	const struct ygr_file_sink_options options = {.path = "/nonexistent/events"};
	assert_true(ygr_file_sink_start(bus, &options, &sink, &error) < 0);
	assert_non_null(strstr(error.message, "/nonexistent/events"));
	ygr_bus_free(bus);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(an_event_is_one_line_of_json),
	    cmocka_unit_test(filters_select),
	    cmocka_unit_test(a_full_queue_counts_and_says_what_is_missing),
	    cmocka_unit_test(history_is_bounded),
	    cmocka_unit_test(a_file_rotates),
	    cmocka_unit_test(a_file_that_cannot_be_opened_is_named),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
