#include "agent/telebpf/session/array.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "lib/wire/message.h"

#define PAGE YGR_PAGE_SIZE

static int map_memory(struct ygr_array *array)
{
	_cleanup_close_ int fd = memfd_create("yagura-array", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0 || ftruncate(fd, (off_t)array->length) < 0 ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
		return -errno;
	array->area = mmap(NULL, array->length, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (array->area == MAP_FAILED) {
		array->area = NULL;
		return -errno;
	}
	array->shadow = calloc(1, array->length);
	if (!array->shadow)
		return -ENOMEM;
	array->memfd = ygr_steal_fd(&fd);
	return 0;
}

int ygr_array_new(uint32_t handle, uint64_t length, struct ygr_array **ret)
{
	struct ygr_array *array;
	int r;

	if (!length)
		return -EINVAL;
	if (length > YGR_ARRAY_BYTES_MAX)
		return -E2BIG;
	array = calloc(1, sizeof(*array));
	if (!array)
		return -ENOMEM;
	array->handle = handle;
	array->length = (length + PAGE - 1) & ~(uint64_t)(PAGE - 1);
	array->memfd = -1;
	r = map_memory(array);
	if (r < 0) {
		ygr_array_free(array);
		return r;
	}
	*ret = array;
	return 0;
}

struct ygr_array *ygr_array_free(struct ygr_array *array)
{
	if (!array)
		return NULL;
	if (array->guest)
		munmap((void *)array->guest, array->length);
	if (array->area)
		munmap(array->area, array->length);
	if (array->memfd >= 0)
		close(array->memfd);
	free(array->shadow);
	free(array);
	return NULL;
}

int ygr_array_start(struct ygr_array *array, const struct ygr_ram *ram, const uint8_t *payload,
		    uint32_t length)
{
	_cleanup_free_ struct ygr_run *runs = NULL;
	struct ygr_ring_opened opened;
	uint8_t *guest;
	int r;

	if (length < sizeof(opened))
		return -EBADMSG;
	memcpy(&opened, payload, sizeof(opened));
	if (opened.status)
		return opened.status < 0 && opened.status >= -4095 ? opened.status : -EBADMSG;
	if ((length - sizeof(opened)) / sizeof(*runs) < opened.run_count)
		return -EBADMSG;
	/* The guest may have no pages to name (no RAM to share, no pagemap): then contents are asked for. */
	if (!ram || !opened.run_count)
		return 0;
	runs = malloc(opened.run_count * sizeof(*runs));
	if (!runs)
		return -ENOMEM;
	memcpy(runs, payload + sizeof(opened), opened.run_count * sizeof(*runs));
	r = ygr_ram_map(ram, runs, opened.run_count, array->length / PAGE, &guest);
	if (r < 0)
		return r;
	array->guest = guest;
	return 0;
}

static uint64_t load(const uint8_t *at)
{
	return __atomic_load_n((const uint64_t *)at, __ATOMIC_RELAXED);
}

static void merge_word(struct ygr_array *array, uint64_t offset, uint64_t theirs)
{
	uint64_t *ours = (uint64_t *)(array->area + offset);
	uint64_t *common = (uint64_t *)(array->shadow + offset), expected = *common;

	if (theirs == *common)
		return;
	/* A word that the application has changed is its own until it is pushed. */
	if (__atomic_compare_exchange_n(ours, &expected, theirs, false, __ATOMIC_RELEASE, __ATOMIC_RELAXED))
		*common = theirs;
}

void ygr_array_merge(struct ygr_array *array, uint64_t offset, const uint8_t *bytes, uint64_t length)
{
	uint64_t theirs;

	for (uint64_t i = 0; i < length; i += sizeof(theirs)) {
		memcpy(&theirs, bytes + i, sizeof(theirs));
		merge_word(array, offset + i, theirs);
	}
}

void ygr_array_pull(struct ygr_array *array)
{
	for (uint64_t page = 0; page < array->length; page += PAGE) {
		if (!memcmp(array->guest + page, array->shadow + page, PAGE))
			continue;
		for (uint64_t i = page; i < page + PAGE; i += 8)
			merge_word(array, i, load(array->guest + i));
	}
}

/* The offset of the first word from OFFSET on that the application changed, or the end. */
static uint64_t next_change(const struct ygr_array *array, uint64_t offset)
{
	while (offset < array->length) {
		uint64_t end = (offset | (PAGE - 1)) + 1;

		if (memcmp(array->area + offset, array->shadow + offset, end - offset))
			for (; offset < end; offset += 8)
				if (load(array->area + offset) != load(array->shadow + offset))
					return offset;
		offset = end;
	}
	return array->length;
}

uint64_t ygr_array_push(struct ygr_array *array, uint64_t *offset, uint8_t *out, uint64_t size)
{
	uint64_t at = next_change(array, *offset), n = 0;

	*offset = at;
	while (at + n < array->length && n < size) {
		/* Read once: what is sent is what the shadow has, whatever the application writes meanwhile.
		 */
		uint64_t ours = load(array->area + at + n);

		if (ours == load(array->shadow + at + n))
			break;
		memcpy(array->shadow + at + n, &ours, sizeof(ours));
		memcpy(out + n, &ours, sizeof(ours));
		n += sizeof(ours);
	}
	return n;
}

void ygr_array_unpush(struct ygr_array *array, uint64_t offset, uint64_t length)
{
	for (uint64_t i = 0; i < length; i++)
		array->shadow[offset + i] = (uint8_t)~array->area[offset + i];
}

int ygr_array_layout(const struct ygr_array *array, const struct ygr_local_map *map,
		     struct ygr_local_mapped *ret)
{
	uint64_t length;

	if (!map->length || map->length > UINT64_MAX - PAGE || map->offset % PAGE || (map->prot & PROT_EXEC))
		return -EINVAL;
	length = (map->length + PAGE - 1) & ~(uint64_t)(PAGE - 1);
	if (map->offset > array->length || length > array->length - map->offset)
		return -EINVAL;
	if (array->constant && (map->prot & PROT_WRITE))
		return -EPERM;
	*ret = (struct ygr_local_mapped){.pieces = 1, .sync = !array->constant};
	ret->piece[0].offset = map->offset;
	ret->piece[0].length = length;
	ret->piece[0].prot = map->prot;
	return 0;
}
