/* Stored bundles: found again, replaced in one step, passed over when somebody has changed them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "guest-image/guest/crypto.h"
#include "guest-image/policy/store.h"
#include "lib/wire/keys.h"
#include "tests/lib/wire/identity-fixture.h"

static struct fixture fixture;
static struct ygr_identity *identity;
static char directory[128];

static struct ygr_stored make(uint64_t generation)
{
	struct ygr_bundle_about about = {.policy = {7}, .generation = generation, .not_after = 1};
	struct ygr_stored entry = {.policy = {7}, .generation = generation, .accepted = time(NULL)};
	size_t len;
	assert_int_equal(ygr_bundle_make(&about, NULL, &entry.data, &len, NULL), 0);
	assert_int_equal(ygr_bundle_read(entry.data, len, &entry.bundle, NULL), 0);
	entry.load = (struct ygr_policy_load){.length = (uint32_t)len, .cert = *ygr_identity_cert(identity)};
	assert_int_equal(ygr_bundle_sign(identity, entry.data, len, entry.load.signature, NULL), 0);
	return entry;
}

static size_t reopened(uint64_t *ret_generation)
{
	static const uint8_t policy[16] = {7};
	struct ygr_store store;
	assert_int_equal(ygr_store_open(&store, directory, fixture.root, NULL), 0);
	const struct ygr_stored *stored = ygr_store_find(&store, policy);
	*ret_generation = stored ? stored->generation : 0;
	size_t count = store.count;
	ygr_store_close(&store);
	return count;
}

static void test_store(void **state)
{
	(void)state;
	struct ygr_store store;
	uint64_t generation;
	assert_int_equal(reopened(&generation), 0);
	for (uint64_t i = 1; i <= 3; i++) {
		struct ygr_stored entry = make(i);
		assert_int_equal(ygr_store_open(&store, directory, fixture.root, NULL), 0);
		assert_int_equal(ygr_store_put(&store, &entry, NULL), 0);
		assert_null(entry.data); /* taken over */
		ygr_store_close(&store);
		assert_int_equal(reopened(&generation), 1);
		assert_int_equal(generation, i);
	}
}

/* Any byte but those that say when it came in. */
static void test_tampered(void **state)
{
	(void)state;
	char path[256];
	uint64_t generation;
	snprintf(path, sizeof(path), "%s/07000000000000000000000000000000.bundle", directory);
	FILE *file = fopen(path, "r+b");
	assert_non_null(file);
	fseek(file, 0, SEEK_END);
	long size = ftell(file);
	for (long at = 0; at < size; at += at == 7 ? 9 : 1) {
		uint8_t byte;
		assert_int_equal(pread(fileno(file), &byte, 1, at), 1);
		byte ^= 1;
		assert_int_equal(pwrite(fileno(file), &byte, 1, at), 1);
		assert_int_equal(reopened(&generation), 0);
		byte ^= 1;
		assert_int_equal(pwrite(fileno(file), &byte, 1, at), 1);
	}
	assert_int_equal(ftruncate(fileno(file), size - 1), 0);
	fclose(file);
	assert_int_equal(reopened(&generation), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_store), cmocka_unit_test(test_tampered)};
	if (ygr_guest_crypto_init() < 0)
		return 1;
	fixture_init(&fixture);
	fixture_certify(&fixture, "root.key", "node.pub", YGR_USAGE_POLICY, "policy.cert");
	identity = fixture_identity(&fixture, "node.key", "policy.cert");
	snprintf(directory, sizeof(directory), "%s/a/b", fixture.dir);
	int r = cmocka_run_group_tests(tests, NULL, NULL);
	ygr_identity_free(identity);
	fixture_deinit(&fixture);
	return r;
}
