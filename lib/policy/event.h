/*
 * What a decision program is asked about: one operation of one task, with names already turned into kernel
 * identities. A frame at a hook fills it in; `yagura policy test` fills it in from a fixture. The layout is
 * also the key of the maps that the decision looks things up in, so that nothing is copied: a field that says
 * "key of M" is passed to M where it lies. Plain C, so that eBPF code can include it too.
 *
 * A name is matched as a string only where there is no identity yet (the directory's identity plus the last
 * component); everything else is (device, inode, generation), which a link, a bind mount or a chroot does not
 * change.
 */
#pragma once

#include <linux/types.h>

#define YGR_POLICY_NAME_MAX     64 /* bytes of a last component, with the NUL: longer ones are INCOMPLETE */
#define YGR_POLICY_SETS_MAX     1024 /* different sets of objects in one policy, and as many of programs */
#define YGR_POLICY_LINEAGES_MAX 64   /* different sets after `descendants of` */
#define YGR_POLICY_SMALL_SETS   64   /* different sets of users, groups, owners, ports and cgroups, each */
#define YGR_POLICY_ERRNO_MAX    4095

/* Access of an open. */
enum {
	YGR_POLICY_READ = 1,
	YGR_POLICY_WRITE = 2,
	YGR_POLICY_APPEND = 4,
};

/* Families of a peer; the numbers are ours, not AF_*. */
enum {
	YGR_POLICY_NO_FAMILY = 0,
	YGR_POLICY_IPV4 = 1,
	YGR_POLICY_IPV6 = 2,
	YGR_POLICY_UNIX = 3,
};

/* The frame could not find out all that it was asked for (path too deep, name too long): see linearize.c. */
#define YGR_POLICY_INCOMPLETE 1u

/* Values of ygr_policy_event.rule that are no rule's number. */
#define YGR_POLICY_RULE_DEFAULT    0u
#define YGR_POLICY_RULE_INCOMPLETE 0xffffffffu

/* Key of `files` and `exes`; all zero where there is none. */
struct ygr_policy_identity {
	__u32 device;
	__u32 generation;
	__u64 inode;
};

/* Key of `names`: an entry of a directory, whether it exists or not. */
struct ygr_policy_entry_name {
	struct ygr_policy_identity directory;
	char name[YGR_POLICY_NAME_MAX]; /* padded with zeros */
};

/* Key of `ranges`, an LPM trie: KIND and the first bits of DATA, in network order. */
struct ygr_policy_range {
	__u32 prefix; /* bits, with the 32 of KIND */
	__u32 kind;   /* enum ygr_policy_range_kind */
	__u8 data[16];
};

enum ygr_policy_range_kind {
	YGR_POLICY_RANGE_IPV4 = 1,
	YGR_POLICY_RANGE_IPV6,
	YGR_POLICY_RANGE_PORT, /* 4 bytes, as the next ones */
	YGR_POLICY_RANGE_USER,
	YGR_POLICY_RANGE_GROUP,
	YGR_POLICY_RANGE_OWNER,
};

/* Key of `counts`: what a rule has counted for one scope in one stretch of time. */
struct ygr_policy_count {
	__u32 rule;
	__u32 padding;
	__u64 scope[2];
	__u64 window; /* monotonic time divided by the rule's stretch */
};

struct ygr_policy_event {
	/* The verdict, written by the decision. */
	__u32 rule;   /* its number from 1, or one of YGR_POLICY_RULE_* */
	__u32 action; /* enum ygr_policy_action; 0 when nothing matched */

	__u32 flags;  /* YGR_POLICY_INCOMPLETE */
	__u32 access; /* YGR_POLICY_READ | ... */

	/* Who: the task. */
	struct ygr_policy_identity exe;
	struct ygr_policy_identity
	    exe_directory; /* the nearest marked one above exe; key of `exe_directories` */
	__u32 lineage[YGR_POLICY_LINEAGES_MAX / 32]; /* marks inherited at fork, added to at exec */
	__u64 cgroup; /* the nearest marked one, at or above; key of `cgroups` */
	__u64 own_cgroup;
	__u32 user;
	__u32 group;
	__u32 process; /* thread group */
	__u32 minute;  /* of the day, UTC: 0..1439 */
	__u64 time_ns; /* monotonic */

	/* What: the file, the UNIX socket, or the program of the task that is signalled or traced. */
	struct ygr_policy_identity file;           /* zero while it does not exist */
	struct ygr_policy_entry_name entry;        /* key of `names` */
	struct ygr_policy_identity file_directory; /* the nearest marked one above; key of `directories` */
	__u32 name_length;                         /* of entry.name, below YGR_POLICY_NAME_MAX */
	__u32 owner;
	__u32 mode; /* permission bits with setuid, setgid, sticky */

	__u32 family;
	__u8 address[16]; /* network order; IPv4 in the first four bytes */
	__u32 port;       /* host order */
	__u32 protocol;   /* IPPROTO_*, 0 for UNIX */
	__u32 capability;
	__u32 target_user; /* of setuid */
};
