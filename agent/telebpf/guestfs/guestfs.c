/*
 * The life of the file system and of its waiting operations. libfuse is driven by hand: the session's loop
 * says when /dev/fuse is readable, one request is received and processed, and its handler either answers at
 * once or sends a request on the channel, whose reply answers it. So any number of processes can wait for
 * files while the loop goes on, and a guest that does not answer blocks only who asked.
 *
 * The kernel's mount(2) is made by the confinement's child with our descriptor in its options; libfuse takes
 * the descriptor under the name "/dev/fd/N" and leaves mounting to us.
 */
#include "agent/telebpf/guestfs/guestfs.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "agent/telebpf/guestfs/op.h"
#include "lib/base/cleanup.h"
#include "lib/wire/grant.h"

#define ROUND 64 /* requests of one dispatch, so that others of the loop have their turn */

static int open_session(struct ygr_guestfs *fs, struct ygr_error *error)
{
	static char name[] = "yagura";
	char *argv[] = {name, NULL};
	struct fuse_args args = FUSE_ARGS_INIT(1, argv);
	char path[32];

	fs->fd = open("/dev/fuse", O_RDWR | O_CLOEXEC | O_NONBLOCK);
	if (fs->fd < 0)
		return ygr_error_set(error, errno, "cannot open /dev/fuse (is the module fuse loaded?): %m");
	fs->session = fuse_session_new(&args, &ygr_guestfs_ops, sizeof(ygr_guestfs_ops), fs);
	fuse_opt_free_args(&args);
	snprintf(path, sizeof(path), "/dev/fd/%d", fs->fd);
	if (!fs->session || fuse_session_mount(fs->session, path) < 0)
		return ygr_error_set(error, ENOMEM, "libfuse cannot make a session");
	return 0;
}

int ygr_guestfs_new(struct ygr_channel *channel, const struct ygr_grant *grant, struct ygr_guestfs **ret,
		    struct ygr_error *error)
{
	struct ygr_guestfs *fs = calloc(1, sizeof(*fs));
	int r;

	if (!fs)
		return ygr_error_set(error, ENOMEM, "out of memory");
	fs->fd = -1;
	fs->channel = channel;
	fs->grant = grant;
	r = ygr_guestfs_nodes_init(&fs->nodes);
	if (r < 0)
		r = ygr_error_set(error, ENOMEM, "out of memory");
	else
		r = open_session(fs, error);
	if (r < 0) {
		ygr_guestfs_free(fs);
		return r;
	}
	*ret = fs;
	return 0;
}

void ygr_guestfs_abandon(struct ygr_guestfs *fs)
{
	fs->abandoned = true;
	/* Their replies still come, if only as NULL when the channel ends; they find fs NULL. */
	while (fs->ops) {
		struct ygr_guestfs_op *op = fs->ops;

		fs->ops = op->next;
		fuse_reply_err(op->req, EIO);
		op->fs = NULL;
	}
}

const char *ygr_guestfs_waiting(const struct ygr_guestfs *fs)
{
	const struct ygr_guestfs_op *op = fs->ops;

	while (op && op->next)
		op = op->next;
	return op ? op->path : NULL;
}

struct ygr_guestfs *ygr_guestfs_free(struct ygr_guestfs *fs)
{
	if (!fs)
		return NULL;
	ygr_guestfs_abandon(fs);
	if (fs->session) {
		/* Closes the descriptor too: that ends the connection, and every waiter gets an error. */
		fuse_session_destroy(fs->session);
		fs->fd = -1;
	}
	ygr_closep(&fs->fd);
	free(fs->buffer.mem);
	ygr_guestfs_nodes_deinit(&fs->nodes);
	free(fs);
	return NULL;
}

int ygr_guestfs_fd(const struct ygr_guestfs *fs)
{
	return fs->fd;
}

int ygr_guestfs_dispatch(struct ygr_guestfs *fs)
{
	for (unsigned i = 0; i < ROUND; i++) {
		struct pollfd ready = {.fd = fs->fd, .events = POLLIN};
		int n;

		/* An error is what poll says before the mount and after the unmount. */
		if (poll(&ready, 1, 0) <= 0)
			return 0;
		if (ready.revents & (POLLERR | POLLHUP | POLLNVAL))
			return fs->mounted ? -ENODEV : 0;
		n = fuse_session_receive_buf(fs->session, &fs->buffer);
		if (n == -EINTR || n == -EAGAIN)
			return 0;
		if (n <= 0)
			return n == 0 || fs->mounted ? -ENODEV : 0;
		fs->mounted = true;
		fuse_session_process_buf(fs->session, &fs->buffer);
		if (fuse_session_exited(fs->session))
			return -ENODEV;
	}
	return 0;
}

struct ygr_guestfs_op *ygr_guestfs_op_new(fuse_req_t req, uint64_t ino, const char *path)
{
	struct ygr_guestfs *fs = fuse_req_userdata(req);
	struct ygr_guestfs_op *op;

	if (!path) {
		fuse_reply_err(req, ESTALE);
		return NULL;
	}
	op = malloc(sizeof(*op));
	if (!op) {
		fuse_reply_err(req, ENOMEM);
		return NULL;
	}
	*op = (struct ygr_guestfs_op){.fs = fs, .req = req, .ino = ino, .next = fs->ops, .link = &fs->ops};
	snprintf(op->path, sizeof(op->path), "%s", path);
	if (fs->ops)
		fs->ops->link = &op->next;
	fs->ops = op;
	return op;
}

void ygr_guestfs_op_free(struct ygr_guestfs_op *op)
{
	if (op->fs) {
		*op->link = op->next;
		if (op->next)
			op->next->link = op->link;
	}
	free(op);
}

void ygr_guestfs_op_ask(struct ygr_guestfs_op *op, uint16_t type, const struct iovec *pieces, int count,
			ygr_channel_reply reply)
{
	int r = op->fs->abandoned ? -EPIPE
				  : ygr_channel_request(op->fs->channel, type, pieces, count, reply, op);

	if (r == 0)
		return;
	fuse_reply_err(op->req, r == -EAGAIN ? EBUSY : EIO);
	ygr_guestfs_op_free(op);
}

bool ygr_guestfs_join(const char *directory, const char *name, char out[YGR_GUESTFS_PATH_MAX])
{
	int n =
	    snprintf(out, YGR_GUESTFS_PATH_MAX, "%s/%s", strcmp(directory, "/") == 0 ? "" : directory, name);

	return n < (int)YGR_GUESTFS_PATH_MAX && *name && !strchr(name, '/') && strcmp(name, ".") != 0 &&
	       strcmp(name, "..") != 0;
}

bool ygr_guestfs_visible(const struct ygr_guestfs *fs, const char *path)
{
	return ygr_grant_leads_to(fs->grant, path) ||
	       ygr_grant_check_file(fs->grant, YGR_GUESTFS_WHO, path, O_RDONLY, NULL) == 0 ||
	       ygr_grant_check_file(fs->grant, YGR_GUESTFS_WHO, path, O_WRONLY, NULL) == 0;
}

bool ygr_guestfs_is_local(const char *path)
{
	size_t len = strcmp(path, "/") == 0 ? 0 : strlen(path);

	for (const struct ygr_guestfs_bind *bind = ygr_guestfs_binds; bind->path; bind++)
		if (strncmp(bind->path, path, len) == 0 && bind->path[len] == '/')
			return true;
	return false;
}
