/* See session-world.h. */
#include "tests/agent/telebpf/session/session-world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <poll.h>
#include <signal.h>
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

#define DEADLINE_MS 120000 /* for a machine that has much else to do */

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
void session_world_init(struct world *world, const char *owner)
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

void session_stop_guest(struct world *world)
{
	if (world->guest <= 0)
		return;
	kill(world->guest, SIGKILL);
	waitpid(world->guest, NULL, 0);
	world->guest = 0;
}

void session_world_deinit(struct world *world)
{
	session_stop_guest(world);
	ygr_identity_free(world->identity);
	fixture_deinit(&world->keys);
}

int session_dial(struct world *world, json_t **ret_welcome)
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

json_t *session_base64(const void *data, size_t length)
{
	unsigned char text[1024];

	assert_true(length < 700);
	EVP_EncodeBlock(text, data, (int)length);
	return json_string((const char *)text);
}

/* What the agent would send as the first line; the caller may change it before it is sent. */
json_t *session_config(struct world *world, const char *executable, const char *helpers, json_t *welcome)
{
	static unsigned configs; /* two may run at once */
	const int64_t now = time(NULL);
	json_t *grant = json_pack(
	    "{s:s, s:s, s:s, s:I, s:I, s:[s], s:[s], s:[s], s:[], s:{s:[s,s], s:[]},"
	    " s:{s:i, s:i}, s:b}",
	    "program", "rings", "sha256", "0000000000000000000000000000000000000000000000000000000000000000",
	    "vm", world->vm, "issuedAt", (json_int_t)now, "notAfter", (json_int_t)now + 600, "programTypes",
	    "*", "attach", "*", "helpers", helpers, "kfuncs", "files", "read", "/sys/**",
	    "/proc/self/ns/net", "write", "limits", "handles", 512, "memory", 64 << 20, "ids", 1);
	char *text = json_dumps(grant, JSON_COMPACT), cgroup[64];
	const struct ygr_cert *cert = ygr_identity_cert(world->identity);
	struct ygr_error error = YGR_ERROR_INIT;
	uint8_t signature[64];
	json_t *config;

	assert_non_null(text);
	if (ygr_grant_sign(world->identity, text, strlen(text), signature, &error) < 0)
		fail_msg("%s", error.message);
	snprintf(cgroup, sizeof(cgroup), "yagura-test/session-%d-%u", (int)getpid(), ++configs);
	config =
	    json_pack("{s:s, s:{s:s, s:s, s:s}, s:s, s:s, s:s, s:[s], s:{s:s}, s:s, s:i, s:i, s:s, s:s, s:i,"
		      " s:{s:i, s:i, s:i}, s:s, s:s, s:o, s:o, s:o, s:n, s:b, s:b}",
		      "sessionID", "00112233445566778899aabbccddeeff", "vm", "namespace", "default", "name",
		      "web", "uuid", world->vm, "monitor", "default/test", "app", "rings", "executable",
		      executable, "argv", "rings", "env", "TZ", "UTC", "shim", YGR_SHIM, "uid", 900917,
		      "gid", 900917, "delivery", "Copied", "wake", "Adaptive", "spinMicroseconds", 50,
		      "limits", "memory", 256 << 20, "cpuMilli", 0, "pids", 16, "cgroup", cgroup, "grant",
		      text, "grantCert", session_base64(cert, sizeof(*cert)), "grantSignature",
		      session_base64(signature, 64), "welcome", welcome, "ram", "trace", 0, "explain", 1);
	assert_non_null(config);
	free(text);
	json_decref(grant);
	return config;
}

void session_run(struct run *run, int channel, int ram, json_t *config)
{
	char *line = json_dumps(config, JSON_COMPACT);
	int control[2], output[2];

	*run = (struct run){.events = json_array()};
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, control), 0);
	assert_int_equal(pipe2(output, O_CLOEXEC), 0);
	run->pid = fork();
	if (run->pid == 0) {
		int high_control = fcntl(control[1], F_DUPFD, 20),
		    high_channel = fcntl(channel, F_DUPFD, 20), high_ram = fcntl(ram, F_DUPFD, 20);

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(open("/dev/null", O_RDWR), 0);
		dup2(output[1], 1);
		dup2(output[1], 2);
		dup2(high_control, 3);
		dup2(high_channel, 4);
		if (high_ram >= 0)
			dup2(high_ram, 5);
		close_range(high_ram >= 0 ? 6 : 5, ~0u, 0);
		/* Looking for leaks takes what the session's own filter denies. */
		setenv("ASAN_OPTIONS", "detect_leaks=0", 0);
		execl(YGR_SESSION, "yagura-session", NULL);
		_exit(127);
	}
	close(control[1]);
	close(output[1]);
	close(channel);
	if (ram >= 0)
		close(ram);
	run->control = control[0];
	run->output = output[0];
	assert_true(write(run->control, line, strlen(line)) == (ssize_t)strlen(line));
	assert_int_equal(write(run->control, "\n", 1), 1);
	free(line);
	json_decref(config);
}

json_t *session_event(const struct run *run, const char *event)
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

/* Of the session: a bound that holds at the end must have held before. */
static void look_at_memory(struct run *run)
{
	char path[64], line[128];
	long kib;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)run->pid);
	file = fopen(path, "r");
	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "VmHWM: %ld", &kib) == 1 && kib > run->rss_kib)
			run->rss_kib = kib;
	if (file)
		fclose(file);
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
void session_wait(struct run *run, const char *event)
{
	int64_t deadline = ygr_deadline_in(DEADLINE_MS);
	bool control = true;

	while (control && !(event && session_event(run, event))) {
		struct pollfd p[2] = {{.fd = run->control, .events = POLLIN},
				      {.fd = run->output, .events = POLLIN}};
		ssize_t n;

		if (poll(p, 2, ygr_deadline_left(deadline)) <= 0)
			fail_msg("nothing happened; so far: %s", run->text);
		look_at_memory(run);
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
int session_finish(struct run *run)
{
	const json_t *last;
	ssize_t n;
	int status;

	session_wait(run, NULL);
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

void session_run_deinit(struct run *run)
{
	close(run->control);
	if (run->output >= 0)
		close(run->output);
	json_decref(run->events);
}

int64_t session_number(const json_t *object, const char *key)
{
	assert_true(json_is_integer(json_object_get(object, key)));
	return json_integer_value(json_object_get(object, key));
}

const char *session_word(const json_t *object, const char *key)
{
	assert_true(json_is_string(json_object_get(object, key)));
	return json_string_value(json_object_get(object, key));
}
