/*
 * libyaml gives events; a recursive descent over them (bounded by YGR_YAML_DEPTH_MAX) builds the jansson
 * value and beside it a tree of positions of the same shape. The tree is one array with first-child and
 * next-sibling indices and costs 24 bytes a node, where a table of paths could grow with the square of the
 * file.
 */
#include "lib/base/yaml.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <yaml.h>

#include "lib/base/cleanup.h"
#include "lib/base/yaml-scalar.h"

#define NONE UINT32_MAX

struct node {
	uint32_t line, column;
	uint32_t first_child, next;
	char *key; /* of a member; NULL for an item */
};

struct ygr_doc {
	char *file;
	json_t *root;
	struct node *nodes;
	uint32_t count, cap;
};

struct builder {
	yaml_parser_t parser;
	const char *file;
	struct ygr_doc *doc;
	uint32_t nodes; /* in the whole file */
	struct ygr_error *error;
};

static int fail(struct builder *b, int code, yaml_mark_t mark, const char *what)
{
	return ygr_error_set(b->error, code, "%s:%zu:%zu: %s", b->file, mark.line + 1, mark.column + 1,
			     what);
}

static int out_of_memory(struct builder *b)
{
	return ygr_error_set(b->error, ENOMEM, "%s: out of memory", b->file);
}

static int next_event(struct builder *b, yaml_event_t *event)
{
	if (yaml_parser_parse(&b->parser, event))
		return 0;
	if (b->parser.error == YAML_MEMORY_ERROR)
		return out_of_memory(b);
	if (b->parser.error == YAML_READER_ERROR)
		return ygr_error_set(b->error, EINVAL, "%s: %s at byte %zu", b->file, b->parser.problem,
				     b->parser.problem_offset);
	yaml_mark_t mark = b->parser.problem_mark;
	return ygr_error_set(b->error, EINVAL, "%s:%zu:%zu: %s%s%s", b->file, mark.line + 1, mark.column + 1,
			     b->parser.problem ? b->parser.problem : "not YAML",
			     b->parser.context ? " " : "", b->parser.context ? b->parser.context : "");
}

static int add_node(struct builder *b, yaml_mark_t mark, uint32_t *ret_index)
{
	struct ygr_doc *doc = b->doc;

	if (++b->nodes > YGR_YAML_NODES_MAX)
		return fail(b, E2BIG, mark, "more than 100000 nodes in one file");
	if (doc->count == doc->cap) {
		uint32_t cap = doc->cap ? doc->cap * 2 : 64;
		struct node *grown = reallocarray(doc->nodes, cap, sizeof(*grown));
		if (!grown)
			return out_of_memory(b);
		doc->nodes = grown;
		doc->cap = cap;
	}
	doc->nodes[doc->count] = (struct node){.line = (uint32_t)mark.line + 1,
					       .column = (uint32_t)mark.column + 1,
					       .first_child = NONE,
					       .next = NONE};
	*ret_index = doc->count++;
	return 0;
}

/* Hangs CHILD behind *LAST (or as the first child of PARENT). */
static void link_node(struct ygr_doc *doc, uint32_t parent, uint32_t *last, uint32_t child)
{
	if (*last == NONE)
		doc->nodes[parent].first_child = child;
	else
		doc->nodes[*last].next = child;
	*last = child;
}

static int build(struct builder *b, const yaml_event_t *event, unsigned depth, json_t **ret_value,
		 uint32_t *ret_node);

static int build_scalar(struct builder *b, const yaml_event_t *event, json_t **ret_value)
{
	const char *text = (const char *)event->data.scalar.value, *advice = NULL;
	size_t len = event->data.scalar.length;

	if (memchr(text, 0, len))
		return fail(b, EINVAL, event->start_mark, "NUL character in a string");
	if (event->data.scalar.tag && strcmp((const char *)event->data.scalar.tag, YAML_STR_TAG) != 0)
		return fail(b, EINVAL, event->start_mark, "tags other than !!str are not accepted");
	if (!event->data.scalar.tag && event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE) {
		int r = ygr_yaml_plain(text, len, ret_value, &advice);
		if (r == -EINVAL)
			return ygr_error_set(b->error, EINVAL, "%s:%zu:%zu: %.64s: %s", b->file,
					     event->start_mark.line + 1, event->start_mark.column + 1, text,
					     advice);
		return r < 0 ? out_of_memory(b) : 0;
	}
	*ret_value = json_stringn(text, len);
	return *ret_value ? 0 : fail(b, EINVAL, event->start_mark, "not UTF-8");
}

static int build_sequence(struct builder *b, unsigned depth, uint32_t node, json_t *array)
{
	uint32_t last = NONE;

	for (;;) {
		yaml_event_t event;
		json_t *item = NULL;
		uint32_t child;
		int r = next_event(b, &event);
		if (r < 0)
			return r;
		if (event.type == YAML_SEQUENCE_END_EVENT) {
			yaml_event_delete(&event);
			return 0;
		}
		r = build(b, &event, depth, &item, &child);
		yaml_event_delete(&event);
		if (r < 0)
			return r;
		if (json_array_append_new(array, item) < 0)
			return out_of_memory(b);
		link_node(b->doc, node, &last, child);
	}
}

static int check_key(struct builder *b, const yaml_event_t *event, const json_t *object)
{
	if (event->type != YAML_SCALAR_EVENT)
		return fail(b, EINVAL, event->start_mark, "expected a plain key");
	const char *key = (const char *)event->data.scalar.value;
	if (memchr(key, 0, event->data.scalar.length))
		return fail(b, EINVAL, event->start_mark, "NUL character in a key");
	if (event->data.scalar.length > YGR_YAML_KEY_MAX)
		return fail(b, E2BIG, event->start_mark, "key longer than 320 bytes");
	if (json_object_get(object, key))
		return ygr_error_set(b->error, EINVAL, "%s:%zu:%zu: duplicate key \"%s\"", b->file,
				     event->start_mark.line + 1, event->start_mark.column + 1, key);
	return 0;
}

static int build_member(struct builder *b, unsigned depth, const yaml_event_t *key_event, json_t *object,
			uint32_t *ret_child)
{
	_cleanup_free_ char *key = NULL;
	yaml_event_t event;
	json_t *value = NULL;

	int r = check_key(b, key_event, object);
	if (r < 0)
		return r;
	key = strdup((const char *)key_event->data.scalar.value);
	if (!key)
		return out_of_memory(b);
	r = next_event(b, &event);
	if (r < 0)
		return r;
	r = build(b, &event, depth, &value, ret_child);
	yaml_event_delete(&event);
	if (r < 0)
		return r;
	if (json_object_set_new(object, key, value) < 0)
		return fail(b, EINVAL, key_event->start_mark, "key is not UTF-8");
	b->doc->nodes[*ret_child].key = ygr_steal_ptr(&key);
	return 0;
}

static int build_mapping(struct builder *b, unsigned depth, uint32_t node, json_t *object)
{
	uint32_t last = NONE;

	for (;;) {
		yaml_event_t event;
		uint32_t child;
		int r = next_event(b, &event);
		if (r < 0)
			return r;
		if (event.type == YAML_MAPPING_END_EVENT) {
			yaml_event_delete(&event);
			return 0;
		}
		r = build_member(b, depth, &event, object, &child);
		yaml_event_delete(&event);
		if (r < 0)
			return r;
		link_node(b->doc, node, &last, child);
	}
}

static int build(struct builder *b, const yaml_event_t *event, unsigned depth, json_t **ret_value,
		 uint32_t *ret_node)
{
	json_t *value = NULL;

	if (depth >= YGR_YAML_DEPTH_MAX)
		return fail(b, E2BIG, event->start_mark, "nested deeper than 32 levels");
	int r = add_node(b, event->start_mark, ret_node);
	if (r < 0)
		return r;
	switch (event->type) {
	case YAML_SCALAR_EVENT:
		return build_scalar(b, event, ret_value);
	case YAML_SEQUENCE_START_EVENT:
		value = json_array();
		r = value ? build_sequence(b, depth + 1, *ret_node, value) : out_of_memory(b);
		break;
	case YAML_MAPPING_START_EVENT:
		value = json_object();
		r = value ? build_mapping(b, depth + 1, *ret_node, value) : out_of_memory(b);
		break;
	case YAML_ALIAS_EVENT:
		return fail(b, EINVAL, event->start_mark,
			    "aliases (*name) are not accepted; write the value out");
	default:
		return fail(b, EINVAL, event->start_mark, "expected a value");
	}
	if (r < 0) {
		json_decref(value);
		return r;
	}
	*ret_value = value;
	return 0;
}

struct ygr_doc *ygr_doc_free(struct ygr_doc *doc)
{
	if (!doc)
		return NULL;
	for (uint32_t i = 0; i < doc->count; i++)
		free(doc->nodes[i].key);
	free(doc->nodes);
	json_decref(doc->root);
	free(doc->file);
	free(doc);
	return NULL;
}

void ygr_docs_free(struct ygr_doc **docs, size_t count)
{
	for (size_t i = 0; i < count; i++)
		ygr_doc_free(docs[i]);
	free(docs);
}

struct ygr_doc *ygr_doc_new_json(const char *name, json_t *value)
{
	struct ygr_doc *doc = calloc(1, sizeof(*doc));

	if (!doc)
		return NULL;
	doc->root = json_incref(value);
	doc->file = strdup(name);
	return doc->file ? doc : ygr_doc_free(doc);
}

/* One document, from after its start event to after its end event. */
static int build_document(struct builder *b, struct ygr_doc *doc)
{
	yaml_event_t event;
	uint32_t node;

	b->doc = doc;
	int r = next_event(b, &event);
	if (r < 0)
		return r;
	r = build(b, &event, 0, &doc->root, &node);
	yaml_event_delete(&event);
	if (r < 0)
		return r;
	r = next_event(b, &event); /* the document's end */
	if (r == 0)
		yaml_event_delete(&event);
	return r;
}

struct list {
	struct ygr_doc **docs;
	size_t count;
};

static int add_document(struct builder *b, struct list *list)
{
	if (list->count == YGR_YAML_DOCUMENTS_MAX)
		return ygr_error_set(b->error, E2BIG, "%s: more than %d documents in one file", b->file,
				     YGR_YAML_DOCUMENTS_MAX);
	struct ygr_doc **grown = reallocarray(list->docs, list->count + 1, sizeof(*grown));
	if (!grown)
		return out_of_memory(b);
	list->docs = grown;
	struct ygr_doc *doc = ygr_doc_new_json(b->file, NULL);
	if (!doc)
		return out_of_memory(b);
	int r = build_document(b, doc);
	if (r < 0 || json_is_null(doc->root)) {
		ygr_doc_free(doc);
		return r;
	}
	list->docs[list->count++] = doc;
	return 0;
}

static int build_stream(struct builder *b, struct list *list)
{
	for (;;) {
		yaml_event_t event;
		int r = next_event(b, &event);
		if (r < 0)
			return r;
		yaml_event_type_t type = event.type;
		yaml_event_delete(&event);
		if (type == YAML_STREAM_END_EVENT)
			return 0;
		if (type != YAML_DOCUMENT_START_EVENT)
			continue;
		r = add_document(b, list);
		if (r < 0)
			return r;
	}
}

int ygr_yaml_parse(const char *file, const char *text, size_t len, struct ygr_doc ***ret_docs,
		   size_t *ret_count, struct ygr_error *error)
{
	struct builder b = {.file = file, .error = error};
	struct list list = {0};

	if (len > YGR_YAML_FILE_MAX)
		return ygr_error_set(error, E2BIG, "%s: larger than 1 MiB", file);
	if (!yaml_parser_initialize(&b.parser))
		return out_of_memory(&b);
	yaml_parser_set_input_string(&b.parser, (const unsigned char *)text, len);
	int r = build_stream(&b, &list);
	yaml_parser_delete(&b.parser);
	if (r < 0) {
		ygr_docs_free(list.docs, list.count);
		return r;
	}
	*ret_docs = list.docs;
	*ret_count = list.count;
	return 0;
}

/* A FIFO or a device in the directory must not hang or flood us: regular files only. */
static int read_all(const char *path, const char *file, char **ret_text, size_t *ret_len,
		    struct ygr_error *error)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	_cleanup_free_ char *text = NULL;
	struct stat st;
	size_t len = 0;

	if (fd < 0 || fstat(fd, &st) < 0)
		return ygr_error_set(error, errno, "%s: %s", file, strerror(errno));
	if (!S_ISREG(st.st_mode))
		return ygr_error_set(error, EINVAL, "%s: not a regular file", file);
	if (st.st_size > YGR_YAML_FILE_MAX)
		return ygr_error_set(error, E2BIG, "%s: larger than 1 MiB", file);
	size_t room = (size_t)st.st_size + 4096; /* it may be growing while we read */
	text = malloc(room);
	if (!text)
		return ygr_error_set(error, ENOMEM, "%s: out of memory", file);
	while (len < room) {
		ssize_t n = read(fd, text + len, room - len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return ygr_error_set(error, errno, "%s: %s", file, strerror(errno));
		if (n == 0)
			break;
		len += (size_t)n;
	}
	*ret_text = ygr_steal_ptr(&text);
	*ret_len = len;
	return 0;
}

int ygr_yaml_read(const char *path, const char *file, struct ygr_doc ***ret_docs, size_t *ret_count,
		  struct ygr_error *error)
{
	_cleanup_free_ char *text = NULL;
	size_t len = 0;

	if (!file)
		file = path;
	int r = read_all(path, file, &text, &len, error);
	if (r < 0)
		return r;
	return ygr_yaml_parse(file, text, len, ret_docs, ret_count, error);
}

const json_t *ygr_doc_root(const struct ygr_doc *doc)
{
	return doc->root;
}

const char *ygr_doc_file(const struct ygr_doc *doc)
{
	return doc->file;
}

/* Does KEY equal the pointer token of LEN bytes, in which ~1 is '/' and ~0 is '~'? */
static bool token_is(const char *token, size_t len, const char *key)
{
	size_t i = 0;

	for (; *key; key++) {
		if (i >= len)
			return false;
		char c = token[i++];
		if (c == '~' && i < len)
			c = token[i++] == '1' ? '/' : '~';
		if (c != *key)
			return false;
	}
	return i == len;
}

int ygr_doc_position(const struct ygr_doc *doc, const char *pointer, unsigned *ret_line,
		     unsigned *ret_column)
{
	uint32_t at = 0;

	if (!doc->count)
		return -ENOENT;
	while (*pointer == '/') {
		size_t len = strcspn(++pointer, "/");
		unsigned long index = strtoul(pointer, NULL, 10);
		for (at = doc->nodes[at].first_child; at != NONE; at = doc->nodes[at].next)
			if (doc->nodes[at].key ? token_is(pointer, len, doc->nodes[at].key) : !index--)
				break;
		if (at == NONE)
			return -ENOENT;
		pointer += len;
	}
	*ret_line = doc->nodes[at].line;
	*ret_column = doc->nodes[at].column;
	return 0;
}
