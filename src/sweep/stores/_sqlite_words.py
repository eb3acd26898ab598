"""What SQLite raises becomes a StoreError, and a file that somebody else holds is tried again."""

from __future__ import annotations

import functools
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from sweep.stores._sqlite_file import LOCK_POLL_S, in_words, is_busy
from sweep.stores.base import StoreError


class _Store(Protocol):
    """As much of SqliteStore as is needed here."""

    path: Path
    _in_batch: bool
    _broken: StoreError | None
    _busy_timeout_s: float


S = TypeVar("S", bound=_Store)
P = ParamSpec("P")
R = TypeVar("R")


def as_store_errors(
    method: Callable[Concatenate[S, P], R],
) -> Callable[Concatenate[S, P], R]:
    """A method whose SQLite errors come out as StoreError; inside a batch they condemn all of it, also when the caller goes on."""

    @functools.wraps(method)
    def wrapped(self: S, /, *args: P.args, **kwargs: P.kwargs) -> R:
        deadline_s: float | None = None
        while True:
            try:
                return method(self, *args, **kwargs)
            except sqlite3.Error as error:
                if (
                    is_busy(error) and not self._in_batch
                ):  # nothing was written: the same again, as often as it takes
                    now_s = time.monotonic()
                    deadline_s = now_s + self._busy_timeout_s if deadline_s is None else deadline_s
                    if now_s < deadline_s:
                        time.sleep(LOCK_POLL_S)
                        continue
                self._broken = in_words(error, self.path)
                raise self._broken from error

    return wrapped
