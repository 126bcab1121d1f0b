"""Tests that put one guest through things while applications run on it: what they share."""
from . import case


class Watched(case.Case):
    """setUpClass makes `one` (a guest), `agent_` and `apps` ({name: program}, all on every guest)."""

    one = agent_ = None
    apps = {}

    def setUp(self):
        if self.one.state() == "gone":
            self.one.start()
        self.converged(self.one.name)

    def converged(self, name, timeout=90.0):
        self.agent_.wait_running(name, len(self.apps), timeout)
        self.assertEqual(self.agent_.channel(name).get("state"), "Connected")

    def assert_watched(self, guest):
        with self.agent_.events() as events:
            for app in self.apps:
                event = case.seen(events, guest, app)
                self.assertEqual(event["vm"], guest.name)

    def boot_id_in_status(self, guest):
        """The status speaks of the boot that runs, which is no other's."""
        boot_id = guest.boot_id()
        self.agent_.wait_for(lambda: self.agent_.vm(guest.name)["status"].get("bootID") == boot_id, "the new boot id")

    def device_lost_by_reset(self):
        """vhost-device-vsock under QEMU 7.2 answers nobody any more once its VM was reset. The status says so, with
        the remedy; then the remedy. Should a device come that survives it, this has nothing to do."""
        boot_id = self.one.boot_id()

        def outcome():
            status = self.agent_.vm(self.one.name)["status"]
            channel = status["channel"]
            back = channel["state"] == "Connected" and status.get("bootID") == boot_id
            return channel if back or channel.get("reason") == "GuestSilent" else None
        channel = self.agent_.wait_for(outcome, "the channel's fate", 90.0)
        if channel["state"] != "Connected":
            self.assertIn("restart the VM", channel["message"])
            self.one.destroy()
            self.one.start()
