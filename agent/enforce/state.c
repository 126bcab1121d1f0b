/*
 * The list of active actions on disk: written whole, beside, and renamed, after every change. What it holds beside
 * the actions is what must be the same for the pinned maps: the slot of each VM and the meaning of its bits.
 */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/enforce/room.h"
#include "lib/base/cleanup.h"
#include "lib/base/log.h"
#include "lib/base/uuid.h"

#define FILE_NAME "actions.json"
#define FILE_MAX  (64u << 20)

static json_t *encode_bits(char *const *bits, size_t count)
{
	json_t *list = json_array();

	for (size_t i = 0; i < count; i++)
		if (bits[i])
			json_array_append_new(list, json_pack("[i, s]", (int)i, bits[i]));
	return list;
}

static json_t *encode_links(const struct guarded *guarded)
{
	json_t *list = json_array();

	for (size_t i = 0; i < guarded->link_count; i++)
		json_array_append_new(list, json_string(guarded->links_down[i]));
	return list;
}

static json_t *encode_active(const struct guarded *guarded)
{
	json_t *list = json_array();

	for (size_t i = 0; i < guarded->active_count; i++) {
		const struct active *active = &guarded->active[i];
		json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:i, s:s, s:i, s:I, s:I, s:I}",
						      "policy", active->policy, "rule", active->rule, "text",
						      active->text, "kind", (int)active->kind, "name",
						      active->name, "direction", (int)active->direction,
						      "rate", (json_int_t)active->bits_per_second, "since",
						      (json_int_t)active->since_ms, "expires",
						      (json_int_t)active->expires_ms));
	}
	return list;
}

static json_t *encode(const struct ygr_enforce *enforce)
{
	json_t *vms = json_array();

	for (size_t i = 0; i < enforce->vm_count; i++) {
		const struct guarded *guarded = enforce->vms[i];
		if (!guarded->active_count && !guarded->attached_count && !guarded->paused_by_us &&
		    !guarded->link_count)
			continue;
		json_array_append_new(
		    vms,
		    json_pack("{s:s, s:s*, s:s*, s:i, s:o, s:o, s:o, s:b, s:I, s:o}", "uuid", guarded->uuid,
			      "namespace", guarded->namespace_, "name", guarded->name, "slot",
			      (int)guarded->slot, "disks", encode_bits(guarded->disks, YGR_VM_DISKS_MAX),
			      "blocks", encode_bits(guarded->blocks, YGR_ENFORCE_BLOCKS_MAX), "linksDown",
			      encode_links(guarded), "paused", guarded->paused_by_us, "pid",
			      (json_int_t)guarded->pid, "actions", encode_active(guarded)));
	}
	return json_pack("{s:i, s:o}", "version", 1, "vms", vms);
}

static int write_file(const char *directory, const json_t *state)
{
	_cleanup_free_ char *path = NULL, *fresh = NULL;

	if (asprintf(&path, "%s/" FILE_NAME, directory) < 0 ||
	    asprintf(&fresh, "%s/." FILE_NAME, directory) < 0)
		return -ENOMEM;
	_cleanup_close_ int fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	if (json_dumpfd(state, fd, JSON_COMPACT) < 0 || fsync(fd) < 0 || rename(fresh, path) < 0)
		return errno ? -errno : -EIO;
	return 0;
}

void ygr_enforce_state_write(const struct ygr_enforce *enforce)
{
	json_t *state = encode(enforce);
	int r = state ? write_file(enforce->state_directory, state) : -ENOMEM;

	if (r < 0)
		ygr_log(YGR_LOG_ERROR, "enforce", "%s: the list of active actions cannot be kept: %s",
			enforce->state_directory, strerror(-r));
	json_decref(state);
}

static void decode_bits(const json_t *list, char **bits, size_t count)
{
	const json_t *pair;
	size_t i;

	json_array_foreach((json_t *)list, i, pair)
	{
		const json_t *bit = json_array_get(pair, 0);
		const char *text = json_string_value(json_array_get(pair, 1));
		json_int_t number = json_is_integer(bit) ? json_integer_value(bit) : -1;
		if (number >= 0 && (size_t)number < count && text && !bits[number])
			bits[number] = strdup(text);
	}
}

static int64_t integer(const json_t *object, const char *key)
{
	return json_integer_value(json_object_get(object, key));
}

static const char *text_of(const json_t *object, const char *key)
{
	return json_string_value(json_object_get(object, key)) ?: "";
}

static int decode_active(struct guarded *guarded, const json_t *object)
{
	int64_t kind = integer(object, "kind");
	struct active *grown = reallocarray(guarded->active, guarded->active_count + 1, sizeof(*grown));

	if (!grown)
		return -ENOMEM;
	guarded->active = grown;
	if (kind < 0 || kind > YGR_HOST_EVENT || !ygr_enforce_lasts((enum ygr_policy_host_kind)kind) ||
	    guarded->active_count == YGR_ENFORCE_ACTIVE_MAX)
		return 0;
	struct active active = {.policy = strdup(text_of(object, "policy")),
				.text = strdup(text_of(object, "text")),
				.kind = (enum ygr_policy_host_kind)kind,
				.direction = (enum ygr_policy_direction)integer(object, "direction"),
				.bits_per_second = (uint64_t)integer(object, "rate"),
				.since_ms = integer(object, "since"),
				.expires_ms = integer(object, "expires")};
	snprintf(active.rule, sizeof(active.rule), "%s", text_of(object, "rule"));
	snprintf(active.name, sizeof(active.name), "%s", text_of(object, "name"));
	if (!active.policy || !active.text) {
		ygr_enforce_active_deinit(&active);
		return -ENOMEM;
	}
	grown[guarded->active_count++] = active;
	return 0;
}

static int decode_vm(struct ygr_enforce *enforce, const json_t *object)
{
	const char *uuid = text_of(object, "uuid");
	int64_t slot = integer(object, "slot");
	uint8_t bytes[16];
	json_t *item;
	size_t i;
	int r = 0;

	if (ygr_uuid_parse(uuid, bytes) < 0 || slot < 0 || slot >= YGR_ENFORCE_VMS ||
	    ygr_enforce_find(enforce, uuid))
		return 0;
	struct guarded *guarded = ygr_enforce_get(enforce, uuid);
	if (!guarded)
		return -ENOMEM;
	guarded->slot = (uint32_t)slot;
	guarded->namespace_ = strdup(text_of(object, "namespace"));
	guarded->name = strdup(text_of(object, "name"));
	guarded->paused_by_us = json_is_true(json_object_get(object, "paused"));
	guarded->pid = (pid_t)integer(object, "pid");
	decode_bits(json_object_get(object, "disks"), guarded->disks, YGR_VM_DISKS_MAX);
	decode_bits(json_object_get(object, "blocks"), guarded->blocks, YGR_ENFORCE_BLOCKS_MAX);
	json_array_foreach(json_object_get(object, "linksDown"), i, item)
	{
		if (json_is_string(item) && guarded->link_count < YGR_VM_NICS_MAX)
			snprintf(guarded->links_down[guarded->link_count++], sizeof(guarded->links_down[0]),
				 "%.17s", json_string_value(item));
	}
	json_array_foreach(json_object_get(object, "actions"), i, item)
	{
		if (r == 0)
			r = decode_active(guarded, item);
	}
	return r;
}

/* A file that cannot be read is moved aside: the node starts with nothing active, and a person can look. */
static void put_aside(const char *path, const char *why)
{
	_cleanup_free_ char *aside = NULL;

	ygr_log(YGR_LOG_ERROR, "enforce", "%s: %s; it is moved aside", path, why);
	if (asprintf(&aside, "%s.broken", path) >= 0)
		(void)rename(path, aside);
}

int ygr_enforce_state_read(struct ygr_enforce *enforce, struct ygr_error *error)
{
	_cleanup_free_ char *path = NULL;
	json_error_t where;
	struct stat st;
	json_t *item;
	size_t i;
	int r = 0;

	if (mkdir(enforce->state_directory, 0700) < 0 && errno != EEXIST)
		return ygr_error_set(error, errno, "%s: %s", enforce->state_directory, strerror(errno));
	if (asprintf(&path, "%s/" FILE_NAME, enforce->state_directory) < 0)
		return ygr_error_set(error, ENOMEM, "out of memory");
	if (stat(path, &st) < 0)
		return errno == ENOENT ? 0 : ygr_error_set(error, errno, "%s: %s", path, strerror(errno));
	json_t *state = st.st_size <= FILE_MAX ? json_load_file(path, JSON_REJECT_DUPLICATES, &where) : NULL;
	if (!state || integer(state, "version") != 1) {
		put_aside(path, state ? "another version wrote it" : "it cannot be read");
		json_decref(state);
		return 0;
	}
	json_array_foreach(json_object_get(state, "vms"), i, item)
	{
		if (r == 0)
			r = decode_vm(enforce, item);
	}
	json_decref(state);
	return r < 0 ? ygr_error_set(error, -r, "%s: %s", path, strerror(-r)) : 0;
}

int ygr_enforce_cleanup(const char *pin_directory, const char *state_directory, struct ygr_error *error)
{
	_cleanup_free_ char *path = NULL;
	int r = ygr_enforce_kernel_cleanup(pin_directory, error);

	if (asprintf(&path, "%s/" FILE_NAME, state_directory) < 0)
		return ygr_error_set(error, ENOMEM, "out of memory");
	if (unlink(path) < 0 && errno != ENOENT && r == 0)
		r = ygr_error_set(error, errno, "%s: %s", path, strerror(errno));
	return r;
}
