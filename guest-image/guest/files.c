/*
 * FILE_*: the files that describe this kernel, as far as the grant's list and the owner's go. What is not
 * listed does not exist for the node (ENOENT from STAT and LIST), opening it is refused with the reason.
 *
 * Paths are walked without following links (openat2, RESOLVE_NO_SYMLINKS), so the path that was checked is
 * the file that is opened. The node resolves links itself; for a caller who does not, the resolved path is
 * checked like any other before it is used.
 */
#include "guest-image/guest/session.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "lib/base/cleanup.h"

#define LIST_MAX (2u << 20) /* bytes of one listing: events/syscalls has 700 names */
#define FLAGS    (O_ACCMODE | O_APPEND | O_TRUNC | O_DIRECTORY)
#define NETNS    "/proc/self/ns/net" /* the guest's own, by a link that leads to no path */

static void closedirp(DIR **dir)
{
	if (*dir)
		closedir(*dir);
}

static int check(struct ygr_guest_session *session, const char *path, int flags, struct ygr_error *error)
{
	int r = ygr_grant_check_file(session->grant, "the catalogue entry", path, flags, error);
	if (r < 0)
		return r;
	r = ygr_grant_check_file(session->config->allow, "the owner's guest.yaml", path, flags, error);
	if (r < 0 && error)
		ygr_error_prefix(error, "%s", ygr_grant_program(session->grant));
	return r;
}

/* May the node know that PATH exists? A file that may be read or written, or a directory on the way to one.
 */
static bool visible(struct ygr_guest_session *session, const char *path)
{
	const struct ygr_grant *grant = session->grant, *allow = session->config->allow;
	if (check(session, path, O_RDONLY, NULL) == 0 || check(session, path, O_WRONLY, NULL) == 0)
		return true;
	bool in_grant =
	    ygr_grant_leads_to(grant, path) || ygr_grant_check_file(grant, "", path, O_RDONLY, NULL) == 0;
	bool in_allow =
	    ygr_grant_leads_to(allow, path) || ygr_grant_check_file(allow, "", path, O_RDONLY, NULL) == 0;
	return in_grant && in_allow;
}

static int open_plain(const char *path, int flags)
{
	if (strcmp(path, NETNS) == 0 && !(flags & O_PATH)) {
		int netns = open(path, O_RDONLY | O_CLOEXEC);
		return netns < 0 ? -errno : netns;
	}
	struct open_how how = {.flags = (uint64_t)(unsigned)flags | O_CLOEXEC | O_NOCTTY,
			       .resolve = RESOLVE_NO_SYMLINKS};
	if (flags & O_PATH)
		how.flags = (uint64_t)(unsigned)flags | O_CLOEXEC;
	long fd = syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof(how));
	return fd < 0 ? -errno : (int)fd;
}

/* A frame's path: NUL-terminated, absolute, nothing behind it. NULL otherwise. */
static const char *path_of(const struct ygr_frame *frame, size_t at)
{
	if (frame->length <= at || frame->length - at > PATH_MAX)
		return NULL;
	const char *path = (const char *)frame->payload + at;
	size_t len = frame->length - at;
	return path[0] == '/' && strnlen(path, len) == len - 1 ? path : NULL;
}

static int stat_file(struct ygr_guest_session *session, uint32_t id, const char *path)
{
	struct ygr_file_attr attr = {.status = -ENOENT};
	struct stat st;
	struct statfs fs;

	if (visible(session, path)) {
		_cleanup_close_ int fd = open_plain(path, O_PATH | O_NOFOLLOW);
		if (fd < 0)
			attr.status = fd;
		else if (fstat(fd, &st) < 0 || fstatfs(fd, &fs) < 0)
			attr.status = -errno;
		else
			attr = (struct ygr_file_attr){.mode = st.st_mode,
						      .size = (uint64_t)st.st_size,
						      .fs_magic = (uint64_t)fs.f_type,
						      .uid = st.st_uid,
						      .gid = st.st_gid};
	}
	struct iovec piece = {&attr, sizeof(attr)};
	return ygr_guest_link_send(&session->link, YGR_MSG_FILE_ATTR, id, &piece, 1);
}

static int add_name(struct ygr_guest_session *session, const char *directory, const struct dirent *entry,
		    struct ygr_buf *names)
{
	char path[PATH_MAX];
	int n = snprintf(path, sizeof(path), "%s/%s", strcmp(directory, "/") == 0 ? "" : directory,
			 entry->d_name);
	if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 || n >= (int)sizeof(path) ||
	    !visible(session, path))
		return 0;
	int r = ygr_buf_append(names, &entry->d_type, 1);
	return r < 0 ? r : ygr_buf_append(names, entry->d_name, strlen(entry->d_name) + 1);
}

static int read_names(struct ygr_guest_session *session, const char *path, struct ygr_buf *names)
{
	if (!visible(session, path))
		return -ENOENT;
	int fd = open_plain(path, O_RDONLY | O_DIRECTORY);
	if (fd < 0)
		return fd;
	_cleanup_(closedirp) DIR *dir = fdopendir(fd);
	if (!dir) {
		close(fd);
		return -ENOMEM;
	}
	int r = 0;
	for (struct dirent *entry; r == 0 && (entry = readdir(dir));)
		r = add_name(session, path, entry, names);
	return r;
}

static int list_directory(struct ygr_guest_session *session, uint32_t id, const char *path)
{
	struct ygr_buf names = YGR_BUF_INIT(LIST_MAX);
	int value = read_names(session, path, &names);
	int r = ygr_guest_session_status(session, YGR_MSG_FILE_NAMES, id, value, names.data,
					 value < 0 ? 0 : names.len);
	ygr_buf_deinit(&names);
	return r;
}

static int read_link(struct ygr_guest_session *session, uint32_t id, const char *path)
{
	char target[PATH_MAX];
	ssize_t n = -ENOENT;
	if (visible(session, path)) {
		_cleanup_close_ int fd = open_plain(path, O_PATH | O_NOFOLLOW);
		n = fd < 0 ? fd : readlinkat(fd, "", target, sizeof(target));
		if (n < 0 && fd >= 0)
			n = errno == ENOENT ? -EINVAL : -errno; /* ENOENT: what it says for no link */
	}
	return ygr_guest_session_status(session, YGR_MSG_FILE_DATA, id, n, target, n > 0 ? (size_t)n : 0);
}

/*
 * Opens a regular file, or with O_DIRECTORY a directory (as a cgroup that a call names), after checks, also of
 * the path that links led to: a descriptor or negative errno.
 */
static int open_checked(struct ygr_guest_session *session, const char *path, int flags,
			struct ygr_error *refusal)
{
	char resolved[PATH_MAX];
	struct stat st;

	if (check(session, path, flags, refusal) < 0)
		return -EACCES;
	int fd = open_plain(path, flags | O_NONBLOCK);
	if (fd == -ELOOP && realpath(path, resolved)) {
		if (check(session, resolved, flags, refusal) < 0)
			return -EACCES;
		fd = open_plain(resolved, flags | O_NONBLOCK);
	}
	if (fd < 0)
		return fd;
	int r = fstat(fd, &st) < 0    ? -errno
		: S_ISREG(st.st_mode) ? 0
		: S_ISDIR(st.st_mode) ? (flags & O_DIRECTORY ? 0 : -EISDIR)
				      : -EACCES;
	if (r < 0) {
		close(fd);
		return r;
	}
	return fd;
}

static int open_file(struct ygr_guest_session *session, const struct ygr_frame *frame,
		     struct ygr_error *error)
{
	struct ygr_file_open open;
	struct ygr_error refusal = YGR_ERROR_INIT;
	const char *path = path_of(frame, sizeof(open));
	uint32_t handle = YGR_HANDLE_NONE;
	if (!path)
		return ygr_error_set(error, EPROTO, "FILE_OPEN without a path");
	memcpy(&open, frame->payload, sizeof(open));

	int value = -EINVAL;
	if (!(open.flags & ~(uint32_t)FLAGS) && (open.flags & O_ACCMODE) != O_ACCMODE &&
	    (!(open.flags & O_DIRECTORY) || open.flags == O_DIRECTORY))
		value = open_checked(session, path, (int)open.flags, &refusal);
	if (refusal.code && ygr_guest_session_notice(session, &refusal) < 0)
		return -ENOMEM;
	if (value >= 0) {
		struct ygr_object object = {.kind = YGR_OBJECT_FILE};
		ygr_guest_names_opened(&session->names, path);
		value = ygr_guest_handles_add(&session->handles, value, &object, 0, &handle);
	}
	return ygr_guest_session_status(session, YGR_MSG_FILE_DATA, frame->id,
					value < 0 ? value : (int64_t)handle, NULL, 0);
}

static int find_file(struct ygr_guest_session *session, const struct ygr_file_io *io, bool write)
{
	const struct ygr_guest_handle *slot = ygr_guest_handles_find(&session->handles, io->handle);
	if (!slot)
		return -EBADF;
	if (slot->object.kind == YGR_OBJECT_FILE)
		return slot->fd;
	if (write || (io->offset != YGR_FILE_FDINFO && slot->object.kind != YGR_OBJECT_ITER &&
		      slot->object.kind != YGR_OBJECT_PERF))
		return -EBADF;
	return slot->fd;
}

static ssize_t read_fdinfo(int fd, uint8_t *bytes, size_t length)
{
	char path[64];
	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	_cleanup_close_ int info = open(path, O_RDONLY | O_CLOEXEC);
	return info < 0 ? -1 : read(info, bytes, length);
}

/*
 * Reads LENGTH bytes at OFFSET, fewer only at the end: sysfs gives at most a page at a time and seq files
 * what they like, but a short answer means the end to the file system on the node.
 */
static ssize_t read_at(int fd, uint8_t *bytes, size_t length, uint64_t offset)
{
	size_t done = 0;
	while (done < length) {
		ssize_t n = pread(fd, bytes + done, length - done, (off_t)(offset + done));
		if (n < 0 && done == 0)
			return -1;
		if (n <= 0)
			break;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

/* Files were opened with O_NONBLOCK: trace_pipe without data says EAGAIN rather than stop the session. */
static int read_file(struct ygr_guest_session *session, uint32_t id, const struct ygr_file_io *io)
{
	uint8_t *payload;
	int fd = find_file(session, io, false);
	if (fd < 0 || io->length > YGR_FILE_IO_MAX)
		return ygr_guest_session_status(session, YGR_MSG_FILE_DATA, id, fd < 0 ? fd : -EINVAL, NULL,
						0);

	_cleanup_free_ uint8_t *bytes = payload = malloc(io->length ? io->length : 1);
	if (!payload)
		return ygr_guest_session_status(session, YGR_MSG_FILE_DATA, id, -ENOMEM, NULL, 0);
	ssize_t n = io->offset == YGR_FILE_SEQUENTIAL ? read(fd, bytes, io->length)
		    : io->offset == YGR_FILE_FDINFO   ? read_fdinfo(fd, bytes, io->length)
						      : read_at(fd, bytes, io->length, io->offset);
	return ygr_guest_session_status(session, YGR_MSG_FILE_DATA, id, n < 0 ? -errno : n, bytes,
					n > 0 ? (size_t)n : 0);
}

static int write_file(struct ygr_guest_session *session, uint32_t id, const struct ygr_file_io *io,
		      const uint8_t *bytes)
{
	ssize_t n = find_file(session, io, true);
	if (n >= 0) {
		n = io->offset == YGR_FILE_SEQUENTIAL ? write((int)n, bytes, io->length)
						      : pwrite((int)n, bytes, io->length, (off_t)io->offset);
		n = n < 0 ? -errno : n;
	}
	return ygr_guest_session_status(session, YGR_MSG_FILE_DATA, id, n, NULL, 0);
}

static int transfer(struct ygr_guest_session *session, const struct ygr_frame *frame,
		    struct ygr_error *error)
{
	struct ygr_file_io io;
	bool write = frame->type == YGR_MSG_FILE_WRITE;
	if (frame->length < sizeof(io))
		return ygr_error_set(error, EPROTO, "a file message of %u bytes", frame->length);
	memcpy(&io, frame->payload, sizeof(io));
	if (frame->length - sizeof(io) != (write ? io.length : 0))
		return ygr_error_set(error, EPROTO, "a file message of %u bytes about %u", frame->length,
				     io.length);
	return write ? write_file(session, frame->id, &io, frame->payload + sizeof(io))
		     : read_file(session, frame->id, &io);
}

int ygr_guest_files(struct ygr_guest_session *session, const struct ygr_frame *frame,
		    struct ygr_error *error)
{
	if (frame->type == YGR_MSG_FILE_OPEN)
		return open_file(session, frame, error);
	if (frame->type == YGR_MSG_FILE_READ || frame->type == YGR_MSG_FILE_WRITE)
		return transfer(session, frame, error);

	const char *path = path_of(frame, 0);
	if (!path)
		return ygr_error_set(error, EPROTO, "a file message (%u) without a path", frame->type);
	if (frame->type == YGR_MSG_FILE_STAT)
		return stat_file(session, frame->id, path);
	if (frame->type == YGR_MSG_FILE_LIST)
		return list_directory(session, frame->id, path);
	return read_link(session, frame->id, path);
}
