/*
 * See generation.h. A slot is filled while another one is in force: maps of each policy, maps that frames look
 * in, programs of every frame that is asked. Then tasks are marked for what is new, and one store of the control
 * word switches all hooks. What the slot before held goes when no hook can be in it any more.
 */
#include "guest-image/policy/generation.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <glob.h>
#include <fcntl.h>
#include <linux/membarrier.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "guest-image/policy/marks.h"
#include "guest-image/policy/names.h"
#include "lib/base/cleanup.h"
#include "lib/policy/operation.h"

struct ygr_generation {
	uint32_t slot, operations;
	uint64_t lineage_used;
	struct ygr_ruling rulings[YGR_POLICIES_MAX];
	size_t count;
	int inner[YGR_OUTERS];
	uint32_t ids[YGR_POLICIES_MAX * YGR_MAPS + YGR_OUTERS]; /* of all maps made here */
	size_t id_count;
};

static int no_memory(struct ygr_error *error)
{
	return ygr_error_set(error, ENOMEM, "out of memory for policies");
}

void ygr_missing_free(struct ygr_missing *missing)
{
	for (unsigned i = 0; i < missing->count; i++)
		free(missing->names[i]);
	missing->count = 0;
}

static int new_map(struct ygr_loader *loader, struct ygr_generation *generation, enum bpf_map_type type,
		   uint32_t key, uint32_t value, size_t entries, uint32_t flags, struct ygr_error *error)
{
	LIBBPF_OPTS(bpf_map_create_opts, options, .map_flags = flags);
	struct bpf_map_info info = {0};
	uint32_t size = sizeof(info), one = 1;
	int fd = bpf_map_create(type, NULL, key, value, entries ? (uint32_t)entries : 1, &options);
	if (fd < 0)
		return ygr_error_set(error, errno, "a map of %zu entries cannot be made: %s", entries,
				     strerror(errno));
	if (bpf_obj_get_info_by_fd(fd, &info, &size) < 0 ||
	    bpf_map_update_elem(loader->shielded, &info.id, &one, BPF_ANY) < 0) {
		int code = errno;
		close(fd);
		return ygr_error_set(error, code, "a map cannot be shielded: %s", strerror(code));
	}
	generation->ids[generation->id_count++] = info.id;
	return fd;
}

static int fill(int fd, const struct ygr_policy_table *table, struct ygr_error *error)
{
	size_t row = table->key_size + table->value_words * 4;
	for (size_t i = 0; i < table->count; i++) {
		const uint8_t *key = table->rows + i * row;
		if (bpf_map_update_elem(fd, key, key + table->key_size, BPF_ANY) < 0)
			return ygr_error_set(error, errno, "a map cannot be filled: %s", strerror(errno));
	}
	return 0;
}

static int make_policy_maps(struct ygr_loader *loader, struct ygr_generation *generation,
			    struct ygr_ruling *ruling, const struct ygr_policy_image *image,
			    struct ygr_error *error)
{
	for (unsigned map = YGR_MAP_FILES; map < YGR_MAPS; map++) {
		const struct ygr_policy_table *table = &image->tables[map];
		enum bpf_map_type type = map == YGR_MAP_RANGES   ? BPF_MAP_TYPE_LPM_TRIE
					 : map == YGR_MAP_COUNTS ? BPF_MAP_TYPE_LRU_HASH
								 : BPF_MAP_TYPE_HASH;
		if (table->value_words == 0)
			continue;
		int fd = new_map(loader, generation, type, table->key_size, table->value_words * 4,
				 map == YGR_MAP_COUNTS ? YGR_POLICY_COUNTS_MAX : table->count,
				 map == YGR_MAP_RANGES ? BPF_F_NO_PREALLOC : 0, error);
		if (fd < 0)
			return fd;
		ruling->maps[map] = fd;
		int r = fill(fd, table, error);
		if (r < 0)
			return r;
	}
	return 0;
}

/* Names of BUNDLE that lead nowhere. */
static int find_missing(const struct ygr_bundle *bundle, const struct ygr_guest_name_table *names,
			struct ygr_missing *missing)
{
	static const enum ygr_policy_set_class classes[] = {YGR_SET_OBJECT, YGR_SET_EXE, YGR_SET_LINEAGE};
	for (unsigned i = 0; i < 3; i++)
		for (const struct ygr_policy_set *set = bundle->code->policy->sets[classes[i]]; set;
		     set = set->next)
			for (size_t j = 0; j < set->value->flat_count; j++) {
				const struct ygr_policy_item *item = set->value->flat[j];
				const struct ygr_guest_name *name =
				    item->kind <= YGR_ITEM_UNDER ? ygr_guest_names_find(names, item->text)
								 : NULL;
				if (!name || name->found || missing->count == YGR_MISSING_MAX)
					continue;
				missing->names[missing->count] = strdup(name->path);
				if (!missing->names[missing->count++])
					return -ENOMEM;
			}
	return 0;
}

static size_t room_of(enum ygr_outer outer, size_t count, bool opens)
{
	if (outer == YGR_OUTER_ALIASES)
		return YGR_FRAME_ALIASES;
	return outer == YGR_OUTER_HELD && opens ? YGR_FRAME_HELD : count;
}

static int make_inner(struct ygr_loader *loader, struct ygr_generation *generation,
		      const struct ygr_marks *marks, struct ygr_error *error)
{
	bool opens = generation->operations >> YGR_OP_OPEN & 1;
	for (unsigned i = 0; i < YGR_OUTERS; i++) {
		const struct ygr_mark_table *table = &marks->tables[i];
		int fd = new_map(loader, generation, BPF_MAP_TYPE_HASH, table->key_size, table->value_size,
				 room_of(i, table->count, opens), 0, error);
		if (fd < 0)
			return fd;
		generation->inner[i] = fd;
		for (size_t j = 0; j < table->count; j++) {
			const uint8_t *row = table->rows + j * (table->key_size + table->value_size);
			if (bpf_map_update_elem(fd, row, row + table->key_size, BPF_ANY) < 0)
				return ygr_error_set(error, errno, "marks cannot be set: %s",
						     strerror(errno));
		}
		if (bpf_map_update_elem(loader->outers[i], &generation->slot, &fd, BPF_ANY) < 0)
			return ygr_error_set(error, errno, "marks (%u) cannot be put in their slot: %s", i,
					     strerror(errno));
	}
	return 0;
}

/* Loaders of programs, wherever the distributions keep them. */
static int find_launchers(struct ygr_loader *loader)
{
	static const char *const patterns[] = {"/lib/ld*.so*", "/lib64/ld*.so*", "/lib/*/ld*.so*",
					       "/usr/lib/*/ld*.so*"};
	glob_t found = {0};
	int r = 0;
	for (unsigned i = 0; i < 4; i++)
		(void)glob(patterns[i], i ? GLOB_APPEND | GLOB_NOSORT : GLOB_NOSORT, NULL, &found);
	for (size_t i = 0; i < found.gl_pathc && i < 60 && r == 0; i++) {
		struct ygr_policy_identity identity = {0};
		uint32_t one = 1;
		_cleanup_close_ int fd = open(found.gl_pathv[i], O_PATH | O_CLOEXEC);
		if (fd < 0)
			continue;
		r = ygr_loader_identify(loader, &fd, 1, &identity);
		if (r == 0 && identity.inode)
			(void)bpf_map_update_elem(loader->launchers, &identity, &one, BPF_ANY);
	}
	globfree(&found);
	return r;
}

static void set_needs(struct ygr_loader *loader, const struct ygr_generation *generation)
{
	uint32_t *needs = loader->control->needs[generation->slot];
	memset(needs, 0, sizeof(loader->control->needs[0]));
	for (size_t i = 0; i < generation->count; i++) {
		const struct ygr_policy_code *code = generation->rulings[i].bundle->code;
		for (size_t j = 0; j < code->program_count; j++) {
			const struct ygr_policy_program *program = &code->programs[j];
			uint32_t *need = &needs[program->operation->number];
			for (size_t k = 0; k < program->count; k++) {
				const struct bpf_insn *insn = &program->insns[k];
				if (insn->code != (BPF_LD | BPF_IMM | BPF_DW) || insn->src_reg == 0)
					continue;
				if (insn->imm == YGR_MAP_DIRECTORIES)
					*need |= YGR_NEED_DIRECTORIES;
				else if (insn->imm == YGR_MAP_EXE_DIRECTORIES)
					*need |= YGR_NEED_EXE_DIRECTORIES;
				else if (insn->imm == YGR_MAP_CGROUPS)
					*need |= YGR_NEED_CGROUP;
			}
		}
	}
}

static int load_decisions(struct ygr_loader *loader, struct ygr_generation *generation,
			  struct ygr_error *error)
{
	for (unsigned i = 0; i < YGR_FRAMES; i++) {
		bool asked = generation->operations & 1u << ygr_hook_frames[i].operation;
		if (!asked || loader->hook_ids[i] == 0) {
			(void)bpf_map_delete_elem(loader->decisions[i], &generation->slot);
			continue;
		}
		_cleanup_close_ int fd =
		    ygr_dispatch_load(loader, i, generation->rulings, generation->count, error);
		if (fd < 0)
			return fd;
		if (bpf_map_update_elem(loader->decisions[i], &generation->slot, &fd, BPF_ANY) < 0)
			return ygr_error_set(error, errno,
					     "the decision for %s cannot be put in its slot: %s",
					     ygr_hook_frames[i].name, strerror(errno));
	}
	return 0;
}

/* Maps of policies, one after the other, each with rows for what the others mark. */
static int make_rulings(struct ygr_loader *loader, struct ygr_generation *generation,
			struct ygr_guest_name_table *names, const struct ygr_marks *marks,
			struct ygr_missing *missing, struct ygr_error *error)
{
	struct ygr_policy_names access = {.file = ygr_guest_names_file,
					  .cgroup = ygr_guest_names_cgroup,
					  .user = names,
					  .directories = marks->directories,
					  .exe_directories = marks->exe_directories,
					  .cgroups = marks->cgroups};
	for (size_t i = 0; i < generation->count; i++) {
		struct ygr_ruling *ruling = &generation->rulings[i];
		struct ygr_policy_image *image = NULL;
		int r = find_missing(ruling->bundle, names, &missing[i]);
		if (r == 0)
			r = ygr_policy_image_new(ruling->bundle->code, &access, &image);
		if (r < 0 || !image)
			return r == -ENOMEM ? no_memory(error)
					    : ygr_error_set(error, -r, "policy %s: %s", ruling->bundle->name,
							    strerror(-r));
		r = make_policy_maps(loader, generation, ruling, image, error);
		ygr_policy_image_free(image);
		if (r < 0)
			return ygr_error_prefix(error, "policy %s", ruling->bundle->name);
		for (size_t j = 0; j < ruling->bundle->code->program_count; j++)
			generation->operations |= 1u << ruling->bundle->code->programs[j].operation->number;
	}
	return 0;
}

static int mark_tasks(struct ygr_loader *loader, const struct ygr_generation *generation,
		      const struct ygr_marks *marks)
{
	struct ygr_frame_control *control = loader->control;
	control->marking = generation->slot;
	control->marking_keep = marks->lineage_kept;
	__atomic_store_n(&control->marking_on, 1, __ATOMIC_SEQ_CST);
	int r = ygr_loader_mark(loader);
	return r < 0 ? r : ygr_loader_mark(loader); /* what was forked off behind the first round */
}

/* What is open now; asked again behind the switch, for what is opened until then. */
static void hold(struct ygr_loader *loader, const struct ygr_generation *generation)
{
	if (generation->operations >> YGR_OP_OPEN & 1)
		(void)ygr_loader_hold(loader, generation->inner[YGR_OUTER_HELD]);
}

static int build(struct ygr_loader *loader, struct ygr_generation *generation,
		 struct ygr_bundle *const *bundles, struct ygr_missing *missing, struct ygr_error *error)
{
	struct ygr_guest_name_table names = {0};
	struct ygr_marks marks = {0};
	int r = ygr_guest_names_look_up(loader, bundles, generation->count, &names, error);
	if (r == 0 && ygr_marks_make(loader, &names, generation->rulings, generation->count, &marks) < 0)
		r = no_memory(error);
	if (r == 0)
		r = make_rulings(loader, generation, &names, &marks, missing, error);
	if (r == 0)
		r = make_inner(loader, generation, &marks, error);
	if (r == 0) {
		(void)find_launchers(loader);
		ygr_generation_set_clock(loader);
		set_needs(loader, generation);
		r = ygr_loader_attach(loader, generation->operations, error);
	}
	if (r == 0)
		r = load_decisions(loader, generation, error);
	if (r == 0)
		hold(loader, generation);
	if (r == 0 && mark_tasks(loader, generation, &marks) < 0)
		r = ygr_error_set(error, EIO, "tasks cannot be marked");
	generation->lineage_used = marks.lineage_used;
	ygr_marks_free(&marks);
	ygr_guest_names_free(&names);
	return r;
}

int ygr_generation_prepare(struct ygr_loader *loader, struct ygr_bundle *const *bundles, size_t count,
			   struct ygr_missing *missing, struct ygr_generation **ret_generation,
			   struct ygr_error *error)
{
	if (count > YGR_POLICIES_MAX)
		return ygr_error_set(error, EMFILE, "a VM has at most %d policies", YGR_POLICIES_MAX);
	struct ygr_generation *generation = calloc(1, sizeof(*generation));
	if (!generation)
		return no_memory(error);
	generation->slot = ((uint32_t)loader->control->word + 1) % YGR_FRAME_SLOTS;
	generation->count = count;
	memset(generation->inner, 0xff, sizeof(generation->inner));
	for (size_t i = 0; i < count; i++) {
		generation->rulings[i].bundle = bundles[i];
		memset(generation->rulings[i].maps, 0xff, sizeof(generation->rulings[i].maps));
	}
	int r = build(loader, generation, bundles, missing, error);
	if (r < 0) {
		loader->control->marking_on = 0;
		ygr_generation_free(generation);
		return r;
	}
	*ret_generation = generation;
	return 0;
}

static int by_number(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	return x < y ? -1 : x > y;
}

/* What the generations before held; the frames' own maps are put in again when they are opened. */
static void unshield(struct ygr_loader *loader, struct ygr_generation *generation)
{
	uint32_t key, next, *old = NULL;
	size_t count = 0;
	struct bpf_map_info info;
	qsort(generation->ids, generation->id_count, sizeof(uint32_t), by_number);
	for (int r = bpf_map_get_next_key(loader->shielded, NULL, &next); r == 0;
	     key = next, r = bpf_map_get_next_key(loader->shielded, &key, &next)) {
		if ((count & (count - 1)) == 0) {
			uint32_t *more = reallocarray(old, count ? count * 2 : 1, sizeof(*more));
			if (!more)
				break;
			old = more;
		}
		old[count++] = next;
	}
	for (size_t i = 0; i < count; i++) {
		if (bsearch(&old[i], generation->ids, generation->id_count, sizeof(uint32_t), by_number))
			continue;
		uint32_t size = sizeof(info);
		_cleanup_close_ int fd = bpf_map_get_fd_by_id(old[i]);
		if (fd < 0 || bpf_obj_get_info_by_fd(fd, &info, &size) < 0) /* it is gone */
			(void)bpf_map_delete_elem(loader->shielded, &old[i]);
	}
	free(old);
}

void ygr_generation_commit(struct ygr_loader *loader, struct ygr_generation *generation, uint64_t content)
{
	struct ygr_frame_control *control = loader->control;
	uint32_t before = (uint32_t)control->word % YGR_FRAME_SLOTS;
	__atomic_store_n(&control->word, (uint64_t)generation->operations << 32 | generation->slot,
			 __ATOMIC_SEQ_CST);
	hold(loader, generation);
	control->content = content;
	__atomic_store_n(&control->marking_on, 0, __ATOMIC_SEQ_CST);
	for (unsigned i = 0; i < YGR_FRAME_LINEAGES; i++)
		if (!(generation->lineage_used >> i & 1))
			control->lineage_sets[i] = 0;
	(void)syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0); /* no hook is in the old slot any more */
	for (unsigned i = 0; i < YGR_FRAMES; i++)
		(void)bpf_map_delete_elem(loader->decisions[i], &before);
	for (unsigned i = 0; i < YGR_OUTERS; i++)
		(void)bpf_map_delete_elem(loader->outers[i], &before);
	unshield(loader, generation);
}

struct ygr_generation *ygr_generation_free(struct ygr_generation *generation)
{
	if (!generation)
		return NULL;
	for (size_t i = 0; i < generation->count; i++)
		for (unsigned j = 0; j < YGR_MAPS; j++)
			ygr_closep(&generation->rulings[i].maps[j]);
	for (unsigned i = 0; i < YGR_OUTERS; i++)
		ygr_closep(&generation->inner[i]);
	free(generation);
	return NULL;
}

void ygr_generation_set_clock(struct ygr_loader *loader)
{
	struct timespec real, monotonic;
	clock_gettime(CLOCK_REALTIME, &real);
	clock_gettime(CLOCK_MONOTONIC, &monotonic);
	loader->control->wall_ns =
	    (real.tv_sec - monotonic.tv_sec) * 1000000000ll + real.tv_nsec - monotonic.tv_nsec;
}
