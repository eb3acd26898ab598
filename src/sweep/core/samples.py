"""What an attempt used over time, kept in the store beside its history: a few columns, thinned when they get long.

One small cache per attempt (`sweep.core.names.usage_cache`), which is written anew as it grows and never holds more than MOST points.
The rule of this file: no clock and no store; writers and readers bring them. What was not measured is NaN here, and never zero.
"""

from __future__ import annotations

import math
import zlib
from array import array
from collections.abc import Mapping
from typing import Literal

import msgspec

MOST = 240
"""Points that are kept of an attempt; when there are more, each two become one."""

COLUMNS: dict[str, Literal["mean", "max"]] = {
    "cpu.percent": "mean",
    "memory.bytes": "max",
    "disk.read_bytes_per_s": "mean",
    "disk.written_bytes_per_s": "mean",
    "gpu.percent": "mean",
    "gpu.memory_bytes": "max",
    "gpu.watts": "mean",
    "gpu.celsius": "max",
    "node.cpu_watts": "mean",
    "node.sent_bytes_per_s": "mean",
    "node.received_bytes_per_s": "mean",
}
"""What is sampled, and what becomes of several samples in one point. 100 % is one CPU; of several GPUs it is all of them. What begins
with `node.` is the whole node's."""


class _Packed(msgspec.Struct):
    began_s: float
    times: bytes
    columns: dict[str, bytes]
    gpu_shared: bool = False


class Samples:
    """The points of one attempt. `times`: seconds since its start at which each ends; `columns`: name -> a value for each."""

    def __init__(self, began_s: float = 0.0) -> None:
        """`began_s`: when the attempt started (Unix seconds)."""
        self.began_s = began_s
        self.gpu_shared = False
        """What is said of its GPUs is the devices', which others use as well."""
        self.times: array[float] = array("f")
        self.columns: dict[str, array[float]] = {}
        self._every = 1
        """So many samples make one point now."""
        self._open = 0
        """How many the last point has."""

    def __len__(self) -> int:
        return len(self.times)

    def add(self, at_s: float, values: Mapping[str, float]) -> None:
        """What was measured between the last sample and this one, `at_s` seconds after the start."""
        for name in values:
            if name not in self.columns:
                self.columns[name] = array("f", [math.nan] * len(self.times))
        if self._open >= self._every:
            self._open = 0
        if not self._open and len(self.times) >= MOST:
            self._thin()
        for name, column in self.columns.items():
            column.append(values.get(name, math.nan))
        self.times.append(at_s)
        if self._open:
            self._merge(len(self.times) - 2)
        self._open += 1

    def _thin(self) -> None:
        """Make one point of each two."""
        self._every *= 2
        old_times, old = self.times, self.columns
        self.times, self.columns = array("f", old_times[1::2]), {}
        for name, column in old.items():
            pairs = range(0, len(old_times) - 1, 2)
            self.columns[name] = array("f", [_joined(name, old_times, column, at) for at in pairs])

    def _merge(self, at: int) -> None:
        """Make one of points `at` and `at` + 1."""
        for name, column in self.columns.items():
            column[at] = _joined(name, self.times, column, at)
            del column[at + 1]
        del self.times[at]

    def pack(self) -> bytes:
        """As it is kept in the store."""
        columns = {name: column.tobytes() for name, column in self.columns.items()}
        packed = _Packed(self.began_s, self.times.tobytes(), columns, self.gpu_shared)
        return zlib.compress(msgspec.msgpack.encode(packed), 1)


def unpack(data: bytes | None) -> Samples | None:
    """What `pack` was given; None where there is nothing, or nothing that can be read."""
    if not data:
        return None
    try:
        packed = msgspec.msgpack.decode(zlib.decompressobj().decompress(data, 1 << 20), type=_Packed)
        found = Samples(packed.began_s)
        found.times.frombytes(packed.times)
        for name, values in packed.columns.items():
            column = found.columns[name] = array("f")
            column.frombytes(values)
            if len(column) != len(found.times):
                return None
    except (zlib.error, msgspec.MsgspecError, ValueError):
        return None
    found.gpu_shared = packed.gpu_shared
    return found


def _joined(name: str, times: array[float], column: array[float], at: int) -> float:
    """The value of points `at` and `at` + 1 together: by their lengths, or the larger; one that is NaN does not count."""
    first, second = column[at], column[at + 1]
    if math.isnan(first) or math.isnan(second):
        return second if math.isnan(first) else first
    if COLUMNS.get(name) == "max":
        return max(first, second)
    one = times[at] - (times[at - 1] if at else 0.0)
    two = times[at + 1] - times[at]
    return (first * one + second * two) / (one + two) if one + two > 0 else (first + second) / 2
