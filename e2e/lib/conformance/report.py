"""What came of a run: a table for the screen, docs/conformance.md, figures. Results are kept in a file, so that a run of
a few applications renews their rows in the document and leaves the others.
"""
import json

from . import compare, table

HEAD = """# Conformance

Made by `e2e/conformance --write-docs`; not edited by hand.

Each application runs twice at the same time on the same guest, inside it and from the node with `yagura run`, around
one workload, which begins when both wait for events and yagura-guest holds as many programs, links and maps as the
application inside; that they hold the same is part of every class. PID is a process that does the same
things each time. What both print is compared by the class of the application:

| class | equal when |
|---|---|
| rows | the output is the same, line by line |
| events | the workload's lines are the same, number by number, but for times |
| keys | the workload shows under the same keys; the numbers beside them are samples |
| histogram | there are exactly as many values, around the same buckets: what is measured is time |
| samples | the same, but about as many values: each run takes its own samples |
| control | it loads, attaches, says the same and ends with the same exit status; its events cannot be had on demand |

An application that fails inside the guest, because its kernel has no such function or no such hardware, is equal when
it fails in the same words and with the same exit status from the node. A run of some applications renews their rows
only, so rows may come from more than one run.

What works inside the guest and not from the node:

- **Attaching through netlink** (`bpftool net attach`, tc filters): netlink is only asked (DECISIONS, "Netlink is asked,
  never told"). BPF links attach to devices.
- **Values of STRUCT_OPS maps** (`bpftool struct_ops dump` and `register`): they hold addresses of programs, and are
  refused with EOPNOTSUPP.
- **A network device's name** as an argument (`bpftool net list dev lo`): its number is asked for by an ioctl on a
  socket, which the confinement denies. Lists of all devices have names and numbers.
- **Iterators over one cgroup** that name it by a descriptor: EBADF. By id they work.
- **Pins by a directory's descriptor** (BPF_F_PATH_FD): refused; absolute paths work.

What works and takes longer: a tool that reads a map key by key asks the guest once for each. One that does so every
second over thousands of keys prints later than every second.

"""


def line(tool, verdict):
    return f"{'equal ' if verdict.equal else 'DIFFER'}  {tool.kind:9}  {tool.title[:58]:58}  {verdict.reason[:150]}"


def save(path, results, release):
    """Adds RESULTS to those in the file PATH that are of the same kernel; all that there are, in the table's order."""
    try:
        saved = json.loads(path.read_text())
    except (OSError, ValueError):
        saved = {}
    rows = saved.get("results", {}) if saved.get("release") == release else {}
    rows.update((tool.title, [verdict.equal, verdict.reason]) for tool, verdict in results)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"release": release, "results": rows}, indent=1))
    return [(tool, compare.Verdict(*rows[tool.title])) for tool in table.ALL if tool.title in rows]


def cell(text):
    return text.replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")


def document(results, release):
    passed = sum(verdict.equal for _, verdict in results)
    judged = {tool.title for tool, _ in results}
    results = [*results, *((tool, compare.Verdict(False, "not run yet")) for tool in table.ALL if tool.title not in judged)]
    text = [HEAD, f"Kernel of the guest: {release}. {passed} of {len(results)} are equal.\n\n"]
    for package in dict.fromkeys(tool.package for tool in table.ALL):
        rows = [(tool, verdict) for tool, verdict in results if tool.package == package]
        if not rows:
            continue
        equal = sum(verdict.equal for _, verdict in rows)
        text.append(f"## {package}: {equal} of {len(rows)}\n\n| application | class | result | what was seen |\n|---|---|---|---|\n")
        for tool, verdict in rows:
            result = "equal" if verdict.equal else "**differs**"
            text.append(f"| `{tool.title}` | {tool.kind} | {result} | {cell(verdict.reason)} |\n")
        text.append("\n")
    return "".join(text).rstrip("\n") + "\n"


def figures(results):
    return (f"figure telebpf_conformance_passed {sum(verdict.equal for _, verdict in results)} tools\n"
            f"figure telebpf_conformance_total {len(results)} tools")
