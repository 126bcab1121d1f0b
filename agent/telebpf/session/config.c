#include "agent/telebpf/session/config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "agent/telebpf/session/welcome.h"
#include "lib/base/cleanup.h"
#include "lib/base/hex.h"

static int bad(struct ygr_error *error, const char *field, const char *expected)
{
	return ygr_error_set(error, EINVAL, "session configuration: %s: expected %s", field, expected);
}

/* base64 (RFC 4648) of exactly SIZE bytes. */
static int decode_base64(const char *text, uint8_t *out, size_t size)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	size_t n = 0, length = strlen(text), data = (size * 4 + 2) / 3;
	uint32_t bits = 0;

	if (length != (size + 2) / 3 * 4 || strspn(text + data, "=") != length - data)
		return -EINVAL;
	for (size_t i = 0; i < data; i++) {
		const char *digit = strchr(digits, text[i]);

		if (!digit || !text[i])
			return -EINVAL;
		bits = bits << 6 | (uint32_t)(digit - digits);
		if (i % 4 && n < size)
			out[n++] = (uint8_t)(bits >> (6 - 2 * (i % 4)));
	}
	return 0;
}

static const char *string_at(const json_t *object, const char *key)
{
	return json_string_value(json_object_get(object, key));
}

/* An integer in [0, MAX], absent: 0. */
static int number_at(const json_t *object, const char *key, uint64_t max, uint64_t *ret,
		     struct ygr_error *error)
{
	const json_t *value = json_object_get(object, key);

	*ret = 0;
	if (!value || json_is_null(value))
		return 0;
	if (!json_is_integer(value) || json_integer_value(value) < 0 ||
	    (uint64_t)json_integer_value(value) > max)
		return bad(error, key, "a number in range");
	*ret = (uint64_t)json_integer_value(value);
	return 0;
}

static int decode_command(struct ygr_session_config *config, const json_t *json, struct ygr_error *error)
{
	const json_t *argv = json_object_get(json, "argv"), *env = json_object_get(json, "env");
	const char *digest = string_at(json, "sha256"), *name;
	json_t *value;
	size_t i, n = 0;

	config->executable = string_at(json, "executable");
	if (!config->executable || config->executable[0] != '/')
		return bad(error, "executable", "an absolute path");
	if (digest && ygr_hex_decode(digest, config->sha256, sizeof(config->sha256)) < 0)
		return bad(error, "sha256", "64 hex digits");
	config->has_sha256 = digest != NULL;
	if (!json_array_size(argv) || json_array_size(argv) > YGR_SESSION_ARGS_MAX)
		return bad(error, "argv", "1 to 256 strings");
	json_array_foreach(argv, i, value)
	{
		if (!json_is_string(value))
			return bad(error, "argv", "strings");
		config->argv[i] = (char *)json_string_value(value);
	}
	if (json_object_size(env) > YGR_SESSION_ARGS_MAX)
		return bad(error, "env", "at most 256 variables");
	json_object_foreach((json_t *)env, name, value)
	{
		if (!json_is_string(value) || strchr(name, '='))
			return bad(error, "env", "strings by name");
		if (asprintf(&config->envp[n], "%s=%s", name, json_string_value(value)) < 0) {
			config->envp[n] = NULL;
			return ygr_error_set(error, ENOMEM, "out of memory");
		}
		n++;
	}
	config->shim = string_at(json, "shim");
	return 0;
}

static int decode_modes(struct ygr_session_config *config, const json_t *json, struct ygr_error *error)
{
	const char *delivery = string_at(json, "delivery"), *wake = string_at(json, "wake");
	uint64_t spin, start = 0;
	int r;

	if (!delivery || !strcmp(delivery, "Copied"))
		config->delivery = YGR_DELIVERY_COPIED;
	else if (!strcmp(delivery, "Shared"))
		config->delivery = YGR_DELIVERY_SHARED;
	else if (!strcmp(delivery, "Stream"))
		config->delivery = YGR_DELIVERY_STREAM;
	else
		return bad(error, "delivery", "Copied, Shared or Stream");
	if (!wake || !strcmp(wake, "Adaptive"))
		config->wake = YGR_WAKE_ADAPTIVE;
	else if (!strcmp(wake, "Notify"))
		config->wake = YGR_WAKE_NOTIFY;
	else
		return bad(error, "wake", "Adaptive or Notify");
	r = number_at(json, "spinMicroseconds", 1000000, &spin, error);
	config->spin_us = (uint32_t)spin;
	if (r == 0)
		r = number_at(json, "startSeconds", 3600, &start, error);
	config->start_seconds = start ? (uint32_t)start : YGR_SESSION_START_SECONDS;
	config->trace = json_is_true(json_object_get(json, "trace"));
	config->explain = json_is_true(json_object_get(json, "explain"));
	return r;
}

static int decode_limits(struct ygr_session_config *config, const json_t *json, struct ygr_error *error)
{
	const json_t *limits = json_object_get(json, "limits");
	uint64_t uid, gid, cpu, pids;
	int r;

	r = number_at(json, "uid", UINT32_MAX - 1, &uid, error);
	if (r == 0)
		r = number_at(json, "gid", UINT32_MAX - 1, &gid, error);
	if (r == 0)
		r = number_at(limits, "memory", INT64_MAX, &config->memory, error);
	if (r == 0)
		r = number_at(limits, "cpuMilli", UINT32_MAX, &cpu, error);
	if (r == 0)
		r = number_at(limits, "pids", UINT32_MAX, &pids, error);
	if (r < 0)
		return r;
	if (!uid || !gid)
		return bad(error, "uid and gid", "numbers other than 0");
	config->uid = (uid_t)uid;
	config->gid = (gid_t)gid;
	config->cpu_milli = (uint32_t)cpu;
	config->pids = (uint32_t)pids;
	config->cgroup = string_at(json, "cgroup");
	return config->cgroup ? 0 : bad(error, "cgroup", "a relative path");
}

static int decode_grant(struct ygr_session_config *config, const json_t *json, struct ygr_error *error)
{
	const char *id = string_at(json, "sessionID"), *cert = string_at(json, "grantCert");
	const char *signature = string_at(json, "grantSignature");

	if (!id || ygr_hex_decode(id, config->session_id, sizeof(config->session_id)) < 0)
		return bad(error, "sessionID", "32 hex digits");
	config->grant = string_at(json, "grant");
	if (!config->grant)
		return bad(error, "grant", "the signed text");
	if (!cert || decode_base64(cert, (uint8_t *)&config->grant_cert, sizeof(config->grant_cert)) < 0)
		return bad(error, "grantCert", "a certificate in base64");
	if (!signature ||
	    decode_base64(signature, config->grant_signature, sizeof(config->grant_signature)) < 0)
		return bad(error, "grantSignature", "64 bytes in base64");
	return 0;
}

static int decode_ram(struct ygr_session_config *config, const json_t *json, struct ygr_error *error)
{
	const json_t *ram = json_object_get(json, "ram"), *regions = json_object_get(ram, "regions");
	json_t *region;
	size_t i;
	int r = 0;

	if (!ram || json_is_null(ram))
		return 0;
	if (!json_array_size(regions) || json_array_size(regions) > YGR_RAM_REGIONS_MAX)
		return bad(error, "ram.regions", "1 to 64 regions");
	json_array_foreach(regions, i, region)
	{
		if (r == 0)
			r = number_at(region, "gpa", INT64_MAX, &config->regions[i].gpa, error);
		if (r == 0)
			r = number_at(region, "size", INT64_MAX, &config->regions[i].size, error);
		if (r == 0)
			r = number_at(region, "offset", INT64_MAX, &config->regions[i].offset, error);
	}
	config->region_count = (unsigned)json_array_size(regions);
	return r;
}

int ygr_session_config_init(struct ygr_session_config *config, const char *line, size_t length,
			    struct ygr_error *error)
{
	json_error_t json_error;
	int r;

	*config = (struct ygr_session_config){};
	config->json = json_loadb(line, length, JSON_REJECT_DUPLICATES, &json_error);
	if (!config->json)
		return ygr_error_set(error, EINVAL, "session configuration: %s", json_error.text);
	r = decode_command(config, config->json, error);
	if (r == 0)
		r = decode_modes(config, config->json, error);
	if (r == 0)
		r = decode_limits(config, config->json, error);
	if (r == 0)
		r = decode_grant(config, config->json, error);
	if (r == 0)
		r = decode_ram(config, config->json, error);
	if (r == 0)
		ygr_welcome_read(&config->guest, json_object_get(config->json, "welcome"));
	if (r < 0)
		ygr_session_config_deinit(config);
	return r;
}

void ygr_session_config_deinit(struct ygr_session_config *config)
{
	for (char **variable = config->envp; *variable; variable++)
		free(*variable);
	json_decref(config->json);
	*config = (struct ygr_session_config){};
}
