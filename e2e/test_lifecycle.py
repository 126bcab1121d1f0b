"""Things end, restart and break; everything converges by itself, and the status tells the truth meanwhile."""
import os
import pathlib
import signal
import unittest

from e2e.lib import case, vsock, watched

ONE, TWO = "e2e-one", "e2e-two"
APPS = {"exec": "execsnoop", "open": "opensnoop"}


class Lifecycle(watched.Watched):
    """Each test leaves the guest running and watched, or starts it again in setUp()."""

    @classmethod
    def setUpClass(cls):
        cls.one, cls.apps = cls.shared_guest(ONE), APPS
        cls.agent_ = cls.shared_agent(ONE, TWO, manifests={"m.yaml": case.monitor("base", APPS)})

    def phase(self, name, phase):
        self.agent_.wait_for(lambda: ((self.agent_.vm(name) or {}).get("status") or {}).get("phase") == phase,
                             f"{name} {phase}")

    def test_two_guests(self):
        """Two at once, marks of each in each application: none ever under the other's name."""
        two = self.guest(TWO)
        self.converged(TWO)
        with self.agent_.events() as events:
            for guest in (self.one, two):
                for app in APPS:
                    case.seen(events, guest, app)
            for number in range(50):
                for guest in (self.one, two):
                    guest.run(f"/bin/true of-{guest.name}-{number}; : >/tmp/of-{guest.name}-{number}", check=True)
            for guest in (self.one, two):
                for app in APPS:
                    events.wait_for(lambda event, guest=guest, app=app: event["app"] == app and
                                    event["line"].rstrip().endswith(f"of-{guest.name}-49"))
            marks = [event for event in events.all if "of-e2e-" in event["line"]]
        for event in marks:
            self.assertIn(f"of-{event['vm']}-", event["line"])
        for guest in (self.one, two):
            for app in APPS:
                found = [event for event in marks if event["vm"] == guest.name and event["app"] == app]
                self.assertEqual(len(found), 50, (guest.name, app))
        two.close()
        self.agent_.wait_for(lambda: self.agent_.vm(TWO) is None, "the second to be forgotten")
        self.assertEqual(self.agent_.channel(ONE)["state"], "Connected")

    def test_destroyed_and_started_again(self):
        self.one.destroy()
        self.agent_.wait_for(lambda: self.agent_.vm(ONE) is None, "the VM to be forgotten")
        self.agent_.wait_nothing_left(ONE)
        self.assertEqual(self.agent_.condition("base", "Ready")["reason"], "NoGuests")
        self.one.start()
        self.converged(ONE)
        self.boot_id_in_status(self.one)
        self.assert_watched(self.one)

    def test_reset(self):
        before = self.agent_.apps(ONE)
        self.one.reset()
        if not vsock.KERNEL.exists():
            self.device_lost_by_reset()
        self.boot_id_in_status(self.one)
        self.converged(ONE)
        if vsock.KERNEL.exists():
            self.assertGreater(self.agent_.apps(ONE)["exec"]["restarts"], before["exec"]["restarts"])
        self.assert_watched(self.one)

    def test_paused_and_resumed(self):
        """A paused VM is no dead one: its applications stay, and go on with it."""
        before = self.agent_.apps(ONE)
        self.one.pause()
        self.phase(ONE, "Paused")
        self.one.resume()
        self.phase(ONE, "Running")
        self.converged(ONE)
        self.assert_watched(self.one)
        self.assertEqual(self.agent_.apps(ONE)["exec"]["restarts"], before["exec"]["restarts"])

    def test_guest_program_killed(self):
        """yagura-guest ends, its supervisor starts it again; meanwhile nobody says Connected."""
        self.one.run("touch /run/guest.stop", check=True)
        self.one.restart_guest_program()
        self.agent_.wait_for(lambda: self.agent_.channel(ONE).get("state") != "Connected", "the loss to be said")
        self.agent_.wait_for(lambda: all(app["state"] != "Running" for app in self.agent_.apps(ONE).values()),
                             "the applications to be said not to run")
        channel = self.agent_.channel(ONE)
        self.assertFalse(channel["nodeVerified"])
        self.assertTrue(channel["message"])
        self.one.run("rm /run/guest.stop", check=True)
        self.converged(ONE)
        self.assert_watched(self.one)

    def test_agent_killed(self):
        """kill -9: sessions and applications die with it; a new agent finds nothing in its way."""
        self.agent_.kill()
        self.agent_.wait_nothing_left()
        self.agent_.start()
        self.converged(ONE)
        self.assert_watched(self.one)

    def test_session_killed(self):
        """One session dies: its application with it, the other does not notice, and it comes back."""
        before = self.agent_.apps(ONE)
        children = pathlib.Path(f"/proc/{self.agent_.process.pid}/task/{self.agent_.process.pid}/children").read_text()
        os.kill(int(children.split()[0]), signal.SIGKILL)
        self.agent_.wait_for(lambda: sum(app["restarts"] for app in self.agent_.apps(ONE).values()) ==
                             sum(app["restarts"] for app in before.values()) + 1, "one restart")
        self.converged(ONE)
        self.assert_watched(self.one)

    @unittest.skipIf(vsock.KERNEL.exists(), "this node's kernel has vhost_vsock: there is no device to kill")
    def test_vsock_device_killed(self):
        """The device does not come back under QEMU: ChannelLost with the remedy, and the remedy works."""
        self.one.kill_channel()

        def lost():
            channel = self.agent_.channel(ONE)
            # First only the connection is gone; that the device is, is what the next dial finds.
            return channel.get("reason") == "ChannelLost" and "restart the VM" in channel["message"] and channel
        channel = self.agent_.wait_for(lost, "ChannelLost with the remedy", 120.0)
        self.assertIn(channel["state"], ("Lost", "Connecting"))
        self.agent_.wait_for(lambda: all(app["state"] != "Running" for app in self.agent_.apps(ONE).values()),
                             "the applications to be said not to run")
        self.assertIn(f"/{channel['state']}", self.agent_.yagura("vms"))
        self.one.destroy()
        self.one.start()
        self.converged(ONE)
        self.assert_watched(self.one)


if __name__ == "__main__":
    unittest.main(verbosity=2)
