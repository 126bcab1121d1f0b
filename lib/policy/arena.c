/* See arena.h: a list of blocks, the first one has room. */
#include "lib/policy/arena.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK_BYTES 65536
#define ALIGNMENT   16

struct block {
	struct block *next;
	size_t used, size;
	_Alignas(ALIGNMENT) char data[];
};

struct ygr_policy_arena {
	struct block *blocks;
	size_t given, max;
	int failed;
};

struct ygr_policy_arena *ygr_policy_arena_new(size_t max)
{
	struct ygr_policy_arena *arena = calloc(1, sizeof(*arena));
	if (arena)
		arena->max = max;
	return arena;
}

struct ygr_policy_arena *ygr_policy_arena_free(struct ygr_policy_arena *arena)
{
	if (!arena)
		return NULL;
	for (struct block *block = arena->blocks, *next; block; block = next) {
		next = block->next;
		free(block);
	}
	free(arena);
	return NULL;
}

static struct block *add_block(struct ygr_policy_arena *arena, size_t size)
{
	size_t room = size > BLOCK_BYTES ? size : BLOCK_BYTES;
	struct block *block = calloc(1, sizeof(*block) + room);
	if (!block)
		return NULL;
	block->size = room;
	block->next = arena->blocks;
	arena->blocks = block;
	return block;
}

void *ygr_policy_arena_take(struct ygr_policy_arena *arena, size_t size)
{
	size = (size + ALIGNMENT - 1) & ~(size_t)(ALIGNMENT - 1);
	if (size > arena->max - arena->given) {
		arena->failed = -E2BIG;
		return NULL;
	}
	struct block *block = arena->blocks;
	if (!block || block->size - block->used < size)
		block = add_block(arena, size);
	if (!block) {
		arena->failed = -ENOMEM;
		return NULL;
	}
	void *memory = block->data + block->used;
	block->used += size;
	arena->given += size;
	return memory;
}

char *ygr_policy_arena_text(struct ygr_policy_arena *arena, const char *text, size_t len)
{
	char *copy = ygr_policy_arena_take(arena, len + 1);
	if (copy)
		memcpy(copy, text, len);
	return copy;
}

int ygr_policy_arena_failed(const struct ygr_policy_arena *arena)
{
	return arena->failed;
}
