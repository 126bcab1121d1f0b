/*
 * Requests to libvirt. Each opens a connection of its own, on the worker that it runs on: libvirt's lock on a
 * domain already puts them in order, and a memory dump of minutes then keeps nobody else waiting. What is so
 * already is no error.
 */
#include "agent/inventory/libvirt-control.h"

#include <errno.h>
#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>
#include <stdio.h>
#include <string.h>

#include "agent/inventory/domain-xml.h"
#include "lib/base/cleanup.h"

static void connection_closep(virConnectPtr *connection)
{
	if (*connection)
		virConnectClose(*connection);
}

static void domain_freep(virDomainPtr *domain)
{
	if (*domain)
		virDomainFree(*domain);
}

static int failed(const struct ygr_vm_request *request, struct ygr_error *error)
{
	virErrorPtr said = virGetLastError();
	int code = said && said->code == VIR_ERR_NO_DOMAIN       ? ENOENT
		   : said && said->code == VIR_ERR_NO_SUPPORT    ? EOPNOTSUPP
		   : said && said->code == VIR_ERR_ACCESS_DENIED ? EACCES
								 : EIO;

	return ygr_error_set(error, code, "%s: %s", ygr_vm_operation_word(request->operation),
			     said && said->message ? said->message : "unknown error of libvirt");
}

static int state_of(virDomainPtr domain)
{
	int state = VIR_DOMAIN_NOSTATE, reason;

	(void)virDomainGetState(domain, &state, &reason, 0);
	return state;
}

static int set_link(virDomainPtr domain, const struct ygr_vm_request *request, bool up)
{
	_cleanup_free_ char *xml = virDomainGetXMLDesc(domain, 0), *changed = NULL;

	if (!xml)
		return -1;
	if (virDomainIsActive(domain) != 1)
		return 0;
	changed = ygr_domain_link_xml(xml, request->argument, up);
	return changed ? virDomainUpdateDeviceFlags(domain, changed, VIR_DOMAIN_DEVICE_MODIFY_LIVE) : -1;
}

static int perform(virDomainPtr domain, const struct ygr_vm_request *request)
{
	int state = state_of(domain);
	bool active = virDomainIsActive(domain) == 1;

	switch (request->operation) {
	case YGR_VM_PAUSE:
		return !active || state == VIR_DOMAIN_PAUSED ? 0 : virDomainSuspend(domain);
	case YGR_VM_RESUME:
		return state == VIR_DOMAIN_PAUSED ? virDomainResume(domain) : 0;
	case YGR_VM_SHUTDOWN:
		return active ? virDomainShutdown(domain) : 0;
	case YGR_VM_DESTROY:
		return active ? virDomainDestroy(domain) : 0;
	case YGR_VM_LINK_DOWN:
		return set_link(domain, request, false);
	case YGR_VM_LINK_UP:
		return set_link(domain, request, true);
	case YGR_VM_SNAPSHOT:
		return virDomainCoreDumpWithFormat(
		    domain, request->argument, VIR_DOMAIN_CORE_DUMP_FORMAT_RAW,
		    VIR_DUMP_MEMORY_ONLY | (state == VIR_DOMAIN_PAUSED ? 0 : VIR_DUMP_LIVE));
	}
	return -1;
}

int ygr_libvirt_control(const char *uri, const struct ygr_vm_request *request, struct ygr_error *error)
{
	virResetLastError();
	_cleanup_(connection_closep) virConnectPtr connection = virConnectOpen(uri);
	_cleanup_(domain_freep) virDomainPtr domain =
	    connection ? virDomainLookupByUUIDString(connection, request->uuid) : NULL;

	if (!domain || perform(domain, request) < 0)
		return failed(request, error);
	return 0;
}
