/*
 * Programs that the application executes get the shim, too: a dynamic one by LD_PRELOAD in its environment,
 * a static one by being loaded by the shim (load.c). Scripts and what is no executable of this machine are the
 * kernel's affair.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "agent/telebpf/shim/shim.h"

#define ENVIRONMENT_FEW 512
#define ENVIRONMENT_MAX 8192 /* pointers of an environment that is put right */
#define OURS            3    /* variables that are ours, and the end */

/* What is executed: as the application said it, or loaded by the shim. */
struct target {
	struct ygr_regs regs;
	int fd;            /* of a static executable, -1: none */
	char variable[40]; /* YGR_LOCAL_LOAD_VARIABLE=FD */
};

/* Does the string at ADDRESS begin with PREFIX? */
static bool begins(uint64_t address, const char *prefix)
{
	char text[32];
	size_t len = strlen(prefix);

	return len <= sizeof(text) && ygr_user_read_some(address, text, len) == len &&
	       memcmp(text, prefix, len) == 0;
}

/*
 * An environment that keeps the shim: the application's strings, but our variables, as at most ROOM pointers
 * in ALL. -E2BIG when there are more.
 */
static int64_t environment_with_shim(uint64_t envp, const struct target *target, uint64_t *all, size_t room)
{
	size_t count = 0;
	uint64_t entry;

	for (size_t i = 0; envp; i++) {
		if (ygr_user_read(NULL, envp + i * sizeof(entry), &entry, sizeof(entry)) < 0)
			return -EFAULT;
		if (!entry)
			break;
		if (begins(entry, "LD_PRELOAD=") || begins(entry, "YAGURA_SHIM=") ||
		    begins(entry, YGR_LOCAL_LOAD_VARIABLE "="))
			continue;
		if (count + OURS >= room)
			return -E2BIG;
		all[count++] = entry;
	}
	all[count++] = (uint64_t)ygr_shim.preload;
	all[count++] = (uint64_t) "YAGURA_SHIM=1";
	if (target->fd >= 0)
		all[count++] = (uint64_t)target->variable;
	all[count] = 0;
	return 0;
}

/* The file that is named: a descriptor that can be read, or negative errno. */
static int64_t open_target(const struct ygr_regs *regs)
{
	bool at = regs->rax == SYS_execveat;
	uint64_t path = at ? regs->rsi : regs->rdi;
	int64_t directory = at ? (int)regs->rdi : AT_FDCWD;
	uint32_t flags = at ? (uint32_t)regs->r8 : 0;
	char first = 0, link[40];

	if (ygr_user_read(NULL, path, &first, 1) < 0)
		return -EFAULT;
	if (first == '\0' && (flags & AT_EMPTY_PATH)) {
		ygr_text_fd(link, "/proc/self/fd/", (int)directory);
		path = (uint64_t)link;
		directory = AT_FDCWD;
	} else if (ygr_path_is_own_exe(path)) {
		path = (uint64_t)ygr_shim.executable;
	}
	return ygr_sys4(SYS_openat, directory, path,
			O_RDONLY | O_NOCTTY | O_NONBLOCK | (flags & AT_SYMLINK_NOFOLLOW ? O_NOFOLLOW : 0),
			0);
}

/* May it be executed, and by loading it ourselves? That it may be read does not say so. */
static bool wants_load(int fd)
{
	char link[40];
	struct stat st;

	if (ygr_sys2(SYS_fstat, fd, &st) < 0 || !S_ISREG(st.st_mode) || (st.st_mode & (S_ISUID | S_ISGID)) ||
	    ygr_executable_kind(fd, ygr_image_read) != YGR_EXECUTABLE_STATIC)
		return false;
	ygr_text_fd(link, "/proc/self/fd/", fd);
	return ygr_sys2(SYS_access, link, 1 /* X_OK */) == 0;
}

static void target_init(struct target *target, const struct ygr_regs *regs)
{
	int64_t fd = open_target(regs);

	*target = (struct target){.regs = *regs, .fd = -1};
	if (fd < 0)
		return;
	if (!wants_load((int)fd)) {
		ygr_sys1(SYS_close, fd);
		return;
	}
	target->fd = (int)fd;
	ygr_text_fd(target->variable, YGR_LOCAL_LOAD_VARIABLE "=", (int)fd);
	target->regs.rax = SYS_execve;
	target->regs.rdi = (uint64_t)(ygr_shim.preload + sizeof("LD_PRELOAD=") - 1);
	if (regs->rax == SYS_execveat) {
		target->regs.rsi = regs->rdx;
		target->regs.rdx = regs->r10;
	}
}

static int64_t exec_with(const struct target *target, uint64_t *all, size_t room)
{
	struct ygr_regs copy = target->regs;
	uint64_t *environment = copy.rax == SYS_execveat ? &copy.r10 : &copy.rdx;
	int64_t r = environment_with_shim(*environment, target, all, room);

	if (r < 0)
		return r;
	*environment = (uint64_t)all;
	return ygr_native(&copy);
}

int64_t ygr_hook_exec(const struct ygr_regs *regs)
{
	/* On the stack if it fits: pages would stay behind in a parent that posix_spawn's child shares
	 * memory with. */
	uint64_t few[ENVIRONMENT_FEW], *many;
	size_t size = ENVIRONMENT_MAX * sizeof(*many);
	struct target target;
	int64_t r;

	if (!ygr_shim.preload[0])
		return ygr_native(regs);
	target_init(&target, regs);
	r = exec_with(&target, few, ENVIRONMENT_FEW);
	if (r == -E2BIG) {
		many = ygr_pages_new(size);
		r = many ? exec_with(&target, many, ENVIRONMENT_MAX) : -ENOMEM;
		ygr_pages_free(many, size);
	}
	if (target.fd >= 0)
		ygr_sys1(SYS_close, target.fd);
	return r;
}
