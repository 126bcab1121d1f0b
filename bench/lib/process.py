"""What processes use, from /proc."""
import os
import pathlib

TICK = 1e6 / os.sysconf("SC_CLK_TCK")


def cpu_us(pid):
    """User and system time of PID's threads so far, in microseconds; 0 when it is gone."""
    try:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) * TICK


def descendants(pid):
    """PIDs below PID, without itself."""
    parents = {}
    for entry in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(entry.parent.name)] = int(entry.read_text().rsplit(")", 1)[1].split()[1])
        except (OSError, IndexError):
            continue
    found, level = [], {pid}
    while level:
        level = {child for child, parent in parents.items() if parent in level}
        found += level
    return found


def name(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def favour(pid, nice):
    """Gives all threads of PID the niceness NICE, and its autogroup, without which that means nothing to others."""
    try:
        for thread in pathlib.Path(f"/proc/{pid}/task").iterdir():
            os.setpriority(os.PRIO_PROCESS, int(thread.name), nice)
        pathlib.Path(f"/proc/{pid}/autogroup").write_text(str(nice))
    except OSError:
        pass  # it is gone, or this kernel has no autogroups
