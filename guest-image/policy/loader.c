/* See loader.h. libbpf does the relocations and reuses what is pinned; links are pinned one by one. */
#include "guest-image/policy/loader.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "frames.skel.h"
#include "lib/base/cleanup.h"

#define BPF_FS     "/sys/fs/bpf"
#define BPF_MAGIC  0xcafe4a11
#define PATH_BYTES 128

/* Programs that are attached whatever policies say. */
static const char *const upkeep[] = {"u_fork",       "u_exec",      "u_rename",     "u_link",  "u_map",
				     "u_pin_unlink", "u_pin_rmdir", "u_pin_rename", "u_umount"};
#define UPKEEP (sizeof(upkeep) / sizeof(upkeep[0]))

static const char *const outer_names[YGR_OUTERS] = {
    "directories",         "exe_directories", "cgroups", "lineage_exes",
    "lineage_directories", "watched",         "aliases", "held"};

static const void *elf(size_t *ret_size)
{
	return frames__elf_bytes(ret_size);
}

/* FNV-1a; names a version, guards nothing. */
static uint64_t sum(const uint8_t *data, size_t size)
{
	uint64_t h = 14695981039346656037ull;
	for (size_t i = 0; i < size; i++)
		h = (h ^ data[i]) * 1099511628211ull;
	return h;
}

static int quiet(enum libbpf_print_level level, const char *format, va_list args)
{
	(void)level;
	(void)format;
	(void)args;
	return 0;
}

static void pin_path(const struct ygr_loader *loader, const char *prefix, const char *name,
		     char out[PATH_BYTES])
{
	snprintf(out, PATH_BYTES, "%s/%s%s", loader->pins, prefix, name);
}

static bool is_pinned(const struct ygr_loader *loader, const char *program)
{
	char path[PATH_BYTES];
	pin_path(loader, "l_", program, path);
	return access(path, F_OK) == 0;
}

static int make_directories(struct ygr_loader *loader, struct ygr_error *error)
{
	struct statfs fs;
	size_t size;
	const void *bytes = elf(&size);
	snprintf(loader->pins, sizeof(loader->pins), YGR_LOADER_PINS "/%016llx",
		 (unsigned long long)sum(bytes, size));
	if (statfs(BPF_FS, &fs) < 0 || (uint32_t)fs.f_type != BPF_MAGIC)
		(void)mount("bpf", BPF_FS, "bpf", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0700");
	if ((mkdir(YGR_LOADER_PINS, 0700) < 0 && errno != EEXIST) ||
	    (mkdir(loader->pins, 0700) < 0 && errno != EEXIST))
		return ygr_error_set(error, errno, "%s: %s (is bpffs mounted at " BPF_FS "?)", loader->pins,
				     strerror(errno));
	return 0;
}

/* An object whose maps are the pinned ones and whose programs are those that WANTED says. */
static int load_object(struct ygr_loader *loader,
		       bool (*wanted)(const struct ygr_loader *loader, const char *name,
				      uint32_t operations),
		       uint32_t operations, struct bpf_object **ret_object, struct ygr_error *error)
{
	LIBBPF_OPTS(bpf_object_open_opts, options, .object_name = "frames");
	char path[PATH_BYTES];
	size_t size;
	const void *bytes = elf(&size);
	struct bpf_object *object = bpf_object__open_mem(bytes, size, &options);
	struct bpf_program *program;
	struct bpf_map *map;

	if (!object)
		return ygr_error_set(error, errno, "the frames cannot be read: %s", strerror(errno));
	bpf_object__for_each_map(map, object)
	{
		bool internal = bpf_map__is_internal(map);
		pin_path(loader, "m_", internal ? "control" : bpf_map__name(map), path);
		if (bpf_map__set_pin_path(map, path) < 0)
			goto failed;
	}
	bpf_object__for_each_program(program, object)
	{
		bpf_program__set_autoload(program, wanted(loader, bpf_program__name(program), operations));
	}
	if (bpf_object__load(object) < 0)
		goto failed;
	*ret_object = object;
	return 0;
failed:;
	int code = errno;
	bpf_object__close(object);
	return ygr_error_set(error, code, "the frames cannot be loaded: %s", strerror(code));
}

static bool is_iterator(const struct ygr_loader *loader, const char *name, uint32_t operations)
{
	(void)loader;
	(void)operations;
	return strncmp(name, "i_", 2) == 0;
}

static bool is_missing(const struct ygr_loader *loader, const char *name, uint32_t operations)
{
	if (is_pinned(loader, name))
		return false;
	if (strncmp(name, "u_", 2) == 0)
		return true;
	for (size_t i = 0; i < YGR_FRAMES; i++)
		if (strncmp(name, "f_", 2) == 0 && strcmp(ygr_hook_frames[i].name, name + 2) == 0)
			return loader->hook_ids[i] != 0 && operations & 1u << ygr_hook_frames[i].operation;
	return false;
}

static int map_of(struct bpf_object *object, const char *name)
{
	return bpf_object__find_map_fd_by_name(object, name);
}

static int shield(const struct ygr_loader *loader, int fd)
{
	struct bpf_map_info info = {0};
	uint32_t size = sizeof(info), one = 1;
	int r = bpf_obj_get_info_by_fd(fd, &info, &size);
	return r < 0 ? r : bpf_map_update_elem(loader->shielded, &info.id, &one, BPF_ANY);
}

static int take_maps(struct ygr_loader *loader)
{
	char name[64];
	struct bpf_map *map;
	loader->tasks = map_of(loader->object, "tasks");
	loader->verdicts = map_of(loader->object, "verdicts");
	loader->shielded = map_of(loader->object, "shielded");
	loader->launchers = map_of(loader->object, "launchers");
	for (unsigned i = 0; i < YGR_OUTERS; i++)
		loader->outers[i] = map_of(loader->object, outer_names[i]);
	for (unsigned i = 0; i < YGR_FRAMES; i++) {
		snprintf(name, sizeof(name), "d_%s", ygr_hook_frames[i].name);
		loader->decisions[i] = map_of(loader->object, name);
	}
	loader->control_map = -1;
	bpf_object__for_each_map(map, loader->object)
	{
		if (bpf_map__is_internal(map) && strstr(bpf_map__name(map), ".bss"))
			loader->control_map = bpf_map__fd(map);
		int r = shield(loader, bpf_map__fd(map));
		if (r < 0)
			return r;
	}
	loader->control = mmap(NULL, sizeof(struct ygr_frame_control), PROT_READ | PROT_WRITE, MAP_SHARED,
			       loader->control_map, 0);
	if (loader->control == MAP_FAILED) {
		loader->control = NULL;
		return -errno;
	}
	return 0;
}

/* Whom the shield lets through, and what it is around. */
static int describe_self(struct ygr_loader *loader)
{
	struct ygr_frame_control *control = loader->control;
	struct ygr_policy_identity identities[2];
	char exe[PATH_MAX] = "";
	struct stat st;
	ssize_t n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);
	char *slash = n > 0 ? strrchr(exe, '/') : NULL;
	if (!slash)
		return -ENOENT;
	*slash = '\0';
	char name[sizeof(control->keeper_name)] = "";
	snprintf(name, sizeof(name), "%s", slash + 1);
	int fds[2] = {open(exe[0] ? exe : "/", O_PATH | O_CLOEXEC),
		      open(YGR_LOADER_PINS, O_PATH | O_CLOEXEC)};
	int r = fds[0] < 0 || fds[1] < 0 ? -ENOENT : ygr_loader_identify(loader, fds, 2, identities);
	if (r == 0 && (!identities[0].inode || !identities[1].inode))
		r = -ENOENT;
	if (r == 0) {
		control->keeper_directory = identities[0];
		memcpy(control->keeper_name, name, sizeof(name));
		control->pins = identities[1];
		control->pins_above[0] = identities[1].device;
	}
	static const char *const above[] = {"/sys/fs/bpf/..", "/sys/..", "/"};
	for (unsigned i = 0; i < 3 && r == 0; i++) {
		struct ygr_policy_identity identity = {0};
		int fd = open(above[i], O_PATH | O_CLOEXEC);
		if (fd >= 0 && ygr_loader_identify(loader, &fd, 1, &identity) == 0)
			control->pins_above[i + 1] = identity.device;
		ygr_closep(&fd);
	}
	if (stat("/proc/1/ns/mnt", &st) == 0)
		control->mounts = (uint32_t)st.st_ino;
	ygr_closep(&fds[0]);
	ygr_closep(&fds[1]);
	return r;
}

int ygr_loader_open(struct ygr_loader *loader, struct ygr_error *error)
{
	*loader = (struct ygr_loader){0};
	libbpf_set_print(quiet);
	int r = make_directories(loader, error);
	if (r == 0)
		r = load_object(loader, is_iterator, 0, &loader->object, error);
	if (r < 0)
		return r;
	ygr_loader_find_hooks(loader->hook_ids);
	r = take_maps(loader);
	if (r == 0)
		r = describe_self(loader);
	if (r < 0) {
		ygr_loader_close(loader);
		return ygr_error_set(error, -r, "the frames' maps cannot be set up: %s", strerror(-r));
	}
	return 0;
}

void ygr_loader_close(struct ygr_loader *loader)
{
	if (loader->control)
		munmap(loader->control, sizeof(*loader->control));
	bpf_object__close(loader->object);
	*loader = (struct ygr_loader){0};
}

static int attach_one(struct ygr_loader *loader, struct bpf_program *program, struct ygr_error *error)
{
	char path[PATH_BYTES];
	const char *name = bpf_program__name(program);
	struct bpf_link *link = bpf_program__attach(program);
	pin_path(loader, "l_", name, path);
	int r = link ? bpf_link__pin(link, path) : -errno;
	if (r < 0)
		ygr_error_set(error, -r, "the frame %s cannot be attached: %s", name, strerror(-r));
	if (link)
		bpf_link__destroy(link); /* the pin holds it */
	return r;
}

int ygr_loader_attach(struct ygr_loader *loader, uint32_t operations, struct ygr_error *error)
{
	struct bpf_object *object = NULL;
	struct bpf_program *program;
	bool complete = true;
	for (size_t i = 0; i < UPKEEP; i++)
		complete &= is_pinned(loader, upkeep[i]);
	for (size_t i = 0; i < YGR_FRAMES; i++) {
		char name[64];
		snprintf(name, sizeof(name), "f_%s", ygr_hook_frames[i].name);
		complete &= !is_missing(loader, name, operations);
	}
	if (complete)
		return 0;
	int r = load_object(loader, is_missing, operations, &object, error);
	if (r < 0)
		return r;
	bpf_object__for_each_program(program, object)
	{
		if (r == 0 && bpf_program__autoload(program))
			r = attach_one(loader, program, error);
	}
	bpf_object__close(object);
	return r;
}

static void remove_directory(const char *path)
{
	DIR *directory = opendir(path);
	if (!directory)
		return;
	for (struct dirent *entry; (entry = readdir(directory));)
		if (entry->d_name[0] != '.')
			unlinkat(dirfd(directory), entry->d_name, 0);
	closedir(directory);
	rmdir(path);
}

void ygr_loader_sweep(const struct ygr_loader *loader)
{
	DIR *directory = opendir(YGR_LOADER_PINS);
	if (!directory)
		return;
	for (struct dirent *entry; (entry = readdir(directory));) {
		char path[PATH_BYTES * 3];
		snprintf(path, sizeof(path), "%s/%s", YGR_LOADER_PINS, entry->d_name);
		if (entry->d_name[0] != '.' && strcmp(path, loader->pins) != 0)
			remove_directory(path);
	}
	closedir(directory);
}

static int run_iterator(struct ygr_loader *loader, const char *name, bool own_files,
			void (*take)(const struct ygr_frame_resolved *row, void *user), void *user)
{
	union bpf_iter_link_info info = {0};
	LIBBPF_OPTS(bpf_iter_attach_opts, options);
	struct bpf_program *program = bpf_object__find_program_by_name(loader->object, name);
	if (own_files) {
		info.task.pid = (uint32_t)getpid();
		options.link_info = &info;
		options.link_info_len = sizeof(info);
	}
	struct bpf_link *link = program ? bpf_program__attach_iter(program, &options) : NULL;
	if (!link)
		return -errno;
	_cleanup_close_ int fd = bpf_iter_create(bpf_link__fd(link));
	bpf_link__destroy(link);
	if (fd < 0)
		return -errno;
	uint8_t buffer[4096];
	size_t have = 0;
	for (;;) {
		ssize_t n = read(fd, buffer + have, sizeof(buffer) - have);
		if (n < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (n <= 0)
			return n < 0 ? -errno : 0;
		have += (size_t)n;
		size_t rows = have / sizeof(struct ygr_frame_resolved);
		for (size_t i = 0; i < rows && take; i++) {
			struct ygr_frame_resolved row;
			memcpy(&row, buffer + i * sizeof(row), sizeof(row));
			take(&row, user);
		}
		have -= rows * sizeof(struct ygr_frame_resolved);
		memmove(buffer, buffer + rows * sizeof(struct ygr_frame_resolved), have);
	}
}

struct identifying {
	const int *fds;
	size_t count;
	struct ygr_policy_identity *identities;
};

static void take_identity(const struct ygr_frame_resolved *row, void *user)
{
	struct identifying *identifying = user;
	for (size_t i = 0; i < identifying->count; i++)
		if (identifying->fds[i] >= 0 && (uint32_t)identifying->fds[i] == row->fd)
			identifying->identities[i] = row->identity;
}

int ygr_loader_identify(struct ygr_loader *loader, const int *fds, size_t count,
			struct ygr_policy_identity *ret_identities)
{
	struct identifying identifying = {fds, count, ret_identities};
	memset(ret_identities, 0, count * sizeof(*ret_identities));
	return run_iterator(loader, "i_resolve", true, take_identity, &identifying);
}

int ygr_loader_mark(struct ygr_loader *loader)
{
	return run_iterator(loader, "i_mark", false, NULL, NULL);
}

static void take_held(const struct ygr_frame_resolved *row, void *user)
{
	uint32_t one = 1;
	if (S_ISREG(row->mode)) /* without room: as for any descriptor that is opened in between */
		(void)bpf_map_update_elem(*(int *)user, &row->identity, &one, BPF_ANY);
}

int ygr_loader_hold(struct ygr_loader *loader, int held)
{
	return run_iterator(loader, "i_resolve", false, take_held, &held);
}
