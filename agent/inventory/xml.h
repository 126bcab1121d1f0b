/* Reading elements and attributes of a domain's XML; inside this room. */
#pragma once

#include <libxml/tree.h>
#include <stdbool.h>

#include "agent/inventory/inventory.h"

/* The first element NAME of PARENT, which may be NULL; NULL when there is none. */
xmlNode *ygr_xml_child(xmlNode *parent, const char *name);
/* To be freed by _cleanup_(ygr_xml_freep); NULL when it is absent or NODE is NULL. */
xmlChar *ygr_xml_attribute(xmlNode *node, const char *name);
bool ygr_xml_attribute_is(xmlNode *node, const char *name, const char *value);
/* Copies attribute NAME to OUT: false when it is absent or too long. */
bool ygr_xml_attribute_copy(xmlNode *node, const char *name, char *out, size_t size);
void ygr_xml_freep(xmlChar **text);

/* Disks and interfaces of the domain ROOT: 0, -ENOMEM. What is beyond a bound is left out with a warning. */
int ygr_domain_read_disks(xmlNode *root, struct ygr_vm *vm, struct ygr_error *error);
int ygr_domain_read_nics(xmlNode *root, struct ygr_vm *vm, struct ygr_error *error);
