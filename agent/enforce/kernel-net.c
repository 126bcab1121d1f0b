/*
 * Networks: the two programs on both sides of a device, by a clsact qdisc and filters with a number of our own, and
 * the entries that they look up. A filter that is replaced is never absent.
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <dirent.h>
#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/enforce/kernel-room.h"
#include "lib/base/cleanup.h"
#include "net.skel.h"

#define PRIORITY 1
#define HANDLE   0x7967

struct bucket_value { /* as in net.bpf.c */
	uint32_t lock, reserved;
	uint64_t rate, tokens, filled;
};

static void detach(uint32_t ifindex)
{
	for (int side = 0; side < 2; side++) {
		LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = (int)ifindex,
			    .attach_point = side ? BPF_TC_EGRESS : BPF_TC_INGRESS);
		LIBBPF_OPTS(bpf_tc_opts, options, .handle = HANDLE, .priority = PRIORITY);
		(void)bpf_tc_detach(&hook, &options);
	}
}

static int attach(const struct net *net, uint32_t ifindex)
{
	LIBBPF_OPTS(bpf_tc_hook, both, .ifindex = (int)ifindex,
		    .attach_point = BPF_TC_INGRESS | BPF_TC_EGRESS);
	int r = bpf_tc_hook_create(&both);

	if (r < 0 && r != -EEXIST)
		return r;
	for (int side = 0; side < 2; side++) {
		LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = (int)ifindex,
			    .attach_point = side ? BPF_TC_EGRESS : BPF_TC_INGRESS);
		LIBBPF_OPTS(bpf_tc_opts, options, .handle = HANDLE, .priority = PRIORITY,
			    .flags = BPF_TC_F_REPLACE,
			    .prog_fd = bpf_program__fd(side ? net->progs.guest_in : net->progs.guest_out));
		r = bpf_tc_attach(&hook, &options);
		if (r < 0)
			return r;
	}
	return 0;
}

static struct ygr_enforce_address address_key(uint32_t ifindex, unsigned direction,
					      const struct ygr_enforce_entry *entry)
{
	struct ygr_enforce_address key = {.prefix = YGR_ENFORCE_ADDRESS_HEAD + entry->bits,
					  .device = ifindex,
					  .direction = (uint8_t)direction,
					  .family = entry->family};

	memcpy(key.address, entry->key, sizeof(key.address));
	return key;
}

static struct ygr_enforce_port port_key(uint32_t ifindex, unsigned direction,
					const struct ygr_enforce_entry *entry)
{
	return (struct ygr_enforce_port){.prefix = YGR_ENFORCE_PORT_HEAD + entry->bits,
					 .device = ifindex,
					 .direction = (uint8_t)direction,
					 .port = {entry->key[0], entry->key[1]}};
}

static int put(const struct net *net, uint32_t ifindex, const struct ygr_enforce_guard *guard)
{
	int addresses = bpf_map__fd(net->maps.addresses), ports = bpf_map__fd(net->maps.ports);

	for (unsigned direction = 0; direction < 2; direction++) {
		const struct ygr_enforce_entries *a = &guard->addresses[direction],
						 *p = &guard->ports[direction];
		for (size_t i = 0; i < a->count; i++) {
			struct ygr_enforce_address key = address_key(ifindex, direction, &a->items[i]);
			if (bpf_map_update_elem(addresses, &key, &a->items[i].blocks, BPF_ANY) < 0)
				return -errno;
		}
		for (size_t i = 0; i < p->count; i++) {
			struct ygr_enforce_port key = port_key(ifindex, direction, &p->items[i]);
			if (bpf_map_update_elem(ports, &key, &p->items[i].blocks, BPF_ANY) < 0)
				return -errno;
		}
	}
	return bpf_map_update_elem(bpf_map__fd(net->maps.devices), &ifindex, &guard->device, BPF_ANY) < 0
		   ? -errno
		   : 0;
}

static bool wanted_address(const struct ygr_enforce_guard *guard, const struct ygr_enforce_address *key)
{
	return guard && ygr_enforce_entries_have(&guard->addresses[key->direction & 1], key->family,
						 key->prefix - YGR_ENFORCE_ADDRESS_HEAD, key->address);
}

static bool wanted_port(const struct ygr_enforce_guard *guard, const struct ygr_enforce_port *key)
{
	const uint8_t bytes[16] = {key->port[0], key->port[1]};

	return guard && ygr_enforce_entries_have(&guard->ports[key->direction & 1], 0,
						 key->prefix - YGR_ENFORCE_PORT_HEAD, bytes);
}

/*
 * Deletes entries of IFINDEX that GUARD (NULL: none) does not have. Keys are gathered before any is deleted, as a
 * walk does not survive the deletion of where it stands.
 */
static void drop(int map, bool is_port, uint32_t ifindex, const struct ygr_enforce_guard *guard)
{
	union {
		struct ygr_enforce_address address;
		struct ygr_enforce_port port;
	} key, next, *gone = NULL;
	size_t count = 0;
	bool first = true;

	while (bpf_map_get_next_key(map, first ? NULL : &key, &next) == 0) {
		first = false;
		key = next;
		if ((is_port ? key.port.device : key.address.device) != ifindex ||
		    (is_port ? wanted_port(guard, &key.port) : wanted_address(guard, &key.address)))
			continue;
		if (!(count & (count - 1)) && count + 1 >= count) {
			void *grown = reallocarray(gone, count ? count * 2 : 1, sizeof(*gone));
			if (!grown)
				break;
			gone = grown;
		}
		gone[count++] = key;
	}
	for (size_t i = 0; i < count; i++)
		(void)bpf_map_delete_elem(map, &gone[i]);
	free(gone);
}

static void drop_entries(const struct net *net, uint32_t ifindex, const struct ygr_enforce_guard *guard)
{
	drop(bpf_map__fd(net->maps.addresses), false, ifindex, guard);
	drop(bpf_map__fd(net->maps.ports), true, ifindex, guard);
}

int ygr_enforce_kernel_guard(struct ygr_enforce_kernel *kernel, uint32_t ifindex,
			     const struct ygr_enforce_guard *guard, struct ygr_error *error)
{
	char name[IF_NAMESIZE] = "?";

	if (kernel->no_nets[0])
		return ygr_error_set(error, EOPNOTSUPP, "%s", kernel->no_nets);
	int r = put(kernel->net, ifindex, guard);
	if (r == 0)
		drop_entries(kernel->net, ifindex, guard);
	if (r == 0)
		r = attach(kernel->net, ifindex);
	(void)if_indextoname(ifindex, name);
	return r < 0 ? ygr_error_set(error, -r, "interface %s cannot be guarded: %s", name, strerror(-r))
		     : 0;
}

void ygr_enforce_kernel_unguard(struct ygr_enforce_kernel *kernel, uint32_t ifindex)
{
	if (kernel->no_nets[0])
		return;
	detach(ifindex);
	(void)bpf_map_delete_elem(bpf_map__fd(kernel->net->maps.devices), &ifindex);
	drop_entries(kernel->net, ifindex, NULL);
	for (unsigned direction = 0; direction < 2; direction++)
		(void)ygr_enforce_kernel_limit(kernel, ifindex, direction, 0);
}

int ygr_enforce_kernel_limit(struct ygr_enforce_kernel *kernel, uint32_t ifindex, unsigned direction,
			     uint64_t rate)
{
	const struct ygr_enforce_bucket_key key = {ifindex, direction};
	struct bucket_value value = {0};

	if (kernel->no_nets[0])
		return -EOPNOTSUPP;
	int map = bpf_map__fd(kernel->net->maps.limits);
	if (!rate)
		return bpf_map_delete_elem(map, &key) < 0 && errno != ENOENT ? -errno : 0;
	if (bpf_map_lookup_elem(map, &key, &value) == 0 && value.rate == rate)
		return 0; /* the bucket is not filled again */
	value = (struct bucket_value){.rate = rate};
	return bpf_map_update_elem(map, &key, &value, BPF_ANY) < 0 ? -errno : 0;
}

int ygr_enforce_net_load(struct ygr_enforce_kernel *kernel)
{
	LIBBPF_OPTS(bpf_object_open_opts, options, .pin_root_path = kernel->directory);

	kernel->net = net__open_opts(&options);
	if (!kernel->net)
		return -errno;
	int r = net__load(kernel->net);
	if (r < 0)
		return r;
	kernel->vms = bpf_map__fd(kernel->net->maps.vms);
	kernel->counts = bpf_map__fd(kernel->net->maps.counts);
	return 0;
}

void ygr_enforce_net_unload(struct ygr_enforce_kernel *kernel)
{
	net__destroy(kernel->net);
}

void ygr_enforce_net_adopt(struct ygr_enforce_kernel *kernel,
			   void (*device)(void *user, uint32_t ifindex, uint32_t slot), void *user)
{
	int map = kernel->no_nets[0] ? -1 : bpf_map__fd(kernel->net->maps.devices);
	uint32_t *keys = map < 0 ? NULL : calloc(YGR_ENFORCE_DEVICES, sizeof(*keys));
	uint32_t count = 0;

	while (keys && count < YGR_ENFORCE_DEVICES &&
	       bpf_map_get_next_key(map, count ? &keys[count - 1] : NULL, &keys[count]) == 0)
		count++;
	for (uint32_t i = 0; i < count; i++) {
		struct ygr_enforce_device value;
		char name[IF_NAMESIZE];
		if (!if_indextoname(keys[i], name)) /* it went away while nobody looked */
			ygr_enforce_kernel_unguard(kernel, keys[i]);
		else if (bpf_map_lookup_elem(map, &keys[i], &value) == 0)
			device(user, keys[i], value.slot);
	}
	free(keys);
}

void ygr_enforce_guard_deinit(struct ygr_enforce_guard *guard)
{
	for (unsigned direction = 0; direction < 2; direction++) {
		ygr_enforce_entries_deinit(&guard->addresses[direction]);
		ygr_enforce_entries_deinit(&guard->ports[direction]);
	}
	*guard = (struct ygr_enforce_guard){0};
}

/* The programs on interfaces are found by the pinned map of devices. */
static void detach_all(const char *directory)
{
	_cleanup_free_ char *path = NULL;
	uint32_t key;

	if (asprintf(&path, "%s/devices", directory) < 0)
		return;
	_cleanup_close_ int map = bpf_obj_get(path);
	while (map >= 0 && bpf_map_get_next_key(map, NULL, &key) == 0) {
		detach(key);
		if (bpf_map_delete_elem(map, &key) < 0)
			break;
	}
}

int ygr_enforce_kernel_cleanup(const char *pin_directory, struct ygr_error *error)
{
	DIR *directory = opendir(pin_directory);
	int r = 0;

	if (!directory)
		return errno == ENOENT
			   ? 0
			   : ygr_error_set(error, errno, "%s: %s", pin_directory, strerror(errno));
	detach_all(pin_directory);
	for (struct dirent *entry; (entry = readdir(directory));)
		if (entry->d_name[0] != '.' && unlinkat(dirfd(directory), entry->d_name, 0) < 0)
			r = ygr_error_set(error, errno, "%s/%s: %s", pin_directory, entry->d_name,
					  strerror(errno));
	closedir(directory);
	if (r == 0 && rmdir(pin_directory) < 0)
		r = ygr_error_set(error, errno, "%s: %s", pin_directory, strerror(errno));
	return r;
}
