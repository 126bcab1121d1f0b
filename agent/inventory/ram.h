/* Guest RAM as QEMU holds it: the process, its RAM file, and where guest physical addresses lie in it. */
#pragma once

#include "agent/inventory/domain-xml.h"

/*
 * The pid in RUN_DIR/NAME.pid, if that process runs with UUID on its command line: > 0, or -ENOENT, -ESRCH.
 */
int ygr_ram_find_pid(const char *run_dir, const char *name, const char *uuid, pid_t *ret_pid);

/*
 * Finds the RAM file of SIZE bytes among PID's descriptors: a memfd, sealed against shrinking (a file that
 * shrinks under a mapping is a SIGBUS for the reader). Sets vm->ram_*. -ENOENT when there is none.
 */
int ygr_ram_find_file(pid_t pid, uint64_t size, struct ygr_vm *vm);

/*
 * The layout that QEMU's pc and q35 machines give MEMORY bytes (hw/i386/pc_piix.c, pc_q35.c): low memory up
 * to a split, the rest from 4 GiB on. Sets vm->regions; -ENOTSUP for other machines.
 */
int ygr_ram_layout_rule(enum ygr_machine machine, uint64_t memory, struct ygr_vm *vm);

/*
 * Checks vm->regions against the text of QEMU's `info mtree -f`: every piece of RAM there must lie where the
 * regions say. If not, or when there are none, the regions are taken from the text. -EBADMSG when it has
 * none, -E2BIG when they are more than YGR_VM_REGIONS_MAX.
 */
int ygr_ram_layout_confirm(const char *mtree, struct ygr_vm *vm);
