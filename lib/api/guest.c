/* See guest.h. json_pack's "s*" and "o*" leave a member out when its value is NULL. */
#include "lib/api/guest.h"

static json_t *encode_monitor(const struct ygr_guest_monitor *monitor)
{
	json_t *apps = json_array();

	for (size_t i = 0; apps && i < monitor->app_count; i++) {
		const struct ygr_guest_app *app = &monitor->apps[i];
		json_t *entry = json_pack("{s:s, s:s, s:s*, s:s*, s:s*, s:I}", "name", app->name, "state",
					  app->state, "reason", app->reason, "message", app->message,
					  "delivery", app->delivery, "restarts", (json_int_t)app->restarts);
		if (json_array_append_new(apps, entry) < 0) {
			json_decref(apps);
			return NULL;
		}
	}
	return json_pack("{s:s, s:s, s:I, s:o}", "namespace", monitor->namespace_, "name", monitor->name,
			 "generation", (json_int_t)monitor->generation, "apps", apps);
}

static json_t *encode_features(const struct ygr_guest *guest)
{
	json_t *features = json_object();
	json_t *btf = json_object_get(guest->features, "btf"),
	       *lsm = json_object_get(guest->features, "bpfLSM");

	if (features && guest->memory)
		json_object_set_new(features, "memory", json_string(guest->memory));
	if (features && json_is_boolean(btf))
		json_object_set(features, "btf", btf);
	if (features && json_is_boolean(lsm))
		json_object_set(features, "bpfLSM", lsm);
	return features;
}

static json_t *encode_status(const struct ygr_guest *guest)
{
	json_t *monitors = json_array(), *conditions = json_array();

	for (size_t i = 0; i < guest->monitor_count; i++)
		json_array_append_new(monitors, encode_monitor(&guest->monitors[i]));
	for (size_t i = 0; i < guest->condition_count; i++)
		if (guest->conditions[i].changed)
			json_array_append_new(conditions, ygr_condition_encode(&guest->conditions[i]));
	return json_pack("{s:s, s:s*, s:s*, s:{s:s*, s:s, s:b, s:s*, s:s*}, s:o, s:o, s:o*, s:o*, s:o}",
			 "phase", guest->phase, "bootID", guest->boot_id, "kernel", guest->kernel, "channel",
			 "type", guest->channel_type, "state", guest->channel_state, "nodeVerified",
			 guest->node_verified, "reason", guest->channel_reason, "message",
			 guest->channel_message, "features", encode_features(guest), "monitors", monitors,
			 "policies", guest->policies, "hostActions", guest->host_actions, "conditions",
			 conditions);
}

json_t *ygr_guest_encode(const struct ygr_guest *guest)
{
	return json_pack("{s:s, s:s, s:{s:s, s:s, s:o}, s:{s:s, s:s, s:{s:s, s:s}}, s:o}", "apiVersion",
			 YGR_API_VERSION, "kind", YGR_GUEST_KIND, "metadata", "namespace", guest->namespace_,
			 "name", guest->name, "labels", ygr_labels_encode(guest->labels), "spec", "nodeName",
			 guest->node, "uuid", guest->uuid, "provider", "type", guest->provider, "name",
			 guest->provider_name, "status", encode_status(guest));
}
