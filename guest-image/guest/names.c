/*
 * Names behind numbers; see names.h. Tracepoint ids are in tracefs, one small file each, about two thousand. Who
 * attaches to one has just read its id by name, through this session; so the names that were opened are kept and
 * tried first. Only an id that came otherwise makes us read all, once. A tracepoint that appears later (module,
 * kprobe event) is not in that table, so a miss reads it again. Ids are given anew when tracepoints go: before a name
 * counts, its id is read again.
 */
#include "guest-image/guest/names.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/bpf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/base/cleanup.h"

#define TRACEFS_EVENTS "/sys/kernel/tracing/events"
#define DEBUGFS_EVENTS "/sys/kernel/debug/tracing/events" /* the same */
#define PMU_DEVICES    "/sys/bus/event_source/devices"

static void closedirp(DIR **dir)
{
	if (*dir)
		closedir(*dir);
}

void ygr_guest_names_init(struct ygr_guest_names *names, const struct ygr_guest_handles *handles)
{
	*names = (struct ygr_guest_names){.handles = handles, .events = TRACEFS_EVENTS};
}

static void forget_tracepoints(struct ygr_guest_names *names)
{
	for (size_t i = 0; i < names->tracepoint_count; i++)
		free(names->tracepoints[i].name);
	free(names->tracepoints);
	names->tracepoints = NULL;
	names->tracepoint_count = 0;
}

void ygr_guest_names_deinit(struct ygr_guest_names *names)
{
	forget_tracepoints(names);
	for (unsigned i = 0; i < YGR_GUEST_TRACEPOINTS_SEEN; i++)
		free(names->seen[i]);
	ygr_guest_btf_deinit(&names->vmlinux);
}

/* Reads a decimal number from the file PATH below directory DIR. */
static int read_number(int dir, const char *path, uint64_t *ret)
{
	char text[32];
	_cleanup_close_ int fd = openat(dir, path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	ssize_t n = read(fd, text, sizeof(text) - 1);
	if (n <= 0)
		return -EIO;
	text[n] = '\0';
	char *end;
	*ret = strtoull(text, &end, 10);
	return end == text ? -EINVAL : 0;
}

static int add_tracepoint(struct ygr_guest_names *names, uint64_t id, const char *category,
			  const char *event)
{
	if (names->tracepoint_count == YGR_GUEST_TRACEPOINTS_MAX)
		return -E2BIG;
	if (names->tracepoint_count % 256 == 0) {
		void *more = reallocarray(names->tracepoints, names->tracepoint_count + 256,
					  sizeof(*names->tracepoints));
		if (!more)
			return -ENOMEM;
		names->tracepoints = more;
	}
	char *name;
	if (asprintf(&name, "%s/%s", category, event) < 0)
		return -ENOMEM;
	names->tracepoints[names->tracepoint_count++] = (struct ygr_guest_tracepoint){id, name};
	return 0;
}

static int read_category(struct ygr_guest_names *names, int events, const char *category)
{
	int fd = openat(events, category, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	_cleanup_(closedirp) DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	if (!dir) {
		if (fd >= 0)
			close(fd);
		return 0; /* a plain file, or a category that has just gone */
	}

	for (struct dirent *entry; (entry = readdir(dir));) {
		char path[300];
		uint64_t id;
		if (entry->d_name[0] == '.' || entry->d_type != DT_DIR)
			continue;
		snprintf(path, sizeof(path), "%s/id", entry->d_name);
		if (read_number(dirfd(dir), path, &id) < 0)
			continue;
		int r = add_tracepoint(names, id, category, entry->d_name);
		if (r < 0)
			return r;
	}
	return 0;
}

static int by_id(const void *a, const void *b)
{
	const struct ygr_guest_tracepoint *left = a, *right = b;
	return left->id < right->id ? -1 : left->id > right->id;
}

static void read_tracepoints(struct ygr_guest_names *names)
{
	forget_tracepoints(names);
	names->tracepoints_read = true;
	_cleanup_(closedirp) DIR *dir = opendir(names->events);
	if (!dir)
		return;
	for (struct dirent *entry; (entry = readdir(dir));)
		if (entry->d_name[0] != '.' && read_category(names, dirfd(dir), entry->d_name) < 0)
			break;
	if (names->tracepoint_count)
		qsort(names->tracepoints, names->tracepoint_count, sizeof(*names->tracepoints), by_id);
}

/* Is ID that of the tracepoint NAME now? */
static bool has_id(const struct ygr_guest_names *names, const char *name, uint64_t id)
{
	char path[PATH_MAX];
	uint64_t now;

	snprintf(path, sizeof(path), "%s/%s/id", names->events, name);
	return read_number(AT_FDCWD, path, &now) == 0 && now == id;
}

static const char *find_seen(const struct ygr_guest_names *names, uint64_t id)
{
	/* The newest first. */
	for (unsigned i = 1; i <= YGR_GUEST_TRACEPOINTS_SEEN; i++) {
		const char *name = names->seen[(names->next_seen + YGR_GUEST_TRACEPOINTS_SEEN - i) %
					       YGR_GUEST_TRACEPOINTS_SEEN];
		if (name && has_id(names, name, id))
			return name;
	}
	return NULL;
}

static const char *find_tracepoint(const struct ygr_guest_names *names, uint64_t id)
{
	if (names->tracepoint_count == 0)
		return NULL;
	struct ygr_guest_tracepoint key = {.id = id}, *found;
	found = bsearch(&key, names->tracepoints, names->tracepoint_count, sizeof(key), by_id);
	return found && has_id(names, found->name, id) ? found->name : NULL;
}

static const char *tracepoint(void *user, uint64_t id)
{
	struct ygr_guest_names *names = user;
	const char *name = find_seen(names, id);
	if (!name && names->tracepoints_read)
		name = find_tracepoint(names, id);
	if (!name) {
		read_tracepoints(names);
		name = find_tracepoint(names, id);
	}
	return name;
}

/* "CATEGORY/NAME" of PATH below DIRECTORY with "/id" behind it: its length, else 0. */
static size_t id_of(const char *path, const char *directory, const char **ret_name)
{
	size_t length = strlen(directory);
	const char *end = strrchr(path, '/');

	if (strncmp(path, directory, length) != 0 || path[length] != '/' || strcmp(end, "/id") != 0)
		return 0;
	const char *slash = strchr(path + length + 1, '/');
	if (!slash || slash >= end || memchr(slash + 1, '/', (size_t)(end - slash - 1)))
		return 0;
	*ret_name = path + length + 1;
	return (size_t)(end - *ret_name);
}

void ygr_guest_names_opened(struct ygr_guest_names *names, const char *path)
{
	const char *name;
	size_t length = id_of(path, names->events, &name);

	if (!length)
		length = id_of(path, DEBUGFS_EVENTS, &name);
	char *copy = length ? strndup(name, length) : NULL;
	if (!copy)
		return; /* it will take longer */
	free(names->seen[names->next_seen]);
	names->seen[names->next_seen] = copy;
	names->next_seen = (names->next_seen + 1) % YGR_GUEST_TRACEPOINTS_SEEN;
}

/* A module's BTF by its descriptor: only the kernel hands these out, by id. */
static int load_module(int fd, const struct ygr_guest_btf *vmlinux, struct ygr_guest_btf *btf)
{
	struct bpf_btf_info info = {0};
	union bpf_attr attr = {
	    .info = {.bpf_fd = (uint32_t)fd, .info_len = sizeof(info), .info = (uint64_t)(uintptr_t)&info}};
	if (syscall(SYS_bpf, BPF_OBJ_GET_INFO_BY_FD, &attr, sizeof(attr)) < 0)
		return -errno;
	if (info.btf_size == 0 || info.btf_size > YGR_GUEST_BTF_MAX)
		return -EINVAL;

	uint32_t size = info.btf_size;
	uint8_t *data = malloc(size);
	if (!data)
		return -ENOMEM;
	info = (struct bpf_btf_info){.btf = (uint64_t)(uintptr_t)data, .btf_size = size};
	attr.info.info_len = sizeof(info);
	if (syscall(SYS_bpf, BPF_OBJ_GET_INFO_BY_FD, &attr, sizeof(attr)) < 0) {
		free(data);
		return -EINVAL;
	}
	return ygr_guest_btf_init(btf, data, size, vmlinux);
}

static const char *btf_name(void *user, uint32_t btf_obj_handle, uint32_t type_id)
{
	struct ygr_guest_names *names = user;
	if (!names->vmlinux_read) {
		uint8_t *data;
		size_t size;
		names->vmlinux_read = true;
		if (ygr_guest_btf_load("/sys/kernel/btf/vmlinux", &data, &size) == 0)
			(void)ygr_guest_btf_init(&names->vmlinux, data, size, NULL); /* no BTF: no name */
	}
	if (btf_obj_handle == YGR_HANDLE_NONE)
		return ygr_guest_btf_name(&names->vmlinux, NULL, type_id);

	const struct ygr_guest_handle *slot = ygr_guest_handles_find(names->handles, btf_obj_handle);
	struct ygr_guest_btf module;
	if (!slot || slot->object.kind != YGR_OBJECT_BTF ||
	    load_module(slot->fd, &names->vmlinux, &module) < 0)
		return NULL;
	const char *name = ygr_guest_btf_name(&module, &names->vmlinux, type_id);
	if (name) {
		snprintf(names->answer, sizeof(names->answer), "%s", name);
		name = names->answer;
	}
	ygr_guest_btf_deinit(&module);
	return name;
}

static const char *perf_pmu(void *user, uint32_t type)
{
	struct ygr_guest_names *names = user;
	_cleanup_(closedirp) DIR *dir = opendir(PMU_DEVICES);
	if (!dir)
		return NULL;
	for (struct dirent *entry; (entry = readdir(dir));) {
		char path[300];
		uint64_t number;
		snprintf(path, sizeof(path), "%s/type", entry->d_name);
		if (entry->d_name[0] == '.' || read_number(dirfd(dir), path, &number) < 0 || number != type)
			continue;
		snprintf(names->answer, sizeof(names->answer), "%s", entry->d_name);
		return names->answer;
	}
	return NULL;
}

struct ygr_grant_names ygr_guest_names_ops(struct ygr_guest_names *names)
{
	return (struct ygr_grant_names){
	    .tracepoint = tracepoint, .btf_name = btf_name, .perf_pmu = perf_pmu, .user = names};
}
