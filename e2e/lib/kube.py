"""A real API server on loopback: etcd and kube-apiserver in a folder of their own, gone with the process that started
them.

    with kube.Cluster() as cluster:
        cluster.kubectl("apply", "-f", "crds")
        config = cluster.kubeconfig(cluster.token("agent", "yagura", node="n1"))

There are no controllers: nothing collects garbage, makes default ServiceAccounts, schedules pods or empties namespaces.
"""
import contextlib
import ctypes
import http.client
import json
import os
import pathlib
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import time

from . import node

ROOT = pathlib.Path(__file__).resolve().parents[2]
NAMES = ("localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc")
READY_SECONDS = 300  # on a machine that has much else to do
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


class KubeError(Exception):
    """A program refuses or does not answer; the text says what it said."""


class NoServer(KubeError):
    """This machine cannot have an API server; the text says why."""


def assets():
    """The folder with etcd, kube-apiserver, kubectl and helm; the first call may take minutes."""
    done = subprocess.run([ROOT / "e2e/kube/assets"], stdout=subprocess.PIPE, text=True, check=False)
    words = done.stdout.strip().splitlines() or ["e2e/kube/assets failed"]
    if done.returncode == 77:
        raise NoServer(words[-1])
    if done.returncode != 0:
        raise KubeError(words[-1])
    return pathlib.Path(words[-1])


def run(words, timeout=120, check=True, stdin=None, env=None):
    """Runs a program; subprocess.CompletedProcess with text. KubeError with what it said when it fails and CHECK is
    set."""
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, timeout=timeout, check=False,
                          input=stdin, env=env, stdin=subprocess.DEVNULL if stdin is None else None)
    if check and done.returncode != 0:
        shown = " ".join(map(str, words))
        raise KubeError(f"{shown[:300]}: {(done.stderr.strip() or done.stdout.strip())[:4000]}")
    return done


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def die_with_parent():
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class Authority:
    """A certificate authority in FOLDER, by openssl(1)."""

    def __init__(self, folder, name):
        self.key, self.cert = folder / f"{name}.key", folder / f"{name}.crt"
        self._folder = folder
        run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30",
             "-keyout", self.key, "-out", self.cert, "-subj", f"/CN={name}"])

    def issue(self, name, subject, usage, addresses=(), days=30):
        """A key and a certificate for SUBJECT ("/O=system:masters/CN=admin"); USAGE: clientAuth or serverAuth."""
        key, request, cert = (self._folder / f"{name}.{end}" for end in ("key", "csr", "crt"))
        extra = self._folder / f"{name}.ext"
        lines = ["basicConstraints=CA:FALSE", f"extendedKeyUsage={usage}"]
        if addresses:
            lines.append("subjectAltName=" + ",".join(addresses))
        extra.write_text("\n".join(lines) + "\n")
        run(["openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key, "-out",
             request, "-subj", subject])
        run(["openssl", "x509", "-req", "-in", request, "-CA", self.cert, "-CAkey", self.key, "-CAcreateserial",
             "-days", str(days), "-extfile", extra, "-out", cert])
        return key, cert


class Cluster:
    """EXTRA: more words for kube-apiserver."""

    def __init__(self, folder=None, extra=()):
        self.assets = assets()
        self._own = folder is None
        self.folder = pathlib.Path(folder or tempfile.mkdtemp(prefix="yagura-kube."))
        self.folder.mkdir(parents=True, exist_ok=True)
        self.extra = list(extra)
        self.etcd = self.server = None
        self.ready_seconds = None
        self._ports = None
        self._names = 0

    def __enter__(self):
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(self, *_):
        self.close()

    # Processes

    def start(self):
        """Starts both and waits for /readyz. Once more with other ports when somebody else took one meanwhile."""
        started = time.monotonic()
        if not (self.folder / "sa.key").exists():
            self._make_keys()
        for attempt in range(3):
            self._ports = [free_port() for _ in range(3)]
            try:
                self.start_etcd()
                self.start_server()
                break
            except KubeError:
                self.stop()
                if attempt == 2 or "address already in use" not in self.words(200):
                    raise
        self.ready_seconds = time.monotonic() - started
        return self

    @property
    def address(self):
        return "127.0.0.1", self._ports[2]

    @property
    def url(self):
        return f"https://127.0.0.1:{self._ports[2]}"

    def start_etcd(self):
        client, peer = (f"http://127.0.0.1:{port}" for port in self._ports[:2])
        self.etcd = self._spawn("etcd", [
            "--name=e2e", f"--data-dir={self.folder / 'etcd'}", f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}", f"--listen-peer-urls={peer}", f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=e2e={peer}", "--unsafe-no-fsync", "--log-level=warn"])
        self._wait(self.etcd, lambda: self._get("http", self._ports[0], "/health"), "etcd")

    def start_server(self, wait=True):
        """kube-apiserver, with the flags that envtest uses; webhooks find Services only by URL."""
        at = self.folder
        self.server = self._spawn("kube-apiserver", [
            f"--etcd-servers=http://127.0.0.1:{self._ports[0]}", f"--cert-dir={at}", "--bind-address=127.0.0.1",
            f"--secure-port={self._ports[2]}", f"--tls-cert-file={at / 'server.crt'}",
            f"--tls-private-key-file={at / 'server.key'}", f"--client-ca-file={at / 'ca.crt'}",
            "--service-cluster-ip-range=10.0.0.0/24", "--allow-privileged=true", "--authorization-mode=RBAC",
            "--disable-admission-plugins=ServiceAccount", f"--service-account-issuer={self.url}",
            f"--service-account-key-file={at / 'sa.pub'}", f"--service-account-signing-key-file={at / 'sa.key'}",
            "--profiling=false", "--endpoint-reconciler-type=none", *self.extra])
        if wait:
            self.wait_ready()

    def wait_ready(self):
        self._wait(self.server, lambda: self._get("https", self._ports[2], "/readyz"), "kube-apiserver")

    def stop_server(self, first=signal.SIGKILL):
        """Takes the server away; start_server() brings it back at the same place."""
        if self.server is not None:
            node.stop(self.server.pid, patience=20.0, first=first)
            self.server.wait()
            self.server = None

    def stop_etcd(self):
        if self.etcd is not None:
            node.stop(self.etcd.pid, patience=10.0)
            self.etcd.wait()
            self.etcd = None

    def stop(self):
        self.stop_server()
        self.stop_etcd()

    def close(self):
        self.stop()
        if self._own:
            shutil.rmtree(self.folder, ignore_errors=True)

    def save(self, name):
        """Keeps what etcd holds now under NAME; the server is away for a moment."""
        self.stop()
        shutil.copytree(self.folder / "etcd", self.folder / f"saved-{name}")
        self.start_etcd()
        self.start_server()

    def restore(self, name):
        """etcd as it was at save(NAME): resourceVersions go back."""
        self.stop()
        shutil.rmtree(self.folder / "etcd")
        shutil.copytree(self.folder / f"saved-{name}", self.folder / "etcd")
        self.start_etcd()
        self.start_server()

    def words(self, lines=20):
        """The end of both logs."""
        found = []
        for name in ("etcd", "kube-apiserver"):
            with contextlib.suppress(OSError):
                text = (self.folder / f"{name}.log").read_text(errors="replace")
                found.append(f"{name}: " + "\n".join(text.splitlines()[-lines:]))
        return "\n".join(found)

    def _spawn(self, name, words):
        with open(self.folder / f"{name}.log", "ab") as log:
            return subprocess.Popen([self.assets / name, *words], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                    cwd=self.folder, start_new_session=True, preexec_fn=die_with_parent)

    def _get(self, scheme, port, path):
        if scheme == "http":
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        else:
            connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=5, context=self.tls())
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            answer.read()
            return answer.status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def _wait(self, process, question, what):
        end = time.monotonic() + READY_SECONDS
        while not question():
            if process.poll() is not None:
                raise KubeError(f"{what} ended with {process.returncode}: {self.words(5)}")
            if time.monotonic() > end:
                raise KubeError(f"{what}: not ready after {READY_SECONDS} s: {self.words(5)}")
            time.sleep(0.1)

    # Who may come in

    def _make_keys(self):
        self.authority = Authority(self.folder, "ca")
        self.authority.issue("server", "/CN=kube-apiserver", "serverAuth",
                             ["IP:127.0.0.1", "IP:10.0.0.1", *(f"DNS:{name}" for name in NAMES)])
        self.authority.issue("admin", "/O=system:masters/CN=admin", "clientAuth")
        run(["openssl", "genrsa", "-out", self.folder / "sa.key", "2048"])
        run(["openssl", "rsa", "-in", self.folder / "sa.key", "-pubout", "-out", self.folder / "sa.pub"])

    def tls(self):
        """An SSLContext that trusts the server and is the administrator."""
        context = ssl.create_default_context(cafile=str(self.folder / "ca.crt"))
        context.load_cert_chain(self.folder / "admin.crt", self.folder / "admin.key")
        return context

    def kubeconfig(self, token=None, name=None, namespace="default"):
        """The file of a kubeconfig: of who has TOKEN, else of the administrator."""
        if name is None:
            self._names += 1
            name = f"user-{self._names}" if token else "admin"
        user = ({"token": token} if token else
                {"client-certificate": str(self.folder / "admin.crt"), "client-key": str(self.folder / "admin.key")})
        file = self.folder / f"{name}.kubeconfig"
        with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:
            json.dump({  # every JSON is YAML
                "apiVersion": "v1", "kind": "Config", "current-context": "e2e",
                "clusters": [{"name": "e2e", "cluster": {"server": self.url,
                                                         "certificate-authority": str(self.folder / "ca.crt")}}],
                "users": [{"name": name, "user": user}],
                "contexts": [{"name": "e2e", "context": {"cluster": "e2e", "user": name, "namespace": namespace}}],
            }, out)
        return file

    def token(self, account, namespace, node_name=None, pod=None, seconds=3600):
        """A token of a ServiceAccount. POD: bound to that pod, as a kubelet asks for it, and so to the pod's node;
        NODE_NAME: bound to the Node object."""
        bound = []
        if pod is not None:
            bound = ["--bound-object-kind=Pod", f"--bound-object-name={pod}"]
        elif node_name is not None:
            bound = ["--bound-object-kind=Node", f"--bound-object-name={node_name}"]
        return self.kubectl("create", "token", account, "-n", namespace, f"--duration={seconds}s", *bound).strip()

    # Programs

    def program(self, name):
        found = self.assets / name
        if found.exists():
            return found
        return pathlib.Path(shutil.which(name) or found)

    def kubectl(self, *words, stdin=None, check=True, timeout=120, config=None):
        """Standard output of kubectl as the administrator, or as CONFIG says; without CHECK the whole outcome."""
        done = run([self.program("kubectl"), f"--kubeconfig={config or self.kubeconfig()}",
                    f"--cache-dir={self.folder / 'cache'}", *words], timeout=timeout, check=check, stdin=stdin)
        return done.stdout if check else done

    def wait_established(self, folder, timeout=120.0):
        """Waits for the CustomResourceDefinitions in FOLDER. kubectl gives up on one that has no status yet."""
        end = time.monotonic() + timeout
        while True:
            try:
                return self.kubectl("wait", "--for=condition=Established", f"--timeout={timeout:.0f}s", "-f", folder)
            except KubeError as error:
                if "accessor error" not in str(error) or time.monotonic() > end:
                    raise
                time.sleep(0.2)

    def apply(self, objects, *words, check=True, config=None):
        """kubectl apply of OBJECTS: a text, one object, or a list of them."""
        if isinstance(objects, dict):
            objects = [objects]
        text = objects if isinstance(objects, str) else "\n---\n".join(map(json.dumps, objects))
        return self.kubectl("apply", "-f", "-", *words, stdin=text, check=check, config=config)

    def get(self, *words, config=None):
        """`kubectl get WORDS -o json`, decoded."""
        return json.loads(self.kubectl("get", *words, "-o", "json", config=config))

    def helm(self, *words, check=True, timeout=300):
        home = self.folder / "helm"
        env = {**os.environ, "HELM_CACHE_HOME": str(home / "cache"), "HELM_CONFIG_HOME": str(home / "config"),
               "HELM_DATA_HOME": str(home / "data"), "KUBECONFIG": str(self.kubeconfig())}
        done = run([self.program("helm"), *words], check=check, timeout=timeout, env=env)
        return done.stdout if check else done

    def request(self, method, path, body=None, kind="application/json", token=None, timeout=60):
        """One request, as the administrator or with TOKEN: (status, text). A dict as BODY goes as JSON."""
        context = self.tls() if token is None else ssl.create_default_context(cafile=str(self.folder / "ca.crt"))
        connection = http.client.HTTPSConnection(*self.address, timeout=timeout, context=context)
        headers = {"Content-Type": kind, "Accept": "application/json"}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        try:
            connection.request(method, path, json.dumps(body) if isinstance(body, dict) else body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read().decode(errors="replace")
        finally:
            connection.close()

    def wait_for(self, question, what, timeout=120.0, pause=0.2):
        """Asks until QUESTION gives something true, which is returned."""
        end = time.monotonic() + timeout
        while True:
            answer = question()
            if answer:
                return answer
            if time.monotonic() > end:
                raise KubeError(f"{what}: not after {timeout:.0f} s")
            time.sleep(pause)
