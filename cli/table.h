/* A table for people: left-aligned columns, two spaces apart, no lines, widths by what is in it. */
#pragma once

#include <stdio.h>

struct ygr_table;

/* HEADERS: NULL-terminated. */
struct ygr_table *ygr_table_new(const char *const *headers);
struct ygr_table *ygr_table_free(struct ygr_table *table);

/* One row of as many cells as there are headers; NULL is shown as "-". Copied, control characters replaced.
 */
int ygr_table_add(struct ygr_table *table, const char *const *cells);
void ygr_table_print(const struct ygr_table *table, FILE *out);
