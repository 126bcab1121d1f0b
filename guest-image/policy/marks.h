/* What frames look up by themselves: marked directories of all policies, marks of descendants, watched names. */
#pragma once

#include "guest-image/policy/dispatch.h"
#include "guest-image/policy/names.h"

struct ygr_mark_table {
	uint32_t key_size, value_size;
	size_t count, room;
	uint8_t *rows;
};

struct ygr_marks {
	struct ygr_mark_table tables[YGR_OUTERS];
	struct ygr_policy_marks directories, exe_directories, cgroups; /* of all policies, for image.h */
	uint64_t lineage_used; /* marks that these policies ask for */
	uint64_t lineage_kept; /* of these, those that tasks bear already */
};

/* Also gives each set of descendants its mark, in RULINGS and in the loader's control. -ENOMEM. */
int ygr_marks_make(struct ygr_loader *loader, const struct ygr_guest_name_table *names,
		   struct ygr_ruling *rulings, size_t count, struct ygr_marks *ret_marks);
void ygr_marks_free(struct ygr_marks *marks);
