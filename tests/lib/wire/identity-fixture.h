/* Keys in a temporary directory, for tests of what needs an identity: a root, a node and its certificates.
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/wire/keys.h"

struct fixture {
	char dir[64];
	uint8_t root[32];
};

/* DIR/NAME in a buffer that lives until the fourth call after this one. */
static inline const char *fixture_path(const struct fixture *f, const char *name)
{
	static char paths[4][128];
	static unsigned next;
	char *path = paths[next++ % 4];
	snprintf(path, sizeof(paths[0]), "%s/%s", f->dir, name);
	return path;
}

static inline void fixture_key(const struct fixture *f, const char *name)
{
	struct ygr_error error = YGR_ERROR_INIT;
	if (ygr_keys_generate(fixture_path(f, name), &error) < 0)
		fail_msg("%s", error.message);
}

static inline void fixture_certify(const struct fixture *f, const char *root, const char *public,
				   uint32_t usages, const char *cert)
{
	struct ygr_error error = YGR_ERROR_INIT;
	if (ygr_keys_certify(fixture_path(f, root), fixture_path(f, public), "node-1", usages, 1,
			     fixture_path(f, cert), &error) < 0)
		fail_msg("%s", error.message);
}

static inline struct ygr_identity *fixture_identity(const struct fixture *f, const char *key,
						    const char *cert)
{
	struct ygr_error error = YGR_ERROR_INIT;
	struct ygr_identity *identity = NULL;
	if (ygr_identity_open(fixture_path(f, key), fixture_path(f, cert), &identity, &error) < 0)
		fail_msg("%s", error.message);
	return identity;
}

/* root.key, node.key; node.cert (node and catalogue). */
static inline void fixture_init(struct fixture *f)
{
	snprintf(f->dir, sizeof(f->dir), "/tmp/yagura-test-keys.XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	fixture_key(f, "root.key");
	fixture_key(f, "node.key");
	fixture_certify(f, "root.key", "node.pub", YGR_USAGE_NODE | YGR_USAGE_CATALOGUE, "node.cert");
	assert_int_equal(ygr_keys_read_public(fixture_path(f, "root.pub"), f->root, NULL), 0);
}

static inline void fixture_deinit(struct fixture *f)
{
	char command[128];
	snprintf(command, sizeof(command), "rm -rf '%s'", f->dir);
	assert_int_equal(system(command), 0);
}
