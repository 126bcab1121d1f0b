"""A hostile application in the catalogue, run against a real guest: it gets nothing of the node.

The program is compiled here and tries, as an application of a monitor would run: the node's files, devices, sockets,
other processes, namespaces, privileges. The figures of each attempt come back on its standard output.
"""
import os
import subprocess
import unittest

from e2e.lib import case

NAME = "e2e-hostile"
PROGRAM = r"""
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/vm_sockets.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static void attempt(const char *name, long result)
{
	printf("%s %s\n", result < 0 ? "refused" : "GOT", name);
}

static void reading(const char *path)
{
	char name[128];
	snprintf(name, sizeof(name), "open %s", path);
	attempt(name, open(path, O_RDONLY));
}

/* Asks for the network devices: of the guest for who may see ids there, and never the node's. */
static int devices(void)
{
	struct {
		struct nlmsghdr head;
		struct rtgenmsg body;
	} ask = {{sizeof(ask), RTM_GETLINK, NLM_F_REQUEST | NLM_F_DUMP, 1, 0}, {AF_UNSPEC}};
	char answer[65536];
	const struct nlmsghdr *head = (const struct nlmsghdr *)answer;
	int fd = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);

	if (fd < 0 || send(fd, &ask, sizeof(ask), 0) < 0 || recv(fd, answer, sizeof(answer), 0) < (long)sizeof(*head))
		return -1;
	return head->nlmsg_type == RTM_NEWLINK ? 0 : -1;
}

int main(int argc, char **argv)
{
	static const char *const paths[] = {"/etc/shadow", "/root", "/var/lib/libvirt", "/run/libvirt/libvirt-sock",
		"/run/yagura", "/dev/mem", "/dev/kvm", "/dev/fuse", "/proc/1/mem", "/proc/1/environ", "/proc/1/root",
		"/sys/fs/cgroup", "/sys/class", "SECRET"};
	struct sockaddr_vm cid = {.svm_family = AF_VSOCK, .svm_cid = 3, .svm_port = 997};
	int fd;

	(void)argv;
	for (unsigned i = 0; i < sizeof(paths) / sizeof(*paths); i++)
		reading(paths[i]);
	attempt("write /usr/bin/true", open("/usr/bin/true", O_WRONLY));
	attempt("write /", access("/", W_OK));
	fd = socket(AF_VSOCK, SOCK_STREAM, 0);
	attempt("vsock", fd < 0 ? fd : connect(fd, (struct sockaddr *)&cid, sizeof(cid)));
	attempt("inet", socket(AF_INET, SOCK_STREAM, 0));
	attempt("inet6", socket(AF_INET6, SOCK_DGRAM, 0));
	attempt("packet", socket(AF_PACKET, SOCK_RAW, 0));
	attempt("netlink", devices());
	attempt("netlink of uevents", socket(AF_NETLINK, SOCK_RAW, NETLINK_KOBJECT_UEVENT));
	struct sockaddr_un agent = {.sun_family = AF_UNIX, .sun_path = "SOCKET"};
	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	attempt("the agent's socket", fd < 0 ? fd : connect(fd, (struct sockaddr *)&agent, sizeof(agent)));
	attempt("setuid", setuid(0));
	/* On a place that is not there: an attempt that got through must do no harm. */
	attempt("mount", mount("none", "/no-such-place", "tmpfs", 0, NULL) < 0 && errno == EPERM ? -1 : 0);
	attempt("user namespace", unshare(CLONE_NEWUSER));
	attempt("chroot", chroot("/tmp"));
	attempt("ptrace 1", ptrace(PTRACE_ATTACH, 1, 0, 0));
	attempt("signal a process of the node", kill(SOMEBODY, 0));
	attempt("pidfd of a process of the node", syscall(SYS_pidfd_open, SOMEBODY, 0));
	attempt("kernel module", syscall(SYS_finit_module, 0, "", 0));
	attempt("io_uring", syscall(SYS_io_uring_setup, 1, NULL) < 0 && errno != EFAULT ? -1 : 0);
	attempt("set-uid program", system("/usr/bin/su -c true") == 0 ? 0 : -1);
	printf("done %d\n", argc);
	return 0;
}
"""


class Confinement(case.Case):
    def test_hostile_application(self):
        self.guest(NAME)
        agent = self.agent(NAME)
        agent.stop()
        secret = agent.folder / "secret"
        secret.write_text("the node's")
        secret.chmod(0o644)  # nothing but the confinement keeps it
        source = PROGRAM.replace("SECRET", str(secret)).replace("SOCKET", str(agent.socket))
        hostile, catalogue = agent.folder / "hostile", agent.folder / "catalogue.yaml"
        catalogue.write_text(f"""
apiVersion: yagura.dev/v1alpha1
kind: Catalogue
common: {{programTypes: [socket_filter], attach: [], helpers: [], files: {{read: [], write: []}}}}
programs:
- {{name: hostile, executable: {hostile}, args: ["[0-9]*"]}}
""")
        agent.config["catalogue"] = [str(catalogue)]
        (agent.folder / "hostile.c").write_text(source)
        # This test stands for the processes of the node: it is there while the program runs.
        subprocess.run(["gcc", "-w", f"-DSOMEBODY={os.getpid()}", "-o", hostile, agent.folder / "hostile.c"], check=True)
        agent.start()
        agent.wait_for(lambda: agent.channel(NAME).get("state") == "Connected", "the channel")
        lines = agent.yagura("run", NAME, "--", "hostile", check=False).splitlines()
        self.assertIn("done 1", lines)
        self.assertEqual([line for line in lines if line.startswith("GOT")], [])
        self.assertGreater(len([line for line in lines if line.startswith("refused")]), 30)
        # Outside the confinement the attempts are real ones. Never as root, whom they would let do harm.
        outside = subprocess.run([hostile], capture_output=True, text=True, check=False, user=65534, group=65534,
                                 extra_groups=[]).stdout.splitlines()
        for name in ("inet", "netlink", f"open {secret}", "pidfd of a process of the node"):
            self.assertIn(f"GOT {name}", outside)


if __name__ == "__main__":
    unittest.main(verbosity=2)
