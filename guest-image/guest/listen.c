/* Where the server listens; see server.h. */
#include "guest-image/guest/server.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <linux/vm_sockets.h>

#include "lib/base/cleanup.h"

#define BACKLOG 16

static int bind_vsock(const char *port, int *ret_fd, struct ygr_error *error)
{
	char *end;
	errno = 0;
	unsigned long number = strtoul(port, &end, 10);
	if (errno || *port < '0' || *port > '9' || *end || number == 0 || number > UINT32_MAX - 1)
		return ygr_error_set(error, EINVAL, "--listen vsock:%s: expected a port number", port);
	_cleanup_close_ int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return ygr_error_set(error, errno,
				     "AF_VSOCK: %s (is the module vmw_vsock_virtio_transport loaded?)",
				     strerror(errno));
	struct sockaddr_vm address = {
	    .svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_ANY, .svm_port = (unsigned)number};
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, BACKLOG) < 0)
		return ygr_error_set(error, errno, "AF_VSOCK port %lu: %s", number, strerror(errno));
	*ret_fd = ygr_steal_fd(&fd);
	return 0;
}

static int bind_unix(const char *path, int *ret_fd, struct ygr_error *error)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct stat st;
	if (strlen(path) == 0 || strlen(path) >= sizeof(address.sun_path))
		return ygr_error_set(error, EINVAL, "--listen unix:%s: expected a path of at most %zu bytes",
				     path, sizeof(address.sun_path) - 1);
	memcpy(address.sun_path, path, strlen(path));
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return ygr_error_set(error, errno, "%s: %s", path, strerror(errno));
	if (lstat(path, &st) == 0 && S_ISSOCK(st.st_mode))
		unlink(path);
	mode_t old = umask(0177);
	int r = bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, BACKLOG) < 0
		    ? -errno
		    : 0;
	umask(old);
	if (r < 0)
		return ygr_error_set(error, -r, "%s: %s", path, strerror(-r));
	*ret_fd = ygr_steal_fd(&fd);
	return 0;
}

int ygr_guest_listen(const char *address, int *ret_fd, struct ygr_error *error)
{
	if (strncmp(address, "vsock:", 6) == 0)
		return bind_vsock(address + 6, ret_fd, error);
	if (strncmp(address, "unix:", 5) == 0)
		return bind_unix(address + 5, ret_fd, error);
	return ygr_error_set(error, EINVAL, "--listen %s: expected vsock:PORT or unix:PATH", address);
}
