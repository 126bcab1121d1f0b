/*
 * Stands where the shim stands: a preloaded library whose constructor finds CAP_SYS_RAWIO, maps address 0
 * with it, and drops it before main() runs.
 */
#include <errno.h>
#include <linux/capability.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

__attribute__((constructor)) static void set_up(void)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct had[2] = {0}, none[2] = {0};
	char line[128];
	void *page = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	int n;

	if (page != MAP_FAILED)
		munmap(page, 4096);
	syscall(SYS_capget, &header, had);
	n = snprintf(line, sizeof(line), "shim caps %x zero %s\n", had[0].effective,
		     page == MAP_FAILED ? strerror(errno) : "mapped");
	if (write(1, line, (size_t)n) != n || syscall(SYS_capset, &header, none) < 0)
		_exit(98);
}
