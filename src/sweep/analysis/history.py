"""The rows that a run logged, as columns.

The rule of this file: nothing here raises on what a run sent. A row that cannot be read is counted, not fatal.
"""

from __future__ import annotations

import bisect
from array import array
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, Protocol

import msgspec

_NON_FINITE = {"nan": float("nan"), "inf": float("inf"), "-inf": float("-inf")}


class ChunkLike(Protocol):
    """What `sweep.stores.base.HistoryChunk` has."""

    @property
    def attempt(self) -> int: ...
    @property
    def first_row(self) -> int: ...
    @property
    def count(self) -> int: ...
    @property
    def data(self) -> bytes: ...


class Series(NamedTuple):
    """One metric of one run: three columns of the same length, in the order of the steps."""

    steps: array[float]
    seconds: array[float]
    """Seconds as the run sent them with the row."""
    values: array[float]
    """NaN and infinities as they were logged."""


class _Row(msgspec.Struct, gc=False):
    s: float | None = None
    """None: the row's own number within its attempt, from 0."""
    t: float = 0.0
    m: dict[str, float | str | None] = {}


class _Column:
    __slots__ = ("rows", "values")

    def __init__(self) -> None:
        self.rows = array("q")
        self.values = array("d")

    def cut(self, length: int) -> None:
        """Forget the rows from number `length` on."""
        keep = bisect.bisect_left(self.rows, length)
        del self.rows[keep:], self.values[keep:]


class History:
    """All rows of one run that count: of several attempts the last one counts from its first step on, and of earlier
    ones the rows with a smaller step are kept."""

    def __init__(self) -> None:
        self.steps: array[float] = array("d")
        self.seconds: array[float] = array("d")
        self.malformed = 0
        """Rows that could not be read."""
        self._columns: dict[str, _Column] = {}

    @classmethod
    def from_chunks(cls, chunks: Iterable[ChunkLike]) -> History:
        """From the store's chunks of one run, in any order; a chunk that repeats rows already read is cut."""
        history = cls()
        attempt, taken, started = None, 0, False
        for chunk in sorted(chunks, key=lambda c: (c.attempt, c.first_row)):
            if chunk.attempt != attempt:
                attempt, taken, started = chunk.attempt, 0, False
            repeated = max(taken - chunk.first_row, 0)
            taken = max(taken, chunk.first_row + chunk.count)
            for index, row in enumerate(history._decode(chunk.data)):
                if row is None or index < repeated:
                    continue
                step = float(chunk.first_row + index) if row.s is None else row.s
                if not started:
                    history._rewind(step)
                    started = True
                history._add(row, step)
        return history

    @property
    def metrics(self) -> list[str]:
        """Names of the logged metrics, in the order of their first row."""
        return [name for name, column in self._columns.items() if column.values]

    def series(self, name: str) -> Series:
        """The rows that have metric `name` ('/' and '.' in it are the same); empty columns for an unknown one."""
        column = self._find(name)
        if column is None:
            return Series(array("d"), array("d"), array("d"))
        if len(column.rows) == len(self.steps):
            return Series(self.steps, self.seconds, column.values)
        steps = array("d", [self.steps[row] for row in column.rows])
        return Series(steps, array("d", [self.seconds[row] for row in column.rows]), column.values)

    def aligned(self, name: str) -> list[float | None]:
        """The values of metric `name`, one for each of the `len(self)` rows; None for a row without it."""
        values: list[float | None] = [None] * len(self.steps)
        column = self._find(name)
        if column is not None:
            for row, value in zip(column.rows, column.values, strict=True):
                values[row] = value
        return values

    def __len__(self) -> int:
        return len(self.steps)

    def _find(self, name: str) -> _Column | None:
        if name in self._columns:
            return self._columns[name]
        wanted = same_name(name)
        return next((column for key, column in self._columns.items() if same_name(key) == wanted), None)

    def _decode(self, data: bytes) -> Iterator[_Row | None]:
        try:
            yield from _ROWS.decode_lines(data)
            return
        except (msgspec.MsgspecError, UnicodeDecodeError):
            pass
        for line in data.split(b"\n"):
            if line.strip():
                yield self._decode_one(line)

    def _decode_one(self, line: bytes) -> _Row | None:
        try:
            return _ROWS.decode(line)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            self.malformed += 1
            return None

    def _rewind(self, step: float) -> None:
        """A later attempt begins at `step`: earlier rows from there on do not count."""
        length = len(self.steps)
        while length and self.steps[length - 1] >= step:
            length -= 1
        if length < len(self.steps):
            del self.steps[length:], self.seconds[length:]
            for column in self._columns.values():
                column.cut(length)

    def _add(self, row: _Row, step: float) -> None:
        index = len(self.steps)
        self.steps.append(step)
        self.seconds.append(row.t)
        for name, item in row.m.items():
            number = as_number(item)
            if number is not None:
                column = self._columns.get(name)
                if column is None:
                    column = self._columns[name] = _Column()
                column.rows.append(index)
                column.values.append(number)


_ROWS = msgspec.json.Decoder(_Row)


def as_number(item: Any) -> float | None:
    """A logged value as a float ("nan", "inf" and "-inf" are numbers), None when it is none."""
    if isinstance(item, bool):
        return None
    if isinstance(item, int | float):
        try:
            return float(item)
        except OverflowError:
            return float("inf") if item > 0 else float("-inf")
    return _NON_FINITE.get(item) if isinstance(item, str) else None


def same_name(name: str) -> str:
    """The form under which two spellings of a metric are equal: '/' and '.' separate alike."""
    return name.replace("/", ".")
