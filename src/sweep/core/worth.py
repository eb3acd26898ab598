"""What a run would have reached that was ended early: what a model should learn of it.

The rule of this file: pure functions of curves. A run's last value before it was ended says how good it was then; beside the scores of runs
that went to their end it looks worse than it is at the early steps, and a model that is told so learns how long runs were.
"""

from __future__ import annotations

import math
import statistics
from bisect import bisect_right
from collections.abc import Sequence

from sweep.core.spec import Goal

MOST = 64
"""So many whole runs, the last ones, are compared with."""


def references(completed: int) -> int:
    """How many of the completed runs count: all of them when they are a power of two, then the same until there are twice as many. So
    what was said of a run changes seldom, and a model need not learn it anew after each run."""
    return 1 << (completed.bit_length() - 1) if completed else 0


class Yardstick:
    """Whole runs, against which one that was ended early is measured."""

    def __init__(
        self, curves: Sequence[tuple[Sequence[float], Sequence[float], float]], goal: Goal, by_count: bool
    ) -> None:
        """`curves`: how far each run was, its values there, and its score. `by_count`: each value is one iteration."""
        self._sign = 1.0 if goal == "minimize" else -1.0
        self._by_count = by_count
        self._whole = [
            (at, _best_so_far([self._sign * value for value in values]), self._sign * score)
            for at, values, score in curves
        ]
        self._middle = statistics.median_low([score for _, _, score in self._whole]) if curves else 0.0

    def worth(self, at: Sequence[float], score: float) -> float:
        """The score that a run would have, by guess, whose best value was `score` when it was ended, after it had come so far: as much
        better as whole runs became from there on (their median), but no better than the half of those."""
        gains = []
        for whole_at, best, last in self._whole:
            reached = len(at) if self._by_count else bisect_right(whole_at, at[-1]) if at else 0
            then = best[min(reached, len(best)) - 1] if reached and best else math.inf
            if math.isfinite(then):
                gains.append(then - last)
        if not gains:
            return score
        guess = max(self._sign * score - statistics.median(gains), self._middle)
        return self._sign * guess if math.isfinite(guess) else score


def _best_so_far(bad: Sequence[float]) -> list[float]:
    best, lowest = [], math.inf
    for value in bad:
        if math.isfinite(value) and value < lowest:
            lowest = value
        best.append(lowest)
    return best
