/* What kind of executable a file is, for any file: an answer, and no read outside of what the headers may say. */
#include <stdlib.h>
#include <string.h>

#include "agent/telebpf/executable.h"

static const uint8_t *file;
static size_t file_size;
static unsigned reads;

static int64_t read_at(int fd, void *to, size_t length, uint64_t offset)
{
	(void)fd;
	if (++reads > 1 + YGR_EXECUTABLE_SEGMENTS * (1 + YGR_EXECUTABLE_TAGS))
		abort();
	if (offset > INT64_MAX)
		abort(); /* pread() has no such offsets */
	if (offset >= file_size)
		return 0;
	if (length > file_size - offset)
		length = file_size - offset;
	memcpy(to, file + offset, length);
	return (int64_t)length;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	file = data;
	file_size = size;
	reads = 0;
	if (ygr_executable_kind(0, read_at) != YGR_EXECUTABLE_OTHER && size < sizeof(Elf64_Ehdr))
		abort();
	return 0;
}
