/* UUIDs (RFC 9562) as 16 bytes in the order of their text. */
#pragma once

#include <stdint.h>

#define YGR_UUID_TEXT_BYTES 37 /* with the NUL */

/* Reads "8f1b1f0e-0000-4000-8000-000000000001", digits of either case, and the end of TEXT: 0, or -EINVAL.
 */
int ygr_uuid_parse(const char *text, uint8_t ret_uuid[16]);
