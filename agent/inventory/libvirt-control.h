/* What libvirt is asked to do to a domain; inside this room. */
#pragma once

#include "agent/inventory/inventory.h"

/* Does REQUEST over a connection of its own to URI, blocking, on any thread: 0, or the error with a sentence. */
int ygr_libvirt_control(const char *uri, const struct ygr_vm_request *request, struct ygr_error *error);
