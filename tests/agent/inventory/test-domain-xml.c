/* Domain XML: metadata, channels, memory kinds, and what is wrong with them in words. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/inventory/domain-xml.h"

#define META(inner)                                                                                         \
	"<metadata><x:other xmlns:x='urn:x'/><yagura:vm xmlns:yagura='https://yagura.dev/domain/1' " inner  \
	"</yagura:vm></metadata>"
#define DOMAIN(name, inner)                                                                                 \
	"<domain type='qemu'><name>" name "</name><uuid>11111111-2222-3333-4444-555555555555</uuid>"        \
	"<memory unit='KiB'>524288</memory><vcpu>2</vcpu><os><type "                                        \
	"machine='pc-q35-7.2'>hvm</type></os>" inner "</domain>"
#define SHARED "<memoryBacking><source type='memfd'/><access mode='shared'/></memoryBacking>"
#define VSOCK  "<devices><vsock model='virtio'><cid auto='yes' address='7'/></vsock></devices>"

static void test_ours(void **state)
{
	struct ygr_error error = YGR_ERROR_INIT;
	struct ygr_vm *vm = ygr_vm_new();
	struct ygr_domain domain;
	(void)state;

	int r =
	    ygr_domain_parse(DOMAIN("Dom_1", META("namespace='prod' name='web-3'><yagura:label key='app' "
						  "value='web'/>") SHARED VSOCK),
			     vm, &domain, &error);
	if (r < 0)
		fail_msg("%s", error.message);
	assert_int_equal(r, 1);
	assert_string_equal(vm->uuid, "11111111-2222-3333-4444-555555555555");
	assert_string_equal(vm->namespace_, "prod");
	assert_string_equal(vm->name, "web-3");
	assert_string_equal(vm->provider_name, "Dom_1");
	assert_string_equal(ygr_labels_get(&vm->labels, "app"), "web");
	assert_string_equal(vm->channel, "vsock:7:997");
	assert_int_equal(vm->vcpus, 2);
	assert_int_equal(domain.machine, YGR_MACHINE_Q35);
	assert_true(domain.shared_file);
	assert_true(domain.plain);
	assert_int_equal(domain.memory, 512 << 20);
	ygr_vm_free(vm);
}

static void test_defaults_and_channel(void **state)
{
	struct ygr_error error = YGR_ERROR_INIT;
	struct ygr_vm *vm = ygr_vm_new();
	struct ygr_domain domain;
	(void)state;

	assert_int_equal(
	    ygr_domain_parse(
		DOMAIN("db",
		       META("><yagura:channel type='hvsock' path='/run/v/db.sock'/>") "<launchSecurity "
										      "type='sev'/>" VSOCK),
		vm, &domain, &error),
	    1);
	assert_string_equal(vm->namespace_, "default");
	assert_string_equal(vm->name, "db");
	assert_string_equal(vm->channel, "hvsock:/run/v/db.sock:997");
	assert_int_equal(vm->memory, YGR_MEMORY_ENCRYPTED);
	assert_false(domain.shared_file);
	ygr_vm_free(vm);
}

static const char devices[] = DOMAIN(
    "web",
    META(">") "<devices>"
	      "<disk type='file' device='disk'><source file='/img/b.qcow2'/><backingStore type='file'>"
	      "<source file='/img/base.raw'/><backingStore/></backingStore>"
	      "<mirror type='file'><source file='/img/copy.qcow2'/></mirror><target dev='vda'/></disk>"
	      "<disk type='block' device='disk'><source dev='/dev/vg/x'/><target dev='vdb'/></disk>"
	      "<disk type='network' device='disk'><source protocol='rbd' name='p/i'/><target "
	      "dev='vdc'/></disk>"
	      "<disk type='file' device='cdrom'><source file='/img/cd.iso'/><target "
	      "dev='sda'/><readonly/></disk>"
	      "<interface type='bridge'><mac address='52:54:00:00:00:01'/><target dev='vnet3'/>"
	      "<alias name='net0'/></interface>"
	      "<interface type='vhostuser'><mac address='52:54:00:00:00:02'/><target dev='vhu0'/>"
	      "<alias name='net1'/></interface></devices>");

/* What a disk writes to, and which device an interface's packets pass. */
static void test_devices(void **state)
{
	struct ygr_error error = YGR_ERROR_INIT;
	struct ygr_vm *vm = ygr_vm_new();
	struct ygr_domain domain;
	(void)state;

	assert_int_equal(ygr_domain_parse(devices, vm, &domain, &error), 1);
	assert_int_equal(vm->disk_count, 4);
	assert_string_equal(vm->disks[0].target, "vda");
	assert_int_equal(vm->disks[0].kind, YGR_DISK_FILE);
	assert_int_equal(vm->disks[0].image_count, 3);
	assert_string_equal(vm->disks[0].images[0], "/img/b.qcow2");
	assert_string_equal(vm->disks[0].images[1], "/img/base.raw");
	assert_string_equal(vm->disks[0].images[2], "/img/copy.qcow2");
	assert_int_equal(vm->disks[1].kind, YGR_DISK_BLOCK);
	assert_string_equal(vm->disks[1].images[0], "/dev/vg/x");
	assert_int_equal(vm->disks[2].kind, YGR_DISK_NETWORK);
	assert_int_equal(vm->disks[2].image_count, 0);
	assert_true(vm->disks[3].readonly);
	assert_false(vm->disks[0].readonly);
	assert_int_equal(vm->nic_count, 2);
	assert_string_equal(vm->nics[0].alias, "net0");
	assert_string_equal(vm->nics[0].device, "vnet3");
	assert_string_equal(vm->nics[0].mac, "52:54:00:00:00:01");
	assert_int_equal(vm->nics[0].kind, YGR_NIC_TAP);
	assert_int_equal(vm->nics[1].kind, YGR_NIC_BYPASS);
	assert_string_equal(vm->nics[1].device, "");
	ygr_vm_free(vm);
}

/* What libvirt gets to take a link down, and up again. */
static void test_link(void **state)
{
	(void)state;
	char *down = ygr_domain_link_xml(devices, "52:54:00:00:00:01", false);
	assert_string_equal(
	    down, "<interface type=\"bridge\"><mac address=\"52:54:00:00:00:01\"/>"
		  "<target dev=\"vnet3\"/><alias name=\"net0\"/><link state=\"down\"/></interface>");
	char domain[512];
	snprintf(domain, sizeof(domain), "<domain><devices>%s</devices></domain>", down);
	char *up = ygr_domain_link_xml(domain, "52:54:00:00:00:01", true);
	assert_non_null(strstr(up, "<link state=\"up\"/></interface>"));
	assert_null(strstr(up, "down"));
	assert_null(ygr_domain_link_xml(devices, "52:54:00:00:00:09", false));
	assert_null(ygr_domain_link_xml("<domain>", "52:54:00:00:00:01", false));
	free(up);
	free(down);
}

static void test_not_ours(void **state)
{
	struct ygr_error error = YGR_ERROR_INIT;
	struct ygr_vm *vm = ygr_vm_new();
	struct ygr_domain domain;
	(void)state;

	assert_int_equal(ygr_domain_parse(DOMAIN("x", VSOCK), vm, &domain, &error), 0);
	assert_int_equal(ygr_domain_parse(DOMAIN("x", "<metadata><vm xmlns='urn:other'/></metadata>"), vm,
					  &domain, &error),
			 0);
	assert_int_equal(ygr_domain_parse("<domain", vm, &domain, &error), -EINVAL);
	ygr_vm_free(vm);
}

static void test_wrong(void **state)
{
	static const struct {
		const char *xml, *message;
	} cases[] = {
	    {DOMAIN("Web_3", META(">")), "domain Web_3: \"Web_3\" cannot be the name of a VM; give "
					 "yagura:vm a name of lower case letters, "
					 "digits, '-' and '.'"},
	    {DOMAIN("a", META("namespace='A'>")), "domain a: namespace \"A\" is not a namespace"},
	    {DOMAIN("a", META("><yagura:label key='-' value='x'/>")),
	     "domain a: label \"-\"=\"x\": not a label"},
	    {DOMAIN("a", META("><yagura:channel type='hvsock' path='rel'/>")),
	     "domain a: a channel is type=\"hvsock\" with an absolute path, or type=\"vsock\" with a cid"},
	    {DOMAIN("a", META("><yagura:channel type='vsock' cid='2'/>")),
	     "domain a: a channel is type=\"hvsock\" with an absolute path, or type=\"vsock\" with a cid"},
	    {DOMAIN("a", META("><yagura:channel type='hvsock' path='/a' port='x'/>")),
	     "domain a: channel port \"x\" is not a port"},
	};
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct ygr_error error = YGR_ERROR_INIT;
		struct ygr_vm *vm = ygr_vm_new();
		struct ygr_domain domain;
		assert_int_equal(ygr_domain_parse(cases[i].xml, vm, &domain, &error), -EINVAL);
		assert_string_equal(error.message, cases[i].message);
		ygr_vm_free(vm);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_ours),     cmocka_unit_test(test_defaults_and_channel),
	    cmocka_unit_test(test_devices),  cmocka_unit_test(test_link),
	    cmocka_unit_test(test_not_ours), cmocka_unit_test(test_wrong),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
