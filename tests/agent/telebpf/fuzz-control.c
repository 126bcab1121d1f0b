/* What a session reports, read by the agent: any bytes, in pieces of every length. */
#include <stdlib.h>
#include <string.h>

#include "agent/telebpf/application.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void on_changed(void *user, struct ygr_application *application)
{
	(void)user;
	(void)application;
}

static bool on_output(void *user, const char *which, const char *text, size_t length)
{
	*(size_t *)user += length + strlen(which) + (length && text[length - 1]); /* both are read */
	return true;
}

static bool is_word(const char *text)
{
	for (; *text; text++)
		if (!((*text >= '0' && *text <= '9') || (*text >= 'A' && *text <= 'Z') ||
		      (*text >= 'a' && *text <= 'z')))
			return false;
	return true;
}

/* The first byte: how long the pieces are. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t piece = size ? data[0] + 1u : 1, written = 0;
	struct ygr_application *a = calloc(1, sizeof(*a));
	json_t *message;

	if (!a)
		return 0;
	a->handlers = (struct ygr_application_handlers){on_changed, on_output, &written};
	a->options.monitor = a->options.app = "x";
	a->exit_status = -1;
	a->control_input = YGR_BUF_INIT(YGR_CONTROL_LINE_MAX);
	for (size_t at = 1; at < size; at += piece)
		if (ygr_application_hear(a, (const char *)data + at, size - at < piece ? size - at : piece) <
		    0)
			break;
	/* What goes on into statuses is what it says that it is. */
	message = json_string(a->error.message);
	if (!message || !is_word(a->reason) || !is_word(a->delivery) || !is_word(a->mechanism) ||
	    a->exit_status < -1 || a->exit_status > 255)
		abort();
	json_decref(message);
	ygr_buf_deinit(&a->control_input);
	free(a);
	return 0;
}
