/*
 * Static executables. No loader of theirs would bring the shim along, so the shim is the loader: the launcher
 * executes this very file, with the program's descriptor in YAGURA_SHIM_EXECUTE. It maps the program, puts the
 * auxiliary vector right, starts as it does in a dynamic program, and jumps to the program's entry, as if the
 * kernel had gone there. So the hooks are there before the first instruction, and nothing has to be done from
 * outside.
 *
 * The kernel knows this file as the executable: /proc/self/exe is put right in path.c.
 *
 * Sources: the System V ABI for x86-64, "Process Initialization"; fs/binfmt_elf.c.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/prctl.h>

#include "agent/telebpf/shim/shim.h"

#pragma GCC visibility push(hidden)
extern const Elf64_Ehdr __ehdr_start;
extern const Elf64_Dyn _DYNAMIC[];
#pragma GCC visibility pop

/* As the dynamic loader would do it for us. No symbol is bound: those of a C library are not there. */
static void relocate(uint64_t base)
{
	const Elf64_Rela *relocation = NULL;
	uint64_t size = 0;

	for (const Elf64_Dyn *tag = _DYNAMIC; tag->d_tag != DT_NULL; tag++) {
		if (tag->d_tag == DT_RELA)
			relocation = (const Elf64_Rela *)(base + tag->d_un.d_ptr);
		else if (tag->d_tag == DT_RELASZ)
			size = tag->d_un.d_val;
	}
	for (uint64_t i = 0; relocation && i < size / sizeof(*relocation); i++)
		if (ELF64_R_TYPE(relocation[i].r_info) == R_X86_64_RELATIVE)
			*(uint64_t *)(base + relocation[i].r_offset) =
			    base + (uint64_t)relocation[i].r_addend;
}

/* What the dynamic loader protects after that (PT_GNU_RELRO). */
static void protect(uint64_t base)
{
	const Elf64_Phdr *segment = (const Elf64_Phdr *)(base + __ehdr_start.e_phoff);

	for (unsigned i = 0; i < __ehdr_start.e_phnum; i++)
		if (segment[i].p_type == PT_GNU_RELRO) {
			uint64_t from = (base + segment[i].p_vaddr) & ~4095ull;
			uint64_t to = (base + segment[i].p_vaddr + segment[i].p_memsz) & ~4095ull;

			ygr_sys3(SYS_mprotect, from, to - from, PROT_READ);
		}
}

/* A decimal number of at most six digits; -1. */
static int number(const char *text)
{
	int value = 0, digits = 0;

	for (; *text >= '0' && *text <= '9' && digits < 6; text++, digits++)
		value = value * 10 + (*text - '0');
	return digits > 0 && *text == '\0' ? value : -1;
}

/*
 * The variable that is meant for us becomes another one that is there anyway: taking it out would move the
 * stack's contents, whose alignment the ABI prescribes.
 */
static int take_descriptor(char **envp)
{
	static const char name[] = YGR_LOCAL_LOAD_VARIABLE "=";
	char *other = NULL, **place = NULL;
	int fd = -1;

	for (; *envp; envp++) {
		if (memcmp(*envp, name, strlen(*envp) < sizeof(name) ? strlen(*envp) : sizeof(name) - 1) ==
			0 &&
		    strlen(*envp) >= sizeof(name)) {
			fd = number(*envp + sizeof(name) - 1);
			place = envp;
		} else if (strlen(*envp) == 13 && memcmp(*envp, "YAGURA_SHIM=1", 13) == 0) {
			other = *envp;
		}
	}
	if (place && other)
		*place = other;
	return fd;
}

/* The program's own name, as path.c will tell it, and as its thread is called. */
static void take_name(int fd)
{
	const char *base = ygr_shim.executable;
	char link[40];
	int64_t n;

	ygr_text_fd(link, "/proc/self/fd/", fd);
	n = ygr_sys3(SYS_readlink, link, ygr_shim.executable, sizeof(ygr_shim.executable) - 1);
	if (n <= 0 || ygr_shim.executable[0] != '/')
		n = 0;
	ygr_shim.executable[n] = '\0';
	for (const char *c = base; *c; c++)
		if (*c == '/' && c[1])
			base = c + 1;
	if (*base)
		ygr_sys2(SYS_prctl, PR_SET_NAME, base);
}

static void tell(Elf64_auxv_t *vector, const struct ygr_image *image)
{
	for (; vector->a_type != AT_NULL; vector++)
		switch (vector->a_type) {
		case AT_PHDR:
			vector->a_un.a_val = image->segments;
			break;
		case AT_PHNUM:
			vector->a_un.a_val = image->segment_count;
			break;
		case AT_ENTRY:
			vector->a_un.a_val = image->entry;
			break;
		case AT_BASE:
			vector->a_un.a_val = 0;
			break;
		case AT_EXECFN:
			if (ygr_shim.executable[0])
				vector->a_un.a_val = (uint64_t)ygr_shim.executable;
			break;
		default:
			break;
		}
}

uint64_t ygr_load(uint64_t *stack)
{
	uint64_t base = (uint64_t)&__ehdr_start;
	struct ygr_image image;
	char **envp = (char **)stack + 1 + stack[0] + 1, **end = envp;
	int fd;

	relocate(base);
	protect(base);
	fd = take_descriptor(envp);
	if (fd < 0)
		ygr_die("the shim was executed by itself; it is for yagura-session and applications");
	while (*end)
		end++;
	ygr_shim.loaded = true;
	take_name(fd);
	if (ygr_image_map(fd, &image) < 0)
		ygr_die("the static executable cannot be mapped");
	ygr_sys1(SYS_close, fd);
	tell((Elf64_auxv_t *)(end + 1), &image);
	ygr_start(envp);
	return image.entry;
}
