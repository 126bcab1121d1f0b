"""A guest and an agent for benchmarks: the programs of bench/telebpf are in the guest at the same paths as here."""
import contextlib
import json
import os
import pathlib
import select
import socket
import subprocess
import threading
import time

from bench.lib import process
from bench.lib.report import BenchError
from e2e.lib import agent, vm

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAMS = ("ticks", "produce", "clock", "call", "echo")
GUEST_YAML = "sessions: {adhoc: true}\n"
READY = 30.0  # seconds
CLOCK_STEP = 20_000  # ns that a clock's distance may plausibly have drifted between two rounds


def make_image(build, kernel):
    """(image, keys): both are kept, and made again when what is in them has changed."""
    folder = build / "bench/run"
    keys, image = folder / "keys", folder / f"image-{kernel}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "guest.yaml").write_text(GUEST_YAML)
    if subprocess.run([build / "cli/yagura", "keys", "show", keys / "node.cert"], capture_output=True,
                      check=False).returncode != 0:
        subprocess.run(["rm", "-rf", keys], check=True)
        subprocess.run([build / "cli/yagura", "keys", "init", keys, "--name", "bench"], check=True, capture_output=True)
    subprocess.run([ROOT / "guest-image/build", "--kernel", kernel, "--guest-binary", build / "guest-image/yagura-guest",
                    "--root-pub", keys / "root.pub", "--guest-yaml", folder / "guest.yaml", "--with",
                    *(program(build, name) for name in PROGRAMS), "--out", image], check=True, capture_output=True)
    return image, keys


def program(build, name):
    return build / f"bench/telebpf/bench-{name}"


class Pair:
    """One guest and an agent that is connected to it."""

    def __init__(self, options, name, cpus, manifests=None):
        image, keys = make_image(options.build, options.kernel)
        self.build = options.build
        self.nice = options.nice
        self.guest = vm.Guest(name, image, cpus=cpus, ram_mib=512, labels={"bench": name})
        self.agent = agent.Agent(build=options.build, keys=keys, manifests=manifests, config={"allowShared": True})
        self._distances = []
        self._stack = contextlib.ExitStack()

    def __enter__(self):
        self._stack.enter_context(self.guest)
        self._stack.enter_context(self.agent)
        self.favour([*self.machine_pids(), self.agent.process.pid, os.getpid()])
        self.agent.wait_for(self.connected, f"the channel to {self.guest.name}")
        return self

    def __exit__(self, *_):
        self._stack.close()

    def connected(self):
        return any(item["metadata"]["name"] == self.guest.name and
                   item["status"].get("channel", {}).get("state") == "Connected" for item in self.agent.vms())

    def machine_pids(self):
        """QEMU, and the user-space vsock device where there is one."""
        note = json.loads((self.guest.folder / "note.json").read_text())
        return [self.guest.qemu_pid()] + ([note["vhost"]] if note.get("vhost") else [])

    def favour(self, pids):
        for pid in pids if self.nice else ():
            process.favour(pid, self.nice)

    def meter(self):
        return Meter(self)

    def clock_distance(self):
        """Node's realtime minus guest's monotonic clock, and by how much that is uncertain, in ns. A reading is too
        large where the reader or the guest had no processor meanwhile; so the smallest of some counts, and one that
        is far from what was found before is not believed."""
        found = [self._read_clock() for _ in range(1 if self._distances else 3)]
        while len(found) < 8 and (min(found)[1] > CLOCK_STEP or (
                self._distances and min(found)[0] > min(self._distances) + CLOCK_STEP)):
            found.append(self._read_clock())
        self._distances = self._distances[-2:] + [min(found)[0]]
        return min(found)

    def _read_clock(self):
        clock = program(self.build, "clock")
        frame = self.guest.run(f"rm -f /run/frame; {clock} write 1 >/run/frame 2>&1 & until [ -s /run/frame ]; do sleep 0.05; done;"
                               "cat /run/frame", check=True).out
        ram = next((link for link in pathlib.Path(f"/proc/{self.guest.qemu_pid()}/fd").iterdir()
                    if "memory-backend-memfd" in os.readlink(link)), None)
        if ram is None or not frame.strip().isdigit():
            raise BenchError(f"the guest's RAM is not a memfd, or its clock does not run: {frame.strip()}")
        found = subprocess.run([clock, "read", ram, str(int(frame) * 4096)], capture_output=True, text=True, check=False)
        self.guest.run("while pidof bench-clock; do sleep 0.1; done")
        if found.returncode != 0:
            raise BenchError(f"the guest's clock cannot be read: {found.stderr.strip()}")
        found = json.loads(found.stdout)
        return found["distance_ns"], found["uncertainty_ns"]

    def in_guest(self, words, then, timeout):
        """Runs the application WORDS in the guest, THEN() when it says "ready"; (its JSON, what THEN gave)."""
        self.guest.run(f"rm -f /run/app; ({words} >/run/app 2>&1; echo end >>/run/app) >/dev/null 2>&1 &", check=True)
        self.guest.run("until grep -q ready /run/app; do sleep 0.1; done", timeout=READY, check=True)
        result = then()
        out = self.guest.run("until grep -q '^end' /run/app; do sleep 0.2; done; cat /run/app", timeout=timeout, check=True).out
        return parse(out), result

    def on_node(self, how, words, then, timeout):
        """The same through TeleBPF, with the options HOW of `yagura run`."""
        with subprocess.Popen([self.build / "cli/yagura", "run", *how, self.guest.name, "--", *map(str, words)],
                              env={**os.environ, "YAGURA_SOCKET": str(self.agent.socket)}, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as running:
            try:
                first = running.stdout.readline() if select.select([running.stdout], [], [], READY)[0] else ""
                if "ready" not in first:
                    raise BenchError(f"{' '.join(how)}: the application said {first.strip()!r} instead of ready")
                self.favour(process.descendants(self.agent.process.pid))
                result = then()
                out, _ = running.communicate(timeout=timeout)
            finally:
                if running.poll() is None:
                    running.terminate()
        return parse(out), result

    def application_json(self, words):
        """What an application that needs nobody prints, run on the node."""
        return parse(self.agent.yagura("run", self.guest.name, "--", *map(str, words), timeout=120))

    def guest_json(self, words):
        return parse(self.guest.run(" ".join(map(str, words)), timeout=120, check=True).out)

    def round_trips(self, count, port=4711, size=64):
        """Nanoseconds of COUNT bare round trips of SIZE bytes on a connection like the session's."""
        address = self.guest.address(port)
        self.guest.run(f"{program(self.build, 'echo')} {port} >/dev/null 2>&1 & sleep 0.3", check=True)
        kind, place = address.split(":", 1)
        if kind == "hvsock":
            channel = socket.socket(socket.AF_UNIX)
            channel.connect(place.rsplit(":", 1)[0])
            channel.sendall(f"CONNECT {port}\n".encode())
            if not channel.recv(64).startswith(b"OK"):
                raise BenchError("the guest's echo does not answer")
        else:
            channel = socket.socket(socket.AF_VSOCK)
            channel.connect((int(place.split(":")[0]), port))
        samples, data = [], bytes(size)
        with channel:
            for _ in range(count):
                start = time.perf_counter_ns()
                channel.sendall(data)
                got = 0
                while got < size:
                    got += len(channel.recv(size - got))
                samples.append(time.perf_counter_ns() - start)
        return sorted(samples)


class Meter:
    """CPU that guest, session and application use, looked at all the time: an application may be gone when who made
    its events has said so. Within `with`; then `used`: {what: microseconds}."""

    def __init__(self, pair):
        self._pair, self._stop = pair, threading.Event()
        self._first, self._last, self._what = {}, {}, {}
        self.used = {"guest": 0.0, "session": 0.0, "application": 0.0}

    def _look(self):
        pids = {pid: "guest" for pid in self._pair.machine_pids()}
        for pid in process.descendants(self._pair.agent.process.pid):
            pids[pid] = "session" if process.name(pid) == "yagura-session" else "application"
        for pid, what in pids.items():
            used = process.cpu_us(pid)
            self._what[pid] = what
            self._first.setdefault(pid, used)
            self._last[pid] = max(used, self._last.get(pid, 0.0))

    def _loop(self):
        while not self._stop.wait(0.25):
            self._look()

    def __enter__(self):
        self._look()
        self._thread = threading.Thread(target=self._loop, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()
        self._look()
        for pid, what in self._what.items():
            self.used[what] += self._last[pid] - self._first[pid]


def parse(text):
    for line in reversed(text.splitlines()):
        if line.startswith("{") and line.endswith("}"):
            return json.loads(line)
    raise BenchError(f"the application printed no result: {text.strip()[-300:]}")
