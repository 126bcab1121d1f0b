"""The node's half of a policy connection (e2e/policy/node.c), and images of guests that are held to policies."""
import contextlib
import functools
import json
import pathlib
import queue
import subprocess
import threading
import time

from . import agent, case, node, vsock

PROGRAMS = agent.BUILD / "e2e/policy"
CMDLINE = "lsm=lockdown,capability,yama,bpf"
ATTACK = "/usr/bin/attack"


@functools.cache
def keys():
    """Keys whose certificate may sign policies: (folder, certificate)."""
    folder = case.make_keys(agent.KEYS)
    cert = pathlib.Path(folder) / "policy.cert"
    if not cert.exists():
        _tell([agent.BUILD / "cli/yagura", "keys", "certify", folder / "root.key", folder / "node.pub", "-o", cert,
               "--name", "e2e", "--usage", "node,catalogue,policy"])
    return folder, cert


def image(name, owner=None, files=()):
    """An image with the attacks inside. OWNER: text of guest.yaml; FILES: pairs of a file here and its name there."""
    folder, _ = keys()
    out = agent.ROOT / f"build/images/{name}-{case.KERNEL}"
    out.mkdir(parents=True, exist_ok=True)
    words = [agent.ROOT / "guest-image/build", "--kernel", case.KERNEL, "--guest-binary",
             agent.BUILD / "guest-image/yagura-guest", "--root-pub", folder / "root.pub",
             "--file", f"{PROGRAMS / 'e2e-policy-attack'}:{ATTACK}", "--out", out]
    for here, there in files:
        words += ["--file", f"{here}:{there}"]
    if owner:
        (out / "guest.yaml").write_text(owner)
        words += ["--guest-yaml", out / "guest.yaml"]
    _tell(words)
    return out


def _tell(words):
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise node.NodeError(f"{' '.join(map(str, words))}: {done.stderr.strip()}")


class Connection:
    """One policy connection to GUEST; texts of policies are written to FOLDER. ACKS: violations are acknowledged."""

    def __init__(self, guest, folder, acks=True, timeout=60.0):
        self._folder, self._answers = pathlib.Path(folder), queue.Queue()
        self.violations, self._news, self._acks = [], threading.Condition(), acks
        key_folder, cert = keys()
        end = time.monotonic() + timeout
        while True: # what serves the guest may be starting again
            self._process = subprocess.Popen(
                [PROGRAMS / "e2e-policy-node", guest.address(997), vsock.SOCKETS, guest.uuid(), key_folder / "node.key",
                 cert], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            line = self._process.stdout.readline()
            if line:
                break
            why = self._process.communicate()[1]
            if time.monotonic() > end:
                raise AssertionError(f"no policy connection: {why}")
            time.sleep(0.3)
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self._process.stdout:
            said = json.loads(line)
            if "violation" not in said:
                self._answers.put(said)
                continue
            with self._news:
                self.violations.append(said["violation"])
                self._news.notify_all()
            if self._acks:
                with contextlib.suppress(OSError, ValueError):
                    self.ack(said["violation"]["position"])
        self._answers.put(None)

    def command(self, text, timeout=180.0):
        """(status, document) of a load, remove or ask."""
        self._process.stdin.write(text + "\n")
        self._process.stdin.flush()
        said = self._answers.get(timeout=timeout)
        if said is None:
            raise AssertionError(f"{text}: the connection has ended: {self._process.stderr.read()}")
        return said["status"], said["document"]

    def load(self, policy, number=1, generation=1, mode=""):
        file = self._folder / f"{number}-{generation}.policy"
        file.write_text(policy)
        return self.command(f"load {file} {number} {generation} {mode}".strip())

    def ack(self, position):
        self._process.stdin.write(f"ack {position}\n")
        self._process.stdin.flush()

    def wait_for(self, wanted, timeout=60.0):
        """The first violation that WANTED takes, those that are here included."""
        end = time.monotonic() + timeout
        with self._news:
            while True:
                for violation in self.violations:
                    if wanted(violation):
                        return violation
                left = end - time.monotonic()
                if left <= 0 or not self._news.wait(left):
                    raise AssertionError(f"no such violation among {self.violations[-5:]}")

    def cut(self):
        """As if the node had died."""
        self._process.kill()
        self._process.wait()

    def close(self):
        if self._process.poll() is None:
            self._process.stdin.close()
            self._process.wait(timeout=30)
        self._process.stdout.close()
        self._process.stderr.close()
