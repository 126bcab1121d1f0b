"""Two outputs of one application, compared by the class of what it prints. Knows nothing of guests.

Both runs watch the same workload at the same time, so process ids, ports and addresses need no normalising; what
differs is time: when a line was printed, how long something took. Those columns are dropped.
"""
import collections
import dataclasses
import math
import re

ROWS = "rows"            # the output is the same, line by line
EVENTS = "events"        # the workload's lines are the same, in any order
KEYS = "keys"            # the workload shows under the same keys; the numbers beside them are samples
HISTOGRAM = "histogram"  # as many values, around the same buckets: what they measure is time
SAMPLES = "samples"      # the same, but about as many: what is taken each so many milliseconds cannot be the same
CONTROL = "control"      # loads, attaches, ends the same way: its events cannot be had on demand
CLASSES = (ROWS, EVENTS, KEYS, HISTOGRAM, SAMPLES, CONTROL)

SAMPLES_RATIO = 1.5
CENTRE_BUCKETS = 1.5

BUCKET = re.compile(r"^\s*(\d+)(?:\s*->\s*\d+)?\s*:\s*(\d+)\s*\|")  # log2 and linear ones


@dataclasses.dataclass
class Run:
    """What one run left behind. lacks: what the run inside held and the one from the node did not, if that differed."""
    code: int
    out: str
    err: str
    lacks: str | None = None


@dataclasses.dataclass
class Verdict:
    """reason: why it is not equal, or, where that is worth a word, what was equal."""
    equal: bool
    reason: str = ""


def last_words(run):
    lines = [line.strip() for line in run.err.splitlines() if line.strip()]
    return lines[-1] if lines else ""


def complaints(run):
    """What libbpf and the application said, without numbers, which are descriptors, addresses and versions."""
    return [re.sub(r"0x[0-9a-f]+|\d+", "N", line.strip()) for line in run.err.splitlines() if line.strip()]


def compare(tool, inside, node):
    """TOOL: an entry of the table. The two runs, as a Verdict."""
    if inside.code != node.code:
        words = last_words(node) or last_words(inside)
        return Verdict(False, f"exit status {inside.code} inside, {node.code} from the node: {words}")
    if inside.code != 0 and tool.status != inside.code:
        if complaints(inside)[-1:] != complaints(node)[-1:]:
            return Verdict(False, f"fails inside ({last_words(inside)}), otherwise from the node ({last_words(node)})")
        return Verdict(True, f"fails in the same way inside: {last_words(inside)}")
    if inside.lacks:
        return Verdict(False, f"inside it holds {inside.lacks}, from the node it does not")
    judges = {ROWS: rows, EVENTS: events, KEYS: keys, HISTOGRAM: histogram, SAMPLES: histogram, CONTROL: control}
    return judges[tool.kind](tool, inside, node)


def first_difference(one, two):
    for number, (left, right) in enumerate(zip(one, two), 1):
        if left != right:
            return f"line {number}: inside {left!r}, from the node {right!r}"
    return f"{len(one)} lines inside, {len(two)} from the node"


def rows(tool, inside, node):
    one, two = ([tool.clean(line.rstrip()) for line in run.out.splitlines()] for run in (inside, node))
    if tool.any_order:
        one, two = sorted(one), sorted(two)
    if not one:
        return Verdict(False, "nothing was printed")
    return Verdict(True, f"{len(one)} lines") if one == two else Verdict(False, first_difference(one, two))


def workload_rows(tool, run):
    """The lines that TOOL.match finds, without the columns TOOL.drop."""
    found = []
    for line in run.out.splitlines():
        if re.search(tool.match, line):
            found.append(tuple(word for at, word in enumerate(line.split()) if at not in tool.drop))
    return found


def events(tool, inside, node):
    one, two = (collections.Counter(workload_rows(tool, run)) for run in (inside, node))
    if not one and not two:
        return Verdict(False, "no event of the workload inside and from the node")
    if one == two:
        return Verdict(True, f"{sum(one.values())} events")
    parts = []
    for name, rest in (("inside", one - two), ("from the node", two - one)):
        if rest:
            parts.append(f"{sum(rest.values())} only {name}, as {' '.join(next(iter(rest)))!r}")
    return Verdict(False, f"of {sum(one.values())} events {', '.join(parts)}")


def keys(tool, inside, node):
    one, two = (set(workload_rows(tool, run)) for run in (inside, node))
    if not one:
        return Verdict(False, "the workload does not show inside")
    if one == two:
        return Verdict(True, f"{len(one)} keys")
    odd = sorted(one ^ two)[0]
    return Verdict(False, f"{' '.join(odd)!r} only {'inside' if odd in one else 'from the node'}")


def buckets(text):
    """{lower bound: count} over all histograms of an output."""
    total = collections.Counter()
    for line in text.splitlines():
        found = BUCKET.match(line)
        if found:
            total[int(found.group(1))] += int(found.group(2))
    return +total


def centre(histogram):
    """The mean bucket, as a power of two."""
    total = sum(histogram.values())
    return sum(math.log2(low + 1) * count for low, count in histogram.items()) / total


def histogram(tool, inside, node):
    one, two = buckets(inside.out), buckets(node.out)
    left, right = sum(one.values()), sum(two.values())
    if not left or not right:
        return Verdict(False, f"{left} values inside, {right} from the node")
    if max(left, right) > min(left, right) * (SAMPLES_RATIO if tool.kind == SAMPLES else 1):
        return Verdict(False, f"totals differ: {left} inside, {right} from the node")
    if abs(centre(one) - centre(two)) > CENTRE_BUCKETS:
        return Verdict(False, f"shapes differ: centre 2^{centre(one):.1f} inside, 2^{centre(two):.1f} from the node")
    return Verdict(True, f"{left} values inside, {right} from the node")


def control(tool, inside, node):
    """What was said at the start is the same: the first line of output, if any, and the complaints."""
    one, two = (run.out.strip().splitlines()[:1] for run in (inside, node))
    if [tool.clean(line) for line in one] != [tool.clean(line) for line in two]:
        return Verdict(False, f"inside {one}, from the node {two}")
    one, two = (sorted(set(complaints(run))) for run in (inside, node))
    if one != two:
        return Verdict(False, first_difference(one, two))
    return Verdict(True, "")
