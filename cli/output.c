/* JSON and YAML output; see output.h. YAML is emitted by libyaml from the JSON tree. */
#include "cli/output.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

bool ygr_output_parse(const char *word, enum ygr_output *ret_output)
{
	static const char *const words[] = {"table", "json", "yaml"};
	for (unsigned i = 0; i < 3; i++)
		if (strcmp(word, words[i]) == 0) {
			*ret_output = (enum ygr_output)i;
			return true;
		}
	return false;
}

static bool emit(yaml_emitter_t *emitter, const json_t *value);

static bool emit_scalar(yaml_emitter_t *emitter, const char *text, bool plain)
{
	yaml_event_t event;
	return yaml_scalar_event_initialize(
		   &event, NULL, NULL, (yaml_char_t *)text, (int)strlen(text), plain, 1,
		   plain ? YAML_PLAIN_SCALAR_STYLE : YAML_DOUBLE_QUOTED_SCALAR_STYLE) &&
	       yaml_emitter_emit(emitter, &event);
}

/* Would a YAML reader take this string, written plain, for something else than a string? */
static bool needs_quotes(const char *text)
{
	static const char *const words[] = {
	    "",    "~",  "null", "Null", "NULL", "true", "True", "TRUE", "false", "False", "FALSE", "yes",
	    "Yes", "no", "No",   "on",   "On",   "off",  "Off",  "y",    "n",     "Y",     "N"};
	for (unsigned i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (strcmp(text, words[i]) == 0)
			return true;
	return strchr("0123456789.+-", text[0]) || strpbrk(text, "\n\t:#{}[],&*!|>'\"%@`") ||
	       strchr("? ", text[0]) || text[strlen(text) - 1] == ' ';
}

static bool emit_object(yaml_emitter_t *emitter, const json_t *value)
{
	yaml_event_t event;
	const char *key;
	json_t *member;
	if (!yaml_mapping_start_event_initialize(&event, NULL, NULL, 1, YAML_BLOCK_MAPPING_STYLE) ||
	    !yaml_emitter_emit(emitter, &event))
		return false;
	json_object_foreach((json_t *)value, key, member)
	{
		if (!emit_scalar(emitter, key, !needs_quotes(key)) || !emit(emitter, member))
			return false;
	}
	return yaml_mapping_end_event_initialize(&event) && yaml_emitter_emit(emitter, &event);
}

static bool emit_array(yaml_emitter_t *emitter, const json_t *value)
{
	yaml_event_t event;
	size_t i;
	json_t *member;
	if (!yaml_sequence_start_event_initialize(&event, NULL, NULL, 1, YAML_BLOCK_SEQUENCE_STYLE) ||
	    !yaml_emitter_emit(emitter, &event))
		return false;
	json_array_foreach(value, i, member)
	{
		if (!emit(emitter, member))
			return false;
	}
	return yaml_sequence_end_event_initialize(&event) && yaml_emitter_emit(emitter, &event);
}

static bool emit(yaml_emitter_t *emitter, const json_t *value)
{
	if (json_is_object(value))
		return emit_object(emitter, value);
	if (json_is_array(value))
		return emit_array(emitter, value);
	if (json_is_string(value)) {
		const char *text = json_string_value(value);
		return emit_scalar(emitter, text, !needs_quotes(text));
	}
	char *text = json_dumps(value, JSON_ENCODE_ANY);
	bool ok = text && emit_scalar(emitter, text, true);
	free(text);
	return ok;
}

static int print_yaml(const json_t *document, FILE *out)
{
	yaml_emitter_t emitter;
	yaml_event_t event;
	if (!yaml_emitter_initialize(&emitter))
		return -ENOMEM;
	yaml_emitter_set_output_file(&emitter, out);
	yaml_emitter_set_unicode(&emitter, 1);
	yaml_emitter_set_width(&emitter, -1);
	bool ok = yaml_stream_start_event_initialize(&event, YAML_UTF8_ENCODING) &&
		  yaml_emitter_emit(&emitter, &event) &&
		  yaml_document_start_event_initialize(&event, NULL, NULL, NULL, 1) &&
		  yaml_emitter_emit(&emitter, &event) && emit(&emitter, document) &&
		  yaml_document_end_event_initialize(&event, 1) && yaml_emitter_emit(&emitter, &event) &&
		  yaml_stream_end_event_initialize(&event) && yaml_emitter_emit(&emitter, &event);
	yaml_emitter_delete(&emitter);
	return ok ? 0 : -EIO;
}

int ygr_output_document(const json_t *document, enum ygr_output output, FILE *out)
{
	if (output == YGR_OUTPUT_YAML)
		return print_yaml(document, out);
	if (json_dumpf(document, out, JSON_INDENT(2) | JSON_ENCODE_ANY) < 0)
		return -EIO;
	fputc('\n', out);
	return 0;
}
