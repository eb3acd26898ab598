"""`optuna-cmaes`: CMA-ES from the `cmaes` package, which Optuna's sampler of that name is built on.

The rule of this file: the strategy is built anew for each proposal from the scored trials in the order of their numbers, one
generation after the other, so that it needs no state of its own in the record. Optuna keeps it with each trial
instead, where results that arrive out of order, or twice, would change it. A choice stands at its place between 0 and 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from sweep.core.plugins import Observation
from sweep.core.space import Config
from sweep.core.spec import SweepSpec
from sweep.search._axes import Axes
from sweep.search._model import ModelSearcher, Point, goal_of, score_of

NAME = "optuna-cmaes"
_STEP = 1.0 / 6.0
"""The first step size, as a share of the range (Optuna's default)."""


class CmaSearcher(ModelSearcher):
    """Covariance matrix adaptation (Hansen and Ostermeier, Evolutionary Computation 9, 2001).

    Failed trials, and those without a finite score, count as the worst score seen. Open trials are not known to it: points
    of one generation are draws from one distribution.
    """

    def __init__(self, spec: SweepSpec) -> None:
        axes = Axes(spec.space, quantiles=True)
        described = f"1+cmaes-{version('cmaes')}"
        super().__init__(NAME, described, spec, axes, _Strategy(axes, goal_of(spec)))


class _Strategy:
    """The scored trials, and the strategy that they make."""

    asks = 8

    def __init__(self, axes: Axes, goal: str) -> None:
        self._axes, self._sign = axes, 1.0 if goal == "minimize" else -1.0
        self._told: list[tuple[Point, float]] = []

    def update(self, seen: Sequence[Observation]) -> None:
        """Take the usable trials of `seen` that have ended, with the better ones lower."""
        ended: list[tuple[Point, float | None]] = []
        for observation in seen:
            point = self._axes.encode(observation.config)
            if point is not None and observation.status != "open":
                score = score_of(observation)
                ended.append((self._units(point), None if score is None else self._sign * score))
        known = [score for _, score in ended if score is not None]
        worst = max(known, default=0.0)
        self._told = [(point, worst if score is None else score) for point, score in ended]

    def ask(self, seed: int) -> Point:
        """A draw from the distribution after all whole generations."""
        drawn = self._strategy(seed).ask().tolist()
        return [
            math.floor(u * (axis.high + 1)) if axis.kind == "choice" else u
            for u, axis in zip(drawn, self._axes.axes, strict=False)
        ]

    def pend(self, config: Config) -> None:
        """Nothing: the next draw is another one anyway."""

    def _strategy(self, seed: int) -> Any:
        import numpy as np
        from cmaes import CMA

        width = max(2, len(self._axes.axes))  # the package needs two dimensions
        middle, bounds = np.full(width, 0.5), np.tile([0.0, 1.0], (width, 1))
        strategy = CMA(mean=middle, sigma=_STEP, bounds=bounds, seed=seed)
        size = strategy.population_size
        for first in range(0, len(self._told) - size + 1, size):
            generation = self._told[first : first + size]
            strategy.tell([(np.resize(np.array(point), width), score) for point, score in generation])
            if strategy.should_stop():
                strategy = CMA(mean=strategy.mean.clip(0.0, 1.0), sigma=_STEP, bounds=bounds, seed=seed)
        return strategy

    def _units(self, point: Point) -> Point:
        return [
            (coordinate + 0.5) / (axis.high + 1) if axis.kind == "choice" else coordinate
            for coordinate, axis in zip(point, self._axes.axes, strict=True)
        ]
