/*
 * yagura-guest: lets a node that the VM's owner trusts work with this kernel's eBPF. See yagura-guest(8).
 *
 * Not a daemonizer: a service manager or the initramfs starts it in the foreground. Everything it needs
 * later is read here once; a change of guest.yaml or root.pub takes effect with a restart.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "guest-image/guest/crypto.h"
#include "guest-image/guest/server.h"
#include "guest-image/policy/policies.h"
#include "lib/base/cleanup.h"
#include "lib/base/log.h"

#define STRING(x)  STRING_(x)
#define STRING_(x) #x

struct options {
	const char *listen, *root, *config, *state;
	enum ygr_log_level level;
	bool kmsg;
};

static void print_help(void)
{
	puts("Usage: yagura-guest [OPTION]...\n"
	     "Serves the node that this VM runs on: eBPF calls and the files that describe this kernel, as "
	     "far as\n"
	     "the owner's configuration and a signed catalogue entry allow.\n"
	     "\n"
	     "  --listen ADDRESS  vsock:PORT (default vsock:" STRING(
		 YGR_PORT_DEFAULT) ") or unix:PATH\n"
				   "  --root PATH       public key whose certificates are trusted (default "
				   "/etc/yagura/root.pub)\n"
				   "  --config PATH     what the owner allows (default "
				   "/etc/yagura/guest.yaml; may be absent)\n"
				   "  --state DIR       where policies are kept (default "
				   "/var/lib/yagura-guest)\n"
				   "  --log LEVEL       error, warning, info (default) or debug\n"
				   "  --kmsg            write messages to the kernel's log, for an "
				   "initramfs\n"
				   "  --help            show this and exit\n"
				   "  --version         show the version and exit\n"
				   "\n"
				   "Manual: yagura-guest(8)");
}

enum { OPT_LISTEN = 256, OPT_ROOT, OPT_CONFIG, OPT_STATE, OPT_LOG, OPT_KMSG, OPT_HELP, OPT_VERSION };

static const struct option long_options[] = {
    {"listen", required_argument, NULL, OPT_LISTEN},
    {"root", required_argument, NULL, OPT_ROOT},
    {"state", required_argument, NULL, OPT_STATE},
    {"config", required_argument, NULL, OPT_CONFIG},
    {"log", required_argument, NULL, OPT_LOG},
    {"kmsg", no_argument, NULL, OPT_KMSG},
    {"help", no_argument, NULL, OPT_HELP},
    {"version", no_argument, NULL, OPT_VERSION},
    {0},
};

/* 1: go on; 0: done, exit well; -EINVAL: wrong usage, said so. */
static int read_options(int argc, char **argv, struct options *options)
{
	for (int c; (c = getopt_long(argc, argv, "", long_options, NULL)) != -1;) {
		switch (c) {
		case OPT_LISTEN:
			options->listen = optarg;
			break;
		case OPT_ROOT:
			options->root = optarg;
			break;
		case OPT_CONFIG:
			options->config = optarg;
			break;
		case OPT_STATE:
			options->state = optarg;
			break;
		case OPT_LOG:
			if (ygr_log_level_parse(optarg, &options->level))
				break;
			fprintf(stderr, "yagura-guest: --log %s: expected error, warning, info or debug\n",
				optarg);
			return -EINVAL;
		case OPT_KMSG:
			options->kmsg = true;
			break;
		case OPT_HELP:
			print_help();
			return 0;
		case OPT_VERSION:
			puts("yagura-guest " YGR_GUEST_VERSION);
			return 0;
		default:
			fputs("Try 'yagura-guest --help'.\n", stderr);
			return -EINVAL;
		}
	}
	if (optind == argc)
		return 1;
	fprintf(stderr, "yagura-guest: %s: takes no arguments, only options\n", argv[optind]);
	return -EINVAL;
}

static void log_to_kernel(void)
{
	int fd = open("/dev/kmsg", O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	dup2(fd, STDERR_FILENO);
	if (fd != STDERR_FILENO)
		close(fd);
}

/* Descriptor 0 must be no BPF object (lib/wire/call.h), and nothing that is opened may become 1 or 2. */
static void open_standard(void)
{
	int fd = open("/dev/null", O_RDWR);
	while (fd >= 0 && fd <= STDERR_FILENO)
		fd = dup(fd);
	if (fd > STDERR_FILENO)
		close(fd);
	int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (null >= 0) {
		dup2(null, STDIN_FILENO);
		close(null);
	}
}

/* Where nobody has mounted them: tracepoint ids and formats are read there. */
static void mount_tracing(void)
{
	if (access("/sys/kernel/tracing/events", F_OK) < 0)
		(void)mount("tracefs", "/sys/kernel/tracing", "tracefs", MS_NOSUID | MS_NODEV | MS_NOEXEC,
			    NULL);
	if (access("/sys/kernel/debug/tracing", F_OK) < 0)
		(void)mount("debugfs", "/sys/kernel/debug", "debugfs", MS_NOSUID | MS_NODEV | MS_NOEXEC,
			    "mode=0700");
	if (access("/sys/kernel/tracing/events", F_OK) < 0)
		ygr_log(YGR_LOG_WARNING, "guest", "no tracefs: tracepoints cannot be attached to");
}

/* Before anybody can connect, and before the service manager goes on to what shall be guarded. */
static void enforce_stored(const struct ygr_guest_setup *setup)
{
	struct ygr_policies_setup policies_setup = {.directory = setup->state,
						    .root = setup->root,
						    .vm = setup->has_vm ? setup->vm : NULL,
						    .allowed = setup->config->enforce};
	struct ygr_error error = YGR_ERROR_INIT;
	struct ygr_policies policies;
	if (access(setup->state, F_OK) < 0)
		return; /* there never was one */
	if (ygr_policies_open(&policies, &policies_setup, &error) < 0)
		ygr_log(YGR_LOG_ERROR, "guest", "stored policies cannot be read: %s", error.message);
	ygr_policies_close(&policies);
}

/* sd_notify(3), where the service manager asks for it. */
static void tell_ready(void)
{
	static const char text[] = "READY=1";
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	if (!path || strlen(path) >= sizeof(address.sun_path))
		return;
	memcpy(address.sun_path, path, strlen(path));
	if (path[0] == '@')
		address.sun_path[0] = '\0';
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	socklen_t length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path));
	if (fd >= 0)
		(void)sendto(fd, text, sizeof(text) - 1, MSG_NOSIGNAL, (struct sockaddr *)&address, length);
}

static int serve(const struct options *options, struct ygr_guest_config *config, struct ygr_error *error)
{
	struct ygr_guest_setup setup = {.config = config, .state = options->state};
	_cleanup_close_ int fd = -1;

	int r = ygr_guest_crypto_init();
	if (r < 0)
		return ygr_error_set(error, -r, "libsodium does not start");
	r = ygr_guest_root_read(options->root, setup.root, error);
	if (r < 0)
		return r;
	r = ygr_guest_boot_id(setup.boot_id);
	if (r < 0)
		return ygr_error_set(error, -r, "the boot id cannot be read (is /proc mounted?)");
	setup.has_vm = ygr_guest_vm(setup.vm) == 0;
	r = ygr_guest_config_read(options->config, config);
	if (r < 0)
		return ygr_error_set(error, -r, "%s: %s", options->config, strerror(-r));
	if (config->broken.code)
		ygr_log(YGR_LOG_ERROR, "guest", "no session will be let in: %s", config->broken.message);
	enforce_stored(&setup);
	r = ygr_guest_listen(options->listen, &fd, error);
	if (r < 0)
		return r;
	tell_ready();
	mount_tracing();

	struct ygr_guest_facts *facts = ygr_guest_facts_new();
	if (!facts)
		return ygr_error_set(error, ENOMEM, "out of memory");
	setup.facts = facts;
	ygr_log(YGR_LOG_INFO, "guest", "listening at %s", options->listen);
	r = ygr_guest_serve(fd, &setup, error);
	ygr_guest_facts_free(facts);
	return r;
}

int main(int argc, char **argv)
{
	struct options options = {.listen = "vsock:" STRING(YGR_PORT_DEFAULT),
				  .root = "/etc/yagura/root.pub",
				  .config = "/etc/yagura/guest.yaml",
				  .state = YGR_POLICIES_DIRECTORY,
				  .level = YGR_LOG_INFO};
	struct ygr_guest_config config = {0};
	struct ygr_error error = YGR_ERROR_INIT;

	open_standard();
	int r = read_options(argc, argv, &options);
	if (r <= 0)
		return r == 0 ? EXIT_SUCCESS : 2;
	if (options.kmsg)
		log_to_kernel();
	ygr_log_init(options.level, YGR_LOG_TEXT);

	r = serve(&options, &config, &error);
	ygr_guest_config_deinit(&config);
	if (r < 0) {
		ygr_log(YGR_LOG_ERROR, "guest", "%s", error.message);
		return EXIT_FAILURE;
	}
	return EXIT_SUCCESS;
}
