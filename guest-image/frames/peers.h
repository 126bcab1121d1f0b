/* Frames for operations on sockets: connect, bind, listen, sendmsg. */
#pragma once

#include "guest-image/frames/work.h"

#include <bpf/bpf_endian.h>

struct address {
	__u16 family;
	__be16 port;
	union {
		__u8 v4[4];
		struct {
			__be32 flow;
			__u8 bytes[16];
		} v6;
		__u8 most[28]; /* with room for any length below 32 */
	};
};

inline_always void set_v4(struct ygr_policy_event *event, const __u8 *bytes)
{
	event->family = YGR_POLICY_IPV4;
	__builtin_memcpy(event->address, bytes, 4);
}

/* IPv4 in the clothes of IPv6 is IPv4. */
inline_always void set_v6(struct ygr_policy_event *event, const __u8 *bytes)
{
	const __u32 *words = (const __u32 *)bytes;
	if (words[0] == 0 && words[1] == 0 && words[2] == bpf_htonl(0xffff)) {
		set_v4(event, bytes + 12);
		return;
	}
	event->family = YGR_POLICY_IPV6;
	__builtin_memcpy(event->address, bytes, 16);
}

/* To nowhere in particular means to oneself. */
inline_always void set_loopback(struct ygr_policy_event *event)
{
	const __u32 *words = (const __u32 *)event->address;
	if (event->family == YGR_POLICY_IPV4 && words[0] == 0) {
		event->address[0] = 127;
		event->address[3] = 1;
	} else if (event->family == YGR_POLICY_IPV6 && !words[0] && !words[1] && !words[2] && !words[3]) {
		event->address[15] = 1;
	}
}

inline_always bool set_address(struct ygr_policy_event *event, const void *from, int length,
			       bool unspec_is_v4)
{
	struct address address = {};
	if (!from || length < 2 || bpf_probe_read_kernel(&address, length < 28 ? length & 31 : 28, from) < 0)
		return false;
	event->port = bpf_ntohs(address.port);
	if (address.family == AF_INET || (unspec_is_v4 && address.family == AF_UNSPEC))
		set_v4(event, address.v4);
	else if (address.family == AF_INET6)
		set_v6(event, address.v6.bytes);
	else
		return false;
	return true;
}

inline_always void set_local(struct ygr_policy_event *event, struct sock *sk)
{
	event->port = sk->__sk_common.skc_num;
	if (sk->__sk_common.skc_family == AF_INET) {
		__be32 v4 = sk->__sk_common.skc_rcv_saddr;
		set_v4(event, (__u8 *)&v4);
	} else if (sk->__sk_common.skc_family == AF_INET6) {
		struct in6_addr v6;
		bpf_probe_read_kernel(&v6, sizeof(v6), &sk->__sk_common.skc_v6_rcv_saddr);
		set_v6(event, v6.in6_u.u6_addr8);
	}
}

inline_always void set_connected(struct ygr_policy_event *event, struct sock *sk)
{
	event->port = bpf_ntohs(sk->__sk_common.skc_dport);
	if (sk->__sk_common.skc_family == AF_INET) {
		__be32 v4 = sk->__sk_common.skc_daddr;
		set_v4(event, (__u8 *)&v4);
	} else if (sk->__sk_common.skc_family == AF_INET6) {
		struct in6_addr v6;
		bpf_probe_read_kernel(&v6, sizeof(v6), &sk->__sk_common.skc_v6_daddr);
		set_v6(event, v6.in6_u.u6_addr8);
	}
}

/* A UNIX socket that has a name in the file system. */
inline_always void set_unix(struct work *work, struct sock *sk)
{
	struct unix_sock *peer = (struct unix_sock *)sk;
	struct dentry *dentry = BPF_CORE_READ(peer, path.dentry);
	struct inode *inode = BPF_CORE_READ(dentry, d_inode);
	work->event->family = YGR_POLICY_UNIX;
	if (!dentry || !inode)
		return;
	work->event->file.device = BPF_CORE_READ(inode, i_sb, s_dev);
	work->event->file.generation = BPF_CORE_READ(inode, i_generation);
	work->event->file.inode = BPF_CORE_READ(inode, i_ino);
	translate(work->slot, &work->event->file);
	struct inode *directory = BPF_CORE_READ(dentry, d_parent, d_inode);
	work->event->entry.directory.device = BPF_CORE_READ(directory, i_sb, s_dev);
	work->event->entry.directory.generation = BPF_CORE_READ(directory, i_generation);
	work->event->entry.directory.inode = BPF_CORE_READ(directory, i_ino);
	bpf_probe_read_kernel_str(work->event->entry.name, sizeof(work->event->entry.name),
				  BPF_CORE_READ(dentry, d_name.name));
	__u32 length = BPF_CORE_READ(dentry, d_name.len);
	work->event->name_length = length & (YGR_POLICY_NAME_MAX - 1);
	if (length >= YGR_POLICY_NAME_MAX || (work->needs & YGR_NEED_DIRECTORIES))
		work->event->flags |= YGR_POLICY_INCOMPLETE;
}

DECISIONS(connect);
SEC("lsm/socket_connect")
int BPF_PROG(f_connect, struct socket *sock, void *address, int length, int ret)
{
	BEGIN(OP_CONNECT);
	struct sock *sk = sock->sk;
	if (!sk || !set_address(work.event, address, length, false))
		return 0; /* to disconnect; UNIX sockets have a frame of their own */
	set_loopback(work.event);
	work.event->protocol = sk->sk_protocol;
	DECIDE(connect);
}

DECISIONS(connect_unix);
SEC("lsm/unix_stream_connect")
int BPF_PROG(f_connect_unix, struct sock *sock, struct sock *other, struct sock *made, int ret)
{
	BEGIN(OP_CONNECT);
	set_unix(&work, other);
	DECIDE(connect_unix);
}

/* TCP can connect by sending. */
DECISIONS(connect_fast);
SEC("lsm/socket_sendmsg")
int BPF_PROG(f_connect_fast, struct socket *sock, struct msghdr *message, int size, int ret)
{
	struct sock *sk = sock->sk;
	if (!sk || sk->sk_type != 1 || !message->msg_name)
		return ret;
	BEGIN(OP_CONNECT);
	if (!set_address(work.event, message->msg_name, message->msg_namelen, true))
		return 0;
	set_loopback(work.event);
	work.event->protocol = sk->sk_protocol;
	DECIDE(connect_fast);
}

DECISIONS(bind);
SEC("lsm/socket_bind")
int BPF_PROG(f_bind, struct socket *sock, void *address, int length, int ret)
{
	BEGIN(OP_BIND);
	struct sock *sk = sock->sk;
	if (!sk || sk->__sk_common.skc_family == AF_UNIX || !set_address(work.event, address, length, true))
		return 0;
	work.event->protocol = sk->sk_protocol;
	DECIDE(bind);
}

/* Binding a UNIX socket makes its file. */
DECISIONS(bind_unix);
SEC("lsm/path_mknod")
int BPF_PROG(f_bind_unix, const struct path *directory, struct dentry *entry, unsigned int mode,
	     unsigned int device, int ret)
{
	if ((mode & S_IFMT) != S_IFSOCK)
		return ret;
	BEGIN(OP_BIND);
	work.event->family = YGR_POLICY_UNIX;
	gather_file(work.context, entry->d_inode, entry, directory, work.slot, work.needs);
	DECIDE(bind_unix);
}

DECISIONS(listen);
SEC("lsm/socket_listen")
int BPF_PROG(f_listen, struct socket *sock, int backlog, int ret)
{
	BEGIN(OP_LISTEN);
	struct sock *sk = sock->sk;
	if (!sk)
		return 0;
	if (sk->__sk_common.skc_family == AF_UNIX)
		set_unix(&work, sk);
	else
		set_local(work.event, sk);
	work.event->protocol = sk->__sk_common.skc_family == AF_UNIX ? 0 : sk->sk_protocol;
	DECIDE(listen);
}

DECISIONS(send);
SEC("lsm/socket_sendmsg")
int BPF_PROG(f_send, struct socket *sock, struct msghdr *message, int size, int ret)
{
	BEGIN(OP_SENDMSG);
	struct sock *sk = sock->sk;
	if (!sk || sk->__sk_common.skc_family == AF_UNIX)
		return 0;
	if (!set_address(work.event, message->msg_name, message->msg_namelen,
			 sk->__sk_common.skc_family == AF_INET))
		set_connected(work.event, sk);
	set_loopback(work.event);
	work.event->protocol = sk->sk_protocol;
	DECIDE(send);
}

DECISIONS(send_unix);
SEC("lsm/unix_may_send")
int BPF_PROG(f_send_unix, struct socket *sock, struct socket *other, int ret)
{
	BEGIN(OP_SENDMSG);
	struct sock *sk = other->sk;
	if (!sk)
		return 0;
	set_unix(&work, sk);
	DECIDE(send_unix);
}
