/* yagura vms: the VMs of the node, one line each. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>

#include "cli/command.h"
#include "cli/document.h"
#include "cli/table.h"

static const char help[] =
    "Usage: yagura vms [OPTIONS]\n\n"
    "Lists the VMs of this node: phase, channel, kernel and the applications that run on them.\n"
    "CHANNEL tells the transport and its state; `yagura vms -o yaml` shows everything, with reasons.\n\n"
    "Options:\n" YGR_COMMON_HELP;

/* "3/4": applications of this VM that run, of those that should. */
static void count_apps(const json_t *vm, char *out, size_t size)
{
	unsigned wanted = 0, running = 0;
	size_t i, k;
	json_t *monitor, *app;
	json_array_foreach(ygr_document_at(vm, "status.monitors"), i, monitor)
	{
		json_array_foreach(json_object_get(monitor, "apps"), k, app)
		{
			const char *state = ygr_document_string(app, "state");
			wanted++;
			running += state && state[0] == 'R' && state[1] == 'u';
		}
	}
	snprintf(out, size, "%u/%u", running, wanted);
}

static int print_table(const json_t *vms)
{
	static const char *const headers[] = {"NAMESPACE", "NAME",   "NODE", "PHASE",
					      "CHANNEL",   "KERNEL", "APPS", NULL};
	struct ygr_table *table = ygr_table_new(headers);
	size_t i;
	json_t *vm;
	json_array_foreach(vms, i, vm)
	{
		char apps[32], channel[64];
		const char *type = ygr_document_string(vm, "status.channel.type");
		const char *state = ygr_document_string(vm, "status.channel.state");
		count_apps(vm, apps, sizeof(apps));
		snprintf(channel, sizeof(channel), "%s%s%s", type ? type : "", type && state ? "/" : "",
			 state ? state : "");
		const char *const cells[] = {ygr_document_string(vm, "metadata.namespace"),
					     ygr_document_string(vm, "metadata.name"),
					     ygr_document_string(vm, "spec.nodeName"),
					     ygr_document_string(vm, "status.phase"),
					     channel,
					     ygr_document_string(vm, "status.kernel"),
					     apps};
		if (table)
			ygr_table_add(table, cells);
	}
	if (table)
		ygr_table_print(table, stdout);
	ygr_table_free(table);
	return 0;
}

int ygr_command_vms(int argc, char **argv)
{
	static const struct option longs[] = {YGR_COMMON_LONG, {0}};
	struct ygr_options options = {0};
	bool bad = false;
	for (int c; (c = getopt_long(argc, argv, YGR_COMMON_SHORT, longs, NULL)) != -1;) {
		if (c == 'h')
			return fputs(help, stdout) < 0;
		bad |= !ygr_options_take(&options, c, optarg, &bad);
	}
	if (bad || optind < argc) {
		fputs(help, stderr);
		return EXIT_USAGE;
	}

	struct ygr_error error = YGR_ERROR_INIT;
	struct ygr_client *client = ygr_client_new(options.socket);
	json_t *all = NULL;
	int r = client ? ygr_client_get(client, "/v1/vms", &all, &error)
		       : ygr_error_set(&error, ENOMEM, "out of memory");
	ygr_client_free(client);
	if (r < 0)
		return ygr_command_failed(&error);

	json_t *vms = ygr_document_filter(all, options.namespace_);
	if (options.output != YGR_OUTPUT_TABLE)
		r = ygr_output_document(vms, options.output, stdout);
	else if (json_array_size(vms) == 0)
		fputs("No VMs. A libvirt domain is watched when its metadata has <yagura:vm> (man "
		      "yagura-agent).\n",
		      stderr);
	else
		r = print_table(vms);
	json_decref(vms);
	json_decref(all);
	return r < 0 ? EXIT_FAILED : 0;
}
