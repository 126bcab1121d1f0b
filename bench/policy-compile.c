/*
 * How long a policy of 1,000 rules takes from text to instructions, and what the warnings of `check` cost on
 * top. Median of the rounds, with the fastest and the slowest.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/policy/code.h"
#include "lib/policy/policy.h"

#define RULES  1000
#define ROUNDS 51

static double milliseconds(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

/* Rules of the usual kinds, each with sets of its own. */
static size_t write_policy(char *text)
{
	char *end = text;
	end += sprintf(
	    end, "policy bench {\n  let web = exe { \"/usr/sbin/nginx\", under \"/opt/web\" }\n  guest {\n");
	for (int i = 0; i < RULES; i++) {
		switch (i % 4) {
		case 0:
			end += sprintf(end,
				       "rule r%d: deny open of { \"/etc/%d\", under \"/srv/%d\" } for write "
				       "unless by exe \"/usr/bin/tool%d\" or by user root\n",
				       i, i, i, i % 50);
			break;
		case 1:
			end += sprintf(
			    end, "rule r%d: deny exec of file \"/usr/bin/p%d\" by descendants of web\n", i,
			    i);
			break;
		case 2:
			end += sprintf(
			    end, "rule r%d: audit connect to not { 10.%d.0.0/16, ::1 } port 443 by web\n", i,
			    i / 4);
			break;
		default:
			end += sprintf(end, "rule r%d: notify create of under \"/var/%d\" by user %d-%d\n",
				       i, i, i, i + 9);
			break;
		}
	}
	end += sprintf(end, "  }\n}\n");
	return (size_t)(end - text);
}

static int ascending(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return x < y ? -1 : x > y;
}

int main(void)
{
	static char text[256 * 1024];
	static double compile[ROUNDS], review[ROUNDS];
	size_t len = write_policy(text), instructions = 0;

	for (int i = 0; i < ROUNDS; i++) {
		struct ygr_policy_unit *unit = NULL;
		struct ygr_policy_code *code = NULL;
		struct ygr_error error = YGR_ERROR_INIT;
		double start = milliseconds();
		if (ygr_policy_unit_new("bench", text, len, &unit, &error) < 0 ||
		    ygr_policy_unit_errors(unit) ||
		    ygr_policy_linearize(ygr_policy_unit_policies(unit), &code, &error) < 0) {
			fprintf(stderr, "policy-compile: %s\n",
				error.code ? error.message : "errors in the policy");
			return 1;
		}
		double compiled = milliseconds();
		ygr_policy_unit_review(unit);
		compile[i] = compiled - start;
		review[i] = milliseconds() - compiled;
		instructions = 0;
		for (size_t j = 0; j < code->program_count; j++)
			instructions += code->programs[j].count;
		ygr_policy_code_free(code);
		ygr_policy_unit_free(unit);
	}
	qsort(compile, ROUNDS, sizeof(double), ascending);
	qsort(review, ROUNDS, sizeof(double), ascending);
	printf("%d rules, %zu bytes of text, %zu instructions\n", RULES, len, instructions);
	printf("figure policy_compile_1000_ms %.3f ms\nfastest %.3f, slowest %.3f of %d rounds\n",
	       compile[ROUNDS / 2], compile[0], compile[ROUNDS - 1], ROUNDS);
	printf("figure policy_review_1000_ms %.3f ms\n", review[ROUNDS / 2]);
	return 0;
}
