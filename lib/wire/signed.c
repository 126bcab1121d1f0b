/* Signed grants and bundles; see signed.h. */
#include "lib/wire/signed.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/cleanup.h"

struct kind {
	char context[16];
	const char *name;
	uint32_t usage;
	size_t max;
};

static const struct kind grant = {"yagura-grant-v1", "grant", YGR_USAGE_CATALOGUE, YGR_GRANT_TEXT_MAX};
static const struct kind bundle = {"yagura-bundle-1", "bundle", YGR_USAGE_POLICY, YGR_BUNDLE_MAX};

static int make_text(const struct kind *kind, const void *data, size_t len, uint8_t **ret_text,
		     size_t *ret_len)
{
	if (len > kind->max)
		return -EMSGSIZE;
	uint8_t *text = malloc(sizeof(kind->context) + len);
	if (!text)
		return -ENOMEM;

	memcpy(text, kind->context, sizeof(kind->context));
	memcpy(text + sizeof(kind->context), data, len);
	*ret_text = text;
	*ret_len = sizeof(kind->context) + len;
	return 0;
}

static int verify(const struct kind *kind, const struct ygr_cert *cert, const uint8_t signature[64],
		  const void *data, size_t len, const uint8_t root[32], int64_t now,
		  const struct ygr_crypto *crypto, struct ygr_error *error)
{
	int r = ygr_cert_check(cert, root, kind->usage, now, crypto, error);
	if (r < 0)
		return r;

	_cleanup_free_ uint8_t *text = NULL;
	size_t text_len = 0;
	r = make_text(kind, data, len, &text, &text_len);
	if (r < 0)
		return ygr_error_set(error, -r, "%s of %zu bytes: %s", kind->name, len, strerror(-r));
	if (crypto->verify(cert->public_key, text, text_len, signature) < 0)
		return ygr_error_set(error, EKEYREJECTED, "the %s is not signed by '%s'", kind->name,
				     cert->name);
	return 0;
}

int ygr_grant_text(const void *json, size_t len, uint8_t **ret_text, size_t *ret_len)
{
	return make_text(&grant, json, len, ret_text, ret_len);
}

int ygr_bundle_text(const void *data, size_t len, uint8_t **ret_text, size_t *ret_len)
{
	return make_text(&bundle, data, len, ret_text, ret_len);
}

int ygr_grant_verify(const struct ygr_cert *cert, const uint8_t signature[64], const void *json, size_t len,
		     const uint8_t root[32], int64_t now, const struct ygr_crypto *crypto,
		     struct ygr_error *error)
{
	return verify(&grant, cert, signature, json, len, root, now, crypto, error);
}

int ygr_bundle_verify(const struct ygr_cert *cert, const uint8_t signature[64], const void *data, size_t len,
		      const uint8_t root[32], int64_t now, const struct ygr_crypto *crypto,
		      struct ygr_error *error)
{
	return verify(&bundle, cert, signature, data, len, root, now, crypto, error);
}
