/* Bundles are written; see bundle.h and bundle-read.c. */
#include "lib/policy/bundle.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/buf.h"
#include "lib/policy/bundle-format.h"

struct writer {
	struct ygr_buf buf;
	int failed;
};

static void put(struct writer *writer, const void *data, size_t len)
{
	static const uint8_t zeros[8];
	if (writer->failed == 0 && len > 0)
		writer->failed = ygr_buf_append(&writer->buf, data, len);
	if (writer->failed == 0 && len % 8)
		writer->failed = ygr_buf_append(&writer->buf, zeros, 8 - len % 8);
}

static void put_rules(struct writer *writer, const struct ygr_policy *policy)
{
	for (const struct ygr_policy_rule *rule = policy->rules; rule; rule = rule->next) {
		struct ygr_bundle_rule row = {.operation = rule->operation->number,
					      .declared = rule->action,
					      .action = ygr_policy_rule_action(rule)};
		strncpy(row.name, rule->name, sizeof(row.name) - 1);
		put(writer, &row, sizeof(row));
	}
}

static void put_programs(struct writer *writer, const struct ygr_policy_code *code)
{
	for (size_t i = 0; i < code->program_count; i++) {
		struct ygr_bundle_program row = {.operation = code->programs[i].operation->number,
						 .insns = (uint32_t)code->programs[i].count};
		put(writer, &row, sizeof(row));
		put(writer, code->programs[i].insns, code->programs[i].count * sizeof(struct bpf_insn));
	}
}

static void put_item(struct writer *writer, const struct ygr_policy_item *item)
{
	bool text = item->kind <= YGR_ITEM_GLOB;
	struct ygr_bundle_item row = {.kind = item->kind,
				      .prefix = item->prefix,
				      .length = text ? (uint32_t)strlen(item->text) : 0,
				      .low = item->low,
				      .high = item->high};
	memcpy(row.address, item->address, sizeof(row.address));
	put(writer, &row, sizeof(row));
	if (text)
		put(writer, item->text, row.length);
}

static uint32_t put_sets(struct writer *writer, const struct ygr_policy *policy)
{
	uint32_t count = 0;
	for (unsigned class = 0; class < YGR_SET_CLASSES; class ++)
		for (const struct ygr_policy_set *set = policy->sets[class]; set; set = set->next, count++) {
			struct ygr_bundle_set row = {.class = class,
						     .number = set->number,
						     .type = set->value->type,
						     .items = (uint32_t)set->value->flat_count};
			put(writer, &row, sizeof(row));
			for (size_t i = 0; i < set->value->flat_count; i++)
				put_item(writer, set->value->flat[i]);
		}
	return count;
}

int ygr_bundle_make(const struct ygr_bundle_about *about, const struct ygr_policy_code *code,
		    uint8_t **ret_data, size_t *ret_len, struct ygr_error *error)
{
	struct ygr_bundle_head head = {.magic = YGR_BUNDLE_MAGIC, .about = *about};
	struct writer writer = {.buf = YGR_BUF_INIT(YGR_BUNDLE_BYTES_MAX)};

	put(&writer, &head, sizeof(head));
	if (code) {
		strncpy(head.name, code->policy->name, sizeof(head.name) - 1);
		head.rules = code->policy->rule_count;
		head.programs = (uint32_t)code->program_count;
		memcpy(head.value_words, code->value_words, sizeof(code->value_words));
		put_rules(&writer, code->policy);
		put_programs(&writer, code);
		head.sets = put_sets(&writer, code->policy);
	} else {
		head.flags = YGR_BUNDLE_REMOVED;
	}
	if (writer.failed < 0) {
		ygr_buf_deinit(&writer.buf);
		return ygr_error_set(error, -writer.failed, "policy %s: its bundle %s", head.name,
				     writer.failed == -EMSGSIZE ? "is too large"
								: "needs more memory than there is");
	}
	head.length = (uint32_t)writer.buf.len;
	memcpy(writer.buf.data, &head, sizeof(head));
	*ret_data = writer.buf.data;
	*ret_len = writer.buf.len;
	return 0;
}
