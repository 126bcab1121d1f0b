/* A compiled policy for people and for programs: what `yagura policy compile --emit asm|json` prints. */
#pragma once

#include "lib/policy/code.h"
#include "lib/policy/text.h"

/* Instructions as text, one a line, in the notation of LLVM's assembler, with the maps by name. */
void ygr_policy_show_asm(const struct ygr_policy_code *code, struct ygr_policy_text *out);

/* C for clang -target bpf that decides the same, with the same maps. */
void ygr_policy_show_c(const struct ygr_policy_code *code, struct ygr_policy_text *out);

/* One JSON object: rules, maps, programs (instructions as hexadecimal digits of their 8 bytes each). */
void ygr_policy_show_json(const struct ygr_policy_code *code, struct ygr_policy_text *out);

/* "files", "exes"... */
const char *ygr_policy_map_name(enum ygr_policy_map map);
