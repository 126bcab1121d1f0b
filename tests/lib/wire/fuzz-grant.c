/*
 * A grant from any JSON (up to the first NUL byte), asked about any call and path (the rest): never more
 * than allowed or refused, a refusal always says something, and a path that passes is a plain one.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lib/wire/grant.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *any_tracepoint(void *user, uint64_t id)
{
	(void)user;
	return id & 1 ? "syscalls/sys_enter_execve" : NULL;
}

static const char *any_btf(void *user, uint32_t btf_obj, uint32_t type_id)
{
	(void)user;
	(void)btf_obj;
	return type_id & 1 ? "bpf_lsm_file_open" : type_id & 2 ? "do_exit" : NULL;
}

static const char *any_pmu(void *user, uint32_t type)
{
	(void)user;
	return type % 3 == 0 ? "kprobe" : type % 3 == 1 ? "uprobe" : NULL;
}

static const struct ygr_grant_names names = {any_tracepoint, any_btf, any_pmu, NULL};

/* kind, cmd, attribute size, where the one segment hangs; the attribute; the segment. */
static void fill_plan(struct ygr_call_plan *plan, const uint8_t *data, size_t size)
{
	memset(plan, 0, sizeof(*plan));
	if (size < 4)
		return;
	plan->call = (struct ygr_call){.kind = data[0] % 4, .cmd = data[1] % 40, .attr_size = data[2]};
	uint32_t field = data[3];
	data += 4;
	size -= 4;
	size_t attr = size < plan->call.attr_size ? size : plan->call.attr_size;
	memcpy(plan->attr, data, attr);
	if (size > attr) {
		plan->segments[0] = (struct ygr_segment){
		    .field = field,
		    .data = (uint8_t *)data + attr,
		    .in_length = (uint32_t)(size - attr),
		};
		plan->segment_count = 1;
	}
}

static void must_be_answer(int r, const struct ygr_error *error)
{
	if (r != 0 && (r != -EACCES || error->code != EACCES || !error->message[0]))
		abort();
}

static void ask(const struct ygr_grant *grant, const struct ygr_call_plan *plan, const char *path)
{
	struct ygr_error error = YGR_ERROR_INIT;
	must_be_answer(ygr_grant_check_call(grant, "a list", plan, &names, &error), &error);
	must_be_answer(ygr_grant_check_call(grant, "a list", plan, NULL, &error), &error);
	int r = ygr_grant_check_file(grant, "a list", path, O_RDWR, &error);
	must_be_answer(r, &error);
	if (r == 0 && (path[0] != '/' || strstr(path, "/../") || strstr(path, "//") || strstr(path, "/./")))
		abort();
	(void)ygr_grant_leads_to(grant, path);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *end = memchr(data, '\0', size);
	size_t len = end ? (size_t)(end - data) : size;
	json_t *json = json_loadb((const char *)data, len, JSON_REJECT_DUPLICATES, NULL);
	if (!json)
		return 0;

	const uint8_t *rest = data + (end ? len + 1 : len);
	size_t rest_size = size - (size_t)(rest - data);
	static struct ygr_call_plan plan;
	fill_plan(&plan, rest, rest_size);
	char path[256] = "";
	memcpy(path, rest, rest_size < sizeof(path) - 1 ? rest_size : sizeof(path) - 1);

	for (int strict = 0; strict < 2; strict++) {
		struct ygr_error error = YGR_ERROR_INIT;
		struct ygr_grant *grant = ygr_grant_new_json(json, strict, &error);
		if (!grant && (error.code != EINVAL || !error.message[0]))
			abort();
		if (grant)
			ask(grant, &plan, path);
		ygr_grant_free(grant);
	}
	json_decref(json);
	return 0;
}
