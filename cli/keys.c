/*
 * yagura keys: the owner's root, node keys and their certificates. The root says which nodes may enter a VM;
 * its private half is needed only to certify, and should not stay on a node.
 */
#include "cli/keys.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "cli/command.h"
#include "lib/base/cleanup.h"
#include "lib/base/hex.h"
#include "lib/wire/keys.h"

#define DEFAULT_DAYS 365

static const char help[] =
    "Usage: yagura keys init DIR [--name NAME] [--days N]\n"
    "       yagura keys certify ROOT.key NODE.pub -o NODE.cert [--name NAME] [--usage LIST] [--days N]\n"
    "       yagura keys show FILE...\n\n"
    "A guest lets a node in when the node holds a key that the guest's root has certified.\n\n"
    "  init     makes a root and a node's key in DIR (mode 0700) and certifies it. Put root.pub into each\n"
    "           guest as /etc/yagura/root.pub, leave node.key and node.cert with the agent, and take\n"
    "           root.key to a safe place: whoever has it can enter every guest that trusts it.\n"
    "  certify  signs a public key, for instance that of another node, or again before a certificate ends.\n"
    "  show     tells what is in public keys and certificates.\n\n"
    "Options:\n"
    "  -n, --name NAME   whom the certificate is for (default: this machine's name)\n"
    "  -u, --usage LIST  of node, catalogue, policy (default: all three)\n"
    "  -d, --days N      how long it is valid (default: 365, at most 3660)\n"
    "  -o, --output FILE where certify writes the certificate\n"
    "  -h, --help        this text\n";

static const struct {
	const char *name;
	uint32_t bit;
} usages[] = {
    {"node", YGR_USAGE_NODE},
    {"catalogue", YGR_USAGE_CATALOGUE},
    {"policy", YGR_USAGE_POLICY},
};

struct request {
	char name[64];
	uint32_t usages;
	int days;
	const char *output;
};

static int wrong(const char *message, const char *what)
{
	fprintf(stderr, "yagura: %s%s; `yagura keys --help` tells more\n", message, what);
	return EXIT_USAGE;
}

/* "node,catalogue" to bits; 0 when a word is none. */
static uint32_t parse_usages(const char *list)
{
	uint32_t bits = 0;
	while (*list) {
		size_t len = strcspn(list, ","), i = 0;
		while (i < 3 && (strlen(usages[i].name) != len || strncmp(list, usages[i].name, len) != 0))
			i++;
		if (i == 3)
			return 0;
		bits |= usages[i].bit;
		list += len + (list[len] == ',');
	}
	return bits;
}

/* DIR/NAME; the caller frees. NULL without memory. */
static char *join(const char *directory, const char *name)
{
	char *path = NULL;
	return asprintf(&path, "%s/%s", directory, name) < 0 ? NULL : path;
}

static int init(const char *directory, const struct request *request)
{
	struct ygr_error error = YGR_ERROR_INIT;
	_cleanup_free_ char *root_key = join(directory, "root.key"), *node_key = join(directory, "node.key"),
			    *node_public = join(directory, "node.pub"), *cert = join(directory, "node.cert");
	if (!root_key || !node_key || !node_public || !cert) {
		ygr_error_set(&error, ENOMEM, "out of memory");
		return ygr_command_failed(&error);
	}
	if (mkdir(directory, 0700) < 0 && errno != EEXIST) {
		ygr_error_set(&error, errno, "cannot make '%s': %s", directory, strerror(errno));
		return ygr_command_failed(&error);
	}
	if (ygr_keys_generate(root_key, &error) < 0 || ygr_keys_generate(node_key, &error) < 0 ||
	    ygr_keys_certify(root_key, node_public, request->name, request->usages, request->days, cert,
			     &error) < 0)
		return ygr_command_failed(&error);

	printf("%s/root.pub   for /etc/yagura/root.pub of each guest\n"
	       "%s/node.key   for the agent of %s, with\n"
	       "%s/node.cert  valid for %d days\n"
	       "%s/root.key   for nobody: keep it in a safe place, away from the node\n",
	       directory, directory, request->name, directory, request->days, directory);
	return 0;
}

static int certify(const char *root_key, const char *public_path, const struct request *request)
{
	struct ygr_error error = YGR_ERROR_INIT;
	if (!request->output)
		return wrong("certify needs --output", "");
	if (ygr_keys_certify(root_key, public_path, request->name, request->usages, request->days,
			     request->output, &error) < 0)
		return ygr_command_failed(&error);
	printf("%s  certifies %s for %d days\n", request->output, request->name, request->days);
	return 0;
}

static void print_time(const char *label, int64_t seconds)
{
	time_t at = (time_t)seconds;
	struct tm tm;
	char text[32] = "?";
	if (gmtime_r(&at, &tm))
		strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm);
	printf("  %-10s %s\n", label, text);
}

static void print_cert(const char *path, const struct ygr_cert *cert)
{
	char key[65];
	ygr_hex_encode(cert->public_key, sizeof(cert->public_key), key);
	printf("%s: certificate\n  %-10s ", path, "name");
	for (const char *c = cert->name; *c; c++) /* not checked against any root: may hold anything */
		putchar(*c >= 0x20 && *c <= 0x7e ? *c : '?');
	printf("\n  %-10s %s\n  %-10s", "key", key, "usages");
	for (size_t i = 0; i < 3; i++)
		if (cert->usages & usages[i].bit)
			printf(" %s", usages[i].name);
	putchar('\n');
	print_time("notBefore", cert->not_before);
	print_time("notAfter", cert->not_after);
	if (time(NULL) > cert->not_after)
		printf("  expired\n");
}

static int show(const char *path)
{
	struct ygr_error error = YGR_ERROR_INIT;
	struct ygr_cert cert;
	uint8_t key[32];
	if (ygr_keys_read_cert(path, &cert, &error) == 0) {
		print_cert(path, &cert);
		return 0;
	}
	if (error.code == EPROTO && ygr_keys_read_public(path, key, NULL) == 0) {
		char text[65];
		ygr_hex_encode(key, sizeof(key), text);
		printf("%s: public key\n  %-10s %s\n", path, "key", text);
		return 0;
	}
	if (error.code == EPROTO)
		ygr_error_set(&error, EPROTO, "'%s' is neither a public key nor a certificate", path);
	return ygr_command_failed(&error);
}

/* Fills REQUEST from the options: 0, or EXIT_USAGE; 0 with *HELPED when the help was printed. */
static int parse_options(int argc, char **argv, struct request *request, bool *helped)
{
	static const struct option options[] = {
	    {"name", required_argument, NULL, 'n'}, {"usage", required_argument, NULL, 'u'},
	    {"days", required_argument, NULL, 'd'}, {"output", required_argument, NULL, 'o'},
	    {"help", no_argument, NULL, 'h'},       {NULL, 0, NULL, 0},
	};
	char *end;
	for (int c; (c = getopt_long(argc, argv, "n:u:d:o:h", options, NULL)) != -1;) {
		switch (c) {
		case 'n':
			if (strlen(optarg) >= sizeof(request->name))
				return wrong("a name has at most 63 characters", "");
			strcpy(request->name, optarg);
			break;
		case 'u':
			request->usages = parse_usages(optarg);
			if (!request->usages)
				return wrong("--usage is a list of node, catalogue, policy, not ", optarg);
			break;
		case 'd':
			request->days = (int)strtol(optarg, &end, 10);
			if (*end || end == optarg || request->days < 1 || request->days > YGR_CERT_DAYS_MAX)
				return wrong("--days is a number from 1 to 3660, not ", optarg);
			break;
		case 'o':
			request->output = optarg;
			break;
		case 'h':
			fputs(help, stdout);
			*helped = true;
			return 0;
		default:
			return EXIT_USAGE;
		}
	}
	return 0;
}

int ygr_cli_keys(int argc, char **argv)
{
	struct request request = {.usages = YGR_USAGE_NODE | YGR_USAGE_CATALOGUE | YGR_USAGE_POLICY,
				  .days = DEFAULT_DAYS};
	bool helped = false;
	if (gethostname(request.name, sizeof(request.name)) < 0 ||
	    !memchr(request.name, 0, sizeof(request.name)))
		strcpy(request.name, "node");
	int r = parse_options(argc, argv, &request, &helped);
	if (r != 0 || helped)
		return r;

	int count = argc - optind;
	char **arguments = argv + optind;
	if (count < 1)
		return wrong("keys needs init, certify or show", "");
	if (strcmp(arguments[0], "init") == 0)
		return count == 2 ? init(arguments[1], &request) : wrong("init needs one directory", "");
	if (strcmp(arguments[0], "certify") == 0)
		return count == 3 ? certify(arguments[1], arguments[2], &request)
				  : wrong("certify needs a root's private and a node's public key", "");
	if (strcmp(arguments[0], "show") != 0)
		return wrong("there is no yagura keys ", arguments[0]);
	for (int i = 1; i < count; i++)
		r = show(arguments[i]) != 0 ? EXIT_FAILED : r;
	return count > 1 ? r : wrong("show needs a file", "");
}
