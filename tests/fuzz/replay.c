/* Runs a fuzz target over every file of a corpus directory, so that ctest repeats what fuzzing has found. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int replay(const char *directory, const char *name)
{
	char path[4096];
	snprintf(path, sizeof(path), "%s/%s", directory, name);
	FILE *file = fopen(path, "rb");
	if (!file) {
		perror(path);
		return -1;
	}

	fseek(file, 0, SEEK_END);
	long size = ftell(file);
	rewind(file);
	/* An exact allocation, so that a sanitizer sees one byte too many. */
	uint8_t *data = malloc(size > 0 ? (size_t)size : 1);
	int r = data && fread(data, 1, (size_t)size, file) == (size_t)size ? 0 : -1;
	fclose(file);
	if (r == 0)
		LLVMFuzzerTestOneInput(data, (size_t)size);
	free(data);
	return r;
}

int main(int argc, char **argv)
{
	DIR *directory = argc == 2 ? opendir(argv[1]) : NULL;
	if (!directory) {
		fprintf(stderr, "usage: %s CORPUS-DIRECTORY (which must exist)\n", argv[0]);
		return 2;
	}

	unsigned count = 0;
	for (struct dirent *entry; (entry = readdir(directory));) {
		if (entry->d_name[0] == '.')
			continue;
		if (replay(argv[1], entry->d_name) < 0)
			return 1;
		count++;
	}
	closedir(directory);
	printf("%u inputs replayed\n", count);
	return count ? 0 : 1; /* an empty corpus tests nothing */
}
