"""All of it on a real API server: the chart is installed, agent and controller run with its rights and its agent.yaml, a
real guest is watched.

Shown: `kubectl apply` of a VMMonitor brings events out of the guest; columns, status, `kubectl describe` and Kubernetes
Events tell of it; what is wrong is refused at apply; a real Prometheus reads agent and controller, and the dashboard's
queries give data; `kubectl delete` ends it, and `helm uninstall` leaves nothing that is terminating.
"""
import base64
import json
import pathlib
import shutil
import tempfile

from e2e.lib import agent, case, controller, kube, prometheus

SYSTEM = "yagura-system"
CHART = agent.ROOT / "deploy/yagura"


def monitor(**app):
    return {"apiVersion": "yagura.dev/v1alpha1", "kind": "VMMonitor", "metadata": {"name": "base", "namespace": case.NAMESPACE},
            "spec": {"vmSelector": {"matchLabels": {"app": "web"}},
                     "apps": [{"name": "exec", "program": "execsnoop", **app}]}}


class Kubernetes(case.Case):
    NAME = "e2e-kube"
    full = True  # it may have to build an API server first

    def setUp(self):
        self.folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.folder.chmod(0o711)
        try:
            self.cluster = self.enterContext(kube.Cluster())
        except kube.NoServer as reason:
            self.skipTest(str(reason))
        self.port = kube.free_port()
        self.cluster.kubectl("create", "namespace", SYSTEM)
        self.cluster.kubectl("create", "namespace", case.NAMESPACE)
        self.cluster.helm("install", "yagura", CHART, "-n", SYSTEM, "--set",
                          f"webhook.url=https://127.0.0.1:{self.port}/validate")
        self.cluster.wait_established(agent.ROOT / "crds")
        self.cluster.apply([{"apiVersion": "v1", "kind": "Node", "metadata": {"name": "e2e"}}, {
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "agent-e2e", "namespace": SYSTEM},
            "spec": {"nodeName": "e2e", "serviceAccountName": "yagura-agent", "containers": [{"name": "a", "image": "a"}]}}])

    def start_controller(self):
        secret = self.cluster.get("secret", "yagura-webhook", "-n", SYSTEM)["data"]
        for name in ("tls.crt", "tls.key"):
            (self.folder / name).write_bytes(base64.b64decode(secret[name]))
        config = self.cluster.kubeconfig(self.cluster.token("yagura-controller", SYSTEM))
        return self.enterContext(controller.Controller(
            agent.BUILD, self.folder, self.folder / "tls.crt", self.folder / "tls.key", webhook_port=self.port,
            words=[f"--namespace={SYSTEM}", f"--kubeconfig={config}"]))

    def kubectl(self, *words):
        return self.cluster.kubectl(*words, "-n", case.NAMESPACE)

    def test_whole(self):
        guest = self.guest(self.NAME, labels={"app": "web"})
        one = self.start_controller()
        config = self.cluster.kubeconfig(self.cluster.token("yagura-agent", SYSTEM, pod="agent-e2e"))
        port = kube.free_port()
        with self._agent((self.NAME,), {"config": {
                "kubernetes": {"kubeconfig": str(config), "namespace": SYSTEM}, "listen": f"127.0.0.1:{port}",
                "stateDir": str(self.folder / "state"), "pinDir": str(self.folder / "pins")}}) as node:
            self.cluster.wait_for(lambda: self.cluster.kubectl("get", "vmg", self.NAME, "-n", case.NAMESPACE,
                                                               "--ignore-not-found"), "the VMGuest")
            done = self.cluster.apply(monitor(args=["\u00e9" * 256]), check=False)
            self.assertIn("spec.apps[0].args[0]: expected a string", done.stderr)
            self.cluster.apply(monitor())
            with node.events("app=exec") as events:
                event = case.seen(events, guest)
            self.assertEqual((event["vm"], event["monitor"]), (self.NAME, "base"))
            self.kubectl("wait", "--for=condition=Ready", "vmm/base", "--timeout=180s")
            self.assertIn("1/1", self.kubectl("get", "vmm", "base"))
            row = dict(zip(*(line.split() for line in self.kubectl("get", "vmg", self.NAME).splitlines())))
            self.assertEqual((row["NODE"], row["PHASE"], row["CHANNEL"]), ("e2e", "Running", "Connected"))
            said = self.kubectl("describe", "vmg", self.NAME)
            for words in ("app=web", "ChannelReady", "exec", "Running", "base"):
                self.assertIn(words, said)
            self.assertTrue(self.cluster.get("events", "-n", case.NAMESPACE)["items"], "no Kubernetes Event")
            self.assertTrue(self.cluster.get("lease", "yagura-node-e2e", "-n", SYSTEM)["spec"]["renewTime"])
            self._scrape(f"127.0.0.1:{port}", f"127.0.0.1:{one.port}", node, guest)
            self.kubectl("delete", "vmm", "base")
            node.wait_for(lambda: not node.apps(self.NAME), "the end of the application")
            self.cluster.helm("uninstall", "yagura", "-n", SYSTEM)
            left = self.cluster.get("vmg,vmm,vmp,crd,pods", "-A")["items"]
            self.assertEqual([found["metadata"]["name"] for found in left if "deletionTimestamp" in found["metadata"]], [])

    def _scrape(self, agent_target, controller_target, node, guest):
        if shutil.which("prometheus") is None:
            self.skipTest("prometheus is missing (Debian package: prometheus)")
        with prometheus.Prometheus(self.folder, {"yagura-agent": agent_target, "yagura-controller": controller_target}) as server:
            server.wait('up{job="yagura-agent"} == 1')
            server.wait('up{job="yagura-controller"} == 1')
            with node.events("app=exec") as events:
                for _ in range(3):
                    case.seen(events, guest)
            board = json.loads((CHART / "files/dashboard.json").read_text())
            for panel in board["panels"]:
                for target in panel["targets"]:
                    query = target["expr"].replace("$__rate_interval", "1m").replace("$namespace", ".*")
                    found = server.wait(query)
                    print(f"{panel['title']}: {len(found)} series")
