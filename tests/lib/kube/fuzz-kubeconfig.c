/* Any bytes as a kubeconfig, and as what a credential plugin prints. */
#include <stdint.h>
#include <stdlib.h>

#include "lib/kube/config.h"
#include "lib/kube/exec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct ygr_kube_config *config = NULL;
	struct ygr_kube_exec_result result = {0};
	struct ygr_error error = YGR_ERROR_INIT;

	if (ygr_kube_config_parse((const char *)data, size, "/d", NULL, &config, &error) == 0)
		ygr_kube_config_free(config);
	if (ygr_kube_exec_parse((const char *)data, size, &result, &error) == 0) {
		free(result.token);
		free(result.cert_pem);
		free(result.key_pem);
	}
	return 0;
}
