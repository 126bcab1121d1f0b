/*
 * Runs confine-probe in real confinements of this node: what it tries, how starting fails, limits, signals,
 * and that nothing is left behind. Needs root; as another user it is skipped, loudly.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <openssl/evp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>

#include "agent/telebpf/confine/confine.h"
#include "lib/base/cleanup.h"

#define UID     900123
#define WAIT_MS 20000

struct run {
	struct ygr_confine_options options;
	char *argv[8];
	char *env[4];
	struct ygr_confined *confined;
	struct ygr_error error;
	int out, local;
	char text[65536];
	size_t len;
	int status;
};

static char cgroup_name[64], directory[] = "/tmp/yagura-test-XXXXXX", probe[64], preload[64];

static void run_init(struct run *run, const char *mode, const char *a, const char *b, const char *c)
{
	memset(run, 0, sizeof(*run));
	run->argv[0] = (char *)"probe";
	run->argv[1] = (char *)mode;
	run->argv[2] = (char *)a;
	run->argv[3] = (char *)b;
	run->argv[4] = (char *)c;
	run->env[0] = (char *)"TZ=UTC";
	run->env[1] = (char *)"LD_LIBRARY_PATH=/tmp";
	snprintf(cgroup_name, sizeof(cgroup_name), "yagura-test/confine-%d", getpid());
	run->out = run->local = -1;
	run->options = (struct ygr_confine_options){
	    .executable = probe,
	    .argv = run->argv,
	    .envp = run->env,
	    .uid = UID,
	    .gid = UID,
	    .fuse_fd = -1,
	    .local_fd = -1,
	    .cgroup = cgroup_name,
	    .memory = 64u << 20,
	    .cpu_milli = 500,
	    .pids = 16,
	    .hostname = "web-3",
	};
}

/* Starts and waits for the outcome: 0 when the application runs. */
static int run_start(struct run *run)
{
	int out[2], local[2], r;

	assert_int_equal(pipe2(out, O_CLOEXEC), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, local), 0);
	run->options.stdout_fd = run->options.stderr_fd = out[1];
	run->options.local_fd = local[1];
	run->out = out[0];
	run->local = local[0];
	r = ygr_confine_start(&run->options, &run->confined, &run->error);
	if (r == 0 && run->options.traced)
		ygr_confine_go(run->confined);
	close(out[1]);
	close(local[1]);
	if (r < 0)
		return r;
	assert_int_equal(
	    poll(&(struct pollfd){.fd = ygr_confine_status_fd(run->confined), .events = POLLIN}, 1, WAIT_MS),
	    1);
	return ygr_confine_outcome(run->confined, &run->error);
}

static void run_read(struct run *run)
{
	ssize_t n;

	while (run->len < sizeof(run->text) - 1 &&
	       (n = read(run->out, run->text + run->len, sizeof(run->text) - 1 - run->len)) > 0)
		run->len += (size_t)n;
	run->text[run->len] = '\0';
}

static void run_wait(struct run *run)
{
	assert_int_equal(
	    poll(&(struct pollfd){.fd = ygr_confine_pidfd(run->confined), .events = POLLIN}, 1, WAIT_MS), 1);
	assert_int_equal(ygr_confine_wait(run->confined, &run->status), 0);
}

static bool any_cgroup_left(void)
{
	char command[128];

	snprintf(command, sizeof(command), "find /sys/fs/cgroup -path '*/%s' -type d | grep -q .",
		 cgroup_name);
	return system(command) == 0;
}

static void run_end(struct run *run)
{
	ygr_confine_free(run->confined);
	ygr_closep(&run->out);
	ygr_closep(&run->local);
	assert_false(any_cgroup_left());
}

static void need_root(void)
{
	if (geteuid() != 0) {
		print_message("SKIPPED: confinement can only be made by root\n");
		skip();
	}
}

static int listen_abstract(const char *name)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	memcpy(address.sun_path + 1, name, strlen(name));
	assert_int_equal(bind(fd, (struct sockaddr *)&address,
			      (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(name))),
			 0);
	assert_int_equal(listen(fd, 1), 0);
	return fd;
}

static unsigned count(const char *text, const char *what)
{
	unsigned n = 0;

	for (const char *p = strstr(text, what); p; p = strstr(p + 1, what))
		n++;
	return n;
}

static void escape(bool shim, bool traced)
{
	char name[40];
	snprintf(name, sizeof(name), "yagura-test-confine-%d", getpid());
	_cleanup_close_ int listener = listen_abstract(name);
	(void)listener;
	struct timespec now;
	struct run run;
	long long seen = 0;
	char pid[16], hello[8] = "", *clock_line;

	snprintf(pid, sizeof(pid), "%d", getpid());
	run_init(&run, "escape", name, pid, traced ? "traced" : "plain");
	run.options.traced = traced;
	run.options.shim = shim ? preload : NULL;
	run.options.monotonic_offset_ns = 3600ll * 1000000000;
	if (run_start(&run) < 0)
		fail_msg("%s", run.error.message);
	assert_true(ygr_confine_app_pid(run.confined) > 0);
	/* A pid of ours to see; it may have come to its end already. */
	assert_true(kill(ygr_confine_app_pid(run.confined), 0) == 0 || errno == ESRCH);
	run_read(&run);
	run_wait(&run);
	for (char *leak = strstr(run.text, "LEAK"); leak; leak = strstr(leak + 1, "LEAK"))
		print_error("%.*s\n", (int)strcspn(leak, "\n"), leak);
	assert_null(strstr(run.text, "LEAK"));
	assert_non_null(strstr(run.text, "done\n"));
	assert_true(count(run.text, "held ") > 110);
	assert_non_null(strstr(run.text, "host web-3\n"));
	assert_non_null(strstr(run.text, "other \n")); /* LD_LIBRARY_PATH is not passed on */
	clock_gettime(CLOCK_MONOTONIC, &now);
	clock_line = strstr(run.text, "monotonic ");
	assert_non_null(clock_line);
	seen = atoll(clock_line + 10);
	if (ygr_confine_features(run.confined)->time)
		assert_true(seen >= now.tv_sec + 3600 - 30 && seen <= now.tv_sec + 3600);
	assert_int_equal(run.status, 0);
	assert_int_equal(read(run.local, hello, 5), 5);
	assert_string_equal(hello, "hello");
	if (shim) {
		assert_non_null(strstr(run.text, preload));
		assert_non_null(strstr(run.text, "mark 1\n"));
		assert_non_null(strstr(run.text, "shim caps 20000 zero mapped\n"));
	}
	run_end(&run);
}

static void test_escape(void **state)
{
	(void)state;
	need_root();
	escape(false, false);
}

static void test_escape_with_shim(void **state)
{
	(void)state;
	need_root();
	escape(true, false);
}

static void test_escape_traced(void **state)
{
	(void)state;
	need_root();
	escape(true, true);
}

static void refuse(struct run *run, int code, const char *words)
{
	int r = run_start(run);

	if (r != -code || !strstr(run->error.message, words))
		fail_msg("got %d \"%s\", wanted %d with \"%s\"", r, run->error.message, -code, words);
	run_end(run);
}

static void test_start_refused(void **state)
{
	uint8_t wrong[32] = {1};
	struct run run;

	(void)state;
	need_root();
	run_init(&run, "exit", "0", NULL, NULL);
	run.options.executable = "/usr/bin/no-such-tool";
	refuse(&run, ENOENT, "/usr/bin/no-such-tool");
	run_init(&run, "exit", "0", NULL, NULL);
	run.options.executable = "/opt/no/such/tool";
	refuse(&run, ENOENT, "/opt/no/such/tool");
	run_init(&run, "exit", "0", NULL, NULL);
	run.options.executable = "/usr/bin";
	refuse(&run, EACCES, "not a regular file");
	run_init(&run, "exit", "0", NULL, NULL);
	run.options.sha256 = wrong;
	refuse(&run, EBADMSG, "SHA-256");
	run_init(&run, "exit", "0", NULL, NULL);
	run.options.uid = 0;
	refuse(&run, EPERM, "user or group 0");
	run_init(&run, "exit", "0", NULL, NULL);
	run.options.executable = "tool";
	refuse(&run, EINVAL, "absolute");
	run_init(&run, "exit", "0", NULL, NULL);
	run.options.cgroup = "../escape";
	refuse(&run, EINVAL, "control group");
	run_init(&run, "exit", "0", NULL, NULL);
	run.options.shim = "/no/shim.so";
	refuse(&run, ENOENT, "/no/shim.so");
}

static void hash_file(const char *path, uint8_t out[32])
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	FILE *file = fopen(path, "re");
	char part[4096];
	size_t n;

	assert_non_null(file);
	EVP_DigestInit_ex(ctx, EVP_sha256(), NULL);
	while ((n = fread(part, 1, sizeof(part), file)) > 0)
		EVP_DigestUpdate(ctx, part, n);
	EVP_DigestFinal_ex(ctx, out, NULL);
	EVP_MD_CTX_free(ctx);
	fclose(file);
}

static void test_right_hash_and_exit_code(void **state)
{
	uint8_t hash[32];
	struct run run;

	(void)state;
	need_root();
	hash_file(probe, hash);
	run_init(&run, "exit", "42", NULL, NULL);
	run.options.sha256 = hash;
	assert_int_equal(run_start(&run), 0);
	run_wait(&run);
	assert_true(WIFEXITED(run.status) && WEXITSTATUS(run.status) == 42);
	run_end(&run);
}

static void test_memory_is_limited(void **state)
{
	struct run run;

	(void)state;
	need_root();
	run_init(&run, "memory", NULL, NULL, NULL);
	assert_int_equal(run_start(&run), 0);
	run_read(&run);
	run_wait(&run);
	if (ygr_confine_features(run.confined)->memory) {
		assert_null(strstr(run.text, "LEAK"));
		assert_true(WIFSIGNALED(run.status) && WTERMSIG(run.status) == SIGKILL);
	}
	run_end(&run);
}

static void test_processes_are_limited(void **state)
{
	struct run run;
	char *forked;

	(void)state;
	need_root();
	run_init(&run, "processes", NULL, NULL, NULL);
	assert_int_equal(run_start(&run), 0);
	run_read(&run);
	run_wait(&run);
	forked = strstr(run.text, "forked ");
	assert_non_null(forked);
	if (ygr_confine_features(run.confined)->pids)
		assert_in_range(atoi(forked + 7), 8, 15);
	run_end(&run);
}

static void wait_for_word(struct run *run, const char *word)
{
	while (!strstr(run->text, word)) {
		ssize_t n = read(run->out, run->text + run->len, sizeof(run->text) - 1 - run->len);

		assert_true(n > 0);
		run->len += (size_t)n;
	}
}

static void test_signals(void **state)
{
	struct run run;

	(void)state;
	need_root();
	run_init(&run, "wait", NULL, NULL, NULL);
	assert_int_equal(run_start(&run), 0);
	wait_for_word(&run, "waiting");
	assert_int_equal(ygr_confine_wait(run.confined, &run.status), -EAGAIN);
	assert_int_equal(ygr_confine_signal(run.confined, SIGINT), 0);
	run_wait(&run);
	assert_true(WIFEXITED(run.status) && WEXITSTATUS(run.status) == 7);
	assert_int_equal(ygr_confine_signal(run.confined, 999), -EINVAL);
	run_end(&run);

	run_init(&run, "wait", NULL, NULL, NULL);
	assert_int_equal(run_start(&run), 0);
	wait_for_word(&run, "waiting");
	assert_int_equal(ygr_confine_signal(run.confined, SIGKILL), 0);
	run_wait(&run);
	assert_true(WIFSIGNALED(run.status) && WTERMSIG(run.status) == SIGKILL);
	run_end(&run);
}

static void gone_soon(pid_t pid)
{
	for (int i = 0; i < 500 && kill(pid, 0) == 0; i++)
		nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
	assert_int_equal(kill(pid, 0), -1);
	assert_int_equal(errno, ESRCH);
}

/* A caller in a process of its own is killed: init and application go with it, at once and for good. */
static void test_caller_dies(void **state)
{
	pid_t pids[2], caller;
	struct run run;
	int pipe_fds[2];

	(void)state;
	need_root();
	assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
	assert_int_equal(pipe(pipe_fds), 0);
	run_init(&run, "wait", NULL, NULL, NULL);
	caller = fork();
	if (caller == 0) {
		if (run_start(&run) < 0)
			_exit(1);
		pids[0] = ygr_confine_init_pid(run.confined);
		pids[1] = ygr_confine_app_pid(run.confined);
		if (write(pipe_fds[1], pids, sizeof(pids)) != sizeof(pids))
			_exit(1);
		for (;;)
			pause();
	}
	close(pipe_fds[1]);
	assert_int_equal(read(pipe_fds[0], pids, sizeof(pids)), sizeof(pids));
	assert_int_equal(kill(pids[1], 0), 0);
	assert_int_equal(kill(caller, SIGKILL), 0);
	assert_int_equal(waitpid(caller, NULL, 0), caller);
	assert_int_equal(waitpid(pids[0], NULL, 0), pids[0]); /* reparented to us */
	gone_soon(pids[1]);
	close(pipe_fds[0]);
	/* Its control group is left for the next start under that name, which clears it away. */
	assert_true(any_cgroup_left());
	run.argv[1] = (char *)"exit";
	assert_int_equal(run_start(&run), 0);
	run_wait(&run);
	run_end(&run);
}

static void test_free_while_running(void **state)
{
	struct run run;
	pid_t app;

	(void)state;
	need_root();
	run_init(&run, "wait", NULL, NULL, NULL);
	assert_int_equal(run_start(&run), 0);
	app = ygr_confine_app_pid(run.confined);
	run_end(&run);
	assert_int_equal(kill(app, 0), -1);
}

static void test_no_mount_is_left(void **state)
{
	struct run run;
	char before[64], after[64];
	FILE *p;

	(void)state;
	need_root();
	p = popen("md5sum < /proc/self/mountinfo", "re");
	assert_non_null(fgets(before, sizeof(before), p));
	pclose(p);
	run_init(&run, "wait", NULL, NULL, NULL);
	assert_int_equal(run_start(&run), 0);
	p = popen("md5sum < /proc/self/mountinfo", "re");
	assert_non_null(fgets(after, sizeof(after), p));
	pclose(p);
	assert_string_equal(before, after);
	run_end(&run);
}

/* In a process of its own, since it cannot be undone. */
static void test_self(void **state)
{
	struct ygr_error error = YGR_ERROR_INIT;
	int status;
	pid_t pid;

	(void)state;
	need_root();
	pid = fork();
	if (pid == 0) {
		if (ygr_confine_self(false, &error) < 0)
			_exit(1);
		if (socket(AF_INET, SOCK_STREAM, 0) >= 0 || socket(AF_VSOCK, SOCK_STREAM, 0) >= 0)
			_exit(2);
		if (fork() >= 0)
			_exit(3);
		if (chown("/tmp", 0, 0) == 0 || setuid(1) == 0)
			_exit(4);
		free(malloc(1 << 20));
		if (poll(NULL, 0, 1) != 0)
			_exit(5);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

/* What a session still has to do after it gave up its rights: signal, reap, kill, remove the control group.
 */
static void test_self_then_end(void **state)
{
	struct ygr_error error = YGR_ERROR_INIT;
	struct run run;
	int status;
	pid_t pid;

	(void)state;
	need_root();
	run_init(&run, "wait", NULL, NULL, NULL);
	pid = fork();
	if (pid == 0) {
		if (run_start(&run) < 0 || ygr_confine_self(false, &error) < 0)
			_exit(1);
		wait_for_word(&run, "waiting");
		if (ygr_confine_signal(run.confined, SIGINT) < 0)
			_exit(2);
		run_wait(&run);
		if (!WIFEXITED(run.status) || WEXITSTATUS(run.status) != 7)
			_exit(3);
		ygr_confine_free(run.confined);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	assert_false(any_cgroup_left());

	pid = fork();
	if (pid == 0) {
		if (run_start(&run) < 0 || ygr_confine_self(true, &error) < 0)
			_exit(1);
		ygr_confine_free(run.confined); /* while it runs */
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	assert_false(any_cgroup_left());
}

/* The programs are taken from a directory that the confinement does not have, as root's ad-hoc tools are. */
static int set_up(void **state)
{
	char command[1024];

	(void)state;
	if (!mkdtemp(directory) || chmod(directory, 0755) < 0)
		return -1;
	snprintf(probe, sizeof(probe), "%s/probe", directory);
	snprintf(preload, sizeof(preload), "%s/preload.so", directory);
	snprintf(command, sizeof(command), "cp '%s' %s && cp '%s' %s", CONFINE_PROBE, probe, CONFINE_PRELOAD,
		 preload);
	return system(command);
}

static int tear_down(void **state)
{
	(void)state;
	unlink(probe);
	unlink(preload);
	/* A caller without capabilities may not write to the root of a hierarchy: see cgroup.h. */
	if (system("rmdir /sys/fs/cgroup/yagura-test /sys/fs/cgroup/*/yagura-test 2>/dev/null") < 0)
		return -1;
	return rmdir(directory);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_escape),
	    cmocka_unit_test(test_escape_with_shim),
	    cmocka_unit_test(test_escape_traced),
	    cmocka_unit_test(test_start_refused),
	    cmocka_unit_test(test_right_hash_and_exit_code),
	    cmocka_unit_test(test_memory_is_limited),
	    cmocka_unit_test(test_processes_are_limited),
	    cmocka_unit_test(test_signals),
	    cmocka_unit_test(test_caller_dies),
	    cmocka_unit_test(test_free_while_running),
	    cmocka_unit_test(test_no_mount_is_left),
	    cmocka_unit_test(test_self),
	    cmocka_unit_test(test_self_then_end),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
