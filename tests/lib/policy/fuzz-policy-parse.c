/*
 * Any text: it is read or refused; what is read without errors prints to a text that prints as itself, and
 * compiles, or is refused with a reason.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lib/policy/explain.h"
#include "lib/policy/policy.h"
#include "lib/policy/print.h"
#include "lib/policy/show.h"
#include "lib/policy/situation.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct ygr_buf printed(const struct ygr_policy_unit *unit)
{
	struct ygr_buf out = YGR_BUF_INIT(YGR_POLICY_TEXT_MAX);
	struct ygr_policy_text text = {.out = &out};
	for (const struct ygr_policy *policy = ygr_policy_unit_policies(unit); policy; policy = policy->next)
		ygr_policy_print(policy, &text);
	if (text.failed < 0)
		abort();
	return out;
}

static void compile(const struct ygr_policy *policy)
{
	struct ygr_policy_code *code = NULL;
	struct ygr_policy_image *image = NULL;
	struct ygr_error error = YGR_ERROR_INIT;
	struct ygr_buf out = YGR_BUF_INIT(YGR_POLICY_TEXT_MAX);
	struct ygr_policy_text text = {.out = &out};
	if (ygr_policy_linearize(policy, &code, &error) < 0) {
		if (!error.message[0])
			abort();
		return;
	}
	if (ygr_policy_image_new(code, &ygr_policy_situation_names, &image) < 0)
		abort();
	ygr_policy_show_asm(code, &text);
	ygr_policy_show_json(code, &text);
	ygr_buf_deinit(&out);
	ygr_policy_image_free(image);
	ygr_policy_code_free(code);
}

static void reread(const struct ygr_policy_unit *unit)
{
	struct ygr_policy_unit *again = NULL;
	struct ygr_buf first = printed(unit);
	if (first.len > 0 &&
	    ygr_policy_unit_new("again", (const char *)first.data, first.len, &again, NULL) == 0) {
		if (ygr_policy_unit_errors(again) > 0)
			abort();
		struct ygr_buf second = printed(again);
		if (first.len != second.len || memcmp(first.data, second.data, first.len) != 0)
			abort();
		ygr_buf_deinit(&second);
	}
	ygr_buf_deinit(&first);
	ygr_policy_unit_free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct ygr_policy_unit *unit = NULL;
	struct ygr_buf out = YGR_BUF_INIT(YGR_POLICY_TEXT_MAX);
	struct ygr_policy_text text = {.out = &out};

	if (ygr_policy_unit_new("fuzz", (const char *)data, size, &unit, NULL) < 0)
		return 0;
	if (ygr_policy_unit_errors(unit) == 0) {
		ygr_policy_unit_review(unit);
		reread(unit);
		for (const struct ygr_policy *p = ygr_policy_unit_policies(unit); p; p = p->next) {
			ygr_policy_explain(p, &text);
			compile(p);
		}
		out.len = 0;
	}
	if (ygr_policy_unit_said(unit, &out) < 0)
		abort();
	ygr_buf_deinit(&out);
	ygr_policy_unit_free(unit);
	return 0;
}
