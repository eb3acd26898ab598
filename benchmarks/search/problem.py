"""A benchmark problem: a typed space, and a table that answers what a config scores. Needs numpy alone.

A number between two levels of a table counts as the nearest one (on a log scale for a log parameter). A table of several
branches (`leaves`) is chosen by one parameter; the parameters of the others are inactive.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np


class Param(NamedTuple):
    """One parameter; `values` are a choice's values or a number's levels."""

    name: str
    kind: str  # float, int or choice
    values: list[Any]
    log: bool = False
    parent: str | None = None
    parent_values: tuple[Any, ...] = ()

    def at(self, u: float) -> Any:
        """The value at `u` in [0, 1)."""
        if self.kind == "choice":
            return self.values[int(u * len(self.values))]
        low, high = self.values[0], self.values[-1]
        x = math.exp(math.log(low) + u * math.log(high / low)) if self.log else low + u * (high - low)
        return round(x) if self.kind == "int" else x

    def index(self, value: Any) -> int:
        """The level nearest to `value`."""
        if self.kind == "choice":
            return self.values.index(value)
        levels = np.asarray(self.values, float)
        if self.log:
            return int(np.argmin(np.abs(np.log(levels) - math.log(value))))
        return int(np.argmin(np.abs(levels - value)))


class Problem:
    """A table from a file that `tables.py` wrote."""

    def __init__(self, path: Path) -> None:
        stored = np.load(path)
        about = json.loads(str(stored["about"]))
        self.name, self.family = about["name"], about["family"]
        self.params = [Param(**param) for param in about["params"]]
        self.selector, self.leaves = about["selector"], about["leaves"]
        self._losses = {leaf: stored["loss_" + leaf].astype(float) for leaf in self.leaves}
        self._seconds = {leaf: stored["seconds_" + leaf].astype(float) for leaf in self.leaves}
        self.best = min(float(losses.mean(-1).min()) for losses in self._losses.values())

    def active(self, config: dict[str, Any]) -> dict[str, Any]:
        """Without inactive parameters."""
        return {
            p.name: config[p.name]
            for p in self.params
            if p.parent is None or config[p.parent] in p.parent_values
        }

    def draw(self, rng: np.random.Generator) -> dict[str, Any]:
        """A random config."""
        return self.active({p.name: p.at(rng.random()) for p in self.params})

    def evaluate(self, config: dict[str, Any], rng: np.random.Generator) -> tuple[float, float, float]:
        """Observed loss (of one training seed), true loss (mean over seeds) and seconds of training."""
        leaf = config[self.selector] if self.selector else next(iter(self.leaves))
        by_name = {p.name: p for p in self.params}
        at = tuple(by_name[name].index(config[name]) for name in self.leaves[leaf])
        losses = self._losses[leaf][at]
        return (
            float(losses[rng.integers(len(losses))]),
            float(losses.mean()),
            float(self._seconds[leaf][at]),
        )


def random_medians(problem: Problem, most: int, runs: int = 500) -> np.ndarray:
    """The true loss of random search's incumbent after 1 … `most` evaluations: the median of `runs` runs."""
    rng = np.random.default_rng(0)
    traces = np.empty((runs, most))
    for run in range(runs):
        told = [problem.evaluate(problem.draw(rng), rng)[:2] for _ in range(most)]
        traces[run] = incumbents(told)
    return np.median(traces, axis=0)


def incumbents(told: list[tuple[float, float]]) -> list[float]:
    """The true loss of the config with the best observed loss so far, after each evaluation."""
    trace, best, true = [], math.inf, math.inf
    for observed, mean in told:
        if observed < best:
            best, true = observed, mean
        trace.append(true)
    return trace
