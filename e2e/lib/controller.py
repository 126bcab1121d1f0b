"""A yagura-controller of a test's own."""
import http.client
import pathlib
import ssl
import subprocess
import time

from . import kube, node


class ControllerError(Exception):
    """It ended or does not answer; the text says what it said."""


class Controller:
    """WORDS: more of its command line. CERT, KEY: files for its webhook, or none."""

    def __init__(self, build, folder, cert=None, key=None, words=(), name="controller", webhook_port=None):
        self.program = pathlib.Path(build) / "controller/yagura-controller"
        self.log = pathlib.Path(folder) / f"{name}.log"
        self.port, self.webhook_port = kube.free_port(), webhook_port or kube.free_port()
        self._words = [f"--listen=127.0.0.1:{self.port}", *words]
        if cert is not None:
            self._words += [f"--webhook=127.0.0.1:{self.webhook_port}", f"--tls-cert={cert}", f"--tls-key={key}"]
        self.process = None

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()

    def start(self, timeout=60.0):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen([self.program, *self._words], stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=log, start_new_session=True, preexec_fn=kube.die_with_parent)
        end = time.monotonic() + timeout
        while True:
            try:
                self.get("/livez")
                return self
            except OSError:
                if self.process.poll() is not None or time.monotonic() > end:
                    raise ControllerError(f"yagura-controller: {self.words()}") from None
                time.sleep(0.05)

    def stop(self, **how):
        """Ends it; its exit code."""
        if self.process is None:
            return None
        if self.process.poll() is None:
            node.stop(self.process.pid, patience=20.0, **how)
        code = self.process.wait()
        self.process = None
        return code

    def words(self, lines=10):
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def get(self, path):
        """(status, text) of its plain port."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def metric(self, name, **labels):
        """The sum of NAME's samples that have LABELS."""
        total = 0.0
        for line in self.get("/metrics")[1].splitlines():
            head, _, value = line.rpartition(" ")
            if head.split("{")[0] == name and all(f'{key}="{word}"' in head for key, word in labels.items()):
                total += float(value)
        return total

    def webhook(self, cafile=None, timeout=30):
        """A connection to the webhook; it verifies when CAFILE is given."""
        context = ssl.create_default_context(cafile=cafile)
        if cafile is None:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return http.client.HTTPSConnection("127.0.0.1", self.webhook_port, timeout=timeout, context=context)

    def wait_for(self, question, what, timeout=60.0):
        end = time.monotonic() + timeout
        while True:
            answer = question()
            if answer:
                return answer
            if time.monotonic() > end:
                raise ControllerError(f"{what}: not after {timeout:.0f} s; it says: {self.words()}")
            time.sleep(0.1)
