/*
 * Read-only disks, by every way of writing that there is, as whoever writes. Needs a kernel that takes LSM programs;
 * e2e/test_enforce runs it in a VM that plays the node.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/fs.h>
#include <linux/io_uring.h>
#include <linux/loop.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "world.h"

#define SIZE (1 << 20)

struct disk {
	struct world world;
	char path[128], other[128];
	int fd; /* opened before the block, as QEMU's is */
};

static void make_file(const char *path)
{
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, SIZE), 0);
	close(fd);
}

static void set_image(struct disk *d, const char *path)
{
	struct ygr_vm_disk *disk = &d->world.vm->disks[0];

	free(disk->images[0]);
	disk->images[0] = strdup(path);
	ygr_enforce_vm_changed(d->world.enforce, d->world.vm);
}

static int setup(void **state)
{
	struct disk *d = calloc(1, sizeof(*d));

	world_begin(&d->world);
	snprintf(d->path, sizeof(d->path), "%s/vda.img", d->world.folder);
	snprintf(d->other, sizeof(d->other), "%s/other.img", d->world.folder);
	make_file(d->path);
	make_file(d->other);
	d->fd = open(d->path, O_RDWR | O_CLOEXEC);
	set_image(d, d->path);
	*state = d;
	return 0;
}

static int teardown(void **state)
{
	struct disk *d = *state;

	close(d->fd);
	world_end(&d->world);
	free(d);
	return 0;
}

static void plan(struct disk *d, const char *host)
{
	char text[256];

	snprintf(text, sizeof(text), "policy p { guest { rule a: deny bpf } host { %s } }", host);
	struct ygr_enforce_plan *made = world_plan("n/x/p", text);
	assert_int_equal(ygr_enforce_plans(d->world.enforce, WORLD_UUID, &made, 1), 0);
	ygr_enforce_plan_unref(made);
}

static void violate(struct disk *d)
{
	ygr_enforce_violation(d->world.enforce, WORLD_UUID, "n/x/p", "a");
}

/* Ways of writing: 0, or the negative errno. */

static int by_write(struct disk *d)
{
	return pwrite(d->fd, "x", 1, 0) == 1 ? 0 : -errno;
}

static int by_vectors(struct disk *d)
{
	const struct iovec vector = {.iov_base = (char[]){"y"}, .iov_len = 1};

	return pwritev2(d->fd, &vector, 1, 0, 0) == 1 ? 0 : -errno;
}

static int by_append(struct disk *d)
{
	int fd = open(d->path, O_WRONLY | O_APPEND | O_CLOEXEC), r = write(fd, "z", 1) == 1 ? 0 : -errno;

	close(fd);
	return r;
}

static int by_ftruncate(struct disk *d)
{
	return ftruncate(d->fd, SIZE / 2) == 0 ? 0 : -errno;
}

static int by_truncate(struct disk *d)
{
	return truncate(d->path, SIZE) == 0 ? 0 : -errno;
}

static int by_open_truncate(struct disk *d)
{
	int fd = open(d->path, O_WRONLY | O_TRUNC | O_CLOEXEC), r = fd >= 0 ? 0 : -errno;

	if (fd >= 0)
		close(fd);
	return r;
}

static int by_fallocate(struct disk *d)
{
	return fallocate(d->fd, 0, 0, SIZE) == 0 ? 0 : -errno;
}

static int by_hole(struct disk *d)
{
	return fallocate(d->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096) == 0 ? 0 : -errno;
}

static int by_map(struct disk *d)
{
	char *map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, d->fd, 0);

	if (map == MAP_FAILED)
		return -errno;
	map[0] = 'm';
	munmap(map, 4096);
	return 0;
}

static int by_protect(struct disk *d)
{
	void *map = mmap(NULL, 4096, PROT_READ, MAP_SHARED, d->fd, 0);
	int r = mprotect(map, 4096, PROT_READ | PROT_WRITE) == 0 ? 0 : -errno;

	munmap(map, 4096);
	return r;
}

static int by_sendfile(struct disk *d)
{
	int from = open(d->other, O_RDONLY | O_CLOEXEC);

	lseek(d->fd, 0, SEEK_SET);
	int r = sendfile(d->fd, from, NULL, 16) == 16 ? 0 : -errno;
	close(from);
	return r;
}

static int by_splice(struct disk *d)
{
	int pair[2], r;

	assert_int_equal(pipe(pair), 0);
	assert_int_equal(write(pair[1], "s", 1), 1);
	lseek(d->fd, 0, SEEK_SET);
	r = splice(pair[0], NULL, d->fd, NULL, 1, 0) == 1 ? 0 : -errno;
	close(pair[0]);
	close(pair[1]);
	return r;
}

static int by_copy_range(struct disk *d)
{
	int from = open(d->other, O_RDONLY | O_CLOEXEC);

	lseek(d->fd, 0, SEEK_SET);
	int r = copy_file_range(from, NULL, d->fd, NULL, 16, 0) == 16 ? 0 : -errno;
	close(from);
	return r;
}

/* Linux AIO, as of QEMU's aio=native. */
static int by_aio(struct disk *d)
{
	aio_context_t context = 0;
	struct iocb block = {.aio_fildes = (uint32_t)d->fd,
			     .aio_lio_opcode = IOCB_CMD_PWRITE,
			     .aio_buf = (uint64_t)(uintptr_t) "a",
			     .aio_nbytes = 1},
		    *list[1] = {&block};
	struct io_event event = {0};

	if (syscall(SYS_io_setup, 1, &context) < 0)
		return -errno;
	int r = (int)syscall(SYS_io_submit, context, 1, list);
	if (r == 1) {
		assert_int_equal(syscall(SYS_io_getevents, context, 1, 1, &event, NULL), 1);
		r = event.res == 1 ? 0 : (int)event.res;
	} else {
		r = -errno;
	}
	syscall(SYS_io_destroy, context);
	return r;
}

/* One write through io_uring, with the rings by hand. */
static int by_uring(struct disk *d)
{
	struct io_uring_params p = {0};
	int ring = (int)syscall(SYS_io_uring_setup, 1, &p), r;

	if (ring < 0)
		return -errno;
	char *sq =
	    mmap(NULL, p.sq_off.array + 4096, PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_SQ_RING);
	char *cq =
	    mmap(NULL, p.cq_off.cqes + 4096, PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_CQ_RING);
	struct io_uring_sqe *sqe =
	    mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_SQES);
	assert_true(sq != MAP_FAILED && cq != MAP_FAILED && sqe != MAP_FAILED);
	*sqe = (struct io_uring_sqe){
	    .opcode = IORING_OP_WRITE, .fd = d->fd, .addr = (uint64_t)(uintptr_t) "u", .len = 1};
	((uint32_t *)(sq + p.sq_off.array))[0] = 0;
	__atomic_store_n((uint32_t *)(sq + p.sq_off.tail), 1, __ATOMIC_RELEASE);
	if (syscall(SYS_io_uring_enter, ring, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0) < 0)
		r = -errno;
	else
		r = ((struct io_uring_cqe *)(cq + p.cq_off.cqes))[0].res;
	close(ring);
	return r == 1 ? 0 : r;
}

static const struct way {
	const char *name;
	int (*write)(struct disk *d);
} ways[] = {
    {"pwrite", by_write},
    {"pwritev2", by_vectors},
    {"append", by_append},
    {"ftruncate", by_ftruncate},
    {"truncate", by_truncate},
    {"fallocate", by_fallocate},
    {"punch hole", by_hole},
    {"mmap", by_map},
    {"mprotect", by_protect},
    {"sendfile", by_sendfile},
    {"splice", by_splice},
    {"copy_file_range", by_copy_range},
    {"aio", by_aio},
    {"io_uring", by_uring},
    {"open with O_TRUNC", by_open_truncate},
};

static void expect(struct disk *d, int expected)
{
	for (size_t i = 0; i < sizeof(ways) / sizeof(*ways); i++) {
		int r = ways[i].write(d);
		if (r == -ENOSYS || r == -EOPNOTSUPP) {
			print_message("%s: not here: %s\n", ways[i].name, strerror(-r));
			continue;
		}
		if (r != expected)
			fail_msg("%s: %s, not %s", ways[i].name, strerror(-r), strerror(-expected));
	}
}

static void test_ways(void **state)
{
	struct disk *d = *state;
	uint64_t writes, packets;
	char byte;

	plan(d, "on a: disk vda read-only");
	expect(d, 0);
	assert_int_equal(ftruncate(d->fd, SIZE), 0); /* the last way left nothing */
	violate(d);
	expect(d, -EROFS);
	assert_int_equal(pread(d->fd, &byte, 1, 0), 1); /* reading goes on */
	ygr_enforce_counted(d->world.enforce, WORLD_UUID, &writes, &packets);
	assert_true(writes >= 10);
	int other = open(d->other, O_RDWR | O_CLOEXEC);
	assert_int_equal(pwrite(other, "x", 1, 0), 1);
	close(other);
	int again = open(d->path, O_RDWR | O_CLOEXEC); /* QEMU must be able to start */
	assert_true(again >= 0);
	close(again);
	assert_int_equal(ygr_enforce_release(d->world.enforce, "default", "web", "a"), 1);
	assert_int_equal(pwrite(d->fd, "x", 1, 0), 1);
}

/* Another name, another process, another user: it is the inode that counts. */
static void test_whoever(void **state)
{
	struct disk *d = *state;
	char link_path[160];

	plan(d, "on a: disk all read-only");
	violate(d);
	snprintf(link_path, sizeof(link_path), "%s.link", d->path);
	assert_int_equal(link(d->path, link_path), 0);
	int fd = open(link_path, O_WRONLY | O_CLOEXEC);
	assert_int_equal(write(fd, "x", 1), -1);
	assert_int_equal(errno, EROFS);
	close(fd);
	pid_t child = fork();
	if (!child) {
		if (setuid(65534) < 0 || pwrite(d->fd, "x", 1, 0) >= 0 || errno != EROFS)
			_exit(1);
		_exit(0);
	}
	int status;
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

/* A snapshot: the VM writes to a new file now, and the block moves along. The old one is its base and stays blocked. */
static void test_snapshot(void **state)
{
	struct disk *d = *state;
	struct ygr_vm_disk *disk = &d->world.vm->disks[0];

	plan(d, "on a: disk vda read-only");
	violate(d);
	disk->images = reallocarray(disk->images, 2, sizeof(*disk->images));
	disk->images[1] = disk->images[0];
	disk->images[0] = strdup(d->other);
	disk->image_count = 2;
	ygr_enforce_vm_changed(d->world.enforce, d->world.vm);
	int other = open(d->other, O_RDWR | O_CLOEXEC);
	assert_int_equal(pwrite(other, "x", 1, 0), -1);
	assert_int_equal(errno, EROFS);
	assert_int_equal(by_write(d), -EROFS);
	close(other);
}

/* The agent ends, and starts again: no moment in which a write passes. */
static void test_adopted(void **state)
{
	struct disk *d = *state;

	plan(d, "on a: disk vda read-only");
	violate(d);
	world_stop(&d->world);
	assert_int_equal(by_write(d), -EROFS);
	pid_t writer = fork();
	if (!writer) { /* tries all the time */
		for (;;)
			if (pwrite(d->fd, "x", 1, 0) >= 0)
				_exit(1);
	}
	for (int i = 0; i < 5; i++) {
		world_start(&d->world);
		ygr_enforce_vm_changed(d->world.enforce, d->world.vm);
		plan(d, "on a: disk vda read-only");
		world_stop(&d->world);
	}
	assert_int_equal(waitpid(writer, NULL, WNOHANG), 0);
	kill(writer, SIGKILL);
	waitpid(writer, NULL, 0);
	world_start(&d->world);
}

static void test_block_device(void **state)
{
	struct disk *d = *state;
	int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
	int number = control >= 0 ? ioctl(control, LOOP_CTL_GET_FREE) : -1;
	char device[32];

	if (number < 0) {
		print_message("no loop devices here\n");
		return;
	}
	snprintf(device, sizeof(device), "/dev/loop%d", number);
	int backing = open(d->other, O_RDWR | O_CLOEXEC), fd = open(device, O_RDWR | O_CLOEXEC);
	assert_int_equal(ioctl(fd, LOOP_SET_FD, backing), 0);
	d->world.vm->disks[0].kind = YGR_DISK_BLOCK;
	set_image(d, device);
	plan(d, "on a: disk vda read-only");
	assert_int_equal(pwrite(fd, "x", 1, 0), 1);
	violate(d);
	assert_int_equal(pwrite(fd, "x", 1, 0), -1);
	assert_int_equal(errno, EROFS);
	uint64_t range[2] = {0, 4096};
	assert_int_equal(ioctl(fd, BLKDISCARD, range), -1);
	assert_int_equal(errno, EROFS);
	assert_int_equal(ioctl(fd, BLKZEROOUT, range), -1);
	ygr_enforce_release(d->world.enforce, "default", "web", NULL);
	assert_int_equal(pwrite(fd, "x", 1, 0), 1);
	(void)ioctl(fd, LOOP_CLR_FD, 0);
	close(fd);
	close(backing);
	close(control);
}

static double writes_ns(int fd)
{
	enum { COUNT = 200000 };
	struct timespec begin, end;

	clock_gettime(CLOCK_MONOTONIC, &begin);
	for (int i = 0; i < COUNT; i++)
		(void)!pwrite(fd, "x", 1, 0);
	clock_gettime(CLOCK_MONOTONIC, &end);
	return ((double)(end.tv_sec - begin.tv_sec) * 1e9 + (double)(end.tv_nsec - begin.tv_nsec)) / COUNT;
}

/* What a write of somebody else's file costs with the programs and without; printed, not judged. */
static void test_cost(void **state)
{
	struct disk *d = *state;
	struct ygr_error error = YGR_ERROR_INIT;
	int other = open(d->other, O_RDWR | O_CLOEXEC);
	double with = 0, without = 0;

	for (int round = 0; round < 5; round++) {
		with += writes_ns(other) / 5;
		world_stop(&d->world);
		assert_int_equal(ygr_enforce_cleanup(d->world.pins, d->world.state, &error), 0);
		without += writes_ns(other) / 5;
		world_start(&d->world);
	}
	print_message("a write of a file that is no VM's: %.0f ns, without the programs %.0f ns (%.2fx)\n",
		      with, without, with / without);
	close(other);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {TEST(test_ways),    TEST(test_whoever),      TEST(test_snapshot),
					   TEST(test_adopted), TEST(test_block_device), TEST(test_cost)};
	if (geteuid() != 0 || unshare_mounts() < 0 || !world_guards_disks()) {
		puts("SKIPPED: this kernel takes no LSM programs, or the bpf LSM is off");
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
