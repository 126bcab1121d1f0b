/* WELCOME: what this guest is and can do, as JSON; the fields are in docs/protocol.md. */
#pragma once

#include "lib/wire/message.h"

#include <stdint.h>

#include "lib/base/uuid.h"

/* 16 bytes of /proc/sys/kernel/random/boot_id: 0 or negative errno. */
int ygr_guest_boot_id(uint8_t ret_id[16]);

/*
 * The VM's UUID from the firmware as text ("" where there is none), and as 16 bytes: 0, -ENODATA.
 */
void ygr_guest_vm_text(char out[YGR_UUID_TEXT_BYTES]);
int ygr_guest_vm(uint8_t ret_uuid[16]);

struct ygr_guest_facts; /* what does not change while the guest runs, measured once */

/* Reads BTF for its digest and tries the kernel's features. NULL when out of memory. */
struct ygr_guest_facts *ygr_guest_facts_new(void);
struct ygr_guest_facts *ygr_guest_facts_free(struct ygr_guest_facts *facts);

/* The document with the clocks of this moment; caller frees. NULL when out of memory. */
char *ygr_guest_welcome(const struct ygr_guest_facts *facts);

/* This kernel's clocks now, as PONG tells them. */
struct ygr_pong ygr_guest_clocks(void);
