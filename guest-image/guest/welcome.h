/* WELCOME: what this guest is and can do, as JSON; the fields are in docs/protocol.md. */
#pragma once

#include <stdint.h>

/* 16 bytes of /proc/sys/kernel/random/boot_id: 0 or negative errno. */
int ygr_guest_boot_id(uint8_t ret_id[16]);

struct ygr_guest_facts; /* what does not change while the guest runs, measured once */

/* Reads BTF for its digest and tries the kernel's features. NULL when out of memory. */
struct ygr_guest_facts *ygr_guest_facts_new(void);
struct ygr_guest_facts *ygr_guest_facts_free(struct ygr_guest_facts *facts);

/* The document with the clocks of this moment; caller frees. NULL when out of memory. */
char *ygr_guest_welcome(const struct ygr_guest_facts *facts);
