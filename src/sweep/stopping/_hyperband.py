"""`early_terminate: hyperband`, exactly as the W&B dialect has it.

The rule of this file: a run is judged at the highest band that it has reached, against all runs that have reached it, on
the data of this moment; a run that was spared can be condemned when others arrive.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from sweep.core.spec import EarlyTerminate, Metric
from sweep.stopping._ranks import Ranked

_MOST_BANDS = 100
_LONGEST = 2**53
_FRACTIONS = {2.0: "half", 3.0: "third", 4.0: "quarter", 5.0: "fifth"}


class Hyperband:
    """Successive halving with bands, after Li et al., "Hyperband" (JMLR 18, 2018), as W&B simplified it.

    A run is condemned when its value at its highest band is worse than sorted(values at this band)[int(n / eta)]; ties
    survive. With `strict` a run's value at a band is the one logged at that iteration, else the best one so far. NaN
    and infinities are the worst value.
    """

    def __init__(self, metric: Metric, settings: EarlyTerminate) -> None:
        """Raises ValueError when the settings make no bands (neither min_iter nor max_iter, eta not above 1)."""
        self._name, self._strict, self._eta = metric.name, settings.strict, settings.eta
        self._sign = 1.0 if metric.goal == "minimize" else -1.0
        self.bands = bands(settings)
        """The iterations at which runs are judged, increasing."""
        self._ranked = [Ranked(settings.eta) for _ in self.bands]
        self._reached: dict[int, int] = {}  # how many bands a run has reached
        self._judged: dict[
            int, list[float]
        ] = {}  # without `strict`: the values that the bests were taken from

    def report(self, run: int, values: Sequence[float]) -> None:
        """Take in all values of `run` so far; see `sweep.core.plugins.Stopper`."""
        before, now = self._reached.get(run, 0), self._bands_within(len(values))
        if self._strict:
            for index in range(now):
                self._ranked[index].put(run, self._badness(values[self.bands[index] - 1]))
        elif now:
            self._put_bests(run, values, now, before)
        for index in range(now, before):  # a restarted attempt has not come as far yet
            self._ranked[index].discard(run)
        self._reached[run] = now

    def condemned(self, run: int) -> str | None:
        """Why `run` should end now, None when it should not; see `sweep.core.plugins.Stopper`."""
        reached = self._reached.get(run, 0)
        if reached == 0:
            return None
        ranked = self._ranked[reached - 1]
        value, threshold = ranked.get(run), ranked.threshold()
        if value is None or value <= threshold:
            return None
        return self._reason(self.bands[reached - 1], value, threshold, len(ranked))

    def _bands_within(self, iterations: int) -> int:
        count = 0
        while count < len(self.bands) and self.bands[count] <= iterations:
            count += 1
        return count

    def _put_bests(self, run: int, values: Sequence[float], now: int, before: int) -> None:
        """Best so far at every band; computed only when what it depends on is new."""
        judged = list(values[: self.bands[now - 1]])
        if now == before and judged == self._judged.get(run):
            return
        self._judged[run] = judged
        best, start = math.inf, 0
        for index in range(now):
            end = self.bands[index]
            best = min([best, *map(self._badness, judged[start:end])])
            self._ranked[index].put(run, best)
            start = end

    def _badness(self, value: float) -> float:
        """Lower is better, infinity is the worst."""
        return self._sign * value if math.isfinite(value) else math.inf

    def _reason(self, band: int, value: float, threshold: float, runs: int) -> str:
        shown, bar = _numbers(self._sign * value, self._sign * threshold)
        best = "" if self._strict else "best "
        part = _FRACTIONS.get(self._eta, f"1/{self._eta:g}")
        return f"iteration {band}: {best}{self._name} {shown} is worse than the best {part} ({bar}) of {runs} runs"


def bands(settings: EarlyTerminate) -> tuple[int, ...]:
    """The iterations at which runs are judged: int(min_iter * eta**k), k = 0, 1, …; without min_iter int(max_iter / eta**k),
    k = 1 … s, as far as they are at least 1 (all of these when `s` is missing).

    Raises ValueError when there is neither min_iter nor max_iter, or eta is not above 1.
    """
    eta = settings.eta
    if not eta > 1:
        raise ValueError(f"early_terminate: eta must be above 1, not {eta:g}")
    most = math.ceil(math.log(_LONGEST) / math.log(eta))  # beyond it bands are too long, or below 1
    found: list[float]
    if settings.min_iter is not None:
        found = [settings.min_iter * eta**k for k in range(min(_MOST_BANDS, most))]
    elif settings.max_iter is not None:
        brackets = most if settings.s is None else min(settings.s, most)
        found = [settings.max_iter / eta**k for k in range(1, brackets + 1)]
    else:
        raise ValueError("early_terminate: hyperband needs min_iter, or max_iter and s")
    return tuple(sorted({int(band) for band in found if 1 <= band <= _LONGEST}))


def _numbers(value: float, bar: float) -> tuple[str, str]:
    """Both for people, short, but never alike when they differ."""
    if math.isinf(value):
        return "not finite", f"{bar:.6g}"
    short = f"{value:.6g}", f"{bar:.6g}"
    return short if short[0] != short[1] else (repr(value), repr(bar))
