/*
 * Scope-bound cleanup: a variable marked _cleanup_(f) runs f on its address when it leaves its scope, so
 * every early return releases what was taken. Hand a value on with ygr_steal_ptr() or ygr_steal_fd().
 */
#pragma once

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#define _cleanup_(f) __attribute__((cleanup(f)))

static inline void ygr_freep(void *p)
{
	free(*(void **)p);
}

/* Closes *fd unless negative; errno is preserved. */
static inline void ygr_closep(int *fd)
{
	if (*fd >= 0) {
		int saved = errno;
		close(*fd);
		errno = saved;
	}
}

#define _cleanup_free_  _cleanup_(ygr_freep)
#define _cleanup_close_ _cleanup_(ygr_closep)

/* The value of *p, leaving NULL behind. */
#define ygr_steal_ptr(p)                                                                                    \
	({                                                                                                  \
		__typeof__(p) _p = (p);                                                                     \
		__typeof__(*_p) _v = *_p;                                                                   \
		*_p = NULL;                                                                                 \
		_v;                                                                                         \
	})

/* The value of *fd, leaving -1 behind. */
static inline int ygr_steal_fd(int *fd)
{
	int v = *fd;
	*fd = -1;
	return v;
}
