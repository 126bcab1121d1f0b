/* Programs of several kinds, for listings to find: each does nothing. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

char LICENSE[] SEC("license") = "GPL";

struct sock;

/* As much of the kernel's as is filled in below; libbpf finds members by name. */
struct tcp_congestion_ops {
	__u32 (*ssthresh)(struct sock *sk);
	void (*cong_avoid)(struct sock *sk, __u32 ack, __u32 acked);
	__u32 (*undo_cwnd)(struct sock *sk);
	char name[16];
};

SEC("xdp")
int there_xdp(struct xdp_md *context)
{
	(void)context;
	return XDP_PASS;
}

SEC("classifier")
int there_tc(struct __sk_buff *skb)
{
	(void)skb;
	return 0;
}

SEC("cgroup_skb/egress")
int there_egress(struct __sk_buff *skb)
{
	(void)skb;
	return 1;
}

SEC("cgroup/connect4")
int there_connect(struct bpf_sock_addr *address)
{
	(void)address;
	return 1;
}

SEC("flow_dissector")
int there_dissector(struct __sk_buff *skb)
{
	(void)skb;
	return 0;
}

SEC("struct_ops/there_ssthresh")
__u32 BPF_PROG(there_ssthresh, struct sock *sk)
{
	(void)sk;
	return 2;
}

SEC("struct_ops/there_cong_avoid")
void BPF_PROG(there_cong_avoid, struct sock *sk, __u32 ack, __u32 acked)
{
	(void)sk;
	(void)ack;
	(void)acked;
}

SEC("struct_ops/there_undo_cwnd")
__u32 BPF_PROG(there_undo_cwnd, struct sock *sk)
{
	(void)sk;
	return 2;
}

SEC(".struct_ops")
struct tcp_congestion_ops there_congestion = {
    .ssthresh = (void *)there_ssthresh,
    .cong_avoid = (void *)there_cong_avoid,
    .undo_cwnd = (void *)there_undo_cwnd,
    .name = "bpf_there",
};
