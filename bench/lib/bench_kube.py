"""Initial sync of 10,000 objects and their watch: our informer against client-go's, which keeps the same fields, on the
same server in the same run, in turns. CPU time and peak memory are the clients' own."""
import concurrent.futures
import http.client
import json
import os
import pathlib
import subprocess

from e2e.kube import case
from e2e.lib import kube

from . import report

OBJECTS = 10000
CHANGES = 2000
THREADS = 4
SOURCE = report.ROOT / "bench/kube/client-go"
PATH = "/apis/yagura.dev/v1alpha1/namespaces/default/vmmonitors"


def _monitor(number):
    apps = [{"name": f"app-{i}", "program": program, "args": ["-x", "-t"], "limits": {"memory": "64Mi", "cpu": "200m"}}
            for i, program in enumerate(("execsnoop", "opensnoop", "tcpconnect"))]
    return {"apiVersion": "yagura.dev/v1alpha1", "kind": "VMMonitor",
            "metadata": {"name": f"monitor-{number}", "labels": {"app": f"app-{number % 97}", "team": "blue"},
                         "annotations": {"example.org/why": f"object {number} of a benchmark, with a sentence or two about it"}},
            "spec": {"vmSelector": {"matchLabels": {"app": f"app-{number % 97}", "tier": "web"}}, "apps": apps}}


def _send(cluster, requests):
    """(method, path, body) one after another on one connection."""
    connection = http.client.HTTPSConnection(*cluster.address, timeout=300, context=cluster.tls())
    for method, path, body in requests:
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        connection.request(method, path, json.dumps(body), {"Content-Type": kind})
        answer = connection.getresponse()
        text = answer.read()
        if answer.status >= 300:
            raise report.BenchError(f"{method} {path}: {answer.status} {text[:200]}")
    connection.close()


def _send_all(cluster, requests):
    with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
        for done in [pool.submit(_send, cluster, requests[i::THREADS]) for i in range(THREADS)]:
            done.result()


def _client_go():
    """The program, built once for each content of its folder."""
    cache = pathlib.Path(os.environ.get("YAGURA_CACHE", pathlib.Path.home() / ".cache/yagura")) / "kube"
    cache.mkdir(parents=True, exist_ok=True)
    program = cache / "client-go-follow"
    env = {**os.environ, "GOFLAGS": "-mod=readonly", "GOWORK": "off", "CGO_ENABLED": "0",
           "PATH": f"{os.environ['PATH']}:/usr/local/go/bin"}
    done = subprocess.run(["go", "build", "-trimpath", "-o", program, "."], cwd=SOURCE, env=env, capture_output=True,
                          text=True, check=False)
    if done.returncode != 0:
        raise report.BenchError(f"client-go's program cannot be built: {done.stderr[-400:]}")
    return program


def _measure(cluster, program, config, changes, turn):
    """Both phases: {"synced": {...}, "watched": {...}}."""
    with subprocess.Popen([program, config, str(changes)], stdout=subprocess.PIPE, text=True) as client:
        phases = {}
        for line in client.stdout:
            said = json.loads(line)
            phases[said["phase"]] = said
            if said["phase"] == "synced" and changes:
                _send_all(cluster, [("PATCH", f"{PATH}/monitor-{i}", {"metadata": {"annotations": {"turn": str(turn)}}})
                                    for i in range(changes)])
            elif said["phase"] == "watched":
                client.terminate()
    if "synced" not in phases:
        raise report.BenchError(f"{program} ended without having synced")
    return phases


def run(options):
    objects, changes, rounds = (500, 100, 1) if options.quick else (OBJECTS, CHANGES, 3)
    other = _client_go()
    sides = {"yagura": options.build / "bench/kube/bench-kube-follow", "client-go": other}
    try:
        cluster = kube.Cluster()
    except kube.KubeError as error:
        raise report.BenchError(str(error)) from error
    found = {name: [] for name in sides}
    with cluster:
        case.apply_crds(cluster)
        config = cluster.kubeconfig()
        _send_all(cluster, [("POST", PATH, _monitor(i)) for i in range(objects)])
        for turn in range(rounds):
            for name, program in sides.items():
                found[name].append(_measure(cluster, program, config, changes, f"{turn}-{name}"))
    rows, best = [], {}
    for name, all_rounds in found.items():
        best[name] = {
            "cpu": report.median([one["synced"]["cpu_s"] for one in all_rounds]),
            "wall": report.median([one["synced"]["wall_s"] for one in all_rounds]),
            "watch": report.median([one["watched"]["cpu_s"] - one["synced"]["cpu_s"] for one in all_rounds]),
            "peak": report.median([one["synced"]["peak_kib"] for one in all_rounds]) / 1024,
            "after": report.median([one["watched"]["peak_kib"] for one in all_rounds]) / 1024}
        rows.append([name, f"{best[name]['cpu']:.3f}", f"{best[name]['wall']:.2f}", best[name]["peak"],
                     f"{best[name]['watch'] / changes * 1e6:.0f}", best[name]["after"]])
    report.table(f"{objects} objects, {changes} changes, median of {rounds}",
                 ["client", "sync CPU s", "wall s", "peak MiB", "CPU us a change", "peak MiB after"], rows)
    ours, theirs = best["yagura"], best["client-go"]
    report.figure("kube_sync_vs_clientgo_ratio", ours["cpu"] / theirs["cpu"], "ratio")
    report.figure("kube_rss_vs_clientgo_ratio", ours["after"] / theirs["after"], "ratio")
    report.figure("kube_watch_vs_clientgo_ratio", ours["watch"] / theirs["watch"], "ratio")
