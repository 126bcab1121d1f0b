/* See job.h. */
#include "lib/api/job.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define TIMEOUT_DEFAULT 60
#define TIMEOUT_MAX     86400

static const char *const runtime_words[] = {"Auto", "SGX", "Sandbox", NULL};

/* Five fields of cron characters; what they mean is checked by the scheduler that runs them. */
static bool is_schedule(const char *text)
{
	size_t fields = 0;

	while (*text) {
		size_t len = strspn(text, "0123456789*/,-");
		if (!len)
			return false;
		fields++;
		text += len;
		if (*text == ' ' && text[1])
			text++;
		else if (*text)
			return false;
	}
	return fields == 5;
}

static int decode_schedule(const struct ygr_field *job, char **ret, struct ygr_error *error)
{
	struct ygr_field field;
	int r = ygr_field_require(job, "schedule", &field, error);

	if (r == 0)
		r = ygr_field_dup(&field, 9, 128, ret, error);
	if (r == 0 && !is_schedule(*ret))
		r = ygr_field_expected(&field, error, "five fields of cron such as */5 * * * *");
	return r;
}

static int decode_enclave(const struct ygr_field *field, struct ygr_ids_job *job, struct ygr_error *error)
{
	static const char *const known[] = {"runtime", "requireTEE", NULL};
	struct ygr_field member;
	int word, r = ygr_field_object(field, known, error);

	if (r == 0 && ygr_field_member(field, "runtime", &member)) {
		r = ygr_field_enum(&member, runtime_words, &word, error);
		if (r == 0)
			job->runtime = (enum ygr_enclave_runtime)word;
	}
	if (r == 0 && ygr_field_member(field, "requireTEE", &member))
		r = ygr_field_bool(&member, &job->require_tee, error);
	return r;
}

static int decode_findings(const struct ygr_field *field, struct ygr_ids_job *job, struct ygr_error *error)
{
	static const char *const known[] = {"onExitCodes", "onChange", NULL};
	struct ygr_field member;
	size_t count = 0;
	int64_t code;
	int r = ygr_field_object(field, known, error);

	if (r == 0 && ygr_field_member(field, "onChange", &member))
		r = ygr_field_bool(&member, &job->on_change, error);
	if (r < 0 || !ygr_field_member(field, "onExitCodes", &member))
		return r;
	r = ygr_field_array(&member, 0, YGR_MONITOR_CODES_MAX, &count, error);
	for (size_t i = 0; r == 0 && i < count; i++) {
		struct ygr_field item = ygr_field_item(&member, i);
		r = ygr_field_int(&item, 1, 255, &code, error);
		if (r == 0)
			job->exit_codes[job->exit_code_count++] = (uint8_t)code;
	}
	return r;
}

static int decode_job(const struct ygr_field *field, struct ygr_ids_job *job, struct ygr_error *error)
{
	static const char *const known[] = {"name",           "program", "args",     "schedule",
					    "timeoutSeconds", "enclave", "findings", NULL};
	struct ygr_field member;
	int64_t seconds = TIMEOUT_DEFAULT;
	int r = ygr_field_object(field, known, error);

	if (r == 0)
		r = ygr_monitor_decode_name(field, "name", &job->name, error);
	if (r == 0)
		r = ygr_monitor_decode_program(field, &job->program, &job->args, &job->arg_count, error);
	if (r == 0)
		r = decode_schedule(field, &job->schedule, error);
	if (r == 0 && ygr_field_member(field, "timeoutSeconds", &member))
		r = ygr_field_int(&member, 1, TIMEOUT_MAX, &seconds, error);
	if (r == 0 && ygr_field_member(field, "enclave", &member))
		r = decode_enclave(&member, job, error);
	if (r == 0 && ygr_field_member(field, "findings", &member))
		r = decode_findings(&member, job, error);
	job->timeout_seconds = (uint32_t)seconds;
	return r;
}

int ygr_jobs_decode(const struct ygr_field *field, struct ygr_ids_job **ret_jobs, size_t *ret_count,
		    struct ygr_error *error)
{
	size_t count;
	int r = ygr_field_array(field, 0, YGR_MONITOR_JOBS_MAX, &count, error);

	if (r < 0 || !count)
		return r;
	struct ygr_ids_job *jobs = calloc(count, sizeof(*jobs));
	if (!jobs)
		return ygr_error_set(error, ENOMEM, "out of memory");
	for (size_t i = 0; r == 0 && i < count; i++) {
		struct ygr_field item = ygr_field_item(field, i), name;
		r = decode_job(&item, &jobs[i], error);
		for (size_t j = 0; r == 0 && j < i; j++)
			if (!strcmp(jobs[i].name, jobs[j].name) && ygr_field_member(&item, "name", &name))
				r = ygr_field_error(&name, error,
						    "\"%s\" is already the name of idsJobs[%zu]",
						    jobs[i].name, j);
	}
	if (r < 0) {
		ygr_jobs_free(jobs, count);
		return r;
	}
	*ret_jobs = jobs;
	*ret_count = count;
	return 0;
}

void ygr_jobs_free(struct ygr_ids_job *jobs, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		free(jobs[i].name);
		free(jobs[i].program);
		ygr_strings_free(jobs[i].args, jobs[i].arg_count);
		free(jobs[i].schedule);
	}
	free(jobs);
}
