/* See random.h. */
#include "tests/lib/policy/random.h"

#include <string.h>

#include "lib/policy/operation.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const char long_name[] = "/srv/"
				"0123456789012345678901234567890123456789012345678901234567890123456789.pem";

static const char *const paths[] = {
    "/bin/sh",  "/bin/bash",  "/usr/bin/dash", "/usr/sbin/nginx", "/usr/sbin/sshd",    "/srv/a",
    "/srv/a/b", "/srv/a/b/c", "/srv/key.pem",  "/etc/shadow",     "/etc/core",         "/etc/core.1234",
    "/root",    "/x.pem",     "/srv/a/.pem",   long_name,         "/srv/a/b/c/d/e/f/g"};
static const char *const directories[] = {"/srv", "/srv/a/b", "/", "/usr/sbin", "/etc", "/nothing"};
static const char *const globs[] = {"*.pem", "core*", "core.*", "*", "s*d", "key.*em", "*a*"};
static const char *const cgroups[] = {"/", "/system.slice", "/system.slice/nginx.service",
				      "/user.slice/u/v"};
static const char *const v4[] = {"10.0.0.0/8", "10.1.0.0/16", "10.1.2.3",   "192.0.2.128/25",
				 "0.0.0.0/0",  "127.0.0.1",   "10.1.2.0/23"};
static const char *const v6[] = {"::1",  "2001:db8::/32", "2001:db8:1::/48",
				 "::/0", "fe80::/10",     "2001:db8:1::7"};

uint32_t random_below(struct random_source *random, uint32_t bound)
{
	random->state ^= random->state << 13;
	random->state ^= random->state >> 7;
	random->state ^= random->state << 17;
	return (uint32_t)((random->state >> 16) % bound);
}

static bool chance(struct random_source *random, uint32_t in)
{
	return random_below(random, in) == 0;
}

#define ANY(random, array) ((array)[random_below(random, COUNT(array))])

static void put_path(struct random_source *random, bool globbed, struct ygr_policy_text *out)
{
	uint32_t kind = random_below(random, globbed ? 4 : 3);
	if (kind == 3)
		ygr_policy_put(out, "glob \"%s\"",
			       random_below(random, 8) ? globs[random_below(random, 6)] : "*m");
	else if (kind == 2)
		ygr_policy_put(out, "under \"%s\"", ANY(random, directories));
	else
		ygr_policy_put(out, "\"%s\"", ANY(random, paths));
}

static void put_paths(struct random_source *random, const char *type, bool globbed,
		      struct ygr_policy_text *out)
{
	uint32_t count = 1 + random_below(random, 4);
	ygr_policy_put(out, "%s { ", type);
	while (count--) {
		put_path(random, globbed, out);
		ygr_policy_put(out, count ? ", " : " }");
	}
}

/* Few, so that they are compared, or many, so that they are looked up. */
static void put_numbers(struct random_source *random, uint32_t most, struct ygr_policy_text *out)
{
	uint32_t count = chance(random, 3) ? 5 + random_below(random, 30) : 1 + random_below(random, 4);
	ygr_policy_put(out, "{ ");
	while (count--) {
		uint32_t low = random_below(random, chance(random, 2) ? 40 : most);
		uint32_t high = low + random_below(random, chance(random, 3) ? most - low + 1 : 2);
		ygr_policy_put(out, "%u-%u%s", low, high > most ? most : high, count ? ", " : " }");
	}
}

static void put_addresses(struct random_source *random, struct ygr_policy_text *out)
{
	uint32_t count = 1 + random_below(random, 4);
	ygr_policy_put(out, "{ ");
	while (count--)
		ygr_policy_put(out, "%s%s", chance(random, 2) ? ANY(random, v4) : ANY(random, v6),
			       count ? ", " : " }");
}

static void put_object(struct random_source *random, const struct ygr_policy_operation *operation,
		       struct ygr_policy_text *out)
{
	static const char *const names[] = {"CAP_SYS_ADMIN", "CAP_BPF", "chown", "CAP_CHECKPOINT_RESTORE"};
	ygr_policy_put(out, "%s %s", operation->object_word, chance(random, 4) ? "not " : "");
	switch (operation->object) {
	case YGR_POLICY_OBJECT_FILE:
		put_paths(random, chance(random, 2) ? "file" : "", true, out);
		break;
	case YGR_POLICY_OBJECT_PROGRAM:
		put_paths(random, "exe", false, out);
		break;
	case YGR_POLICY_OBJECT_PEER:
		if (chance(random, 3))
			put_paths(random, "unix", false, out);
		else
			put_addresses(random, out);
		break;
	case YGR_POLICY_OBJECT_CAPABILITY:
		ygr_policy_put(out, "{ %s, %s }", ANY(random, names), ANY(random, names));
		break;
	case YGR_POLICY_OBJECT_USER:
		ygr_policy_put(out, "user ");
		put_numbers(random, 100000, out);
		break;
	case YGR_POLICY_OBJECT_NONE:
		break;
	}
}

static void put_by(struct random_source *random, struct ygr_policy_text *out)
{
	ygr_policy_put(out, "by %s", chance(random, 5) ? "not " : "");
	switch (random_below(random, 5)) {
	case 0:
		ygr_policy_put(out, "user ");
		put_numbers(random, 100000, out);
		break;
	case 1:
		ygr_policy_put(out, "group ");
		put_numbers(random, 100000, out);
		break;
	case 2:
		ygr_policy_put(out, "cgroup { \"%s\", \"%s\" }", ANY(random, cgroups), ANY(random, cgroups));
		break;
	case 3:
		ygr_policy_put(out, "descendants of ");
		put_paths(random, "exe", false, out);
		break;
	default:
		put_paths(random, "exe", false, out);
		break;
	}
}

static void put_condition(struct random_source *random, const struct ygr_policy_operation *operation,
			  struct ygr_policy_text *out)
{
	uint32_t kind = random_below(random, 8);
	if (kind < 3 && operation->object_word) {
		put_object(random, operation, out);
	} else if (kind == 3) {
		uint32_t from = random_below(random, 24), to = (from + 1 + random_below(random, 22)) % 24;
		ygr_policy_put(out, "during %02u:00-%02u:00", from, to);
	} else if (kind == 4 && operation->object == YGR_POLICY_OBJECT_PEER) {
		ygr_policy_put(out, "port %s", chance(random, 3) ? "not " : "");
		put_numbers(random, 65535, out);
	} else if (kind == 5 && operation->object == YGR_POLICY_OBJECT_PEER) {
		ygr_policy_put(out, "protocol %s", chance(random, 2) ? "tcp" : "not { udp, 40-200 }");
	} else if (kind == 4 && operation->object == YGR_POLICY_OBJECT_FILE) {
		ygr_policy_put(out, "owner %s", chance(random, 3) ? "not " : "");
		put_numbers(random, 100000, out);
	} else if (kind == 5 && operation->object == YGR_POLICY_OBJECT_FILE) {
		ygr_policy_put(out, "mode 0%o", 1 + random_below(random, 07777));
	} else if (kind == 6 && operation->number == YGR_OP_OPEN) {
		ygr_policy_put(out, "for %s", chance(random, 2) ? "read, append" : "write");
	} else {
		put_by(random, out);
	}
}

static void put_expr(struct random_source *random, const struct ygr_policy_operation *operation,
		     unsigned depth, struct ygr_policy_text *out)
{
	uint32_t kind = depth ? random_below(random, 4) : 0;
	if (kind == 0) {
		put_condition(random, operation, out);
	} else if (kind == 1) {
		ygr_policy_put(out, "not (");
		put_expr(random, operation, depth - 1, out);
		ygr_policy_put(out, ")");
	} else {
		ygr_policy_put(out, "(");
		put_expr(random, operation, depth - 1, out);
		ygr_policy_put(out, kind == 2 ? " and " : " or ");
		put_expr(random, operation, depth - 1, out);
		ygr_policy_put(out, ")");
	}
}

static void put_rule(struct random_source *random, unsigned number, struct ygr_policy_text *out)
{
	static const char *const actions[] = {"deny", "deny with EACCES", "audit", "notify", "kill"};
	static const char *const scopes[] = {"", " per process", " per user", " per exe", " per cgroup"};
	static const unsigned favourites[] = {YGR_OP_OPEN, YGR_OP_EXEC, YGR_OP_CONNECT, YGR_OP_CREATE};
	unsigned which = chance(random, 2) ? random_below(random, YGR_OPERATIONS) : ANY(random, favourites);
	const struct ygr_policy_operation *operation = ygr_policy_operation(which);

	ygr_policy_put(out, "    rule r%u: %s %s", number, ANY(random, actions), operation->name);
	if (operation->object_word && random_below(random, 4)) {
		ygr_policy_put(out, " ");
		put_object(random, operation, out);
	}
	if (chance(random, 2)) {
		ygr_policy_put(out, " ");
		put_condition(random, operation, out);
	}
	if (chance(random, 3)) {
		ygr_policy_put(out, " if ");
		put_expr(random, operation, 3, out);
	}
	if (chance(random, 3)) {
		ygr_policy_put(out, " unless ");
		put_expr(random, operation, 2, out);
	}
	if (chance(random, 6))
		ygr_policy_put(out, " over %u times within %us%s", 1 + random_below(random, 3),
			       1 + random_below(random, 60), ANY(random, scopes));
	ygr_policy_put(out, "\n");
}

void random_policy(struct random_source *random, unsigned rules, struct ygr_policy_text *out)
{
	unsigned count = 1 + random_below(random, rules);
	ygr_policy_put(out, "policy p {\n  guest {\n");
	for (unsigned i = 1; i <= count; i++)
		put_rule(random, i, out);
	ygr_policy_put(out, "  }\n}\n");
}

static uint32_t some_number(struct random_source *random, uint32_t most)
{
	return random_below(random, chance(random, 2) ? 45 : most + 1);
}

static void set_peer(struct random_source *random, struct ygr_policy_situation *situation)
{
	static const uint8_t known4[][4] = {{10, 1, 2, 3}, {10, 1, 3, 9}, {192, 0, 2, 200}, {127, 0, 0, 1}};
	static const uint8_t known6[][16] = {
	    {[15] = 1}, {0x20, 1, 0xd, 0xb8, 0, 1, [15] = 7}, {0x20, 1, 0xd, 0xb8, 0, 2}, {0xfe, 0xbf, 1}};
	situation->family = 1 + random_below(random, 3);
	if (situation->family == YGR_POLICY_IPV4)
		memcpy(situation->address, ANY(random, known4), 4);
	else if (situation->family == YGR_POLICY_IPV6)
		memcpy(situation->address, ANY(random, known6), 16);
	else
		situation->file = ANY(random, paths);
	situation->port = situation->family == YGR_POLICY_UNIX ? 0 : some_number(random, 65535);
	situation->protocol = situation->family == YGR_POLICY_UNIX ? 0 : chance(random, 2) ? 6 : 17;
}

struct ygr_policy_situation random_situation(struct random_source *random,
					     const struct ygr_policy_operation *operation)
{
	struct ygr_policy_situation situation = {
	    .operation = operation,
	    .exe = chance(random, 10) ? NULL : ANY(random, paths),
	    .cgroup = chance(random, 10) ? NULL : ANY(random, cgroups),
	    .ancestor_count = random_below(random, 3),
	    .ancestors = {ANY(random, paths), ANY(random, paths)},
	    .user = some_number(random, 100000),
	    .group = some_number(random, 100000),
	    .process = random_below(random, 3),
	    .minute = random_below(random, 1440),
	    .time_ns = random_below(random, 100) * 1000000000ull,
	    .capability = random_below(random, 41),
	    .target_user = some_number(random, 100000),
	};
	if (operation->object == YGR_POLICY_OBJECT_PEER) {
		set_peer(random, &situation);
	} else if (operation->object == YGR_POLICY_OBJECT_PROGRAM) {
		situation.file = ANY(random, paths);
	} else if (operation->object == YGR_POLICY_OBJECT_FILE && random_below(random, 20)) {
		situation.file = ANY(random, paths);
		situation.missing = chance(random, 3);
		situation.owner = some_number(random, 100000);
		situation.mode = random_below(random, 010000);
		situation.access = 1 + random_below(random, 7);
	}
	return situation;
}
