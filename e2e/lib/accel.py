"""KVM or TCG? A /dev/kvm that opens proves nothing: there are machines where it creates vCPUs that never get
through the kernel's start. So a guest is booted under KVM, once for each boot of this machine, and KVM counts only
when that guest's own init has spoken within the deadline.
"""
import json
import os
import pathlib
import subprocess
import tempfile
import time

from . import node

DEADLINE = 20.0
BOOT_ID = pathlib.Path("/proc/sys/kernel/random/boot_id")


def _try_kvm(image):
    """(does it work, why)"""
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return False, "/dev/kvm is not there or not ours to open"
    with tempfile.TemporaryDirectory(prefix="yagura-accel.") as work:
        log = pathlib.Path(work, "console")
        process = subprocess.Popen(
            ["qemu-system-x86_64", "-M", "q35", "-accel", "kvm", "-cpu", "host", "-m", "256", "-nodefaults",
             "-nographic", "-no-reboot", "-serial", f"file:{log}", "-kernel", str(pathlib.Path(image, "vmlinuz")),
             "-initrd", str(pathlib.Path(image, "initrd.img")), "-append", "console=ttyS0 quiet"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        try:
            end = time.monotonic() + DEADLINE
            while time.monotonic() < end:
                if log.exists() and b"is up after" in log.read_bytes():
                    return True, "a guest answered under KVM"
                if process.poll() is not None:
                    words = process.stderr.read().decode(errors="replace").strip().splitlines()
                    return False, f"QEMU ended under KVM: {words[-1] if words else process.returncode}"
                time.sleep(0.1)
            return False, f"a guest under KVM did not answer within {DEADLINE:.0f} s"
        finally:
            node.stop(process.pid, patience=1.0)
            process.wait()
            process.stderr.close()


def choose(image):
    """("kvm" or "tcg", why). IMAGE: a folder made by guest-image/build. YAGURA_ACCEL overrides."""
    forced = os.environ.get("YAGURA_ACCEL")
    if forced in ("kvm", "tcg"):
        return forced, "YAGURA_ACCEL says so"
    node.RUN.mkdir(mode=0o755, parents=True, exist_ok=True)
    known = node.RUN / "accel.json"
    boot_id = BOOT_ID.read_text().strip()
    try:
        saved = json.loads(known.read_text())
        if saved["boot"] == boot_id:
            return saved["accel"], saved["why"]
    except (OSError, ValueError, KeyError):
        pass
    works, why = _try_kvm(image)
    saved = {"boot": boot_id, "accel": "kvm" if works else "tcg", "why": why}
    fresh = known.with_suffix(f".{os.getpid()}")
    fresh.write_text(json.dumps(saved))
    fresh.replace(known)
    return saved["accel"], saved["why"]
