/* What all checks of a call share; see grant-question.h. */
#include "lib/wire/grant-question.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "lib/wire/glob.h"

#define NAME_BYTES 768 /* a kind and a name (KSYM_NAME_LEN is 512); what is longer matches nothing */

uint64_t ygr_question_field(const struct ygr_question *q, size_t offset, size_t size)
{
	uint64_t value = 0;
	if (offset + size <= q->plan->call.attr_size && offset + size <= sizeof(q->plan->attr))
		memcpy(&value, q->plan->attr + offset, size);
	return value;
}

uint32_t ygr_question_field32(const struct ygr_question *q, size_t offset)
{
	return (uint32_t)ygr_question_field(q, offset, 4);
}

int ygr_question_string(const struct ygr_question *q, size_t offset, const char **ret)
{
	const struct ygr_segment *segment = ygr_call_plan_field(q->plan, (uint32_t)offset, 0);
	if (!segment || !segment->data) {
		*ret = NULL;
		return 0;
	}
	if (!memchr(segment->data, '\0', segment->in_length))
		return ygr_error_set(q->error, EACCES, "a name in the call has no end");
	*ret = (const char *)segment->data;
	return 0;
}

bool ygr_question_has_kind(const struct ygr_grant_list *list, const char *kind)
{
	if (list->all)
		return true;
	for (size_t i = 0; i < list->count; i++)
		if (strcmp(list->entries[i], "*") == 0 || strncmp(list->entries[i], kind, strlen(kind)) == 0)
			return true;
	return false;
}

int ygr_check_kind(const struct ygr_question *q, const char *kind)
{
	if (ygr_question_has_kind(&q->grant->attach, kind))
		return 0;
	return ygr_grant_deny(q->grant, q->who, q->error, "attach %s...", kind);
}

int ygr_check_attach(const struct ygr_question *q, const char *kind, const char *name)
{
	char thing[NAME_BYTES];
	int len = snprintf(thing, sizeof(thing), "%s%s", kind, name ? name : "#unknown");
	if (len < (int)sizeof(thing) && ygr_grant_list_has(&q->grant->attach, thing))
		return 0;
	return ygr_grant_deny(q->grant, q->who, q->error, "attach %s", thing);
}

int ygr_check_uprobe(const struct ygr_question *q, const char *path)
{
	static const char kind[] = "uprobe:";
	const struct ygr_grant_list *list = &q->grant->attach;
	if (!path || !ygr_grant_path_is_clean(path))
		return ygr_check_attach(q, kind, NULL);
	for (size_t i = 0; !list->all && i < list->count; i++) {
		const char *entry = list->entries[i];
		if (strcmp(entry, "*") == 0 || strcmp(entry, "uprobe:*") == 0)
			return 0;
		if (strncmp(entry, kind, strlen(kind)) == 0 &&
		    ygr_glob_match_path(entry + strlen(kind), path))
			return 0;
	}
	return list->all ? 0 : ygr_grant_deny(q->grant, q->who, q->error, "attach %s%s", kind, path);
}

int ygr_check_btf_attach(const struct ygr_question *q, const char *kind, const char *prefix,
			 uint32_t btf_obj, uint32_t type_id)
{
	if (!q->names->btf_name)
		return ygr_check_kind(q, kind);
	const char *name = q->names->btf_name(q->names->user, btf_obj, type_id);
	if (name && strncmp(name, prefix, strlen(prefix)) == 0)
		name += strlen(prefix);
	return ygr_check_attach(q, kind, name);
}
