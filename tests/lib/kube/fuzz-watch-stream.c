/*
 * Any bytes as a list and as a watch, cut in pieces whose length the first byte says. The same bytes in one piece
 * must give the same objects, and each object must be what a parser takes or refuses as a whole.
 */
#include <jansson.h>
#include <stdint.h>
#include <stdlib.h>

#include "lib/kube/split.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct seen {
	uint64_t hash;
	size_t count;
};

static int on_object(void *user, const char *text, size_t len)
{
	struct seen *seen = user;

	for (size_t i = 0; i < len; i++)
		seen->hash = (seen->hash ^ (unsigned char)text[i]) * 0x100000001b3ull;
	seen->count++;
	json_decref(json_loadb(text, len, JSON_ALLOW_NUL, NULL));
	return 0;
}

static int split(enum ygr_kube_split_mode mode, const uint8_t *data, size_t size, size_t step,
		 struct seen *seen)
{
	struct ygr_kube_split s;
	int r = 0;

	ygr_kube_split_init(&s, mode, on_object, seen);
	for (size_t at = 0; r == 0 && at < size; at += step)
		r = ygr_kube_split_feed(&s, (const char *)data + at, size - at < step ? size - at : step);
	if (r == 0)
		r = ygr_kube_split_end(&s);
	ygr_kube_split_deinit(&s);
	return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 2)
		return 0;
	for (int mode = YGR_KUBE_SPLIT_LIST; mode <= YGR_KUBE_SPLIT_STREAM; mode++) {
		struct seen whole = {0}, pieces = {0};
		int a = split((enum ygr_kube_split_mode)mode, data + 1, size - 1, size, &whole);
		int b =
		    split((enum ygr_kube_split_mode)mode, data + 1, size - 1, data[0] % 16 + 1u, &pieces);
		if (a != b || whole.hash != pieces.hash || whole.count != pieces.count)
			abort();
	}
	return 0;
}
