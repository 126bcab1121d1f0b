"""`yagura`, the person's program, against a real agent and guest; and what Prometheus and a kubelet would ask."""
import os
import shutil
import signal
import subprocess
import threading
import unittest
import urllib.error
import urllib.request

from e2e.lib import agent as agents, case

NAME = "e2e-cli"


class Cli(case.Case):
    @classmethod
    def setUpClass(cls):
        cls.guest_ = cls.shared_guest(NAME)
        with agents.socket.socket() as probe:  # a free port of loopback
            probe.bind(("127.0.0.1", 0))
            cls.listen = f"127.0.0.1:{probe.getsockname()[1]}"
        cls.agent_ = cls.shared_agent(NAME, config={"listen": cls.listen, "socket": {"group": "nogroup"}},
                                      manifests={"m.yaml": case.monitor("base", case.ALL_TOOLS)})
        cls.agent_.wait_running(NAME, 3)

    def run_yagura(self, *words, user=None):
        """A running `yagura` with its output in pipes; USER: not root, but a member of the socket's group."""
        program = self.agent_.build / "cli/yagura"
        given = {}
        if user is not None:  # who may not be able to enter the build folder
            program = shutil.copy(program, self.agent_.folder / "yagura")
            given = {"user": user, "group": 65534, "extra_groups": []}
        process = subprocess.Popen([program, *words], stdout=subprocess.PIPE, text=True,
                                   stderr=subprocess.PIPE, env={**os.environ, "YAGURA_SOCKET": str(self.agent_.socket)},
                                   **given)
        self.addCleanup(process.stderr.close)
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    def shows_a_mark(self, process):
        """Runs a marked program in the guest again and again until PROCESS, which watches executions, shows it."""
        shown = threading.Event()

        def read():
            while line := process.stdout.readline():
                if "interactive-mark" in line:
                    shown.set()
                    return
        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        for _ in range(120):
            self.guest_.run("/bin/true interactive-mark", check=True)
            if shown.wait(0.5):
                break
        self.assertTrue(shown.is_set())
        reader.join()

    def test_run_until_interrupted(self):
        """`yagura run VM -- execsnoop`: lines as they come; Ctrl-C ends the application and leaves nothing."""
        process = self.run_yagura("run", NAME, "--", "execsnoop")
        self.assertIn("PCOMM", process.stdout.readline())
        self.shows_a_mark(process)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
        self.assertEqual((process.returncode, errors), (0, ""))
        self.agent_.wait_for(lambda: not any("run-" in one for one in self.agent_.leftovers("run")), "the run's end")

    def test_catalogue_for_others(self):
        """Who is not root runs what the catalogue has, with the arguments that it allows, and nothing else."""
        process = self.run_yagura("run", NAME, "--", "execsnoop", "--no-such-option", user=65534)
        _, errors = process.communicate(timeout=30)
        self.assertNotEqual(process.returncode, 0)
        self.assertIn("no-such-option", errors)
        process = self.run_yagura("run", NAME, "--", "/usr/sbin/execsnoop", user=65534)
        _, errors = process.communicate(timeout=30)
        self.assertNotEqual(process.returncode, 0)
        self.assertIn("root", errors)
        process = self.run_yagura("run", NAME, "--", "execsnoop", "-T", user=65534)
        self.assertIn("TIME", process.stdout.readline())
        self.shows_a_mark(process)  # it prints the header before it minds signals
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
        self.assertEqual(process.returncode, 0)

    def test_path_for_root_needs_the_owner(self):
        """Root may name any path; whether the guest takes what no catalogue knows is its owner's word: no."""
        process = self.run_yagura("run", NAME, "--", "/usr/sbin/execsnoop")
        _, errors = process.communicate(timeout=60)
        self.assertNotEqual(process.returncode, 0)
        self.assertIn("adhoc", errors)

    def test_wrong_words(self):
        for words, said in ((("run", NAME, "--", "execsnop"), 'did you mean "execsnoop"'),
                            (("run", "e2e-clj", "--", "execsnoop"), "e2e-clj"),
                            (("run", NAME), "Usage"), (("evnts",), "evnts")):
            process = self.run_yagura(*words)
            _, errors = process.communicate(timeout=30)
            with self.subTest(words=words):
                self.assertNotEqual(process.returncode, 0)
                self.assertIn(said, errors)

    def test_vms(self):
        table = self.agent_.yagura("vms", "-n", case.NAMESPACE)
        row = next(line for line in table.splitlines() if NAME in line).split()
        release = self.guest_.run("uname -r", check=True).out.strip()
        self.assertEqual(row[:4], [case.NAMESPACE, NAME, "e2e", "Running"])
        self.assertEqual(row[4].split("/")[1], "Connected")
        self.assertEqual(row[5:], [release, "3/3"])
        self.assertIn(f"bootID: {self.guest_.boot_id()}", self.agent_.yagura("vms", "-o", "yaml").replace(chr(34), ""))

    def test_status(self):
        row = next(line for line in self.agent_.yagura("status").splitlines() if " base " in line).split()
        self.assertEqual(row[:4], [case.NAMESPACE, "base", "1/1", "exec,open,connect"])

    def test_events(self):
        with self.agent_.events("app=exec") as events:
            case.seen(events, self.guest_)
        process = self.run_yagura("events", "--follow", "--app", "exec", "--vm", NAME, "--recent", "1")
        self.assertIn(NAME, process.stdout.readline())
        self.guest_.run("/bin/true followed-by-hand", check=True)
        line = ""
        while "followed-by-hand" not in line:
            line = process.stdout.readline()
            self.assertNotEqual(line, "")
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
        self.assertEqual(process.returncode, 0)
        self.assertIn("followed-by-hand", self.agent_.yagura("events", "--app", "exec", "-o", "json"))

    def http(self, path):
        try:
            with urllib.request.urlopen(f"http://{self.listen}{path}", timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def test_health(self):
        self.assertEqual(self.http("/livez")[0], 200)
        status, text = self.http("/readyz")
        self.assertEqual(status, 200, text)
        self.assertNotIn("failed", text)
        self.assertEqual(self.http("/v1/vms")[0], 404, "what runs where is for the local socket only")

    def test_metrics(self):
        status, text = self.http("/metrics")
        self.assertEqual(status, 200)
        self.assertIn('yagura_applications{state="Running"} 3', text)
        self.assertIn('yagura_vms{phase="Running"}', text)
        if not shutil.which("promtool"):
            self.skipTest("promtool is missing (Debian package: prometheus)")
        done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False)
        self.assertEqual((done.returncode, done.stdout + done.stderr), (0, ""))


if __name__ == "__main__":
    unittest.main(verbosity=2)
