/*
 * The table is whole: every command has a row in its place, every bpf command of the installed kernel header
 * is known, and rows keep within their attribute.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <linux/bpf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/wire/call-table.h"

static void test_rows_are_in_order(void **state)
{
	(void)state;
	assert_true(ygr_command_count() >= 37); /* TOKEN_CREATE is 36 */
	for (int cmd = 0; cmd < ygr_command_count(); cmd++) {
		const struct ygr_command_info *info = ygr_command_info(cmd);
		assert_non_null(info);
		assert_int_equal(info->cmd, cmd);
		assert_true(strlen(info->name) > 3);
		assert_true(info->treatment != YGR_REFUSED || info->reason);
	}
	assert_null(ygr_command_info(-1));
	assert_null(ygr_command_info(ygr_command_count()));
	assert_string_equal(ygr_command_info(BPF_PROG_LOAD)->name, "PROG_LOAD");
	assert_string_equal(ygr_command_info(BPF_PROG_BIND_MAP)->name, "PROG_BIND_MAP");
	assert_true(ygr_command_info(BPF_LINK_CREATE)->returns_fd);
	assert_false(ygr_command_info(BPF_MAP_LOOKUP_ELEM)->returns_fd);
}

/* Reads `enum bpf_cmd` of the header that is installed, as a compiler would count it. */
static void test_header_knows_no_more(void **state)
{
	(void)state;
	FILE *file = fopen("/usr/include/linux/bpf.h", "r");
	assert_non_null(file);

	char line[512], name[128];
	int next = 0, commands = 0;
	bool inside = false;
	while (fgets(line, sizeof(line), file)) {
		if (!strncmp(line, "enum bpf_cmd {", 14)) {
			inside = true;
		} else if (inside && line[0] == '}') {
			break;
		} else if (inside && sscanf(line, " BPF_%127[A-Z_]", name) == 1 && !strchr(line, '=')) {
			const struct ygr_command_info *info = ygr_command_info(next++);
			if (!info || strcmp(info->name, name))
				fail_msg("command %d of the header is %s, the table says %s", next - 1, name,
					 info ? info->name : "nothing");
			commands++;
		}
	}
	fclose(file);
	assert_true(commands >= 36);
}

static void check_fields(const struct ygr_field *fields)
{
	uint32_t end = ygr_fields_end(fields);
	assert_true(end <= YGR_PERF_ATTR_KNOWN + sizeof(struct ygr_perf_args) + YGR_BPF_ATTR_KNOWN);
	for (const struct ygr_field *f = fields; f->kind != YGR_FIELD_END; f++) {
		unsigned width = f->kind == YGR_FIELD_POINTER ? 8
				 : f->kind == YGR_FIELD_PAD   ? 0
				 : f->kind == YGR_FIELD_OUT   ? f->item
							      : 4;
		assert_true(f->offset + width <= end);
		assert_true(f->kind != YGR_FIELD_POINTER || f->way);
		/* What comes back has a rule for how much. */
		assert_true(f->kind != YGR_FIELD_POINTER || !(f->way & YGR_OUT) || f->back);
		for (const struct ygr_field *g = fields; g < f; g++)
			assert_true(g->offset != f->offset);
	}
}

static void test_rows_keep_within_the_attribute(void **state)
{
	(void)state;
	for (int cmd = 0; cmd < ygr_command_count(); cmd++) {
		uint8_t attr[YGR_BPF_ATTR_KNOWN] = {0};
		const struct ygr_call call = {.kind = YGR_CALL_BPF, .cmd = (uint32_t)cmd};
		unsigned types = cmd == BPF_LINK_CREATE ? 58 : 1;
		for (unsigned type = 0; type < types; type++) {
			ygr_put32(attr + 8, type);
			check_fields(ygr_call_fields(&call, attr));
			assert_true(ygr_fields_end(ygr_call_fields(&call, attr)) <= YGR_BPF_ATTR_KNOWN);
		}
	}
	for (uint32_t kind = 0; kind <= YGR_OBJECT_TOKEN; kind++)
		for (uint32_t type = 0; type < 16; type++) {
			const struct ygr_object object = {.kind = kind, .map_type = type};
			if (ygr_info_fields(&object))
				check_fields(ygr_info_fields(&object));
		}
}

static void test_offsets_are_the_headers(void **state)
{
	(void)state;
#define HAS(rows_of, what, at)                                                                              \
	do {                                                                                                \
		const uint8_t attr[YGR_BPF_ATTR_KNOWN] = {0};                                               \
		const struct ygr_call call = {.kind = YGR_CALL_BPF, .cmd = (rows_of)};                      \
		bool found = false;                                                                         \
		for (const struct ygr_field *f = ygr_call_fields(&call, attr); f->kind != YGR_FIELD_END;    \
		     f++)                                                                                   \
			found |= f->kind == YGR_FIELD_##what && f->offset == offsetof(union bpf_attr, at);  \
		assert_true(found);                                                                         \
	} while (0)
	HAS(BPF_MAP_CREATE, FD_OPT, inner_map_fd);
	HAS(BPF_MAP_CREATE, FD_OPT, btf_fd);
	HAS(BPF_MAP_LOOKUP_ELEM, POINTER, value);
	HAS(BPF_MAP_LOOKUP_BATCH, POINTER, batch.out_batch);
	HAS(BPF_MAP_LOOKUP_BATCH, OUT, batch.count);
	HAS(BPF_PROG_LOAD, POINTER, insns);
	HAS(BPF_PROG_LOAD, POINTER, license);
	HAS(BPF_PROG_LOAD, POINTER, log_buf);
	HAS(BPF_PROG_LOAD, POINTER, func_info);
	HAS(BPF_PROG_LOAD, POINTER, line_info);
	HAS(BPF_PROG_LOAD, POINTER, fd_array);
	HAS(BPF_PROG_LOAD, POINTER, core_relos);
	HAS(BPF_PROG_LOAD, FD_OPT, attach_btf_obj_fd);
	HAS(BPF_OBJ_PIN, POINTER, pathname);
	HAS(BPF_PROG_TEST_RUN, POINTER, test.data_out);
	HAS(BPF_PROG_TEST_RUN, POINTER, test.ctx_in);
	HAS(BPF_PROG_TEST_RUN, OUT, test.retval);
	HAS(BPF_PROG_TEST_RUN, OUT, test.duration);
	HAS(BPF_OBJ_GET_INFO_BY_FD, POINTER, info.info);
	HAS(BPF_PROG_QUERY, POINTER, query.prog_ids);
	HAS(BPF_PROG_QUERY, POINTER, query.prog_attach_flags);
	HAS(BPF_RAW_TRACEPOINT_OPEN, POINTER, raw_tracepoint.name);
	HAS(BPF_BTF_LOAD, POINTER, btf_log_buf);
	HAS(BPF_TASK_FD_QUERY, POINTER, task_fd_query.buf);
	HAS(BPF_TASK_FD_QUERY, OUT, task_fd_query.probe_addr);
	HAS(BPF_LINK_UPDATE, FD_OPT, link_update.old_prog_fd);
#undef HAS
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_rows_are_in_order),
	    cmocka_unit_test(test_header_knows_no_more),
	    cmocka_unit_test(test_rows_keep_within_the_attribute),
	    cmocka_unit_test(test_offsets_are_the_headers),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
