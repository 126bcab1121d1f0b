/*
 * libxml2 (which libvirt brings along) without network, entities or DTDs. The XML comes from libvirtd; parts
 * of it may have been written by whoever may define domains, so names and labels are checked like any input.
 */
#include "agent/inventory/domain-xml.h"

#include <ctype.h>
#include <errno.h>
#include <libxml/parser.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/inventory/xml.h"
#include "lib/base/cleanup.h"
#include "lib/wire/message.h"

#define YAGURA_NS "https://yagura.dev/domain/1"
#define XML_MAX   (4u << 20)

static bool is_ours(const xmlNode *node, const char *name)
{
	return node->type == XML_ELEMENT_NODE && node->ns && !strcmp((const char *)node->name, name) &&
	       !strcmp((const char *)node->ns->href, YAGURA_NS);
}

static void doc_freep(xmlDoc **doc)
{
	xmlFreeDoc(*doc);
}

static bool text_of(xmlNode *node, char *out, size_t size)
{
	_cleanup_(ygr_xml_freep) xmlChar *text = node ? xmlNodeGetContent(node) : NULL;

	if (!text || strlen((const char *)text) >= size)
		return false;
	strcpy(out, (const char *)text);
	return true;
}

static uint64_t number_of(xmlNode *node)
{
	char text[32];

	return text_of(node, text, sizeof(text)) ? strtoull(text, NULL, 10) : 0;
}

/* <memory unit='KiB'>: libvirt itself always writes KiB. */
static uint64_t bytes_of(xmlNode *node)
{
	if (ygr_xml_attribute_is(node, "unit", "bytes") || ygr_xml_attribute_is(node, "unit", "b"))
		return number_of(node);
	if (ygr_xml_attribute_is(node, "unit", "MiB"))
		return number_of(node) << 20;
	if (ygr_xml_attribute_is(node, "unit", "GiB"))
		return number_of(node) << 30;
	return number_of(node) << 10;
}

static int set_names(xmlNode *meta, const char *domain_name, struct ygr_vm *vm, struct ygr_error *error)
{
	_cleanup_(ygr_xml_freep) xmlChar *name = ygr_xml_attribute(meta, "name"),
					 *ns = ygr_xml_attribute(meta, "namespace");

	vm->provider_name = strdup(domain_name);
	vm->name = strdup(name ? (const char *)name : domain_name);
	vm->namespace_ = strdup(ns ? (const char *)ns : YGR_NAMESPACE_DEFAULT);
	if (!vm->provider_name || !vm->name || !vm->namespace_)
		return ygr_error_set(error, ENOMEM, "out of memory");
	if (!ygr_name_is_subdomain(vm->name))
		return ygr_error_set(
		    error, EINVAL,
		    "domain %s: \"%.64s\" cannot be the name of a VM; give yagura:vm a name of lower "
		    "case letters, digits, '-' and '.'",
		    domain_name, vm->name);
	if (!ygr_name_is_label(vm->namespace_))
		return ygr_error_set(error, EINVAL, "domain %s: namespace \"%.64s\" is not a namespace",
				     domain_name, vm->namespace_);
	return 0;
}

static int add_label(xmlNode *node, struct ygr_vm *vm, struct ygr_error *error)
{
	_cleanup_(ygr_xml_freep) xmlChar *key = ygr_xml_attribute(node, "key"),
					 *value = ygr_xml_attribute(node, "value");
	const char *k = key ? (const char *)key : "", *v = value ? (const char *)value : "";
	int r = ygr_labels_set(&vm->labels, k, v);

	if (r < 0)
		return ygr_error_set(error, -r, "domain %s: label \"%.64s\"=\"%.64s\": %s",
				     vm->provider_name, k, v, r == -EINVAL ? "not a label" : strerror(-r));
	return 0;
}

/* <yagura:channel type="hvsock|unix|vsock" path= cid= port=/> */
static int set_channel(xmlNode *node, struct ygr_vm *vm, struct ygr_error *error)
{
	_cleanup_(ygr_xml_freep) xmlChar *type = ygr_xml_attribute(node, "type"),
					 *path = ygr_xml_attribute(node, "path");
	_cleanup_(ygr_xml_freep) xmlChar *port = ygr_xml_attribute(node, "port"),
					 *cid = ygr_xml_attribute(node, "cid");
	const char *kind = type ? (const char *)type : "";
	unsigned long number = port ? strtoul((const char *)port, NULL, 10) : YGR_PORT_DEFAULT;
	int n = -1;

	if (!number || number > UINT32_MAX)
		return ygr_error_set(error, EINVAL, "domain %s: channel port \"%s\" is not a port",
				     vm->provider_name, (const char *)port);
	free(vm->channel);
	vm->channel = NULL;
	if (!strcmp(kind, "hvsock") && path && path[0] == '/')
		n = asprintf(&vm->channel, "hvsock:%s:%lu", (const char *)path, number);
	else if (!strcmp(kind, "vsock") && cid && strtoul((const char *)cid, NULL, 10) > 2)
		n = asprintf(&vm->channel, "vsock:%lu:%lu", strtoul((const char *)cid, NULL, 10), number);
	else
		return ygr_error_set(error, EINVAL,
				     "domain %s: a channel is type=\"hvsock\" with an absolute path, or "
				     "type=\"vsock\" with a cid",
				     vm->provider_name);
	if (n < 0)
		vm->channel = NULL;
	return n < 0 ? ygr_error_set(error, ENOMEM, "out of memory") : 0;
}

static int read_metadata(xmlNode *meta, struct ygr_vm *vm, struct ygr_error *error)
{
	int r = 0;

	for (xmlNode *node = meta->children; node && r == 0; node = node->next) {
		if (is_ours(node, "label"))
			r = add_label(node, vm, error);
		else if (is_ours(node, "channel"))
			r = set_channel(node, vm, error);
	}
	return r;
}

static void read_devices(xmlNode *root, struct ygr_vm *vm)
{
	_cleanup_(ygr_xml_freep) xmlChar *cid = ygr_xml_attribute(
	    ygr_xml_child(ygr_xml_child(ygr_xml_child(root, "devices"), "vsock"), "cid"), "address");
	unsigned long number = cid ? strtoul((const char *)cid, NULL, 10) : 0;

	if (number > 2 && number <= UINT32_MAX &&
	    asprintf(&vm->channel, "vsock:%lu:%d", number, YGR_PORT_DEFAULT) < 0)
		vm->channel = NULL;
}

static enum ygr_machine machine_of(xmlNode *root)
{
	_cleanup_(ygr_xml_freep) xmlChar *machine =
	    ygr_xml_attribute(ygr_xml_child(ygr_xml_child(root, "os"), "type"), "machine");
	const char *name = machine ? (const char *)machine : "";

	if (strstr(name, "q35"))
		return YGR_MACHINE_Q35;
	if (!strcmp(name, "pc") || !strncmp(name, "pc-i440fx", 9))
		return YGR_MACHINE_PC;
	return YGR_MACHINE_OTHER;
}

static void read_memory(xmlNode *root, struct ygr_vm *vm, struct ygr_domain *domain)
{
	xmlNode *backing = ygr_xml_child(root, "memoryBacking"), *source = ygr_xml_child(backing, "source");
	bool file =
	    ygr_xml_attribute_is(source, "type", "memfd") || ygr_xml_attribute_is(source, "type", "file");

	domain->machine = machine_of(root);
	domain->memory = bytes_of(ygr_xml_child(root, "memory"));
	domain->shared_file =
	    file && ygr_xml_attribute_is(ygr_xml_child(backing, "access"), "mode", "shared");
	domain->plain = !ygr_xml_child(ygr_xml_child(root, "cpu"), "numa") &&
			!ygr_xml_child(ygr_xml_child(root, "devices"), "memory") &&
			!ygr_xml_child(root, "maxMemory");
	vm->vcpus = (uint32_t)number_of(ygr_xml_child(root, "vcpu"));
	vm->memory = ygr_xml_child(root, "launchSecurity") ? YGR_MEMORY_ENCRYPTED : YGR_MEMORY_PRIVATE;
}

static int read_domain(xmlNode *root, struct ygr_vm *vm, struct ygr_domain *domain, struct ygr_error *error)
{
	xmlNode *metadata = ygr_xml_child(root, "metadata"), *meta = NULL;
	char name[256];

	for (xmlNode *node = metadata ? metadata->children : NULL; node && !meta; node = node->next)
		if (is_ours(node, "vm"))
			meta = node;
	if (!meta)
		return 0;
	if (!text_of(ygr_xml_child(root, "name"), name, sizeof(name)) ||
	    !text_of(ygr_xml_child(root, "uuid"), vm->uuid, sizeof(vm->uuid)))
		return ygr_error_set(error, EINVAL, "a domain without name or UUID");
	vm->provider = "Libvirt";
	int r = set_names(meta, name, vm, error);
	if (r < 0)
		return r;
	read_devices(root, vm);
	read_memory(root, vm, domain);
	r = read_metadata(meta, vm, error);
	if (r == 0)
		r = ygr_domain_read_disks(root, vm, error);
	if (r == 0)
		r = ygr_domain_read_nics(root, vm, error);
	return r < 0 ? r : 1;
}

int ygr_domain_parse(const char *xml, struct ygr_vm *vm, struct ygr_domain *ret_domain,
		     struct ygr_error *error)
{
	size_t len = strlen(xml);

	if (len > XML_MAX)
		return ygr_error_set(error, EINVAL, "a domain's XML is larger than 4 MiB");
	_cleanup_(doc_freep) xmlDoc *doc = xmlReadMemory(
	    xml, (int)len, "domain.xml", NULL, XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING);
	xmlNode *root = doc ? xmlDocGetRootElement(doc) : NULL;
	if (!root)
		return ygr_error_set(error, EINVAL, "a domain's XML cannot be parsed");
	*ret_domain = (struct ygr_domain){0};
	return read_domain(root, vm, ret_domain, error);
}
