/* agent.yaml: the example, the defaults, and every field wrong in turn. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/config.h"

static int read_text(const char *text, struct ygr_config *config, struct ygr_error *error)
{
	char path[] = "/tmp/yagura-config-XXXXXX";
	int fd = mkstemp(path);

	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
	int r = ygr_config_read(path, config, error);
	unlink(path);
	/* The name is a random one; what follows it is not. */
	if (r < 0 && !strncmp(error->message, path, sizeof(path) - 1))
		memmove(error->message, error->message + sizeof(path) - 1,
			strlen(error->message) - sizeof(path) + 2);
	return r;
}

static void test_example(void **state)
{
	struct ygr_error error = YGR_ERROR_INIT;
	struct ygr_config config;
	(void)state;

	if (ygr_config_read(EXAMPLES "/agent.yaml", &config, &error) < 0)
		fail_msg("%s", error.message);
	assert_string_equal(config.libvirt_uri, "qemu:///system");
	assert_string_equal(config.manifests, "/etc/yagura/manifests");
	assert_string_equal(config.listen, "127.0.0.1:9720");
	assert_int_equal(config.uid_base, 900000);
	assert_false(config.allow_shared);
	assert_int_equal(config.host_actions,
			 YGR_HOST_ACTION_DISK | YGR_HOST_ACTION_NET | YGR_HOST_ACTION_PAUSE);
	assert_null(config.hvsock_root);
	assert_null(config.events_file);
	ygr_config_deinit(&config);
}

static void test_full(void **state)
{
	struct ygr_error error = YGR_ERROR_INIT;
	struct ygr_config config;
	(void)state;

	if (read_text("{node: n1, libvirt: {uri: 'test:///default', runDir: /r, domains: ['web-*']}, "
		      "manifests: /m, hvsockRoot: "
		      "/h, keys: "
		      "{key: /k, cert: /c}, listen: 'Off', socket: {path: /s, group: yagura}, catalogue: "
		      "[/a, /b], "
		      "stateDir: /st, pinDir: /pn, allowedHostActions: [stop, disk], snapshots: {perVM: 7}, "
		      "uidBase: 5000, uidCount: 16, sessionProgram: /p, shim: /l, allowShared: true, "
		      "events: {log: true, "
		      "file: {path: /e, maxBytes: 1Mi, keep: 1}}}",
		      &config, &error) < 0)
		fail_msg("%s", error.message);
	assert_string_equal(config.node, "n1");
	assert_string_equal(config.libvirt_run_dir, "/r");
	assert_int_equal(config.libvirt_domain_count, 1);
	assert_string_equal(config.libvirt_domains[0], "web-*");
	assert_null(config.listen);
	assert_string_equal(config.socket_group, "yagura");
	assert_int_equal(config.catalogue_count, 2);
	assert_string_equal(config.catalogues[1], "/b");
	assert_int_equal(config.uid_count, 16);
	assert_true(config.allow_shared && config.events_log);
	assert_int_equal(config.events_file_bytes, 1 << 20);
	assert_int_equal(config.events_file_keep, 1);
	assert_string_equal(config.state_directory, "/st");
	assert_string_equal(config.pin_directory, "/pn");
	assert_int_equal(config.host_actions, YGR_HOST_ACTION_STOP | YGR_HOST_ACTION_DISK);
	assert_int_equal(config.snapshots_per_vm, 7);
	assert_string_equal(config.snapshot_directory, "/var/lib/yagura/snapshots");
	ygr_config_deinit(&config);
}

static void test_wrong(void **state)
{
	static const struct {
		const char *text, *message;
	} cases[] = {
	    {"", ": expected one document, found 0"},
	    {"[]", ":1:1: expected a mapping, found a list"},
	    {"nod: x", ":1:6: nod: unknown field, did you mean \"node\"?"},
	    {"node: Node_1",
	     ":1:7: node: expected a name of lower case letters, digits, '-' and '.', found \"Node_1\""},
	    {"libvirt: {url: x}", ":1:16: libvirt.url: unknown field, did you mean \"uri\"?"},
	    {"libvirt: {runDir: x}", ":1:19: libvirt.runDir: expected an absolute path, found \"x\""},
	    {"libvirt: {domains: web}", ":1:20: libvirt.domains: expected a list, found \"web\""},
	    {"manifests: m", ":1:12: manifests: expected an absolute path, found \"m\""},
	    {"hvsockRoot: ./x", ":1:13: hvsockRoot: expected an absolute path, found \"./x\""},
	    {"keys: {key: k}", ":1:13: keys.key: expected an absolute path, found \"k\""},
	    {"keys: {cert: 1}", ":1:14: keys.cert: expected a string (quote it), found 1"},
	    {"listen: '9720'",
	     ":1:9: listen: expected ADDRESS:PORT such as 127.0.0.1:9720, or Off, found \"9720\""},
	    {"listen: ':x'",
	     ":1:9: listen: expected ADDRESS:PORT such as 127.0.0.1:9720, or Off, found \":x\""},
	    {"socket: {path: s}", ":1:16: socket.path: expected an absolute path, found \"s\""},
	    {"socket: {group: []}", ":1:17: socket.group: expected a string, found a list"},
	    {"catalogue: /a", ":1:12: catalogue: expected a list, found \"/a\""},
	    {"catalogue: [a]",
	     ":1:13: catalogue[0]: expected an absolute path of a catalogue file, found \"a\""},
	    {"uidBase: 0", ":1:10: uidBase: expected a whole number from 1000 to 4294901759, found 0"},
	    {"uidCount: 1", ":1:11: uidCount: expected a whole number from 16 to 65536, found 1"},
	    {"sessionProgram: x", ":1:17: sessionProgram: expected an absolute path, found \"x\""},
	    {"shim: x", ":1:7: shim: expected an absolute path, found \"x\""},
	    {"allowShared: maybe", ":1:14: allowShared: expected true or false, found \"maybe\""},
	    {"events: {log: 1}", ":1:15: events.log: expected true or false, found 1"},
	    {"events: {file: {keep: 1}}", ":1:16: events.file: \"path\" is required"},
	    {"events: {file: {path: /e, maxBytes: much}}",
	     ":1:37: events.file.maxBytes: expected a quantity above zero such as 64Mi, 1.5G or 200m, found "
	     "\"much\""},
	    {"stateDir: x", ":1:11: stateDir: expected an absolute path, found \"x\""},
	    {"pinDir: 1", ":1:9: pinDir: expected a string (quote it), found 1"},
	    {"allowedHostActions: disk", ":1:21: allowedHostActions: expected a list, found \"disk\""},
	    {"allowedHostActions: [disk, reboot]",
	     ":1:28: allowedHostActions[1]: expected disk, net, pause, stop or snapshot, found \"reboot\""},
	    {"snapshots: {perVM: -1}",
	     ":1:20: snapshots.perVM: expected a whole number from 0 to 100, found -1"},
	    {"snapshots: {path: /x}", ":1:19: snapshots.path: unknown field"},
	    {"events: {file: {path: /e, keep: 101}}",
	     ":1:33: events.file.keep: expected a whole number from 0 to 100, found 101"},
	    {"kubernetes: 1", ":1:13: kubernetes: expected a mapping, found 1"},
	    {"kubernetes: {kubeconfig: k}",
	     ":1:26: kubernetes.kubeconfig: expected an absolute path, found \"k\""},
	    {"kubernetes: {namespace: A}", ":1:25: kubernetes.namespace: expected a namespace, found \"A\""},
	};
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct ygr_error error = YGR_ERROR_INIT;
		struct ygr_config config;
		assert_int_equal(read_text(cases[i].text, &config, &error), -EINVAL);
		assert_string_equal(error.message, cases[i].message);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_example), cmocka_unit_test(test_full),
					   cmocka_unit_test(test_wrong)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
