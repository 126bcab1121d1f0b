/*
 * Dialling a guest; see transport.h. The "CONNECT PORT\n" convention of a user-space vsock device is that of
 * Firecracker, Cloud Hypervisor and vhost-device-vsock; such a device answers a refusal by closing.
 */
#include "lib/wire/transport.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <linux/vm_sockets.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>

#include "lib/base/cleanup.h"
#include "lib/wire/deadline.h"

#define HYBRID_ANSWER_MAX 32 /* "OK 4294967295\n" is 14 */

/* Digits only, up to and including TEXT's end. */
static int parse_u32(const char *text, uint32_t *ret)
{
	if (*text < '0' || *text > '9')
		return -EINVAL;
	char *end;
	errno = 0;
	unsigned long long value = strtoull(text, &end, 10);
	if (errno || *end || value > UINT32_MAX)
		return -EINVAL;
	*ret = (uint32_t)value;
	return 0;
}

static int poll_until(int fd, short events, int64_t deadline)
{
	struct pollfd pfd = {.fd = fd, .events = events};
	int r;
	do
		r = poll(&pfd, 1, ygr_deadline_left(deadline));
	while (r < 0 && errno == EINTR);
	return r < 0 ? -errno : r == 0 ? -ETIMEDOUT : 0;
}

/* connect(2) on a non-blocking socket, until DEADLINE. */
static int connect_until(int fd, const struct sockaddr *address, socklen_t size, int64_t deadline)
{
	for (;;) {
		if (connect(fd, address, size) == 0)
			return 0;
		if (errno == EINTR)
			continue;
		if (errno == EINPROGRESS)
			break;
		if (errno != EAGAIN)
			return -errno;
		/* A UNIX socket whose backlog is full: nothing tells when that changes. */
		int left = ygr_deadline_left(deadline);
		if (left == 0)
			return -ETIMEDOUT;
		poll(NULL, 0, left < 0 || left > 10 ? 10 : left);
	}

	int r = poll_until(fd, POLLOUT, deadline);
	if (r < 0)
		return r;
	int failure = 0;
	socklen_t failure_size = sizeof(failure);
	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &failure, &failure_size) < 0)
		return -errno;
	return -failure;
}

static int dial_vsock(const char *rest, const char *address, int64_t deadline, int *ret_fd,
		      struct ygr_error *error)
{
	char cid_text[16] = "";
	uint32_t cid, port;
	const char *colon = strchr(rest, ':');
	if (colon && (size_t)(colon - rest) < sizeof(cid_text))
		memcpy(cid_text, rest, (size_t)(colon - rest));
	if (!colon || parse_u32(cid_text, &cid) < 0 || parse_u32(colon + 1, &port) < 0)
		return ygr_error_set(error, EINVAL, "channel address '%s' is not vsock:CID:PORT", address);

	_cleanup_close_ int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return ygr_error_set(error, errno, "this node has no AF_VSOCK: %s", strerror(errno));

	/* The kernel gives up after 2 s by itself; our own deadline shall decide. */
	int left = ygr_deadline_left(deadline);
	struct timeval limit = {.tv_sec = left < 0 ? 3600 : left / 1000 + 1};
	(void)setsockopt(fd, AF_VSOCK, SO_VM_SOCKETS_CONNECT_TIMEOUT, &limit, sizeof(limit));

	struct sockaddr_vm to = {.svm_family = AF_VSOCK, .svm_cid = cid, .svm_port = port};
	int r = connect_until(fd, (struct sockaddr *)&to, sizeof(to), deadline);
	/* A guest without a listener answers with a reset, which is what a refusal looks like here. */
	if (r == -ECONNRESET || r == -ECONNREFUSED)
		return ygr_error_set(error, ECONNREFUSED, "nobody listens on port %u of guest CID %u", port,
				     cid);
	if (r < 0)
		return ygr_error_set(error, -r, "cannot reach guest CID %u port %u: %s", cid, port,
				     strerror(-r));
	*ret_fd = ygr_steal_fd(&fd);
	return 0;
}

/* Connects to the socket that PATH_FD (O_PATH) is. Going by /proc also lifts the 108 bytes of sun_path. */
static int connect_path_fd(int path_fd, int64_t deadline, int *ret_fd)
{
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;

	struct sockaddr_un to = {.sun_family = AF_UNIX};
	snprintf(to.sun_path, sizeof(to.sun_path), "/proc/self/fd/%d", path_fd);
	int r = connect_until(fd, (struct sockaddr *)&to, sizeof(to), deadline);
	if (r < 0)
		return r;
	*ret_fd = ygr_steal_fd(&fd);
	return 0;
}

/* The part of PATH below ROOT, or NULL when it does not begin with it. */
static const char *below(const char *path, const char *root)
{
	size_t len = strlen(root);
	while (len > 1 && root[len - 1] == '/')
		len--;
	if (strncmp(path, root, len) != 0)
		return NULL;
	path += len;
	if (len > 1 && *path != '/')
		return NULL;
	while (*path == '/')
		path++;
	return *path ? path : NULL;
}

static int open_hybrid(const char *path, const char *root, int *ret_fd, struct ygr_error *error)
{
	if (!root)
		return ygr_error_set(error, EACCES,
				     "'%s' refused: no directory for hybrid vsock sockets is configured",
				     path);
	const char *relative = below(path, root);
	if (!relative)
		return ygr_error_set(error, EACCES, "'%s' does not lie beneath '%s'", path, root);

	_cleanup_close_ int root_fd = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (root_fd < 0)
		return ygr_error_set(error, errno, "cannot open '%s': %s", root, strerror(errno));
	struct open_how how = {
	    .flags = O_PATH | O_CLOEXEC,
	    .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS,
	};
	_cleanup_close_ int fd = (int)syscall(SYS_openat2, root_fd, relative, &how, sizeof(how));
	if (fd < 0 && (errno == EXDEV || errno == ELOOP))
		return ygr_error_set(error, EACCES, "'%s' leads out of '%s'", path, root);
	if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
		return ygr_error_set(error, EHOSTDOWN,
				     "ChannelLost: there is no socket '%s'; start the VM's vsock "
				     "device, then restart the VM",
				     path);
	if (fd < 0)
		return ygr_error_set(error, errno, "cannot open '%s': %s", path, strerror(errno));

	struct stat st;
	if (fstat(fd, &st) < 0)
		return ygr_error_set(error, errno, "cannot stat '%s': %s", path, strerror(errno));
	if (!S_ISSOCK(st.st_mode))
		return ygr_error_set(error, EACCES, "'%s' is not a socket", path);
	*ret_fd = ygr_steal_fd(&fd);
	return 0;
}

/* Reads one line, byte by byte: what follows it already belongs to the guest. */
static int read_line(int fd, char *line, size_t size, int64_t deadline)
{
	for (size_t len = 0; len + 1 < size;) {
		ssize_t n = recv(fd, line + len, 1, MSG_DONTWAIT);
		if (n == 1) {
			if (line[len] == '\n') {
				line[len] = '\0';
				return 0;
			}
			len++;
		} else if (n == 0) {
			return -ECONNRESET;
		} else if (errno == EAGAIN) {
			int r = poll_until(fd, POLLIN, deadline);
			if (r < 0)
				return r;
		} else if (errno != EINTR) {
			return -errno;
		}
	}
	return -EPROTO;
}

static int hybrid_connect(int fd, uint32_t port, const char *path, int64_t deadline, struct ygr_error *error)
{
	char text[HYBRID_ANSWER_MAX];
	int len = snprintf(text, sizeof(text), "CONNECT %u\n", port);
	/* A new connection's buffer takes these few bytes at once or not at all. */
	ssize_t n = send(fd, text, (size_t)len, MSG_NOSIGNAL | MSG_DONTWAIT);
	int r = n == len ? read_line(fd, text, sizeof(text), deadline) : n < 0 ? -errno : -EPIPE;

	if (r == -ECONNRESET || r == -EPIPE)
		return ygr_error_set(error, ECONNREFUSED,
				     "nobody listens on port %u of the guest behind '%s'", port, path);
	if (r == -ETIMEDOUT)
		return ygr_error_set(
		    error, ETIMEDOUT,
		    "the vsock device behind '%s' does not answer CONNECT %u: the guest hangs, "
		    "or the device did not survive a reset of it; restart the VM",
		    path, port);
	uint32_t ignored;
	if (r == -EPROTO || (r == 0 && (strncmp(text, "OK ", 3) != 0 || parse_u32(text + 3, &ignored) < 0)))
		return ygr_error_set(error, EPROTO, "'%s' does not speak like a hybrid vsock socket", path);
	if (r < 0)
		return ygr_error_set(error, -r, "cannot speak to '%s': %s", path, strerror(-r));
	return 0;
}

static int dial_hvsock(const char *rest, const char *address, const char *root, int64_t deadline,
		       int *ret_fd, struct ygr_error *error)
{
	const char *colon = strrchr(rest, ':');
	uint32_t port;
	if (!colon || rest[0] != '/' || parse_u32(colon + 1, &port) < 0)
		return ygr_error_set(error, EINVAL, "channel address '%s' is not hvsock:PATH:PORT", address);
	_cleanup_free_ char *path = strndup(rest, (size_t)(colon - rest));
	if (!path)
		return ygr_error_set(error, ENOMEM, "out of memory");

	_cleanup_close_ int path_fd = -1, fd = -1;
	int r = open_hybrid(path, root, &path_fd, error);
	if (r < 0)
		return r;
	r = connect_path_fd(path_fd, deadline, &fd);
	if (r == -ECONNREFUSED)
		return ygr_error_set(error, EHOSTDOWN,
				     "ChannelLost: the vsock device behind '%s' is gone and does "
				     "not come back by itself; restart the VM",
				     path);
	if (r < 0)
		return ygr_error_set(error, -r, "cannot connect to '%s': %s", path, strerror(-r));
	r = hybrid_connect(fd, port, path, deadline, error);
	if (r < 0)
		return r;
	*ret_fd = ygr_steal_fd(&fd);
	return 0;
}

static int dial_unix(const char *path, int64_t deadline, int *ret_fd, struct ygr_error *error)
{
	_cleanup_close_ int path_fd = open(path, O_PATH | O_CLOEXEC);
	int r = path_fd < 0 ? -errno : connect_path_fd(path_fd, deadline, ret_fd);
	if (r < 0)
		return ygr_error_set(error, -r, "cannot connect to '%s': %s", path, strerror(-r));
	return 0;
}

int ygr_transport_dial(const char *address, const char *hvsock_root, int timeout_ms, int *ret_fd,
		       struct ygr_error *error)
{
	int64_t deadline = ygr_deadline_in(timeout_ms);
	_cleanup_close_ int fd = -1;
	int r;
	if (strncmp(address, "vsock:", 6) == 0)
		r = dial_vsock(address + 6, address, deadline, &fd, error);
	else if (strncmp(address, "hvsock:", 7) == 0)
		r = dial_hvsock(address + 7, address, hvsock_root, deadline, &fd, error);
	else if (strncmp(address, "unix:", 5) == 0)
		r = dial_unix(address + 5, deadline, &fd, error);
	else
		r = ygr_error_set(error, EINVAL,
				  "channel address '%s' is none of vsock:, hvsock:, unix:", address);
	if (r < 0)
		return r;

	/* Given out as plain blocking descriptors: who wants it otherwise says so. */
	int flags = fcntl(fd, F_GETFL);
	if (flags < 0 || fcntl(fd, F_SETFL, flags & ~O_NONBLOCK) < 0)
		return ygr_error_set(error, errno, "fcntl: %s", strerror(errno));
	*ret_fd = ygr_steal_fd(&fd);
	return 0;
}
