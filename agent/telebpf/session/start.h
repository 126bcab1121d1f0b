/* From the descriptors that the agent left to a confined application that is being started. */
#pragma once

#include "agent/telebpf/session/session.h"

#define YGR_SESSION_CONTROL_FD 3
#define YGR_SESSION_CHANNEL_FD 4
#define YGR_SESSION_RAM_FD     5

/* 0, or a negative errno after the reason was reported (session->killed is set then). */
int ygr_session_start(struct ygr_session *session);

/* session.c: handlers of the channel. */
void ygr_session_message(void *user, const struct ygr_frame *frame);
void ygr_session_lost(void *user, const struct ygr_error *error);
