"""What arrives on the node is what the same program prints when it runs inside the guest.

Debian's execsnoop, opensnoop and tcpconnect run on the node through TeleBPF, and the same files run in the guest
beside them. Between two marks everything is compared, line for line: the pids are the guest's on both sides, none of
these tools prints a time by default, so the lines must be equal, in the same order, and complete. The node runs
marked programs meanwhile; none of them may appear. Once for each delivery.
"""
import subprocess
import unittest

from e2e.lib import case

EXECS, OPENS, CONNECTS = 200, 200, 50
BEGIN_PORT, END_PORT, FIRST_PORT = 7001, 7002, 20001

# What the guest does, and how each tool's line of the marks at its ends is recognised.
WORK = f"""
mkdir -p /tmp/MARK
mark() {{ /bin/true MARK-$1; : >/tmp/MARK/$1; nc 127.0.0.1 $2 </dev/null; }}
mark begin {BEGIN_PORT}
for i in $(seq {EXECS}); do /bin/true MARK-exec-$i; done
for i in $(seq {OPENS}); do : >/tmp/MARK/open-$i; done
for i in $(seq {FIRST_PORT} {FIRST_PORT + CONNECTS - 1}); do nc 127.0.0.1 $i </dev/null; done
mark end {END_PORT}
true
"""

# A tool polls its buffers (epoll_wait, epoll_pwait) once everything is attached. Opening the file wakes opensnoop, so
# that it is opened first and read when all is quiet again.
POLLS = """
while exec 3</proc/$(cat /tmp/TOOL.pid)/syscall; do
	sleep 0.3
	read -r call rest <&3
	case $call in 232|281) exit 0 ;; esac
done
exit 1
"""


def ends(mark):
    """{application: (is this line the begin, is it the end)}"""
    def port(number):
        return lambda line: line.split()[-1:] == [str(number)]
    return {
        "exec": (lambda line: f"{mark}-begin" in line, lambda line: f"{mark}-end" in line),
        "open": (lambda line: f"/tmp/{mark}/begin" in line, lambda line: f"/tmp/{mark}/end" in line),
        "connect": (port(BEGIN_PORT), port(END_PORT)),
    }


def between(lines, begin, end):
    """The lines from the mark BEGIN to the mark END; all of them, when one is missing."""
    first = next((i for i, line in enumerate(lines) if begin(line)), 0)
    last = next((i for i, line in enumerate(lines) if end(line) and i > first), len(lines))
    return lines[first:last + 1]


class Inside:
    """The tools, run in the guest with their output in files."""

    def __init__(self, guest):
        self._guest = guest
        for tool in case.TOOLS:
            # Without a time zone the C library looks for /etc/localtime before each line, which opensnoop sees.
            guest.run(f"TZ=UTC0 setsid /usr/sbin/{tool} </dev/null >/tmp/{tool}.out 2>/tmp/{tool}.err & "
                      f"echo $! >/tmp/{tool}.pid", check=True)
        for tool in case.TOOLS:
            guest.run(POLLS.replace("TOOL", tool), timeout=90, check=True)

    def stop(self):
        """{application: lines}, after the tools have ended by themselves and written what they held."""
        lines = {}
        for app, tool in case.ALL_TOOLS.items():
            self._guest.run(f"kill -INT $(cat /tmp/{tool}.pid); "
                            f"while [ -d /proc/$(cat /tmp/{tool}.pid) ]; do sleep 0.1; done", check=True)
            lost = self._guest.run(f"cat /tmp/{tool}.err").out
            if lost:
                raise AssertionError(f"{tool} inside the guest says: {lost}")
            lines[app] = self._guest.run(f"cat /tmp/{tool}.out", check=True).out.splitlines()
        return lines


class Events(case.Case):
    @classmethod
    def setUpClass(cls):
        cls.guest_ = cls.shared_guest("e2e-events")

    def compare(self, delivery, effective=None):
        """EFFECTIVE: what the status may call the delivery, when that is not just DELIVERY."""
        guest = self.guest_
        mark = f"mark{delivery.lower()}"
        apps = {app: {"program": tool, "delivery": delivery, "limits": {"eventsPerSecond": 50000}}
                for app, tool in case.ALL_TOOLS.items()}
        agent = self.agent(guest.name, config={"allowShared": True},
                           manifests={"m.yaml": case.monitor("events", apps)})
        running = agent.wait_running(guest.name, len(apps))
        self.assertLessEqual({app["delivery"] for app in running.values()}, set(effective or [delivery]))
        with agent.events() as events:
            # One that is Running may still be attaching; what happens before it has is not its to tell.
            for app in case.SIGNS:
                case.seen(events, guest, app)
            inside = Inside(guest)
            for number in range(20):
                subprocess.run(["/bin/true", f"{mark}-node-{number}"], check=True)
            guest.run(WORK.replace("MARK", mark), timeout=120, check=True)
            for number in range(20):
                subprocess.run(["/bin/true", f"{mark}-node-{number}"], check=True)
            for app, (_, end) in ends(mark).items():
                events.wait_for(lambda event, app=app, end=end: event["app"] == app and end(event["line"]),
                                f"the end mark of {app}")
            there = inside.stop()
            for app, (begin, end) in ends(mark).items():
                here = between(events.lines(lambda event, app=app: event["app"] == app), begin, end)
                with self.subTest(app=app):
                    self.assertEqual(here, between(there[app], begin, end))
                    self.assertGreaterEqual(len(here), {"exec": EXECS, "open": OPENS, "connect": CONNECTS}[app] + 2)
            for event in events.all:
                self.assertNotIn(f"{mark}-node", event["line"])
                self.assertEqual((event["vm"], event["namespace"], event["monitor"], event["node"]),
                                 (guest.name, case.NAMESPACE, "events", "e2e"))
                self.assertNotIn("droppedBefore", event)
            for app in apps:
                numbers = [event["sequence"] for event in events.all if event["app"] == app]
                self.assertEqual(numbers, list(range(numbers[0], numbers[0] + len(numbers))))
        self.assertEqual(agent.metric("yagura_ring_dropped_total"), 0)
        self.assertEqual(agent.metric("yagura_ring_invalid_total"), 0)
        self.assertEqual(agent.metric("yagura_events_dropped_total"), 0)
        self.assertGreater(agent.metric("yagura_ring_records_total", app="exec"), EXECS)

    def test_copied(self):
        self.compare("Copied")

    def test_stream(self):
        self.compare("Stream")

    def test_shared(self):
        self.compare("Shared")

    def test_marks_of_the_node_would_be_found(self):
        """The proof that the check for marks of the node can fail: the same words run in the guest do appear."""
        agent = self.agent(self.guest_.name, manifests={"m.yaml": case.monitor("events", {"exec": "execsnoop"})})
        with agent.events("app=exec") as events:
            event = case.seen(events, self.guest_, "exec")
            self.assertEqual(event["columns"]["PCOMM"], "true")
            self.guest_.run("/bin/true once-node-7", check=True)
            events.wait_for(case.marked("once-node-7"))


if __name__ == "__main__":
    unittest.main(verbosity=2)
