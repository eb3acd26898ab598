"""Hearing of news by Redis's publish and subscribe: the script that appends also says what on channels of the sweep.

The rule of this file: whatever goes wrong here costs only time. What a message says stands in the journal, at the positions that it
names: who finds that something is missing looks there, and who hears nothing does so now and then anyway. Whoever waits for news
waits for the connection itself; only to get one is the business of a thread.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable
from typing import Any

from redis import exceptions as wrong

from sweep.core.entries import Recorded
from sweep.stores import _redis_pack as packing
from sweep.stores._listening import Heard, Told
from sweep.stores._redis_wire import Wire, packed
from sweep.stores.base import StoreError

_RETRY_S = 1.0
_PROBE = b"probe"
_WRONG = (wrong.RedisError, StoreError, OSError)


class RedisListener:
    """A connection that listens, and a thread that makes one when there is none."""

    def __init__(
        self, connect: Callable[[], Wire], sweep: str, orders: str, everybody: str, events: str
    ) -> None:
        """`connect` makes a connection; the last three are channels, the last one for a controller only."""
        self.hears = False
        self._connect, self._sweep = connect, sweep
        self._orders, self._all, self._events = orders, everybody, events
        self._leading = False
        self._connection: Wire | None = None
        self._made: Wire | None = None
        """A connection that the thread has made, and that listens."""
        self._fresh = False
        """It has just been taken over: what came before nobody has heard."""
        self._lock, self._closed = threading.Lock(), threading.Event()
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        self._seek()

    @property
    def leading(self) -> bool:
        """Whether it hears of events."""
        return self._leading

    @leading.setter
    def leading(self, leading: bool) -> None:
        if leading != self._leading:
            self._leading = leading
            self._follow_events()

    def fileno(self) -> int:
        """Readable when there is news; another one when the connection breaks, or is there again."""
        return (self._connection or self._reader).fileno()

    def take(self) -> Heard:
        """What has come."""
        connection = self._connection or self._adopt()
        if connection is None:
            return Heard()
        events, orders, unclear = list[Recorded](), list[Told](), self._fresh
        self._fresh = False
        try:
            for message in connection.arrived():
                unclear |= self._understand(message, events, orders)
        except _WRONG:
            self._lose()
            unclear = (
                True  # who relies on news must look: a server that comes back may have lost some entries
            )
        return Heard(events, orders, unclear)

    def close(self) -> None:
        """Listen no longer. Does not wait for the thread, which ends within moments."""
        self._closed.set()
        with self._lock:
            left, self._made = self._made, None
        for connection in (left, self._connection):
            if connection is not None:
                connection.disconnect()
        self._connection = None
        self._reader.close()
        self._writer.close()

    # --- what is said

    def _understand(self, message: Any, events: list[Recorded], orders: list[Told]) -> bool:
        """Whether a look must tell the rest."""
        if isinstance(message, Exception):
            raise message
        if message[0] != b"message":
            return False  # the answer to a subscription
        self.hears = True
        channel, said = message[1].decode(), message[2]
        if said == _PROBE:
            return False
        try:
            if said and channel == self._events:
                events += packing.told_events(said)
                return False
            if said and channel == self._orders:
                orders.append(packing.told_orders(said))
                return False
        except (ValueError, struct.error):  # JournalError and msgspec's are ValueErrors
            pass  # a look will say what is wrong with it
        return True

    def _follow_events(self) -> None:
        if self._connection is None:
            return
        try:
            self._connection.send(packed(("SUBSCRIBE" if self._leading else "UNSUBSCRIBE", self._events)))
        except _WRONG:
            self._lose()

    # --- the connection

    def _adopt(self) -> Wire | None:
        """Take over the connection that the thread has made, if there is one."""
        with contextlib.suppress(BlockingIOError):
            self._reader.recv(64)
        with self._lock:
            self._connection, self._made = self._made, None
        if self._connection is None:
            return None
        self._fresh = True
        if self._leading:
            self._follow_events()
        return self._connection

    def _lose(self) -> None:
        if self._connection is not None:
            self._connection.disconnect()
        self._connection, self.hears = None, False
        self._seek()

    def _seek(self) -> None:
        threading.Thread(target=self._run, name="connects to Redis", daemon=True).start()

    def _run(self) -> None:
        while not self._closed.is_set():
            connection: Wire | None = self._connect()
            assert connection is not None
            try:
                self._listen(connection)
            except _WRONG:
                connection.disconnect()
                self._closed.wait(_RETRY_S)
                continue
            with self._lock:
                if not self._closed.is_set():
                    self._made, connection = connection, None
            if connection is not None:
                connection.disconnect()
            with contextlib.suppress(OSError):  # closed is the end
                self._writer.send(b"\0")
            return

    def _listen(self, connection: Wire) -> None:
        connection.ask(("SUBSCRIBE", self._orders, self._all))
        connection.receive()
        other = (
            self._connect()
        )  # to say something to oneself: where it is heard, this server and its rules let news through
        try:
            other.ask(("PUBLISH", self._orders, _PROBE))
        except wrong.ResponseError:  # this user may not: nor may the scripts
            pass
        finally:
            other.disconnect()
        connection.listen()
