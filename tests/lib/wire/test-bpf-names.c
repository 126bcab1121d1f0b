/* The tables of names against the headers of the machine that builds: what both know must agree. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <linux/bpf.h>
#include <string.h>

#include "lib/wire/bpf-names.h"

#define NAME_OF(name) #name
static const char *const header_helpers[] = {__BPF_FUNC_MAPPER(NAME_OF)};

static void test_helpers(void **state)
{
	(void)state;
	size_t count = sizeof(header_helpers) / sizeof(header_helpers[0]);
	assert_true(count > 200);
	for (uint32_t i = 0; i < count && i < 212; i++)
		assert_string_equal(ygr_bpf_helper_name(i), header_helpers[i]);
	assert_string_equal(ygr_bpf_helper_name(211), "cgrp_storage_delete");
	assert_null(ygr_bpf_helper_name(212));
}

static void test_types(void **state)
{
	(void)state;
	assert_string_equal(ygr_bpf_map_type_name(BPF_MAP_TYPE_HASH), "hash");
	assert_string_equal(ygr_bpf_map_type_name(BPF_MAP_TYPE_RINGBUF), "ringbuf");
	assert_string_equal(ygr_bpf_map_type_name(BPF_MAP_TYPE_USER_RINGBUF), "user_ringbuf");
	assert_string_equal(ygr_bpf_map_type_name(33), "arena");
	assert_null(ygr_bpf_map_type_name(34));
	assert_string_equal(ygr_bpf_prog_type_name(BPF_PROG_TYPE_KPROBE), "kprobe");
	assert_string_equal(ygr_bpf_prog_type_name(BPF_PROG_TYPE_RAW_TRACEPOINT_WRITABLE),
			    "raw_tracepoint_writable");
	assert_string_equal(ygr_bpf_prog_type_name(BPF_PROG_TYPE_SYSCALL), "syscall");
	assert_string_equal(ygr_bpf_prog_type_name(32), "netfilter");
	assert_null(ygr_bpf_prog_type_name(33));
	assert_string_equal(ygr_bpf_attach_type_name(BPF_CGROUP_INET_INGRESS), "cgroup_inet_ingress");
	assert_string_equal(ygr_bpf_attach_type_name(BPF_LSM_CGROUP), "lsm_cgroup");
	assert_string_equal(ygr_bpf_attach_type_name(BPF_XDP), "xdp");
	assert_string_equal(ygr_bpf_attach_type_name(46), "tcx_ingress");
	assert_string_equal(ygr_bpf_attach_type_name(56), "trace_kprobe_session");
	assert_null(ygr_bpf_attach_type_name(57));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_helpers),
	    cmocka_unit_test(test_types),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
