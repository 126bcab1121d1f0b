"""What the tests share: the image and keys of this run, manifests, and a class whose guests and agents go away.

YAGURA_KERNEL says which kernel the guests run (stock-6.1), YAGURA_BUILD the build folder. The image is made anew for
each run, which costs a second when nothing has changed, so that it always holds the guest program of that build.
"""
import contextlib
import functools
import itertools
import json
import os
import pathlib
import subprocess
import time
import unittest

from . import agent, node, vm

KERNEL = os.environ.get("YAGURA_KERNEL", "stock-6.1")
NAMESPACE = f"e2e-{os.getpid()}"  # of guests and monitors: tests that run side by side see only their own
TOOLS = ("execsnoop", "opensnoop", "tcpconnect")


def make_keys(folder, *words):
    """A root, a node's key and its certificate in FOLDER; kept when they are there."""
    if not (pathlib.Path(folder) / "node.cert").exists():
        pathlib.Path(folder).parent.mkdir(parents=True, exist_ok=True)
        _tell([agent.BUILD / "cli/yagura", "keys", "init", folder, "--name", "e2e", *words])
    return pathlib.Path(folder)


@functools.cache
def image(owner=None):
    """The folder of an image with the tools inside. OWNER: text of /etc/yagura/guest.yaml, else it has none."""
    keys = make_keys(agent.KEYS)
    out = agent.ROOT / f"build/images/e2e-{KERNEL}{'-owner' if owner else ''}"
    words = [agent.ROOT / "guest-image/build", "--kernel", KERNEL, "--guest-binary",
             agent.BUILD / "guest-image/yagura-guest", "--root-pub", keys / "root.pub",
             "--with", *(f"/usr/sbin/{tool}" for tool in TOOLS), "--out", out]
    out.mkdir(parents=True, exist_ok=True)
    if owner:
        (out / "guest.yaml").write_text(owner)
        words += ["--guest-yaml", out / "guest.yaml"]
    _tell(words)
    return out


def _tell(words):
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise node.NodeError(f"{' '.join(map(str, words))}: {done.stderr.strip()}")


def monitor(name, apps, selector=None, **spec):
    """A VMMonitor's text. APPS: {name: program}, or {name: {spec of the application}}; SELECTOR: labels."""
    apps = [{"name": app, **(what if isinstance(what, dict) else {"program": what})} for app, what in apps.items()]
    return json.dumps({  # every JSON is YAML
        "apiVersion": "yagura.dev/v1alpha1", "kind": "VMMonitor", "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"vmSelector": {"matchLabels": selector} if selector else {}, "apps": apps, **spec},
    })


ALL_TOOLS = {"exec": "execsnoop", "open": "opensnoop", "connect": "tcpconnect"}


class Case(unittest.TestCase):
    """Guests and agents that setUpClass or a test make through guest() and agent() are put away at its end, the
    agents first, and are checked for what they leave. Guests are in NAMESPACE, so that monitors select no other
    machine of the node."""

    maxDiff = None

    @classmethod
    def shared_guest(cls, name, **options):
        return cls.enterClassContext(cls._guest(name, options))

    @classmethod
    def shared_agent(cls, *guests, **options):
        return cls.enterClassContext(cls._agent(guests, options))

    def guest(self, name, **options):
        return self.enterContext(self._guest(name, options))

    def agent(self, *guests, **options):
        return self.enterContext(self._agent(guests, options))

    @staticmethod
    def _guest(name, options):
        owner = options.pop("owner", None)
        return vm.Guest(name, options.pop("image", None) or image(owner), namespace=NAMESPACE, **options)

    @staticmethod
    @contextlib.contextmanager
    def _agent(guests, options):
        """GUESTS: names of those whose applications' control groups must be gone when the agent is."""
        made = agent.Agent(**options)
        try:
            with contextlib.ExitStack() as stack:
                stack.callback(made.close)
                yield made.start()
                code = made.stop()
                if code not in (0, None):
                    raise AssertionError(f"yagura-agent ended with {code}: {made.words()}")
                made.wait_nothing_left(*guests)
        except agent.AgentError as error:
            raise AssertionError(str(error)) from error


def marked(mark):
    """Takes the events whose line has MARK."""
    return lambda event: mark in event["line"]


# What makes one event of an application, with a mark in it.
SIGNS = {"exec": "/bin/true MARK", "open": ": >/tmp/MARK"}
_marks = itertools.count(1)


def seen(events, guest, app="exec", timeout=90.0, wanted=lambda event: True):
    """Makes events of APP in GUEST until one that WANTED takes arrives in EVENTS, which is returned: an application
    that is Running may still be attaching, and what happened before it has is not its to tell."""
    end = time.monotonic() + timeout
    while True:
        mark = f"sign-{next(_marks)}-"
        guest.run(SIGNS[app].replace("MARK", mark), check=True)
        try:
            return events.wait_for(lambda event: mark in event["line"] and wanted(event), f"an event of {app}", 1.0)
        except agent.AgentError:
            if events.ended or time.monotonic() > end:
                raise
