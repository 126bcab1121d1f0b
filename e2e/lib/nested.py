"""A VM that plays the node, and a guest inside it.

Its kernel is Debian's, with vhost_vsock and no other cgroups than v2, whatever kernel the tests themselves run on. It
carries QEMU, libvirtd, this build's agent and an image for the guest inside (guest-image/variants/node). Everything is
asked for through the VM's shell: commands on the node with run(), in the guest inside with inner().
"""
import json
import pathlib
import subprocess
import time

from . import agent, node, vm

# Of the build folder: what a node has installed, then the tests, which know each other by the paths of the build.
PROGRAMS = {
    "agent/yagura-agent": "/usr/sbin/yagura-agent",
    "agent/telebpf/session/yagura-session": "/usr/lib/yagura/yagura-session",
    "libyagura-shim.so": "/usr/lib/yagura/libyagura-shim.so",
    "cli/yagura": "/usr/bin/yagura",
    "e2e/nested/e2e-stranger": "/usr/lib/yagura/stranger",
}
TESTS = ("tests/agent/telebpf/confine/test-confine", "tests/agent/telebpf/guestfs/test-guestfs",
         "tests/guest-image/test-guest-session", "tests/guest-image/test-guest-server")
TESTS_NEED = ("tests/agent/telebpf/confine/confine-probe", "tests/agent/telebpf/confine/libconfine-preload.so",
              "guest-image/yagura-guest")
UUID = "6a0b1d0e-9a51-4b76-9a0c-0d2f2f6f7a01"
# QEMU's TCG inside TCG is slow by a factor of ten, on a busy machine by more: nothing here may be impatient.
PATIENCE = 600.0
# What a boot under two TCGs can do without: self-tests, what hardware this guest does not have, and RCU's patience.
INNER_CMDLINE = ("console=ttyS0 quiet panic=-1 nokaslr mitigations=off tsc=reliable acpi=off cryptomgr.notests "
                 "noreplace-smp ipv6.disable=1 rcupdate.rcu_expedited=1 audit=0 lsm=lockdown,bpf initcall_blacklist=" + ",".join((
                     "crypto_kdf108_init", "slab_sysfs_init", "dmi_sysfs_init", "i8042_init", "cmos_init",
                     "load_system_certificate_list", "init_ima", "seg6_init", "pcie_portdrv_init", "trace_eval_init")))

SETTINGS = {
    "node": "nested", "manifests": "/etc/yagura/manifests", "catalogue": ["/etc/yagura/catalogue.yaml"],
    "keys": {"key": "/etc/yagura/node.key", "cert": "/etc/yagura/node.cert"}, "listen": "Off",
    "sessionProgram": "/usr/lib/yagura/yagura-session", "shim": "/usr/lib/yagura/libyagura-shim.so",
}
MONITOR = {
    "apiVersion": "yagura.dev/v1alpha1", "kind": "VMMonitor", "metadata": {"name": "nested", "namespace": "default"},
    "spec": {"vmSelector": {"matchLabels": {"app": "web"}},
             "apps": [{"name": "exec", "program": "execsnoop", "limits": {"cpu": "1"}}]},
}


def _build(*words):
    done = subprocess.run([agent.ROOT / "guest-image/build", *words], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise node.NodeError(f"guest-image/build: {done.stderr.strip()}")


def images(build, keys):
    """Makes the image of the guest inside, then that of the node which carries it; returns the node's folder."""
    inner, outer = agent.ROOT / "build/images/nested-guest", agent.ROOT / "build/images/nested-node"
    if not (keys / "node.cert").exists():
        keys.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run([build / "cli/yagura", "keys", "init", keys, "--name", "e2e"], check=True, capture_output=True)
    _build("--variant", "inner", "--bare", "--unpack-kernel", "--file", f"{build / 'e2e/nested/e2e-inner-init'}:/init",
           "--guest-binary", build / "guest-image/yagura-guest", "--root-pub", keys / "root.pub", "--out", inner)
    files = {build / name: place for name, place in PROGRAMS.items()}
    files |= {build / name: build / name for name in TESTS + TESTS_NEED}
    files |= {inner / name: f"/var/lib/inner/{name}" for name in ("vmlinuz", "initrd.img")}
    files |= {keys / name: f"/etc/yagura/{name}" for name in ("node.key", "node.cert")}
    files[agent.ROOT / "examples/catalogue.yaml"] = "/etc/yagura/catalogue.yaml"
    _build("--variant", "node", "--out", outer, *(word for place in files.items()
                                                  for word in ("--file", f"{place[0]}:{place[1]}")))
    return outer


class Node(vm.Guest):
    """The node; as a context manager it is up when its libvirtd answers."""

    def __init__(self, name, build=agent.BUILD, keys=agent.KEYS):
        self.build = pathlib.Path(build).resolve()
        super().__init__(name, images(self.build, pathlib.Path(keys).resolve()), cpus=2, ram_mib=3072, channel=False,
                         metadata=False, cmdline="mitigations=off no5lvl tsc=reliable")
        self._agent = None

    def start(self, timeout=PATIENCE):
        super().start(timeout)
        self.wait_for(lambda: self.run("virsh version", 60).code == 0, "libvirtd of the node")
        return self

    def wait_for(self, question, what, timeout=PATIENCE, pause=1.0):
        """Asks until QUESTION gives something true, which is returned; AssertionError with what the agent said."""
        end = time.monotonic() + timeout
        while not (answer := question()):
            if time.monotonic() > end:
                raise AssertionError(f"{what}: not after {timeout:.0f} s\n{self.run('tail -n 20 /run/agent.log').out}")
            time.sleep(pause)
        return answer

    # The agent on the node

    def start_agent(self):
        self.run("mkdir -p /etc/yagura/manifests", check=True)
        for path, what in (("agent.yaml", SETTINGS), ("manifests/nested.yaml", MONITOR)):
            self.put(f"/etc/yagura/{path}", json.dumps(what).encode())  # every JSON is YAML
        self._agent = int(self.run("yagura-agent --config /etc/yagura/agent.yaml </dev/null >/run/agent.log 2>&1 & "
                                   "echo $!", check=True).out)
        self.wait_for(lambda: self.run("yagura vms", 60).code == 0, "the agent's socket")

    def stop_agent(self):
        """Ends it; AssertionError when it does not go, or leaves a session or a control group."""
        self.run(f"kill {self._agent}", check=True)
        self.wait_for(lambda: self.run(f"kill -0 {self._agent}").code != 0, "the agent's end", 60)
        self.wait_for(lambda: not self.run("pidof yagura-session; find /sys/fs/cgroup/yagura -mindepth 1 -type d"
                                           " 2>/dev/null").out, "the end of what belonged to the agent", 60)

    def kill_agent(self):
        """Ends it with SIGKILL; AssertionError when its sessions outlive it."""
        self.run(f"kill -9 {self._agent}", check=True)
        self.wait_for(lambda: not self.run("pidof yagura-session execsnoop").out, "the end of the agent's sessions", 60)

    def guest(self):
        """The guest inside as the agent describes it (VMGuest), or None."""
        result = self.run("yagura vms -o json", 60)
        found = json.loads(result.out) if result.code == 0 else []
        return found[0] if found else None

    def link(self):
        """Its channel's state, with "None" where the agent does not know the guest."""
        return (self.guest() or {"status": {"channel": {"state": "None"}}})["status"]["channel"]

    def app(self):
        """Its application's state, or {}."""
        monitors = (self.guest() or {"status": {}})["status"].get("monitors") or [{"apps": []}]
        return (monitors[0]["apps"] or [{}])[0]

    def ready(self):
        """The VMGuest once its application runs, else None."""
        found = self.guest()
        if found and found["status"]["channel"]["state"] == "Connected" and self.app().get("state") == "Running":
            return found
        return None

    def seen(self, mark):
        """Runs a program with MARK in the guest inside until an event tells of it, which is returned. That a program
        runs does not mean that it has attached yet, and what happened before is not its to tell."""
        def question():
            self.inner(f"run /init {mark}")
            for line in self.run("yagura events --recent 64 --app exec -o json", 60).out.splitlines():
                if mark in line:
                    return json.loads(line)
            return None
        return self.wait_for(question, f"an event with {mark}")

    # The guest inside

    def create_inner(self, cid=None, private=False):
        """Starts it. CID: a number, None lets libvirt choose. PRIVATE: RAM that nobody else can map."""
        self.put("/run/inner.xml", inner_xml(cid, private).encode())
        self.run("virsh create /run/inner.xml", 120, check=True)

    def virsh(self, word):
        """What `virsh WORD` does to the guest inside."""
        self.run(f"virsh {word} inner", 120, check=True)

    def inner(self, words, timeout=60, check=False):
        """Asks the guest inside for WORDS (e2e/nested/inner-init.c); the result, code 124 when it does not answer.
        With CHECK a code other than 0 is an AssertionError."""
        return self.run(f"/usr/lib/yagura/inner {timeout} {words}", timeout + 20, check)

    def inner_cid(self):
        return int(self.run("virsh dumpxml inner | sed -n \"s/.*<cid .*address='\\([0-9]*\\)'.*/\\1/p\"", 60,
                            check=True).out)

    def inner_programs(self):
        """How many eBPF programs the kernel of the guest inside has."""
        return int(self.inner("programs", check=True).out)


def inner_xml(cid, private):
    """The domain as the node's libvirt gets it; always TCG, a VM in a VM seldom has KVM."""
    address = f"auto='no' address='{cid}'" if cid else "auto='yes'"
    memory = "" if private else "<memoryBacking><source type='memfd'/><access mode='shared'/></memoryBacking>"
    return f"""<domain type='qemu'>
  <name>inner</name>
  <uuid>{UUID}</uuid>
  <metadata><yagura:vm xmlns:yagura='{vm.NAMESPACE}'><yagura:label key='app' value='web'/></yagura:vm></metadata>
  <memory unit='MiB'>320</memory>
  {memory}
  <vcpu>1</vcpu>
  <os>
    <type arch='x86_64' machine='pc'>hvm</type>
    <kernel>/var/lib/inner/vmlinuz</kernel>
    <initrd>/var/lib/inner/initrd.img</initrd>
    <cmdline>{INNER_CMDLINE}</cmdline>
  </os>
  <features><acpi/></features>
  <cpu mode='custom' match='exact'><model>qemu64</model><feature policy='disable' name='cx16'/></cpu>
  <on_reboot>restart</on_reboot>
  <devices>
    <serial type='file'><source path='/run/inner.console'/></serial>
    <channel type='pipe'><source path='/run/inner'/><target type='virtio' name='yagura.shell'/></channel>
    <controller type='usb' model='none'/>
    <memballoon model='none'/>
    <rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>
    <vsock model='virtio'><cid {address}/></vsock>
  </devices>
</domain>
"""
