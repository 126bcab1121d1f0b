/*
 * A pass reads every file again: a thousand small files are a few milliseconds, and what was read does not
 * depend on the order in which changes were seen. Files are taken in the order of their names, so that of
 * two files with the same object always the same one wins; the other is reported with both names.
 */
#include "agent/desired/directory.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/cleanup.h"

struct pass {
	const char *directory;
	struct ygr_manifest_set *old;
	struct ygr_manifest_set fresh;
};

bool ygr_manifest_is_name(const char *name)
{
	const char *dot = strrchr(name, '.');

	if (name[0] == '.' || name[0] == '#' || !dot) /* hidden, or emacs' .#x and #x# */
		return false;
	return !strcmp(dot, ".yaml") || !strcmp(dot, ".yml") || !strcmp(dot, ".json");
}

static void manifest_deinit(struct ygr_manifest *manifest)
{
	ygr_monitor_free(manifest->monitor);
	ygr_vm_policy_free(manifest->policy);
	free(manifest->file);
	json_decref(manifest->source);
}

static void problem_deinit(struct ygr_problem *problem)
{
	free(problem->file);
	free(problem->namespace_);
	free(problem->name);
	free(problem->message);
}

void ygr_manifest_deinit(struct ygr_manifest_set *set)
{
	for (size_t i = 0; i < set->count; i++)
		manifest_deinit(&set->items[i]);
	for (size_t i = 0; i < set->problem_count; i++)
		problem_deinit(&set->problems[i]);
	free(set->items);
	free(set->problems);
	*set = (struct ygr_manifest_set){0};
}

static struct ygr_manifest *find(const struct ygr_manifest_set *set, const char *kind, const char *ns,
				 const char *name)
{
	for (size_t i = 0; i < set->count; i++) {
		struct ygr_manifest *item = &set->items[i];
		if (item->kind && !strcmp(item->kind, kind) && !strcmp(item->meta->name, name) &&
		    !strcmp(item->meta->namespace_, ns))
			return item;
	}
	return NULL;
}

const struct ygr_manifest *ygr_manifest_find(const struct ygr_manifest_set *set, const char *kind,
					     const char *namespace_, const char *name)
{
	return find(set, kind, namespace_, name);
}

/* The kind that DOCUMENT's word means; what is none of ours is a VMMonitor, whose decoder says so. */
static const char *kind_of(const char *word)
{
	return word && !strcmp(word, YGR_VM_POLICY_KIND) ? YGR_VM_POLICY_KIND : YGR_MONITOR_KIND;
}

/* NULL members stay NULL. */
static int add_problem(struct pass *pass, const char *file, const char *kind, const char *ns,
		       const char *name, const char *message)
{
	struct ygr_manifest_set *set = &pass->fresh;
	struct ygr_problem *grown = reallocarray(set->problems, set->problem_count + 1, sizeof(*grown));

	if (!grown)
		return -ENOMEM;
	set->problems = grown;
	struct ygr_problem problem = {.kind = kind,
				      .file = strdup(file),
				      .namespace_ = ns ? strdup(ns) : NULL,
				      .name = name ? strdup(name) : NULL,
				      .message = strdup(message)};
	if (!problem.file || !problem.message || (ns && !problem.namespace_) || (name && !problem.name)) {
		problem_deinit(&problem);
		return -ENOMEM;
	}
	set->problems[set->problem_count++] = problem;
	return 0;
}

static int add_manifest(struct pass *pass, struct ygr_manifest manifest)
{
	struct ygr_manifest_set *set = &pass->fresh;
	struct ygr_manifest *grown = NULL;

	if (set->count < YGR_DESIRED_OBJECTS_MAX)
		grown = reallocarray(set->items, set->count + 1, sizeof(*grown));
	if (!grown) {
		manifest_deinit(&manifest);
		return -ENOMEM;
	}
	set->items = grown;
	set->items[set->count++] = manifest;
	return 0;
}

/* Takes the last good version over from the old set, unless a good one was read meanwhile. */
static int keep_old(struct pass *pass, struct ygr_manifest *old)
{
	if (!old || !old->kind || find(&pass->fresh, old->kind, old->meta->namespace_, old->meta->name))
		return 0;
	struct ygr_manifest kept = *old;
	*old = (struct ygr_manifest){0};
	kept.stale = true;
	return add_manifest(pass, kept);
}

/* A file that cannot be read as YAML at all: all that it last defined stays, each with the same complaint.
 */
static int broken_file(struct pass *pass, const char *file, const char *message)
{
	bool kept = false;
	int r = 0;

	for (size_t i = 0; r == 0 && i < pass->old->count; i++) {
		const struct ygr_manifest *old = &pass->old->items[i];
		if (!old->kind || strcmp(old->file, file) != 0)
			continue;
		kept = true;
		r = add_problem(pass, file, old->kind, old->meta->namespace_, old->meta->name, message);
		if (r == 0)
			r = keep_old(pass, &pass->old->items[i]);
	}
	return kept || r < 0 ? r : add_problem(pass, file, NULL, NULL, NULL, message);
}

static int broken_object(struct pass *pass, const char *file, const struct ygr_identity_hint *hint,
			 const char *message)
{
	const char *kind = kind_of(hint->kind);
	int r = add_problem(pass, file, hint->name ? kind : NULL, hint->name ? hint->namespace_ : NULL,
			    hint->name, message);

	return r < 0 || !hint->name ? r
				    : keep_old(pass, find(pass->old, kind, hint->namespace_, hint->name));
}

static int problem_of(struct pass *pass, const struct ygr_manifest *manifest, const char *message)
{
	return add_problem(pass, manifest->file, manifest->kind, manifest->meta->namespace_,
			   manifest->meta->name, message);
}

static int duplicate(struct pass *pass, const struct ygr_manifest *manifest,
		     const struct ygr_manifest *first)
{
	char message[YGR_ERROR_MESSAGE_MAX];

	snprintf(message, sizeof(message), "%s: %s %s/%s is already defined in %s", manifest->file,
		 manifest->kind, manifest->meta->namespace_, manifest->meta->name, first->file);
	return problem_of(pass, manifest, message);
}

/* The generation of an object that has none: that of its last version, one more if the text differs. */
static void set_generation(struct pass *pass, struct ygr_manifest *manifest)
{
	struct ygr_meta *meta = manifest->meta;
	const struct ygr_manifest *old = find(pass->old, manifest->kind, meta->namespace_, meta->name);

	if (meta->generation)
		return;
	meta->generation = old ? old->meta->generation : 1;
	if (old && !json_equal(manifest->source, old->source))
		meta->generation++;
}

static int decode(const struct ygr_doc *doc, const char *kind, struct ygr_manifest *manifest,
		  struct ygr_error *error)
{
	bool policy = !strcmp(kind, YGR_VM_POLICY_KIND);
	int r = policy ? ygr_vm_policy_decode(doc, &manifest->policy, error)
		       : ygr_monitor_decode(doc, &manifest->monitor, error);

	if (r < 0)
		return r;
	manifest->kind = kind;
	manifest->meta = policy ? &manifest->policy->meta : &manifest->monitor->meta;
	manifest->source = json_incref((json_t *)ygr_doc_root(doc));
	return 0;
}

/* Takes MANIFEST, also on error. */
static int take(struct pass *pass, struct ygr_manifest manifest)
{
	struct ygr_manifest *first =
	    find(&pass->fresh, manifest.kind, manifest.meta->namespace_, manifest.meta->name);
	int r;

	if (first && !first->stale) {
		r = duplicate(pass, &manifest, first);
		manifest_deinit(&manifest);
		return r;
	}
	set_generation(pass, &manifest);
	if (first) { /* another file has this object broken, this one has it right */
		manifest_deinit(first);
		*first = manifest;
		return 0;
	}
	if (pass->fresh.count == YGR_DESIRED_OBJECTS_MAX) {
		r = problem_of(pass, &manifest, "more than 4096 objects; this one is left out");
		manifest_deinit(&manifest);
		return r;
	}
	return add_manifest(pass, manifest);
}

static int read_object(struct pass *pass, const char *file, const struct ygr_doc *doc)
{
	struct ygr_error error = YGR_ERROR_INIT;
	struct ygr_manifest manifest = {0};
	struct ygr_identity_hint hint;

	ygr_meta_peek(doc, &hint);
	int r = decode(doc, kind_of(hint.kind), &manifest, &error);
	if (r == -ENOMEM)
		return r;
	if (r < 0)
		return broken_object(pass, file, &hint, error.message);
	manifest.file = strdup(file);
	if (!manifest.file) {
		manifest_deinit(&manifest);
		return -ENOMEM;
	}
	return take(pass, manifest);
}

static int read_one(struct pass *pass, const char *file)
{
	struct ygr_error error = YGR_ERROR_INIT;
	_cleanup_free_ char *path = NULL;
	struct ygr_doc **docs;
	size_t count;

	if (asprintf(&path, "%s/%s", pass->directory, file) < 0)
		return -ENOMEM;
	int r = ygr_yaml_read(path, file, &docs, &count, &error);
	if (r == -ENOENT)
		return 0; /* renamed or deleted since it was listed: the next pass sees what came of it */
	if (r < 0)
		return broken_file(pass, file, error.message);
	for (size_t i = 0; r == 0 && i < count; i++)
		r = read_object(pass, file, docs[i]);
	ygr_docs_free(docs, count);
	return r;
}

static int wanted(const struct dirent *entry)
{
	return ygr_manifest_is_name(entry->d_name);
}

static int read_all(struct pass *pass)
{
	struct dirent **names;
	char message[YGR_ERROR_MESSAGE_MAX];
	int r = 0, count = scandir(pass->directory, &names, wanted, alphasort);

	if (count < 0) {
		snprintf(message, sizeof(message), "%.400s: %s", pass->directory, strerror(errno));
		return add_problem(pass, pass->directory, NULL, NULL, NULL, message);
	}
	if (count > YGR_DESIRED_FILES_MAX)
		r = add_problem(pass, pass->directory, NULL, NULL, NULL,
				"more than 1024 files; the rest is not read");
	for (int i = 0; i < count; i++) {
		if (r == 0 && i < YGR_DESIRED_FILES_MAX)
			r = read_one(pass, names[i]->d_name);
		free(names[i]);
	}
	free(names);
	return r;
}

int ygr_manifest_read(const char *directory, struct ygr_manifest_set *old, struct ygr_manifest_set *ret)
{
	struct pass pass = {.directory = directory, .old = old};
	int r = read_all(&pass);

	if (r < 0) {
		ygr_manifest_deinit(&pass.fresh);
		return r;
	}
	*ret = pass.fresh;
	return 0;
}
