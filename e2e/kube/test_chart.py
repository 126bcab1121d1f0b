"""The chart on a real API server: what it renders is taken, what it promises about rights holds, and nothing is left.

Shown: helm lint --strict; rendered under several values, all of it passes a dry run on the server; wrong values are
refused by the schema; promtool takes rules, their tests and every query of the dashboard; install, upgrade, rollback
and uninstall; roles let agents and people do what they should and no more; an agent cannot write another node's
VMGuest, with the tokens that a kubelet would give it.
"""
import base64
import json
import pathlib
import re
import shutil
import subprocess
import tempfile
import unittest

from e2e.kube import case
from e2e.lib import kube

CHART = kube.ROOT / "deploy/yagura"
NAMESPACE = "yagura-system"
# Kinds of operators that are not on the test's server.
FOREIGN = ("monitoring.coreos.com/", "cert-manager.io/")
VALUES = {
    "defaults": {},
    "all-on": {"serviceMonitor": {"enabled": True}, "prometheusRule": {"enabled": True}, "dashboard": {"enabled": True},
               "rbac": {"aggregate": {"policies": True}}, "imagePullSecrets": [{"name": "pull"}],
               "agent": {"hvsockPath": "/run/hv", "manifestsPath": "/etc/yagura/manifests", "allowShared": True, "allowedHostActions": ["disk", "pause"],
                         "keys": {"secretName": "node-keys"}, "libvirt": {"domains": ["web-*"]}, "podLabels": {"a": "b"},
                         "podAnnotations": {"a": "b"}, "config": {"events": {"log": True}},
                         "resources": {"limits": {"memory": "1Gi"}}},
               "controller": {"affinity": {"nodeAffinity": {}}, "tolerations": [{"operator": "Exists"}]}},
    "cert-manager": {"webhook": {"certificate": {"certManager": {"enabled": True}}}},
    "own-certificate": {"webhook": {"failurePolicy": "Fail", "certificate": {"existingSecret": "mine",
                                                                           "caBundle": "-----BEGIN CERTIFICATE-----"}}},
    "agent-only": {"controller": {"enabled": False}, "crds": {"install": False}},
    "controller-only": {"agent": {"enabled": False}, "nameOverride": "tower"},
    "off": {"agent": {"enabled": False}, "controller": {"enabled": False}, "rbac": {"create": False},
            "crds": {"keep": False}},
}
WRONG = ({"agents": {}}, {"agent": {"image": {"repository": ""}}}, {"agent": {"metrics": {"port": 0}}},
         {"agent": {"keys": {"hostPath": "", "secretName": ""}}}, {"agent": {"libvirt": {"runPath": "run"}}},
         {"agent": {"allowedHostActions": ["explode"]}}, {"controller": {"replicas": -1}}, {"webhook": {"failurePolicy": "Maybe"}}, {"webhook": {"url": "http://a"}},
         {"controller": {"deadNodeGraceSeconds": 1}}, {"nameOverride": "Yagura"}, {"serviceMonitor": {"interval": "often"}})


def guest(name, node):
    return {"apiVersion": "yagura.dev/v1alpha1", "kind": "VMGuest", "metadata": {"name": name, "namespace": "default"},
            "spec": {"nodeName": node, "uuid": "12345678-1234-1234-1234-123456789abc",
                     "provider": {"type": "Libvirt", "name": name}}}


def helm_words(values, folder):
    file = pathlib.Path(folder) / "values.json"
    file.write_text(json.dumps(values))
    return ["yagura", CHART, "-n", NAMESPACE, "-f", file]


class Rendered(case.Case):
    """Needs helm and promtool alone."""

    def setUp(self):
        self.folder = self.enterContext(tempfile.TemporaryDirectory())
        self.helm = kube.assets() / "helm"

    def test_lint(self):
        for values in VALUES.values():
            _, *words = helm_words(values, self.folder)
            kube.run([self.helm, "lint", "--strict", *words])

    def test_wrong_values(self):
        for values in WRONG:
            done = kube.run([self.helm, "template", *helm_words(values, self.folder)], check=False)
            self.assertNotEqual(done.returncode, 0, values)
            self.assertIn("values don't meet the specifications of the schema", done.stderr)

    def test_rules(self):
        self._promtool("check", "rules", CHART / "files/rules.yaml")
        self._promtool("test", "rules", kube.ROOT / "e2e/kube/rules-test.yaml")
        told = set(re.findall(r"alertname: (\w+)", (kube.ROOT / "e2e/kube/rules-test.yaml").read_text()))
        self.assertEqual(told, set(re.findall(r"alert: (\w+)", (CHART / "files/rules.yaml").read_text())))

    def test_dashboard(self):
        """Every query is one, and asks for metrics that the agent declares."""
        board = json.loads((CHART / "files/dashboard.json").read_text())
        queries = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
        for name, value in (("$__rate_interval", "5m"), ("$namespace", ".*")):
            queries = [query.replace(name, value) for query in queries]
        rules = {"groups": [{"name": "d", "rules": [{"record": f"d:{i}", "expr": one} for i, one in enumerate(queries)]}]}
        file = pathlib.Path(self.folder) / "queries.json"
        file.write_text(json.dumps(rules))
        self._promtool("check", "rules", file)
        sources = [kube.ROOT / "agent/reconcile/metrics.c", *(kube.ROOT / "controller").glob("*.c")]
        declared = set(re.findall(r'"(yagura_\w+)"', "".join(source.read_text() for source in sources)))
        declared |= {f"yagura_kube_{name}" for name in re.findall(r'FAMILY\(\w+, "(\w+)"',
                                                                (kube.ROOT / "lib/kube/metrics.c").read_text())}
        rules = (CHART / "files/rules.yaml").read_text()
        for name in re.findall(r"yagura_\w+", " ".join(queries) + rules):
            self.assertIn(re.sub("_(total|bucket)$", "", name), declared)

    def _promtool(self, *words):
        if shutil.which("promtool") is None:
            self.skipTest("promtool is missing (Debian package: prometheus)")
        kube.run(["promtool", *words])


class Installed(case.Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.cluster = cls.shared_cluster()
        cls.cluster.kubectl("create", "namespace", NAMESPACE)
        cls.folder = cls.enterClassContext(tempfile.TemporaryDirectory())
        cls.cluster.helm("install", *helm_words({}, cls.folder))
        cls.cluster.wait_established(case.CRDS)
        for name in ("n1", "n2"):
            cls.cluster.apply([{"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}}, {
                "apiVersion": "v1", "kind": "Pod", "metadata": {"name": f"agent-{name}", "namespace": NAMESPACE},
                "spec": {"nodeName": name, "serviceAccountName": "yagura-agent",
                         "containers": [{"name": "a", "image": "a"}]}}])
        cls.agents = {name: cls.cluster.kubeconfig(cls.cluster.token("yagura-agent", NAMESPACE, pod=f"agent-{name}"))
                      for name in ("n1", "n2")}

    def test_dry_run(self):
        """Under every set of values, the server takes what is rendered."""
        for name, values in VALUES.items():
            with self.subTest(values=name):
                text = self.cluster.helm("template", *helm_words({"nameOverride": "dry", **values}, self.folder))
                objects = [part for part in re.split(r"^---\n", text, flags=re.MULTILINE) if "kind:" in part]
                own = [part for part in objects if not re.search(rf"^apiVersion: ({'|'.join(FOREIGN)})", part, re.M)]
                self.assertLessEqual(len(objects) - len(own), 2)
                if own:
                    self.cluster.apply("---\n".join(own), "--server-side", "--force-conflicts", "--dry-run=server", "-n",
                                       NAMESPACE, "--field-manager=dry", "--validate=strict")
                print(f"{name}: {len(own)} objects taken, {len(objects) - len(own)} of other operators")

    def test_pods_would_run(self):
        """The server's own admission takes pods of both templates, the controller's even where `restricted` is enforced."""
        for kind, name, namespace in (("daemonset", "yagura-agent", NAMESPACE), ("deployment", "yagura-controller", "tight")):
            template = self.cluster.get(kind, name, "-n", NAMESPACE)["spec"]["template"]
            self.cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": {
                "pod-security.kubernetes.io/enforce": "restricted" if namespace == "tight" else "privileged"}}})
            pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": namespace},
                   "spec": {**template["spec"], "priorityClassName": None}}
            self.cluster.apply(pod, "--dry-run=server")

    def _try(self, config, *words, stdin=None):
        return self.cluster.kubectl(*words, config=config, check=False, stdin=stdin)

    def test_own_node(self):
        one, two = self.agents["n1"], self.agents["n2"]
        self.assertIn("n1", self.cluster.kubectl("auth", "whoami", "-o", "json", config=one))
        self.addCleanup(self.cluster.kubectl, "delete", "vmguests", "--all")

        def denied():
            done = self._try(two, "create", "-f", "-", "--dry-run=server", stdin=json.dumps(guest("probe", "n1")))
            return done.returncode != 0 and "may not write a VMGuest of node n1" in done.stderr
        self.cluster.wait_for(denied, "the admission policy")
        self.cluster.kubectl("create", "-f", "-", stdin=json.dumps(guest("web-1", "n1")), config=one)
        # B does not touch A's: neither spec, nor labels, nor status, nor by taking it over, nor by deleting it.
        for words in (("patch", "vmguest", "web-1", "--type=merge", "-p", '{"spec":{"nodeName":"n2"}}'),
                      ("patch", "vmguest", "web-1", "--type=merge", "-p", '{"metadata":{"labels":{"app":"db"}}}'),
                      ("patch", "vmguest", "web-1", "--subresource=status", "--type=merge", "-p",
                       '{"status":{"phase":"Stopped"}}'),
                      ("delete", "vmguest", "web-1")):
            done = self._try(two, *words)
            self.assertNotEqual(done.returncode, 0, words)
            self.assertRegex(done.stderr, "node n1")
        # A does all of that, except giving its own away as B's.
        self.cluster.kubectl("label", "vmguest", "web-1", "app=web", config=one)
        done = self._try(one, "patch", "vmguest", "web-1", "--type=merge", "-p", '{"spec":{"nodeName":"n2"}}')
        self.assertIn("the agent of node n1 may not write a VMGuest of node n2", done.stderr)
        # Once A says that the VM migrates, B takes it, and then it is B's alone.
        self.cluster.kubectl("patch", "vmguest", "web-1", "--subresource=status", "--type=merge", "-p",
                             '{"status":{"phase":"Migrating"}}', config=one)
        self.cluster.kubectl("patch", "vmguest", "web-1", "--type=merge", "-p", '{"spec":{"nodeName":"n2"}}', config=two)
        self.cluster.kubectl("patch", "vmguest", "web-1", "--subresource=status", "--type=merge", "-p",
                             '{"status":{"phase":"Running"}}', config=two)
        done = self._try(one, "patch", "vmguest", "web-1", "--type=merge", "-p", '{"spec":{"nodeName":"n1"}}')
        self.assertNotEqual(done.returncode, 0)
        # A dead node's: the controller says Unknown, and another agent may take it.
        self.cluster.kubectl("patch", "vmguest", "web-1", "--subresource=status", "--type=merge", "-p",
                             '{"status":{"phase":"Unknown"}}')
        self.cluster.kubectl("patch", "vmguest", "web-1", "--type=merge", "-p", '{"spec":{"nodeName":"n1"}}', config=one)
        # A token that is not a pod's names no node.
        free = self.cluster.kubeconfig(self.cluster.token("yagura-agent", NAMESPACE))
        done = self._try(free, "patch", "vmguest", "web-1", "--type=merge", "-p", '{"metadata":{"labels":{"a":"b"}}}')
        self.assertIn("names no node", done.stderr)
        # A token that is bound to the Node object alone will do.
        bound = self.cluster.kubeconfig(self.cluster.token("yagura-agent", NAMESPACE, node_name="n1"))
        self.cluster.kubectl("label", "vmguest", "web-1", "a=b", config=bound)

    def test_own_lease(self):
        lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
                 "metadata": {"name": "yagura-node-n1", "namespace": NAMESPACE}, "spec": {"holderIdentity": "n1"}}

        def denied():
            done = self._try(self.agents["n2"], "create", "-f", "-", "--dry-run=server", stdin=json.dumps(lease))
            return done.returncode != 0 and "the Lease of this agent is yagura-node-n2" in done.stderr
        self.cluster.wait_for(denied, "the admission policy of Leases")
        self.cluster.kubectl("create", "-f", "-", stdin=json.dumps(lease), config=self.agents["n1"])

    def test_roles(self):
        """What may be done, as the server itself answers."""
        account = f"system:serviceaccount:{NAMESPACE}:yagura-"
        for who, may, may_not in (
                (account + "agent", ("list vmmonitors", "watch clustervmpolicies", "create vmguests", "patch vmguests/status",
                                     "list namespaces", f"update leases -n {NAMESPACE}", "create events.events.k8s.io"),
                 ("create vmmonitors", "patch vmmonitors/status", "get secrets", f"get secrets -n {NAMESPACE}", "list pods",
                  "list nodes", "get leases -n default", f"delete leases -n {NAMESPACE}", "delete vmpolicies", "impersonate users",
                  "create pods/exec", "get configmaps")),
                (account + "controller", ("list vmguests", "delete vmguests", "patch vmguests/status", "patch vmmonitors/status",
                                          f"list leases -n {NAMESPACE}"),
                 ("create vmguests", "patch vmguests", "patch vmmonitors", f"get secrets -n {NAMESPACE}", "list pods",
                  "update validatingwebhookconfigurations", "delete vmmonitors"))):
            for question, wanted in [(one, True) for one in may] + [(one, False) for one in may_not]:
                done = self.cluster.kubectl("auth", "can-i", *question.replace("/", " --subresource=").split(), f"--as={who}",
                                            check=False)
                self.assertEqual((done.stdout.strip() == "yes"), wanted, f"{who} {question}")
        # People get theirs through the roles that every cluster has; there are no controllers here that aggregate, so
        # it is the labels that are looked at.
        labels = {one["metadata"]["name"]: one["metadata"]["labels"] for one in self.cluster.get("clusterroles")["items"]
                  if one["metadata"]["name"].startswith("yagura-")}
        to = {name: {key.rsplit("-", 1)[1] for key in found if "aggregate-to" in key} for name, found in labels.items()}
        self.assertEqual(to, {"yagura-agent": set(), "yagura-controller": set(), "yagura-cluster": set(),
                              "yagura-monitors": {"admin"}, "yagura-policies": set(),
                              "yagura-view": {"view", "edit", "admin"}})

    def test_catalogue_and_config(self):
        """The agent reads what the chart makes of its values."""
        data = self.cluster.get("configmap", "yagura-agent", "-n", NAMESPACE)["data"]
        folder = pathlib.Path(self.folder)
        (folder / "catalogue.yaml").write_text(
            self.cluster.get("configmap", "yagura-catalogue", "-n", NAMESPACE)["data"]["catalogue.yaml"])
        (folder / "manifests").mkdir(exist_ok=True)
        self.assertIn(f"namespace: {NAMESPACE}", data["agent.yaml"])
        text = data["agent.yaml"].replace("/etc/yagura/catalogue/", f"{folder}/")
        (folder / "agent.yaml").write_text(text + f"manifests: {folder}/manifests\n")
        done = subprocess.run([case.BUILD / "agent/yagura-agent", "--check", "--node=n1", "--config",
                               folder / "agent.yaml"],
                              capture_output=True, text=True, check=False, timeout=60)
        self.assertEqual((done.returncode, done.stdout), (0, "0 objects, all good\n"), done.stderr)

    def test_arguments(self):
        """The programs know every word of the command lines that the chart gives them."""
        for kind, name, folder in (("daemonset", "yagura-agent", "agent"), ("deployment", "yagura-controller", "controller")):
            words = self.cluster.get(kind, name, "-n", NAMESPACE)["spec"]["template"]["spec"]["containers"][0]["args"]
            words = [re.sub(r"\$\(\w+\)", "name", word) for word in words]
            self.assertIn(name, kube.run([case.BUILD / folder / name, *words, "--version"]).stdout)


class Life(case.Case):
    def test_life(self):
        cluster = self.own_cluster()
        cluster.kubectl("create", "namespace", NAMESPACE)
        folder = self.enterContext(tempfile.TemporaryDirectory())
        before = self._everything(cluster)
        said = cluster.helm("install", *helm_words({}, folder))
        self.assertIn("kubectl get vmguests -A", said)
        secret = cluster.get("secret", "yagura-webhook", "-n", NAMESPACE)["data"]
        bundle = cluster.get("validatingwebhookconfiguration", "yagura-controller")["webhooks"][0]["clientConfig"]["caBundle"]
        self.assertEqual(bundle, secret["ca.crt"])
        certificate = base64.b64decode(secret["tls.crt"]).decode()
        shown = kube.run(["openssl", "x509", "-noout", "-ext", "subjectAltName"], stdin=certificate).stdout
        self.assertIn(f"DNS:yagura-controller.{NAMESPACE}.svc", shown)
        # An upgrade changes what it is told to and keeps the certificate.
        cluster.helm("upgrade", *helm_words({"controller": {"replicas": 3}, "agent": {"logLevel": "debug"}}, folder))
        self.assertEqual(cluster.get("deployment", "yagura-controller", "-n", NAMESPACE)["spec"]["replicas"], 3)
        self.assertEqual(cluster.get("secret", "yagura-webhook", "-n", NAMESPACE)["data"], secret)
        cluster.helm("rollback", "yagura", "1", "-n", NAMESPACE)
        self.assertEqual(cluster.get("deployment", "yagura-controller", "-n", NAMESPACE)["spec"]["replicas"], 2)
        # Gone without a trace, but for the definitions, and with them what people wrote; nothing hangs.
        cluster.wait_established(case.CRDS)
        cluster.apply(guest("web-1", "n1"))
        cluster.helm("uninstall", "yagura", "-n", NAMESPACE)
        left = self._everything(cluster) - before
        self.assertEqual({name for name in left if not name.startswith("customresourcedefinition")}, set())
        self.assertEqual(len(left), len(list(case.CRDS.glob("*.yaml"))))
        self.assertIn("web-1", cluster.kubectl("get", "vmguests"))
        # And once more over what was kept.
        cluster.helm("install", *helm_words({}, folder))

    @staticmethod
    def _everything(cluster):
        kinds = ("crd,clusterrole,clusterrolebinding,validatingwebhookconfiguration,validatingadmissionpolicy,"
                 "validatingadmissionpolicybinding")
        names = cluster.kubectl("get", kinds, "-o", "name")
        inside = cluster.kubectl("get", "all,role,rolebinding,secret,configmap,serviceaccount,pdb,lease", "-n", NAMESPACE,
                                 "-o", "name")
        return set((names + inside).split())


if __name__ == "__main__":
    unittest.main()
