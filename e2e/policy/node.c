/*
 * e2e-policy-node ADDRESS HVSOCK-ROOT VM-UUID KEY CERT: the node's half of a policy connection, for tests of the
 * guest's half. Takes commands from its input, one a line, and writes JSON, one object a line.
 *
 *   load FILE N GENERATION [MODE]   compile, sign, send as policy number N; MODE: audit, or audit:RULE,RULE;
 *                                   other-vm, expired, unsigned, foreign: bundles that must be refused
 *   remove N GENERATION             a bundle that takes it away
 *   ask                             the status
 *   ack POSITION                    violations up to there are safe
 *
 * Each of load, remove and ask is answered by {"status": N, "document": {...}}; violations come in between as
 * {"violation": {...}}.
 */
#include <errno.h>
#include <jansson.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "lib/base/uuid.h"
#include "lib/policy/bundle.h"
#include "lib/policy/policy.h"
#include "lib/wire/keys.h"
#include "lib/wire/transport.h"

#define WAIT_MS   120000
#define WORDS_MAX 8

static int fd;
static uint8_t vm[16];
static struct ygr_identity *identity;

static void die(const char *what, const struct ygr_error *error)
{
	fprintf(stderr, "%s: %s\n", what, error->message);
	exit(1);
}

static void print(json_t *object)
{
	char *text = json_dumps(object, JSON_COMPACT);
	puts(text ? text : "{}");
	fflush(stdout);
	free(text);
	json_decref(object);
}

static void show_violation(const struct ygr_violation *v)
{
	print(json_pack("{s:{s:I, s:I, s:I, s:i, s:i, s:i, s:i, s:i, s:s, s:s, s:s, s:s, s:I, s:i, s:I}}",
			"violation", "position", (json_int_t)v->position, "time",
			(json_int_t)v->monotonic_ns, "generation", (json_int_t)v->generation, "rule",
			(int)v->rule, "action", (int)v->action, "answer", (int)v->answer, "operation",
			(int)v->operation, "policy", v->policy[15], "ruleName", v->rule_name, "file",
			v->file, "exe", v->exe, "comm", v->comm, "lost", (json_int_t)v->lost, "process",
			(int)v->process, "user", (json_int_t)v->user));
}

static int hear(int timeout_ms, uint16_t wanted)
{
	for (;;) {
		_cleanup_free_ uint8_t *payload = NULL;
		struct ygr_frame frame;
		int r = ygr_frame_receive(fd, YGR_FRAME_MAX, timeout_ms, &frame, &payload);
		if (r < 0)
			return r;
		if (frame.type == YGR_MSG_VIOLATION && frame.length == sizeof(struct ygr_violation)) {
			show_violation((const struct ygr_violation *)payload);
		} else if (frame.type == YGR_MSG_POLICY_STATUS && frame.length > sizeof(struct ygr_status)) {
			struct ygr_status status;
			memcpy(&status, payload, sizeof(status));
			json_t *document = json_loadb((const char *)payload + sizeof(status),
						      frame.length - sizeof(status), 0, NULL);
			print(json_pack("{s:I, s:o}", "status", (json_int_t)status.value, "document",
					document ? document : json_null()));
		} else {
			fprintf(stderr, "message %u: %.*s\n", frame.type, (int)frame.length,
				(const char *)payload + 8);
			return -EPROTO;
		}
		if (frame.type == wanted || wanted == 0)
			return 0;
	}
}

static void set_modes(struct ygr_policy_unit *unit, char *mode)
{
	if (strcmp(mode, "audit") == 0)
		(void)ygr_policy_unit_audit(unit, NULL, NULL, true);
	else if (strncmp(mode, "audit:", 6) == 0)
		for (char *save, *rule = strtok_r(mode + 6, ",", &save); rule;
		     rule = strtok_r(NULL, ",", &save))
			if (ygr_policy_unit_audit(unit, NULL, rule, true) < 0)
				fprintf(stderr, "no rule %s\n", rule);
}

static int send_bundle(const uint8_t *bundle, size_t len, const char *mode)
{
	struct ygr_error error = YGR_ERROR_INIT;
	struct ygr_policy_load load = {.length = (uint32_t)len, .cert = *ygr_identity_cert(identity)};
	if (ygr_bundle_sign(identity, bundle, len, load.signature, &error) < 0)
		die("sign", &error);
	if (strcmp(mode, "unsigned") == 0)
		load.signature[5] ^= 1;
	if (strcmp(mode, "foreign") == 0)
		load.cert.public_key[3] ^= 1;
	uint8_t *message = malloc(sizeof(load) + len);
	if (!message)
		return -ENOMEM;
	memcpy(message, &load, sizeof(load));
	memcpy(message + sizeof(load), bundle, len);
	int r = ygr_frame_send(fd, YGR_MSG_POLICY_LOAD, 7, message, (uint32_t)(sizeof(load) + len), WAIT_MS);
	free(message);
	return r < 0 ? r : hear(WAIT_MS, YGR_MSG_POLICY_STATUS);
}

static int load(const char *path, int number, uint64_t generation, char *mode)
{
	struct ygr_error error = YGR_ERROR_INIT;
	struct ygr_bundle_about about = {.generation = generation, .not_after = time(NULL) + 3600};
	struct ygr_policy_unit *unit = NULL;
	struct ygr_policy_code *code = NULL;
	uint8_t *data = NULL;
	size_t len = 0;

	about.policy[15] = (uint8_t)number;
	memcpy(about.vm, vm, sizeof(about.vm));
	if (strcmp(mode, "other-vm") == 0)
		about.vm[0] ^= 1;
	if (strcmp(mode, "expired") == 0)
		about.not_after = time(NULL) - 10;
	if (path) {
		if (ygr_policy_unit_read(path, &unit, &error) < 0)
			die("read", &error);
		if (ygr_policy_unit_errors(unit)) {
			struct ygr_buf said = YGR_BUF_INIT(65536);
			(void)ygr_policy_unit_said(unit, &said);
			fprintf(stderr, "%.*s\n", (int)said.len, (const char *)said.data);
			exit(1);
		}
		set_modes(unit, mode);
		if (ygr_policy_linearize(ygr_policy_unit_policies(unit), &code, &error) < 0)
			die("compile", &error);
	}
	if (ygr_bundle_make(&about, code, &data, &len, &error) < 0)
		die("bundle", &error);
	int r = send_bundle(data, len, mode);
	free(data);
	ygr_policy_code_free(code);
	ygr_policy_unit_free(unit);
	return r;
}

static int command(char *line)
{
	char *words[WORDS_MAX], *save, none[] = "";
	int count = 0;
	for (char *word = strtok_r(line, " \n", &save); word && count < WORDS_MAX;
	     word = strtok_r(NULL, " \n", &save))
		words[count++] = word;
	if (count >= 4 && strcmp(words[0], "load") == 0)
		return load(words[1], atoi(words[2]), strtoull(words[3], NULL, 10),
			    count > 4 ? words[4] : none);
	if (count >= 3 && strcmp(words[0], "remove") == 0)
		return load(NULL, atoi(words[1]), strtoull(words[2], NULL, 10), none);
	if (count == 2 && strcmp(words[0], "ack") == 0) {
		struct ygr_violation_ack ack = {.position = strtoull(words[1], NULL, 10)};
		return ygr_frame_send(fd, YGR_MSG_VIOLATION_ACK, 0, &ack, sizeof(ack), WAIT_MS);
	}
	if (count == 1 && strcmp(words[0], "ask") == 0) {
		int r = ygr_frame_send(fd, YGR_MSG_POLICY_ASK, 8, NULL, 0, WAIT_MS);
		return r < 0 ? r : hear(WAIT_MS, YGR_MSG_POLICY_STATUS);
	}
	fprintf(stderr, "what is \"%s\"?\n", line);
	return -EINVAL;
}

static int loop(void)
{
	char line[1024];
	for (;;) {
		struct pollfd fds[] = {{.fd = fd, .events = POLLIN}, {.fd = STDIN_FILENO, .events = POLLIN}};
		if (poll(fds, 2, -1) < 0 && errno != EINTR)
			return -errno;
		int r = fds[0].revents ? hear(WAIT_MS, 0) : 0;
		if (r == 0 && fds[1].revents) {
			if (!fgets(line, sizeof(line), stdin))
				return 0;
			r = command(line);
		}
		if (r < 0)
			return r;
	}
}

int main(int argc, char **argv)
{
	struct ygr_error error = YGR_ERROR_INIT;
	_cleanup_free_ char *welcome = NULL;
	if (argc != 6 || ygr_uuid_parse(argv[3], vm) < 0)
		return 2;
	setvbuf(stdin, NULL, _IONBF, 0); /* poll() tells what is left */
	if (ygr_identity_open(argv[4], argv[5], &identity, &error) < 0)
		die("identity", &error);
	if (ygr_transport_dial(argv[1], argv[2], WAIT_MS, &fd, &error) < 0)
		die("dial", &error);
	if (ygr_handshake_node(fd, YGR_PURPOSE_POLICY, vm, identity, WAIT_MS, &welcome, &error) < 0)
		die("handshake", &error);
	puts("{\"ready\": true}");
	fflush(stdout);
	int r = loop();
	if (r < 0)
		fprintf(stderr, "%s\n", strerror(-r));
	ygr_identity_free(identity);
	return r < 0;
}
