/*
 * Descriptors that the application opened by itself and then names in a call: the directory of a cgroup, a
 * network namespace. What it has is a file of the node's kernel; what it means is the guest's. The first call
 * that names one asks the session to open the same there, and from then on the two are one.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "agent/telebpf/shim/shim.h"

#define GUEST      YGR_LOCAL_GUEST
#define PATH_BYTES 1024
#define FUSE_MAGIC 0x65735546 /* nothing but the guest's files is on FUSE here */

struct question {
	struct ygr_file_open open;
	char path[PATH_BYTES];
};

static bool begins(const char *text, const char *with)
{
	for (; *with; text++, with++)
		if (*text != *with)
			return false;
	return true;
}

/* What /proc says that FD is, NUL-terminated in QUESTION; false when it cannot be told. */
static bool read_path(int fd, struct question *question)
{
	static const char folder[] = "/proc/self/fd/";
	char link[sizeof(folder) + 12], digits[12];
	size_t len = sizeof(folder) - 1, count = 0;
	int64_t n;

	memcpy(link, folder, len);
	for (unsigned rest = (unsigned)fd; count == 0 || rest > 0; rest /= 10)
		digits[count++] = (char)('0' + rest % 10);
	while (count > 0)
		link[len++] = digits[--count];
	link[len] = '\0';
	n = ygr_sys3(SYS_readlink, link, question->path, PATH_BYTES - 1);
	if (n <= 0 || n >= PATH_BYTES - 1)
		return false;
	question->path[n] = '\0';
	return true;
}

/* The guest's name of the same, or false: nothing of the guest. */
static bool translate(int fd, struct question *question)
{
	static const char netns[] = "/proc/self/ns/net";
	struct stat st;
	struct statfs fs;
	size_t skip = 0, len;

	if (ygr_sys2(SYS_fstat, fd, &st) < 0 || (!S_ISDIR(st.st_mode) && !S_ISREG(st.st_mode)) ||
	    ygr_sys2(SYS_fstatfs, fd, &fs) < 0 || !read_path(fd, question))
		return false;
	if (fs.f_type == NSFS_MAGIC && begins(question->path, "net:")) {
		memcpy(question->path, netns, sizeof(netns));
		return true;
	}
	if (fs.f_type != FUSE_MAGIC || !S_ISDIR(st.st_mode))
		return false;
	question->open.flags = O_DIRECTORY;
	if (begins(question->path, GUEST "/"))
		skip = sizeof(GUEST) - 1;
	for (len = 0; question->path[skip + len]; len++)
		question->path[len] = question->path[skip + len];
	question->path[len] = '\0';
	return true;
}

struct ygr_slot *ygr_file_slot(int fd)
{
	const struct ygr_object object = {.kind = YGR_OBJECT_FILE};
	struct question question = {};
	struct ygr_status status;
	const uint8_t *payload;
	uint32_t len;
	size_t path = 0;
	int none;

	if (!translate(fd, &question))
		return NULL;
	while (question.path[path])
		path++;
	len = ygr_wire_ask(YGR_MSG_FILE_OPEN, &question, (uint32_t)(sizeof(question.open) + path + 1), -1,
			   YGR_MSG_FILE_DATA, &payload, &none);
	if (len < sizeof(status) || none >= 0)
		ygr_die("the session's answer to an open is malformed");
	memcpy(&status, payload, sizeof(status));
	ygr_wire_done();
	if (status.value <= 0 || status.value >= YGR_HANDLE_BAD)
		return NULL;
	return ygr_table_adopt(fd, (uint32_t)status.value, &object);
}
