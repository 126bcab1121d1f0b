"""Commands in a guest, over the virtio port that guest-image/rootfs/usr/lib/yagura/shell serves.

One connection, one reader thread, any number of callers: a request carries an id, the answer carries it back, so
commands run side by side and a late answer of a command that timed out is dropped.
"""
import base64
import itertools
import socket
import threading
import time


class ShellError(Exception):
    """The guest's shell cannot be reached or did not answer in time."""


class Result:
    """What a command did: code (128 + n after signal n), out and err as text; raw bytes in out_bytes, err_bytes."""

    def __init__(self, code, out, err):
        self.code, self.out_bytes, self.err_bytes = code, out, err

    @property
    def out(self):
        return self.out_bytes.decode(errors="replace")

    @property
    def err(self):
        return self.err_bytes.decode(errors="replace")

    def __repr__(self):
        return f"Result(code={self.code}, out={self.out!r}, err={self.err!r})"


class Shell:
    """A client of the port behind the UNIX socket PATH."""

    def __init__(self, path):
        self._path = path
        self._lock = threading.Lock()
        self._socket = None
        self._answers = {}
        self._news = threading.Condition()
        self._ids = itertools.count(1)

    def _connect(self):
        with self._lock:
            if self._socket is not None:
                return self._socket
            connection = socket.socket(socket.AF_UNIX)
            try:
                connection.connect(self._path)
            except OSError as error:
                connection.close()
                raise ShellError(f"{self._path}: {error.strerror}") from error
            self._socket = connection
            threading.Thread(target=self._read, args=(connection,), daemon=True).start()
            return connection

    def _read(self, connection):
        stream = connection.makefile("rb")
        try:
            while line := stream.readline():
                fields = line.split()
                # What a guest that was reset in the middle of an answer left behind is no header: skip it.
                if len(fields) != 4 or not all(field.isdigit() for field in fields[1:]):
                    continue
                code, out, err = (int(field) for field in fields[1:])
                result = Result(code, stream.read(out), stream.read(err))
                with self._news:
                    self._answers[fields[0].decode(errors="replace")] = result
                    self._news.notify_all()
        except (OSError, ValueError):
            pass
        with self._lock:
            if self._socket is connection:
                self._socket = None
        connection.close()

    def close(self):
        with self._lock:
            connection, self._socket = self._socket, None
        if connection is not None:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def run(self, command, timeout=30.0):
        """Runs COMMAND with sh in the guest; after TIMEOUT seconds it is killed there, and that is a ShellError."""
        name = f"r{next(self._ids)}-{time.monotonic_ns()}"
        text = base64.b64encode(command.encode()).decode()
        seconds = max(1, int(timeout))
        started = time.monotonic()
        deadline = started + timeout + 2
        connection = self._connect()
        try:
            connection.sendall(f"{name} {seconds} {text}\n".encode())
        except OSError as error:
            raise ShellError(f"{self._path}: {error.strerror}") from error
        with self._news:
            while name not in self._answers:
                left = deadline - time.monotonic()
                if left <= 0 or not self._news.wait(left):
                    if name not in self._answers:
                        raise ShellError(f"no answer after {timeout:.0f} s to: {command}")
            result = self._answers.pop(name)
        if result.code == 137 and time.monotonic() - started >= seconds:
            raise ShellError(f"killed after {seconds} s: {command}")
        return result

    def wait(self, deadline):
        """Asks until the guest answers; what was sent before it opened its port is lost, so ask again and again."""
        while time.monotonic() < deadline:
            try:
                if self.run("true", timeout=1).code == 0:
                    return
            except ShellError:
                time.sleep(0.1)
        raise ShellError("the guest's shell does not answer")
