"""The agent's socket: runs connect to it and say what they log (docs/reference/protocol.md).

Rule of this file: nothing blocks, nothing that a run sends raises, and no run can starve another: what is read from one
connection in one turn is bounded, and so is what waits in memory.

Every socket is registered with the caller's selector; its `data` is a function to be called when it is ready, and `poll`
then does the work:

    for key, _ in selector.select(timeout):
        key.data()
    for run, attempt, raises in server.poll(now_s): ...
"""

from __future__ import annotations

import errno
import os
import secrets
import selectors
import socket
import stat
import tempfile
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from sweep.agents.inbox import RunInbox
from sweep.agents.lines import BadLine, Line, decode

MAX_PATH_BYTES = 99
"""The system's limit is 104 (macOS) or 108 (Linux)."""
MAX_LINE_BYTES = 16 << 20
TURN_BYTES = 1 << 16
"""What is read from one connection before others have their turn."""
MAX_PENDING_BYTES = 32 << 20
"""A run with more than this waiting to be committed is not read from until something was taken: then it waits, or keeps
its rows in a file."""
DRAIN_BYTES = 64 << 20
"""What is read at a run's end at most: more than its sockets can hold, unless something goes on writing."""
FRESH_S = 0.01
"""A new connection is read from so much later at first: a program says hello and its first rows in one breath, and to be
woken by each of them would cost more than to take them in."""
_MAX_COMPLAINTS = 100
_SHORT_S = 0.1
"""Pause before a connection is taken again when the system had no room for one: programs wait, and keep their rows."""
_SHORTAGES = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)

Connected = tuple[int, int, bool]
"""(run, attempt, raises): a program said hello; `raises`: it wants to be told to stop rather than signalled."""


class _Connection:
    """One client: the training program, or a `sweep log` of a moment."""

    __slots__ = ("discarding", "eof", "heard", "inbox", "parts", "ready", "server", "size", "socket", "told")

    def __init__(self, server: RunServer, sock: socket.socket) -> None:
        self.server, self.socket = server, sock
        self.inbox: RunInbox | None = None
        """None until it has said hello."""
        self.parts: list[bytes] = []
        """The pieces of a line of which the end has not arrived."""
        self.size = 0
        self.discarding = False
        """Within a line that is too long."""
        self.ready = self.told = self.eof = False
        self.heard = False
        """The selector watches it."""

    def mark(self) -> None:
        """There is something to read."""
        if not self.ready:
            self.ready = True
            self.server._ready.append(self)

    def lines(self, data: bytes) -> list[bytes]:
        """Whole lines, of this data and what came before."""
        *whole, rest = data.split(b"\n")
        if whole:
            whole[0] = b"".join((*self.parts, whole[0]))
            self.parts.clear()
            self.size = 0
            if self.discarding:
                self.discarding = False
                del whole[0]
        if rest and not self.discarding:
            self.parts.append(rest)
            self.size += len(rest)
            if self.size > MAX_LINE_BYTES:
                self.parts.clear()
                self.size, self.discarding = 0, True
                self.server._reject(self, f"a line of more than {MAX_LINE_BYTES >> 20} MB was left out")
        return whole


class RunServer:
    """One listening socket, for all runs of an agent."""

    def __init__(
        self,
        selector: selectors.BaseSelector,
        path: str | None = None,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        """`path`: where the socket is made; chosen short and private when None. Raises OSError."""
        self.selector = selector
        self.path = path or socket_path(environ)
        """What runs get as SWEEP_SOCKET."""
        self._inboxes: dict[tuple[str, int], RunInbox] = {}
        self._by_run: dict[int, tuple[str, int]] = {}
        self._connections: dict[int, _Connection] = {}
        self._ready: list[_Connection] = []
        self._waiting: list[_Connection] = []
        """Not read from: too much of their run waits to be committed."""
        self._fresh: deque[tuple[float, _Connection]] = deque()
        """Not read from before these times."""
        self._stops: dict[int, str] = {}
        self._reported: dict[int, None] = {}
        self._complaints: list[tuple[int | None, str]] = []
        self._knocking = False
        self._short_until_s: float | None = None
        """No connection is taken until then, None at most times."""
        self._said_short = False
        self._now_s = 0.0
        self._listener = _listen(self.path)
        selector.register(self._listener, selectors.EVENT_READ, self._knock)

    # --- runs

    def expect(
        self, run: int, run_id: str, attempt: int, metric: str | None, unit: str = "count"
    ) -> RunInbox:
        """Take connections of this attempt from now on. `run_id`: its SWEEP_RUN_ID; `unit`: as for RunInbox."""
        self.forget(run)
        inbox = self._inboxes[run_id, attempt] = RunInbox(run, attempt, metric, unit)
        self._by_run[run] = (run_id, attempt)
        return inbox

    def drain(self, run: int) -> list[Connected]:
        """After a run's process has ended: take in everything that it has sent, also on connections not yet accepted.
        Does not wait for their ends, which something that survived it may hold open."""
        self._accept(limit=None)
        connected: list[Connected] = []
        left = DRAIN_BYTES
        for connection in list(self._connections.values()):
            while connection.inbox is None or connection.inbox.run == run:
                data = self._receive(connection)
                if not data or left <= 0:
                    break
                left -= len(data)
                connected += self._take(connection, data)
        return connected

    def forget(self, run: int) -> None:
        """Close the connections of a run."""
        for connection in list(self._connections.values()):
            if connection.inbox is not None and connection.inbox.run == run:
                self._close(connection)
        key = self._by_run.pop(run, None)
        if key is not None:
            del self._inboxes[key]
        self._stops.pop(run, None)
        self._reported.pop(run, None)

    def send_stop(self, run: int, reason: str) -> None:
        """Tell a run's program, on each of its connections and on any that it makes later, that it should end."""
        self._stops[run] = reason
        for connection in list(self._connections.values()):
            if connection.inbox is not None and connection.inbox.run == run:
                self._tell(connection)

    # --- each turn

    def due_s(self) -> float | None:
        """When `poll` has something to do though no socket may say so, None for never."""
        while self._fresh and self._fresh[0][1].eof:
            self._fresh.popleft()
        return self._fresh[0][0] if self._fresh else None

    def poll(self, now_s: float) -> list[Connected]:
        """Read what is ready, a bounded piece of each connection, into the inboxes. Returns who said hello. `now_s`: the
        time that inboxes note as that of their last report."""
        self._now_s = now_s
        if self._waiting:
            self._resume()
        while self._fresh and self._fresh[0][0] <= now_s:
            self._hear(self._fresh.popleft()[1])
        if self._short_until_s is not None and now_s >= self._short_until_s:
            self._short_until_s = None
            self.selector.register(self._listener, selectors.EVENT_READ, self._knock)
        if self._knocking:
            self._knocking = False
            self._accept(limit=64)
        connected: list[Connected] = []
        ready, self._ready = self._ready, []
        for connection in ready:
            connection.ready = False
            if self._hold(connection):
                continue
            data = self._receive(connection)
            if data:
                connected += self._take(connection, data)
        return connected

    def reported(self) -> list[int]:
        """Runs that have sent something since the last call."""
        runs = list(self._reported)
        self._reported.clear()
        return runs

    def complaints(self) -> list[tuple[int | None, str]]:
        """(run, text) for a person: the first line of each run that could not be used, and connections that were refused."""
        found, self._complaints = self._complaints, []
        return found

    def close(self) -> None:
        """Close everything and remove the socket file."""
        for connection in list(self._connections.values()):
            self._close(connection)
        if self._short_until_s is None:
            self.selector.unregister(self._listener)
        self._listener.close()
        Path(self.path).unlink(missing_ok=True)

    # --- reading

    def _knock(self) -> None:
        self._knocking = True

    def _accept(self, limit: int | None) -> None:
        accepted = 0
        while limit is None or accepted < limit:
            try:
                sock, _ = self._listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                self._refuse(error)
                return
            sock.setblocking(False)
            connection = self._connections[sock.fileno()] = _Connection(self, sock)
            self._fresh.append((self._now_s + FRESH_S, connection))
            accepted += 1

    def _refuse(self, error: OSError) -> None:
        if error.errno not in _SHORTAGES:  # the client is gone already
            return
        if not self._said_short:
            self._said_short = True
            why = "`ulimit -n` allows more" if error.errno == errno.EMFILE else "the system has no room"
            self._complain(
                None, f"cannot take more connections of runs now: {error.strerror} ({why}); their rows wait"
            )
        if self._short_until_s is None:
            self.selector.unregister(self._listener)
            self._short_until_s = self._now_s + _SHORT_S

    def _receive(self, connection: _Connection) -> bytes:
        """A piece of what has arrived; nothing when there is nothing now, or never again: then it is closed, too."""
        if connection.eof:
            return b""
        try:
            data = connection.socket.recv(TURN_BYTES)
        except BlockingIOError:
            return b""
        except OSError:
            data = b""
        if data:
            return data
        last = b"".join(connection.parts)
        self._close(connection)
        if last.endswith(b"}") and connection.inbox is not None:
            self._feed(connection.inbox, [last])  # a client that forgot the newline
        return b""

    def _take(self, connection: _Connection, data: bytes) -> Iterator[Connected]:
        lines = connection.lines(data)
        inbox = connection.inbox
        if inbox is None and lines:
            inbox = self._greet(connection, lines.pop(0))
            if inbox is None:
                return
            yield inbox.run, inbox.attempt, inbox.raises
        if inbox is not None:
            self._feed(inbox, lines)

    def _feed(self, inbox: RunInbox, lines: list[bytes]) -> None:
        unspoiled = not inbox.malformed
        feed = inbox.feed
        for line in lines:
            if line:
                feed(line)
        if lines:
            self._reported[inbox.run] = None
        if unspoiled and inbox.malformed:
            self._complain(inbox.run, f"a line that it sent cannot be used: {inbox.complaint}")

    def _greet(self, connection: _Connection, raw: bytes) -> RunInbox | None:
        """Bind a connection to its run by its first line; refuse it when that is no hello of an expected attempt."""
        try:
            hello = decode(raw)[0]
        except BadLine:
            hello = Line()
        inbox = self._inboxes.get((hello.run, hello.attempt)) if hello.op == "hello" else None
        if inbox is None:
            who = (
                f"{hello.run}, attempt {hello.attempt}"
                if hello.op == "hello"
                else "something without a hello"
            )
            self._complain(None, f"refused a connection of {who}, which does not run here")
            self._close(connection)
            return None
        connection.inbox = inbox
        inbox.raises = inbox.raises or hello.stop == "raise"
        if inbox.run in self._stops:
            self._tell(connection)
        return inbox

    # --- bounds

    def _hear(self, connection: _Connection) -> None:
        if not connection.eof:
            self.selector.register(connection.socket, selectors.EVENT_READ, connection.mark)
            connection.heard = True
            connection.mark()  # most have said something by now

    def _hold(self, connection: _Connection) -> bool:
        inbox = connection.inbox
        if inbox is None or inbox.pending_bytes < MAX_PENDING_BYTES or connection.eof:
            return False
        self.selector.unregister(connection.socket)
        connection.heard = False
        self._waiting.append(connection)
        return True

    def _resume(self) -> None:
        waiting, self._waiting = self._waiting, []
        for connection in waiting:
            if connection.inbox is not None and connection.inbox.pending_bytes >= MAX_PENDING_BYTES:
                self._waiting.append(connection)
            else:
                self._hear(connection)

    def _reject(self, connection: _Connection, why: str) -> None:
        inbox = connection.inbox
        if inbox is not None:
            inbox.reject(why)
        self._complain(inbox.run if inbox is not None else None, why)

    def _complain(self, run: int | None, text: str) -> None:
        if len(self._complaints) < _MAX_COMPLAINTS:
            self._complaints.append((run, text))

    # --- connections

    def _tell(self, connection: _Connection) -> None:
        if connection.told or connection.inbox is None:
            return
        connection.told = True
        message = {"op": "stop", "reason": self._stops[connection.inbox.run]}
        try:
            connection.socket.send(msgspec.json.encode(message) + b"\n")
        except OSError:  # gone, or it never reads what it is sent
            pass

    def _close(self, connection: _Connection) -> None:
        if connection.eof:
            return
        connection.eof = True
        del self._connections[connection.socket.fileno()]
        if connection.heard:
            self.selector.unregister(connection.socket)
        elif connection in self._waiting:
            self._waiting.remove(connection)
        connection.socket.close()


# --- where the socket is ----------------------------------------------------------------------------------------


def socket_path(environ: Mapping[str, str]) -> str:
    """A path for a new socket: short enough for every system, in a folder that only this user can enter. Removes sockets
    that dead agents left there. Raises OSError."""
    name = f"{os.getpid()}-{secrets.token_hex(3)}.sock"
    runtime = environ.get("XDG_RUNTIME_DIR")
    candidates = [Path(runtime) / "sweep"] if runtime else []
    candidates.append(Path(f"/tmp/sweep-{os.getuid()}"))
    for folder in candidates:
        path = folder / name
        if folder.is_absolute() and len(os.fsencode(path)) <= MAX_PATH_BYTES and _is_private(folder):
            _remove_stale(folder)
            return str(path)
    return str(Path(tempfile.mkdtemp(prefix="sweep-", dir="/tmp")) / name)


def _is_private(folder: Path) -> bool:
    """Make the folder; False when it cannot be made or somebody else could put things there."""
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError:
        return False
    ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077
    return ours and os.access(folder, os.W_OK | os.X_OK)


def _remove_stale(folder: Path) -> None:
    """A socket that nobody listens on is the leftover of an agent that was killed."""
    for path in folder.glob("*.sock"):
        with socket.socket(socket.AF_UNIX) as probe:
            probe.setblocking(False)
            try:
                probe.connect(str(path))
            except ConnectionRefusedError:
                path.unlink(missing_ok=True)
            except OSError:
                pass


def _listen(path: str) -> socket.socket:
    """A listening socket at `path`, which appears there only when it listens: else another agent could take it for stale."""
    listener = socket.socket(socket.AF_UNIX)
    temporary = path + "~"
    try:
        listener.bind(temporary)
        Path(temporary).chmod(0o600)
        listener.listen(1024)
        Path(temporary).rename(path)
    except BaseException:
        listener.close()
        Path(temporary).unlink(missing_ok=True)
        raise
    listener.setblocking(False)
    return listener
