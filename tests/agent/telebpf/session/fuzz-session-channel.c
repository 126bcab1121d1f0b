/* What a hostile guest says to a session, and what it writes to its RAM; the application asks as a shim does. */
#include "tests/agent/telebpf/session/fuzz-session.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const enum fuzz_step steps[] = {FUZZ_APP_GOOD,   FUZZ_GUEST_GOOD, FUZZ_GUEST_ANSWER,
					       FUZZ_GUEST_POST, FUZZ_GUEST_RAM,  FUZZ_GUEST_RAW};

	return fuzz_session(data, size, steps, sizeof(steps) / sizeof(*steps));
}
