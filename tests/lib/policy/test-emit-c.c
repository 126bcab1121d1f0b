/*
 * Two code generators, one policy: the C that `compile --emit c` prints, compiled by clang, gives the same
 * verdicts in the kernel as the instructions that linearize.c makes. Both look at the same maps, except that
 * each counts for itself.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/policy/kernel.h"
#include "lib/policy/policy.h"
#include "lib/policy/show.h"
#include "tests/lib/policy/random.h"

#define POLICIES 40
#define RULES    8
#define EVENTS   100

struct subject {
	struct ygr_policy_unit *unit;
	struct ygr_policy_code *code;
	struct ygr_policy_image *image;
	struct ygr_policy_kernel *kernel;
	struct bpf_object *object;
};

static char directory[64];

static void load(struct subject *subject, const char *text)
{
	struct ygr_error error = YGR_ERROR_INIT;
	assert_int_equal(ygr_policy_unit_new("p", text, strlen(text), &subject->unit, &error), 0);
	assert_int_equal(ygr_policy_unit_errors(subject->unit), 0);
	if (ygr_policy_linearize(ygr_policy_unit_policies(subject->unit), &subject->code, &error) < 0)
		fail_msg("%s", error.message);
	assert_int_equal(ygr_policy_image_new(subject->code, &ygr_policy_situation_names, &subject->image),
			 0);
	if (ygr_policy_kernel_new(subject->code, subject->image, &subject->kernel, &error) < 0)
		fail_msg("%s", error.message);
}

/* Writes the C, compiles it, and loads it with the maps of the other. */
static void load_c(struct subject *subject)
{
	char source[128], object[128], command[1024];
	struct ygr_buf buf = YGR_BUF_INIT(YGR_POLICY_TEXT_MAX);
	struct ygr_policy_text text = {.out = &buf};
	snprintf(source, sizeof(source), "%s/p.c", directory);
	snprintf(object, sizeof(object), "%s/p.o", directory);
	ygr_policy_show_c(subject->code, &text);
	assert_int_equal(text.failed, 0);
	FILE *file = fopen(source, "w");
	assert_non_null(file);
	assert_int_equal(fwrite(buf.data, 1, buf.len, file), buf.len);
	assert_int_equal(fclose(file), 0);
	snprintf(command, sizeof(command), "%s -target bpf -O2 -g -Wall -Werror -I%s -I%s -c %s -o %s",
		 CLANG, SOURCES, KERNEL_HEADERS, source, object);
	if (system(command) != 0)
		fail_msg("clang refuses:\n%.*s", (int)buf.len, (char *)buf.data);
	subject->object = bpf_object__open_file(object, NULL);
	assert_non_null(subject->object);
	for (unsigned map = 0; map < YGR_MAPS; map++) {
		struct bpf_map *other =
		    bpf_object__find_map_by_name(subject->object, ygr_policy_map_name(map));
		if (other && map != YGR_MAP_COUNTS)
			assert_int_equal(
			    bpf_map__reuse_fd(other, ygr_policy_kernel_map(subject->kernel, map)), 0);
	}
	if (bpf_object__load(subject->object) < 0)
		fail_msg("the kernel refuses:\n%.*s", (int)buf.len, (char *)buf.data);
	ygr_buf_deinit(&buf);
}

static void drop(struct subject *subject)
{
	bpf_object__close(subject->object);
	ygr_policy_kernel_free(subject->kernel);
	ygr_policy_image_free(subject->image);
	ygr_policy_code_free(subject->code);
	ygr_policy_unit_free(subject->unit);
}

/* The verdict of the C's program about EVENT, as ygr_policy_kernel_ask() gives it. */
static int ask_c(const struct subject *subject, unsigned operation, struct ygr_policy_event *event)
{
	char name[32];
	uint32_t key = 0;
	LIBBPF_OPTS(bpf_test_run_opts, run);
	int map = ygr_policy_kernel_map(subject->kernel, YGR_MAP_EVENT);
	snprintf(name, sizeof(name), "decision_%u", operation);
	struct bpf_program *program = bpf_object__find_program_by_name(subject->object, name);
	assert_non_null(program);
	assert_int_equal(bpf_map_update_elem(map, &key, event, 0), 0);
	assert_int_equal(bpf_prog_test_run_opts(bpf_program__fd(program), &run), 0);
	assert_int_equal(bpf_map_lookup_elem(map, &key, event), 0);
	return (int)run.retval;
}

static void test_same(void **state)
{
	(void)state;
	struct random_source random = {0x2545f4914f6cdd1dull};
	unsigned matched = 0;
	for (unsigned i = 0; i < POLICIES; i++) {
		struct ygr_buf buf = YGR_BUF_INIT(1 << 20);
		struct ygr_policy_text text = {.out = &buf};
		struct subject subject = {0};
		random_policy(&random, RULES, &text);
		ygr_policy_put(&text, "%c", '\0');
		load(&subject, (char *)buf.data);
		load_c(&subject);
		for (unsigned j = 0; j < EVENTS; j++) {
			const struct ygr_policy_operation *operation =
			    subject.code
				->programs[random_below(&random, (uint32_t)subject.code->program_count)]
				.operation;
			struct ygr_policy_situation situation = random_situation(&random, operation);
			struct ygr_policy_event ours, theirs;
			int answer;
			ygr_policy_situation_event(&situation, subject.image, &ours);
			theirs = ours;
			assert_int_equal(
			    ygr_policy_kernel_ask(subject.kernel, operation->number, &ours, &answer, NULL),
			    0);
			int other = ask_c(&subject, operation->number, &theirs);
			if (other != answer || ours.rule != theirs.rule || ours.action != theirs.action)
				fail_msg("%s of %s: ours rule %u answer %d, the C's rule %u answer %d\n%s",
					 operation->name, situation.file ? situation.file : "-", ours.rule,
					 answer, theirs.rule, other, (char *)buf.data);
			matched += ours.rule != 0;
		}
		drop(&subject);
		ygr_buf_deinit(&buf);
	}
	printf("%d policies, %d events, %u matched\n", POLICIES, POLICIES * EVENTS, matched);
	assert_in_range(matched, POLICIES * EVENTS / 10, POLICIES * EVENTS);
}

__attribute__((format(printf, 2, 0))) static int silent(enum libbpf_print_level level, const char *format,
							va_list args)
{
	return level == LIBBPF_WARN ? vfprintf(stderr, format, args) : 0;
}

static bool permitted(void)
{
	struct bpf_insn insns[] = {{.code = BPF_ALU64 | BPF_MOV | BPF_K}, {.code = BPF_JMP | BPF_EXIT}};
	int fd = bpf_prog_load(BPF_PROG_TYPE_RAW_TRACEPOINT, "probe", "GPL", insns, 2, NULL);
	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

int main(void)
{
	if (!permitted()) {
		printf("skipped: loading programs is not permitted here: %s\n", strerror(errno));
		return 77;
	}
	libbpf_set_print(silent);
	strcpy(directory, "/tmp/yagura-emit-c.XXXXXX");
	if (!mkdtemp(directory))
		return 1;
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_same)};
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	char command[128];
	snprintf(command, sizeof(command), "rm -r %s", directory);
	return system(command) != 0 || failed;
}
