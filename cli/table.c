/* Tables; see table.h. Widths count UTF-8 characters, not bytes. */
#include "cli/table.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define COLUMNS_MAX 16

struct row {
	struct row *next;
	char *cells[COLUMNS_MAX];
};

struct ygr_table {
	unsigned columns;
	size_t widths[COLUMNS_MAX];
	struct row *first;
	struct row **last;
};

static size_t width_of(const char *text)
{
	size_t n = 0;
	for (; *text; text++)
		n += ((unsigned char)*text & 0xc0) != 0x80;
	return n;
}

struct ygr_table *ygr_table_new(const char *const *headers)
{
	struct ygr_table *table = calloc(1, sizeof(*table));
	if (!table)
		return NULL;
	table->last = &table->first;
	while (headers[table->columns] && table->columns < COLUMNS_MAX)
		table->columns++;
	return ygr_table_add(table, headers) < 0 ? ygr_table_free(table) : table;
}

struct ygr_table *ygr_table_free(struct ygr_table *table)
{
	if (!table)
		return NULL;
	for (struct row *next, *row = table->first; row; row = next) {
		next = row->next;
		for (unsigned i = 0; i < table->columns; i++)
			free(row->cells[i]);
		free(row);
	}
	free(table);
	return NULL;
}

int ygr_table_add(struct ygr_table *table, const char *const *cells)
{
	struct row *row = calloc(1, sizeof(*row));
	if (!row)
		return -ENOMEM;
	*table->last = row;
	table->last = &row->next;
	for (unsigned i = 0; i < table->columns; i++) {
		row->cells[i] = strdup(cells[i] && *cells[i] ? cells[i] : "-");
		if (!row->cells[i])
			return -ENOMEM;
		for (char *c = row->cells[i]; *c; c++)
			if ((unsigned char)*c < 0x20 || *c == 0x7f)
				*c = '?';
		size_t width = width_of(row->cells[i]);
		if (width > table->widths[i])
			table->widths[i] = width;
	}
	return 0;
}

void ygr_table_print(const struct ygr_table *table, FILE *out)
{
	for (const struct row *row = table->first; row; row = row->next)
		for (unsigned i = 0; i < table->columns; i++) {
			const char *cell = row->cells[i] ? row->cells[i] : "-";
			bool last = i + 1 == table->columns;
			fprintf(out, "%s%*s", cell, last ? 0 : (int)(table->widths[i] - width_of(cell)) + 2,
				"");
			if (last)
				fputc('\n', out);
		}
}
