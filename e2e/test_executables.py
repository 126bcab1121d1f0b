"""Dynamic, static and Go executables tell the same from the node as inside the guest, and share the guest's clocks.

The programs (e2e/executables) print a line for each executable that runs, with how old the event is by their own
monotonic and boot clocks. Both run at once and are shown the same marks.
"""
import platform
import re
import subprocess
import time
import unittest

from e2e.lib import agent as agents, case

NAME = "e2e-kinds"
MARKS = 40
# How wrong a clock may be: half of the quickest of eight round trips, on a machine with much else to do.
CLOCK_US = 20000
PROGRAMS = agents.BUILD / "e2e/executables"
KINDS = {"dynamic": PROGRAMS / "e2e-execs-dynamic", "static": PROGRAMS / "e2e-execs-static",
         "go": PROGRAMS / "e2e-execs-go.static"}
LINE = re.compile(r"^exec /tmp/mark-(\S+) (-?\d+) (-?\d+)$")


def program(kind):
    return f"""
- name: execs-{kind}
  executable: {KINDS[kind]}
  attach: ["tracepoint:sched/sched_process_exec"]
"""


def image(kinds):
    """An image of this test's own, with the programs inside."""
    out = agents.ROOT / f"build/images/e2e-{case.KERNEL}-kinds"
    keys = case.make_keys(agents.KEYS)
    files = [word for kind in kinds for word in ("--file", f"{KINDS[kind]}:/opt/execs-{kind}")]
    subprocess.run([agents.ROOT / "guest-image/build", "--kernel", case.KERNEL, "--guest-binary",
                    agents.BUILD / "guest-image/yagura-guest", "--root-pub", keys / "root.pub",
                    "--with", KINDS["dynamic"], *files, "--out", out],
                   check=True, capture_output=True)
    return out


class Kinds(case.Case):
    @classmethod
    def setUpClass(cls):
        cls.kinds = [kind for kind, path in KINDS.items() if path.exists()]
        cls.guest_ = cls.shared_guest(NAME, image=image(cls.kinds))
        cls.agent_ = agents.Agent()
        catalogue = cls.agent_.folder / "catalogue.yaml"
        example = (agents.ROOT / "examples/catalogue.yaml").read_text()
        catalogue.write_text(example.partition("\nprograms:")[0] + "\nprograms:" + "".join(map(program, cls.kinds)))
        cls.agent_.config["catalogue"] = [str(catalogue)]
        cls.addClassCleanup(cls.agent_.close)
        cls.agent_.start()
        cls.agent_.wait_for(lambda: cls.agent_.channel(NAME).get("state") == "Connected", "the channel")

    def start(self, kind, *words):
        """The application on the node, once it says that it is ready; its lines so far."""
        process = subprocess.Popen([agents.BUILD / "cli/yagura", "run", *words, NAME, "--", f"execs-{kind}"],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                   env={"YAGURA_SOCKET": str(self.agent_.socket), "PATH": "/usr/bin:/bin"})
        self.addCleanup(process.stderr.close)
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        lines = []
        while "ready" not in lines:
            line = process.stdout.readline()
            self.assertNotEqual(line, "", process.stderr.read() if not line else "")
            lines.append(line.strip())
        return process, lines

    def show(self, tag, count=MARKS):
        self.guest_.run(f"i=0; while [ $i -lt {count} ]; do i=$((i + 1)); ln -sf /bin/busybox /tmp/mark-{tag}-$i;"
                        f" /tmp/mark-{tag}-$i >/dev/null 2>&1; done; true", check=True)

    def end(self, process, tag, count=MARKS):
        """The marks that PROCESS told and how wrong its clocks are at most, once it has told the last one; what it
        wrote besides is in self.errors."""
        told, seen = [], []
        while not told or told[-1] != f"{tag}-{count}":
            line = process.stdout.readline()
            self.assertNotEqual(line, "", "the application ended")
            if (match := LINE.match(line.strip())) and match[1].startswith(tag):
                told.append(match[1])
                seen.append((int(match[2]), int(match[3])))
        process.send_signal(2)
        _, self.errors = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 0)
        return told, seen

    def inside(self, kind):
        self.guest_.run(f"/opt/execs-{kind} >/tmp/told-{kind} 2>&1 & echo $! >/tmp/pid-{kind}", check=True)
        self.guest_.run(f"i=0; until grep -q ready /tmp/told-{kind}; do i=$((i + 1)); [ $i -lt 600 ] || exit 1;"
                        " sleep 0.1; done", timeout=90, check=True)

    def told_inside(self, kind, tag):
        self.guest_.run(f"i=0; until grep -q {tag}-{MARKS} /tmp/told-{kind}; do i=$((i + 1)); [ $i -lt 600 ] || exit 1;"
                        f" sleep 0.1; done; kill -INT $(cat /tmp/pid-{kind})", timeout=90, check=True)
        text = self.guest_.run(f"cat /tmp/told-{kind}", check=True).out
        found = [match for line in text.splitlines() if (match := LINE.match(line)) and match[1].startswith(tag)]
        return [match[1] for match in found], [(int(match[2]), int(match[3])) for match in found], text

    def compare(self, kind):
        if kind not in self.kinds:
            self.skipTest(f"{KINDS[kind]} was not built: no Go 1.22 or newer")
        tag = f"{kind}"
        self.inside(kind)
        process, lines = self.start(kind)
        self.show(tag)
        told, ages = self.end(process, tag)
        told_inside, ages_inside, text = self.told_inside(kind, tag)
        self.assertEqual(told, [f"{tag}-{number}" for number in range(1, MARKS + 1)])
        self.assertEqual(told, told_inside)
        for clock, which in ((0, "monotonic"), (1, "boottime")):
            youngest, inside = min(age[clock] for age in ages), min(age[clock] for age in ages_inside)
            print(f"      {kind}: youngest event by {which} clock: {youngest} us from the node, {inside} us inside")
            self.assertGreater(youngest, -CLOCK_US)
            self.assertLess(youngest - inside, CLOCK_US)
        return lines, text

    def test_dynamic(self):
        self.compare("dynamic")

    def test_static(self):
        self.compare("static")

    def test_go(self):
        """And it finds the guest's kernel version, not the node's."""
        lines, text = self.compare("go")
        versions = [line for line in lines if line.startswith("kernel ")]
        self.assertEqual(versions, [line for line in text.splitlines() if line.startswith("kernel ")])
        major, minor = map(int, platform.release().split(".")[:2])
        self.assertNotEqual(int(versions[0].split()[1]) >> 8, major << 8 | minor)

    def test_trace_and_explain(self):
        """What was forwarded, call by call and in sum, beside what the application prints."""
        for kind, hooked in (("static", "was loaded by the shim"), ("dynamic", "the dynamic loader brought")):
            process, _ = self.start(kind, "--trace", "--explain")
            self.show(f"explained-{kind}", 3)
            told, _ = self.end(process, f"explained-{kind}", 3)
            self.assertEqual(len(told), 3)
            for part in ("bpf(BPF_MAP_CREATE, {map_type=BPF_MAP_TYPE_RINGBUF, max_entries=65536", 'map_name="events"',
                         "bpf(BPF_PROG_LOAD, {prog_type=BPF_PROG_TYPE_TRACEPOINT", 'prog_name="on_exec"',
                         "perf_event_open({type=PERF_TYPE_TRACEPOINT", hooked, " MAP_CREATE\n", " perf_event_open\n",
                         "delivery:  Copied", "clocks:    the guest's, to "):
                self.assertIn(part, self.errors)

    def test_clocks_after_pause(self):
        """A guest that is paused stands still, its clocks too: who starts after it has them right. Who ran before is
        ahead by the pause (docs/confinement.md)."""
        process, _ = self.start("static")
        self.guest_.pause()
        time.sleep(3)
        self.guest_.resume()
        self.show("before")
        _, ages = self.end(process, "before")
        self.assertGreater(min(age[0] for age in ages), 3000000)
        process, _ = self.start("static")
        self.show("after")
        _, ages = self.end(process, "after")
        for clock in (0, 1):
            self.assertLess(abs(min(age[clock] for age in ages)), CLOCK_US)


if __name__ == "__main__":
    unittest.main(verbosity=2)
