/*
 * One call that is being checked against one grant, and the questions that all checks share; for grant-*.c
 * only. Every check returns 0 or -EACCES with its sentence.
 */
#pragma once

#include <linux/bpf.h>
#include <stddef.h>

#include "lib/wire/grant-lists.h"

#define FIELD(name) offsetof(union bpf_attr, name)

struct ygr_question {
	const struct ygr_grant *grant;
	const char *who;
	const struct ygr_call_plan *plan;
	const struct ygr_grant_names *names; /* never NULL */
	struct ygr_error *error;
};

/* A field of the attribute, SIZE <= 8; what was not sent is zero, as the kernel sees it. */
uint64_t ygr_question_field(const struct ygr_question *q, size_t offset, size_t size);
uint32_t ygr_question_field32(const struct ygr_question *q, size_t offset);

/*
 * The string behind a pointer field: NULL for a pointer that is NULL or could not be read (the decoder makes
 * it one that the kernel cannot read either), -EACCES for what has no end.
 */
int ygr_question_string(const struct ygr_question *q, size_t offset, const char **ret);

/* Is there any entry that starts with KIND ("kprobe:"), or a "*"? For names which this end cannot resolve.
 */
bool ygr_question_has_kind(const struct ygr_grant_list *list, const char *kind);
int ygr_check_kind(const struct ygr_question *q, const char *kind);

/* KIND:NAME on the attach list; with NAME NULL only KIND:* or * fits, since the kernel knows no such name.
 */
int ygr_check_attach(const struct ygr_question *q, const char *kind, const char *name);
int ygr_check_uprobe(const struct ygr_question *q, const char *path);
/* KIND with the BTF name of a type, without PREFIX where it has that. */
int ygr_check_btf_attach(const struct ygr_question *q, const char *kind, const char *prefix,
			 uint32_t btf_obj, uint32_t type_id);

int ygr_check_prog_load(const struct ygr_question *q); /* grant-load.c */
int ygr_check_map_create(const struct ygr_question *q);
int ygr_check_perf(const struct ygr_question *q); /* grant-perf.c */
int ygr_check_ioctl(const struct ygr_question *q);
