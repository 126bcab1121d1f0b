/* The agent put together: makes the rooms, connects their callbacks, runs the loop. */
#pragma once

#include "agent/config.h"

/* Runs until SIGTERM or SIGINT: 0, or -errno when it could not start. */
int ygr_agent_run(const struct ygr_config *config, struct ygr_error *error);
