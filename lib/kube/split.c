/* See split.h. Bytes are kept in runs: `from` is where the run begins that was read but not yet kept. */
#include "lib/kube/split.h"

#include <errno.h>
#include <string.h>

/* What leads to the member that is left out, from the object that is cut; and what leads to the items. */
static const char *const item_path[] = {"metadata", "managedFields"};
static const char *const event_path[] = {"object", "metadata", "managedFields"};
static const char *const list_path[] = {"items"};

static const char *const *path_of(const struct ygr_kube_split *split, unsigned *ret_len)
{
	if (split->mode == YGR_KUBE_SPLIT_STREAM) {
		*ret_len = 3;
		return event_path;
	}
	*ret_len = split->in_items ? 2 : 1;
	return split->in_items ? item_path : list_path;
}

void ygr_kube_split_init(struct ygr_kube_split *split, enum ygr_kube_split_mode mode,
			 int (*object)(void *user, const char *text, size_t len), void *user)
{
	*split = (struct ygr_kube_split){.mode = mode,
					 .object = object,
					 .user = user,
					 .item = YGR_BUF_INIT(YGR_KUBE_OBJECT_MAX + 1),
					 .envelope = YGR_BUF_INIT(YGR_KUBE_ENVELOPE_MAX + 1)};
}

void ygr_kube_split_deinit(struct ygr_kube_split *split)
{
	ygr_buf_deinit(&split->item);
	ygr_buf_deinit(&split->envelope);
}

static bool is_array(const struct ygr_kube_split *split, unsigned depth)
{
	return split->arrays[depth / 64] >> (depth % 64) & 1;
}

/* Between the items of a list, where nothing is kept? */
static bool between_items(const struct ygr_kube_split *split)
{
	return split->in_items && split->depth == 2;
}

static int keep(struct ygr_kube_split *split, const char *from, const char *to)
{
	bool item = split->mode == YGR_KUBE_SPLIT_STREAM || split->in_items;

	if (split->skip || from >= to)
		return 0;
	return ygr_buf_append(item ? &split->item : &split->envelope, from, (size_t)(to - from));
}

static int hand_over(struct ygr_kube_split *split)
{
	int r = ygr_buf_append(&split->item, "", 1);

	if (r == 0)
		r = split->object(split->user, (const char *)split->item.data, split->item.len - 1);
	split->item.len = 0;
	return r;
}

static int push(struct ygr_kube_split *split, char bracket)
{
	uint64_t bit = 1ull << (split->depth % 64);

	if (split->depth == YGR_KUBE_DEPTH_MAX)
		return -EINVAL;
	if (bracket == '[')
		split->arrays[split->depth / 64] |= bit;
	else
		split->arrays[split->depth / 64] &= ~bit;
	split->depth++;
	split->key_next = bracket == '{';
	return 0;
}

static int open_bracket(struct ygr_kube_split *split, const char *at, const char **from)
{
	unsigned relative = split->depth - split->base, path_len;
	bool hit = split->value_matches;
	int r = 0;

	split->value_matches = false;
	path_of(split, &path_len);
	if (split->depth == 0 || between_items(split)) {
		if (*at != '{' || split->done)
			return -EINVAL;
		*from = at;
		split->matched = 0;
	} else if (hit && split->mode == YGR_KUBE_SPLIT_LIST && !split->in_items) {
		if (*at != '[')
			return -EINVAL;
		r = keep(split, *from, at + 1);
		split->in_items = true;
		split->base = 2;
		*from = at + 1;
	} else if (hit && relative == path_len && !split->skip) {
		static const char null[] = "null";
		r = keep(split, *from, at);
		if (r == 0)
			r = keep(split, null, null + 4);
		split->skip = split->depth + 1;
	} else if (hit && *at == '{') {
		split->matched = relative;
	}
	return r < 0 ? r : push(split, *at);
}

static int close_bracket(struct ygr_kube_split *split, const char *at, const char **from)
{
	int r = 0;

	if (split->depth == 0 || is_array(split, split->depth - 1) != (*at == ']'))
		return -EINVAL;
	split->key_next = split->value_matches = false;
	if (between_items(split)) {
		split->in_items = false;
		split->base = 0;
		*from = at;
	}
	unsigned relative = split->depth - split->base;
	split->depth--;
	if (split->skip) {
		if (split->depth < split->skip) {
			split->skip = 0;
			*from = at + 1;
		}
		return 0;
	}
	if (relative >= 2 && split->matched == relative - 1)
		split->matched = relative - 2;
	if (split->depth != (split->in_items ? 2 : 0))
		return 0;
	r = keep(split, *from, at + 1);
	*from = at + 1;
	if (split->mode == YGR_KUBE_SPLIT_LIST && !split->in_items)
		split->done = true;
	else if (r == 0)
		r = hand_over(split);
	return r;
}

/* From inside a string to its end or that of the piece. */
static const char *read_string(struct ygr_kube_split *split, const char *at, const char *end)
{
	for (; at < end; at++) {
		if (split->in_key && split->key_len < sizeof(split->key))
			split->key[split->key_len++] = *at;
		if (split->escaped)
			split->escaped = false;
		else if (*at == '\\')
			split->escaped = true;
		else if (*at == '"')
			break;
	}
	if (at == end)
		return at;
	split->in_string = false;
	if (split->in_key) {
		unsigned path_len, relative = split->depth - split->base;
		const char *const *path = path_of(split, &path_len);
		const char *word = relative <= path_len ? path[relative - 1] : "";
		size_t len = strlen(word);
		split->in_key = false;
		/* The quote at the end was taken as well, so that a longer key is not mistaken for its beginning. */
		split->value_matches = len && split->matched == relative - 1 && split->key_len == len + 1 &&
				       !memcmp(split->key, word, len);
	}
	return at + 1;
}

static int read_outside(struct ygr_kube_split *split, const char *at, const char **from)
{
	bool nowhere = split->depth == 0 || between_items(split);

	switch (*at) {
	case '{':
	case '[':
		return open_bracket(split, at, from);
	case '}':
	case ']':
		return close_bracket(split, at, from);
	case ' ':
	case '\t':
	case '\r':
	case '\n':
		break;
	case ',':
		if (split->depth == 0)
			return -EINVAL;
		split->key_next = !is_array(split, split->depth - 1);
		split->value_matches = false;
		break;
	case '"':
		if (nowhere)
			return -EINVAL;
		split->in_string = true;
		split->in_key = split->key_next;
		split->key_next = false;
		split->key_len = 0;
		if (!split->in_key)
			split->value_matches = false;
		break;
	default:
		if (nowhere)
			return -EINVAL;
		break;
	}
	if (nowhere)
		*from = at + 1;
	return 0;
}

int ygr_kube_split_feed(struct ygr_kube_split *split, const char *bytes, size_t len)
{
	const char *at = bytes, *end = bytes + len, *from = bytes;

	while (at < end) {
		if (split->in_string) {
			at = read_string(split, at, end);
			continue;
		}
		int r = read_outside(split, at, &from);
		if (r != 0)
			return r;
		at++;
	}
	return keep(split, from, end);
}

int ygr_kube_split_end(struct ygr_kube_split *split)
{
	if (split->depth)
		return -EINVAL;
	if (split->mode == YGR_KUBE_SPLIT_STREAM)
		return 0;
	return split->done ? ygr_buf_append(&split->envelope, "", 1) : -EINVAL;
}
