/*
 * Mapping a static executable as the kernel would: its segments at their addresses (or, position-independent,
 * anywhere), zeroes behind what the file has. And telling Go's programs from others, by the note or the build
 * information that Go's linker leaves in each.
 *
 * Sources: fs/binfmt_elf.c; Go's debug/buildinfo.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "agent/telebpf/shim/shim.h"

#define PAGE       4096ull
#define USER_END   (1ull << 47)
#define LOWEST     0x10000ull /* of a program that is not position-independent: what lies below is ours */
#define SPAN_MAX   (64ull << 30)
#define ALIGN_MAX  (1ull << 30)
#define NOTES_MAX  1024
#define SEARCH_MAX (16ull << 20) /* bytes of data searched for Go's build information */

/* The address range of all segments, and the largest alignment. */
struct extent {
	uint64_t from, to, align;
};

static uint64_t page_down(uint64_t address)
{
	return address & ~(PAGE - 1);
}

static uint64_t page_up(uint64_t address)
{
	return page_down(address + PAGE - 1);
}

int64_t ygr_image_read(int fd, void *to, size_t length, uint64_t offset)
{
	return ygr_sys4(SYS_pread64, fd, to, length, offset);
}

static int segment_at(int fd, const Elf64_Ehdr *head, unsigned i, Elf64_Phdr *ret)
{
	return ygr_image_read(fd, ret, sizeof(*ret), head->e_phoff + i * sizeof(*ret)) == sizeof(*ret)
		   ? 0
		   : -ENOEXEC;
}

static bool segment_ok(const Elf64_Phdr *segment, const struct extent *extent)
{
	return segment->p_vaddr < USER_END && segment->p_memsz < USER_END &&
	       segment->p_vaddr + segment->p_memsz < USER_END && segment->p_filesz <= segment->p_memsz &&
	       segment->p_offset < INT64_MAX / 2 && segment->p_offset % PAGE == segment->p_vaddr % PAGE &&
	       segment->p_vaddr >= extent->to && segment->p_align <= ALIGN_MAX &&
	       !(segment->p_align & (segment->p_align - 1));
}

static int measure(int fd, const Elf64_Ehdr *head, struct extent *ret)
{
	struct extent extent = {.align = PAGE};
	Elf64_Phdr segment;

	for (unsigned i = 0; i < head->e_phnum; i++) {
		if (segment_at(fd, head, i, &segment) < 0)
			return -ENOEXEC;
		if (segment.p_type != PT_LOAD)
			continue;
		if (!segment_ok(&segment, &extent))
			return -ENOEXEC;
		if (extent.to == 0)
			extent.from = page_down(segment.p_vaddr);
		extent.to = segment.p_vaddr + segment.p_memsz;
		if (segment.p_align > extent.align)
			extent.align = segment.p_align;
	}
	extent.to = page_up(extent.to);
	if (extent.to - extent.from == 0 || extent.to - extent.from > SPAN_MAX ||
	    (head->e_type == ET_EXEC && extent.from < LOWEST))
		return -ENOEXEC;
	*ret = extent;
	return 0;
}

/* Takes the range of addresses: what is to be added to those in the file, or negative errno. */
static int64_t reserve(const Elf64_Ehdr *head, const struct extent *extent)
{
	const uint32_t flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
	uint64_t length = extent->to - extent->from, want, spare;
	int64_t at;

	if (head->e_type == ET_EXEC) {
		at = ygr_sys6(SYS_mmap, extent->from, length, PROT_NONE, flags | MAP_FIXED_NOREPLACE, -1, 0);
		if (at >= 0 && (uint64_t)at != extent->from)
			return -EEXIST; /* a kernel that does not know the flag */
		return at < 0 ? at : 0;
	}
	spare = extent->align - PAGE;
	at = ygr_sys6(SYS_mmap, 0, length + spare, PROT_NONE, flags, -1, 0);
	if (at < 0)
		return at;
	want = ((uint64_t)at + extent->align - 1) & ~(extent->align - 1);
	if (want > (uint64_t)at)
		ygr_sys2(SYS_munmap, at, want - (uint64_t)at);
	if ((uint64_t)at + spare > want)
		ygr_sys2(SYS_munmap, want + length, (uint64_t)at + spare - want);
	return (int64_t)(want - extent->from);
}

static int map_segment(int fd, const Elf64_Phdr *segment, uint64_t bias)
{
	uint32_t prot = (segment->p_flags & PF_R ? PROT_READ : 0u) |
			(segment->p_flags & PF_W ? PROT_WRITE : 0u) |
			(segment->p_flags & PF_X ? PROT_EXEC : 0u);
	uint64_t start = bias + page_down(segment->p_vaddr),
		 file = bias + segment->p_vaddr + segment->p_filesz;
	uint64_t end = page_up(bias + segment->p_vaddr + segment->p_memsz), zero = page_up(file);
	int64_t r = 0;

	if (segment->p_filesz > 0)
		r = ygr_sys6(SYS_mmap, start, file - start, prot, MAP_PRIVATE | MAP_FIXED, fd,
			     page_down(segment->p_offset));
	else
		zero = start;
	if (r >= 0 && end > zero)
		r = ygr_sys6(SYS_mmap, zero, end - zero, prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
			     0);
	if (r < 0)
		return (int)r;
	/* What the file has behind the segment, in its last page. */
	if (segment->p_filesz > 0 && segment->p_memsz > segment->p_filesz && (segment->p_flags & PF_W))
		memset((void *)file, 0, page_up(file) - file);
	return 0;
}

int ygr_image_map(int fd, struct ygr_image *ret)
{
	struct ygr_image image = {0};
	struct extent extent;
	Elf64_Phdr segment;
	Elf64_Ehdr head;
	int64_t bias;
	int r;

	if (ygr_executable_kind(fd, ygr_image_read) != YGR_EXECUTABLE_STATIC ||
	    ygr_image_read(fd, &head, sizeof(head), 0) != sizeof(head))
		return -ENOEXEC;
	r = measure(fd, &head, &extent);
	if (r < 0)
		return r;
	bias = reserve(&head, &extent);
	if (bias < 0)
		return (int)bias;
	for (unsigned i = 0; r == 0 && i < head.e_phnum; i++) {
		r = segment_at(fd, &head, i, &segment);
		if (r < 0 || segment.p_type != PT_LOAD)
			continue;
		r = map_segment(fd, &segment, (uint64_t)bias);
		if (head.e_phoff >= segment.p_offset && head.e_phoff < segment.p_offset + segment.p_filesz)
			image.segments = (uint64_t)bias + segment.p_vaddr + head.e_phoff - segment.p_offset;
	}
	image.segment_count = head.e_phnum;
	image.entry = (uint64_t)bias + head.e_entry;
	*ret = image;
	return r;
}

/* A note by "Go" among LENGTH bytes of NOTES. */
static bool has_go_note(const uint8_t *notes, size_t length)
{
	for (size_t at = 0; at + sizeof(Elf64_Nhdr) <= length;) {
		Elf64_Nhdr note;
		uint64_t name = at + sizeof(note);

		memcpy(&note, notes + at, sizeof(note));
		if (note.n_namesz == 4 && name + 4 <= length && memcmp(notes + name, "Go\0", 4) == 0)
			return true;
		at = name + ((note.n_namesz + 3ull) & ~3ull) + ((note.n_descsz + 3ull) & ~3ull);
	}
	return false;
}

static bool note_says_go(uint64_t address, uint64_t length)
{
	uint8_t notes[NOTES_MAX];
	size_t got = ygr_user_read_some(address, notes, length < sizeof(notes) ? length : sizeof(notes));

	return has_go_note(notes, got);
}

/* Go's linker puts the mark at a multiple of 16 bytes. */
static bool data_says_go(uint64_t address, uint64_t length)
{
	static const char mark[] = "\xff Go buildinf:";
	uint8_t chunk[NOTES_MAX];

	for (uint64_t at = 0; at < length && at < SEARCH_MAX; at += sizeof(chunk)) {
		uint64_t left = length - at;
		size_t got =
		    ygr_user_read_some(address + at, chunk, left < sizeof(chunk) ? left : sizeof(chunk));

		for (size_t i = 0; i + sizeof(mark) <= got; i += 16)
			if (memcmp(chunk + i, mark, sizeof(mark) - 1) == 0)
				return true;
		if (got < sizeof(chunk))
			return false;
	}
	return false;
}

bool ygr_image_is_go(uint64_t segments, uint64_t count)
{
	uint64_t bias = 0;
	Elf64_Phdr segment;

	for (uint64_t i = 0; i < count && i < YGR_EXECUTABLE_SEGMENTS; i++) {
		if (ygr_user_read(NULL, segments + i * sizeof(segment), &segment, sizeof(segment)) < 0)
			return false;
		if (segment.p_type == PT_PHDR)
			bias = segments - segment.p_vaddr;
		if (segment.p_type == PT_NOTE && note_says_go(bias + segment.p_vaddr, segment.p_filesz))
			return true;
		if (segment.p_type == PT_LOAD && (segment.p_flags & PF_W) &&
		    data_says_go((bias + segment.p_vaddr + 15) & ~15ull, segment.p_filesz))
			return true;
	}
	return false;
}
