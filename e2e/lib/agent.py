"""A yagura-agent of the test's own: its configuration and manifests in a temporary folder, its sockets there too.

    with Agent(build, config={...}, manifests={"monitor.yaml": text}) as agent:
        agent.wait_for(lambda: agent.monitors(), "a monitor")
        agent.events(count=10)
"""
import contextlib
import http.client
import itertools
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time

from . import node, vsock

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("YAGURA_BUILD", ROOT / "build/dev"))
KEYS = pathlib.Path(os.environ.get("YAGURA_KEYS", ROOT / "build/images/keys"))


class AgentError(Exception):
    """The agent does not start, has ended, or did not get there in time."""


class LocalConnection(http.client.HTTPConnection):
    """HTTP over a UNIX socket."""

    def __init__(self, path, timeout):
        super().__init__("localhost", timeout=timeout)
        self._path = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Follower:
    """Reads /v1/events?follow=1 in a thread. `all` grows; wait_for() finds what has come and what comes."""

    def __init__(self, path, query=""):
        self.all = []
        self.ended = False
        self._news = threading.Condition()
        self._connection = LocalConnection(path, None)
        self._connection.request("GET", f"/v1/events?follow=1{'&' + query if query else ''}")
        self._answer = self._connection.getresponse()
        self._socket = self._connection.sock
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _read(self):
        try:
            while line := self._answer.readline():
                if line.strip():
                    event = json.loads(line)
                    with self._news:
                        self.all.append(event)
                        self._news.notify_all()
        except (OSError, ValueError, AttributeError, http.client.HTTPException):
            pass
        with self._news:
            self.ended = True
            self._news.notify_all()

    def wait_for(self, wanted, what="an event", timeout=60.0):
        """The first event, from the beginning of `all`, that WANTED takes; AgentError when none comes in time."""
        end = time.monotonic() + timeout
        at = 0
        with self._news:
            while True:
                while at < len(self.all):
                    if wanted(self.all[at]):
                        return self.all[at]
                    at += 1
                left = end - time.monotonic()
                if left <= 0 or self.ended or not self._news.wait(left):
                    if at == len(self.all):
                        raise AgentError(f"{what}: {'the stream ended' if self.ended else f'none in {timeout:.0f} s'}"
                                         f" after {at} events")

    def lines(self, wanted):
        """The lines on standard output, in order, of the events that WANTED takes."""
        with self._news:
            return [event["line"] for event in self.all if event["stream"] == "stdout" and wanted(event)]

    def close(self):
        with contextlib.suppress(OSError, AttributeError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(5)
        self._connection.close()


def _processes():
    """(pid, command line as in /proc) of every process."""
    found = []
    for folder in pathlib.Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            found.append((int(folder.name), (folder / "cmdline").read_bytes()))
    return found


def _groups():
    """Control groups of applications, of whatever agent."""
    return {pathlib.Path(folder) / name for folder, names, _ in os.walk("/sys/fs/cgroup")
            if pathlib.Path(folder).name == "yagura" for name in names}


def _mounts():
    """FUSE file systems that are mounted here, where no session should ever mount one."""
    lines = pathlib.Path("/proc/self/mountinfo").read_text(errors="replace").splitlines()
    return {line.split()[4] for line in lines if " - fuse" in line}


class Agent:
    """BUILD: the build folder. KEYS: a folder of `yagura keys init` whose root.pub the guests have. CONFIG: what
    agent.yaml holds beside or instead of what settings() says. MANIFESTS: {file name: text}."""

    _uid_bases = itertools.count(1_000_000 + os.getpid() % 10_000 * 65_536, 1024)

    def __init__(self, build=BUILD, keys=KEYS, config=None, manifests=None, folder=None):
        self.build = pathlib.Path(build).resolve()
        self.keys = pathlib.Path(keys).resolve()
        self._own = folder is None
        self.folder = pathlib.Path(folder or tempfile.mkdtemp(prefix="yagura-agent."))
        self.folder.chmod(0o711)  # for members of the socket's group
        self.manifests = self.folder / "manifests"
        self.socket = self.folder / "agent.sock"
        self.log = self.folder / "agent.log"
        self.config = dict(config or {})
        self.process = None
        self.ready_seconds = None
        # Uids of its own, so that what it leaves can be told from what other agents run.
        self._uids = (next(Agent._uid_bases), 1024)
        self._mounts_before, self._groups_before = _mounts(), _groups()
        self.manifests.mkdir(exist_ok=True)
        for name, text in (manifests or {}).items():
            self.apply(name, text)

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.close()

    def settings(self):
        """agent.yaml: everything out of the build folder, everything of its own below the temporary one."""
        return {
            "node": "e2e", "manifests": str(self.manifests), "catalogue": [str(ROOT / "examples/catalogue.yaml")],
            "hvsockRoot": str(vsock.SOCKETS), "listen": "Off", "uidBase": self._uids[0],
            "uidCount": self._uids[1],
            "keys": {"key": str(self.keys / "node.key"), "cert": str(self.keys / "node.cert")},
            "sessionProgram": str(self.build / "agent/telebpf/session/yagura-session"),
            "shim": str(self.build / "libyagura-shim.so"),
            # No bpffs is there: what policies make the node do to networks and disks is for tests that ask for it.
            "stateDir": str(self.folder / "state"), "pinDir": str(self.folder / "pins"), **self.config,
            "socket": {"path": str(self.socket), **self.config.get("socket", {})},
        }

    def uids(self):
        """The users that its applications are."""
        first, count = self._uids
        return range(first, first + count)

    @property
    def program(self):
        return self.build / "agent/yagura-agent"

    def yagura(self, *words, timeout=60, check=True):
        """Runs the person's program against this agent; its standard output."""
        done = subprocess.run([self.build / "cli/yagura", *words], capture_output=True, text=True, timeout=timeout,
                              check=False, env={**os.environ, "YAGURA_SOCKET": str(self.socket)})
        if check and done.returncode != 0:
            raise AgentError(f"yagura {' '.join(words)}: {done.stderr.strip()}")
        return done.stdout

    def start(self, timeout=20.0):
        """Starts it and waits until it answers on its socket."""
        settings = self.folder / "agent.yaml"
        settings.write_text(json.dumps(self.settings(), indent=2))  # every JSON is YAML
        self.socket.unlink(missing_ok=True)
        started = time.monotonic()
        with open(self.log, "ab") as output:
            self.process = subprocess.Popen([self.program, "--config", settings], stdin=subprocess.DEVNULL,
                                            stdout=output, stderr=output, start_new_session=True)
        try:
            self.wait_for(self._answers, "the agent's socket", timeout, pause=0.01)
        except BaseException:
            self.stop()
            raise
        self.ready_seconds = time.monotonic() - started
        return self

    def _answers(self):
        if self.process.poll() is not None:
            raise AgentError(f"yagura-agent ended with {self.process.returncode}: {self.words(5)}")
        try:
            self.get("/v1/vms")
            return True
        except OSError:
            return False

    def words(self, lines=20):
        """The end of its log."""
        with contextlib.suppress(OSError):
            return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])
        return ""

    def stop(self, first=signal.SIGTERM):
        """Ends it, by default politely; returns its exit code (negative after a signal)."""
        if self.process is None:
            return None
        if self.process.poll() is None:
            node.stop(self.process.pid, patience=15.0, first=first)
        code = self.process.wait()
        self.process = None
        return code

    def kill(self):
        """kill -9."""
        return self.stop(signal.SIGKILL)

    def close(self):
        self.stop()
        if self._own:
            shutil.rmtree(self.folder, ignore_errors=True)

    # Desired state

    def apply(self, name, text):
        """Writes a manifest, in one step, as kubectl-like tools and careful people do."""
        fresh = self.folder / f".{name}"
        fresh.write_text(text)
        fresh.replace(self.manifests / name)

    def delete(self, name):
        (self.manifests / name).unlink()

    # What it says

    def get(self, path, timeout=10.0):
        """GET over the UNIX socket: the decoded JSON. OSError when nobody listens, AgentError for a refusal."""
        return json.loads(self.text(path, timeout))

    def text(self, path, timeout=10.0):
        """The same, as text."""
        connection = LocalConnection(self.socket, timeout)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            body = answer.read()
        except http.client.HTTPException as error:
            raise OSError(str(error)) from error
        finally:
            connection.close()
        if answer.status != 200:
            raise AgentError(f"GET {path}: {answer.status} {body.decode(errors='replace').strip()}")
        return body.decode()

    def vms(self):
        return self.get("/v1/vms")

    def monitors(self):
        return self.get("/v1/monitors")

    @contextlib.contextmanager
    def follow(self, query="", timeout=60.0):
        """An iterator over events as they come; ends (no error) when none came for TIMEOUT seconds."""
        connection = LocalConnection(self.socket, timeout)
        connection.request("GET", f"/v1/events?follow=1{'&' + query if query else ''}")
        answer = connection.getresponse()

        def lines():
            while True:
                try:
                    line = answer.readline()
                except (TimeoutError, http.client.HTTPException, OSError, ValueError):
                    return
                if not line:
                    return
                if line.strip():
                    yield json.loads(line)
        try:
            yield lines()
        finally:
            connection.close()

    def events(self, query=""):
        """Events from now on, kept by a thread: a Follower. To be closed, best by `with`."""
        return Follower(self.socket, query)

    def metrics(self):
        """The text of /metrics."""
        return self.text("/metrics")

    def metric(self, name, **labels):
        """The sum of NAME's samples that have LABELS; 0.0 when there is none."""
        total = 0.0
        for line in self.metrics().splitlines():
            head, _, value = line.rpartition(" ")
            if head.split("{")[0] == name and all(f'{key}="{word}"' in head for key, word in labels.items()):
                total += float(value)
        return total

    def vm(self, name):
        """The VMGuest called NAME, or None."""
        return next((vm for vm in self.vms() if vm["metadata"]["name"] == name), None)

    def channel(self, name):
        """status.channel of the VM NAME; empty while it is not known."""
        return ((self.vm(name) or {}).get("status") or {}).get("channel") or {}

    def monitor(self, name):
        """The document of that name, or None: a VMMonitor, or a file that holds none."""
        return next((one for one in self.monitors() if one["metadata"]["name"] == name), None)

    def condition(self, monitor, kind):
        """The condition of type KIND of a monitor; empty while it is not known."""
        status = (self.monitor(monitor) or {}).get("status") or {}
        return next((one for one in status.get("conditions", []) if one["type"] == kind), {})

    def apps(self, vm, monitor=None):
        """{application: its entry in the VM's status}."""
        status = (self.vm(vm) or {}).get("status") or {}
        return {app["name"]: app for one in status.get("monitors", []) if monitor in (None, one["name"])
                for app in one["apps"]}

    def wait_running(self, vm, count, timeout=60.0):
        """Waits until COUNT applications are there on the VM and all of them run; their entries."""
        def question():
            apps = self.apps(vm)
            return len(apps) == count and all(app["state"] == "Running" for app in apps.values()) and apps
        try:
            return self.wait_for(question, f"{count} applications on {vm}", timeout)
        except AgentError as error:
            raise AgentError(f"{error}; the VM: {json.dumps((self.vm(vm) or {}).get('status'))}") from error

    def wait_for(self, question, what, timeout=30.0, pause=0.1):
        """Asks until QUESTION gives something true, which is returned; AgentError with WHAT and the log's end."""
        end = time.monotonic() + timeout
        while True:
            answer = question()
            if answer:
                return answer
            if time.monotonic() > end:
                raise AgentError(f"{what}: not after {timeout:.0f} s; the agent says: {self.words(5)}")
            time.sleep(pause)

    # What it leaves

    def leftovers(self, *vms):
        """Sessions, applications, mounts, and control groups of applications on VMS that are there, in words."""
        program = str(self.build / "agent/telebpf/session/yagura-session").encode()
        found = []
        for pid, words in _processes():
            if words.startswith(program):
                found.append(f"session {pid}")
            with contextlib.suppress(OSError):
                if os.stat(f"/proc/{pid}").st_uid in self.uids():
                    found.append(f"application {pid}: {words.replace(bytes(1), b' ').decode(errors='replace')}")
        found += [f"mount {mount}" for mount in sorted(_mounts() - self._mounts_before)]
        found += [f"control group {group}" for group in sorted(_groups() - self._groups_before)
                  if any(vm in group.name for vm in vms)]
        return found

    def wait_nothing_left(self, *vms, timeout=15.0):
        """The kernel ends what belongs to a dead process in its own time; after TIMEOUT it is a leak."""
        end = time.monotonic() + timeout
        while found := self.leftovers(*vms):
            if time.monotonic() > end:
                raise AgentError(f"left behind: {'; '.join(found)}")
            time.sleep(0.1)

    # What it costs, for benchmarks and leak tests

    def memory_kib(self):
        """{"VmRSS": ..., "RssAnon": ...} of the agent itself."""
        text = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return {words[0].rstrip(":"): int(words[1]) for words in map(str.split, text.splitlines())
                if words and words[0] in ("VmRSS:", "RssAnon:")}
