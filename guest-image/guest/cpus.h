/* This machine's processors, from sysfs. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* How many are possible: per-CPU maps have a value for each. At least 1. */
uint32_t ygr_guest_cpus_possible(void);

/* Reads a one-line file such as /sys/devices/system/cpu/online to OUT, "" when it cannot. */
void ygr_guest_read_line(const char *path, char *out, size_t size);
