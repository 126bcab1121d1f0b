/* Signed grants; see signed.h. */
#include "lib/wire/signed.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/cleanup.h"

static const char context[16] = "yagura-grant-v1";

int ygr_grant_text(const void *json, size_t len, uint8_t **ret_text, size_t *ret_len)
{
	if (len > YGR_GRANT_TEXT_MAX)
		return -EMSGSIZE;
	uint8_t *text = malloc(sizeof(context) + len);
	if (!text)
		return -ENOMEM;

	memcpy(text, context, sizeof(context));
	memcpy(text + sizeof(context), json, len);
	*ret_text = text;
	*ret_len = sizeof(context) + len;
	return 0;
}

int ygr_grant_verify(const struct ygr_cert *cert, const uint8_t signature[64], const void *json, size_t len,
		     const uint8_t root[32], int64_t now, const struct ygr_crypto *crypto,
		     struct ygr_error *error)
{
	int r = ygr_cert_check(cert, root, YGR_USAGE_CATALOGUE, now, crypto, error);
	if (r < 0)
		return r;

	_cleanup_free_ uint8_t *text = NULL;
	size_t text_len = 0;
	r = ygr_grant_text(json, len, &text, &text_len);
	if (r < 0)
		return ygr_error_set(error, -r, "grant of %zu bytes: %s", len, strerror(-r));
	if (crypto->verify(cert->public_key, text, text_len, signature) < 0)
		return ygr_error_set(error, EKEYREJECTED, "the grant is not signed by '%s'", cert->name);
	return 0;
}
