/*
 * All threads of an application under ptrace, so that they can be held at once and one of them be made to
 * perform system calls (sharing.c). Tracing begins at PID 1 of the application's namespace before it forks,
 * and the kernel attaches every child and thread from there on: there is no thread that the session does not
 * know, and no moment in which one could be missed. It needs no capability after that, and PTRACE_O_EXITKILL
 * kills all of them with the session.
 *
 * While nothing is held, what stops is resumed at once, signals are passed on. One thread, which must be the
 * one that called ygr_tracer_new(): ptrace is bound to it. Nothing waits, except for a held thread to do one
 * call.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/user.h>

#include "lib/base/error.h"

#define YGR_TRACEES_MAX 4096 /* threads of one application */

struct ygr_tracee {
	pid_t tid;
	bool stopped;    /* in a ptrace stop, until it is resumed */
	bool group_stop; /* ... because of SIGSTOP and the like: goes on listening */
	bool clean;      /* ... of PTRACE_EVENT_STOP: no signal is on its way */
	bool leaving;    /* past its last user instruction */
	int signal;      /* that the stop is about: delivered when it goes on */
};

struct ygr_tracer {
	pid_t init;
	bool attached; /* init has forked the application, which is traced now; init is not any more */
	int signal_fd; /* SIGCHLD: readable when there is something to dispatch */
	bool holding;
	bool dead;     /* nothing is resumed any more: all are to be killed */
	bool overflow; /* more than YGR_TRACEES_MAX: cannot hold all */
	struct ygr_tracee *tracees;
	unsigned count, room;
};

/*
 * Blocks SIGCHLD in the caller and traces INIT, a child of the caller that has not forked yet. -EPERM and
 * others of ptrace with a sentence.
 */
int ygr_tracer_new(pid_t init, struct ygr_tracer **ret, struct ygr_error *error);
/*
 * After everything in the namespace was killed: takes the dead, for at most a second, which the namespace's
 * end waits for. NULL is accepted.
 */
struct ygr_tracer *ygr_tracer_free(struct ygr_tracer *tracer);

/* What signal_fd announced: follows new threads, forgets dead ones, resumes what need not stop. */
void ygr_tracer_dispatch(struct ygr_tracer *tracer);

/* Asks all threads to stop; what stops from now on stays so. */
void ygr_tracer_hold(struct ygr_tracer *tracer);
/* Whether no thread can execute a user instruction or finish a system call until ygr_tracer_release(). */
bool ygr_tracer_held(const struct ygr_tracer *tracer);
void ygr_tracer_release(struct ygr_tracer *tracer);
/* What is stopped stays stopped until it dies. To be followed by SIGKILL for all. */
void ygr_tracer_condemn(struct ygr_tracer *tracer);

/*
 * A held thread that is about to do calls for us: it was interrupted in a system call, whose instruction is
 * used, and will make that call anew when it goes on. SCRATCH is a piece of its stack.
 */
struct ygr_puppet {
	pid_t tid;
	struct user_regs_struct saved;
	uint64_t scratch;
	uint64_t old[32]; /* what was in the scratch */
	uint64_t put[32]; /* what was written there, which calls find unchanged */
	size_t put_length;
};

#define YGR_PUPPET_SCRATCH sizeof(((struct ygr_puppet *)0)->old)

/* Takes TRACEE if it waits in system call NR with a first argument of FIRST. -ENOENT: it does not. */
int ygr_puppet_take(const struct ygr_tracee *tracee, uint64_t nr, uint64_t first, struct ygr_puppet *ret);
/*
 * NR(ARGS) in the puppet: 0 with its result in *ret; -ECANCELED when it died or did anything else than that
 * call: it must not go on.
 */
int ygr_puppet_call(struct ygr_puppet *puppet, uint64_t nr, const uint64_t args[6], int64_t *ret);
/*
 * Bytes at its scratch, at most YGR_PUPPET_SCRATCH; the next call is refused (-ECANCELED) when they are not there
 * any more as it is entered. -EFAULT.
 */
int ygr_puppet_write(struct ygr_puppet *puppet, const void *from, size_t length);
int ygr_puppet_read(const struct ygr_puppet *puppet, void *to, size_t length);
/* As it was. -ECANCELED: it must not go on. */
int ygr_puppet_restore(struct ygr_puppet *puppet);
