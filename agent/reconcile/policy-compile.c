/*
 * What takes time, on workers: compiling a text, and making and signing bundles. A job owns what it works on; the
 * reconciler's memory stays until the last of them has come back.
 */
#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "agent/reconcile/policy.h"
#include "lib/base/hex.h"
#include "lib/base/log.h"
#include "lib/base/uuid.h"
#include "lib/policy/bundle.h"

#define BUNDLE_DAYS 30 /* for which a bundle may be taken in */

enum ygr_policy_mode ygr_compiled_mode(const struct ygr_compiled *compiled, const char *rule)
{
	for (size_t i = 0; i < compiled->mode_count; i++)
		if (!strcmp(compiled->modes[i].rule, rule))
			return compiled->modes[i].mode;
	return compiled->mode;
}

struct ygr_compiled *ygr_compiled_unref(struct ygr_compiled *compiled)
{
	if (!compiled || --compiled->references)
		return NULL;
	for (size_t i = 0; i < compiled->part_count; i++) {
		ygr_policy_code_free(compiled->parts[i].code);
		ygr_enforce_plan_unref(compiled->parts[i].plan);
		free(compiled->parts[i].owner);
	}
	for (size_t i = 0; i < compiled->mode_count; i++)
		free(compiled->modes[i].rule);
	free(compiled->modes);
	free(compiled->parts);
	ygr_policy_unit_free(compiled->unit);
	free(compiled);
	return NULL;
}

struct compile {
	uv_work_t work;
	struct ygr_policies *policies;
	struct ygr_reconcile *reconcile;
	char *namespace_, *name, *text;
	size_t length;
	struct ygr_compiled *compiled;
};

/* Who a policy is: 16 bytes of a hash, shaped as a UUID of version 8 (RFC 9562). */
static void make_uid(const char *owner, uint8_t uid[16], char text[37])
{
	uint8_t hash[32];

	(void)EVP_Digest(owner, strlen(owner), hash, NULL, EVP_sha256(), NULL);
	memcpy(uid, hash, 16);
	uid[6] = (uint8_t)((uid[6] & 0x0f) | 0x80);
	uid[8] = (uint8_t)((uid[8] & 0x3f) | 0x80);
	snprintf(text, 37, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", uid[0],
		 uid[1], uid[2], uid[3], uid[4], uid[5], uid[6], uid[7], uid[8], uid[9], uid[10], uid[11],
		 uid[12], uid[13], uid[14], uid[15]);
}

static int make_digest(const struct ygr_policy_code *code, char digest[72], struct ygr_error *error)
{
	static const struct ygr_bundle_about nobody;
	uint8_t *data = NULL, hash[32];
	size_t len;
	int r = ygr_bundle_make(&nobody, code, &data, &len, error);

	if (r < 0)
		return r;
	memcpy(digest, "sha256:", 7);
	(void)EVP_Digest(data, len, hash, NULL, EVP_sha256(), NULL);
	ygr_hex_encode(hash, sizeof(hash), digest + 7);
	free(data);
	return 0;
}

static int make_part(const struct compile *job, const struct ygr_policy *tree, struct ygr_policy_part *part,
		     struct ygr_error *error)
{
	part->tree = tree;
	if (asprintf(&part->owner, "%s/%s/%s", job->namespace_, job->name, tree->name) < 0) {
		part->owner = NULL;
		return ygr_error_set(error, ENOMEM, "out of memory");
	}
	make_uid(part->owner, part->uid, part->uid_text);
	for (const struct ygr_policy_rule *rule = tree->rules; rule; rule = rule->next)
		part->enforces |= ygr_policy_rule_action(rule) >= YGR_ACTION_DENY;
	int r = ygr_policy_linearize(tree, &part->code, error);
	if (r == 0)
		r = make_digest(part->code, part->digest, error);
	if (r == 0) {
		r = ygr_enforce_plan_new(part->owner, tree, &part->plan);
		if (r < 0)
			ygr_error_set(error, -r, "the host block of policy %s: %s", tree->name,
				      strerror(-r));
	}
	return r;
}

/* Modes go into the instructions: an audited rule is compiled to record only. */
static int set_modes(struct ygr_compiled *compiled, struct ygr_error *error)
{
	(void)ygr_policy_unit_audit(compiled->unit, NULL, NULL, compiled->mode == YGR_MODE_AUDIT);
	for (size_t i = 0; i < compiled->mode_count; i++)
		if (ygr_policy_unit_audit(compiled->unit, NULL, compiled->modes[i].rule,
					  compiled->modes[i].mode == YGR_MODE_AUDIT) < 0)
			return ygr_error_set(error, EINVAL,
					     "spec.ruleModes[%zu].rule: there is no rule \"%s\"", i,
					     compiled->modes[i].rule);
	return 0;
}

static int make_parts(struct compile *job, struct ygr_error *error)
{
	struct ygr_compiled *compiled = job->compiled;
	const struct ygr_policy *tree = ygr_policy_unit_policies(compiled->unit);
	size_t count = 0;
	int r = 0;

	if (ygr_policy_unit_errors(compiled->unit))
		return ygr_error_set(error, EINVAL, "the policy has %u errors; see diagnostics",
				     ygr_policy_unit_errors(compiled->unit));
	ygr_policy_unit_review(compiled->unit);
	r = set_modes(compiled, error);
	for (const struct ygr_policy *t = tree; t; t = t->next)
		count++;
	compiled->parts = calloc(count + 1, sizeof(*compiled->parts));
	if (!compiled->parts)
		return ygr_error_set(error, ENOMEM, "out of memory");
	for (const struct ygr_policy *t = tree; t && r == 0; t = t->next)
		r = make_part(job, t, &compiled->parts[compiled->part_count++], error);
	return r;
}

static void compile_work(uv_work_t *work)
{
	struct compile *job = work->data;
	struct ygr_error error = YGR_ERROR_INIT;
	int r = ygr_policy_unit_new(job->name, job->text, job->length, &job->compiled->unit, &error);

	if (r == 0)
		r = make_parts(job, &error);
	job->compiled->good = r == 0;
	snprintf(job->compiled->message, sizeof(job->compiled->message), "%s", error.message);
}

static struct ygr_policy_wanted *object_of(const struct compile *job)
{
	for (size_t i = 0; i < job->policies->count; i++) {
		struct ygr_policy_wanted *object = job->policies->objects[i];
		if (!strcmp(object->name, job->name) && !strcmp(object->namespace_, job->namespace_))
			return object;
	}
	return NULL;
}

static void compile_done(uv_work_t *work, int status)
{
	struct compile *job = work->data;
	struct ygr_reconcile *reconcile = job->reconcile;
	struct ygr_policy_wanted *object = reconcile->freed ? NULL : object_of(job);

	if (status < 0)
		snprintf(job->compiled->message, sizeof(job->compiled->message), "%s", uv_strerror(status));
	if (object) {
		object->compiling = false;
		ygr_metric_add(job->policies->compiles, 1, NULL);
		ygr_compiled_unref(object->newest);
		object->newest = job->compiled;
		job->compiled = NULL;
		if (!object->newest->good) {
			ygr_log(YGR_LOG_WARNING, "reconcile", "VMPolicy %s/%s: %s", object->namespace_,
				object->name, object->newest->message);
		} else {
			ygr_compiled_unref(object->good);
			object->good = object->newest;
			object->good->references++;
		}
		reconcile->dirty = true;
		ygr_reconcile_soon(reconcile, 0);
	}
	ygr_compiled_unref(job->compiled);
	free(job->namespace_);
	free(job->name);
	free(job->text);
	free(job);
	ygr_reconcile_handle_closed(reconcile);
}

static struct ygr_compiled *new_compiled(const struct ygr_vm_policy *policy)
{
	struct ygr_compiled *compiled = calloc(1, sizeof(*compiled));

	if (!compiled)
		return NULL;
	compiled->references = 1;
	compiled->generation = policy->meta.generation;
	compiled->mode = policy->mode;
	compiled->on_unsupported = policy->on_unsupported;
	compiled->modes = calloc(policy->rule_mode_count + 1, sizeof(*compiled->modes));
	for (size_t i = 0; compiled->modes && i < policy->rule_mode_count; i++) {
		struct ygr_rule_mode *mode = &compiled->modes[compiled->mode_count];
		*mode =
		    (struct ygr_rule_mode){strdup(policy->rule_modes[i].rule), policy->rule_modes[i].mode};
		compiled->mode_count += mode->rule != NULL;
	}
	return compiled->modes ? compiled : ygr_compiled_unref(compiled);
}

void ygr_policy_compile(struct ygr_policy_wanted *object)
{
	struct ygr_reconcile *reconcile = object->policies->reconcile;
	struct compile *job = calloc(1, sizeof(*job));

	if (!job)
		return;
	*job = (struct compile){.policies = object->policies,
				.reconcile = reconcile,
				.namespace_ = strdup(object->namespace_),
				.name = strdup(object->name),
				.text = strdup(object->policy->text),
				.length = object->policy->text_length,
				.compiled = new_compiled(object->policy)};
	job->work.data = job;
	if (!job->namespace_ || !job->name || !job->text || !job->compiled ||
	    uv_queue_work(reconcile->options.loop, &job->work, compile_work, compile_done) < 0) {
		ygr_compiled_unref(job->compiled);
		free(job->namespace_);
		free(job->name);
		free(job->text);
		free(job);
		ygr_reconcile_soon(reconcile, YGR_BACKOFF_MIN_MS);
		return;
	}
	object->compiling = true;
	reconcile->open_handles++;
}

struct sign {
	uv_work_t work;
	struct ygr_reconcile *reconcile;
	const struct ygr_identity *identity;
	struct ygr_compiled *compiled; /* a reference, or NULL: takes the policy away */
	const struct ygr_policy_part *part;
	struct ygr_bundle_about about;
	char vm[YGR_UUID_TEXT];
	uint8_t *bundle, signature[64];
	size_t len;
	struct ygr_error error;
};

static void sign_work(uv_work_t *work)
{
	struct sign *job = work->data;
	int r = ygr_bundle_make(&job->about, job->part ? job->part->code : NULL, &job->bundle, &job->len,
				&job->error);

	if (r == 0)
		(void)ygr_bundle_sign(job->identity, job->bundle, job->len, job->signature, &job->error);
}

static void sign_done(uv_work_t *work, int status)
{
	struct sign *job = work->data;
	struct ygr_reconcile *reconcile = job->reconcile;

	if (status < 0)
		ygr_error_set(&job->error, -status, "%s", uv_strerror(status));
	for (size_t i = 0; !reconcile->freed && i < reconcile->guest_count; i++) {
		struct ygr_observed *guest = reconcile->guests[i];
		if (guest->policing && !strcmp(guest->vm->uuid, job->vm))
			ygr_policing_signed(guest->policing, job->bundle, job->len, job->signature,
					    &job->error);
	}
	ygr_compiled_unref(job->compiled);
	free(job->bundle);
	free(job);
	ygr_reconcile_handle_closed(reconcile);
}

int ygr_policy_sign(struct ygr_policing *policing, const struct ygr_hold *hold, const char *uid,
		    uint64_t generation)
{
	struct ygr_reconcile *reconcile = policing->guest->reconcile;
	struct sign *job = calloc(1, sizeof(*job));

	if (!job)
		return -ENOMEM;
	job->reconcile = reconcile;
	job->identity = reconcile->options.identity;
	job->work.data = job;
	snprintf(job->vm, sizeof(job->vm), "%s", policing->guest->vm->uuid);
	job->about.generation = generation;
	job->about.not_after = time(NULL) + BUNDLE_DAYS * 86400;
	if (hold) {
		job->compiled = hold->compiled;
		job->compiled->references++;
		job->part = hold->part;
	}
	int r = ygr_uuid_parse(job->vm, job->about.vm);
	if (r == 0)
		r = ygr_uuid_parse(uid, job->about.policy);
	if (r < 0 || uv_queue_work(reconcile->options.loop, &job->work, sign_work, sign_done) < 0) {
		ygr_compiled_unref(job->compiled);
		free(job);
		return r < 0 ? r : -ENOMEM;
	}
	reconcile->open_handles++;
	return 0;
}
