/*
 * Cuts JSON that arrives in pieces into objects, without ever holding more than one of them: the items of a
 * list (`{..., "items": [{...}, ...], ...}`), or the objects of a stream that follow each other. It follows
 * only strings and brackets; whoever gets an object parses it and so learns whether it is JSON.
 *
 * metadata.managedFields, which is often the greater part of an object and of interest to none of our readers,
 * becomes null on the way.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/buf.h"

#define YGR_KUBE_OBJECT_MAX   (2u << 20)  /* bytes of one object; etcd takes 1.5 MiB */
#define YGR_KUBE_ENVELOPE_MAX (64u << 10) /* bytes of a list beside its items */
#define YGR_KUBE_DEPTH_MAX    128

enum ygr_kube_split_mode { YGR_KUBE_SPLIT_LIST, YGR_KUBE_SPLIT_STREAM };

struct ygr_kube_split {
	enum ygr_kube_split_mode mode;
	/* An object of LEN bytes (and a NUL): what is not 0 ends the splitting with that. */
	int (*object)(void *user, const char *text, size_t len);
	void *user;
	struct ygr_buf item;
	struct ygr_buf envelope; /* of a list: everything but the contents of `items` */

	/* Where we are. */
	unsigned depth;                           /* open brackets */
	uint64_t arrays[YGR_KUBE_DEPTH_MAX / 64]; /* bit d: bracket d is [ */
	bool in_string, escaped, key_next, in_key, in_items, done;
	unsigned base;    /* depth of the object that is being cut out */
	unsigned matched; /* members of the path to managedFields that lead here */
	unsigned skip;    /* depth above which nothing is kept; 0: all is */
	bool value_matches;
	char key[16];
	unsigned key_len;
};

void ygr_kube_split_init(struct ygr_kube_split *split, enum ygr_kube_split_mode mode,
			 int (*object)(void *user, const char *text, size_t len), void *user);
void ygr_kube_split_deinit(struct ygr_kube_split *split);

/* LEN more bytes: 0, what object() returned, -EINVAL (no such JSON), -EMSGSIZE, -ENOMEM. */
int ygr_kube_split_feed(struct ygr_kube_split *split, const char *bytes, size_t len);

/* After the last byte: is everything complete? A list has its envelope then, with a NUL. 0, -EINVAL, -ENOMEM. */
int ygr_kube_split_end(struct ygr_kube_split *split);
