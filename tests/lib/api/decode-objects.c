/* decode-objects FILE...: one line a document, "ok" or "bad MESSAGE"; for check-schema. */
#include <stdio.h>
#include <string.h>

#include "lib/api/monitor.h"
#include "lib/api/vm-policy.h"

static int decode(const struct ygr_doc *doc, struct ygr_error *error)
{
	struct ygr_identity_hint hint;
	struct ygr_vm_policy *policy = NULL;
	struct ygr_monitor *monitor = NULL;
	int r;

	ygr_meta_peek(doc, &hint);
	const char *kind = hint.kind ? hint.kind : "";
	if (!strcmp(kind, YGR_VM_POLICY_KIND))
		r = ygr_vm_policy_decode(doc, &policy, error);
	else if (!strcmp(kind, YGR_CLUSTER_VM_POLICY_KIND))
		r = ygr_cluster_vm_policy_decode(doc, &policy, error);
	else if (!strcmp(kind, YGR_CLUSTER_MONITOR_KIND))
		r = ygr_cluster_monitor_decode(doc, &monitor, error);
	else
		r = ygr_monitor_decode(doc, &monitor, error);
	ygr_vm_policy_free(policy);
	ygr_monitor_free(monitor);
	return r;
}

static void judge(const struct ygr_doc *doc)
{
	struct ygr_error error = YGR_ERROR_INIT;

	if (decode(doc, &error) < 0)
		printf("bad %s\n", error.message);
	else
		printf("ok\n");
}

int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		struct ygr_error error = YGR_ERROR_INIT;
		struct ygr_doc **docs;
		size_t count;
		if (ygr_yaml_read(argv[i], NULL, &docs, &count, &error) < 0) {
			fprintf(stderr, "%s\n", error.message);
			return 1;
		}
		for (size_t j = 0; j < count; j++)
			judge(docs[j]);
		ygr_docs_free(docs, count);
	}
	return 0;
}
