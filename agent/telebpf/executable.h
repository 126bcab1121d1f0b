/*
 * What kind of executable a file is, for the two that have to know before it runs: the confinement (exec.c) and
 * the shim, when an application executes something else. A dynamic one gets the shim from its loader; a static
 * one is loaded by the shim itself (shim/load.c).
 *
 * Source: elf(5); fs/binfmt_elf.c. The dynamic loader is an ET_DYN without PT_INTERP too; that a file is a static
 * position-independent executable is said by DF_1_PIE.
 */
#pragma once

#include <elf.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum ygr_executable { YGR_EXECUTABLE_OTHER, YGR_EXECUTABLE_DYNAMIC, YGR_EXECUTABLE_STATIC };

#define YGR_EXECUTABLE_SEGMENTS 128 /* more program headers are no executable to us */
#define YGR_EXECUTABLE_TAGS     512 /* of a dynamic section that are looked at */

/* LENGTH bytes of FD at OFFSET: how many, or negative. */
typedef int64_t (*ygr_executable_read)(int fd, void *to, size_t length, uint64_t offset);

/* Is HEAD of a 64 bit executable of this machine, of which all program headers can be read? */
static inline bool ygr_executable_head(const Elf64_Ehdr *head)
{
	return head->e_ident[0] == 0x7f && head->e_ident[1] == 'E' && head->e_ident[2] == 'L' &&
	       head->e_ident[3] == 'F' && head->e_ident[EI_CLASS] == ELFCLASS64 &&
	       head->e_ident[EI_DATA] == ELFDATA2LSB && head->e_machine == EM_X86_64 &&
	       (head->e_type == ET_EXEC || head->e_type == ET_DYN) &&
	       head->e_phentsize == sizeof(Elf64_Phdr) && head->e_phnum > 0 &&
	       head->e_phnum <= YGR_EXECUTABLE_SEGMENTS && head->e_phoff < INT64_MAX / 2;
}

static inline bool ygr_executable_is_pie(int fd, ygr_executable_read read_at, const Elf64_Phdr *dynamic)
{
	Elf64_Dyn tag;

	if (dynamic->p_offset > INT64_MAX / 2)
		return false;
	for (uint64_t i = 0; i < YGR_EXECUTABLE_TAGS && (i + 1) * sizeof(tag) <= dynamic->p_filesz; i++) {
		if (read_at(fd, &tag, sizeof(tag), dynamic->p_offset + i * sizeof(tag)) != sizeof(tag) ||
		    tag.d_tag == DT_NULL)
			return false;
		if (tag.d_tag == DT_FLAGS_1)
			return tag.d_un.d_val & DF_1_PIE;
	}
	return false;
}

static inline enum ygr_executable ygr_executable_kind(int fd, ygr_executable_read read_at)
{
	Elf64_Phdr segment;
	Elf64_Ehdr head;
	bool pie = false;

	if (read_at(fd, &head, sizeof(head), 0) != sizeof(head) || !ygr_executable_head(&head))
		return YGR_EXECUTABLE_OTHER;
	for (unsigned i = 0; i < head.e_phnum; i++) {
		if (read_at(fd, &segment, sizeof(segment), head.e_phoff + i * sizeof(segment)) !=
		    sizeof(segment))
			return YGR_EXECUTABLE_OTHER;
		if (segment.p_type == PT_INTERP)
			return YGR_EXECUTABLE_DYNAMIC;
		if (segment.p_type == PT_DYNAMIC)
			pie = ygr_executable_is_pie(fd, read_at, &segment);
	}
	return head.e_type == ET_EXEC || pie ? YGR_EXECUTABLE_STATIC : YGR_EXECUTABLE_OTHER;
}
