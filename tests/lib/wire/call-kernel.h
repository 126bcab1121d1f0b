/*
 * Calls of this machine's kernel through the whole marshaller, for tests: encode as the shim does, decode
 * and perform as the guest does, reply, apply. Handles are kept in a table, as the guest keeps them. Needs
 * CAP_BPF: without it a program says so and is skipped.
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/perf_event.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/uio.h>
#include <unistd.h>

#include "lib/wire/call.h"
#include "lib/wire/frame.h"

enum { HANDLES = 1024, HANDLE_OFFSET = 1000 };

/* Handle N + HANDLE_OFFSET is descriptor N; the offset makes a descriptor that was not translated fail. */
static struct ygr_object objects[HANDLES];
static uint8_t *payload, *memory, *answer;

static int host_read(void *user, uint64_t address, void *to, size_t len)
{
	struct iovec here = {to, len}, there = {(void *)(uintptr_t)address, len};
	(void)user;
	return !len || process_vm_readv(getpid(), &here, 1, &there, 1, 0) == (ssize_t)len ? 0 : -EFAULT;
}

static int host_write(void *user, uint64_t address, const void *from, size_t len)
{
	struct iovec here = {(void *)(uintptr_t)from, len}, there = {(void *)(uintptr_t)address, len};
	(void)user;
	return !len || process_vm_writev(getpid(), &here, 1, &there, 1, 0) == (ssize_t)len ? 0 : -EFAULT;
}

static uint32_t host_handle_of(void *user, int fd)
{
	(void)user;
	return fd < HANDLES && objects[fd].kind ? (uint32_t)fd + HANDLE_OFFSET : YGR_HANDLE_BAD;
}

static int host_fd_of(void *user, uint32_t handle)
{
	(void)user;
	return handle >= HANDLE_OFFSET && handle < HANDLE_OFFSET + HANDLES &&
		       objects[handle - HANDLE_OFFSET].kind
		   ? (int)handle - HANDLE_OFFSET
		   : -1;
}

static bool host_object_of(void *user, uint32_t handle, struct ygr_object *ret_object)
{
	int fd = host_fd_of(user, handle);
	if (fd < 0)
		return false;
	*ret_object = objects[fd];
	return true;
}

static const struct ygr_call_host application = {
    .read = host_read, .write = host_write, .handle_of = host_handle_of, .object_of = host_object_of};
static const struct ygr_call_host guest = {.fd_of = host_fd_of, .object_of = host_object_of};

/* From an encoded call to its result in this process: what shim, session and guest do together. */
static inline int64_t carry(const struct ygr_arena *sent, const struct ygr_call_plan *plan)
{
	struct ygr_arena arena = {.data = memory, .size = ygr_call_decoded_size(sent->data, sent->used)};
	struct ygr_arena out = {.data = answer, .size = YGR_FRAME_MAX};
	static struct ygr_call_plan remote;

	int r = ygr_call_decode(&guest, sent->data, sent->used, &arena, &remote);
	if (r < 0)
		print_message("decode: %s\n", strerror(-r));
	assert_int_equal(r, 0);

	int64_t result = ygr_call_perform(&remote);
	uint32_t handle = YGR_HANDLE_NONE;
	int fd = -1;
	if (result >= 0 && ygr_call_returns_fd(&remote.call)) {
		fd = (int)result;
		assert_in_range(fd, 1, HANDLES - 1);
		r = ygr_call_describe(&remote.call, fd, (uint32_t)get_nprocs_conf(), &objects[fd]);
		assert_int_equal(r, 0);
		handle = (uint32_t)fd + HANDLE_OFFSET;
	}
	r = ygr_call_encode_reply(&remote, result, handle, fd >= 0 ? &objects[fd] : NULL, &out);
	assert_int_equal(r, 0);
	result = ygr_call_apply_reply(&application, plan, out.data, out.used);
	return fd >= 0 && result == 0 ? fd : result;
}

static inline int64_t remote_bpf(int cmd, void *attr, uint32_t size)
{
	static struct ygr_call_plan plan;
	struct ygr_arena out = {.data = payload, .size = YGR_FRAME_MAX};
	int64_t bound = ygr_bpf_encoded_size(&application, cmd, (uintptr_t)attr, size);
	int r = ygr_bpf_encode(&application, cmd, (uintptr_t)attr, size, &out, &plan);
	if (r < 0)
		return r;
	assert_true(bound >= (int64_t)out.used);
	return carry(&out, &plan);
}

static inline int create_map(uint32_t type, uint32_t key, uint32_t value, uint32_t entries)
{
	union bpf_attr attr = {
	    .map_type = type, .key_size = key, .value_size = value, .max_entries = entries};
	strcpy(attr.map_name, "ygr_test");
	int fd = (int)remote_bpf(BPF_MAP_CREATE, &attr, sizeof(attr));
	assert_true(fd > 0);
	return fd;
}

static inline int64_t element(int cmd, int map, const void *key, void *value)
{
	union bpf_attr attr = {.map_fd = (uint32_t)map, .key = (uintptr_t)key, .value = (uintptr_t)value};
	return remote_bpf(cmd, &attr, 32);
}

static inline void forget(int fd)
{
	objects[fd] = (struct ygr_object){0};
	close(fd);
}

static inline int setup(void **state)
{
	(void)state;
	payload = malloc(YGR_FRAME_MAX);
	memory = malloc(3u * YGR_FRAME_MAX);
	answer = malloc(YGR_FRAME_MAX);
	return payload && memory && answer ? 0 : -1;
}

/* 0, or 77 with the reason on stderr when this machine does not permit what the tests need. */
static inline int kernel_permits(void)
{
	union bpf_attr attr = {
	    .map_type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 4, .max_entries = 1};
	int fd = (int)syscall(SYS_bpf, BPF_MAP_CREATE, &attr, sizeof(attr));
	if (fd < 0) {
		fprintf(stderr, "SKIPPED: bpf() is not permitted here: %s\n", strerror(errno));
		return 77;
	}
	close(fd);
	/* Mounts of a test are its own. */
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0) {
		fprintf(stderr, "SKIPPED: no private mount namespace: %s\n", strerror(errno));
		return 77;
	}
	return 0;
}
