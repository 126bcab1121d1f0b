"""What a benchmark prints: where it ran, tables, and figures that a program can read."""
import os
import pathlib
import re
import subprocess
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]


class BenchError(Exception):
    """Something could not be measured; the text says what and why."""


def _cpu_model():
    found = re.search(r"model name\s*:\s*(.+)", pathlib.Path("/proc/cpuinfo").read_text())
    return " ".join(found.group(1).split()) if found else "unknown processor"


def _commit():
    done = subprocess.run(["git", "-C", ROOT, "describe", "--always", "--dirty"], capture_output=True, text=True,
                          check=False)
    return done.stdout.strip() or "unknown"


def load():
    return "{:.1f} {:.1f} {:.1f}".format(*os.getloadavg())


def heading(name, build):
    memory = int(re.search(r"MemTotal:\s*(\d+)", pathlib.Path("/proc/meminfo").read_text()).group(1)) // 1048576
    return (f"{name}: {time.strftime('%Y-%m-%d %H:%M')}, commit {_commit()}, {build.name} build\n"
            f"{os.cpu_count()} processors ({_cpu_model()}), {memory} GiB, Linux {os.uname().release}, load {load()}")


def ending():
    return f"load at the end {load()}"


def table(title, header, rows):
    """ROWS: lists of texts or numbers; the first column is left-aligned."""
    def text(value):
        return value if isinstance(value, str) else "-" if value is None else f"{value:,.1f}"
    cells = [list(header)] + [[text(value) for value in row] for row in rows]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    print(f"\n{title}")
    for row in cells:
        print("  " + "  ".join(cell.ljust(widths[i]) if i == 0 else cell.rjust(widths[i])
                               for i, cell in enumerate(row)), flush=True)


def figure(name, value, unit):
    print(f"figure {name} {value:.4g} {unit}" if isinstance(value, float) else f"figure {name} {value} {unit}", flush=True)


def median(values):
    values = sorted(values)
    middle = len(values) // 2
    return values[middle] if len(values) % 2 else (values[middle - 1] + values[middle]) / 2
