"""Manifests that people change while the agent runs, among them broken ones.

A broken file is reported with file, line, column, field path and what was expected; the last good version of its
object keeps running; it shows in status and metrics; repairing it heals. What is removed stops, what is suspended
stops and comes back.
"""
import unittest

from e2e.lib import case

MONITOR = """\
apiVersion: yagura.dev/v1alpha1
kind: VMMonitor
metadata:
  name: base
  namespace: {namespace}
spec:
  suspend: {suspend}
  vmSelector: {{}}
  apps:
  - name: exec
    program: {program}
    delivery: {delivery}
"""


def text(suspend="false", program="execsnoop", delivery="Auto"):
    return MONITOR.format(namespace=case.NAMESPACE, suspend=suspend, program=program, delivery=delivery)


class Manifests(case.Case):
    NAME = "e2e-manifests"

    @classmethod
    def setUpClass(cls):
        cls.guest_ = cls.shared_guest(cls.NAME)
        cls.agent_ = cls.shared_agent(cls.NAME)

    def setUp(self):
        self.agent_.apply("base.yaml", text())
        self.agent_.wait_running(self.NAME, 1)

    def accepted(self, status):
        def question():
            condition = self.agent_.condition("base", "Accepted")
            return condition.get("status") == status and condition
        return self.agent_.wait_for(question, f"Accepted {status}")

    def assert_works(self):
        with self.agent_.events("app=exec") as events:
            case.seen(events, self.guest_)

    def test_broken_field(self):
        """delivery: Copyed is no delivery: said precisely, and the application does not even notice."""
        before = self.agent_.apps(self.NAME)["exec"]
        self.agent_.apply("base.yaml", text(delivery="Copyed"))
        condition = self.accepted("False")
        message = condition["message"]
        self.assertEqual(condition["reason"], "Invalid")
        self.assertIn("base.yaml:12:", message)
        self.assertIn("spec.apps[0].delivery", message)
        self.assertIn("expected", message)
        self.assertIn("Copied", message)
        self.agent_.wait_for(lambda: self.agent_.metric("yagura_manifest_errors") == 1, "the metric")
        self.assertIn("base.yaml:12:", self.agent_.yagura("status"))
        self.assert_works()
        self.assertEqual(self.agent_.apps(self.NAME)["exec"], before)

        self.agent_.apply("base.yaml", text(delivery="Copied"))
        self.accepted("True")
        self.agent_.wait_for(lambda: self.agent_.metric("yagura_manifest_errors") == 0, "the metric")
        self.agent_.wait_running(self.NAME, 1)
        self.assert_works()

    def test_no_yaml_at_all(self):
        """A file that cannot be read as YAML shows under its own name, and what it held before stays."""
        before = self.agent_.apps(self.NAME)["exec"]
        self.agent_.apply("base.yaml", "kind: [VMMonitor\nspec: {\n")
        self.agent_.wait_for(lambda: self.agent_.metric("yagura_manifest_errors") >= 1, "the metric")
        self.agent_.wait_for(lambda: any("base.yaml:" in one["message"] for document in self.agent_.monitors()
                                         for one in document["status"]["conditions"]
                                         if one["type"] == "Accepted" and one["status"] == "False"), "the file's place")
        self.assert_works()
        self.assertEqual(self.agent_.apps(self.NAME)["exec"], before)
        self.agent_.apply("base.yaml", text())
        self.agent_.wait_for(lambda: self.agent_.metric("yagura_manifest_errors") == 0, "the metric")

    def test_one_broken_object_beside_a_good_one(self):
        self.agent_.apply("more.yaml", text().replace("name: base", "name: more") + "---\n" +
                          text(suspend="maybe").replace("name: base", "name: odd"))
        self.agent_.wait_for(lambda: self.agent_.condition("more", "Ready").get("status") == "True", "the good one")
        message = self.agent_.wait_for(lambda: self.agent_.condition("odd", "Accepted").get("message"), "the broken one")
        self.assertIn("more.yaml:20:", message)
        self.assertIn("spec.suspend", message)
        self.agent_.delete("more.yaml")
        self.agent_.wait_for(lambda: not self.agent_.monitor("more") and not self.agent_.monitor("odd"), "their end")

    def test_unknown_program(self):
        """What only the catalogue can judge is no error of the file: it shows at the application, with a hint."""
        self.agent_.apply("base.yaml", text(program="execsnop"))

        def failure():
            failures = self.agent_.monitor("base")["status"]["failures"]
            return failures and failures[0]
        found = self.agent_.wait_for(failure, "the failure")
        self.assertEqual((found["guest"], found["app"], found["reason"]), (self.NAME, "exec", "NotInCatalogue"))
        self.assertIn("execsnoop", found["message"])
        self.assertEqual(self.agent_.condition("base", "Degraded")["status"], "True")

    def test_suspend(self):
        self.agent_.apply("base.yaml", text(suspend="true"))
        self.agent_.wait_for(lambda: not self.agent_.apps(self.NAME), "the application's end")
        self.assertEqual(self.agent_.condition("base", "Ready")["reason"], "Suspended")
        self.agent_.wait_nothing_left(self.NAME)
        self.agent_.apply("base.yaml", text())
        self.agent_.wait_running(self.NAME, 1)
        self.assert_works()

    def test_remove(self):
        self.agent_.delete("base.yaml")
        self.agent_.wait_for(lambda: self.agent_.monitors() == [], "the monitor's end")
        self.agent_.wait_for(lambda: not self.agent_.apps(self.NAME), "the application's end")
        self.agent_.wait_nothing_left(self.NAME)


if __name__ == "__main__":
    unittest.main(verbosity=2)
