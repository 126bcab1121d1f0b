"""A domain whose RAM is no memfd: the node cannot map it, so records come over the channel, without anybody asking.

What stands for it here is RAM in a file (a user-space vsock device needs shared RAM); it is the same to the node as
the private RAM of other domains and the encrypted RAM of confidential ones.
"""
import unittest

from e2e.lib import case

NAME = "e2e-private"


class StreamWithoutMemfd(case.Case):
    def test_auto_becomes_stream(self):
        guest = self.guest(NAME, memory="file")
        agent = self.agent(NAME, manifests={"m.yaml": case.monitor("base", case.ALL_TOOLS)})
        apps = agent.wait_running(NAME, 3)
        self.assertEqual({app["delivery"] for app in apps.values()}, {"Stream"})
        self.assertEqual(agent.vm(NAME)["status"]["features"]["memory"], "Private")
        with agent.events() as events:
            case.seen(events, guest, "exec")
            case.seen(events, guest, "open")

    def test_copied_becomes_stream(self):
        """Who asks for a delivery that cannot be had gets Stream, and reads that in the status."""
        guest = self.guest(NAME, memory="file")
        agent = self.agent(NAME, manifests={"m.yaml": case.monitor(
            "base", {"exec": {"program": "execsnoop", "delivery": "Copied"}})})
        apps = agent.wait_running(NAME, 1)
        self.assertEqual(apps["exec"]["delivery"], "Stream")
        with agent.events() as events:
            case.seen(events, guest)


if __name__ == "__main__":
    unittest.main(verbosity=2)
