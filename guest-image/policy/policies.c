/* See policies.h. */
#include "guest-image/policy/policies.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#include "guest-image/guest/crypto.h"
#include "lib/base/cleanup.h"
#include "lib/base/log.h"
#include "lib/wire/signed.h"

/* What is in force, as one number: order does not matter. */
static uint64_t content_of(struct ygr_bundle *const *bundles, size_t count)
{
	uint64_t sum = 0;
	for (size_t i = 0; i < count; i++) {
		const uint8_t *bytes = (const uint8_t *)&bundles[i]->about;
		uint64_t h = 14695981039346656037ull;
		for (size_t j = 0; j < sizeof(bundles[i]->about); j++)
			h = (h ^ bytes[j]) * 1099511628211ull;
		sum += h;
	}
	return sum + count;
}

/* The bundles in force, with REPLACED (may be NULL) in place of that of the same policy. */
static size_t gather(const struct ygr_policies *policies, struct ygr_bundle *replacing,
		     struct ygr_bundle *bundles[YGR_POLICIES_MAX + 1])
{
	bool placed = replacing == NULL;
	size_t count = 0;
	for (size_t i = 0; i < policies->store.count && count <= YGR_POLICIES_MAX; i++) {
		struct ygr_bundle *bundle = policies->store.stored[i].bundle;
		if (replacing && memcmp(bundle->about.policy, replacing->about.policy, 16) == 0) {
			bundle = replacing;
			placed = true;
		}
		if (!bundle->removed)
			bundles[count++] = bundle;
	}
	if (replacing && !placed && !replacing->removed && count <= YGR_POLICIES_MAX)
		bundles[count++] = replacing;
	return count;
}

static void forget_missing(struct ygr_policies *policies)
{
	for (unsigned i = 0; i < YGR_POLICIES_MAX; i++)
		ygr_missing_free(&policies->missing[i]);
}

static int open_loader(struct ygr_policies *policies, struct ygr_error *error)
{
	if (policies->open)
		return 0;
	int r = ygr_loader_open(&policies->loader, error);
	policies->open = r == 0;
	return r;
}

/* Makes a generation of what is stored, with what names lead to now, and puts it in force. */
static int renew(struct ygr_policies *policies, struct ygr_bundle *const *bundles, size_t count,
		 struct ygr_error *error)
{
	struct ygr_missing missing[YGR_POLICIES_MAX] = {0};
	struct ygr_generation *generation;
	int r = ygr_generation_prepare(&policies->loader, bundles, count, missing, &generation, error);
	if (r == 0) {
		ygr_generation_commit(&policies->loader, generation, content_of(bundles, count));
		ygr_generation_free(generation);
		ygr_loader_sweep(&policies->loader);
	}
	forget_missing(policies);
	memcpy(policies->missing, missing, sizeof(missing));
	return r;
}

/* Enforces what is stored, unless the kernel does so already. */
static int enforce_stored(struct ygr_policies *policies, struct ygr_error *error)
{
	struct ygr_bundle *bundles[YGR_POLICIES_MAX + 1];
	bool forbidden = strcmp(policies->enforceable.reason, "ForbiddenByOwner") == 0;
	size_t count = forbidden ? 0 : gather(policies, NULL, bundles);
	if (count == 0 && access(YGR_LOADER_PINS, F_OK) < 0)
		return 0; /* nothing was ever here */
	int r = open_loader(policies, error);
	if (r < 0)
		return r;
	policies->adopted = policies->loader.control->content == content_of(bundles, count) &&
			    ygr_loader_attach(&policies->loader, 0, error) == 0;
	return policies->adopted ? 0 : renew(policies, bundles, count, error);
}

int ygr_policies_refresh(struct ygr_policies *policies, struct ygr_error *error)
{
	struct ygr_bundle *bundles[YGR_POLICIES_MAX + 1];
	bool come = policies->adopted;
	for (unsigned i = 0; i < YGR_POLICIES_MAX; i++)
		for (unsigned j = 0; j < policies->missing[i].count; j++)
			come |= access(policies->missing[i].names[j], F_OK) == 0;
	if (!policies->open || policies->enforceable.reason[0] || !come)
		return 0;
	policies->adopted = false;
	size_t count = gather(policies, NULL, bundles);
	return count > 0 ? renew(policies, bundles, count, error) : 0;
}

int ygr_policies_open(struct ygr_policies *policies, const struct ygr_policies_setup *setup,
		      struct ygr_error *error)
{
	char path[160];
	*policies = (struct ygr_policies){.lock = -1, .has_vm = setup->vm != NULL};
	memcpy(policies->root, setup->root, sizeof(policies->root));
	if (setup->vm)
		memcpy(policies->vm, setup->vm, sizeof(policies->vm));
	ygr_enforceable_find_out(&policies->enforceable);
	if (!setup->allowed) {
		snprintf(policies->enforceable.reason, sizeof(policies->enforceable.reason),
			 "ForbiddenByOwner");
		snprintf(policies->enforceable.remedy, sizeof(policies->enforceable.remedy),
			 "set policies.enforce in /etc/yagura/guest.yaml of the VM");
	}
	int r = ygr_store_open(&policies->store, setup->directory, policies->root, error);
	if (r < 0)
		return r;
	snprintf(path, sizeof(path), "%s/lock", setup->directory);
	policies->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (policies->lock < 0 || flock(policies->lock, LOCK_EX) < 0)
		return ygr_error_set(error, errno, "%s: %s", path, strerror(errno));
	if (policies->enforceable.reason[0] && setup->allowed)
		return 0;
	r = enforce_stored(policies, error);
	if (r < 0) { /* an error of ours, not of the kernel's configuration: said in the status */
		ygr_log(YGR_LOG_ERROR, "guest", "stored policies are not enforced: %s", error->message);
		snprintf(policies->enforceable.reason, sizeof(policies->enforceable.reason), "NotLoaded");
		snprintf(policies->enforceable.remedy, sizeof(policies->enforceable.remedy), "%.200s",
			 error->message);
	}
	return 0;
}

void ygr_policies_close(struct ygr_policies *policies)
{
	forget_missing(policies);
	if (policies->open)
		ygr_loader_close(&policies->loader);
	ygr_store_close(&policies->store);
	ygr_closep(&policies->lock);
}

/* May this bundle come in? */
static int check(struct ygr_policies *policies, const struct ygr_bundle *bundle, int64_t now,
		 struct ygr_error *error)
{
	const struct ygr_bundle_about *about = &bundle->about;
	const struct ygr_stored *seen = ygr_store_find(&policies->store, about->policy);
	if (policies->has_vm && memcmp(about->vm, policies->vm, 16) != 0)
		return ygr_error_set(error, EACCES, "policy %s is for another VM", bundle->name);
	if (about->not_after < now)
		return ygr_error_set(error, EKEYEXPIRED, "the bundle of policy %s expired %lld s ago",
				     bundle->name, (long long)(now - about->not_after));
	if (seen && (about->generation < seen->generation ||
		     (about->generation == seen->generation && seen->bundle->removed && !bundle->removed)))
		return ygr_error_set(error, ESTALE,
				     "policy %s: generation %llu is older than what was here (%llu)",
				     bundle->name, (unsigned long long)about->generation,
				     (unsigned long long)seen->generation);
	if (policies->enforceable.reason[0] && strcmp(policies->enforceable.reason, "NotLoaded") != 0 &&
	    !bundle->removed)
		return ygr_error_set(error, EOPNOTSUPP, "policy %s: %s: %s", bundle->name,
				     policies->enforceable.reason, policies->enforceable.remedy);
	return 0;
}

static int take_in(struct ygr_policies *policies, struct ygr_stored *entry, struct ygr_error *error)
{
	struct ygr_bundle *bundles[YGR_POLICIES_MAX + 1];
	struct ygr_missing missing[YGR_POLICIES_MAX] = {0};
	struct ygr_generation *generation = NULL;
	size_t count = gather(policies, entry->bundle, bundles);
	uint64_t content = content_of(bundles, count);
	bool works =
	    !policies->enforceable.reason[0] || strcmp(policies->enforceable.reason, "NotLoaded") == 0;

	int r = works ? open_loader(policies, error) : 0;
	if (r == 0 && works)
		r = ygr_generation_prepare(&policies->loader, bundles, count, missing, &generation, error);
	if (r == 0)
		r = ygr_store_put(&policies->store, entry, error);
	if (r < 0) {
		for (unsigned i = 0; i < YGR_POLICIES_MAX; i++)
			ygr_missing_free(&missing[i]);
		ygr_generation_free(generation);
		return r;
	}
	if (generation) {
		ygr_generation_commit(&policies->loader, generation, content);
		ygr_generation_free(generation);
		ygr_loader_sweep(&policies->loader);
		policies->enforceable = (struct ygr_enforceable){0};
	}
	forget_missing(policies);
	memcpy(policies->missing, missing, sizeof(missing));
	return 0;
}

int ygr_policies_load(struct ygr_policies *policies, const struct ygr_policy_load *load, const void *data,
		      struct ygr_error *error)
{
	struct ygr_stored entry = {.load = *load, .accepted = time(NULL)};
	int r = ygr_bundle_verify(&load->cert, load->signature, data, load->length, policies->root,
				  entry.accepted, &ygr_crypto_sodium, error);
	if (r == 0)
		r = ygr_bundle_read(data, load->length, &entry.bundle, error);
	if (r == 0)
		r = check(policies, entry.bundle, entry.accepted, error);
	if (r == 0 && !(entry.data = malloc(load->length)))
		r = ygr_error_set(error, ENOMEM, "out of memory for a policy");
	if (r == 0) {
		memcpy(entry.data, data, load->length);
		memcpy(entry.policy, entry.bundle->about.policy, 16);
		entry.generation = entry.bundle->about.generation;
		r = take_in(policies, &entry, error);
	}
	ygr_bundle_free(entry.bundle);
	free(entry.data);
	return r;
}
