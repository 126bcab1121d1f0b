/* Any bytes as the body of a request to the webhook. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "controller/review.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct ygr_error error = YGR_ERROR_INIT;
	struct ygr_review review;

	if (ygr_review_answer((const char *)data, size, &review, &error) < 0)
		return 0;
	char *text = json_dumps(review.answer, 0);
	if (!text)
		abort(); /* what goes out is always JSON */
	free(text);
	json_decref(review.answer);
	return 0;
}
