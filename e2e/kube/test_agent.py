"""The agent with a real API server: it stands in with the rights that the chart gives it and a token bound to its node,
on libvirt's test driver, so that no virtual machine is needed.

Shown: VMGuest, Lease and Events come to be; a VMMonitor takes effect; nothing is written while nothing changes; what
others change is put back; a killed agent is followed by one that adopts; the server away and back, put back in time, a
token that is rotated; objects of VMs that are gone are deleted.
"""
import contextlib
import json
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request

from e2e.kube import case
from e2e.lib import kube

NAMESPACE = "yagura-system"
DOMAIN = """<domain type='test'><name>{name}</name><uuid>{uuid}</uuid><memory>65536</memory><vcpu>1</vcpu>
<os><type>hvm</type></os><metadata><y:vm xmlns:y='https://yagura.dev/domain/1'><y:label key='app' value='web'/>
<y:channel type='hvsock' path='{folder}/hv/{name}.sock'/></y:vm></metadata></domain>"""
SOON = 60  # seconds; a loaded machine decides nothing
AFTER_RECOVERY = 30


def uuid(number):
    return f"11111111-1111-1111-1111-{number:012d}"


class Cutter:
    """A port of loopback behind which ADDRESS is, and whose connections can be cut."""

    def __init__(self, address):
        self.address, self.open, self.lock = address, [], threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"https://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                near, _ = self.listener.accept()
                far = socket.create_connection(self.address)
                with self.lock:
                    self.open += [near, far]
                for one, other in ((near, far), (far, near)):
                    threading.Thread(target=self._copy, args=(one, other), daemon=True).start()

    @staticmethod
    def _copy(one, other):
        with contextlib.suppress(OSError):
            while data := one.recv(65536):
                other.sendall(data)
        for end in (one, other):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def cut(self):
        with self.lock:
            for one in self.open:
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
                one.close()
            self.open = []

    def close(self):
        self.listener.close()
        self.cut()


class Agent:
    """yagura-agent in FOLDER; its token is in a file of its own."""

    def __init__(self, cluster, folder, url=None):
        self.cluster, self.folder = cluster, pathlib.Path(folder)
        self.process = None
        self.port = kube.free_port()
        kube.run([case.BUILD / "cli/yagura", "keys", "init", self.folder / "keys"])
        self.turn_token()
        config = {"apiVersion": "v1", "kind": "Config", "current-context": "c", "clusters": [
            {"name": "c", "cluster": {"server": url or cluster.url, "certificate-authority": str(cluster.folder / "ca.crt")}}],
            "users": [{"name": "u", "user": {"tokenFile": "token"}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u", "namespace": NAMESPACE}}]}
        (self.folder / "kubeconfig").write_text(json.dumps(config))
        (self.folder / "agent.yaml").write_text(json.dumps({
            "node": "n1", "libvirt": {"uri": f"test://{self.folder}/node.xml"}, "hvsockRoot": str(self.folder),
            "keys": {"key": f"{self.folder}/keys/node.key", "cert": f"{self.folder}/keys/node.cert"},
            "listen": f"127.0.0.1:{self.port}", "socket": {"path": f"{self.folder}/agent.sock"},
            "catalogue": [str(kube.ROOT / "examples/catalogue.yaml")],
            "stateDir": f"{self.folder}/state", "pinDir": f"{self.folder}/pins",
            "kubernetes": {"kubeconfig": f"{self.folder}/kubeconfig"}}))

    def turn_token(self):
        """A new token, and nothing to say of the old one."""
        token = self.cluster.token("yagura-agent", NAMESPACE, pod="agent-n1")
        (self.folder / "token.new").write_text(token)
        (self.folder / "token.new").rename(self.folder / "token")

    def start(self, names=("web",)):
        domains = [DOMAIN.format(name=name, uuid=uuid(i), folder=self.folder) for i, name in enumerate(names)]
        (self.folder / "node.xml").write_text(f"<node>{''.join(domains)}</node>")
        with open(self.folder / "agent.log", "ab") as log:
            self.process = subprocess.Popen([case.BUILD / "agent/yagura-agent", "-c", self.folder / "agent.yaml"],
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            preexec_fn=kube.die_with_parent)
        return self

    def stop(self, number=signal.SIGTERM):
        if self.process is not None:
            self.process.send_signal(number)
            try:
                self.process.wait(timeout=60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self.process = None

    def ask(self, path):
        """(status, text); (0, "") when nobody answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def ready(self):
        return self.ask("/readyz")[0] == 200

    def requests(self, verb):
        """How many requests of VERB it has made."""
        found = re.findall(rf'^yagura_kube_requests_total{{verb="{verb}",code="\w+"}} (\d+)$', self.ask("/metrics")[1], re.M)
        return sum(map(int, found))

    def rss_anon_kib(self):
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"^RssAnon:\s+(\d+)", status, re.M).group(1))


class AgentCase(case.Case):
    def setUp(self):
        self.cluster = self.own_cluster()
        self.cluster.kubectl("create", "namespace", NAMESPACE)
        self.cluster.helm("install", "yagura", kube.ROOT / "deploy/yagura", "-n", NAMESPACE, "--set",
                          "controller.enabled=false")
        self.cluster.wait_established(case.CRDS)
        self.cluster.apply([{"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}}, {
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "agent-n1", "namespace": NAMESPACE},
            "spec": {"nodeName": "n1", "serviceAccountName": "yagura-agent",
                     "containers": [{"name": "a", "image": "a"}]}}])
        folder = tempfile.mkdtemp(prefix="yagura-agent.")
        self.addCleanup(shutil.rmtree, folder, ignore_errors=True)
        self.cutter = Cutter(self.cluster.address)
        self.addCleanup(self.cutter.close)
        self.agent = Agent(self.cluster, folder, self.cutter.url)
        self.addCleanup(self.agent.stop)

    def tearDown(self):
        if not self._outcome.success:
            print((self.agent.folder / "agent.log").read_text()[-4000:])

    def until(self, what, check, seconds=SOON):
        end = time.monotonic() + seconds
        while True:
            with contextlib.suppress(kube.KubeError, KeyError, IndexError):
                found = check()
                if found:
                    return found
            self.assertLess(time.monotonic(), end, f"{what} did not come about in {seconds} s")
            time.sleep(0.1)

    def guest(self, name="web"):
        return self.cluster.get("vmguest", name)

    def monitor(self, name, program="execsnoop"):
        self.cluster.apply({"apiVersion": "yagura.dev/v1alpha1", "kind": "VMMonitor",
                            "metadata": {"name": name, "namespace": "default"},
                            "spec": {"vmSelector": {"matchLabels": {"app": "web"}},
                                     "apps": [{"name": "a", "program": program}]}})

    def monitors(self):
        return sorted(one["name"] for one in self.guest()["status"].get("monitors", []))


class Agents(AgentCase):
    def test_life(self):
        self.agent.start()
        self.until("readiness", self.agent.ready)
        guest = self.until("the VMGuest's status", lambda: self.guest() if "status" in self.guest() else None)
        self.assertEqual(guest["metadata"]["labels"], {"app": "web"})
        self.assertEqual(guest["spec"], {"nodeName": "n1", "uuid": uuid(0), "provider": {"type": "Libvirt", "name": "web"}})
        self.assertEqual(guest["status"]["phase"], "Running")
        lease = self.until("the Lease", lambda: self.cluster.get("lease", "yagura-node-n1", "-n", NAMESPACE))
        self.assertEqual(lease["spec"]["holderIdentity"], "n1")
        self.until("the next heartbeat", lambda: self.cluster.get(
            "lease", "yagura-node-n1", "-n", NAMESPACE)["spec"]["renewTime"] != lease["spec"]["renewTime"])
        self.monitor("base")
        self.until("the monitor", lambda: self.monitors() == ["base"])
        self.until("an Event", lambda: [one for one in self.cluster.get("events.events.k8s.io")["items"]
                                        if one["regarding"]["name"] == "web"])
        self.assertIn("ChannelLost", self.cluster.kubectl("describe", "vmguest", "web"))
        if shutil.which("promtool"):
            kube.run(["promtool", "check", "metrics"], stdin=self.agent.ask("/metrics")[1])
        self._quiet()
        self._put_back()
        self._adopt()
        self._rotate()
        self.agent.stop()
        self.agent.start(["other"])  # web was undefined while nobody looked
        self.until("the end of web", lambda: [one["metadata"]["name"] for one in self.cluster.get("vmguests")["items"]]
                   == ["other"])
        self.cluster.kubectl("delete", "vmmonitor", "base")
        self.until("the end of the monitor", lambda: not self.guest("other")["status"].get("monitors"))

    def _quiet(self):
        """Nothing but the heartbeat is written while nothing changes."""
        self.until("calm", lambda: self.guest()["status"]["channel"]["state"] == "Lost")
        time.sleep(3)
        version, applied = self.guest()["metadata"]["resourceVersion"], self.agent.requests("apply")
        time.sleep(12)
        self.assertEqual(self.guest()["metadata"]["resourceVersion"], version)
        self.assertLessEqual(self.agent.requests("apply") - applied, 3)

    def _put_back(self):
        self.cluster.kubectl("label", "vmguest", "web", "app=other", "extra=1", "--overwrite")
        self.until("the labels", lambda: self.guest()["metadata"]["labels"] == {"app": "web"})
        self.cluster.kubectl("patch", "vmguest", "web", "--subresource=status", "--type=merge", "-p",
                             '{"status": {"phase": "Unknown"}}')
        self.until("the status", lambda: self.guest()["status"]["phase"] == "Running")
        uid = self.guest()["metadata"]["uid"]
        self.cluster.kubectl("delete", "vmguest", "web")
        self.until("a new object", lambda: self.guest()["metadata"]["uid"] != uid and "status" in self.guest())

    def _adopt(self):
        self.until("calm", lambda: self.guest()["status"]["channel"]["state"] == "Lost")
        before = self.guest()
        self.agent.stop(signal.SIGKILL)
        time.sleep(1.5)  # times of conditions have seconds
        self.agent.start()
        self.until("readiness", self.agent.ready)
        self.until("the channel's state", lambda: self.guest()["status"]["channel"]["state"] == "Lost")
        after = self.guest()
        self.assertEqual(after["metadata"]["uid"], before["metadata"]["uid"])
        self.assertEqual(after["metadata"]["generation"], before["metadata"]["generation"])

        def since(one):
            return [c["lastTransitionTime"] for c in one["status"]["conditions"] if c["type"] == "ChannelReady"]
        self.assertEqual(since(after), since(before))

    def _rotate(self):
        """A token that is no longer good (its pod is gone), and the new one in its file."""
        self.cluster.kubectl("delete", "pod", "agent-n1", "-n", NAMESPACE, "--force", "--grace-period=0")
        self.cluster.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "agent-n1", "namespace": NAMESPACE},
                            "spec": {"nodeName": "n1", "serviceAccountName": "yagura-agent",
                                     "containers": [{"name": "a", "image": "a"}]}})
        self.agent.turn_token()
        time.sleep(2)
        self.cluster.kubectl("label", "vmguest", "web", "app=other", "--overwrite")
        self.until("a write with the new token", lambda: self.guest()["metadata"]["labels"] == {"app": "web"}, 120)

    def test_many(self):
        """A hundred VMs."""
        names = [f"web-{i}" for i in range(100)]
        self.agent.start(names)
        self.until("readiness", self.agent.ready)
        self.monitor("base")
        self.until("all VMGuests", lambda: sum("monitors" in one.get("status", {}) and len(one["status"]["monitors"]) == 1
                                               for one in self.cluster.get("vmguests")["items"]) == 100, 300)
        print(f"RssAnon {self.agent.rss_anon_kib() / 1024:.1f} MiB with 100 VMs")
        self.assertLess(self.agent.rss_anon_kib(), 16 * 1024)


class Faults(AgentCase):
    """What a server does to its clients on bad days; these take minutes."""

    def test_server_away(self):
        self.agent.start()
        self.until("readiness", self.agent.ready)
        self.monitor("base")
        self.until("the monitor", lambda: self.monitors() == ["base"])
        self.cluster.stop_server()
        self.until("a word about it", lambda: "[-]kubernetes failed" in self.agent.ask("/readyz")[1])
        self.assertEqual(self.agent.ask("/livez")[0], 200)
        self.assertIn("yagura_monitors 1", self.agent.ask("/metrics")[1])  # in force, also without the server
        time.sleep(60)
        self.cluster.start_server()
        back = time.monotonic()
        self.monitor("later")
        self.until("the last state", lambda: self.monitors() == ["base", "later"], AFTER_RECOVERY)
        print(f"reflected {time.monotonic() - back:.1f} s after recovery")
        self.until("readiness", self.agent.ready)

    def test_back_in_time(self):
        self.agent.start()
        self.until("readiness", self.agent.ready)
        self.monitor("base")
        self.until("the monitor", lambda: self.monitors() == ["base"])
        self.cluster.save("early")
        self.until("readiness", self.agent.ready)
        for i in range(60):  # revisions that the restored store will not reach soon
            self.cluster.kubectl("annotate", "vmmonitor", "base", f"turn={i}", "--overwrite")
        self.monitor("lost")
        self.until("the other monitor", lambda: self.monitors() == ["base", "lost"])
        self.cluster.restore("early")
        back = time.monotonic()
        self.until("the restored state", lambda: self.monitors() == ["base"], AFTER_RECOVERY)
        print(f"reflected {time.monotonic() - back:.1f} s after recovery")
        self.monitor("new")
        self.until("a new monitor", lambda: self.monitors() == ["base", "new"], AFTER_RECOVERY)

    def asked(self):
        """Requests that the server has seen for monitors and VMGuests, watches by their beginning."""
        found = re.findall(r'^apiserver_request_total\{[^}]*resource="(?:vmmonitors|vmguests)"[^}]*\} (\S+)$',
                           self.cluster.request("GET", "/metrics")[1], re.M)
        return sum(map(float, found))

    def test_cut_each_second(self):
        """Every connection is cut each second for a minute: what changes meanwhile arrives, and nobody runs hot."""
        self.agent.start()
        self.until("readiness", self.agent.ready)
        before, end, turn = self.asked(), time.monotonic() + 60, 0
        while time.monotonic() < end:
            self.cutter.cut()
            if turn % 10 == 0:
                self.monitor(f"m{turn // 10}")
            turn += 1
            time.sleep(1)
        rate = (self.asked() - before) / 60
        last = sorted(f"m{i}" for i in range((turn - 1) // 10 + 1))
        self.until("the last state", lambda: self.monitors() == last, AFTER_RECOVERY)
        print(f"{rate:.1f} requests a second for monitors and VMGuests while {turn} times cut")
        self.assertLess(rate, 5)

    def test_conflict(self):
        """Somebody else writes the same fields again and again: the agent's word stands in the end, with patience."""
        self.agent.start()
        self.until("the status", lambda: "status" in self.guest())
        before, end = self.agent.requests("apply"), time.monotonic() + 20
        while time.monotonic() < end:
            self.cluster.kubectl("patch", "vmguest", "web", "--subresource=status", "--type=merge", "-p",
                                 '{"status": {"phase": "Unknown"}}')
        written = self.agent.requests("apply") - before
        print(f"{written} writes in 20 s against another manager")
        self.assertLess(written, 20)
        self.until("the agent's word", lambda: self.guest()["status"]["phase"] == "Running")
