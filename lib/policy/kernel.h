/*
 * A policy in the kernel at hand, without any hook: its decisions are loaded as raw_tracepoint programs that
 * are attached nowhere, and asked by BPF_PROG_TEST_RUN. The instructions are those of an enforced policy but
 * for the first one, which here takes the event from an array. Needs CAP_BPF and CAP_PERFMON.
 */
#pragma once

#include "lib/policy/image.h"

struct ygr_policy_kernel;

/* Loads all maps and programs. The kernel's error; the message has the end of the verifier's log. */
int ygr_policy_kernel_new(const struct ygr_policy_code *code, const struct ygr_policy_image *image,
			  struct ygr_policy_kernel **ret_kernel, struct ygr_error *error);
struct ygr_policy_kernel *ygr_policy_kernel_free(struct ygr_policy_kernel *kernel);

/*
 * Asks about EVENT as an operation YGR_OP_*: its verdict is written to EVENT, and what the program returned
 * (0 or -errno) to *ret_answer. An operation without a program is allowed by default. The kernel's error.
 */
int ygr_policy_kernel_ask(const struct ygr_policy_kernel *kernel, unsigned operation,
			  struct ygr_policy_event *event, int *ret_answer, struct ygr_error *error);

/* The descriptor of MAP, owned by KERNEL; -1 when the policy does not use it. */
int ygr_policy_kernel_map(const struct ygr_policy_kernel *kernel, enum ygr_policy_map map);

/* Forgets what was counted. */
int ygr_policy_kernel_reset(struct ygr_policy_kernel *kernel);

/* Instructions that the verifier went through for OPERATION's program; 0 where the kernel does not tell. */
uint32_t ygr_policy_kernel_verified(const struct ygr_policy_kernel *kernel, unsigned operation);
