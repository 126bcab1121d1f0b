/* What a hostile application says to its session, with descriptors; the guest answers well. */
#include "tests/agent/telebpf/session/fuzz-session.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const enum fuzz_step steps[] = {FUZZ_APP_GOOD, FUZZ_GUEST_GOOD, FUZZ_APP_FRAME, FUZZ_APP_FD,
					       FUZZ_APP_RAW};

	return fuzz_session(data, size, steps, sizeof(steps) / sizeof(*steps));
}
