/*
 * Memory of one compilation: nodes are never freed one by one, all of them go together. Bounded, so that a
 * hostile policy costs what its size allows and not more.
 */
#pragma once

#include <stddef.h>

struct ygr_policy_arena;

/* MAX: bytes that it will ever give. NULL without memory. */
struct ygr_policy_arena *ygr_policy_arena_new(size_t max);
struct ygr_policy_arena *ygr_policy_arena_free(struct ygr_policy_arena *arena);

/*
 * SIZE zeroed bytes, aligned for any type. NULL without memory or beyond the bound; that is remembered, so
 * that a caller may check once at the end.
 */
void *ygr_policy_arena_take(struct ygr_policy_arena *arena, size_t size);
/* LEN bytes of TEXT and a NUL. */
char *ygr_policy_arena_text(struct ygr_policy_arena *arena, const char *text, size_t len);

/* 0, -ENOMEM when memory ran out, -E2BIG when the bound was met. */
int ygr_policy_arena_failed(const struct ygr_policy_arena *arena);
