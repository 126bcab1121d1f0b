"""What yagura-agent itself costs: memory and start with 10 VMs and 30 monitors (libvirt's test driver is the node),
CPU while applications are attached to a real guest and nothing happens there. Sessions and applications are told
apart from the agent."""
import pathlib
import socket
import tempfile
import time
import urllib.error
import urllib.request

from bench.lib import process, report
from bench.lib.guest import Pair, make_image
from e2e.lib import agent

VMS, MONITORS = 10, 30
DOMAIN = """<domain type='test'><name>vm-{number}</name><uuid>11111111-1111-1111-1111-{number:012}</uuid>
<memory>65536</memory><vcpu>1</vcpu><os><type>hvm</type></os><metadata><y:vm xmlns:y='https://yagura.dev/domain/1'>
<y:label key='app' value='web'/><y:label key='number' value='n{number}'/></y:vm></metadata></domain>"""
MONITOR = """apiVersion: yagura.dev/v1alpha1
kind: VMMonitor
metadata: {{name: base-{number}, namespace: default}}
spec:
  vmSelector:
    matchLabels: {{{label}}}
  apps:
  - {{name: exec, program: execsnoop}}
  - {{name: open, program: opensnoop}}
  - {{name: connect, program: tcpconnect}}
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def is_ready(port):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as answer:
            return answer.status == 200
    except (urllib.error.URLError, OSError):
        return False


def many(options, starts):
    """[(ms to ready, {memory in KiB})], each with an agent of its own."""
    _, keys = make_image(options.build, options.kernel)
    found = []
    with tempfile.TemporaryDirectory(prefix="yagura-bench.") as folder:
        inventory = pathlib.Path(folder, "node.xml")
        inventory.write_text("<node>" + "".join(DOMAIN.format(number=number) for number in range(VMS)) + "</node>")
        manifests = {f"{number}.yaml": MONITOR.format(number=number, label=f"number: n{number % VMS}")
                     for number in range(MONITORS)}
        for _ in range(starts):
            port = free_port()
            node = agent.Agent(build=options.build, keys=keys, manifests=manifests, config={
                "listen": f"127.0.0.1:{port}", "libvirt": {"uri": f"test://{inventory}"}})
            started = time.monotonic()
            with node:
                node.wait_for(lambda port=port: is_ready(port), "readiness", pause=0.002)
                took = (time.monotonic() - started) * 1000
                node.wait_for(lambda node=node: len(node.monitors()) == MONITORS and len(node.vms()) == VMS, "all of them")
                time.sleep(1 if options.quick else 3)
                found.append((took, node.memory_kib()))
    return found


def idle(options, seconds):
    """{who: percent of one processor} with three applications attached, and the agent's memory then."""
    with Pair(options, "bench-agent", 1, manifests={"m.yaml": MONITOR.format(number=0, label="bench: bench-agent")}) as pair:
        def running():
            states = [app["state"] for vm in pair.agent.vms() if vm["metadata"]["name"] == pair.guest.name
                      for monitor in vm["status"]["monitors"] for app in monitor["apps"]]
            return len(states) == 3 and set(states) == {"Running"}
        pair.agent.wait_for(running, "three running applications", timeout=60)
        time.sleep(2)
        pid = pair.agent.process.pid
        before, started = process.cpu_us(pid), time.monotonic()
        with pair.meter() as meter:
            time.sleep(seconds)
        after, took = process.cpu_us(pid), (time.monotonic() - started) * 1e6
        if not running():
            raise report.BenchError("the applications did not stay: " + pair.agent.words(5))
        used = {what: 100 * value / took for what, value in meter.used.items()}
        return {"agent": 100 * (after - before) / took, **used}, pair.agent.memory_kib()


def run(options):
    starts = many(options, 3 if options.quick else 9)
    took = sorted(item[0] for item in starts)
    memory = {name: report.median([item[1][name] for item in starts]) / 1024 for name in ("RssAnon", "VmRSS")}
    report.table(f"{VMS} VMs, {MONITORS} monitors, {len(starts)} starts", ["", "median", "least", "most"], [
        ["start to ready, ms", report.median(took), took[0], took[-1]],
        *([f"{name}, MiB", memory[name], min(item[1][name] for item in starts) / 1024, max(item[1][name] for item in starts) / 1024]
          for name in memory)])
    seconds = 10 if options.quick else 30
    used, real = idle(options, seconds)
    report.table(f"Idle for {seconds} s with three applications on a real guest, % of one processor", ["", "CPU %"],
                 [[who, f"{used[who]:.2f}"] for who in ("agent", "session", "application", "guest")])
    print(f"  (agent then: RssAnon {real['RssAnon'] / 1024:.1f} MiB, RSS {real['VmRSS'] / 1024:.1f} MiB)\n")
    report.figure("agent_rssanon_mib", memory["RssAnon"], "MiB")
    report.figure("agent_rss_mib", memory["VmRSS"], "MiB")
    report.figure("agent_start_ms", report.median(took), "ms")
    report.figure("agent_idle_cpu_percent", used["agent"], "%")
