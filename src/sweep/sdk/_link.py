"""The connection to the agent: lines go out at once, or are held and tried again. Never raises, never waits (but in `finish`).

Rules:
- Rows leave in the order of their numbers. What could not be sent goes to a file, and once one row has gone there all
  later ones do, so a receiver that skips every number below the next expected one loses nothing.
- The state is SENDING exactly while a send is under way. Whoever finds it there afterwards knows that a signal handler's
  exception cut a send off: how much of the line went is unknown, so the connection is made anew.
- Nobody waits for the lock. Who does not get it (another thread, or a signal handler that logs in the middle of a log)
  puts the line aside, and the holder sends it.
"""

from __future__ import annotations

import _socket
import os
from _socket import AF_UNIX, MSG_DONTWAIT, SOCK_STREAM, socket, timeout
from _thread import allocate_lock, start_new_thread
from time import monotonic, sleep

from sweep.sdk._wire import parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable

    from sweep.sdk._file import RowFile
else:
    from _collections import deque  # `collections` itself imports half a dozen modules

CLEAR, SENDING, HOLDING, BROKEN, FILED, CLOSED = range(6)
"""All sent; within a send; the kernel's buffer is full; no connection; rows go to the file; finished."""

_FLAGS = MSG_DONTWAIT | getattr(_socket, "MSG_NOSIGNAL", 0)
"""No signal: the user may have given SIGPIPE its deadly default back."""
_RETRY_S = 0.005
_RECONNECT_S = 1.0
_GIVE_UP_S = 10.0
_FINISH_S = 10.0
_MAX_HELD_BYTES = 64 << 20
_RECENT_LINES = 512
_RECENT_BYTES = 1 << 20
"""What is kept to send again when a connection breaks: more than the kernel can hold unread (277 small rows, 416 KiB)."""
_LONG_BYTES = 4096


class Link:
    """Takes rows and control lines from any thread and from signal handlers."""

    def __init__(
        self,
        path: str | None,
        file_path: str,
        hello: Callable[[], bytes],
        say: Callable[[str], None],
        numbered: bool = True,
    ) -> None:
        """`path`: the agent's socket, None when there is none: then everything goes to `file_path`. `numbered`: this
        process is the run's first client and numbers its rows."""
        self._path, self._file_path = path, file_path
        self._hello, self._say = hello, say
        self.numbered = numbered
        self._next_row = 0
        self._file: RowFile | None = None
        self._socket: socket | None = None
        self._reason: str | None = None
        self._reset()

    def _reset(self) -> None:
        lock = allocate_lock()
        self._acquire, self._release = lock.acquire, lock.release
        self._state = FILED if self._path is None else CLOSED
        self._aside: deque[str | bytes] = deque()
        self._recent: deque[bytes] = deque(maxlen=_RECENT_LINES if self.numbered else 1)
        self._held: deque[bytes] = deque()
        self._offset = 0  # of held[0], what has gone
        self._tail: list[bytes] = []  # lines behind held, joined when their turn comes
        self._held_bytes = 0
        self._incoming = b""
        self._retry_at = self._connected_at = 0.0
        self._broken_at: float | None = None
        self._nursed = self._progress = False
        self._was_open = False

    # --- for the run

    def open(self) -> None:
        """Connect, if there is anything to connect to. Without success the first rows are held."""
        if self._state == CLOSED and self._acquire(False):
            try:
                self._reopen()
                self._retry()
            finally:
                self._release()

    def row(self, rest: str) -> None:
        """Send a row, given as its text behind the number: `"t":0.1,"m":{…}}` and a newline."""
        if not self._acquire(False):
            self._aside.append(rest)
        else:
            try:
                if self._state == CLEAR and self.numbered:
                    number = self._next_row
                    line = f'{{"i":{number},{rest}'.encode()
                    self._next_row = number + 1
                    self._send_clear(line)
                else:
                    self._put(rest)
            finally:
                self._release()
        if self._aside:
            self._take_aside()

    def control(self, line: bytes) -> None:
        """Send a line that is no row."""
        self._aside.append(line)
        self._take_aside()

    def stop_reason(self) -> str | None:
        """Why the agent wants the run to end; None as long as it does not."""
        if self._reason is None and self._socket is not None and self._acquire(False):
            try:
                self._receive()
            finally:
                self._release()
            if self._aside:
                self._take_aside()
        return self._reason

    def finish(self, end: bytes, limit_s: float = _FINISH_S) -> None:
        """Send everything, waiting up to `limit_s`; what is left goes to the file. `end`: the last line, or nothing."""
        until = monotonic() + limit_s
        got = self._acquire(
            True, limit_s
        )  # not got: a handler's exception left it locked; go on, the process ends
        try:
            self._finish(end, until)
        finally:
            if got:
                self._release()
        if self._aside:  # another thread goes on logging: the run is open again
            self._take_aside()

    def detach(self) -> None:
        """In a forked child: leave the parent's connection alone. A line logged here opens one of its own, and its rows
        go without numbers, which are the parent's."""
        self._close_socket()
        if self._file is not None:
            self._file.close()
        self.numbered = False
        self._reset()

    # --- inside: the lock is held in everything below, except in the two loops that take it

    def _take_aside(self) -> None:
        while self._aside and self._acquire(False):
            try:
                while self._aside:
                    self._put(self._aside.popleft())
            finally:
                self._release()

    def _send_clear(self, line: bytes) -> None:
        self._recent.append(line)
        self._state = SENDING
        try:
            sent = self._send(line, _FLAGS)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._break()
            self._retry()
            self._nurse()
            return
        if sent == len(line):
            self._state = CLEAR
            if sent > _LONG_BYTES:
                self._trim()
            return
        self._recent.pop()
        self._held.append(line)
        self._held_bytes, self._offset = len(line), sent
        self._state = HOLDING
        self._retry_at = monotonic() + _RETRY_S
        self._nurse()

    def _put(self, item: str | bytes) -> None:
        """Send, hold or file a line, whatever the state."""
        if isinstance(item, bytes):
            line = item
        elif self.numbered:
            line = f'{{"i":{self._next_row},{item}'.encode()
            self._next_row += 1
        else:
            line = f"{{{item}".encode()
        if self._state == CLEAR:
            self._send_clear(line)
        elif self._state == FILED:
            self._write(line)
        else:
            self._hold(line)

    def _hold(self, line: bytes) -> None:
        if self._state == CLOSED:
            self._reopen()
        elif self._state == SENDING:
            self._break()
        self._tail.append(line)
        self._held_bytes += len(line)
        if self._held_bytes - len(line) > _MAX_HELD_BYTES:
            self._give_up("the agent takes rows in too slowly")
        elif monotonic() >= self._retry_at:
            self._retry()
        self._nurse()

    def _retry(self) -> None:
        if self._state == SENDING:
            self._break()
        if self._state == BROKEN and monotonic() < self._retry_at:
            return
        if self._state == BROKEN and not self._connect():
            if monotonic() - (self._broken_at or 0.0) > _GIVE_UP_S:
                self._give_up("there is no connection to the agent")
            return
        if self._state == HOLDING:
            self._flush(None)

    def _flush(self, until: float | None) -> bool:
        """Send what is held, until it would block or, with `until`, until that time. Whether all is gone."""
        waiting = False
        while self._held or self._tail:
            if not self._held:
                self._held.append(b"".join(self._tail))
                self._tail = []
            block = self._held[0]
            self._state = SENDING
            try:
                if waiting and until is not None and self._socket is not None:
                    self._socket.settimeout(max(until - monotonic(), 0.001))  # 0 would mean: do not wait
                self._offset += self._send(memoryview(block)[self._offset :], _FLAGS)
            except (BlockingIOError, timeout):
                self._state = HOLDING
                self._retry_at = monotonic() + _RETRY_S
                if until is None or monotonic() >= until:
                    return False
                waiting = True
                continue
            except OSError:
                self._break()
                return False
            self._state = HOLDING
            self._progress = True
            if waiting and until is not None and monotonic() > until:
                return False
            if self._offset == len(block):
                self._held.popleft()
                self._offset = 0
                self._held_bytes -= len(block)
                self._remember(block)
        self._state = CLEAR
        return True

    def _remember(self, block: bytes) -> None:
        if not self.numbered:  # sent again, these rows would count twice
            self._recent.clear()
            return
        if len(block) > _RECENT_BYTES:
            block = block[block.find(b"\n", len(block) - _RECENT_BYTES) + 1 :] or block
        self._recent.append(block)
        self._trim()

    def _trim(self) -> None:
        """Keep the memory for lines that may have to be sent again small."""
        size = sum(map(len, self._recent))
        while size > _RECENT_BYTES and len(self._recent) > 1:
            size -= len(self._recent.popleft())

    # --- the connection

    def _reopen(self) -> None:
        if self._was_open:
            self._say("logged after finish(): the run is open again")
        self._was_open = True
        self._state, self._retry_at = BROKEN, 0.0
        self._broken_at = monotonic()

    def _connect(self) -> bool:
        self._close_socket()
        self._retry_at = monotonic() + _RECONNECT_S
        try:
            connection = socket(AF_UNIX, SOCK_STREAM)
            self._socket = connection
            connection.setblocking(False)
            connection.connect(self._path or "")
            connection.send(self._hello(), _FLAGS)
        except BlockingIOError:  # many runs start at once: the agent's backlog is full
            self._retry_at = monotonic() + _RETRY_S
            return False
        except OSError:
            return False
        self._send = connection.send
        self._incoming = b""
        self._connected_at, self._broken_at = monotonic(), None
        self._state = HOLDING if self._held or self._tail else CLEAR
        return True

    def _break(self) -> None:
        """The connection is gone, or in doubt: whatever may not have arrived is to be sent again."""
        self._close_socket()
        if self._recent:
            block = b"".join(self._recent)
            self._held.appendleft(block)
            self._held_bytes += len(block)
            self._recent.clear()
        self._offset = 0
        self._state = BROKEN
        now = monotonic()
        self._broken_at = now if self._broken_at is None else self._broken_at
        self._retry_at = max(now, self._connected_at + _RECONNECT_S)

    def _close_socket(self) -> None:
        if self._socket is not None:
            try:
                self._socket.close()
            except OSError:
                pass
            self._socket = None

    def _receive(self) -> None:
        if self._socket is None:
            return
        try:
            data = self._socket.recv(65536, MSG_DONTWAIT)
        except (BlockingIOError, timeout):
            return
        except OSError:
            data = b""
        if not data:
            if self._state == FILED:
                self._close_socket()
            else:
                self._break()
                self._nurse()
            return
        *lines, self._incoming = (self._incoming + data).split(b"\n")
        for line in lines:
            self._heed(line)

    def _heed(self, line: bytes) -> None:
        try:
            message = parse(line.decode())
        except ValueError:
            return
        if isinstance(message, dict) and message.get("op") == "stop":
            self._reason = str(message.get("reason") or "the agent asked it to stop")

    # --- rows that could not be sent

    def _write(self, lines: bytes) -> None:
        if self._file is None:
            from sweep.sdk._file import RowFile

            self._file = RowFile(self._file_path, self._say)
        self._file.write(lines)

    def _give_up(self, why: str) -> None:
        """Everything not sent goes to the file, now and from now on."""
        self._say(f"{why}; logged values go to {self._file_path}")
        self._state = FILED
        self._held.extend(self._tail)
        self._tail = []
        while self._held:
            self._write(self._held.popleft())
        self._held_bytes = self._offset = 0

    def _finish(self, end: bytes, until: float) -> None:
        while self._aside:
            self._put(self._aside.popleft())
        if self._state == CLOSED:
            return
        filed = self._state == FILED
        if not filed and not self._drain(end, until) and (self._held or self._tail):
            self._give_up("the agent did not take everything in")
            filed = True
        if filed and end:
            self._write(end)
        if self._file is not None:
            self._file.close()
        self._receive_last()
        self._close_socket()
        self._recent.clear()
        self._state = FILED if self._path is None else CLOSED

    def _drain(self, end: bytes, until: float) -> bool:
        """Send what is held, and `end`. Whether all is gone; connects once more if it must."""
        for _ in range(2):
            if self._state == SENDING:
                self._break()
            while self._state == BROKEN and not self._connect():
                if self._retry_at - monotonic() > _RETRY_S or monotonic() > until:
                    return False
                sleep(_RETRY_S)
            if self._flush(until):
                if not end:
                    return True
                self._tail.append(end)
                self._held_bytes += len(end)
                end = b""
                if self._flush(until):
                    return True
            if self._state != BROKEN:
                return False
        return False

    def _receive_last(self) -> None:
        """Read what the agent has sent: closing with unread data would look to it like a crash."""
        if self._socket is None:
            return
        try:
            self._socket.setblocking(False)
            self._socket.recv(65536, MSG_DONTWAIT)
        except OSError:
            pass

    # --- the thread that sends what is held when nobody logs any more

    def _nurse(self) -> None:
        if self._nursed or self._state not in (HOLDING, BROKEN):
            return
        self._nursed = True
        try:
            start_new_thread(self._nurse_loop, (os.getpid(),))
        except Exception:  # no more threads to be had: the next log tries again
            self._nursed = False

    def _nurse_loop(self, pid: int) -> None:
        pause = _RETRY_S
        while os.getpid() == pid:
            sleep(pause)
            pause = _RETRY_S if self._progress else min(pause * 1.5, 0.1)
            self._progress = False
            if not self._acquire(False):
                continue
            try:
                if monotonic() >= self._retry_at:
                    self._retry()
                if self._state not in (HOLDING, BROKEN, SENDING):
                    self._nursed = False
                    return
            finally:
                self._release()
                if self._aside:
                    self._take_aside()
