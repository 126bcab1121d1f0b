/*
 * Shared: the guest's own ring pages in the application, read-only, page run by page run. Only mmap of the
 * RAM file makes such a mapping, and whoever has a descriptor of that file can map any page of it. So the
 * application has one only while none of its threads can run: all are held (tracer.h), the one that waits for
 * our answer receives the descriptor, maps, and closes it, and then they go on. "All" are those of the
 * application's PID namespace: whoever shares its memory or its descriptors, or could look into its /proc.
 *
 * What is left to it are pages. It cannot write them (the file is open for reading), reach their neighbours
 * (mremap and remap_file_pages are refused), or hold them without a mapping (vmsplice is). When anything goes
 * otherwise than it must while the descriptor is there, no thread goes on any more: they are killed as they
 * are held.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "agent/telebpf/session/session.h"
#include "lib/base/cleanup.h"

/*
 * A thread that waits in the kernel without listening to anybody (for the end of a vfork, say) cannot be held
 * now; after this much time the ring is copied instead.
 */
#define HOLD_NS 1000000000ull
/* Until the thread that asked has come to wait for the answer. */
#define AGAIN_NS 500000ull

struct ygr_sharing {
	struct ygr_sharing *next;
	struct ygr_local *local;
	uint32_t id;
	struct ygr_entry *entry;
	struct ygr_local_map map;
};

/* What recvmsg() needs, as it lies in the puppet's scratch. */
struct receipt {
	struct msghdr message;
	struct iovec piece;
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int))];
	uint64_t byte;
};

_Static_assert(sizeof(struct receipt) <= YGR_PUPPET_SCRATCH, "a receipt fits into the scratch");

const char *ygr_sharing_obstacle(const struct ygr_ram *ram)
{
	int flags;

	if (!ram)
		return "the guest's RAM is not shared with the node";
	if (!ygr_ram_sealed(ram))
		return "the guest's RAM file is not sealed against shrinking";
	flags = fcntl(ygr_ram_fd(ram), F_GETFL);
	if (flags < 0 || (flags & O_ACCMODE) != O_RDONLY)
		return "the guest's RAM file is not open for reading only";
	return NULL;
}

void ygr_sharing_prepare(struct ygr_session *session)
{
	struct ygr_error error = YGR_ERROR_INIT;

	if (ygr_tracer_new(ygr_confine_init_pid(session->confined), &session->tracer, &error) < 0) {
		session->not_shared = "this node does not let applications be traced";
		session->config.delivery = YGR_DELIVERY_COPIED;
	}
	/* An init that is gone is noticed like any other end. */
	(void)ygr_confine_go(session->confined);
}

/* Bytes and descriptors that the other side has not taken yet. */
static bool all_taken(int fd)
{
	int left = 0;

	return ioctl(fd, SIOCOUTQ, &left) == 0 && left == 0;
}

static int send_ram(const struct ygr_process *process, int ram)
{
	struct receipt out = {.piece = {.iov_len = 1}};

	out.piece.iov_base = &out.byte;
	out.message = (struct msghdr){.msg_iov = &out.piece,
				      .msg_iovlen = 1,
				      .msg_control = out.control,
				      .msg_controllen = sizeof(out.control)};
	struct cmsghdr *header = (struct cmsghdr *)out.control;
	*header = (struct cmsghdr){
	    .cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
	memcpy(CMSG_DATA(header), &ram, sizeof(ram));
	return sendmsg(process->fd, &out.message, MSG_DONTWAIT | MSG_NOSIGNAL) == 1 ? 0 : -EAGAIN;
}

/*
 * Makes PUPPET take the descriptor: 0 with its number, or with -1 when it has no room for one; -EAGAIN when
 * it is not the one that we sent it to; -ECANCELED.
 */
static int receive_ram(struct ygr_puppet *puppet, int *ret_fd)
{
	const uint64_t at = puppet->scratch;
	struct receipt in = {.piece = {(void *)(at + offsetof(struct receipt, byte)), 1}};
	const uint64_t args[6] = {YGR_LOCAL_FD, at, MSG_CMSG_CLOEXEC | MSG_DONTWAIT};
	int64_t got;

	in.message = (struct msghdr){.msg_iov = (void *)(at + offsetof(struct receipt, piece)),
				     .msg_iovlen = 1,
				     .msg_control = (void *)(at + offsetof(struct receipt, control)),
				     .msg_controllen = sizeof(in.control)};
	if (ygr_puppet_write(puppet, &in, sizeof(in)) < 0)
		return -EAGAIN;
	if (ygr_puppet_call(puppet, SYS_recvmsg, args, &got) < 0)
		return -ECANCELED;
	if (got != 1)
		return -EAGAIN;
	if (ygr_puppet_read(puppet, &in, sizeof(in)) < 0)
		return -ECANCELED;
	*ret_fd = -1;
	if (in.message.msg_controllen >= CMSG_LEN(sizeof(int)))
		memcpy(ret_fd, CMSG_DATA((struct cmsghdr *)in.control), sizeof(*ret_fd));
	return 0;
}

/* Whether any thread waits for an answer, so that it can be given something. */
static bool somebody_waits(const struct ygr_session *session)
{
	struct ygr_puppet puppet;

	for (unsigned i = 0; i < session->tracer->count; i++)
		if (ygr_puppet_take(&session->tracer->tracees[i], SYS_recvmsg, YGR_LOCAL_FD, &puppet) == 0)
			return true;
	return false;
}

/* Finds the thread that waits for us and gives it the descriptor. */
static int find_puppet(struct ygr_session *session, const struct ygr_process *process,
		       struct ygr_puppet *ret_puppet, int *ret_fd)
{
	int r = -ENOENT;

	if (process->out || !all_taken(process->fd))
		return -EAGAIN; /* not the shim, which waits for one answer */
	if (send_ram(process, ygr_ram_fd(session->ram)) < 0)
		return -EAGAIN;
	for (unsigned i = 0; i < session->tracer->count; i++) {
		if (ygr_puppet_take(&session->tracer->tracees[i], SYS_recvmsg, YGR_LOCAL_FD, ret_puppet) < 0)
			continue;
		r = receive_ram(ret_puppet, ret_fd);
		if (r != -EAGAIN)
			break;
		if (ygr_puppet_restore(ret_puppet) < 0)
			return -ECANCELED;
	}
	/* Else it lies in a socket of the application, which must never look there. */
	return r == 0 && all_taken(process->fd) ? 0 : -ECANCELED;
}

static int map_piece(struct ygr_puppet *puppet, int fd, uint64_t address, uint64_t length, uint64_t offset)
{
	const uint64_t args[6] = {address, length, PROT_READ, MAP_SHARED | MAP_FIXED, (uint64_t)fd, offset};
	int64_t got;

	if (ygr_puppet_call(puppet, SYS_mmap, args, &got) < 0)
		return -ECANCELED;
	if (got < 0)
		return got >= -4095 ? (int)got : -ECANCELED;
	return (uint64_t)got == address ? 0 : -ECANCELED;
}

/* Maps PART, which is some stretch of the ring's extents, at ADDRESS. */
static int map_part(struct ygr_puppet *puppet, int fd, const struct ygr_ring *ring, uint64_t address,
		    const struct ygr_ring_part *part)
{
	uint64_t before = 0, done = 0;
	int r = 0;

	for (unsigned i = 0; r == 0 && done < part->length && i < ring->extent_count; i++) {
		const struct ygr_ram_extent *extent = &ring->extents[i];
		uint64_t want = part->from + done, skip, length;

		if (want < before + extent->length) {
			skip = want - before;
			length = extent->length - skip;
			if (length > part->length - done)
				length = part->length - done;
			r = map_piece(puppet, fd, address + part->at + done, length, extent->offset + skip);
			done += length;
		}
		before += extent->length;
	}
	return r;
}

/* Takes back what was mapped before a piece failed. */
static int map_nothing(struct ygr_puppet *puppet, const struct ygr_local_map *map)
{
	const uint64_t length = (map->length + YGR_PAGE_SIZE - 1) & ~(uint64_t)(YGR_PAGE_SIZE - 1);
	const uint64_t args[6] = {map->address, length, PROT_NONE,
				  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, (uint64_t)-1};
	int64_t got;

	if (ygr_puppet_call(puppet, SYS_mmap, args, &got) < 0 || (uint64_t)got != map->address)
		return -ECANCELED;
	return 0;
}

/*
 * With the application held. 0; -ECANCELED: it must not go on; else nothing was done and the reason does not
 * matter.
 */
static int share(struct ygr_session *session, const struct ygr_sharing *sharing)
{
	const struct ygr_ring *ring = sharing->entry->ring;
	struct ygr_ring_part parts[YGR_RING_PARTS];
	struct ygr_puppet puppet;
	int count = ygr_ring_shared_parts(ring, &sharing->map, parts), fd = -1, r, end;
	int64_t closed = 0;

	if (count < 0)
		return count;
	r = find_puppet(session, sharing->local->process, &puppet, &fd);
	if (r < 0)
		return r;
	if (fd < 0)
		r = -EMFILE;
	for (int i = 0; r == 0 && i < count; i++)
		r = map_part(&puppet, fd, ring, sharing->map.address, &parts[i]);
	if (r < 0 && r != -ECANCELED && fd >= 0 && map_nothing(&puppet, &sharing->map) < 0)
		r = -ECANCELED;
	if (r == -ECANCELED)
		return r;
	end = fd >= 0 ? ygr_puppet_call(&puppet, SYS_close, (const uint64_t[6]){(uint64_t)fd}, &closed) : 0;
	if (end < 0 || closed != 0 || ygr_puppet_restore(&puppet) < 0)
		return -ECANCELED;
	return r;
}

/* This mapping is private, and with it the ring, unless others have it shared. */
static void fall_back(struct ygr_session *session, const struct ygr_sharing *sharing)
{
	struct ygr_ring *ring = sharing->entry->ring;

	if (ring->shared) {
		ygr_mapping_refuse(sharing->local, sharing->id, -ENOMEM);
		return;
	}
	if (ring->delivery == YGR_DELIVERY_SHARED) {
		session->deliveries[YGR_DELIVERY_SHARED]--;
		session->deliveries[YGR_DELIVERY_COPIED]++;
		ygr_ring_unshare(ring);
	}
	ygr_mapping_now(sharing->local, sharing->id, sharing->entry, &sharing->map);
}

static void finish(struct ygr_session *session, struct ygr_sharing *sharing, bool held)
{
	struct ygr_ring *ring = sharing->entry->ring;
	struct ygr_local_mapped mapped;
	int r = -EBUSY;

	if (held && ring->delivery == YGR_DELIVERY_SHARED && !sharing->local->process->closed)
		r = share(session, sharing);
	if (r == -ECANCELED) {
		ygr_session_fail(session, "ProtocolError",
				 "guest pages could not be mapped safely, as the application interfered");
		return;
	}
	if (sharing->local->process->closed)
		return;
	if (r < 0) {
		fall_back(session, sharing);
		return;
	}
	ring->shared = true;
	r = ygr_ring_layout(ring, &sharing->map, &mapped);
	if (r == 0)
		ygr_mapping_mapped(sharing->local, sharing->id, sharing->entry, &mapped);
	else
		ygr_mapping_refuse(sharing->local, sharing->id, r);
}

static void drop(struct ygr_session *session, struct ygr_sharing *sharing)
{
	session->sharings = sharing->next;
	sharing->local->process->pending--;
	sharing->entry->busy--;
	ygr_mapping_release(session, sharing->entry);
	free(sharing);
}

void ygr_sharing_check(struct ygr_session *session)
{
	uint64_t now = ygr_session_now();
	bool held;

	if (session->killed)
		session->hold_until = session->hold_at = 0;
	if (!session->sharings || session->killed)
		return;
	if (session->hold_at && now >= session->hold_at) {
		session->hold_at = 0;
		ygr_tracer_hold(session->tracer);
	}
	held = ygr_tracer_held(session->tracer);
	if (!session->tracer->overflow && now < session->hold_until) {
		if (!held)
			return;
		if (!somebody_waits(session)) {
			/* It was stopped between its question and its wait. */
			ygr_tracer_release(session->tracer);
			session->hold_at = now + AGAIN_NS;
			return;
		}
	}
	while (session->sharings && !session->killed) {
		finish(session, session->sharings, held);
		drop(session, session->sharings);
	}
	session->hold_until = session->hold_at = 0;
	if (!session->killed)
		ygr_tracer_release(session->tracer);
	session->again = true;
}

int ygr_sharing_start(struct ygr_local *local, uint32_t id, struct ygr_entry *entry,
		      const struct ygr_local_map *map)
{
	struct ygr_session *session = local->session;
	struct ygr_sharing *sharing = malloc(sizeof(*sharing)), **last = &session->sharings;

	if (!sharing)
		return -ENOMEM;
	*sharing = (struct ygr_sharing){.local = local, .id = id, .entry = entry, .map = *map};
	local->process->pending++;
	entry->busy++;
	while (*last)
		last = &(*last)->next;
	*last = sharing;
	if (!session->hold_until) {
		session->hold_until = ygr_session_now() + HOLD_NS;
		ygr_tracer_hold(session->tracer);
	}
	return 0;
}

void ygr_sharing_free_all(struct ygr_session *session)
{
	while (session->sharings) {
		struct ygr_sharing *sharing = session->sharings;

		session->sharings = sharing->next;
		sharing->local->process->pending--;
		sharing->entry->busy--;
		free(sharing);
	}
}
