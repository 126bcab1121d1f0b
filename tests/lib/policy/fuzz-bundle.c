/* Any bytes as a bundle: read or refused with a sentence; what was read fills maps and is written again. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lib/policy/bundle.h"
#include "lib/policy/situation.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct ygr_error error = YGR_ERROR_INIT;
	struct ygr_bundle *bundle = NULL;
	struct ygr_policy_image *image = NULL;

	if (ygr_bundle_read(data, size, &bundle, &error) < 0) {
		if (!error.message[0])
			abort();
		return 0;
	}
	if (bundle->code) {
		if (ygr_policy_image_new(bundle->code, &ygr_policy_situation_names, &image) < 0)
			abort();
		for (size_t i = 0; i < bundle->code->program_count; i++)
			if (bundle->code->programs[i].count < 3)
				abort();
		ygr_policy_image_free(image);
	}
	ygr_bundle_free(bundle);
	return 0;
}
