/* Kubernetes quantities: "64Mi", "200m", "1.5G". */
#pragma once

#include <stdint.h>

#include "lib/base/decode.h"

/*
 * Reads TEXT (up to 12 digits, up to 3 decimals, and one of m k M G T Ki Mi Gi Ti or nothing) into
 * thousandths. -EINVAL for another form, -ERANGE when it does not fit.
 */
int ygr_quantity_parse(const char *text, int64_t *ret_milli);

/* A field that holds a quantity as a string or a whole number, more than zero; in units, rounded up. */
int ygr_quantity_decode(const struct ygr_field *field, uint64_t *ret_units, struct ygr_error *error);
/* The same in thousandths (CPU). */
int ygr_quantity_decode_milli(const struct ygr_field *field, uint32_t *ret_milli, struct ygr_error *error);
