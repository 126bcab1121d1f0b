#include "agent/telebpf/session/welcome.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A string of OBJECT into a field of struct utsname; without control characters. */
static void copy_name(char out[65], const json_t *object, const char *key, const char *otherwise)
{
	const char *text = json_string_value(json_object_get(object, key));

	snprintf(out, 65, "%s", text ? text : otherwise);
	for (char *c = out; *c; c++)
		if ((unsigned char)*c < ' ' || *c == 0x7f)
			*c = '?';
}

/* How many CPUs a list like "0-3,8" names at most: its highest number and one. 0 when it is no list. */
static uint32_t cpus_of_list(const char *list)
{
	unsigned long highest = 0;

	while (*list) {
		char *end;
		unsigned long number = strtoul(list, &end, 10);

		if (end == list || number >= YGR_WELCOME_CPUS_MAX)
			return 0;
		if (number > highest)
			highest = number;
		if (*end == ',' || *end == '-')
			end++;
		else if (*end && *end != '\n')
			return 0;
		else if (*end)
			break;
		list = end;
	}
	return (uint32_t)highest + 1;
}

static uint32_t possible_cpus(const json_t *json)
{
	const json_t *possible = json_object_get(json_object_get(json, "cpus"), "possible");
	uint32_t count = 0;

	if (json_is_string(possible))
		count = cpus_of_list(json_string_value(possible));
	else if (json_is_integer(possible) && json_integer_value(possible) <= YGR_WELCOME_CPUS_MAX)
		count = json_integer_value(possible) > 0 ? (uint32_t)json_integer_value(possible) : 0;
	return count ? count : 1;
}

/* As its vDSO says, else as far as the release tells: LINUX_VERSION_CODE, 0 when neither does. */
static uint32_t version_code(const json_t *json, const char *release)
{
	const json_t *code = json_object_get(json, "versionCode");
	unsigned major, minor, patch = 0;

	if (json_is_integer(code) && json_integer_value(code) > 0 && json_integer_value(code) <= UINT32_MAX)
		return (uint32_t)json_integer_value(code);
	if (sscanf(release, "%3u.%3u.%5u", &major, &minor, &patch) < 2 || major > UINT16_MAX ||
	    minor > UINT8_MAX)
		return 0;
	return major << 16 | minor << 8 | (patch > UINT8_MAX ? UINT8_MAX : patch);
}

void ygr_welcome_read(struct ygr_welcome *welcome, const json_t *json)
{
	struct ygr_local_welcome *local = &welcome->local;

	*welcome = (struct ygr_welcome){.possible_cpus = possible_cpus(json)};
	local->possible_cpus = welcome->possible_cpus;
	copy_name(local->uname.sysname, json, "sysname", "Linux");
	copy_name(local->uname.nodename, json, "nodename", "guest");
	copy_name(local->uname.release, json, "release", "0.0.0");
	copy_name(local->uname.version, json, "version", "#1");
	copy_name(local->uname.machine, json, "machine", "x86_64");
	copy_name(local->uname.domainname, json, "domainname", "(none)");
	local->version = version_code(json, local->uname.release);
	memcpy(welcome->hostname, local->uname.nodename, sizeof(welcome->hostname));
}
