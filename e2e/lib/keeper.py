"""Keeps the libvirt daemons on a machine without an init system.

libvirtd asks QEMU for what it can do through a QEMU that daemonises itself, kills it, and waits until its pid is gone.
In a container whose first process reaps no orphans the pid stays as a zombie, and each question takes seconds. So
the daemons run below this process, which adopts and reaps what they leave behind, and ends with libvirtd.

Run as `python3 -m e2e.lib.keeper FOLDER [--no-kvm]`; writes keeper.pid there and stops both daemons at SIGTERM.
"""
import contextlib
import ctypes
import os
import pathlib
import signal
import subprocess
import sys

PR_SET_CHILD_SUBREAPER = 36
CLONE_NEWNS = 0x20000
QEMU_CONF = pathlib.Path("/etc/libvirt/qemu.conf")
MS_BIND, MS_REC, MS_SLAVE = 0x1000, 0x4000, 0x80000


def hide_kvm(libc, folder):
    """A KVM that opens but runs no guest makes libvirtd ask QEMU again, for seconds, before each domain. So it gets
    a mount namespace of its own where /dev/kvm is a file that nobody may open, and where libvirt's own namespaces for
    QEMU, which cannot carry that over, are off."""
    nothing, config = folder / "no-kvm", folder / "qemu.conf"
    nothing.touch(mode=0)
    nothing.chmod(0)
    config.write_text(QEMU_CONF.read_text() + "\nnamespaces = []\n")
    if libc.unshare(CLONE_NEWNS) or libc.mount(b"none", b"/", None, MS_REC | MS_SLAVE, None) or \
            libc.mount(bytes(nothing), b"/dev/kvm", None, MS_BIND, None) or \
            libc.mount(bytes(config), bytes(QEMU_CONF), None, MS_BIND, None):
        raise OSError(ctypes.get_errno(), "/dev/kvm cannot be hidden")


def main():
    folder = pathlib.Path(sys.argv[1])
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    if "--no-kvm" in sys.argv and os.path.exists("/dev/kvm"):
        hide_kvm(libc, folder)
    os.chdir("/")
    with open(folder / "daemons.log", "ab") as log:
        daemons = [subprocess.Popen([name, "-p", str(folder / f"{name}.pid")], stdin=subprocess.DEVNULL, stdout=log,
                                    stderr=log, start_new_session=True) for name in ("virtlogd", "libvirtd")]
    (folder / "keeper.pid").write_text(str(os.getpid()))

    def end(*_):
        for daemon in reversed(daemons):
            with contextlib.suppress(ProcessLookupError):
                os.kill(daemon.pid, signal.SIGTERM)
    signal.signal(signal.SIGTERM, end)

    pids = {daemon.pid for daemon in daemons}
    while pids:
        pid, _ = os.waitpid(-1, 0)
        if pid in pids:
            pids.discard(pid)
            end()
    (folder / "keeper.pid").unlink(missing_ok=True)


if __name__ == "__main__":
    main()
