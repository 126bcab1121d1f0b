/* CPU lists ("0-3,8"); see cpus.h. */
#include "guest-image/guest/cpus.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/cleanup.h"

void ygr_guest_read_line(const char *path, char *out, size_t size)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? 0 : read(fd, out, size - 1);
	out[n < 0 ? 0 : n] = '\0';
	out[strcspn(out, "\n")] = '\0';
}

uint32_t ygr_guest_cpus_possible(void)
{
	char list[256];
	uint32_t most = 0;

	/* As the kernel sizes per-CPU values: by the number of possible CPUs, whose ids have no holes there.
	 */
	ygr_guest_read_line("/sys/devices/system/cpu/possible", list, sizeof(list));
	for (char *at = list; *at;) {
		char *end;
		unsigned long first = strtoul(at, &end, 10), last = first;
		if (end == at)
			break;
		if (*end == '-')
			last = strtoul(end + 1, &end, 10);
		if (last < first || last > 65535)
			break;
		most += (uint32_t)(last - first + 1);
		at = *end == ',' ? end + 1 : end;
	}
	return most ? most : 1;
}
