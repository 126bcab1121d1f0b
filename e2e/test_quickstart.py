"""`./quickstart` as a person runs it: whole and bounded, a second time, and interrupted in every phase. What it leaves on
the machine is compared with what was there before, with a domain of somebody else's running beside it."""
import os
import pathlib
import re
import signal
import subprocess
import tempfile
import time

from .lib import case, node

ROOT = pathlib.Path(__file__).resolve().parents[1]
BUILD = ROOT / "build/quickstart"
DOMAIN = "yagura-quickstart"
PATIENCE = 900.0  # seconds for a whole run, with a build that begins afresh on a busy machine
FOREIGN = """<domain type='qemu'><name>{name}</name><memory unit='MiB'>32</memory>
<os><type arch='x86_64' machine='q35'>hvm</type></os></domain>"""


def processes():
    """{pid: command line} of what quickstart starts: its programs, and the guest with its device."""
    found = {}
    for folder in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if int(folder.name) != os.getpid() and (str(BUILD) in words or f"guest={DOMAIN}" in words or
                                                "vsock/quickstart.sock" in words):
            found[int(folder.name)] = words.strip()
    return found


def traces():
    """What could be left besides processes: mounts, BPF pins, network namespaces, control groups, files in /run."""
    mounts = {line.split()[4] for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines()}
    pins = {str(path) for path in pathlib.Path("/sys/fs/bpf").glob("*")}
    names = {str(path) for path in pathlib.Path("/run/netns").glob("*")}
    groups = {os.path.join(folder, name) for folder, names, _ in os.walk("/sys/fs/cgroup") for name in names
              if "quickstart" in name}
    return mounts | pins | names | groups | {str(path) for path in pathlib.Path("/run/yagura").glob("**/*quickstart*")}


class Running:
    """A quickstart as the leader of a process group, as a shell's job is."""

    def __init__(self, *words):
        self._out = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen([ROOT / "quickstart", *words], stdin=subprocess.DEVNULL, stdout=self._out,
                                        stderr=subprocess.STDOUT, start_new_session=True,
                                        # A shell that began in the background ignores Ctrl-C, and so would this one.
                                        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))

    def text(self):
        return os.pread(self._out.fileno(), 1 << 20, 0).decode(errors="replace")

    def wait(self):
        try:
            return self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired as error:
            raise AssertionError(f"quickstart does not end: {self.text()}") from error

    def wait_for(self, words):
        end = time.monotonic() + PATIENCE
        while words not in self.text():
            if self.process.poll() is not None or time.monotonic() > end:
                raise AssertionError(f"quickstart never said {words!r}: {self.text()}")
            time.sleep(0.05)

    def interrupt(self):
        """As a terminal does on Ctrl-C: every process of the group has it."""
        os.killpg(self.process.pid, signal.SIGINT)

    def close(self):
        if self.process.poll() is None:
            self.process.terminate()  # it ends what it started
            self.process.wait(60)
        self._out.close()


class QuickstartTest(case.Case):
    full = True

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.enterClassContext(node.Libvirt())
        subprocess.run([ROOT / "e2e/vm", "clean"], check=True, capture_output=True)
        cls.foreign = f"somebody-{os.getpid()}"
        with tempfile.NamedTemporaryFile("w", suffix=".xml") as file:
            file.write(FOREIGN.format(name=cls.foreign))
            file.flush()
            node.virsh("create", file.name, "--paused")
        cls.addClassCleanup(node.virsh, "destroy", cls.foreign, check=False)

    def setUp(self):
        self.before = traces()

    def run_it(self, *words):
        running = Running(*words)
        self.addCleanup(running.close)
        return running

    def check_nothing_left(self):
        self.assertEqual(processes(), {})
        self.assertEqual(traces() - self.before, set())
        domains = node.virsh("list", "--all", "--name").split()
        self.assertNotIn(DOMAIN, domains)
        self.assertIn(self.foreign, domains)
        self.assertEqual(node.virsh("domstate", self.foreign).strip(), "paused")

    def test_once_and_once_more(self):
        first = self.run_it("--once")
        self.assertEqual(first.wait(), 0, first.text())
        for app, what in (("exec", "/bin/cat /etc/hosts"), ("open", "/etc/hosts"), ("connect", "127.0.0.1")):
            self.assertRegex(first.text(), rf"(?m)^\S+ +quickstart +{app} +.*{re.escape(what)}")
        self.assertIn("metrics: http://127.0.0.1:9720/metrics", first.text())
        self.check_nothing_left()

        second = self.run_it("--once")
        self.assertEqual(second.wait(), 0, second.text())
        self.assertIn("ninja: no work to do", second.text())
        self.check_nothing_left()

    def test_interrupted_while_it_shows_events(self):
        running = self.run_it()
        running.wait_for("events, until Ctrl-C:")
        self.assertTrue(processes())
        running.interrupt()
        self.assertEqual(running.wait(), 130, running.text())
        self.check_nothing_left()

    def test_interrupted_while_the_guest_boots(self):
        running = self.run_it()
        running.wait_for("[5/7]")
        running.interrupt()
        self.assertEqual(running.wait(), 130, running.text())
        self.check_nothing_left()

    def test_killed_and_begun_again(self):
        running = self.run_it()
        running.wait_for("events, until Ctrl-C:")
        running.process.kill()
        running.wait()
        self.assertTrue(processes())  # nobody could put the guest away: the next run does
        again = self.run_it("--once")
        self.assertEqual(again.wait(), 0, again.text())
        self.check_nothing_left()

    def test_a_second_one_beside_it_is_refused(self):
        running = self.run_it()
        running.wait_for("[1/7]")
        other = self.run_it()
        self.assertEqual(other.wait(), 1)
        self.assertIn("is running already on this machine", other.text())
        running.interrupt()
        self.assertEqual(running.wait(), 130, running.text())
        self.check_nothing_left()
