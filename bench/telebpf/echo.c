/*
 * The guest's side of the channel's bare round trip: `echo PORT` accepts one AF_VSOCK connection and sends
 * back what comes, until the peer is gone.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/vm_sockets.h>

int main(int argc, char **argv)
{
	struct sockaddr_vm address = {.svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_ANY};
	char buffer[4096];
	int fd = socket(AF_VSOCK, SOCK_STREAM, 0), peer;

	address.svm_port = argc == 2 ? (unsigned)strtoul(argv[1], NULL, 10) : 0;
	if (!address.svm_port) {
		fprintf(stderr, "usage: echo PORT\n");
		return 2;
	}
	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, 1) < 0 ||
	    (peer = accept(fd, NULL, NULL)) < 0) {
		perror("echo");
		return 1;
	}
	for (ssize_t n; (n = recv(peer, buffer, sizeof(buffer), 0)) > 0;)
		if (send(peer, buffer, (size_t)n, MSG_NOSIGNAL) != n)
			break;
	return 0;
}
