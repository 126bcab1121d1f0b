/*
 * The administrator's list of programs that may run against guests: executable and hash, allowed arguments,
 * and what each may do in a guest (the grant that is signed for its sessions). The form is described in
 * examples/catalogue.yaml.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "lib/base/error.h"

#define YGR_CATALOGUE_PROGRAMS_MAX 1024

struct ygr_catalogue;
struct ygr_catalogue_entry;

/* Reads COUNT files; a program that is in two of them is an error that names both. -EINVAL with
 * file:line:column. */
int ygr_catalogue_read(const char *const *paths, size_t count, struct ygr_catalogue **ret,
		       struct ygr_error *error);
struct ygr_catalogue *ygr_catalogue_free(struct ygr_catalogue *catalogue);

/* The entry NAME or NULL; *RET_NEAREST (when wanted) is then the most similar name or NULL. */
const struct ygr_catalogue_entry *ygr_catalogue_find(const struct ygr_catalogue *catalogue, const char *name,
						     const char **ret_nearest);

const char *ygr_catalogue_executable(const struct ygr_catalogue_entry *entry);
/* Does the first line of output name the columns of the others? */
bool ygr_catalogue_has_header(const struct ygr_catalogue_entry *entry);

/* How its sessions learn of new records: a word of ygr_wake_words (telebpf.h). Static. */
const char *ygr_catalogue_wake(const struct ygr_catalogue_entry *entry);

/* Are these arguments allowed? 0, or -EPERM with the one that is not. */
int ygr_catalogue_check_args(const struct ygr_catalogue_entry *entry, char *const *args,
			     struct ygr_error *error);

/*
 * The SHA-256 that the executable must have: from the file, or for `Auto` what the executable was when it
 * was first asked for, held from then on. Reads the whole executable then: for workers; thread-safe.
 */
int ygr_catalogue_hash(const struct ygr_catalogue_entry *entry, uint8_t ret_sha256[32],
		       struct ygr_error *error);

/* The grant for one session on VM (a UUID), valid for an hour from NOW (seconds since the epoch). NULL: no
 * memory. */
json_t *ygr_catalogue_grant(const struct ygr_catalogue_entry *entry, const uint8_t sha256[32],
			    const char *vm, int64_t now);

/* For root's ad-hoc runs by path: everything that the owner lets through. */
json_t *ygr_catalogue_grant_adhoc(const char *path, const uint8_t sha256[32], const char *vm, int64_t now);

/* SHA-256 of the file PATH. For workers. */
int ygr_catalogue_hash_file(const char *path, uint8_t ret_sha256[32], struct ygr_error *error);
