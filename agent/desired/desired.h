/*
 * Desired state: the VMMonitors and VMPolicies that concern this node, from a source. A source reports each object that is
 * new or different and each that is gone, and beside that what is wrong with what people wrote. An object
 * whose newest text is broken stays as it last was good.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "lib/api/monitor.h"
#include "lib/api/vm-policy.h"
#include "lib/base/error.h"

#define YGR_DESIRED_FILES_MAX   1024 /* in a manifest directory */
#define YGR_DESIRED_OBJECTS_MAX 4096

/* Something wrong with a file or an object in it. */
struct ygr_manifest_problem {
	const char *file;       /* relative to the directory */
	const char *kind;       /* of the object it is about, a literal; NULL: of none */
	const char *namespace_; /* the object it is about, as far as it can be told; else NULL */
	const char *name;
	const char *message; /* "FILE:LINE:COLUMN: path: expected ..." */
};

/* All on the loop thread; arguments are borrowed during the call, objects until `gone` or the next change.
 */
struct ygr_desired_handlers {
	void (*changed)(void *user, const struct ygr_monitor *monitor);
	void (*gone)(void *user, const char *namespace_, const char *name);
	void (*policy_changed)(void *user, const struct ygr_vm_policy *policy);
	void (*policy_gone)(void *user, const char *namespace_, const char *name);
	/* The whole list, whenever it changed. */
	void (*problems)(void *user, const struct ygr_manifest_problem *problems, size_t count);
	/* The first pass over everything is done. */
	void (*synced)(void *user);
	void *user;
};

struct ygr_desired;

/*
 * Watches DIRECTORY (not below it) for *.yaml, *.yml and *.json; hidden files and editors' temporary files
 * are not read. Objects without a generation get one that grows with each change. The directory may be
 * absent: that is a problem in the list, and it is watched for. -ENOMEM, or the error of inotify.
 */
int ygr_desired_watch_directory(uv_loop_t *loop, const char *directory,
				const struct ygr_desired_handlers *handlers, struct ygr_desired **ret,
				struct ygr_error *error);
/* NULL is allowed; memory is released once the loop has turned. */
struct ygr_desired *ygr_desired_stop(struct ygr_desired *desired);
