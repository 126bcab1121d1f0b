"""TeleBPF against the same application inside the guest. Rounds alternate: guest, node, node, guest, ..."""
from bench.lib import report
from bench.lib.guest import Pair, program

RATE, LOSS_RATE = 1000, 20000  # events a second: for latency, for losses
PARTS = ("latency", "throughput", "calls", "losses")
# (name of the row, options of `yagura run` or None for in the guest, the application's arguments)
MODES = [("ring, guest", None, []), ("ring, Auto", ["-d", "Auto"], []), ("ring, Copied", ["-d", "Copied"], []),
         ("ring, Shared", ["-d", "Shared"], []), ("ring, Notify", ["-d", "Copied", "-w", "Notify"], []),
         ("ring, Stream", ["-d", "Stream"], []), ("perf, guest", None, ["--perf"]), ("perf, Copied", ["-d", "Copied"], ["--perf"]),
         ("perf, Notify", ["-d", "Copied", "-w", "Notify"], ["--perf"]), ("perf, Stream", ["-d", "Stream"], ["--perf"])]
LOSS_MODES = [mode for mode in MODES if mode[0] in ("ring, guest", "ring, Copied", "perf, guest", "perf, Copied")]
RATE_MODES = [mode for mode in MODES if mode[0] in ("ring, guest", "ring, Copied", "ring, Notify", "ring, Stream")]


class Round:
    """One run of the application with COUNT ticks at RATE (0: as fast as it goes)."""

    def __init__(self, pair, mode, count, rate):
        _, how, flags = mode
        seconds = (count // rate if rate else 60) + 30
        words = [program(pair.build, "ticks"), *flags, count, seconds]
        distance = None
        if how:
            distance = pair.clock_distance()
            self.result, measured = pair.on_node(how, words, lambda: self.produce(pair, count, rate), seconds + 30)
        else:
            self.result, measured = pair.in_guest(" ".join(map(str, words)), lambda: self.produce(pair, count, rate), seconds + 30)
        self.produce_ns, self.cpu = measured
        self.count = count
        # Too large rather than too small: what is not known of the distance counts as latency.
        self.distance = distance[0] - distance[1] if distance else self.result["clock_distance_ns"]
        self.uncertain_us = distance[1] / 1000 if distance else 0.0

    def produce(self, pair, count, rate):
        with pair.meter() as meter:
            took = int(pair.guest.run(f"{program(pair.build, 'produce')} {count} {rate}",
                                      timeout=(count / rate if rate else 60) * 3 + 30, check=True).out)
        return took, {what: used / count for what, used in meter.used.items()}

    def latency_us(self, rank):
        return (self.result[f"{rank}_ns"] - self.distance) / 1000

    @property
    def lost(self):
        return self.count - self.result["received"]

    @property
    def per_second(self):
        return self.result["received"] / (max(self.result["span_ns"], self.produce_ns) / 1e9)


def latency(pair, options, rounds):
    results = {mode[0]: [] for mode in MODES}
    for number in range(rounds):
        for mode in MODES if number % 2 == 0 else reversed(MODES):
            results[mode[0]].append(Round(pair, mode, RATE * (2 if options.quick else 3), RATE))
    rows, p50 = [], {}
    for name, runs in results.items():
        p50[name] = report.median([run.latency_us("p50") for run in runs])
        base = p50[name.split(",")[0] + ", guest"]
        rows.append([name, p50[name], *(report.median([run.latency_us(rank) for run in runs]) for rank in ("p90", "p99")),
                     f"{p50[name] / base:.2f}", max(run.uncertain_us for run in runs), sum(run.lost for run in runs),
                     *(report.median([run.cpu[what] for run in runs]) for what in ("guest", "session", "application"))])
    report.table(f"{pair.guest.cpus} vCPU, {RATE:,} events/s, {rounds} rounds: latency and CPU of one event, us",
                 ["", "p50", "p90", "p99", "p50 ratio", "clock +-", "lost", "CPU QEMU", "session", "application"], rows)
    trips = pair.round_trips(1000)
    one_way = trips[len(trips) // 2] / 2000
    print(f"  one way through the channel, half of a bare round trip of 64 bytes: {one_way:.1f} us")
    ratios = {name: value / p50[name.split(",")[0] + ", guest"] for name, value in p50.items()}
    # What notification costs beyond the wake-up inside and the way here.
    return ratios | {"copied to shared": p50["ring, Copied"] / p50["ring, Shared"],
                     "notify extra": p50["ring, Notify"] - p50["ring, guest"] - one_way}


def losses(pair, options):
    seconds = options.loss_seconds or (3 if options.quick else 60)
    rows, lost = [], 0
    for mode in LOSS_MODES:
        run = Round(pair, mode, LOSS_RATE * seconds, LOSS_RATE)
        result = run.result
        told = result["dropped"] if result["dropped"] else result["lost"]
        lost += run.lost if mode[1] else 0
        rows.append([mode[0], f"{run.count / (run.produce_ns / 1e9):,.0f}", f"{result['received']:,}", f"{run.lost:,}", f"{told:,}",
                     "yes" if run.lost == told and result["produced"] == run.count else "NO", run.latency_us("p50"),
                     run.cpu["guest"], run.cpu["session"], run.cpu["application"]])
    report.table(f"{pair.guest.cpus} vCPU, {LOSS_RATE:,} events/s for {seconds} s",
                 ["", "made/s", "received", "lost", "told", "adds up", "p50 us", "CPU QEMU", "session", "application"], rows)
    return lost


def throughput(pair, options, rounds):
    count = 200_000 if options.quick else 400_000
    results = {mode[0]: [] for mode in RATE_MODES}
    for number in range(rounds):
        for mode in RATE_MODES if number % 2 == 0 else reversed(RATE_MODES):
            results[mode[0]].append(Round(pair, mode, count, 0))
    rate = {name: report.median([run.per_second for run in runs]) for name, runs in results.items()}
    base = rate["ring, guest"]
    report.table(f"{pair.guest.cpus} vCPU, {count:,} events as fast as they are made, {rounds} rounds",
                 ["", "events/s", "ratio", "made/s", "lost %", "CPU QEMU", "session", "application"],
                 [[name, f"{rate[name]:,.0f}", f"{rate[name] / base:.2f}",
                   f"{report.median([run.count / (run.produce_ns / 1e9) for run in runs]):,.0f}",
                   100 * sum(run.lost for run in runs) / (count * len(runs)),
                   *(report.median([run.cpu[what] for run in runs]) for what in ("guest", "session", "application"))]
                  for name, runs in results.items()])
    return rate["ring, Copied"] / base


def calls(pair, options):
    count = 300 if options.quick else 2000
    words = [program(pair.build, "call"), count]
    trips, forwarded, inside = [], [], []
    for _ in range(3):
        samples = pair.round_trips(count)
        trips.append((samples[count // 2], samples[count * 99 // 100]))
        found = pair.application_json(words)
        forwarded.append((found["p50_ns"], found["p99_ns"]))
        found = pair.guest_json(words)
        inside.append((found["p50_ns"], found["p99_ns"]))
    rows, p50 = [], []
    for name, found in (("bare round trip, 64 bytes", trips), ("BPF_MAP_LOOKUP_ELEM, node", forwarded),
                        ("BPF_MAP_LOOKUP_ELEM, guest", inside)):
        p50.append(report.median([pair_[0] for pair_ in found]) / 1000)
        rows.append([name, p50[-1], report.median([pair_[1] for pair_ in found]) / 1000, f"{p50[-1] / p50[0]:.2f}"])
    report.table(f"{pair.guest.cpus} vCPU, calls, us", ["", "p50", "p99", "ratio"], rows)
    return p50[1] / p50[0], p50[1] - p50[0] - p50[2]


def run(options):
    rounds = options.rounds or (1 if options.quick else 3)
    found = {part: [] for part in options.parts or PARTS}
    measure = {"latency": lambda pair: latency(pair, options, rounds), "throughput": lambda pair: throughput(pair, options, rounds),
               "calls": lambda pair: calls(pair, options), "losses": lambda pair: losses(pair, options)}
    for cpus in options.cpus:
        with Pair(options, f"bench-{cpus}", cpus) as pair:
            print(f"\nguest: {pair.guest.accel} ({pair.guest.accel_why}), {cpus} vCPU, {options.kernel}; load {report.load()}")
            for part, results in found.items():
                results.append(measure[part](pair))
    print("\nThe worst of the guests:")
    if "latency" in found:
        for name, row in (("ring", "ring, Copied"), ("perf", "perf, Copied"), ("default", "ring, Auto"), ("stream", "ring, Stream")):
            report.figure(f"telebpf_{name}_p50_ratio", max(ratios[row] for ratios in found["latency"]), "ratio")
        report.figure("telebpf_adaptive_p50_ratio", max(ratios["ring, Copied"] for ratios in found["latency"]), "ratio")
        report.figure("telebpf_notify_extra_us", max(ratios["notify extra"] for ratios in found["latency"]), "us")
        report.figure("telebpf_copied_vs_shared_ratio", max(ratios["copied to shared"] for ratios in found["latency"]), "ratio")
    if "throughput" in found:
        report.figure("telebpf_throughput_ratio", min(found["throughput"]), "ratio")
    if "losses" in found:
        report.figure("telebpf_lost_at_20k", sum(found["losses"]), "events")
    if "calls" in found:
        report.figure("telebpf_call_ratio", max(ratio for ratio, _ in found["calls"]), "ratio")
        report.figure("telebpf_call_extra_us", max(extra for _, extra in found["calls"]), "us")
