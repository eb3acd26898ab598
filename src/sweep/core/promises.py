"""What a model is told of runs that are not whole, at work or ended early: what they promise to become.

The rule of this file: a pure function of the state, made anew for each question, so that nothing has to be kept or recorded. With a rule that
ends poor runs, the good ones are those still at work: a model that is told only of what has ended knows the losers alone.
"""

from __future__ import annotations

import math
import statistics
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec

from sweep.core.plugins import Observation
from sweep.core.spec import unit_of
from sweep.core.state import COUNTED, Run, State, Trial

MOST = 128
"""So many runs, the last ones, say how curves go on."""
FEWEST = 2
"""A run at work counts from so many values on."""
_DOUBLINGS = 64


class Curve(NamedTuple):
    """How far a run was, increasing and above 0, and the best value up to there, lower is better."""

    at: Sequence[float]
    best: Sequence[float]
    whole: bool


def seen_with_promises(state: State) -> Sequence[Observation]:
    """The state's observations, those of trials that are not whole with their promise; where no rule ends runs early as they are."""
    if state.stopper is None or state.spec.method != "bayes":
        return state.observations
    telling = _Telling(state)
    seen = []
    for observation, trial in zip(state.observations, state.trials, strict=True):
        promise = telling.promise(trial) if observation.status != "failed" else None
        seen.append(observation if promise is None else msgspec.structs.replace(observation, promise=promise))
    return seen


class Gains:
    """How much better curves become while they double in length: the median of those that did, for each doubling."""

    def __init__(self, curves: Sequence[Curve]) -> None:
        self._steps: list[tuple[float, float, float]] = []  # from, to, gain
        known = [curve for curve in curves if curve.at]
        if not known:
            return
        place = 2.0 ** math.floor(math.log2(min(curve.at[0] for curve in known)))
        end = max(curve.at[-1] for curve in known)
        while place < end and len(self._steps) < _DOUBLINGS:
            found = [gain for curve in known if (gain := _gain(curve, place)) is not None]
            self._steps.append((place, 2 * place, statistics.median(found) if found else 0.0))
            place *= 2

    def promise(self, best: float, far: float) -> float:
        """What a run would become by the time it is as long as the longest, whose best value was `best` (lower is better) when it
        was so far."""
        for begin, end, gain in self._steps:
            if far < end:
                best -= gain * min(1.0, (end - far) / (end - begin))
        return best


class _Telling:
    def __init__(self, state: State) -> None:
        self._runs = state.runs
        self._sign = 1.0 if state.goal == "minimize" else -1.0
        self._unit = unit_of(state.spec.early_terminate)
        self._gains = Gains([self._curve(run) for run in self._latest()])

    def promise(self, trial: Trial) -> float | None:
        """Of its runs that have values, on average; None when all of them are whole, or there are none yet."""
        found, open_ended = list[float](), False
        for number in trial.runs:
            run = self._runs[number]
            if run.purpose != "search" or run.state in ("failed", "cancelled"):
                continue
            if run.state == "completed":
                value = run.score
            else:
                value, open_ended = self._of(run), True
            if value is not None:
                found.append(value)
        return math.fsum(found) / len(found) if found and open_ended else None

    def _of(self, run: Run) -> float | None:
        if run.state in COUNTED or run.state == "paused":
            score = run.score
        else:
            score = self._best(run) if len(run.values) >= FEWEST else None
        far = run.far(self._unit)
        if score is None or not run.values or far < 0:
            return None
        if self._unit != "count" and run.progress[0] == 0:
            far += 1
        promise = self._gains.promise(self._sign * score, far)
        return self._sign * promise if math.isfinite(promise) else None

    def _best(self, run: Run) -> float | None:
        found = [self._sign * value for value in run.values if math.isfinite(value)]
        return self._sign * min(found) if found else None

    def _latest(self) -> Iterable[Run]:
        count = 0
        for run in reversed(self._runs):
            if count == MOST:
                return
            if run.values and run.purpose == "search":
                count += 1
                yield run

    def _curve(self, run: Run) -> Curve:
        places = range(1, len(run.values) + 1) if self._unit == "count" else run.progress
        shift = 1.0 if places[0] == 0 else 0.0
        at, best = list[float](), list[float]()
        for place, value in zip(places, run.values, strict=False):
            here = place + shift
            while at and at[-1] >= here:  # it came there again
                at.pop(), best.pop()
            if here > 0:  # and so is known
                bad = self._sign * value if math.isfinite(value) else math.inf
                at.append(here)
                best.append(min(bad, best[-1]) if best else bad)
        return Curve(at, best, run.state == "completed")


def _gain(curve: Curve, begin: float) -> float | None:
    """By how much it became better from `begin` to twice as far, or to its end when it is whole; None when it did not get there, or had no
    value before."""
    if curve.at[-1] < 2 * begin and not (curve.whole and curve.at[-1] > begin):
        return None
    first = bisect_right(curve.at, begin) - 1
    if first < 0:
        return None
    gain = curve.best[first] - curve.best[bisect_right(curve.at, 2 * begin) - 1]
    return gain if math.isfinite(gain) else None
