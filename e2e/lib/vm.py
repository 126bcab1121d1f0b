"""Real virtual machines for tests: transient libvirt domains that boot an image of guest-image/build.

    with Guest("web-1", image="build/image", labels={"app": "web"}) as guest:
        guest.run("uname -r").out

Domains are called yagura-NAME, and nothing here touches any other. Everything that belongs to one lies in
/run/yagura-e2e/NAME: the kernel and initrd (copies, since libvirt gives them to QEMU's user), the console's log, the
shell's socket, and a note of which processes to end, so that `e2e/vm clean` can put away what a killed test left.
"""
import base64
import contextlib
import json
import os
import pathlib
import re
import shutil
import threading
import time
from xml.sax.saxutils import quoteattr

from . import accel, node, shell, vsock

PREFIX = "yagura-"
NAMESPACE = "https://yagura.dev/domain/1"


class Guest:
    """One virtual machine. Methods raise node.NodeError or shell.ShellError with a sentence.

    memory:  "memfd" (RAM is a shared memfd), "file" (a file that is no memfd) or "private" (anonymous RAM; only
             with the kernel's vhost_vsock, a user-space device needs shared RAM).
    workload: seconds between rounds of the small workload inside, None for silence.
    metadata: False leaves the <yagura:vm> element out.
    keep:    the machine outlives this process (e2e/vm start); OWNER is then the process it belongs to, if any.
    """

    def __init__(self, name, image, *, cpus=1, ram_mib=384, memory="memfd", labels=None, namespace="default",
                 workload=None, cmdline="", metadata=True, channel=True, keep=False, owner=None):
        if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,40}[a-z0-9])?", name):
            raise ValueError(f"{name!r} is no name for a guest: small letters, digits and -")
        self.name, self.domain = name, PREFIX + name
        self.image = pathlib.Path(image)
        self.cpus, self.ram_mib, self.memory = cpus, ram_mib, memory
        self.labels, self.namespace = dict(labels or {}), namespace
        self.workload, self.cmdline = workload, cmdline
        self.metadata, self.channel, self.keep = metadata, channel, keep
        self.owner = owner if keep else os.getpid()
        self.folder = node.RUN / name
        self.accel = self.accel_why = None
        self.boot_seconds = None
        self._mine = False  # a domain of this name that was there before is somebody else's
        self._device = None
        self._shell = shell.Shell(str(self.folder / "shell.sock"))
        self._libvirt = None

    # Life

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.close()

    def start(self, timeout=300.0):
        """Boots and waits until the guest's shell answers. When that fails nothing is left."""
        if not (self.image / "vmlinuz").exists():
            raise node.NodeError(f"no image in {self.image}: run guest-image/build --out {self.image}")
        if self.memory == "private" and self.channel and not vsock.KERNEL.exists():
            raise node.NodeError("private RAM needs vhost_vsock in the node's kernel")
        self.accel, self.accel_why = accel.choose(self.image)
        self._libvirt = node.Libvirt().__enter__()
        try:
            self._boot(timeout)
        except BaseException:
            self.keep = False
            self.close()
            raise
        return self

    def _boot(self, timeout):
        if self.state() != "gone":
            raise node.NodeError(f"the domain {self.domain} is there already: e2e/vm stop {self.name}")
        self._mine = True
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(mode=0o755, parents=True)
        for file in ("vmlinuz", "initrd.img"):
            shutil.copyfile(self.image / file, self.folder / file)
        if self.channel and not vsock.KERNEL.exists():
            self._device = vsock.Device(self.name, self.folder / "vhost.log")
        self._note()
        definition = self.folder / "domain.xml"
        definition.write_text(self.xml())
        started = time.monotonic()
        node.virsh("create", str(definition))
        self._shell.wait(started + timeout)
        self.boot_seconds = time.monotonic() - started

    def _note(self):
        note = {"owner": self.owner, "vhost": self._device.pid if self._device else None}
        (self.folder / "note.json").write_text(json.dumps(note))

    def close(self):
        """Puts everything away, whatever state it is in; does nothing to a machine that is kept."""
        self._shell.close()
        if not self.keep and self._mine:
            if self._libvirt is not None and self.state() != "gone":
                node.virsh("destroy", self.domain, check=False)
            if self._device is not None:
                self._device.stop()
                self._device = None
            shutil.rmtree(self.folder, ignore_errors=True)
            self._mine = False
        elif self._device is not None:
            self._device.leave()
        if self._libvirt is not None:
            self._libvirt.__exit__(None, None, None)
            self._libvirt = None

    # What a test does to it

    def run(self, command, timeout=120.0, check=False):
        """Runs COMMAND with sh in the guest. With CHECK a code other than 0 is an AssertionError."""
        result = self._shell.run(command, timeout)
        if check and result.code != 0:
            raise AssertionError(f"{self.name}: {command}: {result}")
        return result

    def put(self, path, data):
        """Writes the bytes DATA to PATH in the guest."""
        self.run(f": >{path}", check=True)
        for at in range(0, len(data), 30000):
            text = base64.b64encode(data[at:at + 30000]).decode()
            self.run(f"echo {text} | base64 -d >>{path}", check=True)

    def console(self):
        """All that the guest wrote to its serial console so far."""
        return (self.folder / "console.log").read_text(errors="replace")

    def pause(self):
        node.virsh("suspend", self.domain)

    def resume(self):
        node.virsh("resume", self.domain)

    def reset(self, timeout=300.0):
        """The reset button; waits until the new boot answers."""
        before = self.boot_id()
        node.virsh("reset", self.domain)
        self._shell.close()
        end = time.monotonic() + timeout
        while True:
            self._shell.wait(end)
            with contextlib.suppress(shell.ShellError):
                if self.boot_id() != before:
                    return

    def destroy(self):
        """Pulls the plug: the domain is gone, its vsock device with it. start() boots it again."""
        self._shell.close()
        node.virsh("destroy", self.domain)
        if self._device is not None:
            self._device.stop()
            self._device = None

    def kill_channel(self):
        """Kills the user-space vsock device: the channel dies and does not come back before the next start."""
        if self._device is None:
            raise node.NodeError("this guest has no user-space vsock device")
        self._device.stop()

    def restart_guest_program(self):
        self.run("kill -9 $(pidof yagura-guest)")

    # What it is

    def state(self):
        """"running", "paused", ... as virsh says, or "gone"."""
        text = node.virsh("domstate", self.domain, check=False).strip()
        return text or "gone"

    def boot_id(self):
        return self.run("cat /proc/sys/kernel/random/boot_id", check=True).out.strip()

    def uuid(self):
        return node.virsh("domuuid", self.domain).strip()

    def qemu_pid(self):
        return int(pathlib.Path(f"/run/libvirt/qemu/{self.domain}.pid").read_text())

    def address(self, port):
        """Where PORT of the guest is reached, in the form of lib/wire/transport.h."""
        if self._device is not None:
            return f"hvsock:{self._device.address}:{port}"
        found = re.search(r"<cid [^>]*address=['\"](\d+)", node.virsh("dumpxml", self.domain))
        if not found:
            raise node.NodeError(f"{self.domain} has no vsock device")
        return f"vsock:{found.group(1)}:{port}"

    def xml(self):
        """The domain as libvirt gets it."""
        kvm = self.accel == "kvm"
        options = f"console=ttyS0 quiet panic=-1 yagura.name={self.name} {self.cmdline}".strip()
        if self.workload is not None:
            options += f" yagura.workload={self.workload}"
        folder = self.folder
        return f"""<domain type='{"kvm" if kvm else "qemu"}' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
  <name>{self.domain}</name>
  {self._metadata_xml()}
  <memory unit='MiB'>{self.ram_mib}</memory>
  {self._memory_xml()}
  <vcpu>{self.cpus}</vcpu>
  <os>
    <type arch='x86_64' machine='q35'>hvm</type>
    <kernel>{folder}/vmlinuz</kernel>
    <initrd>{folder}/initrd.img</initrd>
    <cmdline>{options}</cmdline>
  </os>
  <features><acpi/></features>
  {self._cpu_xml()}
  <on_reboot>restart</on_reboot>
  <on_crash>destroy</on_crash>
  <devices>
    <serial type='pty'><log file='{folder}/console.log' append='off'/></serial>
    <channel type='unix'>
      <source mode='bind' path='{folder}/shell.sock'/>
      <target type='virtio' name='yagura.shell'/>
    </channel>
    <controller type='usb' model='none'/>
    <memballoon model='none'/>
    <rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>
    {self._vsock_xml()}
  </devices>
  {self._confinement_xml()}
  {self._commandline_xml()}
</domain>
"""

    def _cpu_xml(self):
        """QEMU 7.2's TCG loses the flags register at cmpxchg16b, which the kernel's allocator uses where it may; a
        guest then dies of a double fault sooner or later."""
        if self.accel == "kvm":
            return "<cpu mode='host-passthrough'/>"
        return "<cpu mode='maximum'><feature policy='disable' name='cx16'/></cpu>"

    def _metadata_xml(self):
        if not self.metadata:
            return ""
        labels = "".join(f"<yagura:label key={quoteattr(key)} value={quoteattr(value)}/>"
                         for key, value in self.labels.items())
        channel = ""
        if self._device is not None:
            channel = f"<yagura:channel type='hvsock' path='{self._device.address}'/>"
        return (f"<metadata><yagura:vm xmlns:yagura='{NAMESPACE}' namespace={quoteattr(self.namespace)} "
                f"name={quoteattr(self.name)}>{labels}{channel}</yagura:vm></metadata>")

    def _memory_xml(self):
        if self.memory == "private":
            return ""
        return f"<memoryBacking><source type='{self.memory}'/><access mode='shared'/></memoryBacking>"

    def _vsock_xml(self):
        if not self.channel or self._device is not None:
            return ""
        return "<vsock model='virtio'><cid auto='yes'/></vsock>"

    def _commandline_xml(self):
        """The user-space device has no element in libvirt, and needs a place on the bus of its own."""
        if self._device is None:
            return ""
        words = ("-chardev", f"socket,id=yagura-vsock,path={self._device.vhost}",
                 "-device", "vhost-user-vsock-pci,chardev=yagura-vsock,bus=pcie.0,addr=0x1d")
        return ("<qemu:commandline>" + "".join(f"<qemu:arg value='{word}'/>" for word in words) +
                "</qemu:commandline>")

    @staticmethod
    def _confinement_xml():
        """libvirt's AppArmor profile knows nothing of the device's socket; on such a node it is left off."""
        try:
            on = pathlib.Path("/sys/module/apparmor/parameters/enabled").read_text().startswith("Y")
        except OSError:
            on = False
        return "<seclabel type='none' model='apparmor'/>" if on else ""


def clean():
    """Puts away machines whose owner is dead. Returns their names."""
    gone = []
    for note in sorted(node.RUN.glob("*/note.json")):
        try:
            saved = json.loads(note.read_text())
        except (OSError, ValueError):
            saved = {"owner": None, "vhost": None}
        if saved["owner"] is not None and not node.alive(saved["owner"]):
            put_away(note.parent.name)
            gone.append(note.parent.name)
    return gone


def belongs(name, owner):
    """Was the machine NAME started for the process OWNER?"""
    try:
        return json.loads((node.RUN / name / "note.json").read_text())["owner"] == owner
    except (OSError, ValueError, KeyError):
        return False


def put_away(name):
    """Ends the machine NAME and what belongs to it, from the note it left."""
    folder = node.RUN / name
    try:
        saved = json.loads((folder / "note.json").read_text())
    except (OSError, ValueError) as error:
        raise node.NodeError(f"no guest {name} was started here") from error
    with node.Libvirt():
        node.virsh("destroy", PREFIX + name, check=False)
    pid = saved.get("vhost")
    if pid and node.alive(pid) and f"{name}.vhost".encode() in pathlib.Path(f"/proc/{pid}/cmdline").read_bytes():
        node.stop(pid)
    for suffix in ("sock", "vhost"):
        (vsock.SOCKETS / f"{name}.{suffix}").unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


def follow_console(guest, write, stop):
    """A thread that hands the console's text to WRITE as it grows, until the event STOP."""
    def loop():
        with open(guest.folder / "console.log", errors="replace") as stream:
            while not stop.is_set():
                text = stream.read()
                if text:
                    write(text)
                stop.wait(0.1)
    thread = threading.Thread(target=loop, daemon=True)
    thread.start()
    return thread
