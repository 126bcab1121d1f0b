/* Text from bytes; see text.h. */
#include "lib/base/text.h"

#include <stdlib.h>
#include <string.h>

size_t ygr_text_sequence(const unsigned char *s, size_t left)
{
	size_t n;
	if (s[0] < 0x80)
		return 1;
	if (s[0] >= 0xc2 && s[0] <= 0xdf)
		n = 2;
	else if ((s[0] & 0xf0) == 0xe0)
		n = 3;
	else if (s[0] >= 0xf0 && s[0] <= 0xf4)
		n = 4;
	else
		return 0;
	if (left < n)
		return 0;
	for (size_t i = 1; i < n; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) ||
	    (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f))
		return 0;
	return n;
}

char *ygr_text_from_bytes(const void *bytes, size_t len, bool multiline)
{
	char *clean = malloc(len * 3 + 1); /* U+FFFD has three bytes */
	if (!clean)
		return NULL;

	const unsigned char *in = bytes;
	size_t at = 0;
	for (size_t i = 0; i < len;) {
		size_t n = ygr_text_sequence(in + i, len - i);
		if (n == 0) {
			memcpy(clean + at, "\xef\xbf\xbd", 3);
			at += 3;
			i++;
		} else if (n == 1 && (in[i] < 0x20 || in[i] == 0x7f) &&
			   !(multiline && (in[i] == '\n' || in[i] == '\t'))) {
			clean[at++] = ' ';
			i++;
		} else {
			memcpy(clean + at, in + i, n);
			at += n;
			i += n;
		}
	}
	clean[at] = '\0';
	return clean;
}
