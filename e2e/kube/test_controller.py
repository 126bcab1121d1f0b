"""The controller on a real API server, with the rights that the chart gives it.

Shown: statuses of monitors and policies, namespaced and cluster-wide, follow what VMGuests say, with columns; nothing is
written twice; of two replicas one leads, another takes over when it is killed (20 s) or ends (3 s); VMGuests of a node
whose Lease is not renewed become Unknown and then go, those of others stay, also over an API server that was away.
"""
import contextlib
import datetime
import json
import pathlib
import tempfile
import threading
import time

from e2e.kube import case
from e2e.kube.test_chart import NAMESPACE, guest, helm_words
from e2e.lib import controller, kube

API = "/apis/yagura.dev/v1alpha1/namespaces"


def monitor(name, namespace="default", kind="VMMonitor", **spec):
    return {"apiVersion": "yagura.dev/v1alpha1", "kind": kind,
            "metadata": {"name": name, **({} if kind.startswith("Cluster") else {"namespace": namespace})},
            "spec": {"vmSelector": {"matchLabels": {"app": "web"}}, "apps": [{"name": "exec", "program": "execsnoop"}],
                     **spec}}


def policy(name, text="policy p {\n  guest { rule a: deny load-module }\n}\n", kind="VMPolicy", **spec):
    return {"apiVersion": "yagura.dev/v1alpha1", "kind": kind, "metadata": {"name": name},
            "spec": {"vmSelector": {}, "policy": text, **spec}}


class Heartbeat:
    """Renews a node's Lease as its agent would."""

    def __init__(self, cluster, node, seconds=20):
        self.cluster, self.node, self.seconds = cluster, node, seconds
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat)

    def __enter__(self):
        self.cluster.apply({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
                            "metadata": {"name": f"yagura-node-{self.node}", "namespace": NAMESPACE},
                            "spec": {"holderIdentity": self.node, "leaseDurationSeconds": self.seconds}})
        self._thread.start()
        return self

    def _beat(self):
        path = f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases/yagura-node-{self.node}"
        while not self._stop.wait(2):
            now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
            with contextlib.suppress(OSError):
                self.cluster.request("PATCH", path, {"spec": {"renewTime": now}}, kind="application/merge-patch+json")

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()


class Controllers(case.Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.cluster = cls.shared_cluster()
        cls.folder = pathlib.Path(cls.enterClassContext(tempfile.TemporaryDirectory()))
        cls.cluster.kubectl("create", "namespace", NAMESPACE)
        cls.cluster.helm("install", *helm_words({"webhook": {"enabled": False}}, cls.folder))
        cls.cluster.wait_established(case.CRDS)
        cls.config = cls.cluster.kubeconfig(cls.cluster.token("yagura-controller", NAMESPACE))

    def tearDown(self):
        self.cluster.kubectl("delete", "vmguests,vmmonitors,vmpolicies,clustervmmonitors,clustervmpolicies", "-A", "--all")
        self.cluster.kubectl("delete", "leases", "--all", "-n", NAMESPACE)

    def controller(self, name, *words):
        return self.enterContext(controller.Controller(
            case.BUILD, self.folder, name=name,
            words=[f"--namespace={NAMESPACE}", f"--kubeconfig={self.config}", f"--identity={name}", *words]))

    def leads(self, one):
        return one.metric("yagura_kube_lease_held") == 1

    def report(self, name, namespace="default", **status):
        """What an agent would write into a VMGuest's status."""
        status, text = self.cluster.request("PATCH", f"{API}/{namespace}/vmguests/{name}/status", {"status": {
            "phase": "Running", **status}}, kind="application/merge-patch+json")
        self.assertEqual(status, 200, text)

    def add_guest(self, name, node="n1", namespace="default", **labels):
        one = guest(name, node)
        one["metadata"].update(namespace=namespace, labels=labels)
        self.cluster.apply(one)
        self.report(name, namespace)

    @staticmethod
    def says(name, *apps, namespace="default", generation=1):
        """An entry of status.monitors; APPS: states, or (state, reason, message)."""
        apps = [(one, None, None) if isinstance(one, str) else one for one in apps]
        return {"namespace": namespace, "name": name, "generation": generation, "apps": [
            {"name": f"app-{i}", "state": state, **({"reason": reason, "message": message} if reason else {})}
            for i, (state, reason, message) in enumerate(apps)]}

    def status_of(self, *words):
        return self.cluster.get(*words).get("status") or {}

    def condition(self, kind, *words):
        return next((one for one in self.status_of(*words).get("conditions", []) if one["type"] == kind), {})

    def test_monitors(self):
        one = self.controller("one")
        one.wait_for(lambda: self.leads(one) and one.get("/readyz")[0] == 200, "a leader")
        self.cluster.apply(monitor("base"))
        one.wait_for(lambda: self.condition("Ready", "vmm", "base").get("reason") == "NoGuests", "NoGuests")
        for name in ("web-1", "web-2"):
            self.add_guest(name, app="web")
        self.add_guest("db-1", app="db")
        one.wait_for(lambda: self.status_of("vmm", "base")["guests"]["matched"] == 2, "two guests")
        self.report("web-1", monitors=[self.says("base", "Running")])
        self.report("web-2", monitors=[self.says("base", ("Failed", "NoBTF", "the guest's kernel has no BTF"))])
        self.report("db-1", monitors=[self.says("base", "Running")])  # it is not selected, whatever it says
        status = one.wait_for(lambda: (found := self.status_of("vmm", "base"))["guests"]["ready"] == 1 and
                              found["guests"]["failed"] == 1 and found, "one and one")
        self.assertEqual(status["guests"], {"matched": 2, "ready": 1, "failed": 1, "summary": "1/2"})
        self.assertEqual(status["failures"], [{"guest": "web-2", "app": "app-0", "reason": "NoBTF",
                                               "message": "the guest's kernel has no BTF"}])
        self.assertEqual(self.condition("Degraded", "vmm", "base")["reason"], "ApplicationsFail")
        self.assertEqual(self.condition("Accepted", "vmm", "base")["status"], "True")
        self.assertIn("1/2", self.cluster.kubectl("get", "vmm"))
        # Better, and how long one change takes from the report to the status.
        began = time.monotonic()
        self.report("web-2", monitors=[self.says("base", "Running")])
        one.wait_for(lambda: self.status_of("vmm", "base")["guests"]["summary"] == "2/2", "two of two")
        print(f"one change: {time.monotonic() - began:.2f} s by way of the server and kubectl")
        self.cluster.kubectl("wait", "--for=condition=Ready", "vmm/base", "--timeout=60s")
        # What is said of an old generation does not count.
        self.cluster.kubectl("patch", "vmm", "base", "--type=merge", "-p", '{"spec":{"vmSelector":{"matchLabels":null}}}')
        one.wait_for(lambda: (found := self.status_of("vmm", "base"))["observedGeneration"] == 2 and
                     found["guests"]["summary"] == "0/3", "nothing of the new generation")
        # A guest that goes is not counted, an unlabelled one neither.
        self.cluster.kubectl("delete", "vmg", "db-1")
        one.wait_for(lambda: self.status_of("vmm", "base")["guests"]["matched"] == 2, "two again")
        # Nobody writes in circles: only leases move.
        before = one.metric("yagura_controller_status_writes_total")
        calls = one.metric("yagura_kube_requests_total")
        time.sleep(6)
        self.assertEqual(one.metric("yagura_controller_status_writes_total"), before)
        self.assertLess(one.metric("yagura_kube_requests_total") - calls, 12)
        self.assertEqual(one.metric("yagura_controller_status_writes_total", result="failed"), 0)

    def test_cluster_wide(self):
        one = self.controller("one")
        for name, tenant in (("tenant-a", "a"), ("tenant-b", "b")):
            self.cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": {"tenant": tenant}}})
            self.add_guest("web-1", namespace=name, app="web")
        self.cluster.apply([monitor("all", kind="ClusterVMMonitor", namespaceSelector={}),
                            monitor("a", kind="ClusterVMMonitor", namespaceSelector={"matchLabels": {"tenant": "a"}})])

        def matched(name, count):
            return self.status_of("clustervmmonitor", name).get("guests", {}).get("matched") == count
        one.wait_for(lambda: matched("all", 2) and matched("a", 1), "guests of the selected namespaces")
        entry = self.says("a", ("Backoff", "Crashed", "exit code 1"))
        del entry["namespace"]
        self.report("web-1", "tenant-a", monitors=[entry])
        one.wait_for(lambda: self.status_of("cvmm", "a")["failures"] == [
            {"namespace": "tenant-a", "guest": "web-1", "app": "app-0", "reason": "Crashed", "message": "exit code 1"}],
            "the failure with its namespace")
        # A namespace joins.
        self.cluster.kubectl("label", "namespace", "tenant-b", "tenant=a", "--overwrite")
        one.wait_for(lambda: matched("a", 2), "the other namespace")

    def test_policies(self):
        one = self.controller("one")
        for name in ("web-1", "web-2", "web-3"):
            self.add_guest(name)
        self.cluster.apply([policy("good"), policy("broken", "policy p {\n  guest { rule a: deny opne }\n}\n")])
        told = {"namespace": "default", "name": "good", "generation": 1}
        self.report("web-1", policies=[{**told, "state": "Enforcing"}])
        self.report("web-2", policies=[{**told, "state": "Auditing", "unsupported": [
            {"rule": "a", "reason": "BPFLSMInactive", "message": "boot with lsm=bpf"}]}])
        self.report("web-3", policies=[{**told, "state": "Refused"}])
        one.wait_for(lambda: self.status_of("vmp", "good").get("guests") == {
            "matched": 3, "enforcing": 1, "auditing": 1, "failed": 1, "summary": "2/3"}, "the policy's guests")
        self.assertEqual(self.status_of("vmp", "good")["failures"], [
            {"guest": "web-2", "rule": "a", "reason": "BPFLSMInactive", "message": "boot with lsm=bpf"}])
        one.wait_for(lambda: self.condition("Accepted", "vmp", "broken").get("reason") == "DoesNotCompile", "diagnosis")
        said = self.status_of("vmp", "broken")["diagnostics"]
        self.assertEqual((said[0]["line"], said[0]["severity"]), (2, "Error"))
        # There is no webhook here: what only the decoder refuses says so itself.
        self.cluster.apply(monitor("long", apps=[{"name": "a", "program": "b", "args": ["\u00e9" * 256]}]))
        one.wait_for(lambda: "spec.apps[0].args[0]" in self.condition("Accepted", "vmm", "long").get("message", ""), "why")

    def test_election(self):
        one, two = self.controller("one"), self.controller("two")
        one.wait_for(lambda: self.leads(one) != self.leads(two), "one leader")
        first, second = (one, two) if self.leads(one) else (two, one)
        self.cluster.apply(monitor("base"))
        first.wait_for(lambda: self.status_of("vmm", "base").get("guests"), "a status")
        self.assertEqual(second.metric("yagura_controller_status_writes_total"), 0)
        # It ends: the other need not wait.
        began = time.monotonic()
        self.assertEqual(first.stop(), 0)
        second.wait_for(lambda: self.leads(second), "the other to lead")
        orderly = time.monotonic() - began
        # It is killed: the other waits for its Lease to run out.
        third = self.controller("three")
        third.wait_for(lambda: third.get("/readyz")[0] == 200, "a third")
        began = time.monotonic()
        second.stop(first=9)
        third.wait_for(lambda: self.leads(third), "the third to lead")
        killed = time.monotonic() - began
        print(f"takeover: {orderly:.1f} s when it ends, {killed:.1f} s when it is killed")
        self.assertLess(orderly, 6)
        self.assertLess(killed, 30)
        self.add_guest("web-1", app="web")
        third.wait_for(lambda: self.status_of("vmm", "base")["guests"]["matched"] == 1, "the third's work")

    def test_dead_nodes(self):
        one = self.controller("one", "--dead-node-grace=10")
        self.cluster.apply(monitor("base"))
        with Heartbeat(self.cluster, "alive"):
            with Heartbeat(self.cluster, "dying"):
                self.add_guest("web-1", "alive", app="web")
                self.add_guest("web-2", "dying", app="web")
                for name in ("web-1", "web-2"):
                    self.report(name, monitors=[self.says("base", "Running")])
                one.wait_for(lambda: self.status_of("vmm", "base").get("guests", {}).get("summary") == "2/2", "both")
                # The server is away for longer than a Lease holds: nobody is taken for dead when it is back.
                self.cluster.stop_server()
                time.sleep(25)
                self.assertEqual(one.get("/livez")[0], 200)
                self.cluster.start_server()
                one.wait_for(lambda: one.metric("yagura_kube_reachable") == 1, "the server again", timeout=120)
                time.sleep(10)
                self.assertEqual(self.status_of("vmg", "web-2")["phase"], "Running")
            began = time.monotonic()
            one.wait_for(lambda: self.status_of("vmg", "web-2").get("phase") == "Unknown", "Unknown", timeout=120)
            unknown = time.monotonic() - began
            self.assertIn("dying", self.status_of("vmg", "web-2")["message"])
            one.wait_for(lambda: self.status_of("vmm", "base")["guests"]["summary"] == "1/2", "one of two")
            one.wait_for(lambda: not self.cluster.kubectl("get", "vmg", "web-2", "--ignore-not-found"), "its end")
            print(f"Unknown after {unknown:.0f} s, gone after {time.monotonic() - began:.0f} s")
            self.assertEqual(self.status_of("vmg", "web-1")["phase"], "Running")
            self.assertEqual(one.metric("yagura_controller_nodes", state="Dead"), 1)
            # A node that nobody ever heard of dies in its own time, not at once.
            self.add_guest("web-3", "ghost", app="web")
            time.sleep(5)
            self.assertEqual(self.status_of("vmg", "web-3")["phase"], "Running")
