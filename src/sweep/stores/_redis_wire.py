"""Speaking to a Redis server over a connection of redis-py's, which makes and ends it.

The rule of this file: as few steps as it takes. An agent says a dozen things a second, from a cold cache each time; redis-py's own way
of saying one and reading the answer takes three times as long. What it raises is the same.
"""

from __future__ import annotations

import socket
import ssl
import struct
import sys
from collections.abc import Callable, Sequence
from typing import Any

import hiredis
from redis import exceptions as wrong

Value = bytes | str | int

_pack: Callable[[tuple[Value, ...]], bytes] = hiredis.pack_command  # type: ignore[assignment]
_AT_ONCE = 65_536
_MORE = object()
_NOT_YET = (BlockingIOError, ssl.SSLWantReadError)


def packed(command: Sequence[Value]) -> bytes:
    """A command as the server reads it."""
    return _pack(tuple(command))


class Wire:
    """One connection. Whatever goes wrong on it ends it: what would be read next might be the answer to something else. The next
    thing that is said makes it anew."""

    def __init__(self, connection: Any) -> None:
        """`connection`: of redis-py's, not made yet."""
        self._connection = connection
        self._socket: Any = None
        self._reader: Any = None
        self._secure = False
        self._buffer = bytearray(_AT_ONCE)

    def ask(self, command: Sequence[Value]) -> Any:
        """The answer to a command. Raises redis-py's errors, those of the server among them."""
        self.send(packed(command))
        return self.receive()

    def send(self, said: bytes) -> None:
        """Say something, connecting first if need be."""
        if self._reader is None:
            self._connect()
        try:
            self._socket.sendall(said)
        except (TimeoutError, *_NOT_YET) as error:
            self.disconnect()
            raise wrong.TimeoutError("Timeout writing to socket") from error
        except OSError as error:
            self.disconnect()
            raise wrong.ConnectionError(f"Error while writing to socket: {error}") from error
        except BaseException:
            self.disconnect()
            raise

    def receive(self) -> Any:
        """The next answer, when it has come."""
        reader = self._reader
        if reader is None:
            raise wrong.ConnectionError("Connection closed")
        try:
            answer = reader.gets()
            while answer is _MORE:
                self._take_in()
                answer = reader.gets()
        except _NOT_YET as error:
            self.disconnect()
            raise wrong.TimeoutError("Timeout reading from socket") from error
        except BaseException:
            self.disconnect()
            raise
        if isinstance(answer, Exception):
            if isinstance(answer, wrong.ConnectionError):
                self.disconnect()
            raise answer
        return answer

    def arrived(self) -> list[Any]:
        """What has come unasked, without waiting; errors are among it. Only after `listen`."""
        found: list[Any] = []
        try:
            while self._take_in() == _AT_ONCE or self._secure:
                pass
        except _NOT_YET:
            pass
        except BaseException:
            self.disconnect()
            raise
        while (said := self._reader.gets()) is not _MORE:
            found.append(said)
        return found

    def listen(self) -> None:
        """From now on nothing is waited for here."""
        self._socket.setblocking(False)

    def fileno(self) -> int:
        """Of the connection, while there is one."""
        return int(self._socket.fileno())

    def disconnect(self) -> None:
        """End it."""
        self._socket = self._reader = None
        self._connection.disconnect()

    # --- inside

    def _connect(self) -> None:
        self._connection.connect()
        # After that nothing has been said that is not answered.
        self._socket = self._connection._sock
        self._secure = isinstance(self._socket, ssl.SSLSocket)
        if not self._secure:
            _wait_in_system(self._socket)
        self._reader = hiredis.Reader(
            protocolError=wrong.InvalidResponse,
            replyError=self._connection._parser.parse_error,
            notEnoughData=_MORE,
        )

    def _take_in(self) -> int:
        """How many bytes have come, when some have. Raises those of `_NOT_YET` where it does not wait."""
        try:
            count: int = self._socket.recv_into(self._buffer)
        except _NOT_YET:
            raise
        except TimeoutError as error:
            raise wrong.TimeoutError("Timeout reading from socket") from error
        except OSError as error:
            raise wrong.ConnectionError(f"Error while reading from socket: {error}") from error
        if not count:
            raise wrong.ConnectionError("Connection closed by server.")
        self._reader.feed(self._buffer, 0, count)
        return count


def _wait_in_system(connected: socket.socket) -> None:
    """Leave its time limit to the system: else each thing that is sent or read is a question more, whether it can be."""
    limit_s = connected.gettimeout()
    if limit_s is None or sys.platform != "linux":
        return
    limit = struct.pack("ll", *divmod(max(1, round(limit_s * 1e6)), 1_000_000))
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
    connected.setblocking(True)
