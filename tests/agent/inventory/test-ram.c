/* RAM: the layout rule, `info mtree -f`, and finding a sealed memfd among a process' descriptors. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/inventory/ram.h"

#define MIB (1ull << 20)

static void expect_region(const struct ygr_vm *vm, unsigned i, uint64_t gpa, uint64_t size, uint64_t offset)
{
	assert_int_equal(vm->regions[i].gpa, gpa);
	assert_int_equal(vm->regions[i].size, size);
	assert_int_equal(vm->regions[i].offset, offset);
}

static void test_rule(void **state)
{
	struct ygr_vm vm = {0};
	(void)state;

	assert_int_equal(ygr_ram_layout_rule(YGR_MACHINE_Q35, 512 * MIB, &vm), 0);
	assert_int_equal(vm.region_count, 1);
	expect_region(&vm, 0, 0, 512 * MIB, 0);
	assert_int_equal(ygr_ram_layout_rule(YGR_MACHINE_Q35, 4096 * MIB, &vm), 0);
	assert_int_equal(vm.region_count, 2);
	expect_region(&vm, 0, 0, 2048 * MIB, 0);
	expect_region(&vm, 1, 4096 * MIB, 2048 * MIB, 2048 * MIB);
	assert_int_equal(ygr_ram_layout_rule(YGR_MACHINE_PC, 4096 * MIB, &vm), 0);
	expect_region(&vm, 0, 0, 3072 * MIB, 0);
	expect_region(&vm, 1, 4096 * MIB, 1024 * MIB, 3072 * MIB);
	assert_int_equal(ygr_ram_layout_rule(YGR_MACHINE_OTHER, 4096 * MIB, &vm), -ENOTSUP);
}

static const char mtree[] = "FlatView #0\n AS \"I/O\", root: io\n Root memory region: io\n"
			    "  0000000000000000-0000000000000007 (prio 0, i/o): dma-chan\n\n"
			    "FlatView #1\n AS \"memory\", root: system\n AS \"cpu-memory-0\", root: "
			    "system\n Root memory region: system\n"
			    "  0000000000000000-000000000009ffff (prio 0, ram): pc.ram\n"
			    "  00000000000a0000-00000000000bffff (prio 1, i/o): vga-lowmem\n"
			    "  00000000000c0000-00000000000c3fff (prio 0, rom): pc.ram @00000000000c0000\n"
			    "  0000000000100000-000000007fffffff (prio 0, ram): pc.ram @0000000000100000\n"
			    "  00000000fd000000-00000000fdffffff (prio 1, ram): vga.vram\n"
			    "  0000000100000000-000000017fffffff (prio 0, ram): pc.ram @0000000080000000\n";

static void test_mtree(void **state)
{
	struct ygr_vm vm = {0};
	(void)state;

	ygr_ram_layout_rule(YGR_MACHINE_Q35, 4096 * MIB, &vm);
	assert_int_equal(ygr_ram_layout_confirm(mtree, &vm), 0);
	assert_int_equal(vm.region_count, 2); /* the rule was right and stays */
	ygr_ram_layout_rule(YGR_MACHINE_PC, 4096 * MIB, &vm);
	assert_int_equal(ygr_ram_layout_confirm(mtree, &vm), 0);
	assert_int_equal(vm.region_count, 3); /* it was wrong: QEMU's word */
	expect_region(&vm, 0, 0, 0xa0000, 0);
	expect_region(&vm, 1, 0x100000, 0x7ff00000, 0x100000);
	expect_region(&vm, 2, 4096 * MIB, 2048 * MIB, 2048 * MIB);
	assert_int_equal(ygr_ram_layout_confirm("FlatView #0\n AS \"memory\"\n", &vm), -EBADMSG);
}

static void test_file(void **state)
{
	struct ygr_error error = YGR_ERROR_INIT;
	struct ygr_vm *vm = ygr_vm_new();
	struct stat st;
	int fd, opened;
	(void)state;

	fd = memfd_create("memory-backend-memfd", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, 3 * MIB), 0);
	assert_int_equal(ygr_ram_find_file(getpid(), 3 * MIB, vm), -ENOENT); /* not sealed */
	assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW), 0);
	assert_int_equal(ygr_ram_find_file(getpid(), 4 * MIB, vm), -ENOENT);
	assert_int_equal(ygr_ram_find_file(getpid(), 3 * MIB, vm), 0);
	vm->memory = YGR_MEMORY_SHARED;
	vm->name = strdup("web-3");
	assert_int_equal(ygr_vm_open_ram(vm, &opened, &error), 0);
	assert_int_equal(fcntl(opened, F_GETFL) & O_ACCMODE, O_RDONLY);
	assert_int_equal(fstat(opened, &st), 0);
	assert_int_equal(st.st_ino, vm->ram_ino);
	close(opened);
	vm->ram_ino++;
	assert_int_equal(ygr_vm_open_ram(vm, &opened, &error), -ESTALE);
	close(fd);
	vm->ram_ino--;
	assert_true(ygr_vm_open_ram(vm, &opened, &error) < 0);
	ygr_vm_free(vm);
}

static void test_pid(void **state)
{
	char directory[] = "/tmp/yagura-ram-XXXXXX", path[64];
	pid_t pid = 0;
	(void)state;

	assert_non_null(mkdtemp(directory));
	snprintf(path, sizeof(path), "%s/web.pid", directory);
	FILE *file = fopen(path, "w");
	fprintf(file, "%d\n", getpid());
	fclose(file);
	/* This program does not run a VM of that UUID. */
	assert_int_equal(ygr_ram_find_pid(directory, "web", "11111111-2222-3333-4444-555555555555", &pid),
			 -ESRCH);
	assert_int_equal(ygr_ram_find_pid(directory, "db", "x", &pid), -ENOENT);
	assert_int_equal(ygr_ram_find_pid(directory, "../web", "x", &pid), -ENOENT);
	unlink(path);
	rmdir(directory);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_rule), cmocka_unit_test(test_mtree),
					   cmocka_unit_test(test_file), cmocka_unit_test(test_pid)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
