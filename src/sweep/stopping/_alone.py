"""Rules that look at a run by itself: no progress of its own, or not as far as a threshold.

The rule of this file: no other run matters.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence

from sweep.core.spec import Metric
from sweep.stopping._curves import Curve, numbers, unit_word


class _Alone(ABC):
    """Keeps the curves, and judges between `first` and `end`."""

    def __init__(self, metric: Metric, step: str, first: float, end: float | None) -> None:
        self._name, self._step = metric.name, step
        self._first, self._end = first, math.inf if end is None else end
        self._sign = 1.0 if metric.goal == "minimize" else -1.0
        self._curves: dict[int, Curve] = {}

    def report(self, run: int, values: Sequence[float], at: Sequence[float] | None = None) -> None:
        """Take in all values of `run` so far; see `sweep.core.plugins.Stopper`."""
        curve = self._curves.get(run)
        if curve is None:
            curve = self._curves[run] = Curve()
        curve.take(values, None if self._step == "count" else at, self._sign)

    def condemned(self, run: int, since: float | None = None) -> str | None:  # noqa: ARG002
        """Why `run` should end now, None when it should not; see `sweep.core.plugins.Stopper`."""
        curve = self._curves.get(run)
        if curve is None or not curve.at or not self._first <= curve.at[-1] < self._end:
            return None
        return self._judge(curve, f"{unit_word(self._step)} {curve.at[-1]:g}")

    def spared(self, runs: Iterable[tuple[int, float | None]]) -> list[int]:
        """Those that should not end now; see `sweep.core.plugins.Stopper`."""
        return [run for run, since in runs if self.condemned(run, since) is None]

    @abstractmethod
    def _judge(self, curve: Curve, where: str) -> str | None:
        """Why the run of this curve should end; `where` names its last iteration."""


class Plateau(_Alone):
    """A run is condemned when its best value has not improved by more than `min_delta` for `patience` iterations; where none are
    given, for the `share` of those that it has done."""

    def __init__(
        self,
        metric: Metric,
        *,
        step: str,
        first: float,
        end: float | None,
        patience: float | None,
        share: float,
        min_delta: float,
    ) -> None:
        super().__init__(metric, step, first, end)
        self._patience, self._share, self._min_delta = patience, share, min_delta

    def _judge(self, curve: Curve, where: str) -> str | None:
        now = curve.at[-1]
        since = now - (self._patience if self._patience is not None else now * self._share)
        index = curve.last_until(since)
        if index < 0 or curve.best[index] - curve.best[-1] > self._min_delta:
            return None
        unit = unit_word(self._step)
        if math.isinf(curve.best[-1]):
            return f"{where}: {self._name} has not had a finite value"
        shown = f"{self._sign * curve.best[index]:.6g}"
        by = f" by more than {self._min_delta:g}" if self._min_delta else ""
        return f"{where}: {self._name} is no better{by} than it was at {unit} {curve.at[index]:g} ({shown})"


class Threshold(_Alone):
    """A run is condemned when its best value, from `first` on, is worse than `threshold`."""

    def __init__(
        self, metric: Metric, *, step: str, first: float, end: float | None, threshold: float
    ) -> None:
        super().__init__(metric, step, first, end)
        self._threshold = threshold

    def _judge(self, curve: Curve, where: str) -> str | None:
        best = curve.best[-1]
        if best <= self._sign * self._threshold:
            return None
        shown, bar = numbers(self._sign * best, self._threshold)
        return f"{where}: best {self._name} {shown} is worse than the threshold ({bar})"
