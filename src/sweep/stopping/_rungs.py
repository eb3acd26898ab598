"""Rules that compare runs with each other: a run is judged at the highest rung that it has reached, against all runs that
have reached it.

The rule of this file: a judgement depends on the reported values alone and not on their order, on the data of this moment: a run
that was spared can be condemned when others arrive. A rung that a run skips is judged at its next report.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import Literal

from sweep.core.spec import Metric
from sweep.stopping._curves import Curve, numbers, unit_word
from sweep.stopping._ranks import Ranked

Judged = Literal["value", "best", "sound best"]
_Bars = tuple[float, float]
_FRACTIONS = {2.0: "half", 3.0: "third", 4.0: "quarter", 5.0: "fifth"}


class RungStopper:
    """A run is condemned when its value at its highest rung is worse than sorted(values at this rung)[int(n / eta)]; ties survive.

    With `trend` its trend must be worse than sorted(trends at this rung)[int(n / eta)] as well. A run's trend at a rung is what it
    would become by as much again as it has become better since half of that way: a curve that is worse than others and still
    falling is told from one that has flattened. NaN and infinities are the worst value.
    """

    def __init__(
        self,
        metric: Metric,
        rungs: Sequence[float],
        eta: float,
        *,
        step: str,
        judged: Judged,
        least: int = 1,
        later: int | None = None,
        trend: bool = False,
        spares_leader: bool = False,
        end: float | None = None,
    ) -> None:
        """`judged`: the value at the rung, the best one up to it, or the best one provided that the one at the rung is finite.
        `least`: so many runs must have reached a rung before anybody is judged there; `later`: the same for all but the first
        rung, where it is another number. `trend`: see above. `spares_leader`: nobody is condemned who has the best value of all runs
        by now. `end`: from there on nobody is."""
        self._name, self._eta, self._step, self._judged = metric.name, eta, step, judged
        self._least, self._later = least, least if later is None else later
        self._spares_leader = spares_leader
        self._end = math.inf if end is None else end
        self._sign = 1.0 if metric.goal == "minimize" else -1.0
        self.rungs = rungs
        """The positions at which runs are judged, increasing."""
        self._ranked = [Ranked(eta) for _ in rungs]
        self._trends = [Ranked(eta) for _ in rungs] if trend else None
        self._leaders = Ranked(math.inf)
        self._curves: dict[int, Curve] = {}
        self._reached: dict[int, int] = {}  # how many rungs a run has reached

    def report(self, run: int, values: Sequence[float], at: Sequence[float] | None = None) -> None:
        """Take in all values of `run` so far; see `sweep.core.plugins.Stopper`."""
        curve = self._curves.get(run)
        if curve is None:
            curve = self._curves[run] = Curve()
        changed = curve.take(values, None if self._step == "count" else at, self._sign)
        before = self._reached.get(run, 0)
        now = bisect_right(self.rungs, curve.at[-1]) if curve.at else 0
        first = bisect_right(self.rungs, curve.at[changed - 1]) if changed else 0
        for index in range(first, now):
            self._put(run, curve, index)
        for index in range(now, before):  # a restarted attempt has not come as far yet
            self._ranked[index].discard(run)
            if self._trends is not None:
                self._trends[index].discard(run)
        self._reached[run] = now
        if self._spares_leader:
            if curve.at:
                self._leaders.put(run, curve.best[-1])
            else:
                self._leaders.discard(run)

    def condemned(self, run: int, since: float | None = None) -> str | None:
        """Why `run` should end now, None when it should not; see `sweep.core.plugins.Stopper`."""
        reached = self._reached.get(run, 0)
        if reached == 0 or (since is not None and reached <= self._rungs_until(run, since)):
            return None
        if not self._is_worse(run, reached - 1, self._bars(reached - 1)):
            return None
        curve = self._curves[run]
        if curve.at[-1] >= self._end:
            return None
        if self._spares_leader and curve.best[-1] <= self._leaders.threshold() < math.inf:
            return None
        return self._reason(run, curve, reached - 1)

    def spared(self, runs: Iterable[tuple[int, float | None]]) -> list[int]:
        """Those that should not end now; see `sweep.core.plugins.Stopper`."""
        bars: dict[int, _Bars] = {}
        leading = self._leaders.threshold() if len(self._leaders) else -math.inf
        found = []
        for run, since in runs:
            reached = self._reached.get(run, 0)
            if reached and reached not in bars:
                bars[reached] = self._bars(reached - 1)
            if not reached or not self._is_worse(run, reached - 1, bars[reached]):
                found.append(run)
                continue
            curve = self._curves[run]
            usual = since is None and curve.best[-1] > leading and curve.at[-1] < self._end
            if not usual and self.condemned(run, since) is None:
                found.append(run)
        return found

    def _put(self, run: int, curve: Curve, index: int) -> None:
        """Enter what the run was at a rung."""
        place = curve.first_at(self.rungs[index])
        value = self._badness(curve, place)
        self._ranked[index].put(run, value)
        if self._trends is not None:
            self._trends[index].put(run, _trend(curve, place, value))

    def _bars(self, index: int) -> _Bars:
        """What a value, and a trend, must not be worse than at a rung."""
        ranked = self._ranked[index]
        if len(ranked) < (self._later if index else self._least):
            return math.inf, math.inf
        return ranked.threshold(), math.inf if self._trends is None else self._trends[index].threshold()

    def _is_worse(self, run: int, index: int, bars: _Bars) -> bool:
        """Whether what the run was at a rung is worse than both (without trends: than the first)."""
        value = self._ranked[index].get(run)
        if value is None or value <= bars[0]:
            return False
        if self._trends is None:
            return True
        trend = self._trends[index].get(run)
        return trend is not None and trend > bars[1]

    def _rungs_until(self, run: int, far: float) -> int:
        """How many rungs a run has reached that has come so far."""
        return bisect_right(self.rungs, self._curves[run].counted(far))

    def _badness(self, curve: Curve, index: int) -> float:
        if self._judged == "value" or (self._judged == "sound best" and math.isinf(curve.bad[index])):
            return curve.bad[index]
        return curve.best[index]

    def _reason(self, run: int, curve: Curve, index: int) -> str:
        rung, ranked = self.rungs[index], self._ranked[index]
        best = "" if self._judged == "value" else "best "
        reached = curve.at[curve.first_at(rung)]
        where = f"{unit_word(self._step)} {reached:g}" + (f" (rung {rung:g})" if reached != rung else "")
        value = f"{where}: {best}{self._name} {self._compared(ranked, run)} of {len(ranked)} runs"
        if self._trends is None:
            return value
        return f"{value}, and its trend {self._compared(self._trends[index], run)}"

    def _compared(self, ranked: Ranked, run: int) -> str:
        value = ranked.get(run)
        assert value is not None
        shown, bar = numbers(self._sign * value, self._sign * ranked.threshold())
        part = _FRACTIONS.get(self._eta) or _share(self._eta)
        return f"{shown} is worse than the best {part} ({bar})"


def _trend(curve: Curve, place: int, value: float) -> float:
    """What a run would become by as much again as it has become better since half of the way to `place`; `value` where there is
    no telling."""
    before = curve.last_until(curve.at[place] / 2)
    then = curve.best[before] if before >= 0 else math.inf
    trend = value - (then - value)
    return trend if math.isfinite(then) and math.isfinite(trend) else value


def _share(eta: float) -> str:
    percent = 100 / eta
    return f"{percent:g} %" if abs(percent - round(percent)) < 1e-9 else f"1/{eta:g}"
