/* See listen.h. */
#include "lib/base/listen.h"

#include <errno.h>
#include <netdb.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/base/cleanup.h"

int ygr_listen_tcp(const char *address, int *ret_fd, struct ygr_error *error)
{
	char host[256];
	const char *colon = strrchr(address, ':');
	if (!colon || colon == address || (size_t)(colon - address) >= sizeof(host))
		return ygr_error_set(error, EINVAL, "listen address \"%s\" is not HOST:PORT", address);
	bool bracketed = address[0] == '[' && colon[-1] == ']';
	snprintf(host, sizeof(host), "%.*s", (int)(colon - address) - (bracketed ? 2 : 0),
		 address + bracketed);

	const struct addrinfo hints = {.ai_flags = AI_PASSIVE | AI_NUMERICHOST | AI_NUMERICSERV,
				       .ai_socktype = SOCK_STREAM};
	struct addrinfo *found;
	int r = getaddrinfo(host, colon + 1, &hints, &found);
	if (r != 0)
		return ygr_error_set(error, EINVAL, "listen address \"%s\": %s (give a numeric address)",
				     address, gai_strerror(r));

	_cleanup_close_ int fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	const int one = 1;
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0 ||
	    bind(fd, found->ai_addr, found->ai_addrlen) < 0 || listen(fd, 16) < 0)
		r = ygr_error_set(error, errno, "cannot listen on %s: %s", address, strerror(errno));
	freeaddrinfo(found);
	if (r == 0)
		*ret_fd = ygr_steal_fd(&fd);
	return r;
}
