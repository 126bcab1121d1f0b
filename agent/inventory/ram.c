/*
 * See ram.h. The pid file lies in a directory that only root writes; the UUID on the command line guards
 * against a pid that was given to somebody else since.
 */
#include "agent/inventory/ram.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/base/cleanup.h"

#define CMDLINE_MAX (256u << 10)
#define GIB         (1ull << 30)

static void closedirp(DIR **dir)
{
	if (*dir)
		closedir(*dir);
}

static ssize_t read_file(const char *path, char *out, size_t size)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t len = 0;

	if (fd < 0)
		return -errno;
	while (len < size - 1) {
		ssize_t n = read(fd, out + len, size - 1 - len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (!n)
			break;
		len += (size_t)n;
	}
	out[len] = '\0';
	return (ssize_t)len;
}

/* Is there an argument "-uuid" followed by UUID? */
static bool runs_uuid(pid_t pid, const char *uuid)
{
	_cleanup_free_ char *cmdline = malloc(CMDLINE_MAX);
	char path[64];
	bool after = false;

	snprintf(path, sizeof(path), "/proc/%d/cmdline", pid);
	ssize_t len = cmdline ? read_file(path, cmdline, CMDLINE_MAX) : -1;
	for (ssize_t i = 0; i < len; i += (ssize_t)strlen(cmdline + i) + 1) {
		if (after && !strcmp(cmdline + i, uuid))
			return true;
		after = !strcmp(cmdline + i, "-uuid");
	}
	return false;
}

int ygr_ram_find_pid(const char *run_dir, const char *name, const char *uuid, pid_t *ret_pid)
{
	_cleanup_free_ char *path = NULL;
	char text[32];

	if (strchr(name, '/') || asprintf(&path, "%s/%s.pid", run_dir, name) < 0)
		return -ENOENT;
	ssize_t n = read_file(path, text, sizeof(text));
	if (n < 0)
		return (int)n;
	long pid = strtol(text, NULL, 10);
	if (pid <= 1 || pid > INT32_MAX || !runs_uuid((pid_t)pid, uuid))
		return -ESRCH;
	*ret_pid = (pid_t)pid;
	return 0;
}

/* Descriptor NAME of the directory: the RAM file of SIZE bytes? */
static bool is_ram(int dir, const char *name, uint64_t size, struct stat *st)
{
	char target[256];
	ssize_t n = readlinkat(dir, name, target, sizeof(target) - 1);

	if (n <= 0)
		return false;
	target[n] = '\0';
	if (strncmp(target, "/memfd:", 7) != 0)
		return false;
	_cleanup_close_ int fd = openat(dir, name, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, st) < 0 || (uint64_t)st->st_size != size)
		return false;
	int seals = fcntl(fd, F_GET_SEALS);
	return seals >= 0 && (seals & F_SEAL_SHRINK);
}

int ygr_ram_find_file(pid_t pid, uint64_t size, struct ygr_vm *vm)
{
	char path[64];
	struct dirent *entry;
	struct stat st;

	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	_cleanup_(closedirp) DIR *dir = opendir(path);
	if (!dir)
		return -errno;
	while ((entry = readdir(dir))) {
		if (!isdigit((unsigned char)entry->d_name[0]) ||
		    !is_ram(dirfd(dir), entry->d_name, size, &st))
			continue;
		char *ram_path;
		if (asprintf(&ram_path, "%s/%s", path, entry->d_name) < 0)
			return -ENOMEM;
		free(vm->ram_path);
		vm->ram_path = ram_path;
		vm->ram_dev = st.st_dev;
		vm->ram_ino = st.st_ino;
		vm->ram_size = size;
		return 0;
	}
	return -ENOENT;
}

int ygr_ram_layout_rule(enum ygr_machine machine, uint64_t memory, struct ygr_vm *vm)
{
	uint64_t low;

	if (machine == YGR_MACHINE_Q35)
		low = memory >= 0xb0000000 ? 0x80000000 : 0xb0000000;
	else if (machine == YGR_MACHINE_PC)
		low = memory >= 0xe0000000 ? 0xc0000000 : 0xe0000000;
	else
		return -ENOTSUP;
	if (memory <= low) {
		vm->regions[0] = (struct ygr_vm_region){0, memory, 0};
		vm->region_count = 1;
		return 0;
	}
	vm->regions[0] = (struct ygr_vm_region){0, low, 0};
	vm->regions[1] = (struct ygr_vm_region){4 * GIB, memory - low, low};
	vm->region_count = 2;
	return 0;
}

/*
 * "  0000000000100000-000000001fffffff (prio 0, ram): pc.ram @0000000000100000 KVM" with an optional offset.
 * Video memory and firmware are RAM of other names; the guest's is pc.ram or a memory backend's id.
 */
static bool parse_line(const char *line, struct ygr_vm_region *ret)
{
	uint64_t start, end, offset = 0;
	char name[64];
	int used = 0;

	if (sscanf(line, " %" SCNx64 "-%" SCNx64 " (prio %*d, ram): %63s%n", &start, &end, name, &used) <
		3 ||
	    end < start)
		return false;
	if (strcmp(name, "pc.ram") != 0 && strncmp(name, "ram-node", 8) != 0 &&
	    strcmp(name, "mach-virt.ram") != 0)
		return false;
	if (line[used] == ' ' && line[used + 1] == '@' && sscanf(line + used, " @%" SCNx64, &offset) != 1)
		return false;
	if (end - start == UINT64_MAX)
		return false;
	*ret = (struct ygr_vm_region){start, end - start + 1, offset};
	return true;
}

static bool inside(const struct ygr_vm_region *piece, const struct ygr_vm *vm)
{
	for (uint32_t i = 0; i < vm->region_count; i++) {
		const struct ygr_vm_region *r = &vm->regions[i];
		if (piece->gpa >= r->gpa && piece->size <= r->size &&
		    piece->gpa - r->gpa <= r->size - piece->size &&
		    piece->offset - r->offset == piece->gpa - r->gpa)
			return true;
	}
	return false;
}

/* Adds PIECE, joined with the last one where both addresses run on. Several views list the same pieces. */
static int add_piece(struct ygr_vm_region *list, uint32_t *count, const struct ygr_vm_region *piece)
{
	for (uint32_t i = 0; i < *count; i++) {
		if (list[i].gpa == piece->gpa && list[i].offset == piece->offset &&
		    list[i].size >= piece->size)
			return 0;
		if (list[i].gpa + list[i].size == piece->gpa &&
		    list[i].offset + list[i].size == piece->offset) {
			list[i].size += piece->size;
			return 0;
		}
	}
	if (*count == YGR_VM_REGIONS_MAX)
		return -E2BIG;
	list[(*count)++] = *piece;
	return 0;
}

int ygr_ram_layout_confirm(const char *mtree, struct ygr_vm *vm)
{
	struct ygr_vm_region found[YGR_VM_REGIONS_MAX], piece;
	bool in_memory = false, agrees = vm->region_count > 0;
	uint32_t count = 0;

	for (const char *line = mtree; *line;) {
		size_t len = strcspn(line, "\n");
		if (!strncmp(line, "FlatView", 8))
			in_memory = false;
		else if (!strncmp(line, " AS \"memory\"", 12))
			in_memory = true;
		else if (in_memory && parse_line(line, &piece)) {
			agrees = agrees && inside(&piece, vm);
			int r = add_piece(found, &count, &piece);
			if (r < 0)
				return r;
		}
		line += len + (line[len] == '\n');
	}
	if (!count)
		return -EBADMSG;
	if (agrees)
		return 0;
	memcpy(vm->regions, found, sizeof(found));
	vm->region_count = count;
	return 0;
}
