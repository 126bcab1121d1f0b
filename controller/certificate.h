/*
 * The webhook's certificate and key, from files that may be replaced at any time (a mounted Secret is: both at once, by
 * a symbolic link, but two reads may see two generations). Used from one thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/error.h"

#define YGR_CERTIFICATE_MAX (64u << 10) /* bytes of a file */

struct ygr_certificate {
	char *cert, *key;  /* PEM, NUL-terminated */
	int64_t not_after; /* seconds since the epoch */
};

/* Reads both files: they must be PEM, and the key the certificate's; -EINVAL else, -E2BIG, or what reading says. */
int ygr_certificate_read(const char *cert_path, const char *key_path, struct ygr_certificate *ret,
			 struct ygr_error *error);
bool ygr_certificate_equal(const struct ygr_certificate *a, const struct ygr_certificate *b);
/* The key is overwritten. */
void ygr_certificate_deinit(struct ygr_certificate *certificate);
