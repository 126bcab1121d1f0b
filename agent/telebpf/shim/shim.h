/*
 * What the shim's files share. The shim lives in a foreign process: no libc, no TLS, no allocation but mmap,
 * and registers are all it may use of the CPU (built with -mgeneral-regs-only: the system call ABI preserves
 * vector registers). One lock guards the socket, the tables and the buffers; it is only taken with all
 * signals blocked, so a handler never finds it held by its own thread.
 */
#pragma once

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/telebpf/executable.h"
#include "agent/telebpf/local.h"
#include "agent/telebpf/shim/sys.h"
#include "lib/wire/call.h"

#define YGR_SHIM_FDS_MAX      4096 /* descriptor numbers that can be remote */
#define YGR_SHIM_SLOTS_MAX    4096 /* remote objects held at once */
#define YGR_SHIM_MAPPINGS_MAX 1024
#define YGR_SHIM_SITES_MAX    4096 /* rewritten call sites; later ones stay with dispatch */
#define YGR_SHIM_BUFFER       (64u << 10)

#define YGR_EXIT_LOST 70

/* The application's registers at a system call; entry.S knows the layout. */
struct ygr_regs {
	uint64_t rax, rdi, rsi, rdx, r10, r8, r9, rbx, rbp, r12, r13, r14, r15, rip, rsp;
	int64_t socket; /* clone: the child's own session socket, or -1 */
	uint64_t mask;  /* clone: the signal mask that the child starts with */
};

/*
 * A remote object. References come from descriptors and from mappings. A forked child has references of its
 * own: the session counts for each process.
 */
struct ygr_slot {
	uint32_t handle;
	uint32_t refs;
	bool ready; /* READY_FD was sent */
	struct ygr_object object;
	/* rings that are mapped */
	const uint64_t *consumer;
	const uint64_t *producer;
	int ready_fd;
	uint64_t told; /* consumer position at the last LOCAL_IDLE */
};

struct ygr_shim {
	int pid; /* of the process that owns the tables: a vfork child shares our memory, but not our
		    descriptors */
	uint32_t lock;
	bool page_zero;
	bool go;     /* small stacks: signals are handled on the alternate one, and no site is rewritten */
	bool loaded; /* the shim has loaded the program, which is static */
	char executable[512]; /* its name then, else empty */
	char preload[512];    /* LD_PRELOAD=... as it was at the start */
	struct ygr_local_welcome welcome;
};

extern struct ygr_shim ygr_shim;

/* wire.c: the socket. Both need the lock; the session's end ends the process. */
uint64_t ygr_shim_lock(void); /* blocks all signals; returns the mask for unlock */
void ygr_shim_unlock(uint64_t mask);
/* As the two above, without signals: for a caller that has blocked them. */
void ygr_shim_lock_raw(void);
void ygr_shim_unlock_raw(void);
void ygr_wire_post(uint16_t type, const void *payload, uint32_t length);
/* Asks and waits. FD >= 0 is sent along. The payload is valid until ygr_wire_done(); *ret_fd -1 if none
 * came. */
uint32_t ygr_wire_ask(uint16_t type, const void *payload, uint32_t length, int fd, uint16_t want,
		      const uint8_t **ret_payload, int *ret_fd);
void ygr_wire_done(void);
/* ask for a YGR_LOCAL_DONE: its value. */
int64_t ygr_wire_ask_done(uint16_t type, const void *payload, uint32_t length, int fd, int *ret_fd);
void ygr_wire_hello(void);
_Noreturn void ygr_die(const char *why);

/* memory.c: the application's memory, safely: 0 or -EFAULT. */
int ygr_user_read(void *user, uint64_t address, void *to, size_t len);
int ygr_user_write(void *user, uint64_t address, const void *from, size_t len);
/* Up to LEN bytes until memory ends: how many. */
size_t ygr_user_read_some(uint64_t address, void *to, size_t len);
void *ygr_pages_new(size_t len); /* NULL when there is no memory */
void ygr_pages_free(void *pages, size_t len);

/* table.c: which descriptors are remote. */
struct ygr_slot *ygr_slot_of(int64_t fd); /* NULL: not remote. Without the lock: a hint that may be gone */
bool ygr_table_ours(void);                /* false in a child that only borrows our memory */
/* Makes a placeholder for a new remote object: its descriptor, or negative errno (HANDLE is closed then). */
int64_t ygr_table_new(uint32_t handle, const struct ygr_object *object);
/* With the lock: the application's own descriptor FD stands for HANDLE from now on. NULL (HANDLE is closed
 * then) when there is no room. */
struct ygr_slot *ygr_table_adopt(int fd, uint32_t handle, const struct ygr_object *object);
void ygr_slot_ref(struct ygr_slot *slot);
void ygr_slot_unref(struct ygr_slot *slot);
int64_t ygr_table_close(int fd);
int64_t ygr_table_drop(int fd); /* the same with the lock held */
int64_t ygr_table_close_range(const struct ygr_regs *regs);
int64_t ygr_table_dup(const struct ygr_regs *regs); /* dup, dup2, dup3 */
int64_t ygr_table_fcntl(const struct ygr_regs *regs);
extern const struct ygr_call_host ygr_shim_host;
extern uint32_t ygr_table_slots_used;

/* call.c: what is forwarded */
int64_t ygr_hook_bpf(const struct ygr_regs *regs);
int64_t ygr_hook_perf(const struct ygr_regs *regs);
int64_t ygr_hook_ioctl(const struct ygr_regs *regs);
int64_t ygr_hook_read(const struct ygr_regs *regs);
/*
 * With the lock: asks for what can be read of SLOT at OFFSET (YGR_FILE_*), up to COUNT bytes. How many, or
 * negative errno; *RET is valid until ygr_wire_done().
 */
int64_t ygr_slot_read(const struct ygr_slot *slot, uint64_t offset, uint64_t count, const uint8_t **ret);

/* identity.c: who the application is for itself */
int64_t ygr_hook_ids(const struct ygr_regs *regs); /* getresuid, getresgid */
int64_t ygr_hook_capget(const struct ygr_regs *regs);
/* A TASK_FD_QUERY about a local descriptor of its own, by which tools find out whether there is the command. */
bool ygr_asks_itself(const struct ygr_regs *regs, int64_t *ret);

/* path.c: names that mean something of the guest */
int64_t ygr_hook_open(const struct ygr_regs *regs); /* open, openat, openat2 */
/* REGS has a path as argument INDEX (0 or 1), and only looks at what is there. */
int64_t ygr_hook_path(const struct ygr_regs *regs, unsigned index);

/* Is the string at ADDRESS a name of its own executable, which the shim has loaded? */
bool ygr_path_is_own_exe(uint64_t address);
/* PREFIX (at most 27 bytes) and the number FD. */
void ygr_text_fd(char to[40], const char *prefix, int fd);

/* statfs.c: what kind of file system the guest's files are in */
int64_t ygr_hook_statfs(const struct ygr_regs *regs);

/* image.c: executables. A static one as it was mapped: addresses. */
struct ygr_image {
	uint64_t entry, segments, segment_count; /* of program headers */
};

int64_t ygr_image_read(int fd, void *to, size_t length, uint64_t offset);
/* -ENOEXEC: none that is static; -EEXIST: its addresses are taken. */
int ygr_image_map(int fd, struct ygr_image *ret);
/* Has Go's linker made the program with COUNT program headers at SEGMENTS? */
bool ygr_image_is_go(uint64_t segments, uint64_t count);

/* load.c: from entry.S, with the stack as the kernel made it. The address of the program's entry. */
uint64_t ygr_load(uint64_t *stack);

/* vdso.c: writes VERSION (as LINUX_VERSION_CODE, 0: unknown) into the vDSO at address VDSO */
void ygr_vdso_tell(uint64_t vdso, uint32_t version);

/*
 * file.c, with the lock: FD is no remote object, but a call names it. A directory among the guest's files (a
 * cgroup), or the network namespace, which for a program that means the guest is the guest's: its slot, with a
 * handle of the same thing there. NULL for everything else.
 */
struct ygr_slot *ygr_file_slot(int fd);

/* socket.c: netlink sockets */
int64_t ygr_hook_socket(const struct ygr_regs *regs);
int64_t ygr_hook_socket_use(const struct ygr_regs *regs); /* bind ... recvmsg */

/* map.c: mappings of remote objects */
int64_t ygr_hook_mmap(const struct ygr_regs *regs);
int64_t ygr_hook_munmap(const struct ygr_regs *regs);
int64_t ygr_hook_mremap(const struct ygr_regs *regs);
void ygr_map_sync(bool push, bool pull); /* with the lock; nothing when no array is mapped */

bool ygr_map_arrays(void); /* is there one? */

/* wait.c: what must happen around a wait */
void ygr_ready_register(struct ygr_slot *slot, int fd); /* with the lock, as the next */
void ygr_ready_forget(const struct ygr_slot *slot);
int64_t ygr_hook_epoll_ctl(const struct ygr_regs *regs);
int64_t ygr_hook_poll(const struct ygr_regs *regs); /* poll, ppoll */
/* REGS is a wait; MASK_INDEX: which argument is a signal set, or -1. */
int64_t ygr_hook_wait(const struct ygr_regs *regs, int mask_index);

/* process.c */
int64_t ygr_hook_clone(const struct ygr_regs *regs);
void ygr_child_start(struct ygr_regs *regs); /* entry.S: first steps on a new stack */

/* exec.c */
int64_t ygr_hook_exec(const struct ygr_regs *regs);

/* signal.c */
int64_t ygr_hook_sigaction(const struct ygr_regs *regs);
int64_t ygr_hook_sigprocmask(const struct ygr_regs *regs);
/* REGS performed natively with argument INDEX (0..5), a signal set, not blocking SIGSYS. */
int64_t ygr_native_masked(const struct ygr_regs *regs, unsigned index);
int ygr_signal_start(void); /* installs the SIGSYS handler */

/* stack.c */
/* sigaltstack(2), where CURRENT is what rt_sigreturn puts back. */
int64_t ygr_stack_alternate(const struct ygr_regs *regs, stack_t *current);
int64_t ygr_hook_exit(const struct ygr_regs *regs); /* of one thread */

/* hook.c */
int64_t ygr_native(const struct ygr_regs *regs);
int64_t ygr_hook(struct ygr_regs *regs);
int64_t ygr_hook_site(struct ygr_regs *regs); /* entry.S: from a rewritten site */

/* site.c */
void ygr_site_rewrite(const struct ygr_regs *regs);
bool ygr_site_known(uint64_t after);
void ygr_site_forked(void);

/* start.c: before the program's first instruction */
void ygr_start(char **envp);
int ygr_dispatch_arm(void); /* for the calling thread */

/* entry.S */
void ygr_entry(void);
void ygr_restorer(void);
_Noreturn void ygr_sigreturn(uint64_t sp);
int64_t ygr_sigaltstack_at(uint64_t sp, const stack_t *set, stack_t *old); /* all signals are blocked */
_Noreturn void ygr_exit_unmapped(void *pages, uint64_t length, uint64_t code);
int64_t ygr_clone_raw(int64_t nr, const uint64_t args[6], struct ygr_regs *child);
