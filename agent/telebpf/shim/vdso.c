/*
 * The vDSO tells the kernel's version in a note. cilium/ebpf reads it there, through /proc/self/mem, and means the
 * kernel that its programs run in; so the guest's version is written over the node's. The pages are the
 * process's own once they are written to, and a debugger's breakpoints are put there the same way. Where the
 * kernel has sealed its mappings the note stays as it is.
 *
 * Sources: arch/x86/entry/vdso/vdso-note.S; cilium/ebpf internal/linux/vdso.go.
 */
#include <string.h>
#include <sys/mman.h>

#include "agent/telebpf/shim/shim.h"

#define PAGE     4096ull
#define VDSO_MAX (64u << 10)

/* Where in LENGTH bytes of NOTES the version is, or NULL. */
static uint32_t *version_in(uint8_t *notes, uint64_t length)
{
	for (uint64_t at = 0; at + sizeof(Elf64_Nhdr) <= length;) {
		const Elf64_Nhdr *note = (const Elf64_Nhdr *)(notes + at);
		uint64_t name = at + sizeof(*note), text = name + ((note->n_namesz + 3ull) & ~3ull);

		if (text + note->n_descsz > length)
			return NULL;
		if (note->n_type == 0 && note->n_namesz == 6 && note->n_descsz == 4 &&
		    memcmp(notes + name, "Linux", 6) == 0)
			return (uint32_t *)(notes + text);
		at = text + ((note->n_descsz + 3ull) & ~3ull);
	}
	return NULL;
}

void ygr_vdso_tell(uint64_t vdso, uint32_t version)
{
	const Elf64_Ehdr *head = (const Elf64_Ehdr *)vdso;
	const Elf64_Phdr *segment;
	uint32_t *place = NULL;
	uint64_t length = 0;

	if (!vdso || !version || !ygr_executable_head(head) ||
	    head->e_phoff + head->e_phnum * sizeof(*segment) > PAGE)
		return;
	segment = (const Elf64_Phdr *)(vdso + head->e_phoff);
	for (unsigned i = 0; i < head->e_phnum; i++) {
		if (segment[i].p_offset >= VDSO_MAX || segment[i].p_memsz >= VDSO_MAX)
			return;
		if (segment[i].p_type == PT_LOAD)
			length = (segment[i].p_offset + segment[i].p_memsz + PAGE - 1) & ~(PAGE - 1);
		if (segment[i].p_type == PT_NOTE && !place)
			place = version_in((uint8_t *)(vdso + segment[i].p_offset), segment[i].p_memsz);
	}
	/* All of it: the kernel does not let such a mapping be split. */
	if (!place || *place == version ||
	    ygr_sys3(SYS_mprotect, vdso, length, PROT_READ | PROT_WRITE | PROT_EXEC) < 0)
		return;
	*place = version;
	ygr_sys3(SYS_mprotect, vdso, length, PROT_READ | PROT_EXEC);
}
