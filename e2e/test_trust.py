"""Who may do what in a guest: its owner's word, enforced by the guest, and told in the status of the node."""
import base64
import contextlib
import os
import pathlib
import shutil
import socket
import struct
import subprocess
import tempfile
import threading
import time
import unittest

from e2e.lib import agent as agents, case, vsock

NAME = "e2e-trust"
OWNER = """sessions:
  allow:
    programTypes: [socket_filter, tracepoint, raw_tracepoint, perf_event, tracing]
"""


PORT = 997
CERT = "<8s32sIIqq64s"  # struct ygr_cert of lib/wire/message.h, without its signature
MESSAGES = 22           # that a node may send, besides HELLO


def broker(address, end):
    """Answers each byte on END with a connection to ADDRESS, until END is closed."""
    with contextlib.suppress(OSError), end:
        while end.recv(1):
            with vsock.connect(address) as connection:
                socket.send_fds(end, [b"c"], [connection.fileno()])


def expire(folder, seconds):
    """Signs the certificate of FOLDER again, as one that ended SECONDS ago."""
    file = folder / "node.cert"
    magic, public, usages, reserved, _, _, name = struct.unpack_from(CERT, base64.b64decode(file.read_text()))
    now = int(time.time())
    text = struct.pack(CERT, magic, public, usages, reserved, now - 86400, now - seconds, name)
    (folder / "text").write_bytes(text)
    signature = subprocess.run(["openssl", "pkeyutl", "-sign", "-rawin", "-inkey", folder / "root.key", "-in",
                                folder / "text"], capture_output=True, check=True).stdout
    file.write_text(base64.b64encode(text + signature).decode() + "\n")


class Trust(case.Case):
    @classmethod
    def setUpClass(cls):
        cls.guest_ = cls.shared_guest(NAME, owner=OWNER)

    def loaded(self):
        """Descriptors of BPF programs and maps that any process of the guest holds."""
        return int(self.guest_.run("cat /proc/[0-9]*/fdinfo/* 2>/dev/null | grep -c -E '^(prog|map)_type'").out)

    def stranger(self, address, **options):
        """What e2e/nested/stranger.c, as nobody in a network namespace of its own, got at ADDRESS."""
        with tempfile.TemporaryDirectory(prefix="yagura-stranger.") as folder:
            keys = case.make_keys(f"{folder}/keys")
            shutil.copy(agents.KEYS / "node.cert", keys / "real.cert")
            os.chmod(folder, 0o755)
            for file in (keys, *keys.iterdir()):
                shutil.chown(file, "nobody")
            words = [agents.BUILD / "e2e/nested/e2e-stranger", address, self.guest_.uuid(),
                     *(keys / name for name in ("node.key", "node.cert", "real.cert"))]
            return subprocess.run(words, capture_output=True, text=True, timeout=300, check=False, **options)

    @unittest.skipIf(vsock.KERNEL.exists(), "AF_VSOCK can be reached by anybody: test_nested has a stranger there")
    def test_stranger_cannot_connect(self):
        """The hybrid socket is not for every process of the node."""
        result = self.stranger(self.guest_.address(PORT))
        self.assertEqual(result.returncode, 1, f"{result}")
        self.assertIn("not reached: ", result.stdout)
        self.assertIn("Permission denied", result.stdout)
        self.assertEqual(self.loaded(), 0)

    def test_stranger_with_a_connection(self):
        """Even with a connection that somebody gave it, it is refused whatever it says, and nothing is loaded."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        threading.Thread(target=broker, args=(self.guest_.address(PORT), ours), daemon=True).start()
        with theirs:
            result = self.stranger(f"broker:{theirs.fileno()}", pass_fds=[theirs.fileno()])
        self.assertEqual(result.returncode, 0, f"{result}")
        for words in ("a call at once: refused: expected HELLO", "a call after HELLO: refused: expected AUTH",
                      "keys of its own: refused by the guest: the certificate is not signed by the owner's root",
                      "the node's certificate: refused: the peer does not hold the key of 'e2e'"):
            self.assertIn(words, result.stdout)
        self.assertEqual(result.stdout.count(" at once: refused: expected HELLO"), MESSAGES + 1, result.stdout)
        self.assertEqual(self.loaded(), 0)

    def test_expired_certificate(self):
        """A node that was trusted until lately: refused, and the status says why."""
        with tempfile.TemporaryDirectory(prefix="yagura-keys.") as folder:
            keys = pathlib.Path(shutil.copytree(agents.KEYS, f"{folder}/keys"))
            expire(keys, 600)
            agent = self.agent(keys=keys, manifests={"m.yaml": case.monitor("base", case.ALL_TOOLS)})
            agent.wait_for(lambda: agent.channel(NAME).get("state") == "Refused", "the refusal", 60.0)
            channel = agent.channel(NAME)
            self.assertEqual(channel["reason"], "NodeNotTrusted")
            self.assertRegex(channel["message"], "the certificate of 'e2e' expired [0-9]+ s ago")
            self.assertFalse(channel["nodeVerified"])
            conditions = {one["type"]: one for one in agent.vm(NAME)["status"]["conditions"]}
            self.assertEqual(conditions["ChannelReady"]["reason"], "NodeNotTrusted")
            self.assertEqual({app["state"] for app in agent.apps(NAME).values()}, {"Pending"})
            self.assertEqual(agent.condition("base", "Ready")["status"], "False")
            self.assertEqual(self.loaded(), 0)

    def test_unknown_key(self):
        """A node whose key another root has certified: NodeNotTrusted, and nothing of it runs."""
        with tempfile.TemporaryDirectory(prefix="yagura-keys.") as folder:
            keys = case.make_keys(f"{folder}/keys")
            agent = self.agent(keys=keys, manifests={"m.yaml": case.monitor("base", case.ALL_TOOLS)})
            agent.wait_for(lambda: agent.channel(NAME).get("state") == "Refused", "the refusal")
            channel = agent.channel(NAME)
            self.assertEqual(channel["reason"], "NodeNotTrusted")
            self.assertFalse(channel["nodeVerified"])
            self.assertEqual({app["state"] for app in agent.apps(NAME).values()}, {"Pending"})
            self.assertEqual(self.loaded(), 0)

    def test_owner_forbids(self):
        """guest.yaml without kprobe: tcpconnect is refused with a reason in the monitor's status, execsnoop runs."""
        agent = self.agent(manifests={"m.yaml": case.monitor("base", {"exec": "execsnoop", "connect": "tcpconnect"})})

        def failure():
            monitor = agent.monitor("base")
            return monitor and monitor["status"]["failures"] and monitor["status"]["failures"][0]
        found = agent.wait_for(failure, "the refusal", 60.0)
        self.assertEqual((found["app"], found["guest"]), ("connect", NAME))
        self.assertIn("guest.yaml", found["message"])
        self.assertIn("kprobe", found["message"])
        self.assertEqual(found["reason"], "ForbiddenByOwner")
        agent.wait_for(lambda: agent.apps(NAME)["exec"]["state"] == "Running", "execsnoop")
        self.assertGreater(self.loaded(), 0)  # Running is said no earlier; and what the others look for can be found
        with agent.events("app=exec") as events:
            case.seen(events, self.guest_)


if __name__ == "__main__":
    unittest.main(verbosity=2)
