"""A run's objective over its progress, as stoppers look at it.

The rule of this file: positions increase. What came back to a position replaces what was there and beyond it, whether a
new attempt went back to its checkpoint or a program logged a step twice. Lower is better; what is not finite is infinity.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Sequence


class Curve:
    """One run. `at`: positions; `bad`: the values there, lower is better; `best`: the lowest of them so far."""

    __slots__ = ("_raw", "_raw_at", "_shift", "at", "bad", "best")

    def __init__(self) -> None:
        self._raw, self._raw_at = array("d"), array("d")
        self._shift = 0.0
        self.at, self.bad, self.best = array("d"), array("d"), array("d")

    def take(self, values: Sequence[float], at: Sequence[float] | None, sign: float) -> int:
        """Take in all values of the run so far, and how far it was at each (None: one iteration each). Steps that begin at
        0 are counted from 1. Returns the index from which the curve is another one than before."""
        raw = array("d", values)
        raw_at = array("d", at) if at is not None else array("d", range(1, len(raw) + 1))
        known = len(self._raw)
        grown = raw[:known].tobytes() == self._raw.tobytes() and (
            raw_at[:known].tobytes() == self._raw_at.tobytes()
        )
        changed = len(self.at)
        if not grown or not known:
            del self.at[:], self.bad[:], self.best[:]
            changed = known = 0
            self._shift = 1.0 if len(raw_at) and raw_at[0] == 0 else 0.0
        self._raw, self._raw_at = raw, raw_at
        for value, position in zip(raw[known:], raw_at[known:], strict=False):
            changed = min(changed, self._add(sign * value, position + self._shift))
        return changed

    def _add(self, bad: float, position: float) -> int:
        at = self.at
        if math.isnan(position):  # it is not known how far the run was: no further than before
            if not at:
                return 0
            position = at[-1]
        while at and at[-1] >= position:
            at.pop(), self.bad.pop(), self.best.pop()
        bad = bad if math.isfinite(bad) else math.inf
        self.at.append(position)
        self.bad.append(bad)
        self.best.append(min(bad, self.best[-1]) if len(at) > 1 else bad)
        return len(at) - 1

    def counted(self, position: float) -> float:
        """Where a position that was reported stands in this curve, which counts from 1."""
        return position + self._shift

    def first_at(self, position: float) -> int:
        """Index of the first value at `position` or beyond it; the length of the curve when there is none."""
        return bisect_left(self.at, position)

    def last_until(self, position: float) -> int:
        """Index of the last value at `position` or before it; -1 when there is none."""
        return bisect_right(self.at, position) - 1


def unit_word(step: str) -> str:
    """What a position is called in a reason: `iteration`, `epoch`, `second`."""
    if step == "time":
        return "second"
    return step.removeprefix("metric:") if step.startswith("metric:") else "iteration"


def numbers(value: float, bar: float) -> tuple[str, str]:
    """Both for people, short, but never alike when they differ."""
    if math.isinf(value):
        return "not finite", f"{bar:.6g}"
    short = f"{value:.6g}", f"{bar:.6g}"
    return short if short[0] != short[1] else (repr(value), repr(bar))
