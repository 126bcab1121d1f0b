/* The idsJobs of a VMMonitor, and the parts of its decoder that applications and jobs share. */
#pragma once

#include "lib/api/monitor.h"

int ygr_jobs_decode(const struct ygr_field *field, struct ygr_ids_job **ret_jobs, size_t *ret_count,
		    struct ygr_error *error);
void ygr_jobs_free(struct ygr_ids_job *jobs, size_t count);

/* A required DNS label at KEY. */
int ygr_monitor_decode_name(const struct ygr_field *object, const char *key, char **ret,
			    struct ygr_error *error);
/* `program` (required) and `args`. What was allocated before an error belongs to the caller. */
int ygr_monitor_decode_program(const struct ygr_field *object, char **ret_program, char ***ret_args,
			       size_t *ret_arg_count, struct ygr_error *error);
