/* What a plain (unquoted) YAML scalar means; see yaml.h. */
#pragma once

#include <jansson.h>
#include <stddef.h>

/*
 * The value of the plain scalar TEXT (LEN bytes, NUL-terminated). On success a new reference in ret_value.
 * When YAML versions disagree about it, -EINVAL and *ret_advice says what to write instead (static).
 * -ENOMEM.
 */
int ygr_yaml_plain(const char *text, size_t len, json_t **ret_value, const char **ret_advice);
