/*
 * NETLINK_ROUTE requests: only those that ask. XDP and tc programs are listed through them, so they are the
 * same matter as walking objects by their ids.
 */
#include <errno.h>
#include <linux/rtnetlink.h>
#include <string.h>

#include "lib/wire/grant-lists.h"

/* Of a request's flags: what is wanted of the answer. */
#define FLAGS (NLM_F_REQUEST | NLM_F_ACK | NLM_F_ECHO | NLM_F_DUMP | NLM_F_DUMP_FILTERED | NLM_F_ATOMIC)

int ygr_grant_check_route(const struct ygr_grant *grant, const char *who, const void *request, size_t length,
			  struct ygr_error *error)
{
	struct nlmsghdr head;

	if (length < sizeof(head))
		return ygr_error_set(error, EINVAL, "a netlink request of %zu bytes", length);
	memcpy(&head, request, sizeof(head));
	if (head.nlmsg_len != length || head.nlmsg_flags & ~FLAGS)
		return ygr_error_set(error, EINVAL, "a netlink request that is not one message that asks");
	switch (head.nlmsg_type) {
	case RTM_GETLINK:
	case RTM_GETADDR:
	case RTM_GETQDISC:
	case RTM_GETTCLASS:
	case RTM_GETTFILTER:
	case RTM_GETCHAIN:
		break;
	default:
		return ygr_grant_deny(grant, who, error, "netlink request %u", head.nlmsg_type);
	}
	return grant->ids ? 0
			  : ygr_grant_deny(grant, who, error, "netlink request %u (ids)", head.nlmsg_type);
}
