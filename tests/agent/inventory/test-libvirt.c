/*
 * The libvirt provider with libvirt's test driver: no VM is started. A second connection to the same
 * test:///FILE is another node to the driver, so domains are changed through what the provider sees at
 * start; the resync and a driver that is not there are what remains to be seen here.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <libvirt/libvirt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/inventory/inventory.h"

struct fixture {
	uv_loop_t loop;
	char log[4096];
	bool timed_out;
};

static void on_changed(void *user, const struct ygr_vm *vm)
{
	struct fixture *f = user;
	size_t len = strlen(f->log);

	snprintf(f->log + len, sizeof(f->log) - len, "+%s/%s %s %s app=%s resets=%d\n", vm->namespace_,
		 vm->name, ygr_vm_phase_word(vm->phase), ygr_vm_memory_word(vm->memory),
		 ygr_labels_get(&vm->labels, "app") ?: "", (int)vm->resets);
}

static void on_gone(void *user, const struct ygr_vm *vm)
{
	struct fixture *f = user;
	size_t len = strlen(f->log);

	snprintf(f->log + len, sizeof(f->log) - len, "-%s/%s\n", vm->namespace_, vm->name);
}

static void on_connected(void *user, bool connected, const char *reason)
{
	struct fixture *f = user;
	size_t len = strlen(f->log);

	snprintf(f->log + len, sizeof(f->log) - len, "connected=%d %s\n", connected, reason);
}

static void on_controlled(void *user, const struct ygr_vm_request *request, const struct ygr_error *error)
{
	struct fixture *f = user;
	size_t len = strlen(f->log);

	snprintf(f->log + len, sizeof(f->log) - len, "%s: %s\n", ygr_vm_operation_word(request->operation),
		 error->code ? error->message : "done");
}

static void on_timeout(uv_timer_t *timer)
{
	((struct fixture *)timer->data)->timed_out = true;
}

static void wait_for(struct fixture *f, const char *text)
{
	uv_timer_t timer;

	f->timed_out = false;
	uv_timer_init(&f->loop, &timer);
	timer.data = f;
	uv_timer_start(&timer, on_timeout, 15000, 0);
	while (!strstr(f->log, text) && !f->timed_out)
		uv_run(&f->loop, UV_RUN_ONCE);
	uv_close((uv_handle_t *)&timer, NULL);
	uv_run(&f->loop, UV_RUN_NOWAIT);
	if (f->timed_out)
		fail_msg("wanted \"%s\", got:\n%s", text, f->log);
}

#define VM(name, uuid, meta)                                                                                \
	"<domain type='test'><name>" name "</name><uuid>" uuid                                              \
	"</uuid><memory>65536</memory><vcpu>1</vcpu>"                                                       \
	"<os><type>hvm</type></os><metadata>" meta "</metadata></domain>"
#define META(inner) "<y:vm xmlns:y='https://yagura.dev/domain/1' " inner "</y:vm>"

static const char node[] =
    "<node>" VM("web", "11111111-1111-1111-1111-111111111111", META("><y:label key='app' value='web'/>"))
	VM("twin", "22222222-2222-2222-2222-222222222222", META("name='web'>"))
	    VM("Bad_Name", "33333333-3333-3333-3333-333333333333", META(">"))
		VM("foreign", "44444444-4444-4444-4444-444444444444", "") "</node>";

static void finish(struct fixture *f, struct ygr_inventory *inventory)
{
	ygr_inventory_stop(inventory);
	uv_run(&f->loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&f->loop), 0);
}

static void test_domains(void **state)
{
	char path[] = "/tmp/yagura-libvirt-XXXXXX", uri[64];
	struct ygr_error error = YGR_ERROR_INIT;
	struct ygr_inventory *inventory;
	struct fixture f = {0};
	int fd = mkstemp(path);
	(void)state;

	assert_int_equal(write(fd, node, sizeof(node) - 1), sizeof(node) - 1);
	close(fd);
	snprintf(uri, sizeof(uri), "test://%s", path);
	uv_loop_init(&f.loop);
	const struct ygr_libvirt_options options = {.uri = uri, .run_dir = "/nonexistent"};
	const struct ygr_inventory_handlers handlers = {on_changed, on_gone, on_connected, &f};
	assert_int_equal(
	    ygr_inventory_start(&f.loop, &ygr_inventory_libvirt, &options, &handlers, &inventory, &error),
	    0);
	wait_for(&f, "connected=1");
	/* Only ours, the twin's claim to a taken name refused, the bad name left out. */
	assert_string_equal(f.log, "+default/web Running Private app=web resets=0\nconnected=1 \n");
	assert_non_null(ygr_inventory_find(inventory, "default", "web"));
	assert_null(ygr_inventory_find(inventory, "default", "foreign"));
	finish(&f, inventory);
	unlink(path);
}

/* The patterns of the administrator choose: what is not named is not even read. */
static void test_patterns(void **state)
{
	char path[] = "/tmp/yagura-libvirt-XXXXXX", uri[64];
	char *const patterns[] = {"tw*", "nobody"};
	struct ygr_error error = YGR_ERROR_INIT;
	struct ygr_inventory *inventory;
	struct fixture f = {0};
	int fd = mkstemp(path);
	(void)state;

	assert_int_equal(write(fd, node, sizeof(node) - 1), sizeof(node) - 1);
	close(fd);
	snprintf(uri, sizeof(uri), "test://%s", path);
	uv_loop_init(&f.loop);
	const struct ygr_libvirt_options options = {uri, "/nonexistent", patterns, 2};
	const struct ygr_inventory_handlers handlers = {on_changed, on_gone, on_connected, &f};
	assert_int_equal(
	    ygr_inventory_start(&f.loop, &ygr_inventory_libvirt, &options, &handlers, &inventory, &error),
	    0);
	wait_for(&f, "connected=1");
	assert_string_equal(f.log,
			    "+default/web Running Private app= resets=0\nconnected=1 \n"); /* the twin */
	finish(&f, inventory);
	unlink(path);
}

/* test:///default is shared by all connections of a process: changes made beside the provider are seen. */
static void test_lifecycle(void **state)
{
	const struct ygr_libvirt_options options = {.uri = "test:///default", .run_dir = "/nonexistent"};
	struct ygr_error error = YGR_ERROR_INIT;
	struct ygr_inventory *inventory;
	struct fixture f = {0};
	(void)state;

	uv_loop_init(&f.loop);
	const struct ygr_inventory_handlers handlers = {on_changed, on_gone, on_connected, &f};
	assert_int_equal(
	    ygr_inventory_start(&f.loop, &ygr_inventory_libvirt, &options, &handlers, &inventory, &error),
	    0);
	wait_for(&f, "connected=1");
	virConnectPtr connection = virConnectOpen("test:///default");
	virDomainPtr domain =
	    virDomainCreateXML(connection, VM("vm1", "55555555-5555-5555-5555-555555555555", META(">")), 0);
	assert_non_null(domain);
	wait_for(&f, "+default/vm1 Running");
	assert_int_equal(virDomainSuspend(domain), 0);
	wait_for(&f, "+default/vm1 Paused");
	f.log[0] = '\0';
	assert_int_equal(virDomainResume(domain), 0);
	wait_for(&f, "+default/vm1 Running");
	assert_int_equal(virDomainSetMetadata(domain, VIR_DOMAIN_METADATA_ELEMENT, "<vm><label/></vm>",
					      "other", "urn:other", 0),
			 0);
	assert_int_equal(virDomainDestroy(domain), 0);
	wait_for(&f, "-default/vm1");
	virDomainFree(domain);
	virConnectClose(connection);
	finish(&f, inventory);
}

static void ask(struct fixture *f, struct ygr_inventory *inventory, enum ygr_vm_operation operation,
		const char *expected)
{
	const struct ygr_vm_request request = {"66666666-6666-6666-6666-666666666666", operation, ""};

	f->log[0] = '\0';
	assert_int_equal(ygr_inventory_control(inventory, &request, on_controlled, f), 0);
	wait_for(f, expected);
}

/* What is asked is done, asking twice changes nothing, and a VM that is not there is an error in words. */
static void test_control(void **state)
{
	const struct ygr_libvirt_options options = {.uri = "test:///default", .run_dir = "/nonexistent"};
	struct ygr_error error = YGR_ERROR_INIT;
	struct ygr_inventory *inventory;
	struct fixture f = {0};
	(void)state;

	uv_loop_init(&f.loop);
	const struct ygr_inventory_handlers handlers = {on_changed, on_gone, on_connected, &f};
	assert_int_equal(
	    ygr_inventory_start(&f.loop, &ygr_inventory_libvirt, &options, &handlers, &inventory, &error),
	    0);
	wait_for(&f, "connected=1");
	ask(&f, inventory, YGR_VM_PAUSE, "pause: pause: ");
	virConnectPtr connection = virConnectOpen("test:///default");
	virDomainPtr domain =
	    virDomainCreateXML(connection, VM("vm2", "66666666-6666-6666-6666-666666666666", META(">")), 0);
	assert_non_null(domain);
	wait_for(&f, "+default/vm2 Running");
	ask(&f, inventory, YGR_VM_PAUSE, "+default/vm2 Paused");
	ask(&f, inventory, YGR_VM_PAUSE, "pause: done");
	ask(&f, inventory, YGR_VM_RESUME, "+default/vm2 Running");
	ask(&f, inventory, YGR_VM_RESUME, "resume: done");
	ask(&f, inventory, YGR_VM_DESTROY, "-default/vm2");
	virDomainFree(domain);
	virConnectClose(connection);
	/* Stopped while a request is under way: it is still answered. */
	const struct ygr_vm_request last = {"66666666-6666-6666-6666-666666666666", YGR_VM_PAUSE, ""};
	f.log[0] = '\0';
	assert_int_equal(ygr_inventory_control(inventory, &last, on_controlled, &f), 0);
	finish(&f, inventory);
	assert_non_null(strstr(f.log, "pause: pause: "));
}

/* What cannot be connected to is tried again, and found once it is there. */
static void test_away(void **state)
{
	const struct ygr_libvirt_options options = {.uri = "test:///tmp/yagura-libvirt-away.xml",
						    .run_dir = "/nonexistent"};
	struct ygr_error error = YGR_ERROR_INIT;
	struct ygr_inventory *inventory;
	struct fixture f = {0};
	(void)state;

	uv_loop_init(&f.loop);
	const struct ygr_inventory_handlers handlers = {on_changed, on_gone, on_connected, &f};
	assert_int_equal(
	    ygr_inventory_start(&f.loop, &ygr_inventory_libvirt, &options, &handlers, &inventory, &error),
	    0);
	unlink("/tmp/yagura-libvirt-away.xml");
	wait_for(&f, "connected=0 ");
	FILE *file = fopen("/tmp/yagura-libvirt-away.xml", "w");
	assert_non_null(file);
	fputs(node, file);
	fclose(file);
	wait_for(&f, "+default/web Running");
	wait_for(&f, "connected=1");
	unlink("/tmp/yagura-libvirt-away.xml");
	finish(&f, inventory);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_domains), cmocka_unit_test(test_patterns),
					   cmocka_unit_test(test_lifecycle), cmocka_unit_test(test_control),
					   cmocka_unit_test(test_away)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
