"""Who may do what in a guest: its owner's word, enforced by the guest, and told in the status of the node."""
import tempfile
import unittest

from e2e.lib import case

NAME = "e2e-trust"
OWNER = """sessions:
  allow:
    programTypes: [socket_filter, tracepoint, raw_tracepoint, perf_event, tracing]
"""


class Trust(case.Case):
    @classmethod
    def setUpClass(cls):
        cls.guest_ = cls.shared_guest(NAME, owner=OWNER)

    def loaded(self):
        """Descriptors of BPF programs that any process of the guest holds."""
        return int(self.guest_.run("cat /proc/[0-9]*/fdinfo/* 2>/dev/null | grep -c ^prog_type").out)

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
        with agent.events("app=exec") as events:
            case.seen(events, self.guest_)


if __name__ == "__main__":
    unittest.main(verbosity=2)
