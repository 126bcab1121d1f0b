/* Configurations: merged files, contexts, credentials of every kind, what is refused, and pods. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/base64.h"
#include "lib/kube/config.h"

static char directory[64];

static char *write_file(const char *name, const char *text)
{
	static char path[160];

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	FILE *file = fopen(path, "w");
	assert_non_null(file);
	fputs(text, file);
	fclose(file);
	return path;
}

static int make_directory(void **state)
{
	(void)state;
	strcpy(directory, "/tmp/test-kube-config-XXXXXX");
	return mkdtemp(directory) ? 0 : -1;
}

static int remove_directory(void **state)
{
	char command[128];

	(void)state;
	snprintf(command, sizeof(command), "rm -r %s", directory);
	return system(command);
}

static const char first[] = "apiVersion: v1\nkind: Config\ncurrent-context: one\n"
			    "clusters:\n- name: c1\n  cluster: {server: 'https://a.example:6443/', "
			    "certificate-authority: pki/ca.crt, tls-server-name: inner}\n"
			    "contexts:\n- name: one\n  context: {cluster: c1, user: u2, namespace: blue}\n"
			    "- name: two\n  context: {cluster: c2, user: u1}\n";
static const char second[] =
    "current-context: two\n"
    "clusters:\n- name: c2\n  cluster: {server: 'http://b.example/k8s/x', insecure-skip-tls-verify: true, "
    "proxy-url: 'http://p:3128'}\n"
    "- name: c1\n  cluster: {server: 'https://never.example'}\n"
    "users:\n- name: u1\n  user: {token: s3cret}\n"
    "- name: u2\n  user: {client-certificate: c.pem, client-key-data: \"YWJj\\nZGVm\"}\n"
    "- name: u3\n  user: {exec: {apiVersion: client.authentication.k8s.io/v1, command: ./bin/login, args: "
    "[a, b], "
    "env: [{name: X, value: y}], provideClusterInfo: true, interactiveMode: Never}}\n"
    "contexts:\n- name: three\n  context: {cluster: c1, user: u3}\n";

static struct ygr_kube_config *load(const char *context)
{
	struct ygr_kube_config *config = NULL;
	struct ygr_error error = YGR_ERROR_INIT;
	char list[400];

	snprintf(list, sizeof(list), "%s/absent:%s/first:%s/second", directory, directory, directory);
	if (ygr_kube_config_load(list, context, &config, &error) < 0)
		fail_msg("%s", error.message);
	return config;
}

static void test_merge(void **state)
{
	char expected[160];

	(void)state;
	write_file("first", first);
	write_file("second", second);
	struct ygr_kube_config *config = load(NULL);
	assert_string_equal(config->context, "one");
	assert_string_equal(config->server, "https://a.example:6443");
	assert_string_equal(config->namespace_, "blue");
	assert_string_equal(config->tls_server_name, "inner");
	snprintf(expected, sizeof(expected), "%s/pki/ca.crt", directory);
	assert_string_equal(config->ca_file, expected);
	snprintf(expected, sizeof(expected), "%s/c.pem", directory);
	assert_string_equal(config->cert_file, expected);
	assert_string_equal(config->key_pem, "abcdef");
	ygr_kube_config_free(config);

	config = load("two");
	assert_string_equal(config->server, "http://b.example/k8s/x");
	assert_string_equal(config->namespace_, "default");
	assert_string_equal(config->proxy_url, "http://p:3128");
	assert_string_equal(config->token, "s3cret");
	assert_true(config->insecure);
	ygr_kube_config_free(config);

	config = load("three");
	snprintf(expected, sizeof(expected), "%s/./bin/login", directory);
	assert_string_equal(config->exec->command, expected);
	assert_int_equal(config->exec->arg_count, 2);
	assert_string_equal(config->exec->env[0], "X=y");
	assert_true(config->exec->provide_cluster_info);
	ygr_kube_config_free(config);
}

static void test_environment(void **state)
{
	struct ygr_kube_config *config = NULL;
	struct ygr_error error = YGR_ERROR_INIT;

	(void)state;
	setenv("KUBECONFIG", write_file("first", first), 1);
	assert_int_equal(ygr_kube_config_load(NULL, NULL, &config, &error), -EINVAL);
	assert_non_null(strstr(error.message, "there is no user \"u2\""));
	setenv("KUBECONFIG", "/nowhere/a:/nowhere/b", 1);
	assert_int_equal(ygr_kube_config_load(NULL, NULL, &config, &error), -ENOENT);
	unsetenv("KUBECONFIG");
	unsetenv("KUBERNETES_SERVICE_HOST");
	setenv("HOME", directory, 1);
	assert_int_equal(ygr_kube_config_load(NULL, NULL, &config, &error), -ENOENT);
}

#define CLUSTER    "clusters: [{name: c, cluster: {server: 'https://h'}}]\n"
#define CONTEXT    "current-context: x\ncontexts: [{name: x, context: {cluster: c, user: u}}]\n"
#define USER(text) CONTEXT CLUSTER "users: [{name: u, user: {" text "}}]\n"
#define SERVER(text)                                                                                        \
	"current-context: x\ncontexts: [{name: x, context: {cluster: c}}]\nclusters: [{name: c, cluster: "  \
	"{" text "}}]\n"

static void test_wrong(void **state)
{
	static const struct {
		const char *text, *said;
	} cases[] = {
	    {"", "current-context is not set"},
	    {"[]", "expected a mapping"},
	    {"current-context: x\n", "there is no context \"x\""},
	    {SERVER("server: ftp://x"), "expected https://HOST:PORT"},
	    {SERVER("server: 'https://'"), "expected https://HOST:PORT"},
	    {SERVER("server: 'https://u:p@h'"), "expected https://HOST:PORT"},
	    {SERVER("server: ''"), "clusters[0].cluster.server"},
	    {SERVER("a: b"), "\"server\" is required"},
	    {SERVER("server: 'https://h', certificate-authority-data: '%%%'"), "expected base64"},
	    {SERVER("server: 'https://h', certificate-authority: x, insecure-skip-tls-verify: true"),
	     "exclude each other"},
	    {USER("token: 12345"), "users[0].user.token: expected a string"},
	    {USER("token: \"Zz\\nZz\""), "expected one line"},
	    {USER("client-key-data: [Zz]"), "expected a string"},
	    {USER("client-key: Zz"), "come together"},
	    {USER("as: root"), "impersonation is not supported"},
	    {USER("auth-provider: {name: gcp}"), "use exec"},
	    {USER("exec: {command: x}"), "apiVersion"},
	    {USER("exec: {command: x, apiVersion: client.authentication.k8s.io/v1beta1}"), "k8s.io/v1"},
	    {USER("exec: {command: '', apiVersion: client.authentication.k8s.io/v1}"), "command"},
	    {USER("exec: {apiVersion: client.authentication.k8s.io/v1}"), "\"command\" is required"},
	    {USER("exec: {command: x, env: [{name: 'a=b', value: c}]}"), "expected {name, value}"},
	    {CONTEXT CLUSTER "users: {}\n", "users: expected a list"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct ygr_kube_config *config = NULL;
		struct ygr_error error = YGR_ERROR_INIT;
		int r =
		    ygr_kube_config_parse(cases[i].text, strlen(cases[i].text), "/d", NULL, &config, &error);
		if (r != -EINVAL || !strstr(error.message, cases[i].said))
			fail_msg("case %zu: %d, \"%s\"", i, r, error.message);
		assert_null(strstr(error.message, "Zz"));
		assert_null(strstr(error.message, "12345"));
	}
}

static void test_pod(void **state)
{
	struct ygr_kube_config *config = NULL;
	struct ygr_error error = YGR_ERROR_INIT;

	(void)state;
	unsetenv("KUBERNETES_SERVICE_HOST");
	assert_int_equal(ygr_kube_config_pod(directory, &config, &error), -ENOENT);
	setenv("KUBERNETES_SERVICE_HOST", "fd00::1", 1);
	setenv("KUBERNETES_SERVICE_PORT", "443", 1);
	assert_int_equal(ygr_kube_config_pod(directory, &config, &error), -ENOENT);
	write_file("token", "t\n");
	write_file("namespace", "yagura-system\n");
	assert_int_equal(ygr_kube_config_pod(directory, &config, &error), 0);
	assert_string_equal(config->server, "https://[fd00::1]:443");
	assert_string_equal(config->namespace_, "yagura-system");
	assert_null(config->context);
	ygr_kube_config_free(config);
	unsetenv("KUBERNETES_SERVICE_HOST");
}

static void test_base64(void **state)
{
	static const struct {
		const char *text, *data;
	} cases[] = {{"", ""},        {"Zg==", "f"},  {"Zm8=", "fo"}, {"Zm9v", "foo"}, {"Z\nm9\r\nv", "foo"},
		     {"Z", NULL},     {"Zg", NULL},   {"Zg=", NULL},  {"=Zg=", NULL},  {"Zg==Zg==", NULL},
		     {"Zm8=x", NULL}, {"Z===", NULL}, {"Zm 9", NULL}};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		uint8_t *data = NULL;
		size_t len = 0;
		int r = ygr_base64_decode(cases[i].text, strlen(cases[i].text), &data, &len);
		assert_int_equal(r, cases[i].data ? 0 : -EINVAL);
		if (cases[i].data)
			assert_string_equal((char *)data, cases[i].data);
		free(data);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_merge), cmocka_unit_test(test_environment), cmocka_unit_test(test_wrong),
	    cmocka_unit_test(test_pod),   cmocka_unit_test(test_base64),
	};

	return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
