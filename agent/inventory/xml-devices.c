/*
 * Disks with their chains and interfaces with their devices, from a domain's live XML. libvirt lists the chain of
 * a running domain itself (backingStore), also after snapshots and block jobs.
 */
#include "agent/inventory/xml.h"

#include <errno.h>
#include <libxml/parser.h>
#include <stdlib.h>
#include <string.h>

#include "agent/inventory/domain-xml.h"
#include "lib/base/cleanup.h"

xmlNode *ygr_xml_child(xmlNode *parent, const char *name)
{
	for (xmlNode *node = parent ? parent->children : NULL; node; node = node->next)
		if (node->type == XML_ELEMENT_NODE && !strcmp((const char *)node->name, name))
			return node;
	return NULL;
}

void ygr_xml_freep(xmlChar **text)
{
	xmlFree(*text);
}

xmlChar *ygr_xml_attribute(xmlNode *node, const char *name)
{
	return node ? xmlGetNoNsProp(node, (const xmlChar *)name) : NULL;
}

bool ygr_xml_attribute_is(xmlNode *node, const char *name, const char *value)
{
	_cleanup_(ygr_xml_freep) xmlChar *text = ygr_xml_attribute(node, name);

	return text && !strcmp((const char *)text, value);
}

bool ygr_xml_attribute_copy(xmlNode *node, const char *name, char *out, size_t size)
{
	_cleanup_(ygr_xml_freep) xmlChar *text = ygr_xml_attribute(node, name);

	if (!text || strlen((const char *)text) >= size)
		return false;
	strcpy(out, (const char *)text);
	return true;
}

static int no_memory(const struct ygr_vm *vm, struct ygr_error *error)
{
	return ygr_error_set(error, ENOMEM, "domain %s: out of memory", vm->provider_name);
}

static enum ygr_vm_disk_kind kind_of(xmlNode *disk)
{
	if (ygr_xml_attribute_is(disk, "type", "file"))
		return YGR_DISK_FILE;
	if (ygr_xml_attribute_is(disk, "type", "block"))
		return YGR_DISK_BLOCK;
	return ygr_xml_attribute_is(disk, "type", "network") ? YGR_DISK_NETWORK : YGR_DISK_OTHER;
}

/* Appends the path of NODE's source, if it has one on this node. */
static int add_image(xmlNode *node, struct ygr_vm_disk *disk)
{
	xmlNode *source = ygr_xml_child(node, "source");
	_cleanup_(ygr_xml_freep) xmlChar *file = ygr_xml_attribute(source, "file");
	_cleanup_(ygr_xml_freep) xmlChar *device = ygr_xml_attribute(source, "dev");
	const char *path = (const char *)(file ? file : device);

	if (!path || path[0] != '/')
		return 0;
	char **grown = reallocarray(disk->images, disk->image_count + 1, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	disk->images = grown;
	disk->images[disk->image_count] = strdup(path);
	if (!disk->images[disk->image_count])
		return -ENOMEM;
	disk->image_count++;
	return 0;
}

/* The disk, what it is based on, and the other side of a mirror, which is written too. */
static int read_disk(xmlNode *node, struct ygr_vm_disk *disk)
{
	int r = 0;

	disk->kind = kind_of(node);
	disk->readonly = ygr_xml_child(node, "readonly") || ygr_xml_attribute_is(node, "device", "cdrom");
	for (xmlNode *layer = node; layer && r == 0 && disk->image_count < YGR_VM_IMAGES_MAX;
	     layer = ygr_xml_child(layer, "backingStore"))
		r = add_image(layer, disk);
	xmlNode *mirror = ygr_xml_child(node, "mirror");
	if (r == 0 && mirror && disk->image_count < YGR_VM_IMAGES_MAX)
		r = add_image(mirror, disk);
	return r;
}

int ygr_domain_read_disks(xmlNode *root, struct ygr_vm *vm, struct ygr_error *error)
{
	xmlNode *devices = ygr_xml_child(root, "devices");

	vm->disks = calloc(YGR_VM_DISKS_MAX, sizeof(*vm->disks));
	if (!vm->disks)
		return no_memory(vm, error);
	for (xmlNode *node = devices ? devices->children : NULL; node; node = node->next) {
		struct ygr_vm_disk *disk = &vm->disks[vm->disk_count];
		if (node->type != XML_ELEMENT_NODE || strcmp((const char *)node->name, "disk") != 0)
			continue;
		if (vm->disk_count == YGR_VM_DISKS_MAX ||
		    !ygr_xml_attribute_copy(ygr_xml_child(node, "target"), "dev", disk->target,
					    sizeof(disk->target)))
			continue;
		vm->disk_count++;
		if (read_disk(node, disk) < 0)
			return no_memory(vm, error);
	}
	return 0;
}

/* Whose packets pass a device of the node. A macvtap's are sent and received at the wrong ends of it. */
static bool is_tap(xmlNode *node)
{
	return ygr_xml_attribute_is(node, "type", "network") ||
	       ygr_xml_attribute_is(node, "type", "bridge") ||
	       ygr_xml_attribute_is(node, "type", "ethernet");
}

int ygr_domain_read_nics(xmlNode *root, struct ygr_vm *vm, struct ygr_error *error)
{
	xmlNode *devices = ygr_xml_child(root, "devices");

	vm->nics = calloc(YGR_VM_NICS_MAX, sizeof(*vm->nics));
	if (!vm->nics)
		return no_memory(vm, error);
	for (xmlNode *node = devices ? devices->children : NULL; node; node = node->next) {
		struct ygr_vm_nic *nic = &vm->nics[vm->nic_count];
		if (node->type != XML_ELEMENT_NODE || strcmp((const char *)node->name, "interface") != 0)
			continue;
		if (vm->nic_count == YGR_VM_NICS_MAX)
			break;
		xmlNode *target = ygr_xml_child(node, "target"), *actual = ygr_xml_child(node, "actual");
		nic->kind = is_tap(node) && !ygr_xml_attribute_is(actual, "type", "direct") ? YGR_NIC_TAP
											    : YGR_NIC_BYPASS;
		(void)ygr_xml_attribute_copy(ygr_xml_child(node, "mac"), "address", nic->mac,
					     sizeof(nic->mac));
		(void)ygr_xml_attribute_copy(ygr_xml_child(node, "alias"), "name", nic->alias,
					     sizeof(nic->alias));
		if (nic->kind == YGR_NIC_TAP)
			(void)ygr_xml_attribute_copy(target, "dev", nic->device, sizeof(nic->device));
		vm->nic_count++;
	}
	return 0;
}

static xmlNode *find_nic(xmlNode *root, const char *mac)
{
	xmlNode *devices = ygr_xml_child(root, "devices");

	for (xmlNode *node = devices ? devices->children : NULL; node; node = node->next)
		if (node->type == XML_ELEMENT_NODE && !strcmp((const char *)node->name, "interface") &&
		    ygr_xml_attribute_is(ygr_xml_child(node, "mac"), "address", mac))
			return node;
	return NULL;
}

char *ygr_domain_link_xml(const char *xml, const char *mac, bool up)
{
	xmlDoc *doc = xmlReadMemory(xml, (int)strlen(xml), "domain.xml", NULL,
				    XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING);
	xmlNode *nic = doc ? find_nic(xmlDocGetRootElement(doc), mac) : NULL;
	xmlBuffer *buffer = nic ? xmlBufferCreate() : NULL;
	char *result = NULL;

	if (buffer) {
		xmlNode *link = ygr_xml_child(nic, "link");
		if (!link)
			link = xmlNewChild(nic, NULL, (const xmlChar *)"link", NULL);
		if (link &&
		    xmlSetProp(link, (const xmlChar *)"state", (const xmlChar *)(up ? "up" : "down")) &&
		    xmlNodeDump(buffer, doc, nic, 0, 0) > 0)
			result = strdup((const char *)xmlBufferContent(buffer));
		xmlBufferFree(buffer);
	}
	xmlFreeDoc(doc);
	return result;
}
