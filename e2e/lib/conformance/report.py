"""What came of a run: a table for the screen, docs/conformance.md, figures."""
from . import table

HEAD = """# Conformance

Made by `e2e/conformance --write-docs`; not edited by hand.

Each application runs twice at the same time on the same guest, inside it and from the node with `yagura run`, around
one workload. What both print is compared by the class of the application:

| class | equal when |
|---|---|
| rows | the output is the same, line by line |
| events | the workload's lines are the same, number by number, but for times |
| keys | the workload shows under the same keys; the numbers beside them are samples |
| histogram | there are the same histograms, of about the same totals, around the same buckets |
| control | it loads, attaches, says the same and ends with the same exit status; its events cannot be had on demand |

An application that fails inside the guest, because its kernel has no such function or no such hardware, is equal when
it fails in the same words and with the same exit status from the node.

"""


def line(tool, verdict):
    return f"{'equal ' if verdict.equal else 'DIFFER'}  {tool.kind:9}  {tool.title[:58]:58}  {verdict.reason[:150]}"


def cell(text):
    return text.replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")


def document(results, release):
    passed = sum(verdict.equal for _, verdict in results)
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
