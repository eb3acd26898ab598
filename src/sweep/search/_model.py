"""What every model-based searcher does around its model: start points, no repeats, exhaustion.

The rule of this file: a proposal is a function of (spec, seen, how many were proposed before it in the same answer). A
model only says which point it would like; here it is decided whether that point may be proposed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

from sweep.core import domain
from sweep.core.domain import canonical
from sweep.core.plugins import Observation, Proposals
from sweep.core.seeds import derive
from sweep.core.space import Config
from sweep.core.spec import Goal, SweepSpec
from sweep.search._axes import Axes
from sweep.search._design import start_count, start_point
from sweep.search._history import History, Unseen
from sweep.search._stream import DistinctStream

_START_TRIES = 32

Point = list[float | int]


class Model(Protocol):
    """What proposes points once there are enough scores."""

    asks: int
    """How often it is asked for one proposal while what it says has been proposed before."""

    def update(self, seen: Sequence[Observation]) -> None:
        """Know exactly `seen` and nothing proposed after it."""
        ...

    def ask(self, seed: int) -> Point:
        """A promising point; with another seed another one. Only what was told may matter besides."""
        ...

    def pend(self, config: Config) -> None:
        """`config` is being proposed: to be avoided by later points of the same answer."""
        ...


class ModelSearcher:
    """Start points first, then a model's; never the same config twice while a new one exists."""

    heavy = True

    def __init__(self, name: str, version: str, spec: SweepSpec, axes: Axes, model: Model) -> None:
        self.name, self.version = name, version
        self._spec, self._axes, self._model = spec, axes, model
        self._start = start_count(len(axes.axes), spec.run_cap)
        self._stream = DistinctStream(spec.space, spec.seed)
        self._history, self._unseen = History(), Unseen(self._stream.config)
        self._known = [
            Observation(-1 - i, known.config, "completed", known.score)
            for i, known in enumerate(spec.knowledge)
        ]

    def propose(self, seen: Sequence[Observation], n: int) -> Proposals:
        """The next `n` configs; see `sweep.core.plugins.Searcher`."""
        self._history.update(seen)
        told = [*self._known, *seen] if self._known else seen
        scored = sum(self._score(observation) is not None for observation in told)
        modelled = bool(self._axes.axes) and self._ready(len(told), scored)
        if modelled:
            self._model.update(told)
        taken: set[str] = set()
        configs: list[Config] = []
        while len(configs) < n:
            trial = len(seen) + len(configs)
            config = self._modelled(trial, taken) if modelled else self._started(trial, taken)
            config = config if config is not None else self._any(taken)
            if config is None:
                return Proposals(tuple(configs), exhausted=True)
            configs.append(config)
            taken.add(canonical(config))
            if modelled and len(configs) < n:
                self._model.pend(config)
        return Proposals(tuple(configs), exhausted=self._any(taken) is None)

    def _score(self, observation: Observation) -> float | None:
        """What the model is told of a trial."""
        return score_of(observation)

    def _ready(self, trials: int, scored: int) -> bool:  # noqa: ARG002
        """Whether the model may be asked after so many trials, of which so many have a score."""
        return scored >= self._start

    def _is_new(self, config: Config, taken: set[str]) -> bool:
        key = canonical(config)
        return key not in taken and key not in self._history.keys and domain.allows(self._spec.space, config)

    def _started(self, trial: int, taken: set[str]) -> Config | None:
        """The first new point of the design from number `trial` on."""
        for index in range(trial, trial + _START_TRIES):
            config = start_point(self._spec.space, self._spec.seed, index)
            if self._is_new(config, taken):
                return config
        return None

    def _modelled(self, trial: int, taken: set[str]) -> Config | None:
        """The model's point; when that has been proposed before: another one of the model's, or a neighbour."""
        if self._any(taken) is None:
            return None
        point: Point = []
        for attempt in range(self._model.asks):
            point = self._model.ask(derive(self._spec.seed, self.name, trial, attempt) % 2**31)
            config = self._axes.decode(point)
            if self._is_new(config, taken):
                return config
        return self._neighbour(point, taken)

    def _neighbour(self, point: Point, taken: set[str]) -> Config | None:
        for position, axis in enumerate(self._axes.axes):
            for step in axis.neighbours(point[position]):
                config = self._axes.decode([*point[:position], step, *point[position + 1 :]])
                if self._is_new(config, taken):
                    return config
        return None

    def _any(self, taken: set[str]) -> Config | None:
        """The first config of the random stream that is new; None when there is no new one at all."""
        return next((c for c in self._unseen.configs(self._history) if canonical(c) not in taken), None)


def score_of(observation: Observation) -> float | None:
    """The finite score of a trial that has ended with one, else None; for a pruned trial what it would be, by guess."""
    score = observation.score if observation.worth is None else observation.worth
    if observation.status in ("open", "failed") or score is None:
        return None
    return score if math.isfinite(score) else None


def goal_of(spec: SweepSpec) -> Goal:
    """The direction of the metric (minimize without one)."""
    return "minimize" if spec.metric is None else spec.metric.goal
