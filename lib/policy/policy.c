/* See policy.h. */
#include "lib/policy/policy.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/base/cleanup.h"
#include "lib/policy/evaluate.h"
#include "lib/policy/lex.h"
#include "lib/policy/parse.h"

struct ygr_policy_unit {
	char *text;
	struct ygr_policy_arena *arena;
	struct ygr_policy_diagnostics *diagnostics;
	struct ygr_policy *policies;
};

struct ygr_policy_unit *ygr_policy_unit_free(struct ygr_policy_unit *unit)
{
	if (!unit)
		return NULL;
	ygr_policy_diagnostics_free(unit->diagnostics);
	ygr_policy_arena_free(unit->arena);
	free(unit->text);
	free(unit);
	return NULL;
}

static int too_large(const char *file, struct ygr_error *error)
{
	return ygr_error_set(error, EFBIG, "%s: a policy file has at most %u KiB", file,
			     YGR_POLICY_SOURCE_MAX >> 10);
}

int ygr_policy_unit_new(const char *file, const char *text, size_t len, struct ygr_policy_unit **ret_unit,
			struct ygr_error *error)
{
	if (len > YGR_POLICY_SOURCE_MAX)
		return too_large(file, error);
	struct ygr_policy_unit *unit = calloc(1, sizeof(*unit));
	int r = -ENOMEM;
	if (unit) {
		unit->text = malloc(len + 1);
		unit->arena = ygr_policy_arena_new(YGR_POLICY_MEMORY_MAX);
	}
	if (unit && unit->text && unit->arena) {
		memcpy(unit->text, text, len);
		unit->text[len] = '\0';
		unit->diagnostics = ygr_policy_diagnostics_new(file, unit->text, len);
	}
	if (unit && unit->diagnostics)
		r = ygr_policy_parse(unit->text, len, unit->arena, unit->diagnostics, &unit->policies);
	if (r == 0)
		r = ygr_policy_evaluate(unit->policies, unit->arena, unit->diagnostics);
	if (r == 0 && ygr_policy_error_count(unit->diagnostics) == 0)
		r = ygr_policy_number(unit->policies, unit->arena, unit->diagnostics);
	if (r < 0) {
		ygr_policy_unit_free(unit);
		return r == -E2BIG
			   ? ygr_error_set(error, E2BIG, "%s: the policy needs more than %u MiB of memory",
					   file, YGR_POLICY_MEMORY_MAX >> 20)
			   : ygr_error_set(error, ENOMEM, "%s: out of memory", file);
	}
	*ret_unit = unit;
	return 0;
}

int ygr_policy_unit_read(const char *path, struct ygr_policy_unit **ret_unit, struct ygr_error *error)
{
	_cleanup_free_ char *text = malloc(YGR_POLICY_SOURCE_MAX + 1);
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	size_t len = 0;
	struct stat st;

	if (!text)
		return ygr_error_set(error, ENOMEM, "%s: out of memory", path);
	if (fd < 0 || fstat(fd, &st) < 0)
		return ygr_error_set(error, errno, "%s: %s", path, strerror(errno));
	if (S_ISDIR(st.st_mode))
		return ygr_error_set(error, EISDIR, "%s: %s", path, strerror(EISDIR));
	while (len <= YGR_POLICY_SOURCE_MAX) {
		ssize_t n = read(fd, text + len, YGR_POLICY_SOURCE_MAX + 1 - len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return ygr_error_set(error, errno, "%s: %s", path, strerror(errno));
		if (n == 0)
			break;
		len += (size_t)n;
	}
	return ygr_policy_unit_new(path, text, len, ret_unit, error);
}

unsigned ygr_policy_unit_errors(const struct ygr_policy_unit *unit)
{
	return ygr_policy_error_count(unit->diagnostics);
}

unsigned ygr_policy_unit_warnings(const struct ygr_policy_unit *unit)
{
	return ygr_policy_warning_count(unit->diagnostics);
}

void ygr_policy_unit_review(struct ygr_policy_unit *unit)
{
	ygr_policy_review(unit->policies, unit->diagnostics);
}

int ygr_policy_unit_said(const struct ygr_policy_unit *unit, struct ygr_buf *out)
{
	return ygr_policy_diagnostics_write(unit->diagnostics, out);
}

bool ygr_policy_unit_said_at(const struct ygr_policy_unit *unit, size_t i, struct ygr_policy_said *ret)
{
	return ygr_policy_diagnostics_at(unit->diagnostics, i, ret);
}

const struct ygr_policy *ygr_policy_unit_policies(const struct ygr_policy_unit *unit)
{
	return unit->policies;
}

int ygr_policy_unit_audit(struct ygr_policy_unit *unit, const char *policy, const char *rule, bool audit)
{
	bool found = false;
	for (struct ygr_policy *p = unit->policies; p; p = p->next) {
		if (policy && strcmp(policy, p->name) != 0)
			continue;
		found |= !rule;
		for (struct ygr_policy_rule *r = p->rules; r; r = r->next) {
			if (rule && strcmp(rule, r->name) != 0)
				continue;
			r->audited = audit;
			found = true;
		}
	}
	return found ? 0 : -ENOENT;
}
