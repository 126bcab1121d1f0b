/*
 * Opening, reading and writing. The page cache is used only for what cannot change while the guest runs
 * (BTF, its boot files); everything else is fetched at each read, since files of proc, sysfs and tracefs
 * have no honest size and new contents at any time.
 */
#include <fcntl.h>
#include <string.h>

#include "agent/telebpf/guestfs/op.h"
#include "agent/telebpf/local.h"
#include "lib/wire/grant.h"

#define OPEN_FLAGS (O_ACCMODE | O_APPEND | O_TRUNC)

static bool constant(const char *path)
{
	return strncmp(path, "/sys/kernel/btf/", 16) == 0 || strncmp(path, "/boot/", 6) == 0 ||
	       strncmp(path, "/lib/modules/", 13) == 0;
}

/* The status of a FILE_DATA answer with its bytes; a negative value is an errno. -EIO for a broken answer.
 */
static int64_t take_data(const struct ygr_frame *reply, const uint8_t **ret_data, uint32_t *ret_length)
{
	struct ygr_status status;

	if (!reply || reply->type != YGR_MSG_FILE_DATA || reply->length < sizeof(status))
		return -EIO;
	memcpy(&status, reply->payload, sizeof(status));
	if (status.value < -YGR_GUESTFS_ERRNO)
		return -EIO;
	*ret_data = reply->payload + sizeof(status);
	*ret_length = reply->length - (uint32_t)sizeof(status);
	return status.value;
}

static void close_handle(struct ygr_guestfs *fs, uint32_t handle)
{
	struct ygr_handle_close close = {.handle = handle};
	struct iovec piece = {&close, sizeof(close)};

	/* A channel that does not take it is lost, and its handles with it. */
	(void)ygr_channel_post(fs->channel, YGR_MSG_HANDLE_CLOSE, &piece, 1);
}

static void opened(void *user, const struct ygr_frame *reply)
{
	struct ygr_guestfs_op *op = user;
	const uint8_t *data;
	uint32_t length;

	if (op->fs) {
		int64_t value = take_data(reply, &data, &length);

		if (value <= 0 || value >= UINT32_MAX) {
			fuse_reply_err(op->req, value < 0 ? (int)-value : EIO);
		} else {
			op->file.fh = (uint64_t)value;
			op->file.direct_io = !constant(op->path);
			op->file.keep_cache = constant(op->path);
			if (fuse_reply_open(op->req, &op->file) == -ENOENT)
				close_handle(op->fs, (uint32_t)value);
		}
	}
	ygr_guestfs_op_free(op);
}

void ygr_guestfs_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *file)
{
	struct ygr_guestfs *fs = fuse_req_userdata(req);
	struct ygr_guestfs_op *op = ygr_guestfs_op_new(req, ino, ygr_guestfs_nodes_path(&fs->nodes, ino));
	struct ygr_file_open ask = {.flags = (uint32_t)(file->flags & OPEN_FLAGS)};
	struct iovec pieces[2] = {{&ask, sizeof(ask)}};

	if (!op)
		return;
	if (ygr_grant_check_file(fs->grant, YGR_GUESTFS_WHO, op->path, (int)ask.flags, NULL) < 0) {
		fuse_reply_err(req, EACCES);
		ygr_guestfs_op_free(op);
		return;
	}
	op->file = *file;
	pieces[1] = (struct iovec){op->path, strlen(op->path) + 1};
	ygr_guestfs_op_ask(op, YGR_MSG_FILE_OPEN, pieces, 2, opened);
}

static void read_done(void *user, const struct ygr_frame *reply);

static void ask_read(struct ygr_guestfs_op *op)
{
	struct ygr_file_io io = {.handle = op->handle, .length = op->length, .offset = op->offset};
	struct iovec piece = {&io, sizeof(io)};

	ygr_guestfs_op_ask(op, YGR_MSG_FILE_READ, &piece, 1, read_done);
}

static void read_done(void *user, const struct ygr_frame *reply)
{
	struct ygr_guestfs_op *op = user;
	const uint8_t *data = NULL;
	uint32_t length = 0;

	if (op->fs) {
		int64_t value = take_data(reply, &data, &length);

		/* trace_pipe and its like know no positions. */
		if (value == -ESPIPE && op->offset != UINT64_MAX) {
			op->offset = UINT64_MAX;
			ask_read(op);
			return;
		}
		if (value < 0)
			fuse_reply_err(op->req, (int)-value);
		else if (value != length || length > op->length)
			fuse_reply_err(op->req, EIO);
		else
			fuse_reply_buf(op->req, (const char *)data, length);
	}
	ygr_guestfs_op_free(op);
}

void ygr_guestfs_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *file)
{
	struct ygr_guestfs *fs = fuse_req_userdata(req);
	struct ygr_guestfs_op *op = ygr_guestfs_op_new(req, ino, ygr_guestfs_nodes_path(&fs->nodes, ino));

	if (!op)
		return;
	op->handle = (uint32_t)file->fh;
	op->length = size < YGR_FILE_IO_MAX ? (uint32_t)size : YGR_FILE_IO_MAX;
	op->offset = (uint64_t)offset;
	ask_read(op);
}

static void written(void *user, const struct ygr_frame *reply)
{
	struct ygr_guestfs_op *op = user;
	const uint8_t *data;
	uint32_t length;

	if (op->fs) {
		int64_t value = take_data(reply, &data, &length);

		if (value < 0 || value > op->length)
			fuse_reply_err(op->req, value < 0 ? (int)-value : EIO);
		else
			fuse_reply_write(op->req, (size_t)value);
	}
	ygr_guestfs_op_free(op);
}

void ygr_guestfs_write(fuse_req_t req, fuse_ino_t ino, const char *data, size_t size, off_t offset,
		       struct fuse_file_info *file)
{
	struct ygr_guestfs *fs = fuse_req_userdata(req);
	struct ygr_guestfs_op *op = ygr_guestfs_op_new(req, ino, ygr_guestfs_nodes_path(&fs->nodes, ino));
	struct ygr_file_io io = {.handle = (uint32_t)file->fh, .offset = UINT64_MAX};
	struct iovec pieces[2] = {{&io, sizeof(io)}};

	(void)offset; /* what can be written takes commands, one after the other */
	if (!op)
		return;
	io.length = op->length = size < YGR_FILE_IO_MAX ? (uint32_t)size : YGR_FILE_IO_MAX;
	pieces[1] = (struct iovec){(void *)(uintptr_t)data, io.length};
	ygr_guestfs_op_ask(op, YGR_MSG_FILE_WRITE, pieces, 2, written);
}

void ygr_guestfs_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *file)
{
	(void)ino;
	close_handle(fuse_req_userdata(req), (uint32_t)file->fh);
	fuse_reply_err(req, 0);
}

/*
 * A relative target is resolved by the kernel, where everything below is checked again. An absolute one must lead to
 * something that is shown, and leads to the guest's: /proc/PID/root and exe are how tools find what a process runs.
 */
static void followed(void *user, const struct ygr_frame *reply)
{
	struct ygr_guestfs_op *op = user;
	char target[sizeof(YGR_LOCAL_GUEST) + YGR_GUESTFS_PATH_MAX] = YGR_LOCAL_GUEST;
	char *path = target + sizeof(YGR_LOCAL_GUEST) - 1;
	const uint8_t *data = NULL;
	uint32_t length = 0;

	if (op->fs) {
		int64_t value = take_data(reply, &data, &length);

		if (value < 0) {
			fuse_reply_err(op->req, (int)-value);
		} else if (length == 0 || length >= YGR_GUESTFS_PATH_MAX || memchr(data, 0, length)) {
			fuse_reply_err(op->req, EIO);
		} else {
			memcpy(path, data, length);
			path[length] = '\0';
			if (path[0] == '/' && !ygr_guestfs_visible(op->fs, path))
				fuse_reply_err(op->req, EACCES);
			else
				fuse_reply_readlink(op->req, path[0] == '/' ? target : path);
		}
	}
	ygr_guestfs_op_free(op);
}

void ygr_guestfs_readlink(fuse_req_t req, fuse_ino_t ino)
{
	struct ygr_guestfs *fs = fuse_req_userdata(req);
	struct ygr_guestfs_op *op = ygr_guestfs_op_new(req, ino, ygr_guestfs_nodes_path(&fs->nodes, ino));
	struct iovec piece;

	if (!op)
		return;
	piece = (struct iovec){op->path, strlen(op->path) + 1};
	ygr_guestfs_op_ask(op, YGR_MSG_FILE_LINK, &piece, 1, followed);
}
