"""The node's libvirt: virsh as a function, and the daemons where none is running.

On a machine with systemd a libvirtd answers at once. In a container there is none: then virtlogd and libvirtd are
started here, and stopped by the last user that this module knows of (a shared lock tells), never anybody else's.
"""
import contextlib
import fcntl
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

URI = "qemu:///system"
ROOT = pathlib.Path(__file__).resolve().parents[2]
RUN = pathlib.Path("/run/yagura-e2e")
DAEMONS = ("virtlogd", "libvirtd")


class NodeError(Exception):
    """libvirt refuses or is not there; the text says what it said."""


def virsh(*words, timeout=60, check=True):
    """Runs virsh; its standard output. NodeError with virsh's words when it fails and CHECK is set."""
    try:
        done = subprocess.run(["virsh", "-q", "-c", URI, *words], capture_output=True, text=True, timeout=timeout,
                              check=False)
    except FileNotFoundError as error:
        raise NodeError("virsh is missing (Debian package: libvirt-clients)") from error
    except subprocess.TimeoutExpired as error:
        raise NodeError(f"virsh {' '.join(words)}: no answer after {timeout} s") from error
    if check and done.returncode != 0:
        raise NodeError(f"virsh {' '.join(words)}: {done.stderr.strip()}")
    return done.stdout


def answers():
    try:
        virsh("version", timeout=10)
        return True
    except NodeError:
        return False


def alive(pid):
    """Is PID a process that runs (a zombie does not)?"""
    try:
        state = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (OSError, IndexError):
        return False
    return state not in "ZX"


def stop(pid, patience=5.0, first=signal.SIGTERM):
    """Ends process PID: FIRST, and SIGKILL when it is still there PATIENCE seconds later."""
    for number, seconds in ((first, patience), (signal.SIGKILL, 5.0)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            with contextlib.suppress(ChildProcessError, OSError):
                os.waitpid(pid, os.WNOHANG)
            if not alive(pid):
                return
            time.sleep(0.02)


def _kvm_is_broken():
    """What accel.py found out, if it was asked."""
    try:
        return json.loads((RUN / "accel.json").read_text())["accel"] == "tcg"
    except (OSError, ValueError, KeyError):
        return False


def _start_daemons():
    for daemon in DAEMONS:
        if shutil.which(daemon) is None:
            raise NodeError(f"{daemon} is missing (Debian package: libvirt-daemon-system)")
    (RUN / "keeper.pid").unlink(missing_ok=True)
    words = ["--no-kvm"] if _kvm_is_broken() else []
    keeper = subprocess.Popen([sys.executable, "-m", "e2e.lib.keeper", str(RUN), *words], cwd=ROOT, stdin=subprocess.DEVNULL,
                     stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    keeper.returncode = 0  # it may outlive this process, and another one may stop it
    end = time.monotonic() + 60
    while not answers():
        if time.monotonic() > end:
            _stop_daemons()
            words = (RUN / "daemons.log").read_text(errors="replace").strip().splitlines()
            raise NodeError(f"libvirtd was started and does not answer after 60 s: {words[-1] if words else ''}")
        time.sleep(0.1)


def _stop_daemons():
    """Only what keeper.py keeps; it writes its pid there and nobody else does."""
    with contextlib.suppress(OSError, ValueError):
        pid = int((RUN / "keeper.pid").read_text())
        if b"e2e.lib.keeper" in pathlib.Path(f"/proc/{pid}/cmdline").read_bytes():
            stop(pid, patience=20.0)


class Libvirt:
    """While this is open, qemu:///system answers."""

    def __init__(self):
        self._lock = None

    def __enter__(self):
        if os.geteuid() != 0:
            raise NodeError("virtual machines of qemu:///system need root")
        RUN.mkdir(mode=0o755, parents=True, exist_ok=True)
        with open(RUN / "libvirt.start", "w") as gate:
            fcntl.flock(gate, fcntl.LOCK_EX)
            self._lock = open(RUN / "libvirt.users", "w")
            fcntl.flock(self._lock, fcntl.LOCK_SH)
            if not answers():
                _start_daemons()
        return self

    def __exit__(self, *_):
        with open(RUN / "libvirt.start", "w") as gate:
            fcntl.flock(gate, fcntl.LOCK_EX)
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return  # somebody else still uses them and will stop them
            finally:
                self._lock.close()
            if (RUN / "keeper.pid").exists() and not _domains():  # domains would lose their daemon
                _stop_daemons()


def _domains():
    try:
        return virsh("list", "--name").split()
    except NodeError:
        return []
