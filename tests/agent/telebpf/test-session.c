/*
 * The whole of yagura-session with a real yagura-guest, which performs the calls in this machine's own
 * kernel, a real shim and real applications, over a UNIX socket. There is no guest RAM here, so rings
 * stream.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <openssl/evp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/hex.h"
#include "lib/wire/deadline.h"
#include "lib/wire/handshake.h"
#include "lib/wire/message.h"
#include "lib/wire/transport.h"
#include "tests/lib/wire/identity-fixture.h"

#define DEADLINE_MS 20000

/* A guest that serves, and what its clients need. */
struct world {
	struct fixture keys;
	struct ygr_identity *identity;
	char socket[96];
	char vm[64];
	uint8_t uuid[16];
	pid_t guest;
};

static void read_vm(struct world *world)
{
	int fd = open("/sys/class/dmi/id/product_uuid", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? 0 : read(fd, world->vm, sizeof(world->vm) - 1);
	char hex[33] = "";
	size_t digits = 0;

	if (n <= 0)
		n = snprintf(world->vm, sizeof(world->vm), "00000000-0000-0000-0000-000000000001");
	world->vm[strcspn(world->vm, "\n")] = '\0';
	for (const char *c = world->vm; *c; c++)
		if (*c != '-' && digits < sizeof(hex) - 1)
			hex[digits++] = *c;
	assert_int_equal(ygr_hex_decode(hex, world->uuid, sizeof(world->uuid)), 0);
	if (fd >= 0)
		close(fd);
}

/* OWNER: the text of guest.yaml. */
static void world_init(struct world *world, const char *owner)
{
	FILE *file;

	*world = (struct world){0};
	fixture_init(&world->keys);
	world->identity = fixture_identity(&world->keys, "node.key", "node.cert");
	read_vm(world);
	file = fopen(fixture_path(&world->keys, "guest.yaml"), "w");
	assert_non_null(file);
	fputs(owner, file);
	fclose(file);
	snprintf(world->socket, sizeof(world->socket), "unix:%s", fixture_path(&world->keys, "guest.sock"));
	world->guest = fork();
	if (world->guest == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		execl(YGR_GUEST, "yagura-guest", "--listen", world->socket, "--root",
		      fixture_path(&world->keys, "root.pub"), "--config",
		      fixture_path(&world->keys, "guest.yaml"), "--log", "warning", NULL);
		_exit(127);
	}
	for (int i = 0; i < 500 && access(world->socket + 5, F_OK) < 0; i++)
		usleep(10000);
}

static void stop_guest(struct world *world)
{
	if (world->guest <= 0)
		return;
	kill(world->guest, SIGKILL);
	waitpid(world->guest, NULL, 0);
	world->guest = 0;
}

static void world_deinit(struct world *world)
{
	stop_guest(world);
	ygr_identity_free(world->identity);
	fixture_deinit(&world->keys);
}

static int dial(struct world *world, json_t **ret_welcome)
{
	struct ygr_error error = YGR_ERROR_INIT;
	char *welcome = NULL;
	int fd = -1;

	for (int i = 0; i < 100 && ygr_transport_dial(world->socket, NULL, 5000, &fd, &error) < 0; i++)
		usleep(20000);
	if (fd < 0)
		fail_msg("%s", error.message);
	if (ygr_handshake_node(fd, YGR_PURPOSE_SESSION, world->uuid, world->identity, 5000, &welcome,
			       &error) < 0)
		fail_msg("%s", error.message);
	*ret_welcome = json_loads(welcome, 0, NULL);
	assert_non_null(*ret_welcome);
	free(welcome);
	return fd;
}

static json_t *base64(const void *data, size_t length)
{
	unsigned char text[1024];

	assert_true(length < 700);
	EVP_EncodeBlock(text, data, (int)length);
	return json_string((const char *)text);
}

/* What the agent would send as the first line; the caller may change it before it is sent. */
static json_t *make_config(struct world *world, const char *executable, const char *helpers, json_t *welcome)
{
	const int64_t now = time(NULL);
	json_t *grant = json_pack("{s:s, s:s, s:s, s:I, s:I, s:[s], s:[s], s:[s], s:[], s:{s:[s], s:[]},"
				  " s:{s:i, s:i}}",
				  "program", "rings", "sha256",
				  "0000000000000000000000000000000000000000000000000000000000000000", "vm",
				  world->vm, "issuedAt", (json_int_t)now, "notAfter", (json_int_t)now + 600,
				  "programTypes", "*", "attach", "*", "helpers", helpers, "kfuncs", "files",
				  "read", "/sys/**", "write", "limits", "handles", 512, "memory", 64 << 20);
	char *text = json_dumps(grant, JSON_COMPACT), cgroup[64];
	const struct ygr_cert *cert = ygr_identity_cert(world->identity);
	struct ygr_error error = YGR_ERROR_INIT;
	uint8_t signature[64];
	json_t *config;

	assert_non_null(text);
	if (ygr_grant_sign(world->identity, text, strlen(text), signature, &error) < 0)
		fail_msg("%s", error.message);
	snprintf(cgroup, sizeof(cgroup), "yagura-test/session-%d", (int)getpid());
	config = json_pack(
	    "{s:s, s:{s:s, s:s, s:s}, s:s, s:s, s:s, s:[s], s:{s:s}, s:s, s:i, s:i, s:s, s:s, s:i,"
	    " s:{s:i, s:i, s:i}, s:s, s:s, s:o, s:o, s:o, s:n, s:b, s:b}",
	    "sessionID", "00112233445566778899aabbccddeeff", "vm", "namespace", "default", "name", "web",
	    "uuid", world->vm, "monitor", "default/test", "app", "rings", "executable", executable, "argv",
	    "rings", "env", "TZ", "UTC", "shim", YGR_SHIM, "uid", 900917, "gid", 900917, "delivery",
	    "Copied", "wake", "Adaptive", "spinMicroseconds", 50, "limits", "memory", 256 << 20, "cpuMilli",
	    0, "pids", 16, "cgroup", cgroup, "grant", text, "grantCert", base64(cert, sizeof(*cert)),
	    "grantSignature", base64(signature, 64), "welcome", welcome, "ram", "trace", 0, "explain", 1);
	assert_non_null(config);
	free(text);
	json_decref(grant);
	return config;
}

/* A session that runs, and what it said. */
struct run {
	pid_t pid;
	int control, output;
	char lines[65536], text[16384];
	size_t lines_length, text_length;
	json_t *events;
};

static void start(struct run *run, int channel, json_t *config)
{
	char *line = json_dumps(config, JSON_COMPACT);
	int control[2], output[2];

	*run = (struct run){.events = json_array()};
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, control), 0);
	assert_int_equal(pipe2(output, O_CLOEXEC), 0);
	run->pid = fork();
	if (run->pid == 0) {
		int high_control = fcntl(control[1], F_DUPFD, 20),
		    high_channel = fcntl(channel, F_DUPFD, 20);

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(open("/dev/null", O_RDWR), 0);
		dup2(output[1], 1);
		dup2(output[1], 2);
		dup2(high_control, 3);
		dup2(high_channel, 4);
		close_range(5, ~0u, 0);
		execl(YGR_SESSION, "yagura-session", NULL);
		_exit(127);
	}
	close(control[1]);
	close(output[1]);
	close(channel);
	run->control = control[0];
	run->output = output[0];
	assert_true(write(run->control, line, strlen(line)) == (ssize_t)strlen(line));
	assert_int_equal(write(run->control, "\n", 1), 1);
	free(line);
	json_decref(config);
}

static json_t *find_event(const struct run *run, const char *event)
{
	json_t *object, *found = NULL;
	size_t i;

	json_array_foreach(run->events, i, object)
	{
		if (!strcmp(json_string_value(json_object_get(object, "event")), event))
			found = object;
	}
	return found;
}

static void take_lines(struct run *run)
{
	char *end;

	while ((end = memchr(run->lines, '\n', run->lines_length))) {
		size_t length = (size_t)(end - run->lines) + 1;
		json_t *object = json_loadb(run->lines, length, 0, NULL);

		assert_non_null(object);
		json_array_append_new(run->events, object);
		run->lines_length -= length;
		memmove(run->lines, end + 1, run->lines_length);
	}
}

/* Reads what comes until there is EVENT (NULL: until the session's end). */
static void wait_event(struct run *run, const char *event)
{
	int64_t deadline = ygr_deadline_in(DEADLINE_MS);
	bool control = true;

	while (control && !(event && find_event(run, event))) {
		struct pollfd p[2] = {{.fd = run->control, .events = POLLIN},
				      {.fd = run->output, .events = POLLIN}};
		ssize_t n;

		if (poll(p, 2, ygr_deadline_left(deadline)) <= 0)
			fail_msg("nothing happened; so far: %s", run->text);
		if (p[1].revents) {
			n = read(run->output, run->text + run->text_length,
				 sizeof(run->text) - 1 - run->text_length);
			if (n > 0)
				run->text_length += (size_t)n;
			else {
				close(run->output);
				run->output = -1;
			}
		}
		if (!p[0].revents)
			continue;
		n = read(run->control, run->lines + run->lines_length,
			 sizeof(run->lines) - run->lines_length);
		control = n > 0;
		run->lines_length += n > 0 ? (size_t)n : 0;
		take_lines(run);
	}
}

/* Waits for the end; what was said is there to be looked at. */
static int finish(struct run *run)
{
	const json_t *last;
	ssize_t n;
	int status;

	wait_event(run, NULL);
	while (run->output >= 0 && (n = read(run->output, run->text + run->text_length,
					     sizeof(run->text) - 1 - run->text_length)) > 0)
		run->text_length += (size_t)n;
	assert_int_equal(waitpid(run->pid, &status, 0), run->pid);
	last = json_array_get(run->events, json_array_size(run->events) - 1);
	print_message("%s", run->text);
	for (size_t i = 0; i < json_array_size(run->events); i++) {
		char *text = json_dumps(json_array_get(run->events, i), JSON_COMPACT);

		print_message("%s\n", text);
		free(text);
	}
	assert_string_equal(json_string_value(json_object_get(last, "event")), "exited");
	return status;
}

static void run_deinit(struct run *run)
{
	close(run->control);
	if (run->output >= 0)
		close(run->output);
	json_decref(run->events);
}

static int64_t number(const json_t *object, const char *key)
{
	assert_true(json_is_integer(json_object_get(object, key)));
	return json_integer_value(json_object_get(object, key));
}

static const char *word(const json_t *object, const char *key)
{
	assert_true(json_is_string(json_object_get(object, key)));
	return json_string_value(json_object_get(object, key));
}

static void begin(struct world *world, struct run *run, const char *owner, const char *executable,
		  const char *helpers)
{
	json_t *welcome;
	int fd;

	if (geteuid() != 0) {
		print_message("bpf(2) and namespaces want root: skipped\n");
		skip();
	}
	world_init(world, owner);
	fd = dial(world, &welcome);
	start(run, fd, make_config(world, executable, helpers, welcome));
}

static void end(struct world *world, struct run *run)
{
	run_deinit(run);
	world_deinit(world);
}

static void test_rings(void **state)
{
	struct world world;
	struct run run;

	(void)state;
	begin(&world, &run, "", YGR_SUBJECT_RINGS, "*");
	assert_int_equal(finish(&run), 0);
	assert_non_null(strstr(run.text, "rings ok: 300 and 300 records\n"));
	assert_int_equal(number(find_event(&run, "exited"), "code"), 0);
	assert_string_equal(word(find_event(&run, "started"), "delivery"), "Stream");
	assert_int_equal(number(find_event(&run, "counters"), "ringRecords"), 600);
	assert_int_equal(number(find_event(&run, "counters"), "ringInvalid"), 0);
	assert_int_equal(number(find_event(&run, "counters"), "refused"), 0);
	end(&world, &run);
}

static void test_catalogue_refuses(void **state)
{
	struct world world;
	struct run run;

	(void)state;
	begin(&world, &run, "", YGR_SUBJECT_RINGS, "map_lookup_elem");
	finish(&run);
	assert_string_equal(word(find_event(&run, "error"), "reason"), "ForbiddenByCatalogue");
	assert_true(number(find_event(&run, "counters"), "refused") > 0);
	assert_true(number(find_event(&run, "exited"), "code") != 0);
	end(&world, &run);
}

static void test_owner_refuses(void **state)
{
	struct world world;
	struct run run;

	(void)state;
	begin(&world, &run, "sessions:\n  allow:\n    helpers: [map_lookup_elem]\n", YGR_SUBJECT_RINGS, "*");
	finish(&run);
	assert_string_equal(word(find_event(&run, "error"), "reason"), "ForbiddenByOwner");
	assert_non_null(strstr(word(find_event(&run, "error"), "message"), "helper"));
	end(&world, &run);
}

/* A grant for another machine is refused before anything is started. */
static void test_refused_session(void **state)
{
	struct world world;
	struct run run;
	json_t *welcome, *config;
	int fd;

	(void)state;
	if (geteuid() != 0)
		skip();
	world_init(&world, "");
	fd = dial(&world, &welcome);
	config = make_config(&world, YGR_SUBJECT_RINGS, "*", welcome);
	json_object_set_new(config, "grantSignature", base64(world.keys.root, 32));
	start(&run, fd, config);
	assert_int_not_equal(finish(&run), 0);
	assert_string_equal(word(find_event(&run, "error"), "reason"), "ProtocolError");
	run_deinit(&run);

	fd = dial(&world, &welcome);
	config = make_config(&world, YGR_SUBJECT_RINGS, "*", welcome);
	json_object_set_new(config, "grantSignature", base64((uint8_t[64]){1, 2, 3}, 64));
	start(&run, fd, config);
	assert_int_not_equal(finish(&run), 0);
	assert_string_equal(word(find_event(&run, "error"), "reason"), "ForbiddenByCatalogue");
	assert_null(find_event(&run, "started"));
	end(&world, &run);
}

static void test_executable_changed(void **state)
{
	struct world world;
	struct run run;
	json_t *welcome, *config;
	int fd;

	(void)state;
	if (geteuid() != 0)
		skip();
	world_init(&world, "");
	fd = dial(&world, &welcome);
	config = make_config(&world, YGR_SUBJECT_RINGS, "*", welcome);
	json_object_set_new(config, "sha256",
			    json_string("1111111111111111111111111111111111111111111111111111111111111111"));
	start(&run, fd, config);
	finish(&run);
	assert_string_equal(word(find_event(&run, "error"), "reason"), "ExecutableChanged");
	assert_null(find_event(&run, "started"));
	end(&world, &run);
}

static void begin_sleep(struct world *world, struct run *run)
{
	json_t *welcome, *config;
	int fd;

	if (geteuid() != 0)
		skip();
	world_init(world, "");
	fd = dial(world, &welcome);
	config = make_config(world, "/bin/sleep", "*", welcome);
	json_object_set_new(config, "argv", json_pack("[s, s]", "sleep", "600"));
	start(run, fd, config);
	wait_event(run, "started");
}

static void test_lost(void **state)
{
	struct world world;
	struct run run;

	(void)state;
	begin_sleep(&world, &run);
	stop_guest(&world);
	finish(&run);
	assert_string_equal(word(find_event(&run, "error"), "reason"), "ChannelLost");
	assert_int_equal(number(find_event(&run, "exited"), "signal"), SIGKILL);
	end(&world, &run);
}

static void test_stop(void **state)
{
	struct world world;
	struct run run;

	(void)state;
	begin_sleep(&world, &run);
	assert_string_equal(word(find_event(&run, "started"), "mechanism"), "Rewrite");
	assert_int_equal(write(run.control, "{\"do\":\"stop\"}\n", 14), 14);
	assert_int_equal(finish(&run), 0);
	assert_int_equal(number(find_event(&run, "exited"), "signal"), SIGINT);
	end(&world, &run);
}

/* The agent's death ends the application. */
static void test_agent_gone(void **state)
{
	struct world world;
	struct run run;
	pid_t application;
	int status;

	(void)state;
	begin_sleep(&world, &run);
	application = (pid_t)number(find_event(&run, "started"), "pid");
	assert_int_equal(kill(application, 0), 0);
	shutdown(run.control, SHUT_RDWR);
	assert_int_equal(waitpid(run.pid, &status, 0), run.pid);
	for (int i = 0; i < 500 && kill(application, 0) == 0; i++)
		usleep(10000);
	assert_int_equal(kill(application, 0), -1);
	end(&world, &run);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_rings),
	    cmocka_unit_test(test_catalogue_refuses),
	    cmocka_unit_test(test_owner_refuses),
	    cmocka_unit_test(test_refused_session),
	    cmocka_unit_test(test_executable_changed),
	    cmocka_unit_test(test_lost),
	    cmocka_unit_test(test_stop),
	    cmocka_unit_test(test_agent_gone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
