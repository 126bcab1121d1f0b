/*
 * MEM_*: windows into mmapable arrays. The mapping here is read-only, because a writable one would make the
 * application's own MAP_FREEZE fail; a write maps its pages for as long as it takes.
 */
#include "guest-image/guest/session.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "guest-image/guest/pages.h"
#include "lib/base/cleanup.h"

#define RUNS_MAX_BYTES (1u << 20)

static struct ygr_guest_region *find(struct ygr_guest_session *session, const struct ygr_mem *mem)
{
	for (unsigned i = 0; i < session->region_count; i++) {
		struct ygr_guest_region *region = &session->regions[i];
		if (region->handle == mem->handle && mem->offset >= region->offset &&
		    mem->offset - region->offset <= region->length &&
		    mem->length <= region->length - (mem->offset - region->offset))
			return region;
	}
	return NULL;
}

static void drop(struct ygr_guest_region *region)
{
	munmap(region->map, region->length);
	close(region->fd);
}

void ygr_guest_regions_close(struct ygr_guest_session *session, uint32_t handle)
{
	for (unsigned i = 0; i < session->region_count;) {
		if (session->regions[i].handle != handle) {
			i++;
			continue;
		}
		drop(&session->regions[i]);
		session->regions[i] = session->regions[--session->region_count];
	}
}

void ygr_guest_regions_deinit(struct ygr_guest_session *session)
{
	while (session->region_count)
		drop(&session->regions[--session->region_count]);
}

static int map_region(struct ygr_guest_session *session, const struct ygr_mem *mem)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	const struct ygr_guest_handle *slot = ygr_guest_handles_find(&session->handles, mem->handle);
	if (!slot)
		return -EBADF;
	if (slot->object.kind != YGR_OBJECT_MAP || !(slot->object.map_flags & BPF_F_MMAPABLE) ||
	    slot->object.map_type != BPF_MAP_TYPE_ARRAY)
		return -EINVAL;
	if (mem->length == 0 || mem->offset % page || mem->offset > UINT32_MAX)
		return -EINVAL;
	if (session->region_count == YGR_GUEST_REGIONS_MAX)
		return -EMFILE;

	struct ygr_guest_region region = {
	    .handle = mem->handle, .offset = mem->offset, .length = (mem->length + page - 1) / page * page};
	region.fd = fcntl(slot->fd, F_DUPFD_CLOEXEC, 0);
	if (region.fd < 0)
		return -errno;
	region.map = mmap(NULL, region.length, PROT_READ, MAP_SHARED, region.fd, (off_t)region.offset);
	if (region.map == MAP_FAILED) {
		int r = -errno;
		close(region.fd);
		return r;
	}
	session->regions[session->region_count++] = region;
	return 0;
}

static int open_region(struct ygr_guest_session *session, uint32_t id, const struct ygr_mem *mem)
{
	struct ygr_guest_region *region = find(session, mem);
	struct ygr_ring_opened opened = {0};
	struct ygr_buf runs = YGR_BUF_INIT(RUNS_MAX_BYTES);
	size_t page = (size_t)sysconf(_SC_PAGESIZE);

	if (!region || region->offset != mem->offset) {
		opened.status = map_region(session, mem);
		region = opened.status == 0 ? &session->regions[session->region_count - 1] : NULL;
	}
	/* without page numbers, or without room in custody, the node uses MEM_READ */
	if (region &&
	    ygr_guest_pages_runs(region->map, region->length / page, &runs, &opened.run_count) == 0 &&
	    ygr_guest_session_keep(session, region->handle, region->fd, page) < 0)
		opened.run_count = 0;
	struct iovec pieces[] = {{&opened, sizeof(opened)},
				 {runs.data, opened.run_count * sizeof(struct ygr_run)}};
	int r = ygr_guest_link_send(&session->link, YGR_MSG_MEM_OPENED, id, pieces, 2);
	ygr_buf_deinit(&runs);
	return r;
}

static int64_t write_region(const struct ygr_guest_region *region, const struct ygr_mem *mem,
			    const uint8_t *bytes)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	uint64_t from = mem->offset / page * page;
	size_t length = (size_t)(mem->offset + mem->length - from);
	uint8_t *map = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, region->fd, (off_t)from);
	if (map == MAP_FAILED)
		return -errno; /* EPERM: frozen or read-only, as for the application itself */
	memcpy(map + (mem->offset - from), bytes, mem->length);
	munmap(map, length);
	return mem->length;
}

int ygr_guest_memory(struct ygr_guest_session *session, const struct ygr_frame *frame,
		     struct ygr_error *error)
{
	struct ygr_mem mem;
	if (frame->length < sizeof(mem))
		return ygr_error_set(error, EPROTO, "a memory message of %u bytes", frame->length);
	memcpy(&mem, frame->payload, sizeof(mem));
	bool write = frame->type == YGR_MSG_MEM_WRITE;
	if (frame->length - sizeof(mem) != (write ? mem.length : 0))
		return ygr_error_set(error, EPROTO, "a memory message of %u bytes about %u", frame->length,
				     mem.length);
	if (frame->type == YGR_MSG_MEM_OPEN)
		return open_region(session, frame->id, &mem);

	const struct ygr_guest_region *region = find(session, &mem);
	int64_t value = mem.length;
	if (!region)
		value = -EFAULT;
	else if (mem.length == 0 || mem.length > YGR_FILE_IO_MAX)
		value = mem.length ? -EINVAL : 0;
	else if (write)
		value = write_region(region, &mem, frame->payload + sizeof(mem));
	bool bytes = !write && value > 0;
	return ygr_guest_session_status(session, YGR_MSG_MEM_DATA, frame->id, value,
					bytes ? region->map + (mem.offset - region->offset) : NULL,
					bytes ? (size_t)value : 0);
}
