/* Certificates: a root's word about a key. The signature is checked before anything else is believed. */
#include "lib/wire/handshake.h"

#include <errno.h>
#include <stddef.h>
#include <stdbool.h>
#include <string.h>

_Static_assert(sizeof(struct ygr_cert) == 192, "signed and copied as bytes, so without padding");

static bool name_is_printable(const char name[64])
{
	const char *end = memchr(name, '\0', 64);
	if (!end || end == name)
		return false;
	for (const char *c = name; c < end; c++)
		if (*c < 0x20 || *c > 0x7e)
			return false;
	return true;
}

int ygr_cert_check(const struct ygr_cert *cert, const uint8_t root[32], uint32_t usages, int64_t now,
		   const struct ygr_crypto *crypto, struct ygr_error *error)
{
	if (memcmp(cert->magic, "YGRCERT1", sizeof(cert->magic)) != 0)
		return ygr_error_set(error, EPROTO, "this is no certificate");
	if (crypto->verify(root, cert, offsetof(struct ygr_cert, signature), cert->signature) < 0)
		return ygr_error_set(error, EKEYREJECTED,
				     "the certificate is not signed by the owner's root");
	if (!name_is_printable(cert->name) || cert->reserved)
		return ygr_error_set(error, EPROTO, "the certificate is malformed");
	if (now < cert->not_before)
		return ygr_error_set(error, EKEYEXPIRED, "the certificate of '%s' is valid only in %llu s",
				     cert->name,
				     (unsigned long long)cert->not_before - (unsigned long long)now);
	if (now > cert->not_after)
		return ygr_error_set(error, EKEYEXPIRED, "the certificate of '%s' expired %llu s ago",
				     cert->name,
				     (unsigned long long)now - (unsigned long long)cert->not_after);
	if (usages & ~cert->usages)
		return ygr_error_set(error, EACCES, "the certificate of '%s' does not allow %s", cert->name,
				     usages & ~cert->usages & YGR_USAGE_NODE ? "authenticating as a node"
				     : usages & ~cert->usages & YGR_USAGE_CATALOGUE ? "signing grants"
										    : "signing policies");
	return 0;
}
