/*
 * Which of the guest's files stand where in the application's root: what libbpf, libbpf-tools, bpftool,
 * bpftrace and cilium/ebpf open. A part is there when the grant lets something of it be opened and the guest
 * has it. tracefs has two addresses, and tools disagree about which; both show the same.
 */
#include <stddef.h>

#include "agent/telebpf/guestfs/guestfs.h"

const struct ygr_guestfs_bind ygr_guestfs_binds[] = {
    {"/sys/kernel/btf", "/sys/kernel/btf"},
    {"/sys/kernel/tracing", "/sys/kernel/tracing"},
    {"/sys/kernel/tracing", "/sys/kernel/debug/tracing"},
    {"/sys/kernel/security", "/sys/kernel/security"},
    {"/sys/devices", "/sys/devices"}, /* event_source has links into it */
    {"/sys/bus/event_source", "/sys/bus/event_source"},
    {"/sys/fs/bpf", "/sys/fs/bpf"},
    {"/sys/fs/cgroup", "/sys/fs/cgroup"},
    {"/sys/module", "/sys/module"},
    {"/sys/class", "/sys/class"}, /* names of network devices, by links into /sys/devices */
    {"/sys/kernel/debug/kprobes", "/sys/kernel/debug/kprobes"},
    {"/proc/kallsyms", "/proc/kallsyms"},
    {"/proc/modules", "/proc/modules"},
    {"/proc/config.gz", "/proc/config.gz"},
    {"/proc/version", "/proc/version"},
    {"/proc/version_signature", "/proc/version_signature"},
    {"/proc/cpuinfo", "/proc/cpuinfo"},
    {"/proc/stat", "/proc/stat"},
    {"/proc/partitions", "/proc/partitions"}, /* names of the disks in events */
    {"/proc/diskstats", "/proc/diskstats"},
    {"/proc/loadavg", "/proc/loadavg"},
    {"/proc/meminfo", "/proc/meminfo"},
    {"/proc/sys/kernel", "/proc/sys/kernel"},
    {"/proc/sys/net", "/proc/sys/net"},
    {"/boot", "/boot"},
    {"/lib/modules", "/lib/modules"},
    {NULL, NULL},
};
