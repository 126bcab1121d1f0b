#!/usr/bin/env python3
"""Policies from the manifest to the guest's kernel, and from a violation to what the node does.

What the node's own LSM programs do is shown in a VM that plays the node, by a test of the build that writes to an
image in every way there is: this machine's kernel may take no such programs.
"""
import json
import unittest

from e2e.lib import agent, case, vm

LSM = "lsm=lockdown,capability,bpf"
DISK_TEST = agent.BUILD / "tests/agent/enforce/test-disk"

POLICY = """\
policy web {
  guest {
    rule secret:  deny open of "/etc/secret"
    rule modules: deny load-module
  }
  host {
    on secret: mark Tampered, event critical, vm pause for 5m
  }
}
"""


def policy(name, text, mode="Enforce", **spec):
    return json.dumps({"apiVersion": "yagura.dev/v1alpha1", "kind": "VMPolicy",
                       "metadata": {"name": name, "namespace": case.NAMESPACE},
                       "spec": {"vmSelector": {}, "mode": mode, "policy": text, **spec}})


def keys():
    return case.make_keys(agent.ROOT / "build/images/keys-policy")


def image(name, *words):
    out = agent.ROOT / f"build/images/e2e-{case.KERNEL}-{name}"
    case._tell([agent.ROOT / "guest-image/build", "--kernel", case.KERNEL, "--out", out, *words])
    return out


class Disk(case.Case):
    """The node's half alone: a VM that plays the node."""

    def test_every_way_of_writing(self):
        node = self.guest("e2e-enforce-disk", image=image("enforce-disk", "--with", DISK_TEST), cmdline=LSM,
                          channel=False, metadata=False)
        node.run("mkdir -p /tmp /sys/fs/bpf; modprobe loop", 60)
        result = node.run(f"{DISK_TEST} 2>&1", 300)
        print(result.out)
        self.assertEqual(result.code, 0, result.out)
        self.assertNotIn("SKIPPED", result.out)
        self.assertIn("[  PASSED  ] 6 test(s).", result.out)


class Chain(case.Case):
    NAME = "e2e-enforce"

    def setUp(self):
        made = keys()
        self.guest_ = self.guest(self.NAME, cmdline=LSM, image=image(
            "enforce", "--guest-binary", agent.BUILD / "guest-image/yagura-guest", "--root-pub", made / "root.pub"))
        # Where bundles are kept; the image has no /var/lib, and init starts the program again.
        self.guest_.run("mkdir -p /var/lib/yagura-guest; kill -9 $(pidof yagura-guest)", check=True)
        self.agent_ = self.agent(self.NAME, keys=made)

    def status(self):
        return (self.agent_.vm(self.NAME) or {}).get("status") or {}

    def held(self, state):
        def question():
            return any(one["state"] == state for one in self.status().get("policies", []))
        try:
            self.agent_.wait_for(question, f"the policy {state}", 120)
        except agent.AgentError as error:
            raise AssertionError(f"{error}; the VM: {json.dumps(self.status())}") from error

    def test_denied_open_pauses(self):
        """Denied in the guest, told as an event, and the VM is paused until it is released; audit only records."""
        self.guest_.run("echo s >/etc/secret", check=True)
        self.agent_.apply("web.yaml", policy("web", POLICY, mode="Audit"))
        self.held("Auditing")
        with self.agent_.events() as events:
            self.assertEqual(self.guest_.run("cat /etc/secret").code, 0)
            event = events.wait_for(lambda event: event.get("rule") == "secret", "the audited open", 60)
            self.assertEqual((event["stream"], event["policy"]), ("violation", "web"))
            self.assertEqual(self.guest_.state(), "running")
            self.agent_.apply("web.yaml", policy("web", POLICY))
            self.held("Enforcing")
            self.guest_.run("(sleep 1; cat /etc/secret >/tmp/out 2>&1) >/dev/null 2>&1 &")
            events.wait_for(lambda event: event["stream"] == "violation" and event["columns"]["answer"] < 0,
                            "the denied open", 60)
            events.wait_for(lambda event: event["stream"] == "action" and event["severity"] == "critical",
                            "the event with its severity", 60)
        self.agent_.wait_for(lambda: self.guest_.state() == "paused", "the pause", 60)
        self.agent_.wait_for(lambda: any(one["type"] == "Tampered" for one in self.status()["conditions"]),
                             "the mark")
        self.agent_.wait_for(lambda: len(self.status().get("hostActions", [])) == 2, "two active actions")
        self.assertIn("vm pause", self.agent_.yagura("status"))
        self.agent_.kill()
        self.agent_.start()
        self.agent_.wait_for(lambda: len(self.status().get("hostActions", [])) == 2, "the same after kill -9", 60)
        self.assertEqual(self.guest_.state(), "paused")
        self.assertIn("2 released", self.agent_.yagura("release", "-n", case.NAMESPACE, self.NAME, "secret"))
        self.agent_.wait_for(lambda: self.guest_.state() == "running", "the VM running again", 60)
        self.assertIn("not permitted", self.guest_.run("cat /tmp/out; cat /etc/secret 2>&1").out)


if __name__ == "__main__":
    unittest.main()
