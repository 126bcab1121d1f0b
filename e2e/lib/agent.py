"""A yagura-agent of the test's own: its configuration and manifests in a temporary folder, its sockets there too.

    with Agent(build, config={...}, manifests={"monitor.yaml": text}) as agent:
        agent.wait_for(lambda: agent.monitors(), "a monitor")
        agent.events(count=10)
"""
import contextlib
import http.client
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
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


class Agent:
    """BUILD: the build folder. KEYS: a folder of `yagura keys init` whose root.pub the guests have. CONFIG: what
    agent.yaml holds beside or instead of what settings() says. MANIFESTS: {file name: text}."""

    def __init__(self, build=BUILD, keys=KEYS, config=None, manifests=None, folder=None):
        self.build = pathlib.Path(build).resolve()
        self.keys = pathlib.Path(keys).resolve()
        self._own = folder is None
        self.folder = pathlib.Path(folder or tempfile.mkdtemp(prefix="yagura-agent."))
        self.manifests = self.folder / "manifests"
        self.socket = self.folder / "agent.sock"
        self.log = self.folder / "agent.log"
        self.config = dict(config or {})
        self.process = None
        self.ready_seconds = None
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
            "hvsockRoot": str(vsock.SOCKETS), "listen": "Off", "socket": {"path": str(self.socket)},
            "keys": {"key": str(self.keys / "node.key"), "cert": str(self.keys / "node.cert")},
            "sessionProgram": str(self.build / "agent/telebpf/yagura-session"),
            "shim": str(self.build / "libyagura-shim.so"), **self.config,
        }

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
        return json.loads(body)

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

    # What it costs, for benchmarks and leak tests

    def memory_kib(self):
        """{"VmRSS": ..., "RssAnon": ...} of the agent itself."""
        text = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return {words[0].rstrip(":"): int(words[1]) for words in map(str.split, text.splitlines())
                if words and words[0] in ("VmRSS:", "RssAnon:")}
