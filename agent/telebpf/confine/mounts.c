/*
 * The application's root: a small tmpfs with read-only clones of the node's /usr, a minimal /etc, five
 * device nodes, a private /tmp, a /proc of its own PID namespace with everything hidden that is about the
 * node, and the guest's kernel files (FUSE) where a tool expects them.
 *
 * It is put together on top of /sys: nothing of the node's /sys is wanted, so covering it hides no source.
 * Trees are cloned detached with open_tree(2), made read-only with mount_setattr(2), and only then attached,
 * so there is no moment at which they could be written to. The end is pivot_root(2), or where the node's
 * root is the initial ramfs (which cannot be pivoted), a move on top of it as switch_root does.
 */
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "agent/telebpf/confine/child.h"
#include "agent/telebpf/guestfs/guestfs.h"
#include "agent/telebpf/local.h"
#include "lib/base/cleanup.h"

#define ROOT        "/sys" /* where the new root is assembled */
#define GUEST       YGR_LOCAL_GUEST
#define ROOT_DATA   "mode=0755,size=1m,nr_inodes=1024"
#define TMP_BYTES   (16u << 20)
#define LOCKED      (MS_NOSUID | MS_NODEV)
#define DIR_ATTRS   (MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV)
#define FILE_ATTRS  (DIR_ATTRS | MOUNT_ATTR_NOEXEC)
#define GUEST_ATTRS (MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC)

/* Describe the node and not the application; most are for root only, this is the second lock. */
static const char *const hidden_files[] = {
    "/proc/kcore",
    "/proc/kmsg",
    "/proc/sysrq-trigger",
    "/proc/keys",
    "/proc/key-users",
    "/proc/timer_list",
    "/proc/sched_debug",
    "/proc/latency_stats",
    "/proc/slabinfo",
    "/proc/vmallocinfo",
    "/proc/kpagecount",
    "/proc/kpageflags",
    "/proc/kpagecgroup",
    "/proc/iomem",
    "/proc/ioports",
    "/proc/modules",
    "/proc/mdstat",
    "/proc/diskstats",
    "/proc/partitions",
    "/proc/swaps",
    "/proc/zoneinfo",
    "/proc/buddyinfo",
    "/proc/pagetypeinfo",
    "/proc/schedstat",
    "/proc/cmdline",
    "/proc/config.gz",
    "/proc/kallsyms",
    "/proc/interrupts",
    "/proc/softirqs",
    "/proc/cgroups",
    "/proc/consoles",
    "/proc/devices",
    "/proc/dma",
    "/proc/execdomains",
    "/proc/fb",
    "/proc/lock_stat",
    "/proc/lockdep",
    "/proc/locks",
    "/proc/mtrr",
    "/proc/version",
    "/proc/version_signature",
};
static const char *const hidden_directories[] = {
    "/proc/acpi", "/proc/asound",   "/proc/bus",  "/proc/driver",  "/proc/dynamic_debug", "/proc/fs",
    "/proc/irq",  "/proc/pressure", "/proc/scsi", "/proc/sysvipc", "/proc/tty",
};
static const char *const devices[] = {"/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"};
static const char *const etc_files[] = {
    "/etc/ld.so.cache", "/etc/ld.so.conf",    "/etc/ld.so.conf.d",
    "/etc/localtime",   "/etc/nsswitch.conf", "/etc/alternatives",
};
/* Symbolic links into /usr on merged systems, directories elsewhere. */
static const char *const usr_parts[] = {"/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"};

static int failed(struct ygr_error *error, const char *what, const char *path)
{
	int code = errno;

	return ygr_error_set(error, code, "application's root: cannot %s %s: %s", what, path,
			     strerror(code));
}

/* mkdir -p of all but the last part of PATH (absolute). */
static int make_parents(const char *path, struct ygr_error *error)
{
	char copy[PATH_MAX];

	if (snprintf(copy, sizeof(copy), "%s", path) >= (int)sizeof(copy))
		return ygr_error_set(error, ENAMETOOLONG, "path %s is too long", path);
	for (char *p = strchr(copy + 1, '/'); p; p = strchr(p + 1, '/')) {
		*p = '\0';
		if (mkdir(copy, 0755) < 0 && errno != EEXIST && errno != EROFS)
			return failed(error, "make the directory", copy);
		*p = '/';
	}
	return 0;
}

/* An empty directory or file at PATH to mount on; one that is there already does as well. */
static int make_mount_point(const char *path, bool directory, struct ygr_error *error)
{
	_cleanup_close_ int fd = -1;
	int r = make_parents(path, error);

	if (r < 0 || access(path, F_OK) == 0)
		return r;
	if (directory)
		return mkdir(path, 0755) < 0 ? failed(error, "make the directory", path) : 0;
	fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC | O_NOFOLLOW, 0444);
	return fd < 0 ? failed(error, "make", path) : 0;
}

/* Clones what is at SOURCE, with everything mounted below, to TARGET. */
static int bind_tree(const char *source, const char *target, uint64_t attributes, struct ygr_error *error)
{
	struct mount_attr attr = {.attr_set = attributes, .propagation = MS_PRIVATE};
	struct stat st;
	_cleanup_close_ int tree =
	    open_tree(AT_FDCWD, source, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);
	int r;

	if (tree < 0)
		return failed(error, "clone", source);
	if (fstat(tree, &st) < 0 ||
	    mount_setattr(tree, "", AT_EMPTY_PATH | AT_RECURSIVE, &attr, sizeof(attr)) < 0)
		return failed(error, "restrict", source);
	r = make_mount_point(target, S_ISDIR(st.st_mode), error);
	if (r < 0)
		return r;
	if (move_mount(tree, "", AT_FDCWD, target, MOVE_MOUNT_F_EMPTY_PATH) < 0)
		return failed(error, "attach", target);
	return 0;
}

/* The same for what may be missing on the node, to the same place below ROOT. */
static int bind_if_there(const char *path, uint64_t attributes, struct ygr_error *error)
{
	char target[PATH_MAX];

	if (access(path, F_OK) < 0)
		return 0;
	snprintf(target, sizeof(target), ROOT "%s", path);
	return bind_tree(path, target, attributes, error);
}

static int write_new(const char *path, const char *text, struct ygr_error *error)
{
	_cleanup_close_ int fd = open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0444);

	if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text))
		return failed(error, "write", path);
	return 0;
}

static int mount_etc(const struct ygr_confine_options *options, struct ygr_error *error)
{
	char text[256];
	int r = make_parents(ROOT "/etc/", error);

	for (unsigned i = 0; r == 0 && i < sizeof(etc_files) / sizeof(*etc_files); i++)
		r = bind_if_there(etc_files[i], FILE_ATTRS, error);
	if (r < 0)
		return r;
	snprintf(text, sizeof(text),
		 "root:x:0:0::/:/usr/sbin/nologin\napp:x:%u:%u::/tmp:/usr/sbin/nologin\n", options->uid,
		 options->gid);
	r = write_new(ROOT "/etc/passwd", text, error);
	if (r < 0)
		return r;
	snprintf(text, sizeof(text), "root:x:0:\napp:x:%u:\n", options->gid);
	return write_new(ROOT "/etc/group", text, error);
}

static int mount_dev(struct ygr_error *error)
{
	static const char *const links[][2] = {{"/proc/self/fd", ROOT "/dev/fd"},
					       {"/proc/self/fd/0", ROOT "/dev/stdin"},
					       {"/proc/self/fd/1", ROOT "/dev/stdout"},
					       {"/proc/self/fd/2", ROOT "/dev/stderr"}};
	int r = make_parents(ROOT "/dev/", error);

	for (unsigned i = 0; r == 0 && i < sizeof(devices) / sizeof(*devices); i++) {
		char target[64];

		snprintf(target, sizeof(target), ROOT "%s", devices[i]);
		r = bind_tree(devices[i], target, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC,
			      error);
	}
	for (unsigned i = 0; r == 0 && i < sizeof(links) / sizeof(*links); i++)
		if (symlink(links[i][0], links[i][1]) < 0)
			r = failed(error, "link", links[i][1]);
	return r;
}

static int mount_usr(struct ygr_error *error)
{
	int r = bind_if_there("/usr", DIR_ATTRS, error);

	for (unsigned i = 0; r == 0 && i < sizeof(usr_parts) / sizeof(*usr_parts); i++) {
		char link[PATH_MAX], target[PATH_MAX];
		ssize_t n = readlink(usr_parts[i], link, sizeof(link) - 1);

		if (n < 0) {
			r = bind_if_there(usr_parts[i], DIR_ATTRS, error);
			continue;
		}
		link[n] = '\0';
		snprintf(target, sizeof(target), ROOT "%s", usr_parts[i]);
		if (symlink(link, target) < 0)
			r = failed(error, "link", target);
	}
	return r;
}

/* A file that the paths above did not bring along: an ad-hoc tool, a shim in a build directory. */
static int mount_file(const char *path, struct ygr_error *error)
{
	char target[PATH_MAX];

	if (!path)
		return 0;
	if (access(path, F_OK) < 0)
		return ygr_error_set(error, errno, "%s: %m", path);
	if (snprintf(target, sizeof(target), ROOT "%s", path) >= (int)sizeof(target))
		return ygr_error_set(error, ENAMETOOLONG, "path %s is too long", path);
	/* Reached through a symbolic link of /bin or the like, it is there already (links resolve below
	 * ROOT). */
	for (unsigned i = 0; i < sizeof(usr_parts) / sizeof(*usr_parts); i++) {
		size_t len = strlen(usr_parts[i]);

		if (strncmp(path, usr_parts[i], len) == 0 && path[len] == '/')
			return 0;
	}
	if (strncmp(path, "/usr/", 5) == 0)
		return 0;
	return bind_tree(path, target, DIR_ATTRS, error);
}

static int mount_tmpfs(const char *path, unsigned long flags, const char *data, struct ygr_error *error)
{
	if (mount("tmpfs", path, "tmpfs", flags, data) < 0)
		return failed(error, "mount a tmpfs on", path);
	return 0;
}

static int mount_proc(struct ygr_error *error)
{
	int r = make_mount_point(ROOT "/proc", true, error);

	if (r < 0)
		return r;
	if (mount("proc", ROOT "/proc", "proc", LOCKED | MS_NOEXEC, NULL) < 0)
		return failed(error, "mount", ROOT "/proc");
	for (unsigned i = 0; r == 0 && i < sizeof(hidden_files) / sizeof(*hidden_files); i++) {
		char target[64];

		snprintf(target, sizeof(target), ROOT "%s", hidden_files[i]);
		if (access(target, F_OK) == 0)
			r = bind_tree("/dev/null", target, FILE_ATTRS & ~MOUNT_ATTR_NODEV, error);
	}
	for (unsigned i = 0; r == 0 && i < sizeof(hidden_directories) / sizeof(*hidden_directories); i++) {
		char target[64];

		snprintf(target, sizeof(target), ROOT "%s", hidden_directories[i]);
		if (access(target, F_OK) == 0)
			r = mount_tmpfs(target, LOCKED | MS_NOEXEC | MS_RDONLY,
					"size=4k,nr_inodes=2,mode=555", error);
	}
	/* Not read-only yet: parts of the guest's are going to be mounted in it. */
	return r < 0 ? r
		     : mount_tmpfs(ROOT "/proc/sys", LOCKED | MS_NOEXEC, "size=64k,nr_inodes=128", error);
}

/*
 * Mounts the guest's files and puts their parts where tools look for them. Each stat() is answered by the
 * caller, over the channel to the guest; what the grant hides or the guest lacks is not there.
 */
static int mount_guest(int fuse_fd, struct ygr_error *error)
{
	char data[128];
	int r;

	if (fuse_fd < 0)
		return 0;
	r = make_mount_point(ROOT GUEST, true, error);
	if (r < 0)
		return r;
	snprintf(data, sizeof(data), "fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other", fuse_fd);
	if (mount("yagura", ROOT GUEST, "fuse.yagura", LOCKED | MS_NOEXEC, data) < 0)
		return failed(error, "mount the guest's files on", ROOT GUEST);
	/*
	 * Our copy must not keep the connection alive: a session that is killed while we wait for its answer
	 * would leave us waiting for ever, not even to be killed.
	 */
	close(fuse_fd);
	for (const struct ygr_guestfs_bind *bind = ygr_guestfs_binds; bind->path; bind++) {
		char source[PATH_MAX], target[PATH_MAX];
		struct stat st;

		snprintf(source, sizeof(source), ROOT GUEST "%s", bind->path);
		snprintf(target, sizeof(target), ROOT "%s", bind->target);
		if (stat(source, &st) < 0)
			continue;
		/* Where nothing can be made (/proc, /usr), a name that this node does not have stays absent.
		 */
		if (make_mount_point(target, S_ISDIR(st.st_mode), NULL) < 0)
			continue;
		r = bind_tree(source, target, GUEST_ATTRS, error);
		if (r < 0)
			return r;
	}
	return 0;
}

static int seal(const char *path, uint64_t attributes, struct ygr_error *error)
{
	struct mount_attr attr = {.attr_set = attributes};

	if (mount_setattr(AT_FDCWD, path, 0, &attr, sizeof(attr)) < 0)
		return failed(error, "make read-only", path);
	return 0;
}

static int enter_root(struct ygr_error *error)
{
	if (chdir(ROOT) < 0)
		return failed(error, "enter", ROOT);
	if (syscall(SYS_pivot_root, ".", ".") == 0) {
		/* The old root is now mounted on top of the new one, at the same place. */
		if (umount2(".", MNT_DETACH) < 0)
			return failed(error, "detach", "the node's root");
	} else if (errno != EINVAL || mount(".", "/", NULL, MS_MOVE, NULL) < 0 || chroot(".") < 0) {
		return failed(error, "change to", ROOT);
	}
	if (chdir("/") < 0)
		return failed(error, "enter", "/");
	return 0;
}

int ygr_confine_mounts(const struct ygr_confine_options *options, struct ygr_error *error)
{
	char tmp_data[128];
	int r;

	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return failed(error, "make private", "/");
	umask(022);
	r = mount_tmpfs(ROOT, LOCKED, ROOT_DATA, error);
	if (r == 0)
		r = mount_usr(error);
	if (r == 0)
		r = mount_etc(options, error);
	if (r == 0)
		r = mount_dev(error);
	if (r == 0)
		r = make_mount_point(ROOT "/tmp", true, error);
	snprintf(tmp_data, sizeof(tmp_data), "size=%u,nr_inodes=1024,mode=0700,uid=%u,gid=%u", TMP_BYTES,
		 options->uid, options->gid);
	if (r == 0)
		r = mount_tmpfs(ROOT "/tmp", LOCKED | MS_NOEXEC, tmp_data, error);
	if (r == 0)
		r = mount_file(options->executable, error);
	if (r == 0)
		r = mount_file(options->shim, error);
	if (r == 0)
		r = make_mount_point(ROOT "/sys", true, error);
	if (r == 0)
		r = mount_proc(error);
	if (r == 0)
		r = mount_guest(options->fuse_fd, error);
	if (r == 0)
		r = enter_root(error);
	if (r == 0)
		r = seal("/proc/sys", MOUNT_ATTR_RDONLY, error);
	if (r == 0)
		r = seal("/proc", MOUNT_ATTR_RDONLY, error);
	return r < 0 ? r : seal("/", MOUNT_ATTR_RDONLY, error);
}
