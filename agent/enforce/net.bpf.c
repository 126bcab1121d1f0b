/*
 * On both sides of a VM's tap: what comes in on the device is what the guest sends (OUT), what goes out on it is
 * what the guest gets (IN). A packet is looked up by address and by port; each lookup gives the blocks that it
 * falls under, and what is in force for the VM says which of those count. Where the port cannot be seen (a later
 * fragment, headers too deep), blocks by port count as met: a guest cannot hide behind them.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include <stdbool.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "agent/enforce/maps.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, YGR_ENFORCE_VMS);
	__type(key, __u32);
	__type(value, struct ygr_enforce_vm);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} vms SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, YGR_ENFORCE_VMS);
	__type(key, __u32);
	__type(value, struct ygr_enforce_count);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} counts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, YGR_ENFORCE_DEVICES);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, struct ygr_enforce_device);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} devices SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, YGR_ENFORCE_RANGES);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct ygr_enforce_address);
	__type(value, __u64);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} addresses SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, YGR_ENFORCE_RANGES);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct ygr_enforce_port);
	__type(value, __u64);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} ports SEC(".maps");

/* A token bucket. */
struct bucket {
	struct bpf_spin_lock lock;
	__u32 reserved;
	__u64 rate;   /* bytes a second */
	__u64 tokens; /* bytes */
	__u64 filled; /* ns */
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, YGR_ENFORCE_DEVICES * 2);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct ygr_enforce_bucket_key);
	__type(value, struct bucket);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} limits SEC(".maps");

#define NO_PORT    0x10000u
#define SECOND     1000000000ull
#define EXTENSIONS 6
#define FRAGMENT   0x1fff /* offset, in the last 13 bits */
#define PROTOCOLS_WITH_PORTS(p)                                                                             \
	((p) == IPPROTO_TCP || (p) == IPPROTO_UDP || (p) == IPPROTO_SCTP || (p) == IPPROTO_UDPLITE)

struct packet {
	__u8 family; /* 4, 6, 0: not IP */
	bool hidden; /* the port is there and cannot be seen */
	__u32 port;  /* NO_PORT: this protocol has none */
	__u8 address[16];
};

static __always_inline void read_port(struct __sk_buff *skb, __u32 at, __u8 protocol, struct packet *packet)
{
	__be16 port;

	if (!PROTOCOLS_WITH_PORTS(protocol))
		return;
	if (bpf_skb_load_bytes(skb, at + 2, &port, sizeof(port)) < 0)
		packet->hidden = true;
	else
		packet->port = bpf_ntohs(port);
}

static __always_inline void read_ipv4(struct __sk_buff *skb, __u32 at, __u32 direction,
				      struct packet *packet)
{
	struct iphdr ip;

	if (bpf_skb_load_bytes(skb, at, &ip, sizeof(ip)) < 0)
		return;
	packet->family = 4;
	__builtin_memcpy(packet->address, direction == YGR_ENFORCE_OUT ? &ip.daddr : &ip.saddr, 4);
	if (ip.frag_off & bpf_htons(FRAGMENT))
		packet->hidden = true;
	else
		read_port(skb, at + ip.ihl * 4, ip.protocol, packet);
}

static __always_inline void read_ipv6(struct __sk_buff *skb, __u32 at, __u32 direction,
				      struct packet *packet)
{
	struct ipv6hdr ip;
	__u8 next, head[4];

	if (bpf_skb_load_bytes(skb, at, &ip, sizeof(ip)) < 0)
		return;
	packet->family = 6;
	__builtin_memcpy(packet->address, direction == YGR_ENFORCE_OUT ? &ip.daddr : &ip.saddr, 16);
	next = ip.nexthdr;
	at += sizeof(ip);
#pragma unroll
	for (int i = 0; i < EXTENSIONS; i++) {
		if (next != IPPROTO_HOPOPTS && next != IPPROTO_ROUTING && next != IPPROTO_DSTOPTS &&
		    next != IPPROTO_FRAGMENT && next != IPPROTO_AH) {
			read_port(skb, at, next, packet);
			return;
		}
		if (bpf_skb_load_bytes(skb, at, head, sizeof(head)) < 0)
			break;
		if (next == IPPROTO_FRAGMENT && (head[2] || head[3] & 0xf8))
			break;
		at += next == IPPROTO_FRAGMENT ? 8
		      : next == IPPROTO_AH     ? (head[1] + 2) * 4
					       : (head[1] + 1) * 8;
		next = head[0];
	}
	packet->hidden = true;
}

static __always_inline void read_packet(struct __sk_buff *skb, __u32 direction, struct packet *packet)
{
	__u32 at = ETH_HLEN;
	__be16 type;

	packet->port = NO_PORT;
	if (bpf_skb_load_bytes(skb, ETH_HLEN - 2, &type, sizeof(type)) < 0)
		return;
#pragma unroll
	for (int i = 0; i < 2; i++) /* tags that are not taken off */
		if (type == bpf_htons(ETH_P_8021Q) || type == bpf_htons(ETH_P_8021AD)) {
			if (bpf_skb_load_bytes(skb, at + 2, &type, sizeof(type)) < 0)
				return;
			at += 4;
		}
	if (type == bpf_htons(ETH_P_IP))
		read_ipv4(skb, at, direction, packet);
	else if (type == bpf_htons(ETH_P_IPV6))
		read_ipv6(skb, at, direction, packet);
}

/* The blocks that PACKET falls under, in force or not. */
static __always_inline __u64 blocks_of(const struct packet *packet, __u32 ifindex, __u32 direction,
				       const struct ygr_enforce_device *device)
{
	struct ygr_enforce_address address = {.device = ifindex, .direction = (__u8)direction};
	__u64 *by_address, *by_port = 0, port_blocks = device->any_port[direction & 1];

	if (!packet->family)
		return device->all[direction & 1];
	address.prefix = YGR_ENFORCE_ADDRESS_HEAD + (packet->family == 4 ? 32 : 128);
	address.family = packet->family;
	__builtin_memcpy(address.address, packet->address, sizeof(address.address));
	by_address = bpf_map_lookup_elem(&addresses, &address);
	if (!by_address)
		return 0;
	if (packet->hidden)
		return *by_address;
	if (packet->port != NO_PORT) {
		struct ygr_enforce_port port = {.prefix = YGR_ENFORCE_PORT_HEAD + 16,
						.device = ifindex,
						.direction = (__u8)direction,
						.port = {packet->port >> 8, packet->port & 255}};
		by_port = bpf_map_lookup_elem(&ports, &port);
	}
	if (by_port)
		port_blocks |= *by_port;
	return *by_address & port_blocks;
}

/* Does the bucket let LENGTH bytes pass? It holds what is allowed in an eighth of a second, 4 KiB at the least. */
static __always_inline bool pass(struct bucket *bucket, __u64 length)
{
	__u64 now = bpf_ktime_get_ns(), room, since, more;
	bool good = true;

	bpf_spin_lock(&bucket->lock);
	if (bucket->rate) {
		room = bucket->rate / 8;
		if (room < 4096)
			room = 4096;
		since = now - bucket->filled;
		if (since > SECOND)
			since = SECOND;
		more = since * bucket->rate / SECOND;
		if (more) {
			bucket->tokens += more;
			bucket->filled = now;
		}
		if (bucket->tokens > room)
			bucket->tokens = room;
		good = bucket->tokens >= length;
		if (good)
			bucket->tokens -= length;
	}
	bpf_spin_unlock(&bucket->lock);
	return good;
}

static __always_inline int judge(struct __sk_buff *skb, __u32 direction)
{
	struct ygr_enforce_bucket_key key = {.device = skb->ifindex, .direction = direction};
	struct ygr_enforce_device *device = bpf_map_lookup_elem(&devices, &key.device);
	struct packet packet = {0};
	struct ygr_enforce_count *count;
	struct ygr_enforce_vm *vm;
	struct bucket *bucket;
	bool drop = false;

	if (!device)
		return TC_ACT_UNSPEC;
	vm = bpf_map_lookup_elem(&vms, &device->slot);
	if (vm && vm->blocks) {
		read_packet(skb, direction, &packet);
		drop = vm->blocks & blocks_of(&packet, key.device, direction, device);
	}
	if (!drop) {
		bucket = bpf_map_lookup_elem(&limits, &key);
		if (!bucket || pass(bucket, skb->len))
			return TC_ACT_UNSPEC;
	}
	count = bpf_map_lookup_elem(&counts, &device->slot);
	if (count) {
		if (drop && !count->first_ns)
			count->first_ns = bpf_ktime_get_ns();
		__sync_fetch_and_add(&count->packets, 1);
	}
	return TC_ACT_SHOT;
}

SEC("tc")
int guest_out(struct __sk_buff *skb)
{
	return judge(skb, YGR_ENFORCE_OUT);
}

SEC("tc")
int guest_in(struct __sk_buff *skb)
{
	return judge(skb, YGR_ENFORCE_IN);
}

char license_of_programs[] SEC("license") = "GPL";
