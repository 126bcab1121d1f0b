/*
 * The libvirt provider: one thread that owns the connection and runs libvirt's event loop. Any event only
 * says "look again": after a short pause (so that a burst costs one look) every domain is listed and read
 * anew. A timer looks again every RESYNC_MS in any case, and connects again, with growing pauses, when
 * libvirtd is away. QEMU's process and RAM are examined once for each start of a domain and remembered by
 * its pid.
 */
#include <errno.h>
#include <fnmatch.h>
#include <libvirt/libvirt-qemu.h>
#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "agent/inventory/domain-xml.h"
#include "agent/inventory/inventory.h"
#include "agent/inventory/libvirt-control.h"
#include "agent/inventory/ram.h"
#include "lib/base/cleanup.h"
#include "lib/base/log.h"

#define DEBOUNCE_MS  50
#define RESYNC_MS    10000
#define RETRY_MIN_MS 500
#define RETRY_MAX_MS 30000

/* What is remembered about a domain between looks. */
struct seen {
	char uuid[YGR_UUID_TEXT];
	pid_t pid;          /* the RAM below was found for it */
	struct ygr_vm *ram; /* carrier of ram_* and regions, or NULL */
	uint64_t resets;
	char complaint[YGR_ERROR_MESSAGE_MAX]; /* logged already */
	bool present;
};

struct state {
	struct ygr_inventory *inventory;
	char *uri, *run_dir;
	char *const *domains; /* patterns, borrowed */
	size_t domain_count;
	pthread_t thread;
	int timer;
	atomic_bool stop;

	/* owned by the thread: */
	virConnectPtr connection;
	int callbacks[7];
	bool dead;
	int retry_ms;
	struct seen *seen;
	size_t seen_count;
};

static const char *last_error(void)
{
	virErrorPtr e = virGetLastError();

	return e && e->message ? e->message : "unknown error";
}

static void quiet(void *user, virErrorPtr error)
{
	(void)user;
	(void)error; /* libvirt's default prints to stderr; errors are handled where they are returned */
}

static void domain_freep(virDomainPtr *domain)
{
	if (*domain)
		virDomainFree(*domain);
}

static void look_soon(struct state *state)
{
	virEventUpdateTimeout(state->timer, DEBOUNCE_MS);
}

static struct seen *remember(struct state *state, const char *uuid)
{
	for (size_t i = 0; i < state->seen_count; i++)
		if (!strcmp(state->seen[i].uuid, uuid))
			return &state->seen[i];
	struct seen *grown = reallocarray(state->seen, state->seen_count + 1, sizeof(*grown));
	if (!grown)
		return NULL;
	state->seen = grown;
	struct seen *seen = &grown[state->seen_count++];
	*seen = (struct seen){0};
	memcpy(seen->uuid, uuid, YGR_UUID_TEXT);
	return seen;
}

static void forget_absent(struct state *state)
{
	size_t kept = 0;

	for (size_t i = 0; i < state->seen_count; i++) {
		if (state->seen[i].present)
			state->seen[kept++] = state->seen[i];
		else
			ygr_vm_free(state->seen[i].ram);
	}
	state->seen_count = kept;
}

static enum ygr_vm_phase phase_of(virDomainPtr domain)
{
	int code, reason;

	if (virDomainGetState(domain, &code, &reason, 0) < 0)
		return YGR_VM_UNKNOWN;
	switch (code) {
	case VIR_DOMAIN_RUNNING:
	case VIR_DOMAIN_BLOCKED:
		return YGR_VM_RUNNING;
	case VIR_DOMAIN_PAUSED:
		return reason == VIR_DOMAIN_PAUSED_MIGRATION ? YGR_VM_MIGRATING : YGR_VM_PAUSED;
	case VIR_DOMAIN_PMSUSPENDED:
		return YGR_VM_PAUSED;
	case VIR_DOMAIN_SHUTDOWN:
	case VIR_DOMAIN_SHUTOFF:
	case VIR_DOMAIN_CRASHED:
		return YGR_VM_STOPPED;
	default:
		return YGR_VM_UNKNOWN;
	}
}

/* Finds RAM and layout of a QEMU that was not looked at before; NULL where the node cannot read it. */
static struct ygr_vm *examine_ram(virDomainPtr domain, pid_t pid, const struct ygr_domain *info)
{
	struct ygr_vm *ram = ygr_vm_new();
	_cleanup_free_ char *mtree = NULL;

	if (!ram || ygr_ram_find_file(pid, info->memory, ram) < 0)
		return ygr_vm_free(ram);
	if (info->plain)
		ygr_ram_layout_rule(info->machine, info->memory, ram);
	if (virDomainQemuMonitorCommand(domain, "info mtree -f", &mtree,
					VIR_DOMAIN_QEMU_MONITOR_COMMAND_HMP) < 0)
		return ram->region_count ? ram : ygr_vm_free(ram);
	return ygr_ram_layout_confirm(mtree, ram) < 0 ? ygr_vm_free(ram) : ram;
}

static void copy_ram(const struct ygr_vm *from, struct ygr_vm *vm)
{
	vm->ram_path = strdup(from->ram_path);
	if (!vm->ram_path)
		return;
	vm->ram_dev = from->ram_dev;
	vm->ram_ino = from->ram_ino;
	vm->ram_size = from->ram_size;
	vm->region_count = from->region_count;
	memcpy(vm->regions, from->regions, sizeof(vm->regions));
	vm->memory = YGR_MEMORY_SHARED;
}

static void add_process(struct state *state, virDomainPtr domain, const struct ygr_domain *info,
			struct seen *seen, struct ygr_vm *vm)
{
	pid_t pid = 0;

	if (virDomainIsActive(domain) == 1)
		(void)ygr_ram_find_pid(state->run_dir, vm->provider_name, vm->uuid, &pid);
	vm->pid = pid;
	if (!pid || pid != seen->pid) {
		seen->ram = ygr_vm_free(seen->ram);
		seen->pid = pid;
		if (pid && info->shared_file && vm->memory != YGR_MEMORY_ENCRYPTED)
			seen->ram = examine_ram(domain, pid, info);
	}
	if (seen->ram && vm->memory != YGR_MEMORY_ENCRYPTED)
		copy_ram(seen->ram, vm);
}

static void complain(struct seen *seen, const char *message)
{
	if (!strcmp(seen->complaint, message))
		return;
	snprintf(seen->complaint, sizeof(seen->complaint), "%s", message);
	ygr_log(YGR_LOG_WARNING, "inventory", "%s; it is left out", message);
}

/* Domains that the administrator did not name are not even read. */
static bool ours(const struct state *state, virDomainPtr domain)
{
	const char *name = virDomainGetName(domain);

	for (size_t i = 0; name && i < state->domain_count; i++)
		if (fnmatch(state->domains[i], name, 0) == 0)
			return true;
	return state->domain_count == 0;
}

static int look_at(struct state *state, virDomainPtr domain, struct ygr_vm_list *list)
{
	struct ygr_error error = YGR_ERROR_INIT;
	struct ygr_domain info;
	char uuid[VIR_UUID_STRING_BUFLEN];
	_cleanup_free_ char *xml = virDomainGetXMLDesc(domain, 0);
	struct ygr_vm *vm;

	if (!xml || virDomainGetUUIDString(domain, uuid) < 0)
		return 0; /* it went away between listing and looking */
	vm = ygr_vm_new();
	struct seen *seen = remember(state, uuid);
	if (!vm || !seen) {
		ygr_vm_free(vm);
		return -ENOMEM;
	}
	seen->present = true;
	int r = ygr_domain_parse(xml, vm, &info, &error);
	if (r <= 0) {
		ygr_vm_free(vm);
		if (r < 0)
			complain(seen, error.message);
		return 0;
	}
	vm->phase = phase_of(domain);
	vm->resets = seen->resets;
	add_process(state, domain, &info, seen, vm);
	return ygr_vm_list_add(list, vm);
}

static void look(struct state *state)
{
	struct ygr_vm_list list = {0};
	virDomainPtr *domains;
	int r = 0, count = virConnectListAllDomains(state->connection, &domains, 0);

	if (count < 0) {
		if (virConnectIsAlive(state->connection) != 1)
			state->dead = true;
		return;
	}
	for (size_t i = 0; i < state->seen_count; i++)
		state->seen[i].present = false;
	for (int i = 0; i < count; i++) {
		_cleanup_(domain_freep) virDomainPtr domain = domains[i];
		if (r == 0 && ours(state, domain))
			r = look_at(state, domain, &list);
	}
	free(domains);
	if (r == -E2BIG)
		ygr_log(YGR_LOG_WARNING, "inventory", "more than %d VMs; the rest is left out", YGR_VM_MAX);
	if (r == -ENOMEM || virConnectIsAlive(state->connection) != 1) {
		ygr_vm_list_deinit(&list); /* half a list would say that VMs are gone */
		return;
	}
	forget_absent(state);
	ygr_inventory_deliver(state->inventory, &list, NULL);
}

static int on_lifecycle(virConnectPtr connection, virDomainPtr domain, int event, int detail, void *user)
{
	(void)connection, (void)domain, (void)event, (void)detail;
	look_soon(user);
	return 0;
}

static void on_reboot(virConnectPtr connection, virDomainPtr domain, void *user)
{
	char uuid[VIR_UUID_STRING_BUFLEN];
	struct state *state = user;

	(void)connection;
	if (virDomainGetUUIDString(domain, uuid) == 0) {
		struct seen *seen = remember(state, uuid);
		if (seen)
			seen->resets++;
	}
	look_soon(state);
}

static void on_metadata(virConnectPtr connection, virDomainPtr domain, int type, const char *uri, void *user)
{
	(void)connection, (void)domain, (void)type, (void)uri;
	look_soon(user);
}

static void on_device(virConnectPtr connection, virDomainPtr domain, const char *alias, void *user)
{
	(void)connection, (void)domain, (void)alias;
	look_soon(user);
}

/* Snapshots and block jobs change what a disk writes to. */
static void on_block_job(virConnectPtr connection, virDomainPtr domain, const char *disk, int type,
			 int status, void *user)
{
	(void)connection, (void)domain, (void)disk, (void)type, (void)status;
	look_soon(user);
}

static void on_close(virConnectPtr connection, int reason, void *user)
{
	struct state *state = user;

	(void)connection, (void)reason;
	state->dead = true;
	look_soon(state);
}

/* libvirt knows by the event's number what a callback takes. Compilers let it pass by way of void (*)(void). */
#define CALLBACK(function) VIR_DOMAIN_EVENT_CALLBACK((void (*)(void))(function))

static void subscribe(struct state *state)
{
	static const int events[] = {VIR_DOMAIN_EVENT_ID_LIFECYCLE,       VIR_DOMAIN_EVENT_ID_REBOOT,
				     VIR_DOMAIN_EVENT_ID_METADATA_CHANGE, VIR_DOMAIN_EVENT_ID_DEVICE_ADDED,
				     VIR_DOMAIN_EVENT_ID_DEVICE_REMOVED,  VIR_DOMAIN_EVENT_ID_BLOCK_JOB_2,
				     VIR_DOMAIN_EVENT_ID_BLOCK_JOB};
	const virConnectDomainEventGenericCallback callbacks[] = {
	    CALLBACK(on_lifecycle), CALLBACK(on_reboot),    CALLBACK(on_metadata), CALLBACK(on_device),
	    CALLBACK(on_device),    CALLBACK(on_block_job), CALLBACK(on_block_job)};

	for (size_t i = 0; i < sizeof(events) / sizeof(*events); i++)
		state->callbacks[i] = virConnectDomainEventRegisterAny(state->connection, NULL, events[i],
								       callbacks[i], state, NULL);
	/* Neither exists for the test driver, and the timer does without both. */
	(void)virConnectRegisterCloseCallback(state->connection, on_close, state, NULL);
	(void)virConnectSetKeepAlive(state->connection, 5, 3);
}

static void disconnect(struct state *state)
{
	if (!state->connection)
		return;
	for (size_t i = 0; i < sizeof(state->callbacks) / sizeof(*state->callbacks); i++)
		if (state->callbacks[i] >= 0)
			virConnectDomainEventDeregisterAny(state->connection, state->callbacks[i]);
	(void)virConnectUnregisterCloseCallback(state->connection, on_close);
	virConnectClose(state->connection);
	state->connection = NULL;
}

static void reconnect(struct state *state)
{
	disconnect(state);
	state->dead = false;
	state->connection = virConnectOpen(state->uri);
	if (state->connection) {
		state->retry_ms = RETRY_MIN_MS;
		subscribe(state);
		return;
	}
	ygr_inventory_deliver(state->inventory, NULL, last_error());
	virEventUpdateTimeout(state->timer, state->retry_ms);
	state->retry_ms = state->retry_ms * 2 > RETRY_MAX_MS ? RETRY_MAX_MS : state->retry_ms * 2;
}

static void on_timer(int timer, void *user)
{
	struct state *state = user;

	if (state->stop)
		return;
	virEventUpdateTimeout(timer, RESYNC_MS);
	if (state->dead)
		ygr_inventory_deliver(state->inventory, NULL, "the connection to libvirtd was lost");
	if (!state->connection || state->dead)
		reconnect(state);
	if (state->connection)
		look(state);
	if (state->dead)
		look_soon(state);
}

static void *run(void *user)
{
	struct state *state = user;

	while (!state->stop)
		if (virEventRunDefaultImpl() < 0)
			break;
	disconnect(state);
	virEventRemoveTimeout(state->timer);
	return NULL;
}

static void state_free(struct state *state)
{
	for (size_t i = 0; i < state->seen_count; i++)
		ygr_vm_free(state->seen[i].ram);
	free(state->seen);
	free(state->uri);
	free(state->run_dir);
	free(state);
}

static pthread_once_t once = PTHREAD_ONCE_INIT;
static int library = -1;

static void initialize(void)
{
	library = virInitialize();
	virSetErrorFunc(NULL, quiet);
	if (library == 0)
		library = virEventRegisterDefaultImpl();
}

static int libvirt_start(struct ygr_inventory *inventory, const void *options, void **ret_state,
			 struct ygr_error *error)
{
	const struct ygr_libvirt_options *wanted = options;
	struct state *state = calloc(1, sizeof(*state));

	pthread_once(&once, initialize);
	if (!state || library < 0) {
		free(state);
		return ygr_error_set(error, ENOMEM, "libvirt: %s",
				     library < 0 ? last_error() : "out of memory");
	}
	state->inventory = inventory;
	state->uri = strdup(wanted->uri);
	state->run_dir = strdup(wanted->run_dir);
	state->domains = wanted->domains;
	state->domain_count = wanted->domain_count;
	state->retry_ms = RETRY_MIN_MS;
	state->timer = -1;
	if (state->uri && state->run_dir)
		state->timer = virEventAddTimeout(0, on_timer, state, NULL);
	if (state->timer < 0 || pthread_create(&state->thread, NULL, run, state) != 0) {
		if (state->timer >= 0)
			virEventRemoveTimeout(state->timer);
		state_free(state);
		return ygr_error_set(error, ENOMEM, "libvirt: cannot start a thread");
	}
	*ret_state = state;
	return 0;
}

static void libvirt_stop(void *user)
{
	struct state *state = user;

	state->stop = true;
	virEventUpdateTimeout(state->timer, 0); /* wakes the loop */
	pthread_join(state->thread, NULL);
	state_free(state);
}

static int libvirt_control(void *user, const struct ygr_vm_request *request, struct ygr_error *error)
{
	const struct state *state = user;

	return ygr_libvirt_control(state->uri, request, error);
}

static void libvirt_look(void *user)
{
	look_soon(user);
}

const struct ygr_inventory_provider ygr_inventory_libvirt = {"Libvirt", libvirt_start, libvirt_stop,
							     libvirt_look, libvirt_control};
