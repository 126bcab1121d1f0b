/*
 * Directories are listed once, when they are opened, so that a listing does not change under a reader. Those
 * that lead to bound parts are made up from the table of parts where the guest does not list them.
 */
#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "agent/telebpf/guestfs/names.h"
#include "agent/telebpf/guestfs/op.h"
#include "lib/base/buf.h"

static void reply_opened(struct ygr_guestfs *fs, fuse_req_t req, struct fuse_file_info *file,
			 const struct ygr_guestfs_names *names)
{
	struct ygr_guestfs_names *kept = malloc(sizeof(*kept));

	if (!kept) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	*kept = *names;
	file->fh = (uintptr_t)kept;
	fs->open_dirs++;
	if (fuse_reply_open(req, file) == -ENOENT) { /* interrupted: there will be no releasedir */
		fs->open_dirs--;
		ygr_guestfs_names_deinit(kept);
		free(kept);
	}
}

static bool shown(void *user, const char *name)
{
	const struct ygr_guestfs_op *op = user;
	char path[YGR_GUESTFS_PATH_MAX];

	return ygr_guestfs_join(op->path, name, path) && ygr_guestfs_visible(op->fs, path);
}

static int take_names(struct ygr_guestfs_op *op, const struct ygr_frame *reply,
		      struct ygr_guestfs_names *names)
{
	struct ygr_status status;

	if (!reply || reply->type != YGR_MSG_FILE_NAMES || reply->length < sizeof(status))
		return -EIO;
	memcpy(&status, reply->payload, sizeof(status));
	if (status.value < 0)
		return status.value >= -YGR_GUESTFS_ERRNO ? (int)status.value : -EIO;
	return ygr_guestfs_names_parse(reply->payload + sizeof(status), reply->length - sizeof(status),
				       shown, op, names);
}

/* The next parts of the bound paths below the local directory OP->path, in the form of the guest's answer.
 */
static void list_local(struct ygr_guestfs_op *op)
{
	size_t len = strcmp(op->path, "/") == 0 ? 0 : strlen(op->path);
	struct ygr_buf text = YGR_BUF_INIT(4096);
	struct ygr_guestfs_names names = {0};
	int r = 0;

	for (const struct ygr_guestfs_bind *bind = ygr_guestfs_binds; r == 0 && bind->path; bind++) {
		const char *part = bind->path + len + 1;
		uint8_t entry[64] = {DT_UNKNOWN};
		size_t size = strlen(bind->path) > len ? strcspn(part, "/") : 0;

		if (!size || size > sizeof(entry) - 2 || strncmp(bind->path, op->path, len) != 0 ||
		    bind->path[len] != '/')
			continue;
		memcpy(entry + 1, part, size);
		/* Several parts may lie below one name. */
		if (!text.len || !memmem(text.data, text.len, entry, size + 2))
			r = ygr_buf_append(&text, entry, size + 2);
	}
	if (r == 0)
		r = ygr_guestfs_names_parse(text.data, text.len, shown, op, &names);
	if (r < 0)
		fuse_reply_err(op->req, -r);
	else
		reply_opened(op->fs, op->req, &op->file, &names);
	ygr_buf_deinit(&text);
	ygr_guestfs_op_free(op);
}

static void listed(void *user, const struct ygr_frame *reply)
{
	struct ygr_guestfs_op *op = user;
	struct ygr_guestfs_names names = {0};

	if (op->fs) {
		int r = take_names(op, reply, &names);

		if (r < 0 && ygr_guestfs_is_local(op->path)) {
			list_local(op);
			return;
		}
		if (r < 0)
			fuse_reply_err(op->req, r == -EPROTO ? EIO : -r);
		else
			reply_opened(op->fs, op->req, &op->file, &names);
	}
	ygr_guestfs_op_free(op);
}

void ygr_guestfs_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *file)
{
	struct ygr_guestfs *fs = fuse_req_userdata(req);
	struct ygr_guestfs_op *op;
	struct iovec piece;

	if (fs->open_dirs >= YGR_GUESTFS_DIRS_MAX) {
		fuse_reply_err(req, ENFILE);
		return;
	}
	op = ygr_guestfs_op_new(req, ino, ygr_guestfs_nodes_path(&fs->nodes, ino));
	if (!op)
		return;
	op->file = *file;
	piece = (struct iovec){op->path, strlen(op->path) + 1};
	ygr_guestfs_op_ask(op, YGR_MSG_FILE_LIST, &piece, 1, listed);
}

void ygr_guestfs_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
			 struct fuse_file_info *file)
{
	const struct ygr_guestfs_names *names = (const struct ygr_guestfs_names *)(uintptr_t)file->fh;
	char *out = malloc(size);
	size_t used = 0;

	(void)ino;
	if (!out) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	for (uint64_t i = (uint64_t)offset; i < names->count; i++) {
		struct stat st = {.st_ino = i + 2, .st_mode = DTTOIF(names->entries[i].type)};
		size_t need = fuse_add_direntry(req, out + used, size - used, names->entries[i].name, &st,
						(off_t)(i + 1));

		if (need > size - used)
			break;
		used += need;
	}
	fuse_reply_buf(req, out, used);
	free(out);
}

void ygr_guestfs_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *file)
{
	struct ygr_guestfs *fs = fuse_req_userdata(req);
	struct ygr_guestfs_names *names = (struct ygr_guestfs_names *)(uintptr_t)file->fh;

	(void)ino;
	ygr_guestfs_names_deinit(names);
	free(names);
	fs->open_dirs--;
	fuse_reply_err(req, 0);
}
