/* The WELCOME document; see welcome.h. */
#include "guest-image/guest/welcome.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "guest-image/guest/cpus.h"
#include "guest-image/guest/features.h"
#include "lib/base/cleanup.h"
#include "lib/base/hex.h"

#define BTF_PATH "/sys/kernel/btf/vmlinux"

struct ygr_guest_facts {
	uint64_t btf_size; /* 0: none */
	char btf_sha256[65];
	struct ygr_guest_features features;
};

int ygr_guest_boot_id(uint8_t ret_id[16])
{
	char text[64];
	ygr_guest_read_line("/proc/sys/kernel/random/boot_id", text, sizeof(text));
	return ygr_uuid_parse(text, ret_id);
}

void ygr_guest_vm_text(char out[YGR_UUID_TEXT_BYTES])
{
	ygr_guest_read_line("/sys/class/dmi/id/product_uuid", out, YGR_UUID_TEXT_BYTES);
}

int ygr_guest_vm(uint8_t ret_uuid[16])
{
	char text[YGR_UUID_TEXT_BYTES];
	ygr_guest_vm_text(text);
	return ygr_uuid_parse(text, ret_uuid) < 0 ? -ENODATA : 0;
}

static void digest_btf(struct ygr_guest_facts *facts)
{
	uint8_t chunk[16384], digest[crypto_hash_sha256_BYTES];
	crypto_hash_sha256_state state;
	uint64_t size = 0;
	ssize_t n;
	_cleanup_close_ int fd = open(BTF_PATH, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	crypto_hash_sha256_init(&state);
	while ((n = read(fd, chunk, sizeof(chunk))) > 0) {
		crypto_hash_sha256_update(&state, chunk, (uint64_t)n);
		size += (uint64_t)n;
	}
	crypto_hash_sha256_final(&state, digest);
	if (n < 0)
		return;
	facts->btf_size = size;
	ygr_hex_encode(digest, sizeof(digest), facts->btf_sha256);
}

struct ygr_guest_facts *ygr_guest_facts_new(void)
{
	struct ygr_guest_facts *facts = calloc(1, sizeof(*facts));
	if (!facts)
		return NULL;
	digest_btf(facts);
	ygr_guest_features_probe(&facts->features);
	return facts;
}

struct ygr_guest_facts *ygr_guest_facts_free(struct ygr_guest_facts *facts)
{
	free(facts);
	return NULL;
}

/* A host name may be any bytes; JSON takes only UTF-8, and one odd byte must not cost the whole document. */
static const char *ascii(char *text)
{
	for (char *at = text; *at; at++)
		if ((unsigned char)*at < 0x20 || (unsigned char)*at > 0x7e)
			*at = '?';
	return text;
}

static json_t *lsm_list(void)
{
	char text[256], *save = NULL;
	json_t *list = json_array();
	ygr_guest_read_line("/sys/kernel/security/lsm", text, sizeof(text));
	for (char *word = strtok_r(text, ",", &save); word; word = strtok_r(NULL, ",", &save))
		json_array_append_new(list, json_string(word));
	return list;
}

static json_t *cpu_lists(void)
{
	char possible[256], online[256];
	ygr_guest_read_line("/sys/devices/system/cpu/possible", possible, sizeof(possible));
	ygr_guest_read_line("/sys/devices/system/cpu/online", online, sizeof(online));
	return json_pack("{s:s, s:s}", "possible", possible, "online", online);
}

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec ts = {0};
	clock_gettime(clock, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

struct ygr_pong ygr_guest_clocks(void)
{
	return (struct ygr_pong){.monotonic_ns = clock_ns(CLOCK_MONOTONIC),
				 .boottime_ns = clock_ns(CLOCK_BOOTTIME),
				 .realtime_ns = clock_ns(CLOCK_REALTIME)};
}

/*
 * LINUX_VERSION_CODE of this kernel, which its vDSO has in a note and uname(2) need not tell (Debian's 6.1.0-13 is
 * a 6.1.55); 0 when it cannot be found.
 */
static json_int_t version_code(void)
{
	const uint8_t *vdso = (const uint8_t *)getauxval(AT_SYSINFO_EHDR);
	const Elf64_Ehdr *head = (const Elf64_Ehdr *)vdso;
	const Elf64_Phdr *segment = vdso ? (const Elf64_Phdr *)(vdso + head->e_phoff) : NULL;
	for (unsigned i = 0; segment && i < head->e_phnum; i++) {
		const uint8_t *at = vdso + segment[i].p_offset, *end = at + segment[i].p_filesz;
		while (segment[i].p_type == PT_NOTE && at < end) {
			const Elf64_Nhdr *note = (const Elf64_Nhdr *)at;
			const uint8_t *name = at + sizeof(*note),
				      *text = name + ((note->n_namesz + 3) & ~3u);
			uint32_t code;
			if (note->n_type == 0 && note->n_descsz == sizeof(code) &&
			    !strcmp((const char *)name, "Linux")) {
				memcpy(&code, text, sizeof(code));
				return code;
			}
			at = text + ((note->n_descsz + 3) & ~3u);
		}
	}
	return 0;
}

static json_t *features_of(const struct ygr_guest_facts *facts)
{
	const struct ygr_guest_features *f = &facts->features;
	return json_pack("{s:b, s:b, s:b, s:b, s:b, s:b, s:b, s:b, s:b}", "bpf", f->bpf, "ringbuf",
			 f->ringbuf, "mmapableArray", f->mmapable_array, "bpfLinkPerf", f->bpf_link_perf,
			 "kprobePMU", f->kprobe_pmu, "uprobePMU", f->uprobe_pmu, "tracefs", f->tracefs,
			 "kallsyms", f->kallsyms, "pagemap", f->pagemap);
}

char *ygr_guest_welcome(const struct ygr_guest_facts *facts)
{
	struct utsname name;
	char boot_id[64];
	uname(&name);
	ygr_guest_read_line("/proc/sys/kernel/random/boot_id", boot_id, sizeof(boot_id));

	struct ygr_pong clocks = ygr_guest_clocks();
	json_t *btf = facts->btf_size ? json_pack("{s:I, s:s}", "size", (json_int_t)facts->btf_size,
						  "sha256", facts->btf_sha256)
				      : json_null();
	json_t *document = json_pack(
	    "{s:s, s:s, s:s, s:s, s:s, s:I, s:s, s:s, s:s, s:I, s:o, s:o, s:o, s:o,"
	    " s:{s:I, s:I, s:I}}",
	    "program", "yagura-guest " YGR_GUEST_VERSION, "sysname", name.sysname, "nodename",
	    ascii(name.nodename), "release", ascii(name.release), "version", ascii(name.version),
	    "versionCode", version_code(), "machine", name.machine, "domainname", ascii(name.domainname),
	    "bootID", boot_id, "pageSize", (json_int_t)sysconf(_SC_PAGESIZE), "btf", btf, "lsm", lsm_list(),
	    "cpus", cpu_lists(), "features", features_of(facts), "clock", "monotonic",
	    (json_int_t)clocks.monotonic_ns, "boottime", (json_int_t)clocks.boottime_ns, "realtime",
	    (json_int_t)clocks.realtime_ns);
	char *text = document ? json_dumps(document, JSON_COMPACT) : NULL;
	json_decref(document);
	return text;
}
