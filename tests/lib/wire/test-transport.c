/* Dialling: addresses, a UNIX socket, and a hybrid vsock device that answers, refuses, babbles or is silent.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/wire/deadline.h"
#include "lib/wire/transport.h"

static char root[64], outside[64];
static struct ygr_error error;

static void path_in(char out[128], const char *directory, const char *name)
{
	snprintf(out, 128, "%s/%s", directory, name);
}

static int listen_at(const char *path)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(fd, 4), 0);
	return fd;
}

/* A vsock device that takes one connection, reads its line, answers ANSWER and goes on as the guest. */
struct device {
	int listener;
	const char *answer; /* NULL: silence until the peer gives up; "": closes */
	char line[64];
	pthread_t thread;
};

static void *device_main(void *user)
{
	struct device *device = user;
	int fd = accept(device->listener, NULL, NULL);
	size_t len = 0;
	while (len < sizeof(device->line) - 1 && recv(fd, device->line + len, 1, 0) == 1)
		if (device->line[len++] == '\n')
			break;
	char byte;
	if (!device->answer)
		(void)!recv(fd, &byte, 1, 0);
	else
		(void)!send(fd, device->answer, strlen(device->answer), MSG_NOSIGNAL);
	close(fd);
	return NULL;
}

/* Dials PORT through a device that gives ANSWER. */
static int dial_device(const char *answer, int timeout_ms, int *ret_fd)
{
	char path[128], address[160];
	path_in(path, root, "vm.sock");
	unlink(path);
	struct device device = {.listener = listen_at(path), .answer = answer};
	assert_int_equal(pthread_create(&device.thread, NULL, device_main, &device), 0);
	snprintf(address, sizeof(address), "hvsock:%s:997", path);
	error = YGR_ERROR_INIT;
	int r = ygr_transport_dial(address, root, timeout_ms, ret_fd, &error);
	pthread_join(device.thread, NULL);
	close(device.listener);
	assert_string_equal(device.line, "CONNECT 997\n");
	assert_true(r == 0 || error.message[0]);
	return r;
}

static void test_hybrid(void **state)
{
	(void)state;
	int fd = -1;
	assert_int_equal(dial_device("OK 1073741824\nguest", 2000, &fd), 0);
	assert_int_equal(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
	assert_int_equal(fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
	char text[16] = "";
	assert_int_equal(recv(fd, text, sizeof(text), 0), 5); /* not one byte of the guest's was taken */
	assert_string_equal(text, "guest");
	close(fd);
}

static void test_hybrid_answers(void **state)
{
	(void)state;
	int fd = -1;
	assert_int_equal(dial_device("", 2000, &fd), -ECONNREFUSED);
	assert_non_null(strstr(error.message, "nobody listens on port 997"));
	static const char *const garbage[] = {
	    "NO 1\n",  "OK\n",
	    "OK x\n",  "OK 1 2\n",
	    "OK -1\n", "OK 4294967296\n",
	    "\n",      "OK 00000000000000000000000000000000000000000000001\n"};
	for (size_t i = 0; i < sizeof(garbage) / sizeof(garbage[0]); i++)
		assert_int_equal(dial_device(garbage[i], 2000, &fd), -EPROTO);
	assert_int_equal(dial_device("OK 1", 2000, &fd), -ECONNREFUSED); /* ends before its line does */
	int64_t start = ygr_monotonic_ms();
	assert_int_equal(dial_device(NULL, 150, &fd), -ETIMEDOUT);
	assert_in_range(ygr_monotonic_ms() - start, 140, 3000);
	assert_int_equal(fd, -1);
}

static int dial_path(const char *path, const char *allowed)
{
	char address[256];
	snprintf(address, sizeof(address), "hvsock:%s:997", path);
	int fd = -1;
	error = YGR_ERROR_INIT;
	int r = ygr_transport_dial(address, allowed, 200, &fd, &error);
	assert_int_equal(fd, -1);
	assert_true(r < 0 && error.message[0]);
	return r;
}

static void test_hybrid_paths(void **state)
{
	(void)state;
	char path[128], target[128];
	path_in(target, outside, "vm.sock");
	int listener = listen_at(target);
	assert_int_equal(dial_path(target, root), -EACCES);
	assert_int_equal(dial_path(target, NULL), -EACCES);

	path_in(path, root, "link.sock");
	assert_int_equal(symlink(target, path), 0);
	assert_int_equal(dial_path(path, root), -EACCES);
	path_in(path, root, "out");
	assert_int_equal(symlink(outside, path), 0);
	path_in(path, root, "out/vm.sock");
	assert_int_equal(dial_path(path, root), -EACCES);

	snprintf(path, sizeof(path), "%s/../%s/vm.sock", root, strrchr(outside, '/') + 1);
	assert_int_equal(dial_path(path, root), -EACCES);
	snprintf(path, sizeof(path), "%s-not/vm.sock", root); /* begins with the same letters */
	assert_int_equal(dial_path(path, root), -EACCES);
	assert_int_equal(dial_path(root, root), -EACCES);
	close(listener);

	path_in(path, root, "file");
	close(open(path, O_CREAT | O_WRONLY, 0600));
	assert_int_equal(dial_path(path, root), -EACCES);
	assert_int_equal(dial_path("relative/vm.sock", root), -EINVAL);
}

static void test_hybrid_gone(void **state)
{
	(void)state;
	char path[128];
	path_in(path, root, "dead.sock");
	close(listen_at(path)); /* the file stays, as after a device that was killed */
	assert_int_equal(dial_path(path, root), -EHOSTDOWN);
	assert_non_null(strstr(error.message, "ChannelLost"));
	assert_non_null(strstr(error.message, "restart the VM"));
	path_in(path, root, "never.sock");
	assert_int_equal(dial_path(path, root), -EHOSTDOWN);
}

static void test_unix(void **state)
{
	(void)state;
	char path[128], address[160];
	path_in(path, root, "plain.sock");
	snprintf(address, sizeof(address), "unix:%s", path);
	int fd = -1;
	assert_int_equal(ygr_transport_dial(address, NULL, 200, &fd, &error), -ENOENT);
	int listener = listen_at(path);
	assert_int_equal(ygr_transport_dial(address, NULL, 200, &fd, &error), 0);
	int peer = accept(listener, NULL, NULL);
	assert_true(peer >= 0);
	assert_int_equal(send(peer, "x", 1, 0), 1);
	char byte;
	assert_int_equal(recv(fd, &byte, 1, 0), 1);
	close(peer);
	close(fd);
	close(listener);
	assert_int_equal(ygr_transport_dial(address, NULL, 200, &fd, &error), -ECONNREFUSED);
}

/* A listener that never accepts: once its backlog is full, only the deadline ends the dialling. */
static void test_unix_backlog(void **state)
{
	(void)state;
	char path[128], address[160];
	path_in(path, root, "full.sock");
	int listener = listen_at(path), fds[16], count = 0, r = 0;
	snprintf(address, sizeof(address), "unix:%s", path);
	while (count < 16 && (r = ygr_transport_dial(address, NULL, 60, &fds[count], &error)) == 0)
		count++;
	assert_int_equal(r, -ETIMEDOUT);
	while (count)
		close(fds[--count]);
	close(listener);
}

static void test_addresses(void **state)
{
	(void)state;
	static const char *const bad[] = {"",
					  "tcp:1:2",
					  "vsock:",
					  "vsock:3",
					  "vsock:3:",
					  "vsock:a:1",
					  "vsock:3:b",
					  "vsock:-1:9",
					  "vsock:3:4294967296",
					  "vsock: 3:1",
					  "vsock:33333333333333333333:1",
					  "hvsock:",
					  "hvsock:/x",
					  "hvsock:/x:y",
					  "hvsock::997"};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		int fd = -1;
		assert_int_equal(ygr_transport_dial(bad[i], root, 100, &fd, &error), -EINVAL);
		assert_int_equal(fd, -1);
	}
}

/* Nobody has this CID here: some clear error within the deadline, never a descriptor. */
static void test_vsock_nobody(void **state)
{
	(void)state;
	int fd = -1;
	error = YGR_ERROR_INIT;
	int64_t start = ygr_monotonic_ms();
	assert_true(ygr_transport_dial("vsock:4242:997", NULL, 500, &fd, &error) < 0);
	assert_true(ygr_monotonic_ms() - start < 3000);
	assert_int_equal(fd, -1);
	assert_non_null(strstr(error.message, error.code == EAFNOSUPPORT ? "AF_VSOCK" : "4242"));
}

static int setup(void **state)
{
	(void)state;
	strcpy(root, "/tmp/yagura-test-root.XXXXXX");
	strcpy(outside, "/tmp/yagura-test-outside.XXXXXX");
	return mkdtemp(root) && mkdtemp(outside) ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	char command[160];
	snprintf(command, sizeof(command), "rm -rf '%s' '%s'", root, outside);
	return system(command);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_hybrid),       cmocka_unit_test(test_hybrid_answers),
	    cmocka_unit_test(test_hybrid_paths), cmocka_unit_test(test_hybrid_gone),
	    cmocka_unit_test(test_unix),         cmocka_unit_test(test_unix_backlog),
	    cmocka_unit_test(test_addresses),    cmocka_unit_test(test_vsock_nobody),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
