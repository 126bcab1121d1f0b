/* The first line for a session; see session-line.h and session.md. */
#include "agent/telebpf/session-line.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/base/cleanup.h"
#include "lib/base/hex.h"
#include "lib/wire/signed.h"

#define SPIN_US    0 /* naps of 20 us come nearly as soon, and leave the processor to the application */
#define PIDS_LIMIT 64

int ygr_session_grant_make(const struct ygr_identity *identity, const struct ygr_catalogue_entry *entry,
			   const char *path, const char *vm, struct ygr_session_grant *ret,
			   struct ygr_error *error)
{
	uint8_t sha256[32], signature[64];
	int r =
	    entry ? ygr_catalogue_hash(entry, sha256, error) : ygr_catalogue_hash_file(path, sha256, error);
	if (r < 0)
		return r;
	ygr_hex_encode(sha256, sizeof(sha256), ret->sha256);

	json_t *grant = entry ? ygr_catalogue_grant(entry, sha256, vm, time(NULL))
			      : ygr_catalogue_grant_adhoc(path, sha256, vm, time(NULL));
	ret->text = grant ? json_dumps(grant, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
	json_decref(grant);
	if (!ret->text)
		return ygr_error_set(error, ENOMEM, "out of memory");

	_cleanup_free_ uint8_t *covered = NULL;
	size_t len;
	r = ygr_grant_text(ret->text, strlen(ret->text), &covered, &len);
	if (r == 0)
		r = ygr_identity_sign(identity, covered, len, signature);
	if (r < 0)
		return ygr_error_set(error, -r, "cannot sign the grant: %s", strerror(-r));
	const struct ygr_cert *certificate = ygr_identity_cert(identity);
	_Static_assert(sizeof(ret->certificate) > (sizeof(*certificate) + 2) / 3 * 4, "base64 fits");
	EVP_EncodeBlock((uint8_t *)ret->certificate, (const uint8_t *)certificate, sizeof(*certificate));
	EVP_EncodeBlock((uint8_t *)ret->signature, signature, sizeof(signature));
	return 0;
}

void ygr_session_grant_deinit(struct ygr_session_grant *grant)
{
	free(grant->text);
	grant->text = NULL;
}

static json_t *argv_of(const struct ygr_application_options *options)
{
	json_t *argv = json_pack("[s]", options->program);
	for (char *const *arg = options->args; arg && *arg; arg++)
		json_array_append_new(argv, json_string(*arg));
	return argv;
}

static json_t *ram_of(const struct ygr_application_options *options)
{
	if (options->ram_fd < 0)
		return json_null();
	json_t *regions = json_array();
	for (uint32_t i = 0; i < options->ram_count; i++)
		json_array_append_new(regions,
				      json_pack("{s:I, s:I, s:I}", "gpa", (json_int_t)options->ram[i].gpa,
						"size", (json_int_t)options->ram[i].size, "offset",
						(json_int_t)options->ram[i].offset));
	return json_pack("{s:o}", "regions", regions);
}

char *ygr_session_line(const struct ygr_telebpf *telebpf, const struct ygr_application_options *options,
		       const struct ygr_link_target *vm, const char *executable, const char *delivery,
		       uid_t uid, const char *cgroup, const uint8_t session_id[16],
		       const struct ygr_session_grant *grant, json_t *welcome)
{
	char id[33];
	ygr_hex_encode(session_id, 16, id);

	json_t *line = json_pack(
	    "{s:s, s:{s:s, s:s, s:s}, s:s, s:s, s:s, s:s, s:o, s:{s:s, s:s, s:s}, s:s, s:I, s:I}",
	    "sessionID", id, "vm", "namespace", vm->namespace_, "name", vm->name, "uuid", vm->uuid,
	    "monitor", options->monitor, "app", options->app, "executable", executable, "sha256",
	    grant->sha256, "argv", argv_of(options), "env", "PATH", "/usr/sbin:/usr/bin:/sbin:/bin", "LANG",
	    "C.UTF-8", "HOME", "/", "shim", telebpf->shim, "uid", (json_int_t)uid, "gid", (json_int_t)uid);
	json_t *rest =
	    json_pack("{s:s, s:s, s:i, s:{s:I, s:I, s:i}, s:s, s:s, s:s, s:s, s:O, s:o, s:b, s:b}",
		      "delivery", delivery, "wake", options->wake, "spinMicroseconds", SPIN_US, "limits",
		      "memory", (json_int_t)options->memory, "cpuMilli", (json_int_t)options->cpu_milli,
		      "pids", PIDS_LIMIT, "cgroup", cgroup, "grant", grant->text, "grantCert",
		      grant->certificate, "grantSignature", grant->signature, "welcome", welcome, "ram",
		      ram_of(options), "trace", options->trace, "explain", options->explain);
	char *text = NULL;
	if (line && rest && json_object_update(line, rest) == 0)
		text = json_dumps(line, JSON_COMPACT);
	json_decref(line);
	json_decref(rest);
	if (!text)
		return NULL;
	size_t len = strlen(text);
	char *with_newline = realloc(text, len + 2);
	if (!with_newline) {
		free(text);
		return NULL;
	}
	memcpy(with_newline + len, "\n", 2);
	return with_newline;
}
