"""A real Prometheus (Debian package) that scrapes what a test tells it to."""
import http.client
import json
import pathlib
import subprocess
import time
import urllib.parse

from . import kube, node


class Prometheus:
    """TARGETS: {job: "HOST:PORT"}."""

    def __init__(self, folder, targets):
        self.folder, self.port = pathlib.Path(folder), kube.free_port()
        self.process = None
        self._config = {"global": {"scrape_interval": "1s", "scrape_timeout": "1s"}, "scrape_configs": [
            {"job_name": job, "honor_labels": True, "static_configs": [{"targets": [target]}]}
            for job, target in targets.items()]}

    def __enter__(self):
        (self.folder / "prometheus.yaml").write_text(json.dumps(self._config))
        with open(self.folder / "prometheus.log", "wb") as log:
            self.process = subprocess.Popen(
                ["prometheus", f"--config.file={self.folder / 'prometheus.yaml'}",
                 f"--storage.tsdb.path={self.folder / 'tsdb'}", f"--web.listen-address=127.0.0.1:{self.port}"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                preexec_fn=kube.die_with_parent)
        return self

    def __exit__(self, *_):
        node.stop(self.process.pid, patience=15.0)
        self.process.wait()

    def query(self, expression):
        """The vector that EXPRESSION gives now; None while it does not answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request("GET", f"/api/v1/query?{urllib.parse.urlencode({'query': expression})}")
            answer = connection.getresponse()
            text = answer.read().decode()
            if answer.status == 503:
                return None
            found = json.loads(text)
            if found["status"] != "success":
                raise kube.KubeError(f"{expression}: {found}")
            return found["data"]["result"]
        except OSError:
            return None
        finally:
            connection.close()

    def wait(self, expression, timeout=120.0):
        """The vector, once it is not empty."""
        end = time.monotonic() + timeout
        while not (found := self.query(expression)):
            if time.monotonic() > end:
                raise kube.KubeError(f"{expression}: no data after {timeout:.0f} s")
            time.sleep(0.3)
        return found
