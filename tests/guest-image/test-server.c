/*
 * The server around sessions: strangers, garbage, floods and bounds, and what becomes of pages when a
 * connection ends. A real yagura-guest on a UNIX socket.
 */
#include "tests/guest-image/guest-fixture.h"

#include <errno.h>
#include <linux/bpf.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#define RING_BYTES 65536

static struct guest guest;

/* Did the guest close FD within WAIT_MS? What it says before is skipped. */
static bool closed_by_guest(int fd, int timeout_ms)
{
	struct pollfd wait = {.fd = fd, .events = POLLIN};
	char bytes[4096];
	while (poll(&wait, 1, timeout_ms) > 0)
		if (read(fd, bytes, sizeof(bytes)) <= 0)
			return true;
	return false;
}

static bool gone_within(uint32_t map_id, int ms)
{
	for (int waited = 0; waited < ms; waited += 20) {
		if (!map_exists(map_id))
			return true;
		usleep(20000); /* maps are freed after a grace period */
	}
	return false;
}

/* Opens a session, also when the process of one that has just ended still counts. */
static void open_soon(struct client *client, const char *fields)
{
	int r = client_open(client, &guest, "tester", fields);
	for (int i = 0; i < 250 && r == -EMFILE; i++) {
		usleep(20000);
		r = client_open(client, &guest, "tester", fields);
	}
	if (r < 0)
		fail_msg("OPEN: %s", client->notice);
}

static void test_control(void **state)
{
	(void)state;
	int fd = guest_dial(&guest, YGR_PURPOSE_CONTROL);
	for (uint32_t id = 1; id < 4; id++) {
		struct ygr_frame frame;
		uint8_t *payload = NULL;
		assert_int_equal(ygr_frame_send(fd, YGR_MSG_PING, id, NULL, 0, WAIT_MS), 0);
		assert_int_equal(ygr_frame_receive(fd, YGR_FRAME_MAX, WAIT_MS, &frame, &payload), 0);
		assert_int_equal(frame.type, YGR_MSG_PONG);
		assert_int_equal(frame.id, id);
		assert_int_equal(frame.length, sizeof(struct ygr_pong));
		free(payload);
	}
	assert_int_equal(ygr_frame_send(fd, YGR_MSG_CALL, 9, NULL, 0, WAIT_MS), 0);
	assert_true(closed_by_guest(fd, WAIT_MS));
	close(fd);
}

/* A key that the owner's root never saw. */
static void test_unknown_key(void **state)
{
	(void)state;
	struct ygr_error error = YGR_ERROR_INIT;
	fixture_key(&guest.keys, "foreign-root.key");
	fixture_certify(&guest.keys, "foreign-root.key", "node.pub", YGR_USAGE_NODE | YGR_USAGE_CATALOGUE,
			"foreign.cert");
	struct ygr_identity *foreign = fixture_identity(&guest.keys, "node.key", "foreign.cert");
	char *welcome = NULL;
	int fd = guest_connect(&guest);
	assert_true(
	    ygr_handshake_node(fd, YGR_PURPOSE_SESSION, guest_vm(), foreign, WAIT_MS, &welcome, &error) < 0);
	assert_null(welcome);
	assert_int_equal(error.code, EKEYREJECTED);
	assert_true(closed_by_guest(fd, WAIT_MS));
	close(fd);
	ygr_identity_free(foreign);
}

/* A session's messages on a connection that has proved nothing. */
static void test_no_handshake(void **state)
{
	(void)state;
	int fd = guest_connect(&guest);
	assert_int_equal(ygr_frame_send(fd, YGR_MSG_OPEN, 1, "x", 1, WAIT_MS), 0);
	assert_true(closed_by_guest(fd, WAIT_MS));
	close(fd);

	uint8_t head[YGR_FRAME_HEADER];
	fd = guest_connect(&guest);
	ygr_frame_header(head, YGR_MSG_HELLO, 1, YGR_FRAME_MAX); /* more than a stranger may say */
	assert_int_equal(write(fd, head, sizeof(head)), sizeof(head));
	assert_true(closed_by_guest(fd, 2000));
	close(fd);
}

static void test_garbage(void **state)
{
	(void)state;
	for (int round = 0; round < 20; round++) {
		uint8_t noise[4096];
		struct client client;
		assert_int_equal(getrandom(noise, sizeof(noise), 0), sizeof(noise));
		int fd = guest_connect(&guest);
		if (round % 2) { /* behind a good handshake and OPEN */
			close(fd);
			open_soon(&client, GRANT_RING);
			fd = client.fd;
		}
		assert_int_equal(write(fd, noise, sizeof(noise)), sizeof(noise));
		assert_true(closed_by_guest(fd, WAIT_MS));
		close(fd);
		if (round % 2) {
			client.fd = -1;
			client_close(&client);
		}
	}
}

/* Right frames with payloads of noise: each message either gets an answer or ends the session, never the
 * guest. */
static void test_random_payloads(void **state)
{
	(void)state;
	for (unsigned type = YGR_MSG_OPEN; type <= YGR_MSG_FILE_DATA; type++) {
		struct client client;
		uint8_t noise[256];
		open_soon(&client, GRANT_RING);
		for (uint32_t length = 0; length < sizeof(noise); length += 8) {
			assert_int_equal(getrandom(noise, sizeof(noise), 0), sizeof(noise));
			if (ygr_frame_send(client.fd, (uint16_t)type, 1, noise, length, WAIT_MS) < 0)
				break;
		}
		client_close(&client);
	}
	close(guest_dial(&guest, YGR_PURPOSE_CONTROL));
}

static void test_oversized(void **state)
{
	(void)state;
	struct client client;
	uint8_t head[YGR_FRAME_HEADER];
	open_soon(&client, GRANT_RING);
	ygr_frame_header(head, YGR_MSG_CALL, 1, YGR_FRAME_MAX + 1);
	assert_int_equal(write(client.fd, head, sizeof(head)), sizeof(head));
	assert_true(client_wait(&client, YGR_MSG_REFUSED, WAIT_MS));
	assert_int_equal(client.frame.id, YGR_REFUSED_FINAL);
	assert_true(closed_by_guest(client.fd, WAIT_MS));
	client_close(&client);
}

static void test_session_limit(void **state)
{
	(void)state;
	struct client clients[3];
	open_soon(&clients[0], GRANT_RING);
	open_soon(&clients[1], GRANT_RING);
	assert_int_equal(client_open(&clients[2], &guest, "three", GRANT_RING), -EMFILE);
	assert_non_null(strstr(clients[2].notice, "sessions.max"));
	client_close(&clients[0]);
	int r = -EMFILE;
	for (int i = 0; i < 100 && r == -EMFILE; i++) {
		usleep(20000); /* until the process of the first is reaped */
		r = client_open(&clients[2], &guest, "three", GRANT_RING);
	}
	assert_int_equal(r, 0);
	client_close(&clients[1]);
	client_close(&clients[2]);
}

static void test_adhoc(void **state)
{
	(void)state;
	struct client client;
	assert_int_equal(client_open(&client, &guest, "adhoc:/root/a.out", GRANT_RING), -EACCES);
	assert_non_null(strstr(client.notice, "sessions.adhoc"));
}

/* A grant whose bytes were changed after it was signed. */
static void test_forged_grant(void **state)
{
	(void)state;
	static const char json[] = "{\"program\":\"p\",\"vm\":\"v\",\"issuedAt\":1,\"notAfter\":4102444800}";
	struct ygr_open open = {.grant_length = sizeof(json) - 1, .cert = *ygr_identity_cert(guest.node)};
	uint8_t payload[sizeof(open) + sizeof(json)];
	struct ygr_frame frame;
	uint8_t *answer = NULL;
	assert_int_equal(ygr_grant_sign(guest.node, json, sizeof(json) - 1, open.signature, NULL), 0);
	memcpy(payload, &open, sizeof(open));
	memcpy(payload + sizeof(open), json, sizeof(json));
	payload[sizeof(open) + 12] = 'q';
	int fd = guest_dial(&guest, YGR_PURPOSE_SESSION);
	assert_int_equal(ygr_frame_send(fd, YGR_MSG_OPEN, 5, payload,
					(uint32_t)(sizeof(open) + sizeof(json) - 1), WAIT_MS),
			 0);
	assert_int_equal(ygr_frame_receive(fd, YGR_FRAME_MAX, WAIT_MS, &frame, &answer), 0);
	assert_int_equal(frame.type, YGR_MSG_REFUSED);
	assert_int_equal(frame.id, 5);
	assert_int_equal(*(uint32_t *)(void *)answer, EKEYREJECTED);
	free(answer);
	close(fd);
}

static void release(const uint8_t id[16])
{
	struct ygr_frame frame;
	uint8_t *payload = NULL;
	int fd = guest_dial(&guest, YGR_PURPOSE_CONTROL);
	assert_int_equal(ygr_frame_send(fd, YGR_MSG_RELEASE, 1, id, 16, WAIT_MS), 0);
	assert_int_equal(ygr_frame_receive(fd, YGR_FRAME_MAX, WAIT_MS, &frame, &payload), 0);
	assert_int_equal(frame.type, YGR_MSG_RELEASED);
	free(payload);
	close(fd);
}

static int share_ring(struct client *client, uint32_t *ret_map, uint32_t *ret_id)
{
	struct ygr_ring_opened opened;
	uint32_t map = (uint32_t)client_map(client, BPF_MAP_TYPE_RINGBUF, 0, 0, RING_BYTES, 0);
	struct ygr_ring_open open = {.handle = map, .kind = YGR_RING_BPF, .data_bytes = RING_BYTES};
	assert_true((int32_t)map > 0);
	*ret_map = map;
	*ret_id = client_map_id(client, map);
	client_ask(client, YGR_MSG_RING_OPEN, &open, sizeof(open), YGR_MSG_RING_OPENED);
	memcpy(&opened, client->last, sizeof(opened));
	return opened.status;
}

/* Maps go with their connection; the one whose pages the node knows stays until RELEASE of its session. */
static void test_release(void **state)
{
	(void)state;
	struct client client;
	uint32_t ring, ring_id, closed, closed_id;
	open_soon(&client, GRANT_RING);
	uint32_t plain = (uint32_t)client_map(&client, BPF_MAP_TYPE_HASH, 4, 4, 4, 0);
	uint32_t plain_id = client_map_id(&client, plain);
	assert_int_equal(share_ring(&client, &ring, &ring_id), 0);
	assert_int_equal(share_ring(&client, &closed, &closed_id), 0);
	struct ygr_handle_close closing = {.handle = closed}; /* unmapped on the node in time */
	client_post(&client, YGR_MSG_RING_CLOSE, &closing, sizeof(closing));
	client_close(&client);

	assert_true(gone_within(plain_id, 5000));
	assert_true(gone_within(closed_id, 5000));
	assert_false(gone_within(ring_id, 500));
	release((const uint8_t[16]){1, 2, 3}); /* somebody else's */
	assert_false(gone_within(ring_id, 300));
	release(client.id);
	assert_true(gone_within(ring_id, 5000));
}

/* Leftovers are bounded: beyond, rings are refused in page mode, and all-zero releases every one. */
static void test_leftovers(void **state)
{
	(void)state;
	static const uint8_t every[16];
	struct client client;
	uint32_t map, ids[17];
	int status = 0;
	for (int i = 0; i < 16; i++) {
		open_soon(&client, GRANT_RING);
		assert_int_equal(share_ring(&client, &map, &ids[i]), 0);
		client_close(&client);
	}
	open_soon(&client, GRANT_RING);
	for (int tries = 0; tries < 100 && status == 0; tries++) { /* until the last of them is reaped */
		struct ygr_handle_close closing;
		status = share_ring(&client, &map, &ids[16]);
		closing = (struct ygr_handle_close){.handle = map};
		client_post(&client, YGR_MSG_RING_CLOSE, &closing, sizeof(closing));
		client_post(&client, YGR_MSG_HANDLE_CLOSE, &closing, sizeof(closing));
		usleep(20000);
	}
	assert_int_equal(status, -EBUSY);
	client_close(&client);
	assert_true(map_exists(ids[0]));
	release(every);
	for (int i = 0; i < 17; i++)
		assert_true(gone_within(ids[i], 5000));
}

/* Handles and memory are bounded, and what is refused says why. */
static void test_flood(void **state)
{
	(void)state;
	struct client client;
	open_soon(&client, GRANT_RING ",\"limits\":{\"handles\":40,\"memory\":4194304}");
	unsigned made = 0;
	int64_t r = 0;
	for (; made < 100 && r >= 0; made += r >= 0)
		r = client_map(&client, BPF_MAP_TYPE_ARRAY, 4, 8, 1, 0);
	assert_int_equal(r, -EMFILE);
	assert_int_equal(made, 40);
	client_close(&client);

	open_soon(&client, GRANT_RING ",\"limits\":{\"handles\":40,\"memory\":4194304}");
	for (made = 0, r = 0; made < 100 && r >= 0; made += r >= 0)
		r = client_map(&client, BPF_MAP_TYPE_RINGBUF, 0, 0, 1 << 20, 0);
	assert_int_equal(made, 4);
	assert_int_equal(r, -ENOMEM);
	assert_non_null(strstr(client.notice, "memory limit"));
	client_close(&client);
}

/* Strangers who say nothing do not keep the node out. */
static void test_strangers(void **state)
{
	(void)state;
	int silent[40];
	for (int i = 0; i < 40; i++)
		silent[i] = guest_connect(&guest);
	usleep(700000);
	close(guest_dial(&guest, YGR_PURPOSE_CONTROL));
	for (int i = 0; i < 40; i++)
		close(silent[i]);
}

/* A connection's process that dies takes nobody with it. */
static void test_crash(void **state)
{
	(void)state;
	struct client victim, other;
	char path[64], children[256] = {0};
	open_soon(&other, GRANT_RING);
	open_soon(&victim, GRANT_RING);
	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", guest.pid, guest.pid);
	FILE *file = fopen(path, "r");
	assert_non_null(file);
	assert_non_null(fgets(children, sizeof(children), file));
	fclose(file);
	pid_t last = 0;
	for (char *at = strtok(children, " "); at; at = strtok(NULL, " "))
		last = (pid_t)atoi(at);
	assert_true(last > 0);
	assert_int_equal(kill(last, SIGKILL), 0);
	assert_true(closed_by_guest(victim.fd, WAIT_MS));
	assert_true(client_map(&other, BPF_MAP_TYPE_HASH, 4, 4, 4, 0) > 0);
	client_close(&victim);
	client_close(&other);
}

static int group_setup(void **state)
{
	(void)state;
	guest_start(&guest, "sessions: {max: 2}\nlimits: {memory: 16Mi, handles: 64}\n");
	return 0;
}

static int group_teardown(void **state)
{
	(void)state;
	guest_stop(&guest);
	return 0;
}

/* A broken guest.yaml lets no session in and says what is wrong. */
static void test_broken_config(void **state)
{
	(void)state;
	struct guest broken;
	struct client client;
	guest_start(&broken, "sessions: {maximum: 2}\n");
	close(guest_dial(&broken, YGR_PURPOSE_CONTROL));
	assert_int_equal(client_open(&client, &broken, "tester", GRANT_RING), -EACCES);
	assert_non_null(strstr(client.notice, "guest.yaml:1:"));
	assert_non_null(strstr(client.notice, "maximum"));
	guest_stop(&broken);
}

int main(void)
{
	if (geteuid() != 0) {
		fprintf(stderr, "SKIPPED: needs root for bpf() and namespaces\n");
		return 77;
	}
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_control),         cmocka_unit_test(test_unknown_key),
	    cmocka_unit_test(test_no_handshake),    cmocka_unit_test(test_garbage),
	    cmocka_unit_test(test_random_payloads), cmocka_unit_test(test_oversized),
	    cmocka_unit_test(test_session_limit),   cmocka_unit_test(test_adhoc),
	    cmocka_unit_test(test_forged_grant),    cmocka_unit_test(test_release),
	    cmocka_unit_test(test_leftovers),       cmocka_unit_test(test_flood),
	    cmocka_unit_test(test_strangers),       cmocka_unit_test(test_crash),
	    cmocka_unit_test(test_broken_config),
	};
	return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
