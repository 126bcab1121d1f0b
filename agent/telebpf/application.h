/* The inside of an application: what application.c, application-launch.c and application-listen.c share. */
#pragma once

#include "agent/telebpf/lines.h"
#include "agent/telebpf/room.h"
#include "agent/telebpf/session-line.h"
#include "lib/base/buf.h"

#define YGR_CONTROL_LINE_MAX      (256u << 10) /* of a session */
#define YGR_APPLICATION_KILL_MS   4000         /* after stop: the session itself kills at 2 s */
#define YGR_APPLICATION_LINGER_MS 1000

enum { YGR_APPLICATION_OUT, YGR_APPLICATION_ERR, YGR_APPLICATION_STREAMS };

struct ygr_application_pipe {
	uv_pipe_t pipe;
	struct ygr_application *application;
	unsigned which;
	bool open, paused;
};

struct ygr_application {
	struct ygr_telebpf *telebpf;
	struct ygr_application_options options; /* its strings are copies; its link may go before we do */
	struct ygr_link_target vm;
	char **args;
	struct ygr_application_ram *ram;
	const struct ygr_catalogue_entry *entry;
	char *executable, *delivery_wanted;
	struct ygr_application_handlers handlers;
	uint8_t id[16];
	uid_t uid;
	bool holds_uid;

	char *cgroup; /* NULL: not launched yet */
	bool clearing;
	uv_work_t clear;
	struct ygr_application *next; /* of telebpf->groups or telebpf->waiting */

	struct ygr_dial *dial, *held; /* under way; done, and kept until the control group is free */
	struct ygr_session_grant grant;
	uv_process_t process;
	bool process_open, reaped;
	struct ygr_application_pipe streams[YGR_APPLICATION_STREAMS];
	struct ygr_lines lines[YGR_APPLICATION_STREAMS];
	uint64_t sequence;
	uv_pipe_t control;
	bool control_open;
	struct ygr_buf control_input;
	uv_timer_t timer;

	enum ygr_application_state state;
	bool stopping, killed, closed;
	unsigned references; /* owner, dial, and every open handle */
	char reason[64];
	struct ygr_error error;
	int exit_status;
	char delivery[16], mechanism[16];
	struct ygr_application_counters counters;
	int64_t last_event;
};

/* application.c */
void ygr_application_unref(struct ygr_application *a);
void ygr_application_changed(struct ygr_application *a);
void ygr_application_fail(struct ygr_application *a, const char *reason, const char *message);
/* For uv_close() of a handle whose data is the application. */
void ygr_application_handle_closed(uv_handle_t *handle);
/* Tells of the end, once all that it consists of has come. */
void ygr_application_end_if_over(struct ygr_application *a);

/* application-launch.c: dials; what follows comes back to the loop. -ENOMEM. */
int ygr_application_dial(struct ygr_application *a);
/* What follows a dial: a launch, or its failure. Takes DIAL, and the reference that was held for it. */
void ygr_application_dialled(struct ygr_application *a, struct ygr_dial *dial);
/* {"do": WHAT, "signal": SIGNAL_NUMBER} */
int ygr_application_tell(struct ygr_application *a, const char *what, int signal_number);

/* application-group.c */
/* True when the control group's name is A's from now on; else A waits for it, and DIAL comes back when it is free. */
bool ygr_application_take_group(struct ygr_application *a, struct ygr_dial *dial);
/* The session has ended. One that was KILLED has left the group behind: that is cleared away before anything else. */
void ygr_application_leave_group(struct ygr_application *a, bool killed);

/* application-listen.c */
void ygr_application_init_lines(struct ygr_application *a);
/* A pipe whose write end becomes a descriptor of the session, and a connection whose other end does. */
int ygr_application_open_stream(struct ygr_application *a, unsigned which, int *ret_write);
int ygr_application_open_control(struct ygr_application *a, int *ret_theirs);
void ygr_application_close_stream(struct ygr_application_pipe *end);
void ygr_application_close_control(struct ygr_application *a);
/* A second after the session's end: whatever is still open is held by somebody else. */
void ygr_application_give_up_pipes(uv_timer_t *timer);
/* Bytes of the session's control connection: 0, or -EPROTO for what session.md does not have. */
int ygr_application_hear(struct ygr_application *a, const char *bytes, size_t length);
