/* Forwarded calls performed in this machine's own kernel, by the marshaller's other half. */
#pragma once

#include "tests/agent/telebpf/shim/loopback.h"

int64_t loopback_call(struct loopback_handles *handles, const uint8_t *payload, uint32_t length,
		      uint8_t **ret_reply);
