/* The forms in which commands answer. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

enum ygr_output { YGR_OUTPUT_TABLE, YGR_OUTPUT_JSON, YGR_OUTPUT_YAML };

/* "table", "json", "yaml"; false when WORD is none of them. */
bool ygr_output_parse(const char *word, enum ygr_output *ret_output);

/* Prints DOCUMENT as indented JSON or as YAML: 0, -ENOMEM or -EIO. */
int ygr_output_document(const json_t *document, enum ygr_output output, FILE *out);
