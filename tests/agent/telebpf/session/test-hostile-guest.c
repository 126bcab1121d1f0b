/*
 * What a guest can say to hurt a session: each lie must end the application with a reason that can be read,
 * in bounded memory, or must not matter at all. The session is the real one (build it with sanitizers for
 * the rest), and so are the application and the guest behind the liar.
 */
#include "tests/agent/telebpf/session/hostile-guest.h"

#include <errno.h>
#include <linux/bpf.h>
#include <linux/perf_event.h>
#include <signal.h>
#include <string.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/wire/call.h"
#include "lib/wire/message.h"
#include "tests/agent/telebpf/session/session-world.h"

#if defined(__SANITIZE_ADDRESS__)
#define RSS_KIB (400 << 10) /* shadow memory and quarantine */
#else
#define RSS_KIB (64 << 10)
#endif

#define RAM_BYTES (4u << 20)
#define FLOOD     50000u

struct trial {
	struct world world;
	struct liar liar;
	struct run run;
};

static void begin(struct trial *trial, liar_script script, int variant, const char *executable, json_t *argv)
{
	json_t *welcome, *config;
	int fd;

	if (geteuid() != 0)
		skip();
	session_world_init(&trial->world, "");
	fd = liar_start(&trial->liar, session_dial(&trial->world, &welcome), script, NULL, variant);
	config = session_config(&trial->world, executable, "*", welcome);
	if (argv)
		json_object_set_new(config, "argv", argv);
	json_object_set_new(config, "startSeconds", json_integer(3));
	session_run(&trial->run, fd, -1, config);
}

static void end(struct trial *trial)
{
	assert_in_range(trial->run.rss_kib, 0, RSS_KIB);
	assert_null(strstr(trial->run.text, "Sanitizer"));
	assert_null(strstr(trial->run.text, "runtime error"));
	liar_stop(&trial->liar);
	session_run_deinit(&trial->run);
	session_world_deinit(&trial->world);
}

/* The rings application against SCRIPT; it must end with REASON, NULL: as if nothing had been. */
static void lie(liar_script script, int variant, const char *reason)
{
	struct trial trial;

	print_message("variant %d\n", variant);
	begin(&trial, script, variant, YGR_SUBJECT_RINGS, NULL);
	assert_int_equal(session_finish(&trial.run), 0);
	if (reason) {
		assert_non_null(session_event(&trial.run, "error"));
		assert_string_equal(session_word(session_event(&trial.run, "error"), "reason"), reason);
		assert_int_equal(session_number(session_event(&trial.run, "exited"), "signal"), SIGKILL);
	} else {
		assert_int_equal(session_number(session_event(&trial.run, "exited"), "code"), 0);
		assert_int_equal(session_number(session_event(&trial.run, "counters"), "ringRecords"), 600);
	}
	end(&trial);
}

/* Frames that are none, at the fifth reply. */
static enum liar_verdict broken_frames(struct liar *liar, struct ygr_frame *frame, uint8_t *payload,
				       bool asked)
{
	uint8_t bytes[YGR_FRAME_HEADER + 8] = {0};

	(void)payload;
	if (asked || frame->type != YGR_MSG_REPLY || ++liar->seen != 5)
		return LIAR_PASS;
	ygr_frame_header(bytes, YGR_MSG_REPLY, frame->id, 8);
	switch (liar->variant) {
	case 0: /* magic */
		bytes[0] = 'X';
		break;
	case 1: /* version */
		bytes[4] = 9;
		break;
	case 2: /* a length beyond the bound */
		memset(bytes + 12, 0x7f, 4);
		break;
	case 3: /* an id that was never given */
		bytes[10] ^= 0x55;
		break;
	case 4: /* a reply to the same question, twice */
		liar_say(liar, frame->type, frame->id, payload, frame->length);
		break;
	case 5: /* a message that nobody asked for */
		ygr_frame_header(bytes, YGR_MSG_LOCAL_FIRST, 0, 8);
		break;
	}
	liar_raw(liar, bytes, sizeof(bytes));
	return LIAR_DROP;
}

static void test_broken_frames(void **state)
{
	(void)state;
	for (int variant = 0; variant <= 5; variant++)
		lie(broken_frames, variant, "GuestMisbehaved");
}

/* Half a frame, and then nothing more, or the end. */
static enum liar_verdict half_frame(struct liar *liar, struct ygr_frame *frame, uint8_t *payload, bool asked)
{
	uint8_t header[YGR_FRAME_HEADER];

	(void)payload;
	if (asked || liar->seen)
		return liar->seen ? LIAR_DROP : LIAR_PASS;
	if (frame->type != YGR_MSG_REPLY)
		return LIAR_PASS;
	liar->seen = 1;
	ygr_frame_header(header, YGR_MSG_REPLY, frame->id, YGR_FRAME_MAX);
	liar_raw(liar, header, sizeof(header));
	if (liar->variant)
		shutdown(liar->session, SHUT_RDWR);
	return LIAR_DROP;
}

static void test_half_frame(void **state)
{
	struct trial trial;

	(void)state;
	lie(half_frame, 1, "ChannelLost");
	begin(&trial, half_frame, 0, YGR_SUBJECT_RINGS, NULL);
	session_wait(&trial.run, "started");
	usleep(200000); /* it waits for the rest, and is stopped */
	assert_true(write(trial.run.control, "{\"do\":\"stop\"}\n", 14) == 14);
	assert_int_equal(session_finish(&trial.run), 0);
	end(&trial);
}

/* Replies that do not fit their calls. */
static enum liar_verdict wrong_replies(struct liar *liar, struct ygr_frame *frame, uint8_t *payload,
				       bool asked)
{
	struct ygr_reply reply;

	if (asked || frame->type != YGR_MSG_REPLY || frame->length < sizeof(reply))
		return LIAR_PASS;
	memcpy(&reply, payload, sizeof(reply));
	switch (liar->variant) {
	case 0:
		frame->length = sizeof(reply) - 1;
		break;
	case 1:
		reply.attr_size = 0xfffffff0u;
		break;
	case 2:
		reply.result = INT64_MIN;
		break;
	case 3:
		frame->type = YGR_MSG_FILE_DATA;
		break;
	case 4:
		reply.handle = YGR_HANDLE_BAD;
		break;
	case 5: /* a handle that is there already */
		if (!reply.handle || !liar->seen++)
			return LIAR_PASS;
		reply.handle = 1;
		break;
	case 6: /* a handle for a call that makes none */
		if (reply.handle)
			return LIAR_PASS;
		reply.handle = 4711;
		break;
	case 7: /* a map of another shape: the application's buffers would be too small */
		if (reply.object.kind != YGR_OBJECT_MAP)
			return LIAR_PASS;
		reply.object.value_size += 4096;
		break;
	case 8:
		frame->length = 0;
		break;
	}
	if (frame->length >= sizeof(reply))
		memcpy(payload, &reply, sizeof(reply));
	return LIAR_PASS;
}

static void test_wrong_replies(void **state)
{
	(void)state;
	for (int variant = 0; variant <= 8; variant++)
		lie(wrong_replies, variant, "GuestMisbehaved");
}

/* The answer to RING_OPEN. */
static enum liar_verdict wrong_rings(struct liar *liar, struct ygr_frame *frame, uint8_t *payload,
				     bool asked)
{
	struct ygr_ring_opened opened;

	if (asked || frame->type != YGR_MSG_RING_OPENED || frame->length < sizeof(opened))
		return LIAR_PASS;
	memcpy(&opened, payload, sizeof(opened));
	switch (liar->variant) {
	case 0:
		opened.status = 1;
		break;
	case 1:
		opened.run_count = UINT32_MAX;
		break;
	case 2:
		opened.consumer = 4;
		break;
	case 3:
		opened.producer = opened.consumer + (1ull << 40);
		break;
	case 4:
		opened.consumer = opened.producer + 8;
		break;
	case 5:
		opened.status = INT32_MIN;
		break;
	case 6:
		frame->length = 3;
		break;
	case 7:
		frame->type = YGR_MSG_MEM_OPENED;
		break;
	}
	memcpy(payload, &opened, sizeof(opened));
	return LIAR_PASS;
}

static void test_wrong_rings(void **state)
{
	(void)state;
	for (int variant = 0; variant <= 7; variant++)
		lie(wrong_rings, variant, "GuestMisbehaved");
}

/* Records that cannot be. */
static enum liar_verdict wrong_records(struct liar *liar, struct ygr_frame *frame, uint8_t *payload,
				       bool asked)
{
	struct ygr_ring_records records;
	uint8_t *first = payload + sizeof(records);
	uint32_t huge = 0x3fffffff;

	if (asked || frame->type != YGR_MSG_RING_RECORDS)
		return LIAR_PASS;
	memcpy(&records, payload, sizeof(records));
	switch (liar->variant) {
	case 0:
		records.position += 8;
		break;
	case 1:
		records.position -= 8;
		break;
	case 2:
		records.position += 3;
		break;
	case 3:
		records.length = UINT32_MAX;
		break;
	case 4:
		frame->length = sizeof(records) - 1;
		break;
	case 5: /* BPF: longer than what there is; perf: no such type, and a size of 0x3fff */
		memcpy(first, &huge, sizeof(huge));
		memcpy(first + 4, &huge, sizeof(huge));
		break;
	case 6: /* BPF: still being written; perf: a size of 0 */
		huge = BPF_RINGBUF_BUSY_BIT;
		memcpy(first, &huge, sizeof(huge));
		memset(first + 4, 0, 4);
		break;
	case 7:
		records.position = UINT64_MAX - 7;
		break;
	case 8: /* the same once more */
		liar_say(liar, frame->type, 0, payload, frame->length);
		break;
	}
	memcpy(payload, &records, sizeof(records));
	return LIAR_PASS;
}

static void test_wrong_records(void **state)
{
	(void)state;
	for (int variant = 0; variant <= 8; variant++)
		lie(wrong_records, variant, "GuestMisbehaved");
}

/* What is said too often, or of what is not there, must not matter. */
static enum liar_verdict floods(struct liar *liar, struct ygr_frame *frame, uint8_t *payload, bool asked)
{
	struct ygr_ring_position position = {.handle = 1, .position = 3};
	struct ygr_ring_records records = {.handle = 0x7ffffff0, .length = 123};
	struct {
		struct ygr_refused refused;
		char text[64];
	} notice = {.refused.code = EACCES, .text = "\x1b[31m\xff\xfe no \n you may not 00000"};

	(void)payload;
	if (asked || frame->type != YGR_MSG_RING_RECORDS || liar->seen++)
		return LIAR_PASS;
	for (uint32_t i = 0; i < FLOOD; i++) {
		position.handle = i % 700;
		if (liar->variant == 0)
			liar_say(liar, YGR_MSG_RING_READY, 0, &position, sizeof(position));
		else if (liar->variant == 1)
			liar_say(liar, YGR_MSG_RING_RECORDS, 0, &records, sizeof(records));
		snprintf(notice.text + 24, sizeof(notice.text) - 24, "%u", i);
		if (liar->variant == 2)
			liar_say(liar, YGR_MSG_REFUSED, 0, &notice, sizeof(notice));
	}
	return LIAR_PASS;
}

static void test_floods(void **state)
{
	(void)state;
	for (int variant = 0; variant <= 2; variant++)
		lie(floods, variant, NULL);
}

/* Guest pages that are none of its RAM, and RAM whose contents lie. */
static uint8_t *ram;

static enum liar_verdict wrong_pages(struct liar *liar, struct ygr_frame *frame, uint8_t *payload,
				     bool asked)
{
	struct {
		struct ygr_ring_opened opened;
		struct ygr_run runs[4];
	} answer = {.opened.run_count = 1};
	struct ygr_ring_open open;
	uint64_t *producer = (uint64_t *)(ram + 4096);
	uint32_t pages;

	if (!asked && frame->type == YGR_MSG_RING_RECORDS)
		return LIAR_DROP;
	if (!asked || frame->type != YGR_MSG_RING_OPEN)
		return LIAR_PASS;
	memcpy(&open, payload, sizeof(open));
	pages = 1 + (uint32_t)(open.data_bytes / 4096);
	answer.runs[0] = (struct ygr_run){.pfn = 1, .count = pages};
	if (open.kind == YGR_RING_PERF)
		producer = (uint64_t *)(ram + 4096 + offsetof(struct perf_event_mmap_page, data_head));
	*producer = 0;
	switch (liar->variant) {
	case 0:
		answer.runs[0].pfn = RAM_BYTES / 4096 - 1;
		break;
	case 1:
		answer.runs[0].pfn = UINT64_MAX / 4096;
		break;
	case 2:
		answer.runs[0].count = pages + 1;
		break;
	case 3:
		answer.runs[0].count = pages - 1;
		break;
	case 4:
		answer.opened.run_count = 0;
		break;
	case 5:
		answer.opened.run_count = 4;
		answer.runs[1].count = UINT32_MAX;
		break;
	case 6: /* good pages; the producer is far ahead */
		*producer = 1ull << 40;
		break;
	case 7:
		*producer = (uint64_t)-8;
		break;
	case 8:
		*producer = 12;
		break;
	case 9: /* a record longer than the ring */
		*producer = 4096;
		memset(ram + 8192, 0x3f, 8);
		break;
	}
	liar_say(liar, YGR_MSG_RING_OPENED, frame->id, &answer,
		 sizeof(answer.opened) + (liar->variant == 5 ? 4 : 1) * (uint32_t)sizeof(struct ygr_run));
	return LIAR_DROP;
}

static void test_wrong_pages(void **state)
{
	int fd = memfd_create("ram", MFD_CLOEXEC);

	(void)state;
	if (geteuid() != 0)
		skip();
	assert_int_equal(ftruncate(fd, RAM_BYTES), 0);
	ram = mmap(NULL, RAM_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_true(ram != MAP_FAILED);
	for (int variant = 0; variant <= 9; variant++) {
		struct trial trial;
		json_t *welcome, *config;
		int channel;

		print_message("variant %d\n", variant);
		session_world_init(&trial.world, "");
		channel = liar_start(&trial.liar, session_dial(&trial.world, &welcome), wrong_pages, NULL,
				     variant);
		config = session_config(&trial.world, YGR_SUBJECT_RINGS, "*", welcome);
		json_object_set_new(config, "ram",
				    json_pack("{s:[{s:i, s:i, s:i}]}", "regions", "gpa", 0, "size",
					      (int)RAM_BYTES, "offset", 0));
		session_run(&trial.run, channel, dup(fd), config);
		assert_int_equal(session_finish(&trial.run), 0);
		assert_string_equal(session_word(session_event(&trial.run, "error"), "reason"),
				    "GuestMisbehaved");
		end(&trial);
	}
	munmap(ram, RAM_BYTES);
	close(fd);
}

/* Files: more than was asked for, no end, errors that the kernel does not take. */
static enum liar_verdict wrong_files(struct liar *liar, struct ygr_frame *frame, uint8_t *payload,
				     bool asked)
{
	static uint8_t much[YGR_FRAME_MAX];
	struct ygr_status status;
	struct ygr_file_attr attr;

	if (asked || (frame->type != YGR_MSG_FILE_NAMES && frame->type != YGR_MSG_FILE_DATA &&
		      (frame->type != YGR_MSG_FILE_ATTR || liar->variant != 4)))
		return LIAR_PASS;
	memcpy(&status, payload, sizeof(status));
	memset(much, liar->variant == 0 ? 'a' : 0, sizeof(much));
	switch (liar->variant) {
	case 0: /* one endless name */
	case 1: /* millions of empty ones */
		if (frame->type != YGR_MSG_FILE_NAMES)
			return LIAR_PASS;
		memcpy(much, &status, sizeof(status));
		liar_say(liar, frame->type, frame->id, much, sizeof(much));
		return LIAR_DROP;
	case 2:
		status.value = 20 << 20;
		memcpy(much, &status, sizeof(status));
		liar_say(liar, frame->type, frame->id, much, sizeof(much));
		return LIAR_DROP;
	case 3:
		status.value = -600;
		break;
	case 4:
		if (frame->type == YGR_MSG_FILE_ATTR) {
			memcpy(&attr, payload, sizeof(attr));
			attr.size = UINT64_MAX;
			memcpy(payload, &attr, sizeof(attr));
			return LIAR_PASS;
		}
		status.value = INT64_MIN;
		break;
	}
	memcpy(payload, &status, sizeof(status));
	return LIAR_PASS;
}

static void test_wrong_files(void **state)
{
	(void)state;
	for (int variant = 0; variant <= 4; variant++) {
		struct trial trial;

		print_message("variant %d\n", variant);
		begin(&trial, wrong_files, variant, "/bin/grep",
		      json_pack("[s, s, s, s]", "grep", "-rs", "x", "/sys/kernel"));
		assert_int_equal(session_finish(&trial.run), 0);
		assert_non_null(session_event(&trial.run, "exited"));
		end(&trial);
	}
}

/* Answers to files come no more, from the first question on or once it runs. */
static enum liar_verdict silent(struct liar *liar, struct ygr_frame *frame, uint8_t *payload, bool asked)
{
	(void)payload;
	if (!asked && frame->type >= YGR_MSG_FILE_STAT && frame->type <= YGR_MSG_FILE_DATA)
		return liar->variant == 0 || frame->type == YGR_MSG_FILE_NAMES ? LIAR_DROP : LIAR_PASS;
	return LIAR_PASS;
}

static void test_silent_start(void **state)
{
	struct trial trial;

	(void)state;
	begin(&trial, silent, 0, "/bin/sleep", json_pack("[s, s]", "sleep", "600"));
	assert_int_equal(session_finish(&trial.run), 0);
	assert_string_equal(session_word(session_event(&trial.run, "error"), "reason"), "LaunchFailed");
	assert_non_null(strstr(session_word(session_event(&trial.run, "error"), "message"),
			       "within 3 s: the guest does not answer for /"));
	assert_null(session_event(&trial.run, "started"));
	end(&trial);
}

static void test_silent_stop(void **state)
{
	struct trial trial;

	(void)state;
	begin(&trial, silent, 1, "/bin/ls", json_pack("[s, s]", "ls", "/sys/kernel/btf"));
	session_wait(&trial.run, "started");
	usleep(200000);
	assert_true(write(trial.run.control, "{\"do\":\"stop\"}\n", 14) == 14);
	assert_int_equal(session_finish(&trial.run), 0);
	end(&trial);
}

/* Two sessions at once: one guest lies, the other's application notices nothing. */
static void test_other_undisturbed(void **state)
{
	struct trial bad;
	struct world world;
	struct run good;
	json_t *welcome;
	int channel;

	(void)state;
	if (geteuid() != 0)
		skip();
	session_world_init(&world, "");
	channel = session_dial(&world, &welcome);
	session_run(&good, channel, -1, session_config(&world, YGR_SUBJECT_RINGS, "*", welcome));
	begin(&bad, wrong_records, 5, YGR_SUBJECT_RINGS, NULL);
	assert_int_equal(session_finish(&bad.run), 0);
	assert_string_equal(session_word(session_event(&bad.run, "error"), "reason"), "GuestMisbehaved");
	assert_int_equal(session_finish(&good), 0);
	assert_non_null(strstr(good.text, "rings ok: 300 and 300 records\n"));
	assert_int_equal(session_number(session_event(&good, "counters"), "ringInvalid"), 0);
	end(&bad);
	session_run_deinit(&good);
	session_world_deinit(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_broken_frames),     cmocka_unit_test(test_half_frame),
	    cmocka_unit_test(test_wrong_replies),     cmocka_unit_test(test_wrong_rings),
	    cmocka_unit_test(test_wrong_records),     cmocka_unit_test(test_floods),
	    cmocka_unit_test(test_wrong_pages),       cmocka_unit_test(test_wrong_files),
	    cmocka_unit_test(test_silent_start),      cmocka_unit_test(test_silent_stop),
	    cmocka_unit_test(test_other_undisturbed),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
