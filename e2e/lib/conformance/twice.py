"""Runs applications inside a guest and from the node, at the same time, around one workload.

When are applications ready to be shown something? When each waits in a system call for events or time, inside and on
the node alike, and yagura-guest holds for its sessions the same numbers of programs, links and maps as the
applications inside do: what is attached by one is attached by the other.
"""
import collections
import functools
import os
import pathlib
import re
import signal
import subprocess
import sys
import threading
import time

from .compare import Run

FOLDER = "/run/conformance"
TRACE = re.compile(r"^[a-z_]+\([^\n]*\) = .* <[0-9.]+>$")
WAITS = (7, 23, 34, 35, 61, 128, 130, 202, 230, 232, 247, 270, 271, 281, 441)  # poll ... epoll_pwait2, sleeps, wait4
LOOKS = 2         # that must find an application waiting
SETTLED = 12      # looks in a row, for those that never wait: opensnoop sees what a look opens
PAUSE = 0.5       # seconds between two looks
READY = 180.0     # seconds until all have loaded and attached, at most
ROUNDS = 2        # of the workload
SETTLE = 0.5      # seconds that what was seen last has on its way to the screen
END = 120.0       # seconds that an application has to end after SIGINT

# What is there of each process $@: its pid, the number of the call it is in, different programs, links and maps.
LOOK = """
for pid in "$@"; do
	read -r number rest <"/proc/$pid/syscall" || continue
	[ "$number" != running ] || number=-1
	echo "$pid $number $(cat /proc/$pid/fdinfo/* | awk '
		/^(prog|link|map)_id:/ && !(($1, $2) in seen) { seen[$1, $2]; count[$1]++ }
		END { print count["prog_id:"] + 0, count["link_id:"] + 0, count["map_id:"] + 0 }')"
done 2>/dev/null
"""
HELD = ("programs", "links", "maps")


def below(ancestor):
    """Processes of this node whose ancestor is the process ANCESTOR."""
    parents = {}
    for status in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            text = status.read_text()
        except OSError:
            continue
        parents[int(status.parent.name)] = int(text.rpartition(")")[2].split()[1])
    found, fresh = set(), {ancestor}
    while fresh:
        fresh = {pid for pid, parent in parents.items() if parent in fresh and pid not in found}
        found |= fresh
    return found


def waits(pid):
    """Is the process PID in a call that waits? None when it is gone."""
    try:
        return pathlib.Path(f"/proc/{pid}/syscall").read_text().split()[0] in map(str, WAITS)
    except (OSError, IndexError):
        return None


class FromNode:
    """`yagura run`, its output read as it comes, so that the trace can be told apart and looked at."""

    def __init__(self, agent, guest, words):
        self._agent, self._words, self._pid = agent, [word.encode() for word in words], None
        self.calls = []
        self._out, self._err = [], []
        self._process = subprocess.Popen(
            [agent.build / "cli/yagura", "run", "--trace", guest.name, "--", *words], stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace",
            env={**os.environ, "YAGURA_SOCKET": str(agent.socket)})
        self._readers = [threading.Thread(target=self._read_out, daemon=True),
                         threading.Thread(target=self._read_err, daemon=True)]
        for reader in self._readers:
            reader.start()

    def _read_out(self):
        self._out.extend(self._process.stdout)

    def _read_err(self):
        for line in self._process.stderr:
            if TRACE.match(line.rstrip("\n")):
                self.calls.append(line)
            else:
                self._err.append(line)

    def _application(self):
        """Its pid: the process under the agent that has these words as arguments, or None."""
        for pid in below(self._agent.process.pid):
            try:
                if pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[:-1] == self._words:
                    return pid
            except OSError:
                continue
        return None

    def alive(self):
        return self._process.poll() is None

    def waits(self):
        if self._pid is None and self.calls:
            self._pid = self._application()
        return bool(self._pid and waits(self._pid))

    def interrupt(self):
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)

    def finish(self, seconds):
        """The Run; what does not end by itself is killed, and that is seen in its code."""
        try:
            code = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.send_signal(signal.SIGINT)  # the second one is SIGKILL for the application
            try:
                self._process.wait(5)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            code = 137
        for reader in self._readers:
            reader.join(5)
        return Run(code, "".join(self._out), "".join(self._err))


class Inside:
    """The same command in the guest, in the background of its shell; its output goes to files."""

    def __init__(self, guest, words, number):
        self._guest, self._base = guest, f"{FOLDER}/run-{number}"
        base, command = self._base, " ".join(f"'{word}'" for word in words)
        self.pid = int(guest.run(
            f"({command} >{base}.out 2>{base}.err </dev/null & echo $! >{base}.pid; wait $!; echo $? >{base}.code) "
            f">/dev/null 2>&1 & until [ -s {base}.pid ]; do sleep 0.02; done; cat {base}.pid", check=True).out)

    def interrupt(self):
        self._guest.run(f"kill -INT $(cat {self._base}.pid) 2>/dev/null")

    def finish(self, seconds):
        base = self._base
        looks = int(seconds / 0.1)
        self._guest.run(f"n=0; until [ -s {base}.code ] || [ $n -gt {looks} ]; do n=$((n + 1)); sleep 0.1; done; "
                        f"[ -s {base}.code ] || {{ kill -9 $(cat {base}.pid); echo 137 >{base}.code; }}",
                        timeout=seconds * 3 + 10)
        out, err = (self._guest.run(f"cat {base}.{name}") for name in ("out", "err"))
        code = self._guest.run(f"cat {base}.code; rm -f {base}.*", check=True).out
        return Run(int(code), out.out, err.out)


def side_by_side(*calls):
    """Runs CALLS at the same time; their results in order. The first exception is raised again."""
    results = [None] * len(calls)

    def perform(at, call):
        try:
            results[at] = call()
        except Exception as error:  # noqa: BLE001: handed on below
            results[at] = error
    threads = [threading.Thread(target=perform, args=pair, daemon=True) for pair in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for result in results:
        if isinstance(result, Exception):
            raise result
    return results


def look(guest, pids):
    """{pid: (number of its call, what it holds)} of the processes that are left, and what yagura-guest's sessions
    hold, in the order of HELD, as a Counter of tuples."""
    lines = guest.run(f"set -- {' '.join(map(str, pids))}\n{LOOK}echo sessions\n"
                      f"set -- $(pidof yagura-guest)\n{LOOK}").out.splitlines()
    at = lines.index("sessions")
    inside, sessions = ([tuple(map(int, line.split())) for line in part] for part in (lines[:at], lines[at + 1:]))
    # Without programs there is nothing to compare: yagura-guest's server has maps in custody.
    return ({row[0]: (row[1], row[2:] if row[2] else ()) for row in inside},
            collections.Counter(row[2:] for row in sessions if row[2]))


def wait_ready(guest, pairs):
    """Until all that are left are ready on both sides. A list of what each pair's first holds inside and the other
    does not from the node: None where it is the same. Those that print each second hardly wait all at once, so it is
    enough that each was seen to wait."""
    same = 0
    seen = collections.Counter()  # (0: inside or 1: on the node, which pair): looks that found it waiting
    end, tell = time.monotonic() + READY, [None] * len(pairs)
    while time.monotonic() < end:
        inside, sessions = look(guest, [first.pid for first, _ in pairs])
        held, tell = sessions.copy(), [None] * len(pairs)
        for at, (first, other) in enumerate(pairs):
            number, holds = inside.get(first.pid, (None, ()))
            seen[0, at] += number in WAITS or (number is None and LOOKS)
            seen[1, at] += other.waits() or (not other.alive() and LOOKS)
            if holds:
                tell[at] = None if held[holds] > 0 else holds
                held[holds] -= 1
        equal = not any(tell) and not any(held.values())
        same = same + 1 if equal and all(holds for _, holds in inside.values()) else 0
        waited = all(seen[side, at] >= LOOKS for side in (0, 1) for at in range(len(pairs)))
        if equal and (waited or same >= SETTLED):
            return tell
        time.sleep(PAUSE)
    print(f"conformance: not ready: inside {inside}, sessions hold {dict(sessions)}, seen to wait {dict(seen)}",
          file=sys.stderr)
    return tell


def together(tools, guest, agent, number, worker):
    """[(inside, node), ...]: each of TOOLS run twice, all at the same time, around one workload, of which the process
    WORKER does a part."""
    guest.run("sync", timeout=120)  # what is written later is written by the workload
    pairs = [(Inside(guest, tool.words(worker), number + at), FromNode(agent, guest, tool.words(worker)))
             for at, tool in enumerate(tools)]
    both = [run for pair in pairs for run in pair]
    tell = [None] * len(pairs)
    try:
        tell = wait_ready(guest, pairs)
        if any(tool.workload for tool in tools):
            guest.run(f"sh {FOLDER}/workload {ROUNDS} {worker} >/dev/null 2>&1", timeout=120)
            time.sleep(SETTLE)
    finally:
        side_by_side(*(run.interrupt for tool, pair in zip(tools, pairs) if tool.interrupt for run in pair))
        done = side_by_side(*(functools.partial(run.finish, END) for run in both))
    for at, held in enumerate(tell):
        done[2 * at].lacks = held and ", ".join(f"{count} {name}" for count, name in zip(held, HELD))
    return list(zip(done[::2], done[1::2]))


def in_turn(tool, guest, agent, number, worker):
    """(inside, node): one after the other, for listings of what is there, which would list each other."""
    inside = Inside(guest, tool.words(worker), number).finish(tool.seconds)
    return inside, FromNode(agent, guest, tool.words(worker)).finish(tool.seconds)
