"""A file of wire lines, for rows that have no agent to go to. Appends whole lines; never raises."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


class RowFile:
    """Opened at the first line. Several processes may append to one file: each write is a whole number of lines."""

    def __init__(self, path: str, say: Callable[[str], None]) -> None:
        self._path = path
        self._say = say
        self._descriptor: int | None = None
        self._torn = False

    def write(self, lines: bytes) -> None:
        """Append `lines`. On an error says so and drops them: a full disk must not stop a training."""
        if self._torn:  # the file may end within a line: readers skip the piece if the next line stands alone
            lines = b"\n" + lines
        try:
            if self._descriptor is None:
                flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
                self._descriptor = os.open(self._path, flags, 0o600)
            left = memoryview(lines)
            while left:
                self._torn = True
                left = left[os.write(self._descriptor, left) :]
            self._torn = False
        except OSError as error:
            self._say(f"logged values are lost: cannot write {self._path}: {error.strerror or error}")

    def close(self) -> None:
        """Close; a later write opens it again."""
        if self._descriptor is not None:
            try:
                os.close(self._descriptor)
            except OSError:
                pass
            self._descriptor = None
