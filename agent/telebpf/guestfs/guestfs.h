/*
 * The guest's kernel files as a FUSE file system (libfuse3, low-level API, inside the session's own loop).
 * Its root mirrors the guest's root, but shows only directories that lead to paths which the grant lets the
 * application read or write; everything is fetched from the guest when asked for. Attributes and contents
 * are the guest's word: sizes, names and types are bounded and checked (no name with '/', no device nodes,
 * no set-uid; symbolic links are shown only when relative or below the visible tree).
 *
 * The confinement mounts it (fd in its options) at /.guest of the application's root and binds parts of it:
 * see ygr_guestfs_binds in binds.c.
 */
#pragma once

#include <stdint.h>

#include "agent/telebpf/channel.h"
#include "lib/base/error.h"

struct ygr_grant;
struct ygr_guestfs;

/* Opens /dev/fuse. GRANT and CHANNEL are borrowed and outlive it. */
int ygr_guestfs_new(struct ygr_channel *channel, const struct ygr_grant *grant, struct ygr_guestfs **ret,
		    struct ygr_error *error);
struct ygr_guestfs *ygr_guestfs_free(struct ygr_guestfs *guestfs);

/*
 * The application is being killed: what waits for the guest, and all that comes from now on, is answered with
 * EIO. The kernel lets nobody go, SIGKILL or not, who waits for a file system that has read his question; a
 * guest that says nothing would keep a dead application for ever. Go on with dispatch.
 */
void ygr_guestfs_abandon(struct ygr_guestfs *guestfs);
/* The path that the guest has been asked for the longest, or NULL when nothing waits; borrowed. */
const char *ygr_guestfs_waiting(const struct ygr_guestfs *guestfs);

/* The /dev/fuse descriptor: for the mount, and for the loop (EPOLLIN). */
int ygr_guestfs_fd(const struct ygr_guestfs *guestfs);
/* Serves the requests that are there now. Returns -ENODEV when it was unmounted. */
int ygr_guestfs_dispatch(struct ygr_guestfs *guestfs);

/* For confine.c: path in the guest's tree (absolute) and where to bind it; ends with a NULL path. */
struct ygr_guestfs_bind {
	const char *path;
	const char *target;
};
extern const struct ygr_guestfs_bind ygr_guestfs_binds[];
