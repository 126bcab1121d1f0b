/*
 * Names and attributes. A path is checked against the grant before the guest hears of it, and the guest's
 * answer is reduced to what an application may believe: three types, permissions that follow from the grant,
 * a bounded size.
 */
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "agent/telebpf/guestfs/op.h"
#include "lib/wire/grant.h"

#define SHORT_TIME 1.0    /* seconds; the guest's files come and go */
#define LONG_TIME  3600.0 /* what describes a running kernel's types does not change */

static double lifetime(const char *path)
{
	return strncmp(path, "/sys/kernel/btf/", 16) == 0 ? LONG_TIME : SHORT_TIME;
}

static void local_attr(uint64_t ino, struct stat *st)
{
	*st = (struct stat){.st_ino = ino, .st_mode = S_IFDIR | 0555, .st_nlink = 2};
}

/* The guest's word on PATH as a stat: 0 or -errno. */
static int take_attr(const struct ygr_guestfs *fs, const char *path, const struct ygr_frame *reply,
		     struct stat *st)
{
	struct ygr_file_attr attr;

	if (!reply || reply->type != YGR_MSG_FILE_ATTR || reply->length != sizeof(attr))
		return -EIO;
	memcpy(&attr, reply->payload, sizeof(attr));
	if (attr.status)
		return attr.status < 0 && attr.status >= -YGR_GUESTFS_ERRNO ? attr.status : -EIO;
	*st = (struct stat){.st_nlink = 1, .st_mode = attr.mode & S_IFMT};
	if (S_ISDIR(attr.mode)) {
		local_attr(0, st);
	} else if (S_ISLNK(attr.mode)) {
		st->st_mode |= 0777;
	} else if (S_ISREG(attr.mode)) {
		if (ygr_grant_check_file(fs->grant, YGR_GUESTFS_WHO, path, O_RDONLY, NULL) == 0)
			st->st_mode |= 0444;
		if (ygr_grant_check_file(fs->grant, YGR_GUESTFS_WHO, path, O_WRONLY, NULL) == 0)
			st->st_mode |= 0222;
		st->st_size = (off_t)(attr.size < YGR_GUESTFS_SIZE_MAX ? attr.size : YGR_GUESTFS_SIZE_MAX);
		st->st_blksize = 4096;
		st->st_blocks = (st->st_size + 511) / 512;
	} else {
		return -ENOENT; /* devices, sockets and pipes are not shown */
	}
	return 0;
}

static void reply_absent(fuse_req_t req)
{
	fuse_reply_entry(req, &(struct fuse_entry_param){.entry_timeout = SHORT_TIME});
}

static void reply_entry(struct ygr_guestfs *fs, fuse_req_t req, const char *path, struct stat *st)
{
	struct fuse_entry_param entry = {
	    .attr = *st, .attr_timeout = lifetime(path), .entry_timeout = lifetime(path)};

	entry.ino = ygr_guestfs_nodes_get(&fs->nodes, path);
	if (!entry.ino) {
		fuse_reply_err(req, ENFILE);
		return;
	}
	entry.attr.st_ino = entry.ino;
	/* A reply that did not reach the kernel (the waiter was killed) counts no lookup there. */
	if (fuse_reply_entry(req, &entry) == -ENOENT)
		ygr_guestfs_nodes_forget(&fs->nodes, entry.ino, 1);
}

static void looked_up(void *user, const struct ygr_frame *reply)
{
	struct ygr_guestfs_op *op = user;
	struct stat st;

	if (op->fs) {
		int r = take_attr(op->fs, op->path, reply, &st);

		if (r == -ENOENT)
			reply_absent(op->req);
		else if (r < 0)
			fuse_reply_err(op->req, -r);
		else
			reply_entry(op->fs, op->req, op->path, &st);
	}
	ygr_guestfs_op_free(op);
}

static void ask_path(struct ygr_guestfs_op *op, uint16_t type, ygr_channel_reply reply)
{
	struct iovec piece = {op->path, strlen(op->path) + 1};

	ygr_guestfs_op_ask(op, type, &piece, 1, reply);
}

static void lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct ygr_guestfs *fs = fuse_req_userdata(req);
	const char *directory = ygr_guestfs_nodes_path(&fs->nodes, parent);
	char path[YGR_GUESTFS_PATH_MAX];
	struct ygr_guestfs_op *op;
	struct stat st;

	if (!directory) {
		fuse_reply_err(req, ESTALE);
	} else if (!ygr_guestfs_join(directory, name, path) || !ygr_guestfs_visible(fs, path)) {
		reply_absent(req);
	} else if (ygr_guestfs_is_local(path)) {
		local_attr(0, &st);
		reply_entry(fs, req, path, &st);
	} else {
		op = ygr_guestfs_op_new(req, 0, path);
		if (op)
			ask_path(op, YGR_MSG_FILE_STAT, looked_up);
	}
}

static void got_attr(void *user, const struct ygr_frame *reply)
{
	struct ygr_guestfs_op *op = user;
	struct stat st;

	if (op->fs) {
		int r = take_attr(op->fs, op->path, reply, &st);

		st.st_ino = op->ino;
		if (r < 0)
			fuse_reply_err(op->req, -r);
		else
			fuse_reply_attr(op->req, &st, lifetime(op->path));
	}
	ygr_guestfs_op_free(op);
}

static void getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *file)
{
	struct ygr_guestfs *fs = fuse_req_userdata(req);
	const char *path = ygr_guestfs_nodes_path(&fs->nodes, ino);
	struct ygr_guestfs_op *op;
	struct stat st;

	(void)file;
	if (path && ygr_guestfs_is_local(path)) {
		local_attr(ino, &st);
		fuse_reply_attr(req, &st, LONG_TIME);
		return;
	}
	op = ygr_guestfs_op_new(req, ino, path);
	if (op)
		ask_path(op, YGR_MSG_FILE_STAT, got_attr);
}

/* Truncation to nothing is what ">" does; open(O_TRUNC) has already told the guest. Nothing else can be set.
 */
static void setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set,
		    struct fuse_file_info *file)
{
	int ignored =
	    FUSE_SET_ATTR_SIZE | FUSE_SET_ATTR_MTIME | FUSE_SET_ATTR_MTIME_NOW | FUSE_SET_ATTR_CTIME;

	if (to_set & ~ignored || (to_set & FUSE_SET_ATTR_SIZE && attr->st_size != 0))
		fuse_reply_err(req, EPERM);
	else
		getattr(req, ino, file);
}

static void forget(fuse_req_t req, fuse_ino_t ino, uint64_t count)
{
	struct ygr_guestfs *fs = fuse_req_userdata(req);

	ygr_guestfs_nodes_forget(&fs->nodes, ino, count);
	fuse_reply_none(req);
}

static void init(void *user, struct fuse_conn_info *conn)
{
	(void)user;
	conn->want &=
	    ~(unsigned)(FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE |
			FUSE_CAP_READDIRPLUS | FUSE_CAP_READDIRPLUS_AUTO | FUSE_CAP_WRITEBACK_CACHE);
	conn->want |= conn->capable & FUSE_CAP_ATOMIC_O_TRUNC;
	conn->max_write = 128u << 10;
}

const struct fuse_lowlevel_ops ygr_guestfs_ops = {
    .init = init,
    .lookup = lookup,
    .forget = forget,
    .getattr = getattr,
    .setattr = setattr,
    .readlink = ygr_guestfs_readlink,
    .open = ygr_guestfs_open,
    .read = ygr_guestfs_read,
    .write = ygr_guestfs_write,
    .release = ygr_guestfs_release,
    .opendir = ygr_guestfs_opendir,
    .readdir = ygr_guestfs_readdir,
    .releasedir = ygr_guestfs_releasedir,
};
