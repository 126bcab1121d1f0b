"""The user-space vsock device (vhost-device-vsock) for nodes whose kernel has no vhost_vsock.

It comes from a Debian package that guest-image/fetch keeps in the cache; it is unpacked, never installed. It runs as
the user of QEMU, because QEMU must open its socket and because it reads what a guest writes.
"""
import os
import pathlib
import pwd
import socket
import subprocess
import time

from . import node

ROOT = pathlib.Path(__file__).resolve().parents[2]
SOCKETS = pathlib.Path("/run/yagura/vsock")
KERNEL = pathlib.Path("/dev/vhost-vsock")
QEMU_USER = "libvirt-qemu"


def program():
    done = subprocess.run([ROOT / "guest-image/fetch", "sid", "vhost-device-vsock"], capture_output=True, text=True,
                          check=False)
    if done.returncode != 0:
        raise node.NodeError(f"vhost-device-vsock cannot be had: {done.stderr.strip()}")
    return pathlib.Path(done.stdout.strip(), "root/usr/bin/vhost-device-vsock")


def connect(address):
    """A connected socket to ADDRESS, as vm.Guest.address() says it."""
    kind, where, port = address.split(":")
    if kind == "vsock":
        connection = socket.socket(socket.AF_VSOCK)
        connection.connect((int(where), int(port)))
        return connection
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(30)
    connection.connect(where)
    connection.sendall(f"CONNECT {port}\n".encode())
    answer = b""
    while not answer.endswith(b"\n"):
        byte = connection.recv(1)
        if not byte:
            raise node.NodeError(f"{address}: nobody listens")
        answer += byte
    connection.settimeout(None)
    return connection


class Device:
    """One device for one guest. `address` is where the host connects, `vhost` what QEMU connects to."""

    def __init__(self, name, log):
        user = pwd.getpwnam(QEMU_USER)
        SOCKETS.mkdir(mode=0o750, parents=True, exist_ok=True)
        os.chown(SOCKETS, user.pw_uid, user.pw_gid)
        self.address = SOCKETS / f"{name}.sock"
        self.vhost = SOCKETS / f"{name}.vhost"
        self.unlink()
        # The cache may lie in a home that QEMU's user cannot enter: it gets the program as a descriptor.
        with open(log, "ab") as output, open(program(), "rb") as code:
            self._process = subprocess.Popen(
                ["vhost-device-vsock", "--vm", f"guest-cid=3,socket={self.vhost},uds-path={self.address}"],
                executable=f"/proc/self/fd/{code.fileno()}", pass_fds=[code.fileno()], stdin=subprocess.DEVNULL,
                stdout=output, stderr=output, user=user.pw_uid, group=user.pw_gid, extra_groups=[],
                start_new_session=True, cwd="/")
        self.pid = self._process.pid
        end = time.monotonic() + 10
        while not (self.vhost.is_socket() and self.address.is_socket()):
            if self._process.poll() is not None or time.monotonic() > end:
                self.stop()
                raise node.NodeError(f"vhost-device-vsock does not start: {pathlib.Path(log).read_text().strip()}")
            time.sleep(0.02)

    def stop(self):
        node.stop(self.pid)
        self._process.wait()
        self.unlink()

    def leave(self):
        """The device outlives this process."""
        self._process.returncode = 0

    def unlink(self):
        for path in (self.address, self.vhost):
            path.unlink(missing_ok=True)
