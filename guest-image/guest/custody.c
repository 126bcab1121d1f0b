/* Mappings kept for the node; see custody.h. */
#include "guest-image/guest/custody.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static const uint8_t every_session[16];

static struct ygr_custody_session *find(struct ygr_custody *custody, pid_t pid, const uint8_t id[16])
{
	for (struct ygr_custody_session *session = custody->sessions; session; session = session->next)
		if (session->pid == pid && memcmp(session->id, id, 16) == 0)
			return session;
	return NULL;
}

static struct ygr_custody_session *get(struct ygr_custody *custody, pid_t pid, const uint8_t id[16])
{
	struct ygr_custody_session *session = find(custody, pid, id);
	if (session)
		return session;
	session = calloc(1, sizeof(*session));
	if (!session)
		return NULL;
	session->pid = pid;
	memcpy(session->id, id, 16);
	session->next = custody->sessions;
	custody->sessions = session;
	return session;
}

int ygr_custody_keep(struct ygr_custody *custody, pid_t pid, const uint8_t id[16], uint32_t handle, int fd,
		     size_t length)
{
	if (custody->leftovers >= YGR_CUSTODY_LEFTOVERS)
		return -EBUSY;
	struct ygr_custody_session *session = get(custody, pid, id);
	if (!session)
		return -ENOMEM;
	if (session->item_count >= YGR_CUSTODY_ITEMS)
		return -EBUSY;

	struct ygr_custody_item *item = malloc(sizeof(*item));
	if (!item)
		return -ENOMEM;
	item->address = mmap(NULL, length, PROT_READ, MAP_SHARED, fd, 0);
	if (item->address == MAP_FAILED) {
		int r = -errno;
		free(item);
		return r;
	}
	item->handle = handle;
	item->length = length;
	item->next = session->items;
	session->items = item;
	session->item_count++;
	return 0;
}

static void drop_items(struct ygr_custody_session *session)
{
	for (struct ygr_custody_item *next, *item = session->items; item; item = next) {
		next = item->next;
		munmap(item->address, item->length);
		free(item);
	}
	session->items = NULL;
	session->item_count = 0;
}

static void remove_empty(struct ygr_custody *custody)
{
	custody->leftovers = 0;
	for (struct ygr_custody_session **link = &custody->sessions; *link;) {
		struct ygr_custody_session *session = *link;
		if (session->item_count) {
			custody->leftovers += session->pid == 0;
			link = &session->next;
		} else {
			*link = session->next;
			free(session);
		}
	}
}

void ygr_custody_forget(struct ygr_custody *custody, pid_t pid, const uint8_t id[16], uint32_t handle)
{
	struct ygr_custody_session *session = find(custody, pid, id);
	if (!session)
		return;
	for (struct ygr_custody_item **link = &session->items; *link;) {
		struct ygr_custody_item *item = *link;
		if (item->handle != handle) {
			link = &item->next;
			continue;
		}
		*link = item->next;
		munmap(item->address, item->length);
		free(item);
		session->item_count--;
	}
	remove_empty(custody);
}

void ygr_custody_died(struct ygr_custody *custody, pid_t pid)
{
	for (struct ygr_custody_session *session = custody->sessions; session; session = session->next)
		if (session->pid == pid)
			session->pid = 0;
	remove_empty(custody);
}

void ygr_custody_release(struct ygr_custody *custody, const uint8_t id[16])
{
	bool all = memcmp(id, every_session, 16) == 0;
	for (struct ygr_custody_session *session = custody->sessions; session; session = session->next)
		if (all ? session->pid == 0 : memcmp(session->id, id, 16) == 0)
			drop_items(session);
	remove_empty(custody);
}

void ygr_custody_deinit(struct ygr_custody *custody)
{
	for (struct ygr_custody_session *session = custody->sessions; session; session = session->next)
		drop_items(session);
	remove_empty(custody);
}
