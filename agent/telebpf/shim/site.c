/*
 * Rewriting: a call site that trapped becomes `call *%rax`, which lands in page 0 at its number. Only code
 * of a mapped file that is exactly r-x is touched (not JITs, not the vDSO), only two bytes within one cache
 * line (one store), and no function that seems to keep something in its red zone: the call pushes 8 bytes
 * where `syscall` pushed none. The page is writable for the moment of the store, and executable all the
 * while since other threads may be in it. What is not rewritten stays with dispatch.
 */
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>

#include "agent/telebpf/shim/shim.h"

#define PAGE       4096ull
#define LINE       64u
#define NUMBERS    512u /* what page 0 is laid out for */
#define BEFORE     512u /* bytes searched for uses of the red zone */
#define AFTER      128u
#define TABLE_SIZE (2 * YGR_SHIM_SITES_MAX)

#define CALL_RAX_BYTES 0xd0ffu /* ff d0 */

static uint64_t sites[TABLE_SIZE]; /* open addressing; entries are only ever added */
static uint32_t site_count;
static uint64_t refused[256]; /* by address: sites that stay with dispatch, so that they are judged once */
static uint32_t busy;
static uint8_t window[BEFORE + AFTER];
static char maps[PAGE];

static size_t place(uint64_t after)
{
	return (after * 0x9e3779b97f4a7c15ull) >> 51; /* 13 bits: TABLE_SIZE */
}

bool ygr_site_known(uint64_t after)
{
	for (size_t i = place(after);; i = (i + 1) % TABLE_SIZE) {
		uint64_t site = __atomic_load_n(&sites[i], __ATOMIC_ACQUIRE);

		if (site == after)
			return true;
		if (site == 0)
			return false;
	}
}

static void site_add(uint64_t after)
{
	size_t i = place(after);

	while (sites[i] != 0)
		i = (i + 1) % TABLE_SIZE;
	__atomic_store_n(&sites[i], after, __ATOMIC_RELEASE);
	site_count++;
}

/*
 * An operand below the stack pointer: -N(%rsp) is encoded as ModRM xx.xxx.100 with an 8 bit displacement,
 * SIB 0x24, a negative byte; -N(%rbp), where the frame pointer is at or just above the stack pointer, as
 * ModRM 01.xxx.101 and a byte that leads below the stack pointer. Data that looks so costs speed only.
 */
static bool below_stack(const uint8_t *bytes, uint64_t frame)
{
	if ((bytes[0] & 0xc7) == 0x44 && bytes[1] == 0x24 && bytes[2] >= 0x80)
		return true;
	return frame < 0x80 && (bytes[0] & 0xc7) == 0x45 && bytes[1] >= 0x80 && 0x100u - bytes[1] > frame;
}

static bool red_zone(const struct ygr_regs *regs)
{
	uint64_t site = regs->rip - 2, from = site - BEFORE;
	size_t got;

	got = ygr_user_read_some(from, window, sizeof(window));
	if (got == 0) {
		from = site & ~(PAGE - 1);
		got = ygr_user_read_some(from, window, sizeof(window));
	}
	for (size_t i = 0; i + 2 < got; i++)
		if (below_stack(window + i, regs->rbp - regs->rsp))
			return true;
	return false;
}

static uint64_t hex(const char **text)
{
	uint64_t value = 0;

	for (;; (*text)++) {
		char c = **text;

		if (c >= '0' && c <= '9')
			value = value << 4 | (uint64_t)(c - '0');
		else if (c >= 'a' && c <= 'f')
			value = value << 4 | (uint64_t)(c - 'a' + 10);
		else
			return value;
	}
}

/* "start-end r-xp offset major:minor inode": does this line hold ADDRESS, r-x, of a file? 1, 0, -1: not yet.
 */
static int line_allows(const char *line, uint64_t address)
{
	uint64_t start, end;

	start = hex(&line);
	line++;
	end = hex(&line);
	if (address < start || address >= end)
		return -1;
	if (memcmp(line, " r-xp ", 6) != 0)
		return 0;
	line += 6;
	while (*line && *line != ' ')
		line++;
	line++;
	while (*line && *line != ' ')
		line++;
	return line[0] == ' ' && line[1] >= '1' && line[1] <= '9';
}

static bool mapping_allows(uint64_t address)
{
	int64_t fd = ygr_sys4(SYS_openat, AT_FDCWD, "/proc/self/maps", O_RDONLY | O_CLOEXEC, 0), got;
	size_t have = 0;
	int verdict = -1;

	if (fd < 0)
		return false;
	while (verdict < 0 && (got = ygr_sys3(SYS_read, fd, maps + have, sizeof(maps) - 1 - have)) > 0) {
		char *line = maps, *end;

		have += (size_t)got;
		maps[have] = '\0';
		for (;;) {
			for (end = line; *end && *end != '\n'; end++)
				;
			if (!*end)
				break;
			verdict = line_allows(line, address);
			if (verdict >= 0)
				break;
			line = end + 1;
		}
		have -= (size_t)(line - maps);
		memmove(maps, line, have);
		if (have == sizeof(maps) - 1)
			break;
	}
	ygr_sys1(SYS_close, fd);
	return verdict == 1;
}

static void rewrite(const struct ygr_regs *regs)
{
	uint64_t site = regs->rip - 2, page = site & ~(PAGE - 1);

	/* Another thread may have been faster, or code that was readable may have become execute-only. */
	if (ygr_user_read(NULL, site, window, 2) < 0 || window[0] != 0x0f || window[1] != 0x05)
		return;
	if (red_zone(regs) || !mapping_allows(site)) {
		refused[place(regs->rip) % 256] = regs->rip;
		return;
	}
	if (ygr_sys3(SYS_mprotect, page, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC) < 0)
		return;
	/* Known first: another thread may take the new way as soon as it is there. */
	if (!ygr_site_known(regs->rip))
		site_add(regs->rip);
	__atomic_store_n((uint16_t *)site, (uint16_t)CALL_RAX_BYTES, __ATOMIC_RELEASE);
	ygr_sys3(SYS_mprotect, page, PAGE, PROT_READ | PROT_EXEC);
}

void ygr_site_rewrite(const struct ygr_regs *regs)
{
	uint64_t all = ~0ull, old;

	if (!ygr_shim.page_zero || (regs->rip - 2) % LINE == LINE - 1 || site_count >= YGR_SHIM_SITES_MAX)
		return;
	/* Unwinders and debuggers know a signal frame by the bytes of its restorer. */
	if (regs->rax == SYS_rt_sigreturn || regs->rax >= NUMBERS ||
	    refused[place(regs->rip) % 256] == regs->rip)
		return;
	ygr_sys4(SYS_rt_sigprocmask, SIG_SETMASK, &all, &old, 8);
	/* Whoever comes while another thread is at it goes on by dispatch, and tries again the next time. */
	if (!__atomic_exchange_n(&busy, 1, __ATOMIC_ACQUIRE)) {
		rewrite(regs);
		__atomic_store_n(&busy, 0, __ATOMIC_RELEASE);
	}
	ygr_sys4(SYS_rt_sigprocmask, SIG_SETMASK, &old, 0, 8);
}

void ygr_site_forked(void)
{
	/* A thread that was at it is not in this process. */
	busy = 0;
}
