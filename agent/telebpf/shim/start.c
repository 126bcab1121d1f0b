/*
 * The shim's beginning: before any code of the application (-z initfirst, or in load.c), and in every image that
 * it execs. Says hello to the session, puts the trampoline at address 0 if it may, gives up every capability,
 * and arms Syscall User Dispatch.
 *
 * Sources: zpoline (Yasukata et al., USENIX ATC 2023), lazypoline (Jacobs et al., DSN 2024),
 * Documentation/admin-guide/syscall-user-dispatch.rst.
 */
#include <linux/capability.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#include "agent/telebpf/shim/shim.h"

#define PAGE       4096
#define SHORT_AT   512 /* beyond the numbers in use */
#define JUMP_AT    (SHORT_AT + 2 + 0x66)
#define JUMP_BYTES 13

/* Every system call instruction of the shim; names that the linker makes from the section's. */
#pragma GCC visibility push(hidden)
extern const char __start_ygr_exempt[], __stop_ygr_exempt[];
#pragma GCC visibility pop

/* The application's C library, if it has one. */
#pragma GCC visibility push(default)
extern int setvbuf(FILE *file, char *buffer, int mode, size_t size) __attribute__((weak));
extern FILE *stdout __attribute__((weak));
#pragma GCC visibility pop

/* The value of NAME= in the environment, or NULL. */
static const char *environment(char **envp, const char *name)
{
	size_t len = strlen(name);

	for (; *envp; envp++)
		if (memcmp(*envp, name, strlen(*envp) < len ? strlen(*envp) : len) == 0 &&
		    strlen(*envp) > len && (*envp)[len] == '=')
			return *envp + len + 1;
	return NULL;
}

/*
 * Page 0: a call with number N enters at byte N. Instructions that do nothing, eight bytes each (66 66 66 66
 * 66 66 66 90: whatever byte one enters at, what is left is a nop with fewer prefixes), then a short jump
 * whose second byte is such a prefix too, so that 513 (x32 numbers, all ENOSYS here) works as well; then the
 * jump.
 */
static void fill(uint8_t *page)
{
	uint64_t target = (uint64_t)ygr_entry;
	uint8_t *at = page + JUMP_AT;

	for (size_t i = 0; i < JUMP_AT; i++)
		page[i] = i % 8 == 7 ? 0x90 : 0x66;
	page[SHORT_AT] = 0xeb;
	page[SHORT_AT + 1] = JUMP_AT - (SHORT_AT + 2);
	page[SHORT_AT + 2] = 0x90;
	page[JUMP_AT - 1] = 0x90;
	at[0] = 0x49; /* mov $target, %r11; jmp *%r11 */
	at[1] = 0xbb;
	memcpy(at + 2, &target, sizeof(target));
	at[10] = 0x41;
	at[11] = 0xff;
	at[12] = 0xe3;
	/* Such numbers exist nowhere: hlt, which is SIGSEGV. */
	memset(at + JUMP_BYTES, 0xf4, PAGE - JUMP_AT - JUMP_BYTES);
}

/* PROT_EXEC alone is execute-only where the CPU has protection keys. */
static bool map_page_zero(void)
{
	uint8_t *page = NULL;

	/* The compiler may not know that this is address 0. */
	__asm__("" : "+r"(page));
	if (ygr_sys6(SYS_mmap, 0, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
		     0) != 0)
		return false;
	fill(page);
	if (ygr_sys3(SYS_mprotect, 0, PAGE, PROT_EXEC) == 0)
		return true;
	ygr_sys2(SYS_munmap, 0, PAGE);
	return false;
}

static void drop_capabilities(void)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct none[2] = {0};

	ygr_sys5(SYS_prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	if (ygr_sys2(SYS_capset, &header, none) < 0)
		ygr_die("cannot drop capabilities");
}

/* Without a selector every call from outside the range is dispatched: nothing that could be switched off. */
int ygr_dispatch_arm(void)
{
	uint64_t from = (uint64_t)__start_ygr_exempt, to = (uint64_t)__stop_ygr_exempt;

	return (int)ygr_sys5(SYS_prctl, PR_SET_SYSCALL_USER_DISPATCH, PR_SYS_DISPATCH_ON, from, to - from,
			     0);
}

static void remember_preload(const char *value)
{
	size_t len = value ? strlen(value) : 0;

	if (len == 0 || len + sizeof("LD_PRELOAD=") > sizeof(ygr_shim.preload))
		return;
	memcpy(ygr_shim.preload, "LD_PRELOAD=", sizeof("LD_PRELOAD=") - 1);
	memcpy(ygr_shim.preload + sizeof("LD_PRELOAD=") - 1, value, len + 1);
}

/* The value of TYPE in the auxiliary vector, which lies behind the environment; 0. */
static uint64_t auxiliary(char **envp, uint64_t type)
{
	const Elf64_auxv_t *vector;

	while (*envp)
		envp++;
	for (vector = (const Elf64_auxv_t *)(envp + 1); vector->a_type != AT_NULL; vector++)
		if (vector->a_type == type)
			return vector->a_un.a_val;
	return 0;
}

void ygr_start(char **envp)
{
	const char *on = environment(envp, "YAGURA_SHIM"),
		   *off = environment(envp, "YAGURA_SHIM_NO_REWRITE");
	int type, len = sizeof(type);

	if (!on || on[0] != '1' ||
	    ygr_sys5(SYS_getsockopt, YGR_LOCAL_FD, SOL_SOCKET, SO_TYPE, &type, &len) < 0 ||
	    type != SOCK_STREAM)
		return;
	ygr_shim.pid = (int)ygr_sys0(SYS_getpid);
	ygr_shim.go = ygr_image_is_go(auxiliary(envp, AT_PHDR), auxiliary(envp, AT_PHNUM));
	ygr_shim.page_zero = !ygr_shim.go && !(off && off[0] == '1') && map_page_zero();
	drop_capabilities();
	remember_preload(environment(envp, "LD_PRELOAD"));
	ygr_wire_hello();
	ygr_vdso_tell(auxiliary(envp, AT_SYSINFO_EHDR), ygr_shim.welcome.version);
	/* A pipe is where the application's lines go: each at once. */
	if (setvbuf && &stdout)
		setvbuf(stdout, NULL, _IOLBF, 0);
	if (ygr_signal_start() < 0 || ygr_dispatch_arm() < 0)
		ygr_die("this kernel has no Syscall User Dispatch");
}

__attribute__((constructor)) static void start(int argc, char **argv, char **envp)
{
	(void)argc;
	(void)argv;
	ygr_start(envp);
}
