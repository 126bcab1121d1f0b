/* Any bytes as a manifest: YAML, positions, decoder and error messages must hold. */
#include <stddef.h>
#include <stdint.h>

#include "lib/api/monitor.h"
#include "lib/api/vm-policy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct ygr_error error = YGR_ERROR_INIT;
	struct ygr_doc **docs;
	size_t count;

	if (ygr_yaml_parse("fuzz", (const char *)data, size, &docs, &count, &error) < 0)
		return 0;
	for (size_t i = 0; i < count; i++) {
		struct ygr_monitor *monitor = NULL;
		struct ygr_vm_policy *policy = NULL;
		struct ygr_identity_hint hint;
		ygr_meta_peek(docs[i], &hint);
		if (ygr_monitor_decode(docs[i], &monitor, &error) == 0)
			ygr_monitor_free(monitor);
		if (ygr_vm_policy_decode(docs[i], &policy, &error) == 0)
			ygr_vm_policy_free(policy);
		if (ygr_cluster_monitor_decode(docs[i], &monitor, &error) == 0)
			ygr_monitor_free(monitor);
		if (ygr_cluster_vm_policy_decode(docs[i], &policy, &error) == 0)
			ygr_vm_policy_free(policy);
	}
	ygr_docs_free(docs, count);
	return 0;
}
