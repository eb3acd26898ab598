"""What an attempt has printed, kept in the store in pieces that are overwritten in a circle: its beginning and its end.

Piece k holds bytes k·PIECE_BYTES and on. The first HEAD pieces stay; later ones share RING places, so that the end of any output is
there, and the store never holds more than KEPT_BYTES of it (less: it is compressed). The rule of this file: pure functions; writers and
readers bring the store.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator

PIECE_BYTES = 8192
HEAD, RING = 2, 14
KEPT_BYTES = (HEAD + RING) * PIECE_BYTES
_OFFSET = struct.Struct(">Q")


def place_of(piece: int) -> int:
    """Where piece number `piece` is kept."""
    return piece if piece < HEAD else HEAD + (piece - HEAD) % RING


def pieces_to_keep(kept_bytes: int, size_bytes: int) -> list[int]:
    """The pieces that must be written when `size_bytes` are there and `kept_bytes` were when it was looked at last."""
    if size_bytes <= kept_bytes:
        return []
    last = (size_bytes - 1) // PIECE_BYTES
    first = kept_bytes // PIECE_BYTES
    return [piece for piece in range(first, last + 1) if piece < HEAD or piece > last - RING]


def pack(piece: int, data: bytes) -> bytes:
    """A piece as it is kept."""
    return _OFFSET.pack(piece * PIECE_BYTES) + zlib.compress(data, 1)


def unpack(data: bytes | None) -> tuple[int, bytes] | None:
    """(offset in the output, content); None where there is nothing, or nothing that can be read."""
    if not data or len(data) <= _OFFSET.size:
        return None
    try:
        content = zlib.decompressobj().decompress(data[_OFFSET.size :], PIECE_BYTES)
    except zlib.error:
        return None
    return _OFFSET.unpack_from(data)[0], content


class Reader:
    """Reads an output that grows. `get(place)` is what the store has there."""

    def __init__(self, get: Callable[[int], bytes | None]) -> None:
        self._get = get
        self.position = 0
        """Up to this byte everything has been given out, or left out because it is gone."""

    def read(self) -> Iterator[bytes]:
        """What has come since the last time; in place of what is gone stands a line that says so."""
        while True:
            piece = self.position // PIECE_BYTES
            found = unpack(self._get(place_of(piece)))
            if found is None:
                return
            offset, content = found
            if (
                offset > piece * PIECE_BYTES
            ):  # it was overwritten: go on where the oldest piece that is left begins
                oldest = min(self._offsets(), default=self.position)
                if oldest <= self.position:
                    return
                yield b"\n[... %d bytes of the output are not kept in the store ...]\n" % (
                    oldest - self.position
                )
                self.position = oldest
                continue
            if offset < piece * PIECE_BYTES or offset + len(content) <= self.position:
                return
            yield content[self.position - offset :]
            self.position = offset + len(content)
            if len(content) < PIECE_BYTES:
                return

    def _offsets(self) -> list[int]:
        found = (unpack(self._get(HEAD + number)) for number in range(RING))
        return [item[0] for item in found if item is not None and item[0] >= self.position]
