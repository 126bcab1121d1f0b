/* Inside of guestfs: what its operations share. */
#pragma once

#define FUSE_USE_VERSION 314
#include <fuse3/fuse_lowlevel.h>

#include <errno.h>
#include <stdbool.h>

#include "agent/telebpf/guestfs/node.h"
#include "agent/telebpf/guestfs/guestfs.h"
#include "lib/wire/message.h"

#define YGR_GUESTFS_DIRS_MAX 64             /* open directories */
#define YGR_GUESTFS_SIZE_MAX (256ull << 20) /* of a file, whatever the guest says */
#define YGR_GUESTFS_ERRNO    511 /* the kernel takes no answer with a larger one: its asker would wait on */
#define YGR_GUESTFS_WHO      "the catalogue entry"

/* One FUSE request that waits for the guest. */
struct ygr_guestfs_op {
	struct ygr_guestfs *fs; /* NULL: answered already, because the file system went away */
	struct ygr_guestfs_op *next, **link;
	fuse_req_t req;
	uint64_t ino, offset;
	uint32_t length;
	uint32_t handle;
	int flags;
	struct fuse_file_info file;
	char path[YGR_GUESTFS_PATH_MAX]; /* of what was asked for */
};

struct ygr_guestfs {
	int fd;
	bool mounted;   /* the kernel has spoken */
	bool abandoned; /* the guest is asked nothing more */
	struct fuse_session *session;
	struct fuse_buf buffer;
	struct ygr_channel *channel;
	const struct ygr_grant *grant;
	struct ygr_guestfs_nodes nodes;
	struct ygr_guestfs_op *ops; /* waiting */
	unsigned open_dirs;
};

extern const struct fuse_lowlevel_ops ygr_guestfs_ops;

/* A new waiting operation, or NULL after the request was answered with an error. */
struct ygr_guestfs_op *ygr_guestfs_op_new(fuse_req_t req, uint64_t ino, const char *path);
/* Takes OP off the list and frees it. */
void ygr_guestfs_op_free(struct ygr_guestfs_op *op);
/* Asks the guest; when it cannot be asked, answers with the error and frees OP. */
void ygr_guestfs_op_ask(struct ygr_guestfs_op *op, uint16_t type, const struct iovec *pieces, int count,
			ygr_channel_reply reply);

/* DIRECTORY/NAME within the bounds: false when it is too long or NAME is none. */
bool ygr_guestfs_join(const char *directory, const char *name, char out[YGR_GUESTFS_PATH_MAX]);
/* May the application see that PATH exists? */
bool ygr_guestfs_visible(const struct ygr_guestfs *fs, const char *path);
/* A directory that only leads to bound parts; it is made up here and never asked for. */
bool ygr_guestfs_is_local(const char *path);

/* The directory operations (dir.c). */
void ygr_guestfs_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *file);
void ygr_guestfs_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
			 struct fuse_file_info *file);
void ygr_guestfs_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *file);

/* Reading and writing (file.c). */
void ygr_guestfs_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *file);
void ygr_guestfs_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
		      struct fuse_file_info *file);
void ygr_guestfs_write(fuse_req_t req, fuse_ino_t ino, const char *data, size_t size, off_t offset,
		       struct fuse_file_info *file);
void ygr_guestfs_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *file);
void ygr_guestfs_readlink(fuse_req_t req, fuse_ino_t ino);
