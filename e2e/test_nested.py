#!/usr/bin/env python3
"""The real kernel's path: AF_VSOCK and vhost_vsock, in a VM that plays the node (e2e/lib/nested.py).

One node and one guest inside it live through all of this, in the order of the numbers, since each boot in there takes
a minute. Meanwhile the node is the second place where confinements are made: root is the initial ramfs, cgroup v2 is
alone.
"""
import pathlib
import sys
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from e2e.lib import nested  # noqa: E402


class NestedTest(unittest.TestCase):
    full = True  # several minutes: e2e/run leaves it out unless it is asked for

    @classmethod
    def setUpClass(cls):
        cls.node = cls.enterClassContext(nested.Node("nested"))
        cls.node.create_inner()

    def lost(self, *reasons):
        """The agent says that the channel is away, for one of REASONS, and that its application does not run."""
        def question():
            channel = self.node.link()
            return channel["state"] != "Connected" and channel.get("reason") in reasons and channel
        channel = self.node.wait_for(question, f"the channel's loss ({' or '.join(reasons)})")
        self.assertFalse(channel["nodeVerified"])
        self.assertTrue(channel["message"])
        self.node.wait_for(lambda: self.node.app().get("state") != "Running", "the application's end in the status")

    def watched(self, mark):
        self.node.wait_for(self.node.ready, "an application on the guest inside")
        return self.node.seen(mark)

    def test_1_confinement(self):
        """While the guest inside boots."""
        for name in nested.TESTS:
            with self.subTest(name):
                result = self.node.run(f"cd /tmp && {self.node.build / name} 2>&1", nested.PATIENCE)
                self.assertEqual(result.code, 0, result.out)
                self.assertIn("[  PASSED  ]", result.out)
                self.assertNotIn("SKIPPED", result.out)

    def test_2_copied(self):
        self.node.start_agent()
        status = self.node.wait_for(self.node.ready, "an application on the guest inside")["status"]
        self.assertEqual(status["channel"]["type"], "Vsock")
        self.assertEqual(status["features"]["memory"], "Shared")
        self.assertEqual(self.node.app()["delivery"], "Copied")
        self.assertEqual(self.node.inner_cid(), 3)
        event = self.node.seen("mark-copied")
        self.assertIn("/init mark-copied", event["line"])
        self.assertEqual((event["vm"]["name"] if isinstance(event["vm"], dict) else event["vm"], event["app"]),
                         ("inner", "exec"))

    def test_3_stranger(self):
        """Whoever is on the node can reach the guest's port; it gets nothing, and disturbs nobody."""
        run = self.node.run
        before = self.node.inner_programs()
        self.assertGreater(before, 0)
        run("yagura keys init /tmp/stranger --name stranger && chmod 755 /tmp/stranger && "
            "chown nobody /tmp/stranger/*", check=True)
        result = run(f"/usr/lib/yagura/stranger vsock:{self.node.inner_cid()}:997 {nested.UUID} "
                     "/tmp/stranger/node.key /tmp/stranger/node.cert", 200)
        self.assertEqual(result.code, 0, f"{result}")
        for words in ("a call at once: refused: expected HELLO", "a call after HELLO: refused: expected AUTH",
                      "keys of its own: refused by the guest: the certificate is not signed by the owner's root"):
            self.assertIn(words, result.out)
        self.assertEqual(self.node.inner_programs(), before)
        self.node.seen("mark-stranger")

    def test_4_guest_program_killed(self):
        self.node.inner("guest kill", check=True)
        self.lost("GuestProgramMissing")
        self.node.wait_for(lambda: self.node.inner_programs() == 0, "the end of its programs")
        self.node.inner("guest start", check=True)
        self.watched("mark-killed")

    def test_5_device_gone(self):
        """The guest's vsock device loses its driver under a connection: nobody says goodbye. Then it gets it back."""
        program = self.node.inner("guest", check=True).out
        self.node.inner("vsock off", check=True)
        self.lost("GuestSilent", "ChannelLost", "ChannelFailed")
        self.node.inner("vsock on", check=True)
        self.watched("mark-device")
        self.assertEqual(self.node.inner("guest", check=True).out, program)

    def test_6_paused(self):
        before = self.node.wait_for(self.node.ready, "an application on the guest inside")["status"]
        self.node.virsh("suspend")
        self.node.wait_for(lambda: self.node.guest()["status"]["phase"] == "Paused", "the word Paused")
        self.node.virsh("resume")
        self.node.wait_for(lambda: self.node.guest()["status"]["phase"] == "Running", "the word Running")
        self.watched("mark-paused")
        self.assertEqual(self.node.guest()["status"]["bootID"], before["bootID"])

    def test_7_agent_stopped(self):
        """A stopped agent leaves nothing, here or in the guest; the next one begins with the same guest."""
        started = time.monotonic()
        self.node.stop_agent()
        self.assertLess(time.monotonic() - started, 60)
        self.node.wait_for(lambda: self.node.inner_programs() == 0, "the end of what it had in the guest")
        self.assertNotEqual(self.node.run("yagura vms").code, 0)
        self.node.start_agent()
        self.watched("mark-stopped")

    def test_7_agent_then_killed(self):
        """Sessions and applications die with an agent that is killed, and the next one finds nothing in its way."""
        self.node.kill_agent()
        self.node.wait_for(lambda: self.node.inner_programs() == 0, "the end of what it had in the guest")
        self.node.start_agent()
        self.watched("mark-agent-killed")

    def test_8_reset(self):
        before = self.node.guest()["status"]["bootID"]
        self.node.virsh("reset")
        self.lost("GuestSilent", "ChannelLost", "ChannelFailed", "GuestProgramMissing")
        self.node.wait_for(lambda: (found := self.node.ready()) and found["status"]["bootID"] != before,
                           "the guest's next boot")
        self.node.seen("mark-reset")

    def test_9_other_cid_and_private_ram(self):
        """The domain goes and comes back: as another CID, and with RAM that nobody can map, so that only Stream is
        left. libvirt's word of both is all that the agent has."""
        self.node.virsh("destroy")
        self.node.wait_for(lambda: self.node.guest() is None or self.node.guest()["status"]["phase"] != "Running",
                           "the agent's word that the guest is gone", 60)
        self.node.create_inner(cid=42, private=True)
        status = self.node.wait_for(self.node.ready, "an application on the guest with the CID 42")["status"]
        self.assertEqual(self.node.inner_cid(), 42)
        self.assertEqual(status["features"]["memory"], "Private")
        self.assertEqual(self.node.app()["delivery"], "Stream")
        self.node.seen("mark-stream")
        self.node.stop_agent()
        self.node.wait_for(lambda: self.node.inner_programs() == 0, "the end of what the agent had in the guest")


if __name__ == "__main__":
    unittest.main(verbosity=2)
