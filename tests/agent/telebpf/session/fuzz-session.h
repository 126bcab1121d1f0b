/*
 * A session without its application and its guest: both are the input. It is a list of steps {u8 what, u8
 * argument, u16 length, bytes}; after each the loop runs as session.c's does. Good questions and good answers
 * are among the steps, so that the bad ones find rings, arrays and handles to be bad about.
 */
#pragma once

#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/perf_event.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/telebpf/session/session.h"
#include "lib/wire/message.h"

#define FUZZ_RAM (1u << 20)

enum fuzz_step {
	FUZZ_APP_FRAME,
	FUZZ_APP_RAW,
	FUZZ_APP_FD,
	FUZZ_APP_GOOD,
	FUZZ_GUEST_ANSWER,
	FUZZ_GUEST_RAW,
	FUZZ_GUEST_POST,
	FUZZ_GUEST_GOOD,
	FUZZ_GUEST_RAM,
};

struct fuzz {
	struct ygr_session session;
	int app, guest;
	uint32_t ids[64]; /* questions that the guest has not answered */
	uint16_t types[64];
	uint8_t questions[64][64]; /* how they begin */
	unsigned asked;
	uint32_t handle; /* the last one given */
	uint8_t *ram;
	uint8_t in[1 << 20];
	size_t in_length;
};

static struct fuzz fuzz;

uint64_t ygr_session_now(void)
{
	static uint64_t now = 1000000000;

	return now += 1000;
}

void ygr_session_fail(struct ygr_session *session, const char *reason, const char *format, ...)
{
	char text[YGR_ERROR_MESSAGE_MAX];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	if (!session->killed)
		ygr_report_error(&session->report, reason, "%s", text);
	session->killed = true;
}

void ygr_session_channel_changed(struct ygr_session *session)
{
	if (session->channel)
		ygr_loop_modify(&session->loop, &session->channel_watch,
				ygr_channel_events(session->channel));
}

/* Shared maps into a process that is stopped; there is none here, and no session of ours asks for it. */
int ygr_sharing_start(struct ygr_local *local, uint32_t id, struct ygr_entry *entry,
		      const struct ygr_local_map *map)
{
	(void)local;
	(void)id;
	(void)entry;
	(void)map;
	abort();
}

static void fuzz_channel_ready(void *user, uint32_t events)
{
	struct ygr_session *session = user;

	ygr_channel_dispatch(session->channel, events);
	ygr_session_channel_changed(session);
	session->again = true;
}

static void fuzz_message(void *user, const struct ygr_frame *frame)
{
	struct ygr_session *session = user;

	if (frame->type == YGR_MSG_RING_READY || frame->type == YGR_MSG_RING_RECORDS)
		ygr_delivery_message(session, frame);
	else if (frame->type != YGR_MSG_REFUSED)
		ygr_session_fail(session, "GuestMisbehaved", "%u", frame->type);
}

static void fuzz_lost(void *user, const struct ygr_error *error)
{
	struct ygr_session *session = user;

	ygr_loop_remove(&session->loop, &session->channel_watch);
	ygr_session_fail(session, "ChannelLost", "%s", error->message);
}

static void fuzz_must(bool condition)
{
	if (!condition)
		abort();
}

static struct ygr_grant *fuzz_grant(void)
{
	json_t *json = json_loads(
	    "{\"program\":\"p\",\"sha256\":"
	    "\"0000000000000000000000000000000000000000000000000000000000000000\","
	    "\"vm\":\"00000000-0000-0000-0000-000000000001\",\"issuedAt\":1,\"notAfter\":4000000000,"
	    "\"programTypes\":[\"*\"],\"attach\":[\"*\"],\"helpers\":[\"*\"],\"kfuncs\":[],"
	    "\"files\":{\"read\":[\"/sys/"
	    "**\"],\"write\":[]},\"limits\":{\"handles\":64,\"memory\":67108864}}",
	    0, NULL);
	struct ygr_error error = YGR_ERROR_INIT;
	struct ygr_grant *grant = ygr_grant_new_json(json, true, &error);

	json_decref(json);
	fuzz_must(grant != NULL);
	return grant;
}

static void fuzz_ram(struct ygr_session *session)
{
	const struct ygr_ram_region region = {.gpa = 0, .size = FUZZ_RAM, .offset = 0};
	struct ygr_error error = YGR_ERROR_INIT;
	int fd = memfd_create("ram", MFD_CLOEXEC);

	fuzz_must(fd >= 0 && ftruncate(fd, FUZZ_RAM) == 0);
	fuzz.ram = mmap(NULL, FUZZ_RAM, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	fuzz_must(fuzz.ram != MAP_FAILED && ygr_ram_new(fd, &region, 1, &session->ram, &error) == 0);
}

static void fuzz_begin(bool ram)
{
	static uint8_t *arena;
	struct ygr_session *session = &fuzz.session;
	const struct ygr_channel_handlers handlers = {fuzz_message, fuzz_lost, session};
	struct ygr_local *local;
	int app[2], guest[2];

	memset(&fuzz, 0, offsetof(struct fuzz, in));
	fuzz.in_length = 0;
	if (!arena)
		arena = mmap(NULL, YGR_SESSION_ARENA, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	session->arena = arena;
	session->config.guest.possible_cpus = session->config.guest.local.possible_cpus = 2;
	ygr_ring_init_ready();
	ygr_report_init(&session->report, -1);
	session->grant = fuzz_grant();
	session->objects.max = ygr_grant_max_handles(session->grant);
	fuzz_must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, app) == 0 &&
		  socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, guest) == 0 &&
		  ygr_loop_init(&session->loop) == 0 &&
		  ygr_channel_new(guest[1], &handlers, &session->channel) == 0 &&
		  ygr_loop_add(&session->loop, &session->channel_watch, guest[1], EPOLLIN,
			       fuzz_channel_ready, session) == 0 &&
		  ygr_local_add(session, app[1], &local) == 0);
	fuzz.app = app[0];
	fuzz.guest = guest[0];
	if (ram)
		fuzz_ram(session);
}

/* What the session asks of the guest is noted, what it tells the application forgotten. */
static void fuzz_drain(void)
{
	struct ygr_frame frame;
	static uint8_t waste[65536];
	int64_t size;
	ssize_t n;

	while ((n = recv(fuzz.guest, fuzz.in + fuzz.in_length, sizeof(fuzz.in) - fuzz.in_length,
			 MSG_DONTWAIT)) > 0) {
		size_t at = 0;

		fuzz.in_length += (size_t)n;
		while ((size = ygr_frame_parse(fuzz.in + at, fuzz.in_length - at, YGR_FRAME_MAX, &frame)) >
		       0) {
			at += (size_t)size;
			if (!frame.id || fuzz.asked == 64)
				continue;
			fuzz.ids[fuzz.asked] = frame.id;
			fuzz.types[fuzz.asked] = frame.type;
			memset(fuzz.questions[fuzz.asked], 0, 64);
			memcpy(fuzz.questions[fuzz.asked++], frame.payload,
			       frame.length < 64 ? frame.length : 64);
		}
		fuzz_must(size == 0);
		fuzz.in_length -= at;
		memmove(fuzz.in, fuzz.in + at, fuzz.in_length);
		if (fuzz.in_length == sizeof(fuzz.in))
			fuzz.in_length = 0; /* a frame larger than what is kept: no answer to it */
	}
	while (recv(fuzz.app, waste, sizeof(waste), MSG_DONTWAIT) > 0)
		;
}

static void fuzz_round(void)
{
	struct ygr_session *session = &fuzz.session;

	for (int i = 0; i < 3; i++) {
		ygr_loop_round(&session->loop, 0);
		if (session->again) {
			session->again = false;
			ygr_local_resume(session);
		}
		if (session->idle && !session->killed)
			ygr_delivery_idle(session);
		session->idle = false;
		ygr_local_reap(session);
		if (!session->killed)
			ygr_delivery_poll(session);
		fuzz_drain();
	}
	fuzz_must(session->memory <= YGR_SESSION_MEMORY && session->objects.count <= session->objects.max);
}

static void fuzz_end(void)
{
	struct ygr_session *session = &fuzz.session;

	session->killed = true;
	ygr_loop_remove(&session->loop, &session->channel_watch);
	session->channel = ygr_channel_free(session->channel);
	ygr_mapping_free_all(session);
	ygr_local_free_all(session);
	session->ram = ygr_ram_free(session->ram);
	session->grant = ygr_grant_free(session->grant);
	fuzz_must(session->memory == 0 && session->objects.count == 0);
	ygr_loop_deinit(&session->loop);
	ygr_report_deinit(&session->report);
	close(fuzz.app);
	close(fuzz.guest);
	if (fuzz.ram)
		munmap(fuzz.ram, FUZZ_RAM);
}

static void fuzz_write(int fd, const void *bytes, size_t length, int with)
{
	char space[CMSG_SPACE(sizeof(int))] __attribute__((aligned(8))) = {0};
	struct iovec piece = {(void *)bytes, length};
	struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1};
	struct cmsghdr *control = (struct cmsghdr *)space;

	if (with >= 0) {
		message.msg_control = space;
		message.msg_controllen = sizeof(space);
		*control = (struct cmsghdr){CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS};
		memcpy(CMSG_DATA(control), &with, sizeof(with));
	}
	(void)!sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void fuzz_frame(int fd, uint16_t type, uint32_t id, const void *payload, uint32_t length, int with)
{
	static uint8_t bytes[YGR_FRAME_HEADER + 65536 + 64];

	ygr_frame_header(bytes, type, id, length);
	if (length)
		memcpy(bytes + YGR_FRAME_HEADER, payload, length);
	fuzz_write(fd, bytes, YGR_FRAME_HEADER + length, with);
}

/* A question that a shim asks; those of later arguments want what came from those before. */
static void fuzz_app_good(uint8_t argument)
{
	struct {
		struct ygr_call call;
		union bpf_attr attr;
	} map = {.call = {YGR_CALL_BPF, BPF_MAP_CREATE, 72, 0}};
	struct {
		struct ygr_call call;
		struct ygr_perf_args args;
		struct perf_event_attr attr;
	} perf = {.call = {YGR_CALL_PERF, 0, sizeof(perf.args) + sizeof(perf.attr), 0},
		  .args = {.pid = -1},
		  .attr = {.size = sizeof(perf.attr),
			   .type = PERF_TYPE_SOFTWARE,
			   .config = PERF_COUNT_SW_BPF_OUTPUT,
			   .sample_type = PERF_SAMPLE_RAW}};
	struct ygr_local_map mapping = {.handle = fuzz.handle, .prot = PROT_READ, .length = 3 * 4096};
	const struct ygr_local_sync sync = {.push = 1, .pull = 1};
	const struct ygr_handle_close closing = {.handle = fuzz.handle};
	const struct ygr_file_io io = {.handle = fuzz.handle, .length = 4096};
	int fd;

	switch (argument % 10) {
	case 0:
		map.attr.map_type = BPF_MAP_TYPE_RINGBUF;
		map.attr.max_entries = 4096;
		fuzz_frame(fuzz.app, YGR_MSG_CALL, 7, &map, sizeof(map.call) + 72, -1);
		break;
	case 1:
		map.attr.map_type = BPF_MAP_TYPE_ARRAY;
		map.attr.key_size = 4;
		map.attr.value_size = 64;
		map.attr.max_entries = 100;
		map.attr.map_flags = BPF_F_MMAPABLE;
		fuzz_frame(fuzz.app, YGR_MSG_CALL, 7, &map, sizeof(map.call) + 72, -1);
		break;
	case 2:
		fuzz_frame(fuzz.app, YGR_MSG_CALL, 7, &perf, sizeof(perf), -1);
		break;
	case 3:
		mapping.prot |= PROT_WRITE;
		/* fall through */
	case 4:
		fuzz_frame(fuzz.app, YGR_LOCAL_MAP, 8, &mapping, sizeof(mapping), -1);
		break;
	case 5:
		fuzz_frame(fuzz.app, YGR_LOCAL_SYNC, 9, &sync, sizeof(sync), -1);
		break;
	case 6:
		fuzz_frame(fuzz.app, YGR_LOCAL_FORK, 10, NULL, 0, -1);
		break;
	case 7:
		fd = eventfd(0, EFD_CLOEXEC);
		fuzz_frame(fuzz.app, YGR_LOCAL_READY_FD, 11, &closing, sizeof(closing), fd);
		close(fd);
		fuzz_frame(fuzz.app, YGR_LOCAL_IDLE, 0, NULL, 0, -1);
		break;
	case 8:
		fuzz_frame(fuzz.app, YGR_MSG_HANDLE_CLOSE, 0, &closing, sizeof(closing), -1);
		break;
	case 9:
		fuzz_frame(fuzz.app, YGR_MSG_FILE_READ, 12, &io, sizeof(io), -1);
		break;
	}
}

/* What is asked with CALL becomes a handle of the kind that was asked for. */
static uint32_t fuzz_reply(const uint8_t *question, uint8_t *out)
{
	struct ygr_reply reply = {.handle = ++fuzz.handle};
	struct ygr_call call;

	memcpy(&call, question, sizeof(call));
	reply.attr_size = call.attr_size < 1024 ? call.attr_size : 0;
	reply.object.kind = call.kind == YGR_CALL_PERF ? YGR_OBJECT_PERF : YGR_OBJECT_MAP;
	if (call.kind == YGR_CALL_BPF)
		memcpy(&reply.object.map_type, question + sizeof(call), 5 * sizeof(uint32_t));
	memcpy(out, &reply, sizeof(reply));
	return (uint32_t)sizeof(reply) + ((reply.attr_size + 7) & ~7u);
}

static void fuzz_guest_good(uint8_t argument)
{
	static uint8_t payload[70000];
	struct {
		struct ygr_ring_opened opened;
		struct ygr_run run;
	} opened = {.opened.run_count = fuzz.ram != NULL, .run = {.pfn = argument % 64, .count = 2}};
	struct ygr_mem mem;
	uint32_t length = sizeof(struct ygr_status);
	uint16_t type;

	if (!fuzz.asked)
		return;
	fuzz.asked--;
	type = fuzz.types[fuzz.asked] + 1u;
	memset(payload, 0, sizeof(payload));
	memcpy(&mem, fuzz.questions[fuzz.asked], sizeof(mem));
	switch (fuzz.types[fuzz.asked]) {
	case YGR_MSG_CALL:
		length = fuzz_reply(fuzz.questions[fuzz.asked], payload);
		break;
	case YGR_MSG_RING_OPEN:
	case YGR_MSG_MEM_OPEN:
		memcpy(payload, &opened, sizeof(opened));
		length = sizeof(opened);
		break;
	case YGR_MSG_MEM_READ:
		memset(payload + 8, argument, mem.length < 65536 ? mem.length : 0);
		length += mem.length < 65536 ? mem.length : 0;
		/* fall through */
	case YGR_MSG_MEM_WRITE:
		type = YGR_MSG_MEM_DATA;
		break;
	default:
		type = YGR_MSG_FILE_DATA;
	}
	fuzz_frame(fuzz.guest, type, fuzz.ids[fuzz.asked], payload, length, -1);
}

static int fuzz_descriptor(uint8_t argument)
{
	static const uint64_t full = UINT64_MAX - 1;
	int pair[2], fd;

	switch (argument % 5) {
	case 0:
		return open("/", O_DIRECTORY | O_CLOEXEC);
	case 1:
		if (pipe2(pair, O_CLOEXEC) < 0)
			return -1;
		close(pair[0]);
		return pair[1];
	case 2:
		return memfd_create("x", MFD_CLOEXEC);
	case 3: /* full, and waiting */
		fd = eventfd(0, EFD_CLOEXEC);
		(void)!write(fd, &full, sizeof(full));
		return fd;
	default:
		return eventfd(0, EFD_CLOEXEC | EFD_SEMAPHORE);
	}
}

static void fuzz_do(enum fuzz_step step, uint8_t argument, const uint8_t *bytes, uint32_t length)
{
	static const uint16_t app_types[] = {
	    YGR_MSG_CALL,    YGR_MSG_FILE_READ,  YGR_MSG_HANDLE_CLOSE, YGR_LOCAL_HELLO, YGR_LOCAL_MAP,
	    YGR_LOCAL_UNMAP, YGR_LOCAL_READY_FD, YGR_LOCAL_SYNC,       YGR_LOCAL_IDLE,  YGR_LOCAL_FORK};
	static const uint16_t guest_types[] = {YGR_MSG_REPLY,        YGR_MSG_RING_OPENED, YGR_MSG_RING_READY,
					       YGR_MSG_RING_RECORDS, YGR_MSG_MEM_OPENED,  YGR_MSG_MEM_DATA,
					       YGR_MSG_FILE_DATA,    YGR_MSG_REFUSED};
	int fd;

	switch (step) {
	case FUZZ_APP_FRAME:
		fuzz_frame(fuzz.app, app_types[argument % 10], argument, bytes, length, -1);
		break;
	case FUZZ_APP_RAW:
		fuzz_write(fuzz.app, bytes, length, -1);
		break;
	case FUZZ_APP_FD:
		fd = fuzz_descriptor(argument);
		fuzz_frame(fuzz.app, app_types[argument / 5 % 10], argument, bytes, length, fd);
		close(fd);
		break;
	case FUZZ_APP_GOOD:
		fuzz_app_good(argument);
		break;
	case FUZZ_GUEST_ANSWER:
		if (!fuzz.asked)
			break;
		fuzz.asked--;
		fuzz_frame(fuzz.guest,
			   argument & 0x80 ? guest_types[argument % 8] : fuzz.types[fuzz.asked] + 1u,
			   fuzz.ids[fuzz.asked], bytes, length, -1);
		break;
	case FUZZ_GUEST_RAW:
		fuzz_write(fuzz.guest, bytes, length, -1);
		break;
	case FUZZ_GUEST_POST:
		fuzz_frame(fuzz.guest, guest_types[argument % 8], 0, bytes, length, -1);
		break;
	case FUZZ_GUEST_GOOD:
		fuzz_guest_good(argument);
		break;
	case FUZZ_GUEST_RAM:
		if (fuzz.ram)
			memcpy(fuzz.ram + argument % 64 * 4096u, bytes, length < 4096 ? length : 4096);
		break;
	}
}

/* Runs the steps of DATA, each of which is one of COUNT kinds. The first byte: with guest RAM or without. */
static inline int fuzz_session(const uint8_t *data, size_t size, const enum fuzz_step *steps, unsigned count)
{
	if (size < 1)
		return 0;
	fuzz_begin(data[0] & 1);
	for (size_t at = 1; at + 4 <= size && !fuzz.session.killed;) {
		size_t length = data[at + 2] | (size_t)data[at + 3] << 8;

		if (length > size - at - 4)
			length = size - at - 4;
		fuzz_do(steps[data[at] % count], data[at + 1], data + at + 4, (uint32_t)length);
		fuzz_round();
		at += 4 + length;
	}
	fuzz_end();
	return 0;
}
