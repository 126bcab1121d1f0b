/* Starting yagura-guest and speaking to it; see guest-fixture.h. */
#include "tests/guest-image/guest-fixture.h"
#include "guest-image/guest/welcome.h"

#include <errno.h>
#include <linux/bpf.h>
#include <linux/perf_event.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void write_text(const char *path, const char *text)
{
	FILE *file = fopen(path, "w");
	assert_non_null(file);
	assert_true(fputs(text, file) >= 0);
	assert_int_equal(fclose(file), 0);
}

static void run_guest(struct guest *guest)
{
	char config[128], root[128];
	snprintf(config, sizeof(config), "%s/guest.yaml", guest->keys.dir);
	snprintf(root, sizeof(root), "%s/root.pub", guest->keys.dir);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (unshare(CLONE_NEWNS | CLONE_NEWNET) < 0 ||
	    mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		_exit(126);
	execl(YGR_GUEST_PROGRAM, "yagura-guest", "--listen", guest->address, "--root", root, "--config",
	      config, (char *)NULL);
	_exit(127);
}

void guest_start(struct guest *guest, const char *yaml)
{
	fixture_init(&guest->keys);
	guest->node = fixture_identity(&guest->keys, "node.key", "node.cert");
	snprintf(guest->address, sizeof(guest->address), "unix:%s/socket", guest->keys.dir);
	if (yaml)
		write_text(fixture_path(&guest->keys, "guest.yaml"), yaml);
	guest->pid = fork();
	assert_true(guest->pid >= 0);
	if (guest->pid == 0)
		run_guest(guest);
	for (int i = 0; i < 500 && access(guest->address + 5, F_OK) < 0; i++)
		usleep(10000);
	assert_int_equal(access(guest->address + 5, F_OK), 0);
}

void guest_stop(struct guest *guest)
{
	int status = -1;
	assert_int_equal(kill(guest->pid, SIGTERM), 0);
	assert_int_equal(waitpid(guest->pid, &status, 0), guest->pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	ygr_identity_free(guest->node);
	fixture_deinit(&guest->keys);
}

int guest_connect(const struct guest *guest)
{
	struct ygr_error error = YGR_ERROR_INIT;
	int fd = -1, r = -1;
	for (int i = 0; i < 50; i++) {
		r = ygr_transport_dial(guest->address, NULL, WAIT_MS, &fd, &error);
		if (r == 0)
			break;
		usleep(20000); /* bound, and not listening yet */
	}
	if (r < 0)
		fail_msg("%s", error.message);
	return fd;
}

/* What the guest program takes for its VM's UUID: this machine's, where it has one. */
const uint8_t *guest_vm(void)
{
	static uint8_t uuid[16];
	if (ygr_guest_vm(uuid) < 0)
		memset(uuid, 0, sizeof(uuid));
	return uuid;
}

int guest_dial(const struct guest *guest, enum ygr_purpose purpose)
{
	struct ygr_error error = YGR_ERROR_INIT;
	char *welcome = NULL;
	int fd = guest_connect(guest);
	if (ygr_handshake_node(fd, purpose, guest_vm(), guest->node, WAIT_MS, &welcome, &error) < 0)
		fail_msg("handshake: %s", error.message);
	assert_non_null(strstr(welcome, "\"program\":\"yagura-guest"));
	free(welcome);
	return fd;
}

static void remember_notice(struct client *client)
{
	assert_true(client->frame.length >= sizeof(struct ygr_refused));
	snprintf(client->notice, sizeof(client->notice), "%.*s",
		 (int)(client->frame.length - sizeof(struct ygr_refused)),
		 (const char *)client->last + sizeof(struct ygr_refused));
}

static int receive(struct client *client, int timeout_ms)
{
	free(client->last);
	client->last = NULL;
	struct pollfd wait = {.fd = client->fd, .events = POLLIN};
	if (poll(&wait, 1, timeout_ms) <= 0)
		return -ETIMEDOUT;
	int r = ygr_frame_receive(client->fd, YGR_FRAME_MAX, WAIT_MS, &client->frame, &client->last);
	if (r == 0 && client->frame.type == YGR_MSG_REFUSED)
		remember_notice(client);
	return r;
}

bool client_wait(struct client *client, uint16_t type, int timeout_ms)
{
	int r;
	while ((r = receive(client, timeout_ms)) == 0)
		if (client->frame.type == type)
			return true;
	return false;
}

void client_post(struct client *client, uint16_t type, const void *payload, size_t len)
{
	assert_int_equal(ygr_frame_send(client->fd, type, 0, payload, (uint32_t)len, WAIT_MS), 0);
}

void client_ask(struct client *client, uint16_t type, const void *payload, size_t len, uint16_t answer)
{
	uint32_t id = ++client->next_id;
	assert_int_equal(ygr_frame_send(client->fd, type, id, payload, (uint32_t)len, WAIT_MS), 0);
	if (!client_wait(client, answer, WAIT_MS))
		fail_msg("no answer %u to message %u; last notice: %s", answer, type, client->notice);
	assert_int_equal(client->frame.id, id);
}

/* The machine's uuid, where it has one: the guest compares it with the grant's. */
static const char *machine_uuid(void)
{
	static char uuid[64];
	FILE *file = fopen("/sys/class/dmi/id/product_uuid", "r");
	if (!file || !fgets(uuid, sizeof(uuid), file))
		strcpy(uuid, "none");
	if (file)
		fclose(file);
	uuid[strcspn(uuid, "\n")] = '\0';
	return uuid;
}

int client_open(struct client *client, const struct guest *guest, const char *program, const char *fields)
{
	static uint8_t serial;
	struct ygr_open open = {.cert = *ygr_identity_cert(guest->node)};
	char json[4096];
	uint8_t payload[sizeof(open) + sizeof(json)];

	*client = (struct client){.id = {0x59, (uint8_t)getpid(), ++serial}};
	client->fd = guest_dial(guest, YGR_PURPOSE_SESSION);
	open.grant_length = (uint32_t)snprintf(
	    json, sizeof(json), "{\"program\":\"%s\",\"vm\":\"%s\",\"issuedAt\":1,\"notAfter\":%lld,%s}",
	    program, machine_uuid(), (long long)time(NULL) + 60, fields);
	memcpy(open.session_id, client->id, sizeof(open.session_id));
	assert_int_equal(ygr_grant_sign(guest->node, json, open.grant_length, open.signature, NULL), 0);
	memcpy(payload, &open, sizeof(open));
	memcpy(payload + sizeof(open), json, open.grant_length);
	assert_int_equal(ygr_frame_send(client->fd, YGR_MSG_OPEN, ++client->next_id, payload,
					(uint32_t)(sizeof(open) + open.grant_length), WAIT_MS),
			 0);
	assert_int_equal(receive(client, WAIT_MS), 0);
	assert_int_equal(client->frame.id, client->next_id);
	if (client->frame.type == YGR_MSG_OPENED)
		return 0;
	assert_int_equal(client->frame.type, YGR_MSG_REFUSED);
	struct ygr_refused refused;
	memcpy(&refused, client->last, sizeof(refused));
	client_close(client);
	return -(int)refused.code;
}

void client_close(struct client *client)
{
	if (client->fd >= 0)
		close(client->fd);
	client->fd = -1;
	free(client->last);
	client->last = NULL;
}

static int host_read(void *user, uint64_t address, void *to, size_t len)
{
	/* as the application does it: a string is read in pieces that may reach beyond its object */
	struct iovec here = {to, len}, there = {(void *)(uintptr_t)address, len};
	(void)user;
	return !len || process_vm_readv(getpid(), &here, 1, &there, 1, 0) == (ssize_t)len ? 0 : -EFAULT;
}

static int host_write(void *user, uint64_t address, const void *from, size_t len)
{
	(void)user;
	memcpy((void *)(uintptr_t)address, from, len);
	return 0;
}

/* The "descriptors" of these tests are the handles themselves. */
static uint32_t host_handle_of(void *user, int fd)
{
	(void)user;
	return fd > 0 ? (uint32_t)fd : YGR_HANDLE_BAD;
}

static bool host_object_of(void *user, uint32_t handle, struct ygr_object *ret_object)
{
	const struct client *client = user;
	for (unsigned i = 0; i < client->object_count; i++)
		if (client->objects[i].handle == handle) {
			*ret_object = client->objects[i].object;
			return true;
		}
	return false;
}

static const struct ygr_call_host application = {
    .read = host_read, .write = host_write, .handle_of = host_handle_of, .object_of = host_object_of};

/* From an encoded call to its result. */
static int64_t carry(struct client *client, const struct ygr_call_host *host, const struct ygr_arena *out,
		     const struct ygr_call_plan *plan)
{
	struct ygr_reply reply;
	client_ask(client, YGR_MSG_CALL, out->data, out->used, YGR_MSG_REPLY);
	assert_int_equal(ygr_reply_parse(client->last, client->frame.length, &reply), 0);
	int64_t result = ygr_call_apply_reply(host, plan, client->last, client->frame.length);
	if (result < 0 || reply.handle == YGR_HANDLE_NONE)
		return result;
	client->objects[client->object_count % 64].handle = reply.handle;
	client->objects[client->object_count % 64].object = reply.object;
	if (client->object_count < 64)
		client->object_count++;
	return reply.handle;
}

static struct ygr_call_plan plan;
static uint8_t call_memory[64 << 10];

int64_t client_bpf(struct client *client, int cmd, void *attr, uint32_t size)
{
	struct ygr_call_host host = application;
	struct ygr_arena out = {.data = call_memory, .size = sizeof(call_memory)};
	host.user = client;
	assert_int_equal(ygr_bpf_encode(&host, cmd, (uintptr_t)attr, size, &out, &plan), 0);
	return carry(client, &host, &out, &plan);
}

int64_t client_perf_output(struct client *client)
{
	struct perf_event_attr attr = {.type = PERF_TYPE_SOFTWARE,
				       .size = sizeof(attr),
				       .config = PERF_COUNT_SW_BPF_OUTPUT,
				       .sample_type = PERF_SAMPLE_RAW,
				       .sample_period = 1,
				       .wakeup_events = 1};
	struct ygr_call_host host = application;
	struct ygr_arena out = {.data = call_memory, .size = sizeof(call_memory)};
	host.user = client;
	assert_int_equal(
	    ygr_perf_encode(&host, (uintptr_t)&attr, -1, 0, -1, PERF_FLAG_FD_CLOEXEC, &out, &plan), 0);
	int64_t event = carry(client, &host, &out, &plan);
	if (event < 0)
		return event;
	out.used = 0;
	assert_int_equal(ygr_ioctl_encode(&host, (int)event, PERF_EVENT_IOC_ENABLE, 0, &out, &plan), 0);
	int64_t r = carry(client, &host, &out, &plan);
	return r < 0 ? r : event;
}

int64_t client_map(struct client *client, uint32_t type, uint32_t key, uint32_t value, uint32_t entries,
		   uint32_t flags)
{
	union bpf_attr attr = {0};
	attr.map_type = type;
	attr.key_size = key;
	attr.value_size = value;
	attr.max_entries = entries;
	attr.map_flags = flags;
	strcpy(attr.map_name, "ygr_test");
	return client_bpf(client, BPF_MAP_CREATE, &attr, sizeof(attr));
}

static int64_t load(struct client *client, const struct bpf_insn *insns, uint32_t count)
{
	union bpf_attr attr = {0};
	attr.prog_type = BPF_PROG_TYPE_RAW_TRACEPOINT;
	attr.insns = (uintptr_t)insns;
	attr.insn_cnt = count;
	attr.license = (uintptr_t) "GPL";
	return client_bpf(client, BPF_PROG_LOAD, &attr, sizeof(attr));
}

/* r6 = ctx; r0 = ctx[0], four copies of it on the stack */
#define PREPARE                                                                                             \
	{.code = BPF_ALU64 | BPF_MOV | BPF_X, .dst_reg = 6, .src_reg = 1},                                  \
	    {.code = BPF_LDX | BPF_MEM | BPF_DW, .dst_reg = 0, .src_reg = 1},                               \
	    {.code = BPF_STX | BPF_MEM | BPF_DW, .dst_reg = 10, .src_reg = 0, .off = -8},                   \
	    {.code = BPF_STX | BPF_MEM | BPF_DW, .dst_reg = 10, .src_reg = 0, .off = -16},                  \
	    {.code = BPF_STX | BPF_MEM | BPF_DW, .dst_reg = 10, .src_reg = 0, .off = -24},                  \
	{                                                                                                   \
		.code = BPF_STX | BPF_MEM | BPF_DW, .dst_reg = 10, .src_reg = 0, .off = -32                 \
	}
#define LOAD_MAP(reg, map)                                                                                  \
	{.code = BPF_LD | BPF_IMM | BPF_DW, .dst_reg = reg, .src_reg = BPF_PSEUDO_MAP_FD, .imm = (int)map}, \
	{                                                                                                   \
		0                                                                                           \
	}
#define MOVE(reg, from)                                                                                     \
	{                                                                                                   \
		.code = BPF_ALU64 | BPF_MOV | BPF_X, .dst_reg = reg, .src_reg = from                        \
	}
#define SET(reg, number)                                                                                    \
	{                                                                                                   \
		.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = reg, .imm = number                          \
	}
#define ADD(reg, number)                                                                                    \
	{                                                                                                   \
		.code = BPF_ALU64 | BPF_ADD | BPF_K, .dst_reg = reg, .imm = number                          \
	}
#define CALL(helper)                                                                                        \
	{                                                                                                   \
		.code = BPF_JMP | BPF_CALL, .imm = helper                                                   \
	}
#define EXIT                                                                                                \
	{                                                                                                   \
		.code = BPF_JMP | BPF_EXIT                                                                  \
	}

int64_t client_load_producer(struct client *client, uint32_t map)
{
	const struct bpf_insn insns[] = {PREPARE,
					 LOAD_MAP(1, map),
					 MOVE(2, 10),
					 ADD(2, -32),
					 SET(3, 32),
					 SET(4, 0),
					 CALL(BPF_FUNC_ringbuf_output),
					 SET(0, 0),
					 EXIT};
	return load(client, insns, sizeof(insns) / sizeof(insns[0]));
}

int64_t client_load_perf_producer(struct client *client, uint32_t map)
{
	const struct bpf_insn insns[] = {
	    PREPARE,     MOVE(1, 6),  LOAD_MAP(2, map), SET(3, 0),
	    MOVE(4, 10), ADD(4, -32), SET(5, 32),       CALL(BPF_FUNC_perf_event_output),
	    SET(0, 0),   EXIT};
	return load(client, insns, sizeof(insns) / sizeof(insns[0]));
}

static int64_t run(struct client *client, uint32_t prog, uint64_t argument, uint32_t flags)
{
	union bpf_attr attr = {0};
	attr.test.prog_fd = prog;
	attr.test.ctx_in = (uintptr_t)&argument;
	attr.test.ctx_size_in = sizeof(argument);
	attr.test.flags = flags;
	return client_bpf(client, BPF_PROG_TEST_RUN, &attr, sizeof(attr));
}

int64_t client_run(struct client *client, uint32_t prog, uint64_t argument)
{
	return run(client, prog, argument, 0);
}

int64_t client_run_cpu0(struct client *client, uint32_t prog, uint64_t argument)
{
	return run(client, prog, argument, BPF_F_TEST_RUN_ON_CPU); /* attr.test.cpu is 0 */
}

uint32_t client_map_id(struct client *client, uint32_t map)
{
	struct bpf_map_info info = {0};
	union bpf_attr attr = {0};
	attr.info.bpf_fd = map;
	attr.info.info_len = sizeof(info);
	attr.info.info = (uintptr_t)&info;
	assert_int_equal(client_bpf(client, BPF_OBJ_GET_INFO_BY_FD, &attr, sizeof(attr)), 0);
	return info.id;
}

int map_open(uint32_t id)
{
	union bpf_attr attr = {0};
	attr.map_id = id;
	return (int)syscall(SYS_bpf, BPF_MAP_GET_FD_BY_ID, &attr, sizeof(attr));
}

bool map_exists(uint32_t id)
{
	int fd = map_open(id);
	if (fd < 0)
		return false;
	close(fd);
	return true;
}
