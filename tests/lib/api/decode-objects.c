/* decode-objects FILE...: one line a document, "ok" or "bad MESSAGE"; for check-schema. */
#include <stdio.h>

#include "lib/api/monitor.h"

static void decode(const struct ygr_doc *doc)
{
	struct ygr_error error = YGR_ERROR_INIT;
	struct ygr_monitor *monitor;

	if (ygr_monitor_decode(doc, &monitor, &error) < 0) {
		printf("bad %s\n", error.message);
		return;
	}
	printf("ok\n");
	ygr_monitor_free(monitor);
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
			decode(docs[j]);
		ygr_docs_free(docs, count);
	}
	return 0;
}
