/*
 * What the session takes from the guest's WELCOME document (docs/protocol.md): how the application shall see
 * its kernel. The guest's word; strings are bounded, numbers held to what they can be.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "agent/telebpf/local.h"

#define YGR_WELCOME_CPUS_MAX 8192

struct ygr_welcome {
	uint32_t possible_cpus; /* at least 1 */
	struct ygr_local_welcome local;
	char hostname[65];
};

/* Never fails: what is missing or malformed gets a value that an application can live with. */
void ygr_welcome_read(struct ygr_welcome *welcome, const json_t *json);
