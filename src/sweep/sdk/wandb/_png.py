"""PNG and animated PNG from rows of bytes, with zlib alone (PNG specification, third edition, W3C 2023).

Pure but for the compression: no file is written here.
"""

from __future__ import annotations

import struct
import zlib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}
"""Channels -> colour type: grey, grey and alpha, RGB, RGBA."""


def encode(pixels: bytes, width: int, height: int, channels: int) -> bytes:
    """A PNG of 8 bits a channel. `pixels`: height · width · channels bytes, row by row. ValueError for another length."""
    header = _header(width, height, channels)
    body = _compressed(pixels, width, height, channels)
    return _SIGNATURE + header + _chunk(b"IDAT", body) + _chunk(b"IEND", b"")


def encode_frames(frames: Sequence[bytes], width: int, height: int, channels: int, fps: int) -> bytes:
    """An animated PNG that repeats for ever. `frames`: one or more, each as `encode` takes it."""
    parts = [
        _SIGNATURE,
        _header(width, height, channels),
        _chunk(b"acTL", struct.pack(">II", len(frames), 0)),
    ]
    number = 0
    for index, frame in enumerate(frames):
        control = struct.pack(">IIIIIHHBB", number, width, height, 0, 0, 1, max(1, fps), 0, 0)
        parts.append(_chunk(b"fcTL", control))
        number += 1
        body = _compressed(frame, width, height, channels)
        if index == 0:
            parts.append(_chunk(b"IDAT", body))
        else:
            parts.append(_chunk(b"fdAT", struct.pack(">I", number) + body))
            number += 1
    parts.append(_chunk(b"IEND", b""))
    return b"".join(parts)


def size(data: bytes) -> tuple[int, int] | None:
    """Width and height of a PNG; None for anything else."""
    if data[:8] != _SIGNATURE or data[12:16] != b"IHDR":
        return None
    width, height = struct.unpack(">II", data[16:24])
    return width, height


def _header(width: int, height: int, channels: int) -> bytes:
    return _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, _COLOUR_TYPES[channels], 0, 0, 0))


def _compressed(pixels: bytes, width: int, height: int, channels: int) -> bytes:
    line = width * channels
    if width < 1 or height < 1 or len(pixels) != line * height:
        raise ValueError(f"{len(pixels)} bytes are no {width}×{height} pixels of {channels} bytes")
    rows = b"".join(b"\0" + pixels[start : start + line] for start in range(0, len(pixels), line))
    return zlib.compress(rows, 6)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
