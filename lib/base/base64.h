/* Base64 (RFC 4648, section 4, with padding). */
#pragma once

#include <stddef.h>
#include <stdint.h>

/*
 * Decodes LEN bytes of TEXT; line breaks between characters are passed over, as Kubernetes does. A malloc'ed
 * buffer with a NUL behind its end in *ret_data: 0, -EINVAL, -ENOMEM.
 */
int ygr_base64_decode(const char *text, size_t len, uint8_t **ret_data, size_t *ret_len);
