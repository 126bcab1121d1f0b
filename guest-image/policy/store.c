/* See store.h. A file is: magic, when it was accepted, the message as it came. */
#include "guest-image/policy/store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "guest-image/guest/crypto.h"
#include "lib/base/cleanup.h"
#include "lib/base/hex.h"
#include "lib/base/log.h"
#include "lib/wire/signed.h"

struct file_head {
	char magic[8]; /* "YGRKEPT1" */
	int64_t accepted;
};

static void name_of(const uint8_t policy[16], char out[48])
{
	ygr_hex_encode(policy, 16, out);
	strcat(out, ".bundle");
}

static int read_all(int fd, void *data, size_t len)
{
	for (size_t done = 0; done < len;) {
		ssize_t n = read(fd, (uint8_t *)data + done, len - done);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EPROTO;
		done += (size_t)n;
	}
	return 0;
}

static void forget(struct ygr_stored *entry)
{
	ygr_bundle_free(entry->bundle);
	free(entry->data);
	*entry = (struct ygr_stored){0};
}

static int append(struct ygr_store *store, const struct ygr_stored *entry)
{
	struct ygr_stored *more = reallocarray(store->stored, store->count + 1, sizeof(*more));
	if (!more)
		return -ENOMEM;
	store->stored = more;
	store->stored[store->count++] = *entry;
	return 0;
}

static int read_one(struct ygr_store *store, int directory, const char *name, const uint8_t root[32],
		    struct ygr_error *error)
{
	struct ygr_stored entry = {0};
	struct file_head head;
	_cleanup_close_ int fd = openat(directory, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	int r = fd < 0 ? -errno : read_all(fd, &head, sizeof(head));
	if (r == 0 && memcmp(head.magic, "YGRKEPT1", 8) != 0)
		r = -EPROTO;
	if (r == 0)
		r = read_all(fd, &entry.load, sizeof(entry.load));
	if (r == 0 && (entry.load.length > YGR_BUNDLE_MAX || entry.load.reserved))
		r = -EMSGSIZE;
	if (r == 0 && !(entry.data = malloc(entry.load.length ? entry.load.length : 1)))
		r = -ENOMEM;
	if (r == 0)
		r = read_all(fd, entry.data, entry.load.length);
	if (r < 0)
		ygr_error_set(error, -r, "%s", strerror(-r));
	entry.accepted = head.accepted;
	if (r == 0) /* as things were when it was taken in: it does not expire here */
		r = ygr_bundle_verify(&entry.load.cert, entry.load.signature, entry.data, entry.load.length,
				      root, entry.accepted, &ygr_crypto_sodium, error);
	if (r == 0)
		r = ygr_bundle_read(entry.data, entry.load.length, &entry.bundle, error);
	if (r == 0) {
		memcpy(entry.policy, entry.bundle->about.policy, 16);
		entry.generation = entry.bundle->about.generation;
		r = append(store, &entry);
	}
	if (r < 0)
		forget(&entry);
	return r;
}

/* With what is above it: in an initramfs there may be no /var/lib. */
static int make_directory(const char *path)
{
	char part[128];
	for (size_t i = 1; i < sizeof(part) && path[i]; i++) {
		memcpy(part, path, i);
		part[i] = '\0';
		if (path[i] == '/' && mkdir(part, 0755) < 0 && errno != EEXIST)
			return -errno;
	}
	return mkdir(path, 0700) < 0 && errno != EEXIST ? -errno : 0;
}

int ygr_store_open(struct ygr_store *store, const char *path, const uint8_t root[32],
		   struct ygr_error *error)
{
	*store = (struct ygr_store){0};
	snprintf(store->directory, sizeof(store->directory), "%s", path);
	int r = make_directory(path);
	if (r < 0)
		return ygr_error_set(error, -r, "%s: %s", path, strerror(-r));
	DIR *directory = opendir(path);
	if (!directory)
		return ygr_error_set(error, errno, "%s: %s", path, strerror(errno));
	for (struct dirent *entry; (entry = readdir(directory)) && store->count < YGR_STORE_MAX;) {
		struct ygr_error why = YGR_ERROR_INIT;
		const char *dot = strrchr(entry->d_name, '.');
		if (!dot || strcmp(dot, ".bundle") != 0)
			continue;
		if (read_one(store, dirfd(directory), entry->d_name, root, &why) < 0)
			ygr_log(YGR_LOG_ERROR, "guest", "%s/%s is passed over: %s", path, entry->d_name,
				why.message);
	}
	closedir(directory);
	return 0;
}

void ygr_store_close(struct ygr_store *store)
{
	for (size_t i = 0; i < store->count; i++)
		forget(&store->stored[i]);
	free(store->stored);
	*store = (struct ygr_store){0};
}

struct ygr_stored *ygr_store_find(struct ygr_store *store, const uint8_t policy[16])
{
	for (size_t i = 0; i < store->count; i++)
		if (memcmp(store->stored[i].policy, policy, 16) == 0)
			return &store->stored[i];
	return NULL;
}

static int write_file(int directory, const char *name, const struct ygr_stored *entry)
{
	struct file_head head = {.magic = {'Y', 'G', 'R', 'K', 'E', 'P', 'T', '1'},
				 .accepted = entry->accepted};
	_cleanup_close_ int fd = openat(directory, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	if (write(fd, &head, sizeof(head)) != (ssize_t)sizeof(head) ||
	    write(fd, &entry->load, sizeof(entry->load)) != (ssize_t)sizeof(entry->load) ||
	    write(fd, entry->data, entry->load.length) != (ssize_t)entry->load.length)
		return errno ? -errno : -ENOSPC;
	return fsync(fd) < 0 ? -errno : 0;
}

int ygr_store_put(struct ygr_store *store, struct ygr_stored *entry, struct ygr_error *error)
{
	char name[48];
	struct ygr_stored *old = ygr_store_find(store, entry->policy);
	_cleanup_close_ int directory = open(store->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	name_of(entry->policy, name);
	int r = directory < 0 ? -errno : 0;
	if (r == 0 && !old && store->count >= YGR_STORE_MAX)
		return ygr_error_set(error, ENOSPC, "%s: more than %d policies were ever here",
				     store->directory, YGR_STORE_MAX);
	if (r == 0)
		r = write_file(directory, "new", entry);
	if (r == 0 && (renameat(directory, "new", directory, name) < 0 || fsync(directory) < 0))
		r = -errno;
	if (r == 0 && !old)
		r = append(store, entry);
	if (r < 0)
		return ygr_error_set(error, -r, "%s/%s: %s", store->directory, name, strerror(-r));
	if (old) {
		forget(old);
		*old = *entry;
	}
	*entry = (struct ygr_stored){0};
	return 0;
}
