/*
 * A group is one to four directories (leaves): one in the v2 hierarchy, and one in each v1 hierarchy that
 * holds a controller which v2 lacks. In v2 the group lies below the root of the hierarchy, as cgroupfs
 * drivers of container runtimes do it, since a process may not live beside a group with controllers ("no
 * internal processes"). In v1 it lies below the caller's own group, whose limits so stay in force.
 *
 * See Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/ in the kernel's tree.
 */
#include "agent/telebpf/confine/cgroup.h"

#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/magic.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <time.h>

#include "lib/base/cleanup.h"

#define LEAVES_MAX   4
#define PATH_BYTES   512
#define CPU_PERIOD   100000u /* microseconds; the kernel's default */
#define REMOVE_TRIES 200     /* of 10 ms: a dying process leaves its group late */

struct leaf {
	char path[PATH_BYTES];
	size_t base; /* length of the part that is not ours */
	int procs_fd;
	bool unified;
};

struct ygr_cgroup {
	struct leaf leaves[LEAVES_MAX];
	unsigned count;
	struct ygr_cgroup_features features;
};

static bool is_fs(const char *path, long magic)
{
	struct statfs fs;

	return statfs(path, &fs) == 0 && fs.f_type == magic;
}

static int write_file(const char *directory, const char *name, const char *value)
{
	char path[PATH_BYTES + 64];
	_cleanup_close_ int fd = -1;

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	return write(fd, value, strlen(value)) < 0 ? -errno : 0;
}

static bool has_file(const char *directory, const char *name)
{
	char path[PATH_BYTES + 64];

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	return access(path, F_OK) == 0;
}

static bool name_ok(const char *name)
{
	unsigned parts = 0;

	if (strlen(name) > 200)
		return false;
	for (const char *p = name;; p++, parts++) {
		size_t len = strcspn(p, "/");

		if (len == 0 || (len <= 2 && strncmp(p, "..", len) == 0))
			return false;
		p += len;
		if (!*p)
			return parts < 4;
	}
}

/* The caller's own group in the v1 hierarchy of CONTROLLER ("" for the root). */
static void own_group(const char *controller, char out[PATH_BYTES])
{
	char line[PATH_BYTES];
	FILE *file = fopen("/proc/self/cgroup", "re");

	out[0] = '\0';
	while (file && fgets(line, sizeof(line), file)) {
		char *save = NULL;
		char *list = strchr(line, ':');
		char *path = list ? strchr(list + 1, ':') : NULL;
		bool found = false;

		if (!path)
			continue;
		*path++ = '\0';
		path[strcspn(path, "\n")] = '\0';
		for (char *word = strtok_r(list + 1, ",", &save); word; word = strtok_r(NULL, ",", &save))
			found = found || strcmp(word, controller) == 0;
		/* Outside our cgroup namespace ("/../..") there is nothing that we could name. */
		if (found && strncmp(path, "/..", 3) != 0 && strcmp(path, "/") != 0)
			snprintf(out, PATH_BYTES, "%s", path);
	}
	if (file)
		fclose(file);
}

/* The processes of a v1 group have no kill file: signal those that are listed, until none is. */
static void kill_listed(const char *path)
{
	char file_path[PATH_BYTES + 64];
	FILE *file;
	int pid;

	snprintf(file_path, sizeof(file_path), "%s/cgroup.procs", path);
	file = fopen(file_path, "re");
	if (!file)
		return;
	while (fscanf(file, "%d", &pid) == 1)
		if (pid > 1 && pid != getpid())
			kill(pid, SIGKILL);
	fclose(file);
}

static int leaf_kill(const struct leaf *leaf)
{
	int r = leaf->unified ? write_file(leaf->path, "cgroup.kill", "1") : -ENOENT;

	if (r == -ENOENT) /* v1, or v2 before Linux 5.14 */
		kill_listed(leaf->path);
	return 0;
}

static void leaf_remove(const struct leaf *leaf)
{
	char path[PATH_BYTES];

	for (unsigned i = 0; i < REMOVE_TRIES; i++) {
		if (rmdir(leaf->path) == 0 || errno != EBUSY)
			break;
		leaf_kill(leaf);
		nanosleep(&(struct timespec){.tv_nsec = 10 * 1000 * 1000}, NULL);
	}
	/* Parents go with their last child; while others live in them rmdir() refuses. */
	snprintf(path, sizeof(path), "%s", leaf->path);
	for (char *slash = strrchr(path, '/'); slash && (size_t)(slash - path) > leaf->base;
	     slash = strrchr(path, '/')) {
		*slash = '\0';
		if (rmdir(path) < 0)
			break;
	}
}

/* In v2 a parent hands controllers down only when told to. What it refuses shows as a missing file below. */
static void hand_down(const char *path)
{
	write_file(path, "cgroup.subtree_control", "+memory");
	write_file(path, "cgroup.subtree_control", "+cpu");
	write_file(path, "cgroup.subtree_control", "+pids");
}

/* mkdir -p; another session may remove an empty parent between two steps, hence the tries. */
static int leaf_make(struct leaf *leaf)
{
	for (unsigned tries = 0; tries < 10; tries++) {
		int r = 0;

		for (char *p = leaf->path + leaf->base; r == 0 && p; p = strchr(p + 1, '/')) {
			*p = '\0';
			if (p > leaf->path + leaf->base && mkdir(leaf->path, 0755) < 0 && errno != EEXIST)
				r = -errno;
			else if (leaf->unified)
				hand_down(leaf->path);
			*p = '/';
		}
		if (r == 0 && mkdir(leaf->path, 0755) == 0)
			return 0;
		r = r ? r : -errno;
		if (r == -EEXIST) {
			leaf_kill(leaf);
			leaf_remove(leaf);
		} else if (r != -ENOENT) {
			return r;
		}
	}
	return -EBUSY;
}

static int add_leaf(struct ygr_cgroup *cgroup, const char *root, const char *own, const char *name,
		    bool unified, struct ygr_error *error)
{
	struct leaf *leaf = &cgroup->leaves[cgroup->count];
	char procs[PATH_BYTES + 64];
	int r;

	*leaf = (struct leaf){.unified = unified, .procs_fd = -1};
	if (snprintf(leaf->path, sizeof(leaf->path), "%s%s/%s", root, own, name) >= (int)sizeof(leaf->path))
		return ygr_error_set(error, ENAMETOOLONG, "control group %s%s/%s: name too long", root, own,
				     name);
	leaf->base = strlen(root) + strlen(own);
	r = leaf_make(leaf);
	if (r < 0)
		return ygr_error_set(error, -r, "control group %s cannot be made: %s", leaf->path,
				     strerror(-r));
	cgroup->count++;
	snprintf(procs, sizeof(procs), "%s/cgroup.procs", leaf->path);
	leaf->procs_fd = open(procs, O_WRONLY | O_CLOEXEC);
	if (leaf->procs_fd < 0)
		return ygr_error_set(error, errno, "control group %s cannot be joined: %m", leaf->path);
	return 0;
}

static int set_limit(const struct leaf *leaf, const char *file, const char *value, struct ygr_error *error)
{
	int r = write_file(leaf->path, file, value);

	if (r < 0)
		return ygr_error_set(error, -r, "control group %s: cannot set %s to %s: %s", leaf->path,
				     file, value, strerror(-r));
	return 0;
}

static int limit_memory(const struct leaf *leaf, uint64_t memory, struct ygr_error *error)
{
	char value[32];
	int r;

	if (!memory)
		return 0;
	snprintf(value, sizeof(value), "%" PRIu64, memory);
	r = set_limit(leaf, leaf->unified ? "memory.max" : "memory.limit_in_bytes", value, error);
	if (r < 0)
		return r;
	/* Swap would only hide the limit. Kernels without swap accounting lack the file. */
	if (leaf->unified && has_file(leaf->path, "memory.swap.max"))
		return set_limit(leaf, "memory.swap.max", "0", error);
	if (!leaf->unified && has_file(leaf->path, "memory.memsw.limit_in_bytes"))
		return set_limit(leaf, "memory.memsw.limit_in_bytes", value, error);
	return 0;
}

static int limit_cpu(const struct leaf *leaf, uint32_t milli, struct ygr_error *error)
{
	uint64_t quota = (uint64_t)milli * (CPU_PERIOD / 1000);
	char value[64];

	if (!milli)
		return 0;
	if (leaf->unified)
		snprintf(value, sizeof(value), "%" PRIu64 " %u", quota, CPU_PERIOD);
	else
		snprintf(value, sizeof(value), "%" PRIu64, quota);
	return set_limit(leaf, leaf->unified ? "cpu.max" : "cpu.cfs_quota_us", value, error);
}

static int limit_pids(const struct leaf *leaf, uint32_t pids, struct ygr_error *error)
{
	char value[32];

	if (!pids)
		return 0;
	snprintf(value, sizeof(value), "%u", pids);
	return set_limit(leaf, "pids.max", value, error);
}

/* Takes from the newest leaf what its controllers offer and nobody offered before. */
static int use_leaf(struct ygr_cgroup *cgroup, const struct ygr_cgroup_limits *limits,
		    struct ygr_error *error)
{
	const struct leaf *leaf = &cgroup->leaves[cgroup->count - 1];
	struct ygr_cgroup_features *features = &cgroup->features;
	bool memory = !features->memory &&
		      has_file(leaf->path, leaf->unified ? "memory.max" : "memory.limit_in_bytes");
	bool cpu = !features->cpu && has_file(leaf->path, leaf->unified ? "cpu.max" : "cpu.cfs_quota_us");
	bool pids = !features->pids && has_file(leaf->path, "pids.max");
	int r = 0;

	if (memory)
		r = limit_memory(leaf, limits->memory, error);
	if (r == 0 && cpu)
		r = limit_cpu(leaf, limits->cpu_milli, error);
	if (r == 0 && pids)
		r = limit_pids(leaf, limits->pids, error);
	if (r < 0)
		return r;
	features->memory = features->memory || memory;
	features->cpu = features->cpu || cpu;
	features->pids = features->pids || pids;
	if (strcmp(features->version, "none") == 0 || (!leaf->unified && (memory || cpu || pids)))
		features->version = leaf->unified ? "v2" : "v1";
	return 0;
}

static int add_unified(struct ygr_cgroup *cgroup, const char *name, const struct ygr_cgroup_limits *limits,
		       struct ygr_error *error)
{
	static const char *const roots[] = {"/sys/fs/cgroup", "/sys/fs/cgroup/unified"};

	for (unsigned i = 0; i < 2; i++) {
		int r;

		if (!is_fs(roots[i], CGROUP2_SUPER_MAGIC))
			continue;
		r = add_leaf(cgroup, roots[i], "", name, true, error);
		return r < 0 ? r : use_leaf(cgroup, limits, error);
	}
	return 0;
}

static int add_legacy(struct ygr_cgroup *cgroup, const char *controller, const char *name,
		      const struct ygr_cgroup_limits *limits, struct ygr_error *error)
{
	char root[64], own[PATH_BYTES];
	int r;

	snprintf(root, sizeof(root), "/sys/fs/cgroup/%s", controller);
	if (!is_fs(root, CGROUP_SUPER_MAGIC))
		return 0;
	own_group(controller, own);
	r = add_leaf(cgroup, root, own, name, false, error);
	return r < 0 ? r : use_leaf(cgroup, limits, error);
}

int ygr_cgroup_new(const char *name, const struct ygr_cgroup_limits *limits, struct ygr_cgroup **ret,
		   struct ygr_error *error)
{
	struct ygr_cgroup *cgroup;
	int r;

	if (!name || !name_ok(name))
		return ygr_error_set(error, EINVAL, "control group name \"%s\" is not a relative path",
				     name ? name : "");
	cgroup = calloc(1, sizeof(*cgroup));
	if (!cgroup)
		return ygr_error_set(error, ENOMEM, "out of memory");
	cgroup->features.version = "none";
	r = add_unified(cgroup, name, limits, error);
	if (r == 0 && !cgroup->features.memory)
		r = add_legacy(cgroup, "memory", name, limits, error);
	if (r == 0 && !cgroup->features.cpu)
		r = add_legacy(cgroup, "cpu", name, limits, error);
	if (r == 0 && !cgroup->features.pids)
		r = add_legacy(cgroup, "pids", name, limits, error);
	if (r < 0) {
		ygr_cgroup_free(cgroup);
		return r;
	}
	*ret = cgroup;
	return 0;
}

struct ygr_cgroup *ygr_cgroup_free(struct ygr_cgroup *cgroup)
{
	if (!cgroup)
		return NULL;
	ygr_cgroup_kill(cgroup);
	for (unsigned i = 0; i < cgroup->count; i++) {
		ygr_closep(&cgroup->leaves[i].procs_fd);
		leaf_remove(&cgroup->leaves[i]);
	}
	free(cgroup);
	return NULL;
}

void ygr_cgroup_clear(const char *name)
{
	struct ygr_cgroup *cgroup;

	if (ygr_cgroup_new(name, &(struct ygr_cgroup_limits){0}, &cgroup, NULL) == 0)
		ygr_cgroup_free(cgroup);
}

int ygr_cgroup_join(const struct ygr_cgroup *cgroup)
{
	for (unsigned i = 0; i < cgroup->count; i++)
		if (write(cgroup->leaves[i].procs_fd, "0", 1) < 0)
			return -errno;
	return 0;
}

int ygr_cgroup_kill(const struct ygr_cgroup *cgroup)
{
	for (unsigned i = 0; i < cgroup->count; i++)
		leaf_kill(&cgroup->leaves[i]);
	return 0;
}

const struct ygr_cgroup_features *ygr_cgroup_features(const struct ygr_cgroup *cgroup)
{
	return &cgroup->features;
}
