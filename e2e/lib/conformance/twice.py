"""Runs applications inside a guest and from the node, at the same time, around one workload.

When is an application ready to be shown something? When its main thread is found in a system call that waits for
events or time, three looks in a row: /proc/PID/syscall says so, inside and on the node alike.
"""
import functools
import os
import pathlib
import re
import signal
import subprocess
import threading
import time

from .compare import Run

FOLDER = "/run/conformance"
TRACE = re.compile(r"^[a-z_]+\([^\n]*\) = .* <[0-9.]+>$")
WAITS = (7, 23, 34, 35, 61, 128, 130, 230, 232, 247, 270, 271, 281, 441)  # poll ... epoll_pwait2, nanosleep, wait4
LOOKS, PAUSE = 3, 0.15
READY = 25.0      # seconds until an application has loaded and attached, at most
ROUNDS = 2        # of the workload
SETTLE = 0.4      # seconds between the end of the workload and the end of the applications
END = 40.0        # seconds that an application has to end after SIGINT

# Sleeps until process $1 waits, or is gone.
WAIT_READY = f"""
same=0 looks=0
while [ $same -lt {LOOKS} ] && [ $looks -lt {int(READY)} ] && read -r number rest <"/proc/$1/syscall"; do
	case $number in {'|'.join(map(str, WAITS))}) same=$((same + 1)) ;; *) same=0 ;; esac
	looks=$((looks + 1))
	sleep {PAUSE}
done 2>/dev/null
"""


def below(ancestor):
    """Processes of this node whose ancestor is the process ANCESTOR, as {pid: parent}."""
    parents = {}
    for status in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            text = status.read_text()
        except OSError:
            continue
        parents[int(status.parent.name)] = int(text.rpartition(")")[2].split()[1])
    found, fresh = {}, {ancestor}
    while fresh:
        fresh = {pid for pid, parent in parents.items() if parent in fresh and pid not in found}
        found.update((pid, parents[pid]) for pid in fresh)
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
        self._agent, self._name = agent, os.path.basename(words[0]).encode()
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
        """Its pid: the process under the agent that has the program's name, or None."""
        for pid in below(self._agent.process.pid):
            try:
                if pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0].endswith(self._name):
                    return pid
            except OSError:
                continue
        return None

    def wait_ready(self):
        """Is it still there?"""
        end, same, pid = time.monotonic() + READY, 0, None
        while self._process.poll() is None and time.monotonic() < end and same < LOOKS:
            pid = pid or (self._application() if self.calls else None)
            same = same + 1 if pid and waits(pid) else 0
            time.sleep(PAUSE)
        return self._process.poll() is None

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
        guest.run(f"({command} >{base}.out 2>{base}.err </dev/null & echo $! >{base}.pid; wait $!; "
                  f"echo $? >{base}.code) >/dev/null 2>&1 & until [ -s {base}.pid ]; do sleep 0.02; done", check=True)

    def wait_ready(self):
        """Is it still there?"""
        script = f"set -- $(cat {self._base}.pid)\n{WAIT_READY}\n[ ! -s {self._base}.code ]"
        return self._guest.run(script, timeout=READY + 30).code == 0

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
    threads = [threading.Thread(target=perform, args=pair) for pair in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for result in results:
        if isinstance(result, Exception):
            raise result
    return results


def together(tools, guest, agent, number):
    """[(inside, node), ...]: each of TOOLS run twice, all at the same time, around one workload."""
    pairs = [(Inside(guest, tool.words(), number + at), FromNode(agent, guest, tool.words()))
             for at, tool in enumerate(tools)]
    both = [run for pair in pairs for run in pair]
    try:
        alive = side_by_side(*(run.wait_ready for run in both))
        if any(alive) and any(tool.workload for tool in tools):
            guest.run(f"sh {FOLDER}/workload {ROUNDS} >/dev/null 2>&1", timeout=60)
            time.sleep(SETTLE)
    finally:
        side_by_side(*(run.interrupt for tool, pair in zip(tools, pairs) if tool.interrupt for run in pair))
        done = side_by_side(*(functools.partial(run.finish, END) for run in both))
    return list(zip(done[::2], done[1::2]))


def in_turn(tool, guest, agent, number):
    """(inside, node): one after the other, for listings of what is there, which would list each other."""
    inside = Inside(guest, tool.words(), number).finish(tool.seconds)
    return inside, FromNode(agent, guest, tool.words()).finish(tool.seconds)
