/* Loading, pinning and the maps that both kinds of programs share; disks. Networks are in kernel-net.c. */
#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "agent/enforce/kernel-room.h"
#include "disk.skel.h"
#include "lib/base/cleanup.h"
#include "lib/base/log.h"

#define BPFFS "/sys/fs/bpf"

static __attribute__((format(printf, 2, 0))) int print_quietly(enum libbpf_print_level level,
							       const char *format, va_list args)
{
	char text[512];

	vsnprintf(text, sizeof(text), format, args);
	text[strcspn(text, "\n")] = '\0';
	if (level != LIBBPF_DEBUG)
		ygr_log(YGR_LOG_DEBUG, "enforce", "%s", text);
	return 0;
}

static bool is_bpffs(const char *path)
{
	struct statfs st;

	return statfs(path, &st) == 0 && st.f_type == BPF_FS_MAGIC;
}

static int make_directory(const char *directory, struct ygr_error *error)
{
	if (!strncmp(directory, BPFFS "/", sizeof(BPFFS)) && !is_bpffs(BPFFS) &&
	    mount("bpf", BPFFS, "bpf", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0700") < 0)
		return ygr_error_set(error, errno, "cannot mount a bpffs at " BPFFS ": %s", strerror(errno));
	if (mkdir(directory, 0700) < 0 && errno != EEXIST)
		return ygr_error_set(error, errno, "%s: %s", directory, strerror(errno));
	return is_bpffs(directory) ? 0 : ygr_error_set(error, EINVAL, "%s is not on a bpffs", directory);
}

/* The hook inode_setattr has two arguments, or one more in front. */
static bool setattr_has_idmap(void)
{
	struct btf *btf = btf__load_vmlinux_btf();
	int id = btf ? btf__find_by_name_kind(btf, "bpf_lsm_inode_setattr", BTF_KIND_FUNC) : -1;
	const struct btf_type *function = id > 0 ? btf__type_by_id(btf, (uint32_t)id) : NULL;
	const struct btf_type *type = function ? btf__type_by_id(btf, function->type) : NULL;
	bool result = type && btf_vlen(type) > 2;

	btf__free(btf);
	return result;
}

/* Programs can be attached where the LSM is off, and are never asked then. */
static bool lsm_is_off(void)
{
	char text[512] = "";
	FILE *file = fopen("/sys/kernel/security/lsm", "re");

	if (!file)
		return false; /* not mounted: nothing is known */
	bool off = fgets(text, sizeof(text), file) && !strstr(text, "bpf");
	fclose(file);
	return off;
}

/* The new link is attached before the old pin goes: there is no moment without. */
static int pin_links(struct ygr_enforce_kernel *kernel)
{
	struct bpf_program *program;

	bpf_object__for_each_program(program, kernel->disk->obj)
	{
		char path[512];
		if (!bpf_program__autoload(program))
			continue;
		struct bpf_link *link = bpf_program__attach(program);
		if (!link)
			return -errno;
		snprintf(path, sizeof(path), "%s/link_%s", kernel->directory, bpf_program__name(program));
		(void)unlink(path);
		int r = bpf_link__pin(link, path);
		bpf_link__destroy(link); /* the pin keeps it */
		if (r < 0)
			return r;
	}
	return 0;
}

static int disk_load(struct ygr_enforce_kernel *kernel)
{
	LIBBPF_OPTS(bpf_object_open_opts, options, .pin_root_path = kernel->directory);
	bool idmap = setattr_has_idmap();

	kernel->disk = disk__open_opts(&options);
	if (!kernel->disk)
		return -errno;
	bpf_program__set_autoload(kernel->disk->progs.on_truncate, !idmap);
	bpf_program__set_autoload(kernel->disk->progs.on_truncate_idmap, idmap);
	int r = disk__load(kernel->disk);
	return r < 0 ? r : pin_links(kernel);
}

int ygr_enforce_kernel_open(const char *pin_directory, struct ygr_enforce_kernel **ret,
			    struct ygr_error *error)
{
	struct ygr_enforce_kernel *kernel = calloc(1, sizeof(*kernel));
	struct ygr_error why = YGR_ERROR_INIT;

	if (kernel)
		kernel->directory = strdup(pin_directory);
	if (!kernel || !kernel->directory) {
		free(kernel);
		return ygr_error_set(error, ENOMEM, "out of memory");
	}
	libbpf_set_print(print_quietly);
	kernel->vms = kernel->counts = -1;
	int r = make_directory(pin_directory, &why);
	if (r < 0) {
		snprintf(kernel->no_nets, sizeof(kernel->no_nets), "%.250s", why.message);
		snprintf(kernel->no_disks, sizeof(kernel->no_disks), "%.250s", why.message);
	} else {
		r = ygr_enforce_net_load(kernel);
		if (r < 0)
			snprintf(kernel->no_nets, sizeof(kernel->no_nets),
				 "the node's kernel takes no programs for tc: %s", strerror(-r));
		r = lsm_is_off() ? -EOPNOTSUPP : disk_load(kernel);
		if (r == -EOPNOTSUPP)
			snprintf(kernel->no_disks, sizeof(kernel->no_disks),
				 "the node's kernel runs without the bpf LSM; add it to lsm= on its command "
				 "line");
		else if (r < 0)
			snprintf(kernel->no_disks, sizeof(kernel->no_disks),
				 "the node's kernel takes no LSM programs: %s", strerror(-r));
	}
	if (kernel->disk && !kernel->no_disks[0] && kernel->vms < 0) {
		kernel->vms = bpf_map__fd(kernel->disk->maps.vms);
		kernel->counts = bpf_map__fd(kernel->disk->maps.counts);
	}
	*ret = kernel;
	return 0;
}

struct ygr_enforce_kernel *ygr_enforce_kernel_close(struct ygr_enforce_kernel *kernel)
{
	if (!kernel)
		return NULL;
	disk__destroy(kernel->disk);
	ygr_enforce_net_unload(kernel);
	free(kernel->directory);
	free(kernel);
	return NULL;
}

const char *ygr_enforce_kernel_no_disks(const struct ygr_enforce_kernel *kernel)
{
	return kernel->no_disks[0] ? kernel->no_disks : NULL;
}

const char *ygr_enforce_kernel_no_nets(const struct ygr_enforce_kernel *kernel)
{
	return kernel->no_nets[0] ? kernel->no_nets : NULL;
}

int ygr_enforce_kernel_set(struct ygr_enforce_kernel *kernel, uint32_t slot, const struct ygr_enforce_vm *vm)
{
	if (kernel->vms < 0)
		return vm->disks || vm->blocks ? -EOPNOTSUPP : 0;
	return bpf_map_update_elem(kernel->vms, &slot, vm, BPF_ANY) < 0 ? -errno : 0;
}

int ygr_enforce_kernel_count(const struct ygr_enforce_kernel *kernel, uint32_t slot,
			     struct ygr_enforce_count *ret)
{
	if (kernel->counts < 0)
		return -EOPNOTSUPP;
	return bpf_map_lookup_elem(kernel->counts, &slot, ret) < 0 ? -errno : 0;
}

void ygr_enforce_kernel_forget(struct ygr_enforce_kernel *kernel, uint32_t slot)
{
	static const struct ygr_enforce_vm none;
	static const struct ygr_enforce_count zero;

	(void)ygr_enforce_kernel_set(kernel, slot, &none);
	if (kernel->counts >= 0)
		(void)bpf_map_update_elem(kernel->counts, &slot, &zero, BPF_ANY);
}

int ygr_enforce_image_find(const char *path, struct ygr_enforce_image *ret)
{
	struct stat st;

	if (stat(path, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
		return -EINVAL;
	dev_t device = S_ISBLK(st.st_mode) ? st.st_rdev : st.st_dev;
	*ret = (struct ygr_enforce_image){.inode = S_ISBLK(st.st_mode) ? 0 : st.st_ino,
					  .device = (uint32_t)(major(device) << 20 | minor(device))};
	return 0;
}

int ygr_enforce_kernel_image(struct ygr_enforce_kernel *kernel, const struct ygr_enforce_image *image,
			     const struct ygr_enforce_owner *owner)
{
	if (kernel->no_disks[0])
		return -EOPNOTSUPP;
	int map = bpf_map__fd(kernel->disk->maps.images);
	int r = owner ? bpf_map_update_elem(map, image, owner, BPF_ANY) : bpf_map_delete_elem(map, image);
	return r < 0 && (owner || errno != ENOENT) ? -errno : 0;
}

void ygr_enforce_kernel_adopt(struct ygr_enforce_kernel *kernel,
			      void (*image)(void *user, const struct ygr_enforce_image *image,
					    uint32_t slot),
			      void (*device)(void *user, uint32_t ifindex, uint32_t slot), void *user)
{
	int map = kernel->no_disks[0] ? -1 : bpf_map__fd(kernel->disk->maps.images);
	struct ygr_enforce_image *keys = map < 0 ? NULL : calloc(YGR_ENFORCE_IMAGES, sizeof(*keys));
	struct ygr_enforce_owner owner;
	uint32_t count = 0;

	while (keys && count < YGR_ENFORCE_IMAGES &&
	       bpf_map_get_next_key(map, count ? &keys[count - 1] : NULL, &keys[count]) == 0)
		count++;
	for (uint32_t i = 0; i < count; i++)
		if (bpf_map_lookup_elem(map, &keys[i], &owner) == 0)
			image(user, &keys[i], owner.slot);
	free(keys);
	ygr_enforce_net_adopt(kernel, device, user);
}
