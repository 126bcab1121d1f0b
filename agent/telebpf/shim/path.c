/*
 * Five kinds of names below /proc mean something else than the kernel would say, and cannot be mounted over the
 * application's own:
 *
 * - /proc/self/fdinfo/N (or with its own pid) of a remote descriptor N. libbpf and bpftool read there what
 *   OBJ_GET_INFO does not tell, as memlock. The answer is a file in memory with the guest's text.
 * - /proc/PID/... of any process but itself, and the list of processes. Events carry the guest's pids; what
 *   enriches them looks here. The guest's /proc is in the guest's files (guestfs.h) as far as the grant shows
 *   it; what is not there is looked for where the name says.
 * - /proc/self/exe of a static program: for the kernel that is the shim, which has loaded it (load.c).
 * - /proc/mounts, /proc/self/mounts and mountinfo: tools look there for the cgroup, trace and bpf file systems,
 *   which are the guest's. They get those of the guest's first process, where the grant shows them.
 * - /proc/self/fd/N, read as a link: what N stands for. bpftool tells maps from programs by it.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/memfd.h>
#include <string.h>

#include "agent/telebpf/shim/shim.h"

#define GUEST      YGR_LOCAL_GUEST
#define GUEST_LEN  (sizeof(GUEST) - 1)
#define PATH_BYTES 128 /* on the application's stack; longer names below /proc are nothing of a process */
#define FDINFO_MAX 4096

struct name {
	char text[GUEST_LEN + PATH_BYTES]; /* the guest's name */
	const char *path;                  /* in it: as the application said it */
	const char *process;               /* in it: behind "/proc", "" or from a slash on */
};

/* After PREFIX of TEXT, or NULL. */
static const char *skip(const char *text, const char *prefix)
{
	for (; *prefix; text++, prefix++)
		if (*text != *prefix)
			return NULL;
	return text;
}

/* A decimal number at *TEXT, which is moved behind it; -1 when there is none. */
static int64_t number(const char **text)
{
	int64_t value = -1;

	for (; **text >= '0' && **text <= '9' && value < INT32_MAX; (*text)++)
		value = (value < 0 ? 0 : value * 10) + (**text - '0');
	return value;
}

/* Is the application's string at ADDRESS one that begins with /proc? */
static bool read_name(uint64_t address, struct name *name)
{
	char *path = name->text + GUEST_LEN;
	size_t len = ygr_user_read_some(address, path, PATH_BYTES);

	name->path = path;
	name->process = NULL;
	for (size_t i = 0; i < len; i++)
		if (path[i] == '\0') {
			for (size_t c = 0; c < GUEST_LEN; c++)
				name->text[c] = GUEST[c];
			name->process = skip(path, "/proc");
			break;
		}
	return name->process && (*name->process == '\0' || *name->process == '/');
}

static bool is(const char *text, const char *other)
{
	const char *end = skip(text, other);

	return end && *end == '\0';
}

/* Behind the slash, the application's own name for itself: what follows it, or NULL. */
static const char *skip_own(const char *at)
{
	const char *end = skip(at, "self");

	if (!end)
		end = skip(at, "thread-self");
	if (!end && number(&at) == ygr_shim.pid)
		end = at;
	return end && (*end == '\0' || *end == '/') ? end : NULL;
}

/* The descriptor that NAME is about in FOLDER ("/fd/", "/fdinfo/") of the application's own process, or -1. */
static int64_t number_in(const struct name *name, const char *folder)
{
	const char *at = *name->process ? skip_own(name->process + 1) : NULL;
	int64_t fd;

	at = at ? skip(at, folder) : NULL;
	fd = at ? number(&at) : -1;
	return at && *at == '\0' ? fd : -1;
}

/* Is NAME the link to the executable that this process is? */
static bool is_own_exe(const struct name *name)
{
	const char *at = *name->process ? skip_own(name->process + 1) : NULL;

	at = at ? skip(at, "/exe") : NULL;
	return at && *at == '\0';
}

bool ygr_path_is_own_exe(uint64_t address)
{
	struct name name;

	return ygr_shim.executable[0] && read_name(address, &name) && is_own_exe(&name);
}

void ygr_text_fd(char to[40], const char *prefix, int fd)
{
	char digits[12];
	unsigned rest = fd < 0 ? 0 : (unsigned)fd, count = 0;

	while (*prefix)
		*to++ = *prefix++;
	do
		digits[count++] = (char)('0' + rest % 10);
	while ((rest /= 10) > 0);
	while (count > 0)
		*to++ = digits[--count];
	*to = '\0';
}

/* Is NAME about other processes? */
static bool of_others(const struct name *name)
{
	const char *at = name->process;

	if (*at == '\0' || at[1] == '\0')
		return true;
	at++;
	return *at >= '0' && *at <= '9' && !skip_own(at);
}

/* Is NAME a table of mounts? Then it becomes the one of the guest's first process. */
static bool of_mounts(struct name *name)
{
	static const char first[] = "/1";
	const char *at = skip_own(*name->process ? name->process + 1 : name->process);
	char *to = name->text + GUEST_LEN + sizeof("/proc") - 1;

	if (!at)
		at = name->process;
	if (!is(at, "/mounts") && !is(at, "/mountinfo"))
		return false;
	char rest[sizeof("/mountinfo")];
	size_t len = 0;

	do
		rest[len] = at[len];
	while (rest[len++]);
	memcpy(to, first, sizeof(first) - 1);
	memcpy(to + sizeof(first) - 1, rest, len);
	return true;
}

/*
 * A link of the guest's files was read, LENGTH bytes at ADDRESS. Absolute ones lead into the guest's files (guestfs);
 * the application gets the guest's word for where.
 */
static int64_t guest_target(uint64_t address, int64_t length)
{
	const int64_t skipped = (int64_t)GUEST_LEN;
	char target[1024];

	if (length <= skipped || length > (int64_t)sizeof(target) ||
	    ygr_user_read(NULL, address, target, (size_t)length) < 0 || !skip(target, GUEST "/"))
		return length;
	if (ygr_user_write(NULL, address, target + skipped, (size_t)(length - skipped)) < 0)
		return -EFAULT;
	return length - skipped;
}

static int64_t perform(const struct ygr_regs *regs, unsigned index, const struct name *name)
{
	struct ygr_regs guest = *regs;
	int64_t r;

	if (index == 0)
		guest.rdi = (uint64_t)name->text;
	else
		guest.rsi = (uint64_t)name->text;
	r = ygr_native(&guest);
	if (r == -ENOENT || r == -EACCES)
		return ygr_native(regs);
	if (regs->rax == SYS_readlink)
		return guest_target(regs->rsi, r);
	return regs->rax == SYS_readlinkat ? guest_target(regs->rdx, r) : r;
}

/* Answers REGS, a readlink, with TARGET. */
static int64_t give_target(const struct ygr_regs *regs, unsigned index, const char *target)
{
	uint64_t to = index == 0 ? regs->rsi : regs->rdx, room = index == 0 ? regs->rdx : regs->r10;
	uint64_t length = strlen(target);

	if ((int64_t)room <= 0)
		return -EINVAL;
	length = length < room ? length : room;
	return ygr_user_write(NULL, to, target, length) < 0 ? -EFAULT : (int64_t)length;
}

/* What a kernel calls the file behind descriptor FD, which is a placeholder here; NULL: its own name is right. */
static const char *target_of(int64_t fd)
{
	static const char *const targets[] = {
	    [YGR_OBJECT_MAP] = "anon_inode:bpf-map",     [YGR_OBJECT_PROG] = "anon_inode:bpf-prog",
	    [YGR_OBJECT_LINK] = "anon_inode:bpf_link",   [YGR_OBJECT_BTF] = "anon_inode:btf",
	    [YGR_OBJECT_ITER] = "anon_inode:bpf_iter",   [YGR_OBJECT_PERF] = "anon_inode:[perf_event]",
	    [YGR_OBJECT_TOKEN] = "anon_inode:bpf-token",
	};
	const struct ygr_slot *slot = fd < 0 ? NULL : ygr_slot_of(fd);
	uint32_t kind = slot && ygr_table_ours() ? slot->object.kind : YGR_OBJECT_NONE;

	return kind < sizeof(targets) / sizeof(*targets) ? targets[kind] : NULL;
}

/* REGS is about the link to the executable of a program that the shim has loaded. */
static int64_t perform_exe(const struct ygr_regs *regs, unsigned index)
{
	struct ygr_regs copy = *regs;

	switch (regs->rax) {
	case SYS_readlink:
	case SYS_readlinkat:
		return give_target(regs, index, ygr_shim.executable);
	case SYS_lstat:
		return ygr_native(regs);
	case SYS_newfstatat:
		if (regs->r10 & AT_SYMLINK_NOFOLLOW)
			return ygr_native(regs);
		break;
	case SYS_statx:
		if (regs->rdx & AT_SYMLINK_NOFOLLOW)
			return ygr_native(regs);
		break;
	default:
		break;
	}
	if (index == 0)
		copy.rdi = (uint64_t)ygr_shim.executable;
	else
		copy.rsi = (uint64_t)ygr_shim.executable;
	return ygr_native(&copy);
}

int64_t ygr_hook_path(const struct ygr_regs *regs, unsigned index)
{
	struct name name;

	if (!read_name(index == 0 ? regs->rdi : regs->rsi, &name))
		return ygr_native(regs);
	if (ygr_shim.executable[0] && is_own_exe(&name))
		return perform_exe(regs, index);
	if (regs->rax == SYS_readlink || regs->rax == SYS_readlinkat) {
		const char *target = target_of(number_in(&name, "/fd/"));

		if (target)
			return give_target(regs, index, target);
	}
	return of_others(&name) ? perform(regs, index, &name) : ygr_native(regs);
}

static int64_t open_fdinfo(const struct ygr_slot *slot)
{
	const uint8_t *text;
	int64_t n = ygr_slot_read(slot, YGR_FILE_FDINFO, FDINFO_MAX, &text);
	int64_t fd = n < 0 ? n : ygr_sys2(SYS_memfd_create, "fdinfo", MFD_CLOEXEC);

	if (fd >= 0 && n > 0 && ygr_sys4(SYS_pwrite64, fd, text, n, 0) != n) {
		ygr_sys1(SYS_close, fd);
		fd = -EIO;
	}
	ygr_wire_done();
	return fd;
}

int64_t ygr_hook_open(const struct ygr_regs *regs)
{
	unsigned index = regs->rax == SYS_open ? 0 : 1;
	struct ygr_slot *slot;
	struct name name;
	uint64_t mask;
	int64_t fd, r;

	if (!read_name(index == 0 ? regs->rdi : regs->rsi, &name))
		return ygr_native(regs);
	if (of_others(&name) || of_mounts(&name))
		return perform(regs, index, &name);
	if (ygr_shim.executable[0] && is_own_exe(&name))
		return perform_exe(regs, index);
	fd = number_in(&name, "/fdinfo/");
	if (fd < 0 || !ygr_slot_of(fd) || !ygr_table_ours())
		return ygr_native(regs);
	mask = ygr_shim_lock();
	slot = ygr_slot_of(fd);
	r = slot ? open_fdinfo(slot) : ygr_native(regs);
	ygr_shim_unlock(mask);
	return r;
}
