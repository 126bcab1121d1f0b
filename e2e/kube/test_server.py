"""The server that the other tests stand on: it starts, knows people by certificate and by token, goes back in time when
told to, and leaves nothing behind."""
import json
import pathlib
import re

from e2e.kube import case
from e2e.lib import kube

VERSION = re.search(r"k8s.io/kubernetes (v1\S+)", (kube.ROOT / "e2e/kube/servers/go.mod").read_text()).group(1)


def alive(folder):
    """Processes that were started in FOLDER."""
    return [int(path.name) for path in pathlib.Path("/proc").glob("[0-9]*")
            if str(folder).encode() in _words(path)]


def _words(path):
    try:
        return (path / "cmdline").read_bytes()
    except OSError:
        return b""


def version(cluster):
    """The newest resourceVersion that the server knows."""
    return int(json.loads(cluster.request("GET", "/api/v1/configmaps?limit=1")[1])["metadata"]["resourceVersion"])


class Server(case.Case):
    def test_life(self):
        cluster = self.own_cluster()
        print(f"ready after {cluster.ready_seconds:.1f} s")
        if (cluster.assets / "helm").exists():
            self.assertEqual(json.loads(cluster.request("GET", "/version")[1])["gitVersion"], VERSION)
        # Somebody with a token is somebody, and nobody without rights.
        cluster.kubectl("create", "serviceaccount", "person")
        config = cluster.kubeconfig(cluster.token("person", "default"))
        self.assertIn("system:serviceaccount:default:person", cluster.kubectl("auth", "whoami", config=config))
        self.assertNotEqual(cluster.kubectl("get", "nodes", config=config, check=False).returncode, 0)
        # The server goes and comes back where it was; what it knew is there.
        cluster.stop_server()
        cluster.start_server()
        self.assertEqual(cluster.get("serviceaccount", "person")["metadata"]["name"], "person")
        # Back in time.
        cluster.save("before")
        cluster.kubectl("create", "configmap", "later")
        late = version(cluster)
        cluster.restore("before")
        self.assertLess(version(cluster), late)
        self.assertEqual(cluster.kubectl("get", "configmap", "later", "--ignore-not-found"), "")
        self.assertTrue(alive(cluster.folder))
        cluster.close()
        self.assertEqual((alive(cluster.folder), cluster.folder.exists()), ([], False))
