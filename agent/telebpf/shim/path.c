/*
 * Two kinds of names below /proc mean something of the guest, and cannot be mounted over the application's own:
 *
 * - /proc/self/fdinfo/N (or with its own pid) of a remote descriptor N. libbpf and bpftool read there what
 *   OBJ_GET_INFO does not tell, as memlock. The answer is a file in memory with the guest's text.
 * - /proc/PID/... of any process but itself, and the list of processes. Events carry the guest's pids; what
 *   enriches them looks here. The guest's /proc is in the guest's files (guestfs.h) as far as the grant shows
 *   it; what is not there is looked for where the name says.
 */
#include <errno.h>
#include <linux/memfd.h>

#include "agent/telebpf/shim/shim.h"

#define GUEST      "/.guest" /* where the confinement mounts the guest's files */
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
	char *path = name->text + GUEST_LEN; /* cppcheck-suppress ctuuninitvar; it is filled here */
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

/* The descriptor that NAME is the fdinfo of, or -1. */
static int64_t fdinfo_of(const struct name *name)
{
	const char *at = *name->process ? skip_own(name->process + 1) : NULL;
	int64_t fd;

	at = at ? skip(at, "/fdinfo/") : NULL;
	fd = at ? number(&at) : -1;
	return at && *at == '\0' ? fd : -1;
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

static int64_t perform(const struct ygr_regs *regs, unsigned index, const struct name *name)
{
	struct ygr_regs guest = *regs;
	int64_t r;

	if (index == 0)
		guest.rdi = (uint64_t)name->text;
	else
		guest.rsi = (uint64_t)name->text;
	r = ygr_native(&guest);
	return r == -ENOENT || r == -EACCES ? ygr_native(regs) : r;
}

int64_t ygr_hook_path(const struct ygr_regs *regs, unsigned index)
{
	struct name name;

	if (!read_name(index == 0 ? regs->rdi : regs->rsi, &name) || !of_others(&name))
		return ygr_native(regs);
	return perform(regs, index, &name);
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
	if (of_others(&name))
		return perform(regs, index, &name);
	fd = fdinfo_of(&name);
	if (fd < 0 || !ygr_slot_of(fd) || !ygr_table_ours())
		return ygr_native(regs);
	mask = ygr_shim_lock();
	slot = ygr_slot_of(fd);
	r = slot ? open_fdinfo(slot) : ygr_native(regs);
	ygr_shim_unlock(mask);
	return r;
}
