"""What runs print, on its way into the store: `sweep logs` works from any machine.

The rules of this file: a run that prints nothing costs one look at its file's size a second, and writes nothing; what is written goes
with a commit that is made anyway; the values of secret variables do not get there, stars of the same length stand in their place.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO

from sweep.core.names import output_cache
from sweep.stores.output import PIECE_BYTES, pack, pieces_to_keep, place_of

EVERY_S = 1.0


class Outputs:
    """Follows the output files of an agent's attempts."""

    def __init__(self, put: Callable[[str, bytes], None], known: Sequence[str] = ()) -> None:
        """`put(name, content)` keeps something with the next commit, in place of what it was told under that name before;
        `known`: what must not be kept."""
        self._put = put
        self._known = [value.encode("utf-8", "surrogateescape") for value in known]
        self._around = max(map(len, self._known), default=1) - 1
        """One that begins in the piece before, or ends in the next, is found so many bytes from the edge."""
        self._kept: dict[tuple[int, int], int] = {}
        self._next_s: dict[tuple[int, int], float] = {}

    def follow(self, run: int, attempt: int, path: Path | str, now_s: float) -> None:
        """Take in what an attempt has printed, when it is time."""
        key = (run, attempt)
        if now_s >= self._next_s.get(key, 0.0):
            self._next_s[key] = now_s + EVERY_S
            self._take(key, path)

    def close(self, run: int, attempt: int, path: Path | str) -> int:
        """Take in the rest: the attempt has ended. How many bytes it has printed."""
        self._take((run, attempt), path)
        self._next_s.pop((run, attempt), None)
        return self._kept.pop((run, attempt), 0)

    def forget(self) -> None:
        """Nothing that runs here counts any more."""
        self._kept.clear()
        self._next_s.clear()

    def _take(self, key: tuple[int, int], path: Path | str) -> None:
        kept = self._kept.get(key, 0)
        try:
            size = os.stat(path).st_size  # noqa: PTH116  # once a second for each run
            if size <= kept:
                return
            with Path(path).open("rb") as file:
                for piece in pieces_to_keep(kept, size):
                    data = self._piece(file, piece * PIECE_BYTES)
                    if data:
                        self._put(output_cache(*key, place_of(piece)), pack(piece, data))
                        size = max(size, piece * PIECE_BYTES + len(data))
        except OSError:
            return
        self._kept[key] = size

    def _piece(self, file: BinaryIO, start: int) -> bytes:
        begin = max(0, start - self._around)
        file.seek(begin)
        data = file.read(start - begin + PIECE_BYTES + self._around)
        for value in self._known:
            data = data.replace(value, b"*" * len(value))
        return data[start - begin :][:PIECE_BYTES]
