/*
 * The marshaller without a kernel: what a payload says of descriptors and pointers, that addresses stay at
 * home, and that a decoder takes nothing but what an encoder makes: every truncation and every changed
 * length of a valid payload is refused, or means the same.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <linux/bpf.h>
#include <linux/perf_event.h>
#include <stdlib.h>
#include <string.h>

#include "lib/wire/call-table.h"
#include "lib/wire/frame.h"
#include "tests/lib/wire/fuzz-shapes.h"

enum { PROG = 81, BTF = 83, HASH = 1, PROG_ARRAY = 3, PERF_LINK = 71 };

static uint8_t sent[1u << 16], arena_bytes[1u << 20], reply_bytes[1u << 16];
static struct ygr_call_plan here, there;
static uint64_t unreadable; /* an address below this many bytes from 0 faults */

/* Strings are read a page's piece at a time, beyond their NUL: allowed, as in process_vm_readv(), but not to
 * memcpy. */
__attribute__((no_sanitize("address"))) static int plain_read(void *user, uint64_t address, void *to,
							      size_t len)
{
	const volatile uint8_t *from = (const volatile uint8_t *)(uintptr_t)address;
	uint8_t *bytes = to;
	(void)user;
	if (len && address < unreadable)
		return -EFAULT;
	for (size_t i = 0; i < len; i++)
		bytes[i] = from[i];
	return 0;
}

static int plain_write(void *user, uint64_t address, const void *from, size_t len)
{
	(void)user;
	if (len && address < unreadable)
		return -EFAULT;
	memcpy((void *)(uintptr_t)address, from, len);
	return 0;
}

static const struct ygr_call_host app = {
    .read = plain_read, .write = plain_write, .handle_of = shape_handle_of, .object_of = shape_object_of};
static const struct ygr_call_host session = {.object_of = shape_object_of};
static const struct ygr_call_host guest = {.object_of = shape_object_of, .fd_of = shape_fd_of};

static size_t encode(int cmd, void *attr, uint32_t size)
{
	struct ygr_arena out = {.data = sent, .size = sizeof(sent)};
	int r = ygr_bpf_encode(&app, cmd, (uintptr_t)attr, size, &out, &here);
	if (r < 0)
		fail_msg("encode: %s", strerror(-r));
	return out.used;
}

static int decode(const struct ygr_call_host *host, size_t len)
{
	struct ygr_arena arena = {.data = arena_bytes, .size = sizeof(arena_bytes)};
	return ygr_call_decode(host, sent, len, &arena, &there);
}

/* A PROG_LOAD with a descriptor in every place that has one. */
static size_t encode_program(void)
{
	static struct bpf_insn insns[] = {
	    {.code = 0x18, .dst_reg = 1, .src_reg = BPF_PSEUDO_MAP_FD, .imm = HASH},
	    {0},
	    {.code = 0x18, .dst_reg = 2, .src_reg = BPF_PSEUDO_MAP_VALUE, .imm = 2},
	    {.imm = 4},
	    {.code = 0x18, .dst_reg = 3, .src_reg = BPF_PSEUDO_BTF_ID, .imm = 77},
	    {.imm = BTF},
	    {.code = 0x18, .dst_reg = 4, .src_reg = BPF_PSEUDO_MAP_IDX, .imm = 2},
	    {0},
	    {.code = 0x18, .dst_reg = 5, .imm = HASH}, /* a number that looks like a descriptor */
	    {.imm = HASH},
	    {.code = 0x85, .src_reg = BPF_PSEUDO_KFUNC_CALL, .off = 1, .imm = 99},
	    {.code = 0x18, .dst_reg = 1, .src_reg = BPF_PSEUDO_MAP_FD, .imm = 5000}, /* not remote */
	    {0},
	    {.code = 0x95},
	};
	static int fds[] = {0, BTF, 2};
	static char log[256];
	static uint64_t records[8] = {1, 2, 3, 4};
	static union bpf_attr attr;
	attr = (union bpf_attr){
	    .prog_type = 1,
	    .insns = (uintptr_t)insns,
	    .insn_cnt = sizeof(insns) / sizeof(insns[0]),
	    .license = (uintptr_t) "GPL",
	    .log_buf = (uintptr_t)log,
	    .log_size = sizeof(log),
	    .log_level = 1,
	    .prog_btf_fd = BTF,
	    .func_info = (uintptr_t)records,
	    .func_info_rec_size = 8,
	    .func_info_cnt = 3,
	    .fd_array = (uintptr_t)fds,
	    .attach_btf_obj_fd = BTF,
	};
	return encode(BPF_PROG_LOAD, &attr, sizeof(attr));
}

static void test_descriptors_in_instructions(void **state)
{
	(void)state;
	size_t len = encode_program();

	assert_int_equal(decode(&session, len), 0);
	const struct ygr_segment *insns = ygr_call_plan_field(&there, offsetof(union bpf_attr, insns), 0);
	assert_non_null(insns);
	const struct bpf_insn *insn = (const struct bpf_insn *)insns->data;
	assert_int_equal(insn[0].imm, HASH + SHAPE_HANDLE);
	assert_int_equal(insn[2].imm, 2 + SHAPE_HANDLE);
	assert_int_equal(insn[3].imm, 4);
	assert_int_equal(insn[4].imm, 77);
	assert_int_equal(insn[5].imm, BTF + SHAPE_HANDLE);
	assert_int_equal(insn[6].imm, 2); /* an index */
	assert_int_equal(insn[8].imm, HASH);
	assert_int_equal((uint32_t)insn[11].imm, YGR_HANDLE_BAD);
	const struct ygr_segment *fds = ygr_call_plan_field(&there, offsetof(union bpf_attr, fd_array), 0);
	assert_int_equal(fds->in_length, 12);
	assert_int_equal(ygr_get32(fds->data), YGR_HANDLE_NONE);
	assert_int_equal(ygr_get32(fds->data + 4), BTF + SHAPE_HANDLE);
	const struct ygr_segment *license =
	    ygr_call_plan_field(&there, offsetof(union bpf_attr, license), 0);
	assert_string_equal((const char *)license->data, "GPL");

	assert_int_equal(decode(&guest, len), 0);
	insn =
	    (const struct bpf_insn *)ygr_call_plan_field(&there, offsetof(union bpf_attr, insns), 0)->data;
	assert_int_equal(insn[0].imm, HASH);
	assert_int_equal(insn[5].imm, BTF);
	assert_int_equal(insn[11].imm, -1);
	union bpf_attr attr;
	memcpy(&attr, there.attr, sizeof(attr));
	assert_true(attr.insns == (uintptr_t)insn);
	assert_int_equal(attr.prog_btf_fd, BTF);
	assert_int_equal(attr.attach_btf_obj_fd, BTF);
}

static void test_no_address_leaves(void **state)
{
	(void)state;
	encode_program();
	for (const struct ygr_field *f = ygr_call_fields(&here.call, here.attr); f->kind != YGR_FIELD_END;
	     f++)
		if (f->kind == YGR_FIELD_POINTER && f->offset < here.call.attr_size)
			assert_true(ygr_get64(sent + sizeof(struct ygr_call) + f->offset) <=
				    YGR_POINTER_MAP);

	/* Nor does one of the guest: only out fields are in a reply. */
	struct ygr_arena out = {.data = reply_bytes, .size = sizeof(reply_bytes)};
	assert_int_equal(decode(&guest, ygr_align8(encode_program())), 0);
	assert_int_equal(ygr_call_encode_reply(&there, 44, 9, NULL, &out), 0);
	struct ygr_reply reply;
	assert_int_equal(ygr_reply_parse(out.data, out.used, &reply), 0);
	assert_int_equal(reply.result, 0);
	assert_int_equal(reply.handle, 9);
	assert_true(ygr_all_zero(out.data, sizeof(reply) + 8, sizeof(reply) + 72));
}

static void test_truncation_is_refused(void **state)
{
	(void)state;
	size_t len = encode_program();
	assert_int_equal(decode(&guest, len), 0);
	for (size_t cut = 0; cut < len; cut++) {
		uint8_t *exact = malloc(cut ? cut : 1);
		struct ygr_arena arena = {.data = arena_bytes, .size = sizeof(arena_bytes)};
		memcpy(exact, sent, cut);
		assert_int_equal(ygr_call_decode(&guest, exact, cut, &arena, &there), -EPROTO);
		free(exact);
	}
	memset(sent + len, 0, 8);
	assert_int_equal(decode(&guest, len + 8), -EPROTO);
}

/* Every length in the payload, the head's and the segments', set to other values. */
static void test_changed_lengths_are_refused(void **state)
{
	(void)state;
	static const int64_t changes[] = {-1, 1, 7, 8, -8, 0x7fffffff, 0x80000000, -0x80000000LL};
	size_t len = encode_program();
	size_t at[2 + 2 * YGR_CALL_SEGMENTS_MAX] = {offsetof(struct ygr_call, attr_size),
						    offsetof(struct ygr_call, segment_count)};
	unsigned count = 2;
	size_t position = sizeof(struct ygr_call) + ygr_align8(here.call.attr_size);
	for (uint32_t i = 0; i < here.segment_count; i++) {
		at[count++] = position;
		at[count++] = position + 4;
		position += 8 + ygr_align8(here.segments[i].in_length);
	}
	assert_int_equal(position, len);

	for (unsigned i = 0; i < count; i++)
		for (unsigned k = 0; k < sizeof(changes) / sizeof(changes[0]); k++) {
			uint32_t before = ygr_get32(sent + at[i]);
			ygr_put32(sent + at[i], (uint32_t)(before + changes[k]));
			int r = decode(&guest, len);
			if (r == 0) /* an attribute may be shorter within its padding, all zeros */
				assert_int_equal(at[i], offsetof(struct ygr_call, attr_size));
			else
				assert_true(r == -EPROTO || r == -E2BIG);
			ygr_put32(sent + at[i], before);
		}
	assert_int_equal(decode(&guest, len), 0);
}

static void test_changed_pointers_are_refused(void **state)
{
	(void)state;
	size_t len = encode_program();
	const struct ygr_field *fields = ygr_call_fields(&here.call, here.attr);
	for (const struct ygr_field *f = fields; f->kind != YGR_FIELD_END; f++) {
		uint8_t *at = sent + sizeof(struct ygr_call) + f->offset;
		if (f->kind != YGR_FIELD_POINTER || f->offset >= here.call.attr_size)
			continue;
		uint64_t before = ygr_get64(at);
		for (uint64_t state_now = 0; state_now < 5; state_now++) {
			ygr_put64(at, state_now);
			/* From no pointer to a bad one is no change of shape; all else is. */
			bool same = state_now == before || (!before && state_now == YGR_POINTER_BAD);
			assert_int_equal(decode(&guest, len), same ? 0 : -EPROTO);
		}
		ygr_put64(at, (uintptr_t)sent); /* a raw address */
		assert_int_equal(decode(&guest, len), -EPROTO);
		ygr_put64(at, before);
	}
}

static void test_map_shapes(void **state)
{
	(void)state;
	uint8_t key[64] = {1}, value[256] = {0};
	struct ygr_object map;
	assert_true(shape_of(HASH, &map));
	union bpf_attr attr = {.map_fd = HASH, .key = (uintptr_t)key, .value = (uintptr_t)value};
	size_t len = encode(BPF_MAP_LOOKUP_ELEM, &attr, 32);
	assert_int_equal(decode(&guest, len), 0);
	assert_int_equal(there.segments[0].in_length, map.key_size);
	assert_int_equal(there.segments[1].out_capacity, map.value_size);

	/* The handle of another map: its lengths differ. One that is not known any more: an answer, no end.
	 */
	ygr_put32(sent + sizeof(struct ygr_call), 9 + SHAPE_HANDLE);
	assert_int_equal(decode(&guest, len), -EPROTO);
	ygr_put32(sent + sizeof(struct ygr_call), 120 + SHAPE_HANDLE);
	assert_int_equal(decode(&guest, len), -EBADF);

	/* A program array's value is a descriptor on its way in only. */
	ygr_put32(value, PROG);
	attr.map_fd = PROG_ARRAY;
	len = encode(BPF_MAP_UPDATE_ELEM, &attr, 32);
	assert_int_equal(decode(&session, len), 0);
	assert_int_equal(ygr_get32(there.segments[1].data), PROG + SHAPE_HANDLE);
	assert_int_equal(decode(&guest, len), 0);
	assert_int_equal(ygr_get32(there.segments[1].data), PROG);

	/* Not remote: no key or value goes anywhere, and the guest says EBADF. */
	attr.map_fd = 4000;
	len = encode(BPF_MAP_UPDATE_ELEM, &attr, 32);
	assert_int_equal(here.segment_count, 0);
	assert_int_equal(decode(&guest, len), 0);
	assert_int_equal((int)ygr_get32(there.attr), -1);

	struct ygr_arena out = {.data = sent, .size = sizeof(sent)};
	attr.map_fd = 26; /* STRUCT_OPS */
	assert_int_equal(ygr_bpf_encode(&app, BPF_MAP_UPDATE_ELEM, (uintptr_t)&attr, 32, &out, &here),
			 -EOPNOTSUPP);
	assert_int_equal(out.used, 0);
}

static void test_symbols(void **state)
{
	(void)state;
	static const char *names[] = {"vfs_read", "vfs_write", "do_exit"};
	struct {
		uint32_t prog, target, type, flags, multi_flags, count;
		uint64_t syms, addrs, cookies;
	} attr = {.prog = PROG, .type = 42, .count = 3, .syms = (uintptr_t)names};

	size_t len = encode(BPF_LINK_CREATE, &attr, sizeof(attr));
	assert_int_equal(decode(&session, len), 0);
	const struct ygr_segment *list = ygr_call_plan_field(&there, 24, 0);
	uint32_t position = 0;
	for (int i = 0; i < 3; i++)
		assert_string_equal(ygr_segment_next_string(list, &position), names[i]);
	assert_null(ygr_segment_next_string(list, &position));

	assert_int_equal(decode(&guest, len), 0);
	uint64_t array = ygr_get64(there.attr + 24);
	for (int i = 0; i < 3; i++)
		assert_string_equal(((const char **)(uintptr_t)array)[i], names[i]);
	/* One more than there are. */
	ygr_put32(sent + sizeof(struct ygr_call) + 20, 4);
	assert_int_equal(decode(&guest, len), -EPROTO);
}

static void test_probe_names(void **state)
{
	(void)state;
	uint8_t event[112] = {0};
	struct ygr_arena out = {.data = sent, .size = sizeof(sent)};
	ygr_put32(event, 8);
	ygr_put32(event + 4, sizeof(event));
	ygr_put64(event + 56, (uintptr_t) "do_unlinkat");
	assert_int_equal(ygr_perf_encode(&app, (uintptr_t)event, -1, 0, -1, 0, &out, &here), 0);
	assert_int_equal(decode(&guest, out.used), 0);
	const struct ygr_segment *name = ygr_call_plan_field(&there, sizeof(struct ygr_perf_args) + 56, 0);
	assert_non_null(name);
	assert_string_equal((const char *)name->data, "do_unlinkat");
	assert_int_equal((int)ygr_get32(there.attr + 8), -1); /* no group */

	/* A number stays a number, for PMUs of fixed type always. */
	ygr_put64(event + 56, 0x123);
	out.used = 0;
	unreadable = 4096;
	assert_int_equal(ygr_perf_encode(&app, (uintptr_t)event, -1, 0, -1, 0, &out, &here), 0);
	unreadable = 0;
	assert_int_equal(decode(&guest, out.used), 0);
	assert_int_equal(there.segment_count, 0);
	assert_int_equal(ygr_get64(there.attr + sizeof(struct ygr_perf_args) + 56), 0x123);
}

static void test_perf_signals_are_refused(void **state)
{
	(void)state;
	struct perf_event_attr event = {.size = sizeof(event), .sigtrap = 1};
	struct ygr_arena out = {.data = sent, .size = sizeof(sent)};
	assert_int_equal(ygr_perf_encode(&app, (uintptr_t)&event, 0, -1, -1, 0, &out, &here), -EOPNOTSUPP);
	event.sigtrap = 0;
	assert_int_equal(ygr_perf_encode(&app, (uintptr_t)&event, 0, -1, -1, 0, &out, &here), 0);
	assert_int_equal(decode(&guest, out.used), 0);
	event.sigtrap = 1; /* said by somebody who does not encode */
	memcpy(sent + sizeof(struct ygr_call) + sizeof(struct ygr_perf_args), &event, sizeof(event));
	assert_int_equal(decode(&guest, out.used), -EPROTO);
}

/* A reply may fill what was asked for and not a byte more, and what was not touched stays. */
static void test_reply_keeps_within(void **state)
{
	(void)state;
	uint8_t guard[96];
	memset(guard, 0x3c, sizeof(guard));
	uint64_t key = 0;
	struct ygr_object map;
	assert_true(shape_of(HASH, &map));
	union bpf_attr attr = {.map_fd = HASH, .key = (uintptr_t)&key, .value = (uintptr_t)guard + 16};
	struct ygr_arena out = {.data = reply_bytes, .size = sizeof(reply_bytes)};
	assert_int_equal(decode(&guest, encode(BPF_MAP_LOOKUP_ELEM, &attr, 32)), 0);

	assert_int_equal(ygr_call_encode_reply(&there, -ENOENT, 0, NULL, &out), 0);
	assert_int_equal(ygr_call_apply_reply(&app, &here, out.data, out.used), -ENOENT);
	assert_int_equal(guard[16], 0x3c);
	memset(there.segments[1].data, 0x11, map.value_size);
	out.used = 0;
	assert_int_equal(ygr_call_encode_reply(&there, 0, 0, NULL, &out), 0);
	assert_int_equal(ygr_call_apply_reply(&app, &here, out.data, out.used), 0);
	assert_int_equal(guard[15], 0x3c);
	assert_int_equal(guard[16], 0x11);
	assert_int_equal(guard[16 + map.value_size], 0x3c);

	/* A longer answer than was asked for, and one that is cut. */
	uint8_t *length = out.data + sizeof(struct ygr_reply) + 32;
	assert_int_equal(ygr_get32(length), map.value_size);
	ygr_put32(length, map.value_size + 1);
	assert_int_equal(ygr_call_apply_reply(&app, &here, out.data, out.used), -EPROTO);
	ygr_put32(length, map.value_size);
	for (size_t cut = 0; cut < out.used; cut++)
		assert_int_equal(ygr_call_apply_reply(&app, &here, out.data, cut), -EPROTO);
}

static void test_small_arenas(void **state)
{
	(void)state;
	size_t len = encode_program();
	int64_t need = (int64_t)ygr_call_decoded_size(sent, len);
	for (int64_t size = 0; size < need; size += 24) {
		struct ygr_arena arena = {.data = arena_bytes, .size = (size_t)size};
		int r = ygr_call_decode(&guest, sent, len, &arena, &there);
		assert_true(r == -ENOBUFS || r == 0);
		assert_true(arena.used <= arena.size);
	}
	struct ygr_arena arena = {.data = arena_bytes, .size = (size_t)need};
	assert_int_equal(ygr_call_decode(&guest, sent, len, &arena, &there), 0);

	uint64_t key = 0;
	union bpf_attr attr = {.map_fd = HASH, .key = (uintptr_t)&key, .value = (uintptr_t)&key};
	for (size_t size = 0; size < 80; size++) {
		struct ygr_arena out = {.data = sent, .size = size};
		assert_int_equal(
		    ygr_bpf_encode(&app, BPF_MAP_DELETE_ELEM, (uintptr_t)&attr, 16, &out, &here),
		    size < 48 ? -ENOBUFS : 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_descriptors_in_instructions),
	    cmocka_unit_test(test_no_address_leaves),
	    cmocka_unit_test(test_truncation_is_refused),
	    cmocka_unit_test(test_changed_lengths_are_refused),
	    cmocka_unit_test(test_changed_pointers_are_refused),
	    cmocka_unit_test(test_map_shapes),
	    cmocka_unit_test(test_symbols),
	    cmocka_unit_test(test_probe_names),
	    cmocka_unit_test(test_reply_keeps_within),
	    cmocka_unit_test(test_perf_signals_are_refused),
	    cmocka_unit_test(test_small_arenas),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
