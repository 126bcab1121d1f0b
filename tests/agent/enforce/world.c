/* See world.h. */
#include "world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <netinet/ip.h>
#include <netinet/udp.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/policy/policy.h"

#define WAIT_MS 400 /* for what should not come */

bool world_enter(void)
{
	if (unshare(CLONE_NEWNET | CLONE_NEWNS) < 0 ||
	    mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return false;
	int tun = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
	if (tun >= 0)
		close(tun);
	return tun >= 0;
}

int unshare_mounts(void)
{
	return unshare(CLONE_NEWNS) < 0 ? -1 : mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL);
}

bool world_guards_disks(void)
{
	struct ygr_enforce_plan *plan =
	    world_plan("n/x/p", "policy p { guest { rule a: deny bpf } host { on a: disk vda read-only } }");
	struct world world;
	char message[256];

	world_begin(&world);
	const char *reason =
	    ygr_enforce_unsupported(world.enforce, world.vm, &plan->reactions[0].actions[0], message);
	if (reason)
		puts(message);
	world_end(&world);
	ygr_enforce_plan_unref(plan);
	return !reason;
}

static void note(struct world *world, const char *text)
{
	size_t len = strlen(world->log);

	snprintf(world->log + len, sizeof(world->log) - len, "%s\n", text);
}

static int on_control(void *user, const struct ygr_vm_request *request,
		      void (*done)(void *user, const struct ygr_vm_request *request,
				   const struct ygr_error *error),
		      void *done_user)
{
	struct ygr_error error = YGR_ERROR_INIT;
	struct world *world = user;
	char text[512];

	snprintf(text, sizeof(text), "ask %s %s", ygr_vm_operation_word(request->operation),
		 request->argument);
	note(world, text);
	if (world->refuse)
		ygr_error_set(&error, EIO, "the provider is away");
	else if (request->operation == YGR_VM_PAUSE)
		world->vm->phase = YGR_VM_PAUSED;
	else if (request->operation == YGR_VM_RESUME)
		world->vm->phase = YGR_VM_RUNNING;
	done(done_user, request, &error);
	return 0;
}

static void on_event(void *user, const struct ygr_enforce_event *event)
{
	char text[1024];

	snprintf(text, sizeof(text), "%s %s/%s: %s%s%s", event->what, event->policy, event->rule,
		 event->action, event->message ? ": " : "", event->message ? event->message : "");
	note(user, text);
}

static void on_changed(void *user)
{
	(void)user;
}

void world_start(struct world *world)
{
	struct ygr_error error = YGR_ERROR_INIT;
	const struct ygr_enforce_options options = {
	    .loop = &world->loop,
	    .pin_directory = world->pins,
	    .state_directory = world->state,
	    .snapshot_directory = world->folder,
	    .snapshots_max = 2,
	    .allowed = world->allowed,
	    .control = on_control,
	    .event = on_event,
	    .changed = on_changed,
	    .user = world,
	};
	if (ygr_enforce_new(&options, &world->enforce, &error) < 0)
		fail_msg("%s", error.message);
}

void world_stop(struct world *world)
{
	world->enforce = ygr_enforce_free(world->enforce);
	uv_run(&world->loop, UV_RUN_DEFAULT);
}

static void add_disk(struct ygr_vm_disk *disk, const char *target, enum ygr_vm_disk_kind kind,
		     const char *path)
{
	snprintf(disk->target, sizeof(disk->target), "%s", target);
	disk->kind = kind;
	if (!path)
		return;
	disk->images = calloc(1, sizeof(*disk->images));
	disk->images[0] = strdup(path);
	disk->image_count = 1;
}

void world_begin(struct world *world)
{
	*world = (struct world){.tap = -1, .allowed = YGR_ENFORCE_ALLOW_DEFAULT};
	strcpy(world->folder, "/tmp/yagura-enforce-XXXXXX");
	assert_non_null(mkdtemp(world->folder));
	snprintf(world->pins, sizeof(world->pins), "%s/bpf", world->folder);
	snprintf(world->state, sizeof(world->state), "%s/state", world->folder);
	assert_int_equal(mkdir(world->pins, 0700), 0);
	assert_int_equal(mount("bpf", world->pins, "bpf", 0, NULL), 0);
	strcat(world->pins, "/yagura");
	uv_loop_init(&world->loop);
	world->vm = ygr_vm_new();
	strcpy(world->vm->uuid, WORLD_UUID);
	world->vm->namespace_ = strdup("default");
	world->vm->name = strdup("web");
	world->vm->phase = YGR_VM_RUNNING;
	world->vm->pid = 1;
	world->vm->nics = calloc(2, sizeof(*world->vm->nics));
	world->vm->disks = calloc(2, sizeof(*world->vm->disks));
	world->vm->disk_count = 2;
	add_disk(&world->vm->disks[0], "vda", YGR_DISK_FILE, "/nonexistent.img");
	add_disk(&world->vm->disks[1], "vdb", YGR_DISK_NETWORK, NULL);
	world_start(world);
}

void world_end(struct world *world)
{
	char command[160];

	if (world->enforce)
		world_stop(world);
	if (world->tap >= 0)
		close(world->tap);
	ygr_vm_free(world->vm);
	assert_int_equal(uv_loop_close(&world->loop), 0);
	snprintf(command, sizeof(command), "umount %s/bpf && rm -rf %s", world->folder, world->folder);
	assert_int_equal(system(command), 0);
}

static void set_address(int sock, struct ifreq *request, unsigned long what, const char *address)
{
	struct sockaddr_in *in = (struct sockaddr_in *)&request->ifr_addr;

	*in = (struct sockaddr_in){.sin_family = AF_INET};
	inet_pton(AF_INET, address, &in->sin_addr);
	assert_int_equal(ioctl(sock, what, request), 0);
}

/* The guest's address is known, so that nobody has to answer ARP. */
static void set_neighbour(int sock, const char *name)
{
	struct arpreq arp = {.arp_flags = ATF_PERM | ATF_COM};
	struct sockaddr_in *in = (struct sockaddr_in *)&arp.arp_pa;

	in->sin_family = AF_INET;
	inet_pton(AF_INET, "192.0.2.2", &in->sin_addr);
	memcpy(arp.arp_ha.sa_data, "\x52\x54\0\0\0\1", 6);
	arp.arp_ha.sa_family = ARPHRD_ETHER;
	snprintf(arp.arp_dev, sizeof(arp.arp_dev), "%s", name);
	assert_int_equal(ioctl(sock, SIOCSARP, &arp), 0);
}

void world_plug(struct world *world, const char *name)
{
	struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI};
	int sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (world->tap >= 0)
		close(world->tap);
	snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", name);
	world->tap = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
	assert_int_equal(ioctl(world->tap, TUNSETIFF, &request), 0);
	request.ifr_hwaddr.sa_family = ARPHRD_ETHER;
	memcpy(request.ifr_hwaddr.sa_data, "\x52\x54\0\0\0\2", 6);
	assert_int_equal(ioctl(sock, SIOCSIFHWADDR, &request), 0);
	set_address(sock, &request, SIOCSIFADDR, "192.0.2.1");
	set_address(sock, &request, SIOCSIFNETMASK, "255.255.255.0");
	request.ifr_flags = IFF_UP;
	assert_int_equal(ioctl(sock, SIOCSIFFLAGS, &request), 0);
	set_neighbour(sock, name);
	close(sock);
	world->vm->nic_count = 1;
	world->vm->nics[0] = (struct ygr_vm_nic){.alias = "net0", .mac = "52:54:00:00:00:01"};
	snprintf(world->vm->nics[0].device, sizeof(world->vm->nics[0].device), "%s", name);
	if (world->enforce)
		ygr_enforce_vm_changed(world->enforce, world->vm);
}

struct ygr_enforce_plan *world_plan(const char *policy, const char *text)
{
	struct ygr_error error = YGR_ERROR_INIT;
	struct ygr_policy_unit *unit = NULL;
	struct ygr_enforce_plan *plan = NULL;

	if (ygr_policy_unit_new("p", text, strlen(text), &unit, &error) < 0)
		fail_msg("%s", error.message);
	if (ygr_policy_unit_errors(unit)) {
		struct ygr_buf said = YGR_BUF_INIT(65536);
		ygr_policy_unit_said(unit, &said);
		fail_msg("%.*s", (int)said.len, (char *)said.data);
	}
	assert_int_equal(ygr_enforce_plan_new(policy, ygr_policy_unit_policies(unit), &plan), 0);
	ygr_policy_unit_free(unit);
	return plan;
}

static void on_tick(uv_timer_t *timer)
{
	*(bool *)timer->data = true;
}

void world_turn(struct world *world, unsigned ms)
{
	uv_timer_t timer;
	bool over = false;

	uv_update_time(&world->loop);
	uv_timer_init(&world->loop, &timer);
	timer.data = &over;
	uv_timer_start(&timer, on_tick, ms, 0);
	while (!over)
		uv_run(&world->loop, UV_RUN_ONCE);
	uv_close((uv_handle_t *)&timer, NULL);
	uv_run(&world->loop, UV_RUN_NOWAIT);
}

static uint16_t checksum(const void *data, size_t len)
{
	const uint16_t *words = data;
	uint32_t sum = 0;

	for (size_t i = 0; i < len / 2; i++)
		sum += words[i];
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

static void send_frame(struct world *world, const char *address, uint16_t port, unsigned payload)
{
	uint8_t frame[1500] = "\x52\x54\0\0\0\2\x52\x54\0\0\0\1\x08";
	struct iphdr ip = {.version = 4, .ihl = 5, .ttl = 64, .protocol = IPPROTO_UDP};
	struct udphdr udp = {
	    .source = htons(4000), .dest = htons(port), .len = htons((uint16_t)(8 + payload))};

	ip.tot_len = htons((uint16_t)(28 + payload));
	inet_pton(AF_INET, "192.0.2.2", &ip.saddr);
	inet_pton(AF_INET, address, &ip.daddr);
	ip.check = checksum(&ip, sizeof(ip));
	memcpy(frame + 14, &ip, sizeof(ip));
	memcpy(frame + 34, &udp, sizeof(udp));
	assert_int_equal(write(world->tap, frame, 42 + payload), 42 + payload);
}

static int listen_at(const char *address, uint16_t port)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port)};
	int sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	inet_pton(AF_INET, address, &at.sin_addr);
	assert_int_equal(bind(sock, (struct sockaddr *)&at, sizeof(at)), 0);
	return sock;
}

bool world_sends(struct world *world, const char *address, uint16_t port)
{
	int sock = listen_at(address, port);
	struct pollfd poll_for = {.fd = sock, .events = POLLIN};

	send_frame(world, address, port, 8);
	bool arrived = poll(&poll_for, 1, WAIT_MS) == 1;
	close(sock);
	return arrived;
}

bool world_gets(struct world *world, uint16_t port)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port)};
	int sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct pollfd poll_for = {.fd = world->tap, .events = POLLIN};
	uint8_t frame[2048];
	bool arrived = false;

	inet_pton(AF_INET, "192.0.2.2", &at.sin_addr);
	(void)!sendto(sock, "12345678", 8, 0, (struct sockaddr *)&at, sizeof(at));
	while (!arrived && poll(&poll_for, 1, WAIT_MS) == 1) {
		ssize_t n = read(world->tap, frame, sizeof(frame));
		arrived = n == 50 && frame[23] == IPPROTO_UDP && frame[36] == port >> 8 &&
			  frame[37] == (port & 255);
	}
	close(sock);
	return arrived;
}

unsigned world_burst(struct world *world, unsigned count)
{
	int sock = listen_at("192.0.2.1", 5000);
	unsigned arrived = 0;
	uint8_t data[2048];

	for (unsigned i = 0; i < count; i++) {
		send_frame(world, "192.0.2.1", 5000, 958); /* 1000 bytes with its headers */
		struct pollfd poll_for = {.fd = sock, .events = POLLIN};
		while (poll(&poll_for, 1, 0) == 1 && recv(sock, data, sizeof(data), 0) > 0)
			arrived++;
	}
	close(sock);
	return arrived;
}
