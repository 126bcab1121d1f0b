/* Writes docs/telebpf-commands.md: how each bpf() command is treated, from the marshaller's own table. */
#include <stdio.h>

#include "lib/wire/call-table.h"

static const char *const kinds[] = {
    "-", "map", "program", "link", "BTF", "iterator", "perf event", "map, program or link", "BPF token"};
static const char *const lengths[] = {"fixed", "counted", "counted records", "string", "strings",  "key",
				      "value", "keys",    "values",          "cursor", "fd array", "query"};

static const char *made_by(const struct ygr_command_info *info)
{
	const struct ygr_call call = {.kind = YGR_CALL_BPF, .cmd = (uint32_t)info->cmd};
	uint32_t kind = ygr_call_makes(&call);
	if (kind == YGR_OBJECT_FILE && info->cmd != 7)
		return "file";
	return kinds[kind];
}

static void print_fields(const struct ygr_field *field)
{
	static const char *const ways[] = {"", "in", "out", "in/out"};
	unsigned descriptors = 0, pointers = 0;

	for (const struct ygr_field *f = field; f->kind != YGR_FIELD_END; f++)
		descriptors += f->kind >= YGR_FIELD_FD && f->kind < YGR_FIELD_POINTER;
	printf(" %u |", descriptors);
	for (; field->kind != YGR_FIELD_END; field++)
		if (field->kind == YGR_FIELD_POINTER)
			printf("%s %u: %s, %s", pointers++ ? ";" : "", field->offset, lengths[field->length],
			       ways[field->way]);
	printf("%s |\n", pointers ? "" : " -");
}

int main(void)
{
	static const char *const treatments[] = {"forwarded", "local", "refused"};

	puts("# bpf() commands and what becomes of them\n");
	puts("Written by `yagura-call-table` from the table in lib/wire/call-table.c; a test keeps the "
	     "two equal.");
	puts("Pointers are given as the byte offset in `union bpf_attr`, how long what they point to is, "
	     "and which");
	puts("way it goes. LINK_CREATE is shown as for links without pointers; its part of the union is "
	     "chosen by");
	puts("attach type. Map type ARENA and values of STRUCT_OPS maps are refused with EOPNOTSUPP.\n");
	puts("| nr | command | treatment | returns | descriptors | pointers |");
	puts("|---|---|---|---|---|---|");
	for (int cmd = 0; cmd < ygr_command_count(); cmd++) {
		const struct ygr_command_info *info = ygr_command_info(cmd);
		const struct ygr_call call = {.kind = YGR_CALL_BPF, .cmd = (uint32_t)cmd};
		const uint8_t attr[YGR_BPF_ATTR_KNOWN] = {0};

		printf("| %d | %s | %s%s%s | %s |", cmd, info->name, treatments[info->treatment],
		       info->reason ? ": " : "", info->reason ? info->reason : "", made_by(info));
		print_fields(ygr_call_fields(&call, attr));
	}
	return 0;
}
