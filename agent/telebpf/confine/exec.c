/*
 * The last steps of the application's process, in an order that matters: descriptors and limits while still
 * root; the executable opened and its hash checked inside the new root, by the descriptor that is then
 * executed; the user; the one ambient capability; the filter; exec.
 *
 * Capabilities follow capabilities(7): the bounding set keeps CAP_SYS_RAWIO only, securebits are locked so
 * that user 0 would mean nothing, and the ambient set carries the capability over exec. It goes along only
 * where the shim comes first and drops it before any code of the application runs: in a dynamic executable, and in
 * a static one, which the shim itself is executed to load (shim/load.c).
 */
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <openssl/evp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "agent/telebpf/confine/child.h"
#include "agent/telebpf/executable.h"
#include "agent/telebpf/local.h"
#include "lib/base/cleanup.h"

#define NOFILE_SOFT 1024
#define NOFILE_HARD 4096
#define FSIZE_MAX   (64ull << 20)
#define NPROC_MAX   1024 /* of the user; the exact limit is the control group's */
#define ENV_MAX     256  /* variables */
#define SECURE_LOCKED                                                                                       \
	(SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_NO_SETUID_FIXUP | SECBIT_NO_SETUID_FIXUP_LOCKED |    \
	 SECBIT_KEEP_CAPS_LOCKED | SECBIT_NO_CAP_AMBIENT_RAISE | SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED)

static int failed(struct ygr_error *error, const char *what)
{
	int code = errno;

	return ygr_error_set(error, code, "%s: %s", what, strerror(code));
}

static int set_capabilities(uint64_t permitted, uint64_t inheritable)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2];

	for (int i = 0; i < 2; i++)
		data[i] = (struct __user_cap_data_struct){
		    .effective = (uint32_t)(permitted >> (32 * i)),
		    .permitted = (uint32_t)(permitted >> (32 * i)),
		    .inheritable = (uint32_t)(inheritable >> (32 * i)),
		};
	return syscall(SYS_capset, &header, data) < 0 ? -errno : 0;
}

/* Asking for a bit that one does not have is an error, so what is had is read first. */
static uint64_t permitted_capabilities(void)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2] = {0};

	syscall(SYS_capget, &header, data);
	return data[0].permitted | (uint64_t)data[1].permitted << 32;
}

static int drop_bounding(uint64_t mask)
{
	for (unsigned long cap = 0; cap < 64; cap++) {
		if (mask >> cap & 1)
			continue;
		if (prctl(PR_CAPBSET_READ, cap) == 1 && prctl(PR_CAPBSET_DROP, cap) < 0)
			return -errno;
	}
	return 0;
}

int ygr_confine_keep_capabilities(uint64_t mask, struct ygr_error *error)
{
	int r;

	prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	r = drop_bounding(mask);
	if (r == 0)
		r = set_capabilities(permitted_capabilities() & mask, 0);
	return r < 0 ? ygr_error_set(error, -r, "cannot drop capabilities: %s", strerror(-r)) : 0;
}

int ygr_confine_verify(int fd, const uint8_t want[32])
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	uint8_t *chunk = malloc(1u << 16), digest[EVP_MAX_MD_SIZE];
	unsigned len = 0;
	off_t at = 0;
	ssize_t n = -1;
	int r = -ENOMEM;

	if (ctx && chunk && EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) == 1) {
		while ((n = pread(fd, chunk, 1u << 16, at)) > 0 &&
		       EVP_DigestUpdate(ctx, chunk, (size_t)n) == 1)
			at += n;
		if (n < 0)
			r = -errno;
		else if (n == 0 && EVP_DigestFinal_ex(ctx, digest, &len) == 1)
			r = len == 32 && memcmp(digest, want, 32) == 0 ? 0 : -EBADMSG;
	}
	free(chunk);
	EVP_MD_CTX_free(ctx);
	return r;
}

static int64_t read_at(int fd, void *to, size_t length, uint64_t offset)
{
	return pread(fd, to, length, (off_t)offset);
}

static int open_executable(const struct ygr_confine_options *options, struct ygr_error *error)
{
	_cleanup_close_ int fd = open(options->executable, O_RDONLY | O_CLOEXEC);
	struct stat st;
	int r;

	if (fd < 0 || fstat(fd, &st) < 0)
		return ygr_error_set(error, errno, "cannot open %s: %m", options->executable);
	if (!S_ISREG(st.st_mode))
		return ygr_error_set(error, EACCES, "%s is not a regular file", options->executable);
	r = options->sha256 ? ygr_confine_verify(fd, options->sha256) : 0;
	if (r == -EBADMSG)
		return ygr_error_set(error, EBADMSG,
				     "%s is not the file that was approved: its SHA-256 differs",
				     options->executable);
	if (r < 0)
		return ygr_error_set(error, -r, "cannot read %s: %s", options->executable, strerror(-r));
	return ygr_steal_fd(&fd);
}

/* Lowers a limit; an existing lower hard limit stays. */
static int limit(__rlimit_resource_t resource, rlim_t soft, rlim_t hard, const char *what,
		 struct ygr_error *error)
{
	struct rlimit had, want = {soft, hard};

	if (getrlimit(resource, &had) < 0)
		return failed(error, what);
	if (want.rlim_max > had.rlim_max)
		want.rlim_max = had.rlim_max;
	if (want.rlim_cur > want.rlim_max)
		want.rlim_cur = want.rlim_max;
	return setrlimit(resource, &want) < 0 ? failed(error, what) : 0;
}

static int set_limits(struct ygr_error *error)
{
	struct rlimit unlimited = {RLIM_INFINITY, RLIM_INFINITY};
	int r = limit(RLIMIT_NOFILE, NOFILE_SOFT, NOFILE_HARD, "cannot limit descriptors", error);

	if (r == 0)
		r = limit(RLIMIT_CORE, 0, 0, "cannot limit core dumps", error);
	if (r == 0)
		r = limit(RLIMIT_FSIZE, FSIZE_MAX, FSIZE_MAX, "cannot limit file sizes", error);
	if (r == 0)
		r = limit(RLIMIT_NPROC, NPROC_MAX, NPROC_MAX, "cannot limit processes", error);
	/* Tools raise this for their maps and give up when they cannot; memory is limited by the control
	 * group. */
	(void)setrlimit(RLIMIT_MEMLOCK, &unlimited);
	return r;
}

/* 0: /dev/null, 1 and 2 as given, YGR_LOCAL_FD; everything else closes on exec. */
static int set_descriptors(const struct ygr_confine_options *options, struct ygr_error *error)
{
	int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	int out, err, local = -1;

	if (null_fd < 0)
		return failed(error, "cannot open /dev/null");
	/* Out of the way first: the given numbers may be each other's targets. */
	out = fcntl(options->stdout_fd >= 0 ? options->stdout_fd : null_fd, F_DUPFD_CLOEXEC, 16);
	err = fcntl(options->stderr_fd >= 0 ? options->stderr_fd : null_fd, F_DUPFD_CLOEXEC, 16);
	if (options->local_fd >= 0)
		local = fcntl(options->local_fd, F_DUPFD_CLOEXEC, 16);
	null_fd = fcntl(null_fd, F_DUPFD_CLOEXEC, 16);
	if (out < 0 || err < 0 || null_fd < 0 || (options->local_fd >= 0 && local < 0))
		return failed(error, "cannot move descriptors");
	if (close_range(3, ~0u, CLOSE_RANGE_CLOEXEC) < 0)
		return failed(error, "cannot mark descriptors");
	if (dup2(null_fd, 0) < 0 || dup2(out, 1) < 0 || dup2(err, 2) < 0 ||
	    (local >= 0 && dup2(local, YGR_LOCAL_FD) < 0))
		return failed(error, "cannot set up descriptors");
	return 0;
}

/* Becomes the user for good. RAWIO: the capability comes along. */
static int become_user(const struct ygr_confine_options *options, bool rawio, struct ygr_error *error)
{
	uint64_t kept = rawio ? 1ull << CAP_SYS_RAWIO : 0;
	int r;

	if (drop_bounding(kept) < 0)
		return failed(error, "cannot reduce the bounding set");
	if (prctl(PR_SET_KEEPCAPS, 1) < 0 || setgroups(0, NULL) < 0 ||
	    setresgid(options->gid, options->gid, options->gid) < 0 ||
	    setresuid(options->uid, options->uid, options->uid) < 0)
		return failed(error, "cannot become the application's user");
	if (!(permitted_capabilities() & kept) && kept)
		kept = 0; /* this node does not have it either: the shim falls back to dispatch */
	r = set_capabilities(kept | 1ull << CAP_SETPCAP, kept);
	if (r < 0)
		return ygr_error_set(error, -r, "cannot set capabilities: %s", strerror(-r));
	if (kept && prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_SYS_RAWIO, 0, 0) < 0)
		return failed(error, "cannot raise the ambient capability");
	if (prctl(PR_SET_KEEPCAPS, 0) < 0 || prctl(PR_SET_SECUREBITS, SECURE_LOCKED) < 0)
		return failed(error, "cannot lock securebits");
	r = set_capabilities(kept, kept);
	if (r < 0)
		return ygr_error_set(error, -r, "cannot drop capabilities: %s", strerror(-r));
	return 0;
}

/* The given environment without what steers the dynamic loader, then our two variables. */
static int make_environment(const struct ygr_confine_options *options, char *preload, size_t preload_size,
			    char *env[ENV_MAX + 4], struct ygr_error *error)
{
	static char mark[] = "YAGURA_SHIM=1";
	unsigned count = 0;

	for (char *const *var = options->envp; *var; var++) {
		if (strncmp(*var, "LD_", 3) == 0 || strncmp(*var, "GLIBC_TUNABLES=", 15) == 0 ||
		    strncmp(*var, "YAGURA_SHIM=", 12) == 0 ||
		    strncmp(*var, YGR_LOCAL_LOAD_VARIABLE "=", sizeof(YGR_LOCAL_LOAD_VARIABLE)) == 0)
			continue;
		if (count == ENV_MAX)
			return ygr_error_set(error, E2BIG, "more than %d environment variables", ENV_MAX);
		env[count++] = *var;
	}
	if (options->shim) {
		if (strpbrk(options->shim, ": ")) /* separators of LD_PRELOAD */
			return ygr_error_set(error, EINVAL, "path of the shim has a blank or colon: %s",
					     options->shim);
		snprintf(preload, preload_size, "LD_PRELOAD=%s", options->shim);
		env[count++] = preload;
		env[count++] = mark;
	}
	env[count] = NULL;
	return 0;
}

/*
 * The descriptor that is executed: FD itself, or for a static executable the shim's, which finds FD at
 * YGR_LOCAL_LOAD_FD, as ENV then says.
 */
static int choose_first(const struct ygr_confine_options *options, enum ygr_executable kind, int fd,
			char **env, struct ygr_error *error)
{
	static char load[] = YGR_LOCAL_LOAD_VARIABLE "=" YGR_LOCAL_LOAD_FD_TEXT;
	int shim;

	if (!options->shim || kind != YGR_EXECUTABLE_STATIC)
		return fd;
	shim = open(options->shim, O_RDONLY | O_CLOEXEC);
	if (shim < 0 || dup2(fd, YGR_LOCAL_LOAD_FD) < 0)
		return failed(error, "cannot open the shim for a static executable");
	while (*env)
		env++;
	*env++ = load;
	*env = NULL;
	return shim;
}

int ygr_confine_exec(const struct ygr_confine_child *child, struct ygr_error *error)
{
	const struct ygr_confine_options *options = child->options;
	char preload[4200], *env[ENV_MAX + 4];
	enum ygr_executable kind;
	sigset_t none;
	int fd, first, r = make_environment(options, preload, sizeof(preload), env, error);

	if (r < 0)
		return r;
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	if (setsid() < 0)
		return failed(error, "cannot make a session");
	r = set_limits(error);
	if (r == 0)
		r = set_descriptors(options, error);
	if (r < 0)
		return r;
	fd = open_executable(options, error);
	if (fd < 0)
		return fd;
	kind = ygr_executable_kind(fd, read_at);
	first = choose_first(options, kind, fd, env, error);
	if (first < 0)
		return first;
	r = become_user(options, options->shim && kind != YGR_EXECUTABLE_OTHER, error);
	if (r == 0)
		r = ygr_confine_filter_app(options->traced, error);
	if (r < 0)
		return r;
	execveat(first, "", options->argv, env, AT_EMPTY_PATH);
	return ygr_error_set(error, errno, "cannot execute %s: %m", options->executable);
}
