"""What the tests on an API server share: Case, whose servers are put away, and objects that many of them need."""
import contextlib
import os
import pathlib
import unittest

from e2e.lib import kube

BUILD = pathlib.Path(os.environ.get("YAGURA_BUILD", kube.ROOT / "build/dev")).resolve()
CRDS = kube.ROOT / "crds"


class Case(unittest.TestCase):
    maxDiff = None

    @classmethod
    def shared_cluster(cls, crds=False, **options):
        """A server of the class's own, with the schemas if wanted."""
        return cls.enterClassContext(_cluster(crds, options))

    def own_cluster(self, crds=False, **options):
        return self.enterContext(_cluster(crds, options))


@contextlib.contextmanager
def _cluster(crds, options):
    with kube.Cluster(**options) as cluster:
        cluster.wait_for(lambda: cluster.kubectl("get", "namespace", "default", "--ignore-not-found"), "the default namespace")
        if crds:
            apply_crds(cluster)
        yield cluster


def apply_crds(cluster):
    cluster.kubectl("apply", "--server-side", "-f", CRDS)
    cluster.wait_established(CRDS)
