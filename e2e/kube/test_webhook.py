"""The webhook: on a real API server with the chart's certificate, and with callers that mean no good.

Shown: what only the decoder refuses is refused at `kubectl apply`, with the field; warnings of the policy language reach
the person; labels of what was broken before can be changed; with the webhook away the chart's default lets things
through. A certificate is replaced without a refused connection. Garbage, huge bodies, slow bytes and too many callers
cost nobody but the caller.
"""
import base64
import json
import pathlib
import socket
import ssl
import tempfile
import threading
import time

from e2e.kube import case
from e2e.kube.test_chart import NAMESPACE, helm_words
from e2e.lib import controller, kube


def monitor(name, **app):
    return {"apiVersion": "yagura.dev/v1alpha1", "kind": "VMMonitor", "metadata": {"name": name, "namespace": "default"},
            "spec": {"vmSelector": {}, "apps": [{"name": "exec", "program": "execsnoop", **app}]}}


# 256 characters, as the schema counts, and 512 bytes, as the decoder does.
TOO_LONG = monitor("long", args=["\u00e9" * 256])


def review(uid="u", target=None):
    return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
            "request": {"uid": uid, "operation": "CREATE", "object": target or monitor("a")}}


class OnServer(case.Case):
    def test_whole(self):
        cluster = self.own_cluster()
        folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
        cluster.kubectl("create", "namespace", NAMESPACE)
        port = kube.free_port()
        cluster.helm("install", *helm_words({"webhook": {"url": f"https://127.0.0.1:{port}/validate"}}, folder))
        cluster.wait_established(case.CRDS)
        # Nobody answers yet: the default lets it through.
        cluster.apply(TOO_LONG)
        secret = cluster.get("secret", "yagura-webhook", "-n", NAMESPACE)["data"]
        for name in ("tls.crt", "tls.key"):
            (folder / name).write_bytes(base64.b64decode(secret[name]))
        with controller.Controller(case.BUILD, folder, folder / "tls.crt", folder / "tls.key", webhook_port=port) as one:
            def refused():
                done = cluster.apply({**TOO_LONG, "metadata": {"name": "other"}}, "--dry-run=server", check=False)
                return done.returncode and done.stderr
            said = cluster.wait_for(refused, "a refusal")
            self.assertIn("The request is invalid: spec.apps[0].args[0]: expected a string of 0 to 256 bytes", said)
            cluster.apply(monitor("good"))
            # From before: labels may change, deletion works, its spec cannot stay broken in another way.
            cluster.kubectl("label", "vmmonitor", "long", "a=b")
            done = cluster.kubectl("patch", "vmmonitor", "long", "--type=merge", "-p",
                                   json.dumps({"spec": {"suspend": True}}), check=False)
            self.assertNotEqual(done.returncode, 0)
            cluster.kubectl("delete", "vmmonitor", "long")
            # What the language says.
            policy = {"apiVersion": "yagura.dev/v1alpha1", "kind": "VMPolicy", "metadata": {"name": "p"},
                      "spec": {"vmSelector": {}, "policy": "policy p {\n  guest { rule a: deny opne }\n}\n"}}
            done = cluster.apply(policy, check=False)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertIn("Warning: policy:2:", done.stderr)
            self.assertGreaterEqual(one.metric("yagura_controller_reviews_total", kind="VMMonitor", verdict="Denied"), 2)
            self.assertGreaterEqual(one.metric("yagura_controller_reviews_total", verdict="Allowed"), 3)
            self.assertEqual(one.get("/readyz")[0], 200)
            self.assertEqual(one.stop(), 0)


class Callers(case.Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.folder = pathlib.Path(cls.enterClassContext(tempfile.TemporaryDirectory()))
        cls.authority = kube.Authority(cls.folder, "ca")

    def make(self, name="tls"):
        key, cert = self.authority.issue(name, "/CN=webhook", "serverAuth", ["IP:127.0.0.1", "DNS:localhost"])
        return cert, key

    def one(self):
        cert, key = self.make(self.id().rsplit(".", 1)[1])
        return self.enterContext(controller.Controller(case.BUILD, self.folder, cert, key, name=cert.stem))

    def ask(self, one, body=None, method="POST", path="/validate", kind="application/json"):
        connection = one.webhook(self.folder / "ca.crt")
        try:
            connection.request(method, path, json.dumps(review()) if body is None else body, {"Content-Type": kind})
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def good(self, one):
        status, text = self.ask(one)
        self.assertEqual((status, json.loads(text)["response"]), (200, {"uid": "u", "allowed": True}))

    def test_garbage(self):
        one = self.one()
        self.good(one)
        for status, words in ((400, {"body": "{"}), (400, {"body": "\x00" * 100}), (400, {"body": ""}),
                              (400, {"body": "[" * 100000}), (400, {"body": json.dumps({"kind": "AdmissionReview"})}),
                              (404, {"path": "/"}), (404, {"path": "/metrics"}), (405, {"method": "PUT"}),
                              (415, {"kind": "text/plain"}), (413, {"body": "x" * ((8 << 20) + 1)})):
            try:
                self.assertEqual(self.ask(one, **words)[0], status, str(words)[:80])
            except OSError:
                self.assertEqual(status, 413)  # told while it still sends
        # What is no TLS, and TLS that is no HTTP.
        for raw in (b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\xff\xff" + b"\x00" * 64):
            with socket.create_connection(("127.0.0.1", one.webhook_port), timeout=30) as plain:
                plain.sendall(raw)
                plain.settimeout(30)
                self.assertLess(len(plain.recv(4096)), 64)
        self.good(one)
        self.assertGreaterEqual(one.metric("yagura_controller_requests_refused_total", reason="Garbage"), 5)

    def test_huge_together(self):
        """Bodies without a length, 20 at once: bounded together, and the process stays small."""
        one = self.one()
        block = b"%x\r\n" % (1 << 20) + b" " * (1 << 20) + b"\r\n"
        seen = []

        def send():
            try:
                with socket.create_connection(("127.0.0.1", one.webhook_port), timeout=60) as plain:
                    context = ssl.create_default_context(cafile=self.folder / "ca.crt")
                    with context.wrap_socket(plain, server_hostname="127.0.0.1") as tls:
                        tls.sendall(b"POST /validate HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
                                    b"Transfer-Encoding: chunked\r\n\r\n")
                        for _ in range(12):
                            tls.sendall(block)
                        tls.sendall(b"0\r\n\r\n")
                        seen.append(tls.recv(4096).split(b" ")[1])
            except OSError:
                seen.append(b"cut")
        threads = [threading.Thread(target=send) for _ in range(20)]
        for thread in threads:
            thread.start()
        peak = 0
        while any(thread.is_alive() for thread in threads):
            status = pathlib.Path(f"/proc/{one.process.pid}/status").read_text()
            peak = max(peak, int(status.split("RssAnon:")[1].split()[0]))
            time.sleep(0.05)
        print(f"RssAnon at most {peak / 1024:.0f} MiB")
        self.assertEqual(len(seen), 20)
        self.assertLessEqual(set(seen), {b"413", b"503", b"cut"})
        self.assertLess(peak, 128 << 10)
        self.good(one)

    def test_slow(self):
        """A byte now and then keeps nobody: head, body or handshake, the connection ends; others are served meanwhile."""
        one = self.one()
        context = ssl.create_default_context(cafile=self.folder / "ca.crt")
        begun = time.monotonic()
        plain = [socket.create_connection(("127.0.0.1", one.webhook_port), timeout=5) for _ in range(3)]
        head = context.wrap_socket(plain[1], server_hostname="127.0.0.1")
        body = context.wrap_socket(plain[2], server_hostname="127.0.0.1")
        body.sendall(b"POST /validate HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n")
        head.sendall(b"POST /validate HTTP/1.1\r\n")
        ends = {}
        drip = {"handshake": (plain[0], b"\x16\x03\x01\x01\x00" + b"\x01" * 400), "head": (head, b"X-A: " + b"b" * 400),
                "body": (body, b" " * 400)}
        for i in range(120):
            for name, (where, data) in drip.items():
                if name in ends:
                    continue
                try:
                    where.sendall(data[i:i + 1])
                    where.settimeout(0.01)
                    if where.recv(1) == b"":
                        ends[name] = time.monotonic() - begun
                except (TimeoutError, ssl.SSLWantReadError):
                    pass
                except OSError:
                    ends[name] = time.monotonic() - begun
            if len(ends) == 3:
                break
            if i % 10 == 0:
                self.good(one)
            time.sleep(0.5)
        print("cut off after", {name: f"{seconds:.0f} s" for name, seconds in ends.items()})
        self.assertEqual(set(ends), set(drip))
        for where, _ in drip.values():
            where.close()
        self.good(one)

    def test_many(self):
        """Connections that say nothing: those above the limit are closed at once; when they go, others are served."""
        one = self.one()
        silent = [socket.create_connection(("127.0.0.1", one.webhook_port), timeout=5) for _ in range(200)]
        one.wait_for(lambda: one.get("/livez")[0] == 200, "its other port")
        for where in silent:
            where.close()
        one.wait_for(lambda: self._served(one), "service after the silent ones")
        self.good(one)

    def _served(self, one):
        try:
            return self.ask(one)[0] == 200
        except OSError:
            return False

    def test_rotation(self):
        one = self.one()
        cert, key = (self.folder / f"test_rotation.{end}" for end in ("crt", "key"))
        first = self._serial(one)
        failures, answers, stop = [], [0], threading.Event()

        def call():
            while not stop.is_set():
                try:
                    assert self.ask(one)[0] == 200
                    answers[0] += 1
                except (OSError, AssertionError) as error:
                    failures.append(repr(error))
        caller = threading.Thread(target=call)
        caller.start()
        # Half of a new pair is not served, and the old one goes on.
        new_cert, new_key = self.make("rotated")
        cert.write_bytes(new_cert.read_bytes())
        one.wait_for(lambda: one.metric("yagura_controller_certificate_loads_total", result="Failed") == 1, "a complaint")
        self.assertEqual(self._serial(one), first)
        key.write_bytes(new_key.read_bytes())
        one.wait_for(lambda: self._serial(one) != first, "the new certificate")
        # Again and again, quicker than old daemons are stopped.
        for i in range(3):
            before = self._serial(one)
            new_cert, new_key = self.make(f"again-{i}")
            cert.write_bytes(new_cert.read_bytes())
            key.write_bytes(new_key.read_bytes())
            one.wait_for(lambda before=before: self._serial(one) != before, "the next certificate")
        stop.set()
        caller.join()
        print(f"{answers[0]} answers during 4 rotations")
        self.assertEqual(failures, [])
        self.assertGreater(answers[0], 10)

    def _serial(self, one):
        connection = one.webhook(self.folder / "ca.crt")
        connection.connect()
        try:
            return connection.sock.getpeercert()["serialNumber"]
        finally:
            connection.close()

    def test_command_line(self):
        program = case.BUILD / "controller/yagura-controller"
        for words, said in ((["--webhook=127.0.0.1:1"], "--tls-cert"), (["x"], "no arguments"), (["--log-level=x"], "--log-level"),
                            (["--nonsense"], "--help")):
            done = kube.run([program, *words], check=False)
            self.assertEqual(done.returncode, 2)
            self.assertIn(said, done.stderr)
        done = kube.run([program, "--listen=127.0.0.1:0", "--webhook=127.0.0.1:0", "--tls-cert=/nonexistent",
                         "--tls-key=/nonexistent"], check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("/nonexistent", done.stderr)
