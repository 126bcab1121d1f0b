"""The schemas in crds/ on a real API server.

Shown: all are established; the server and the C decoder agree on every object in tests/lib/api; what a person reads
(explain, columns, short names, the category, messages of the rules) is there; field selectors work; status is a
subresource.
"""
import json
import pathlib
import re
import subprocess
import unittest

from e2e.kube import case
from e2e.lib import kube

OBJECTS = kube.ROOT / "tests/lib/api"
GROUP = "/apis/yagura.dev/v1alpha1"
KINDS = {"VMMonitor": "vmmonitors", "VMPolicy": "vmpolicies", "VMGuest": "vmguests",
         "ClusterVMMonitor": "clustervmmonitors", "ClusterVMPolicy": "clustervmpolicies"}


def documents(file):
    """The documents of a YAML file as they are written: whoever reads them decides what they say."""
    return [text for text in re.split(r"^---$", file.read_text(), flags=re.MULTILINE)
            if re.search(r"^[^#\s]", text, re.MULTILINE)]


def collection(kind):
    return f"{GROUP}/{KINDS[kind]}" if kind.startswith("Cluster") else f"{GROUP}/namespaces/default/{KINDS[kind]}"


def kind_of(text, file):
    """What a document claims to be; one that claims nonsense is sent where the others of its file go."""
    found = re.search(r"^kind: (\w+)$", text, re.MULTILINE)
    usual = re.search(r"^kind: (\w+)$", file.read_text(), re.MULTILINE).group(1)
    return found.group(1) if found and found.group(1) in KINDS else usual


def guest(name, node="n1", **more):
    return {"apiVersion": "yagura.dev/v1alpha1", "kind": "VMGuest",
            "metadata": {"name": name, "namespace": "default", "labels": {"app": "web"}},
            "spec": {"nodeName": node, "uuid": "12345678-1234-1234-1234-123456789abc",
                     "provider": {"type": "Libvirt", "name": name}}, **more}


class Crds(case.Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.cluster = cls.shared_cluster(crds=True)

    def test_established(self):
        crds = {one["metadata"]["name"]: one for one in self.cluster.get("crds")["items"]}
        self.assertEqual(set(crds), {file.stem + ".yagura.dev" for file in case.CRDS.glob("*.yaml")})
        for name, crd in crds.items():
            true = {one["type"] for one in crd["status"]["conditions"] if one["status"] == "True"}
            self.assertEqual(true, {"Established", "NamesAccepted"}, name)  # NonStructuralSchema would be one more

    def test_agrees_with_decoder(self):
        seen = 0
        for file in sorted(OBJECTS.glob("*-*.yaml")):
            good = file.stem.endswith("-good")
            decoder = subprocess.run([case.BUILD / "tests/lib/api/decode-objects", file], check=True, text=True,
                                     capture_output=True).stdout.splitlines()
            texts = documents(file)
            self.assertEqual(len(decoder), len(texts), file.name)
            for number, (text, said) in enumerate(zip(texts, decoder), 1):
                status, answer = self.cluster.request(
                    "POST", f"{collection(kind_of(text, file))}?dryRun=All&fieldValidation=Strict", text.encode(),
                    kind="application/yaml")
                with self.subTest(file=file.name, document=number):
                    self.assertIn(status, (201, 400, 422), answer)
                    self.assertEqual((status == 201, said == "ok"), (good, good), f"{said} / {answer[:600]}")
                seen += 1
        print(f"{seen} objects, decoder and server agree")
        self.assertGreater(seen, 40)

    def test_explain(self):
        words = self.cluster.kubectl("explain", "vmmonitor.spec.apps")
        for wanted in ("Applications that run against each selected VM", "program\t<string> -required-",
                       "enum: Auto, Shared, Copied, Stream", "what the catalogue allows"):
            self.assertIn(wanted, words)
        for resource in KINDS.values():
            if f"{resource}.yaml" in {file.name for file in case.CRDS.glob("*.yaml")}:
                tree = self.cluster.kubectl("explain", resource, "--recursive")
                self.assertNotIn("<empty>", tree.replace("DESCRIPTION:\n    <empty>", ""))

    def test_messages(self):
        base = {"apiVersion": "yagura.dev/v1alpha1", "kind": "VMMonitor", "metadata": {"name": "m"}}
        app = {"name": "exec", "program": "execsnoop"}
        for spec, words in (
                ({"vmSelector": {}}, "spec: Required value: at least one entry in apps or idsJobs is required"),
                ({"vmSelector": {"matchExpressions": [{"key": "a", "operator": "In"}]}, "apps": [app]},
                 "In and NotIn need at least one value"),
                ({"vmSelector": {"matchLabels": {"a/": "b"}}, "apps": [app]}, "every key must be a label key"),
                ({"vmSelector": {}, "apps": [{**app, "limits": {"memory": "0Mi"}}]}, "must be more than zero"),
                ({"vmSelector": {}, "apps": [app, app]}, "Duplicate value"),
                ({"vmSelector": {}, "apps": [{**app, "delivery": "Fast"}]}, 'supported values: "Auto"')):
            done = self.cluster.apply({**base, "spec": spec}, "--dry-run=server", check=False)
            self.assertNotEqual(done.returncode, 0, spec)
            self.assertIn(words, done.stderr)

    def test_defaults(self):
        made = json.loads(self.cluster.apply({
            "apiVersion": "yagura.dev/v1alpha1", "kind": "VMMonitor", "metadata": {"name": "m"},
            "spec": {"vmSelector": {}, "apps": [{"name": "exec", "program": "execsnoop"}]}},
            "--dry-run=server", "-o", "json"))["spec"]
        self.assertEqual(made, {"suspend": False, "vmSelector": {}, "apps": [
            {"name": "exec", "program": "execsnoop", "delivery": "Auto", "restartPolicy": "Always",
             "limits": {"memory": "64Mi", "cpu": "200m", "eventsPerSecond": 5000}}]})

    def test_guest_columns_and_selectors(self):
        self.cluster.apply([guest("web-1"), guest("web-2", "n2")])
        self.addCleanup(self.cluster.kubectl, "delete", "vmguests", "--all")
        status = {"status": {"phase": "Running", "kernel": "6.1.0", "channel": {"type": "Vsock", "state": "Connected"},
                             "policies": [{"name": "web", "state": "Auditing"}]}}
        self.cluster.kubectl("patch", "vmg", "web-1", "--subresource=status", "--type=merge", "-p", json.dumps(status))
        table = self.cluster.kubectl("get", "vmg").splitlines()
        self.assertEqual(table[0].split(), "NAME NODE PHASE CHANNEL KERNEL POLICIES AGE".split())
        self.assertEqual(table[1].split()[:6], "web-1 n1 Running Connected 6.1.0 web".split())
        for selector, names in (("spec.nodeName=n2", ["web-2"]), ("status.phase=Running", ["web-1"])):
            found = self.cluster.get("vmguests", "--field-selector", selector)["items"]
            self.assertEqual([one["metadata"]["name"] for one in found], names)
        self.assertIn("web-1", self.cluster.kubectl("get", "yagura"))
        # status only through its subresource
        self.cluster.apply(guest("web-2", "n2", status={"phase": "Paused"}))
        self.assertNotIn("status", self.cluster.get("vmg", "web-2"))

    def test_every_field(self):
        """Each field of each kind, found in the schema itself, is given a value of another type."""
        app = {"name": "exec", "program": "execsnoop"}
        specs = {"VMMonitor": {"vmSelector": {}, "apps": [app]}, "VMGuest": guest("x")["spec"],
                 "VMPolicy": {"vmSelector": {}, "policy": "policy x {}"}}
        wrong = {"string": 7, "integer": "x", "boolean": "x", "array": {}, "object": []}
        tried = 0

        def walk(path, node, make):
            nonlocal tried
            bad = wrong[node["type"]] if "type" in node else [1]  # without a type: int-or-string
            status, answer = self.cluster.request("PATCH", f"{path}?dryRun=All&fieldValidation=Strict", make(bad),
                                                  kind="application/merge-patch+json")
            self.assertIn(status, (400, 422), f"{path} {make(bad)}: {answer[:300]}")
            tried += 1
            for name, child in node.get("properties", {}).items():
                walk(path, child, lambda value, name=name: make({name: value}))
            if "items" in node:
                walk(path, node["items"], lambda value: make([value]))
            if "additionalProperties" in node:
                walk(path, node["additionalProperties"], lambda value: make({"key": value}))

        for crd in self.cluster.get("crds")["items"]:
            kind = crd["spec"]["names"]["kind"]
            spec = dict(specs[kind.removeprefix("Cluster")])
            if kind.startswith("Cluster"):
                spec["namespaceSelector"] = {}
            self.cluster.apply({"apiVersion": "yagura.dev/v1alpha1", "kind": kind,
                                "metadata": {"name": "every", "namespace": "default"}, "spec": spec})
            self.addCleanup(self.cluster.kubectl, "delete", KINDS[kind], "every")
            properties = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
            place = f"{collection(kind)}/every"
            for name, child in properties["spec"]["properties"].items():
                walk(place, child, lambda value, name=name: {"spec": {name: value}})
            for name, child in properties["status"]["properties"].items():
                walk(f"{place}/status", child, lambda value, name=name: {"status": {name: value}})
        print(f"{tried} fields, a wrong value of each is refused")
        self.assertGreater(tried, 100)
