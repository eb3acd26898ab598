"""Hearing of news by Redis's publish and subscribe: the script that appends also says so on channels of the sweep.

The rule of this file: whatever goes wrong here costs only time. A message is a hint to look; who hears none looks now and then anyway.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable
from typing import Any

from redis import exceptions as wrong

from sweep.stores.base import StoreError

_LOOK_S = 0.25
"""How often the thread looks whether it should end, or listen to something else."""
_PAUSE_S = 0.001
"""News that come in such a time are told as one."""
_RETRY_S = 1.0
_PROBE = b"probe"


class RedisListener:
    """A thread with a connection of its own, and a pipe that it writes to."""

    def __init__(self, connect: Callable[[], Any], orders: str, everybody: str, events: str) -> None:
        """`connect` makes a connection; the others are channels, the last one for a controller only."""
        self.leading = self.hears = False
        self._connect, self._orders, self._all, self._events = connect, orders, everybody, events
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._reader, False)
        os.set_blocking(self._writer, False)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="listens to Redis", daemon=True)
        self._thread.start()

    def fileno(self) -> int:
        """Readable when there is news."""
        return self._reader

    def take(self) -> None:
        """Empty the pipe."""
        with contextlib.suppress(BlockingIOError):
            os.read(self._reader, 4096)

    def close(self) -> None:
        """Listen no longer. Does not wait for the thread, which ends within moments."""
        self._closed.set()
        os.close(self._reader)

    def _run(self) -> None:
        while not self._closed.is_set():
            connection = self._connect()
            try:
                self._listen(connection)
            except (wrong.RedisError, StoreError, OSError):
                self.hears = False
                self._tell()  # whoever relies on news must look: a server that comes back may have lost some entries
                self._closed.wait(_RETRY_S)
            finally:
                self.hears = False
                connection.disconnect()
        os.close(self._writer)

    def _listen(self, connection: Any) -> None:
        connection.send_command("SUBSCRIBE", self._orders, self._all)
        connection.read_response()
        connection.read_response()
        heard = False
        self._tell()  # what came while nobody listened
        self._probe()
        while not self._closed.is_set():
            if heard != self.leading:
                heard = self.leading
                connection.send_command("SUBSCRIBE" if heard else "UNSUBSCRIBE", self._events)
            if connection.can_read(_LOOK_S):
                news = self._take(connection.read_response())
                while connection.can_read(0):
                    news |= self._take(connection.read_response())
                if news:
                    self._tell()
                    time.sleep(_PAUSE_S)

    def _probe(self) -> None:
        """Say something to oneself: where it is heard, this server and its rules let news through."""
        connection = self._connect()
        try:
            connection.send_command("PUBLISH", self._orders, _PROBE)
            connection.read_response()
        except wrong.ResponseError:  # this user may not: nor may the scripts
            pass
        finally:
            connection.disconnect()

    def _take(self, message: Any) -> bool:
        """Whether this is news: no answer to a subscription, and not what was said to oneself."""
        if message[0] != b"message":
            return False
        self.hears = True
        return bool(message[2] != _PROBE)

    def _tell(self) -> None:
        with contextlib.suppress(OSError):  # full is as good; closed is the end
            os.write(self._writer, b"\0")
