"""`blend`, our own engine: a Gaussian process that knows conditions and steps, and an explorer beside it.

The rule of this file: it translates between observations and rows (see `_frame`). What it keeps between questions are the rows
of configs that it has seen, because a trial's config never changes; the models themselves start afresh each time.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from sweep.core import domain
from sweep.core.multiples import count
from sweep.core.plugins import Observation
from sweep.core.seeds import derive
from sweep.core.space import Categorical, Config
from sweep.core.spec import SweepSpec
from sweep.search._axes import Axes, Axis
from sweep.search._model import ModelSearcher, Point, goal_of, score_of
from sweep.search._sobol import SobolPoints

if TYPE_CHECKING:
    from sweep.search._blended import Told
    from sweep.search._frame import Array, Column, Frame

NAME = "blend"
START = 8
"""Trials that come before the models are asked, and twice the scores that they wait for; fewer where the budget is small."""
_FEW = 1000
"""A number with more values than this is as good as continuous."""
_TRIES = 32


class BlendSearcher(ModelSearcher):
    """Start points, then whatever the model finds most promising.

    Failed trials, and those without a finite score, count as the worst score seen; open ones as what the model expects
    there. A trial that is not whole counts with its promise, also while it is open.
    """

    def __init__(self, spec: SweepSpec, name: str = NAME) -> None:
        axes = Axes(spec.space, quantiles=True)
        model = _Blend(axes, goal_of(spec))
        described = f"5+numpy-{version('numpy')}+scipy-{version('scipy')}"
        super().__init__(name, described, spec, axes, model)
        self._blend = model
        self._start = min(self._start, START)
        self._design = SobolPoints(spec.space, spec.seed)

    def _score(self, observation: Observation) -> float | None:
        return told_score(observation)

    def _ready(self, trials: int, scored: int) -> bool:
        """With many workers the first scores come late: half of them have to do then."""
        return trials >= self._start and 2 * scored >= self._start

    def _started(self, trial: int, taken: set[str]) -> Config | None:
        for index in range(trial, trial + _TRIES):
            config = self._design.config(index)
            if self._is_new(config, taken):
                return config
        return None

    def _modelled(self, trial: int, taken: set[str]) -> Config | None:
        if self._any(taken) is None:
            return None
        for point in self._blend.ranked(derive(self._spec.seed, NAME, trial)):
            config = self._axes.decode(point)
            if self._is_new(config, taken):
                return config
        return None


def told_score(observation: Observation) -> float | None:
    """What a trial promises while it is not whole, else its score."""
    promise = observation.promise
    return promise if promise is not None and math.isfinite(promise) else score_of(observation)


class _Blend:
    """What was told, as rows."""

    asks = 1

    def __init__(self, axes: Axes, goal: str) -> None:
        self._axes, self._sign = axes, 1.0 if goal == "minimize" else -1.0
        self._frame: Frame | None = None
        self._known: list[tuple[Config, Point | None]] = []
        self._points: list[Point] = []
        self._scores: list[float] = []
        self._pending: list[Point] = []

    def update(self, seen: Sequence[Observation]) -> None:
        """Take the usable trials of `seen`, with the better ones lower."""
        self._points, self._scores, self._pending = [], [], []
        for number, observation in enumerate(seen):
            point = self._point(number, observation.config)
            if point is None:
                continue
            score = told_score(observation)
            if observation.status == "open" and score is None:
                self._pending.append(point)
                continue
            self._points.append(point)
            self._scores.append(math.nan if score is None else self._sign * score)

    def pend(self, config: Config) -> None:
        """Count `config` as open until the next update."""
        point = self._axes.encode(config)
        assert point is not None
        self._pending.append(point)

    def ask(self, seed: int) -> Point:
        """The most promising point."""
        return next(self.ranked(seed))

    def ranked(self, seed: int) -> Iterator[Point]:
        """Points, the most promising first."""
        from sweep.search import _blended

        if self._frame is None:
            self._frame = frame_of(self._axes)
        for row in _blended.ranked(self._frame, self._told(), seed):
            yield row.tolist()

    def _told(self) -> Told:
        import numpy as np

        from sweep.search._blended import Told

        assert self._frame is not None
        canonical = self._frame.canonical

        def rows(points: list[Point]) -> Array:
            return canonical(np.array(points, dtype=np.float64).reshape(-1, len(self._axes.axes)))

        return Told(rows(self._points), np.array(self._scores), rows(self._pending))

    def _point(self, number: int, config: Config) -> Point | None:
        """Where `config` stands, remembered by the trial's number."""
        if number < len(self._known):
            known, point = self._known[number]
            if known is config or domain.canonical(known) == domain.canonical(config):
                return point
            del self._known[number:]
        point = self._axes.encode(config)
        self._known.append((config, point))
        return point


def frame_of(axes: Axes) -> Frame:
    """The table that our models compute with: a column for each axis."""
    from sweep.search._activity import Activity
    from sweep.search._frame import Frame

    return Frame([_column(axis) for axis in axes.axes], Activity(axes).mask if axes.conditional else None)


def _column(axis: Axis) -> Column:
    import numpy as np

    from sweep.search._frame import Column

    dist = axis.parameter.distribution
    if isinstance(dist, Categorical):
        values = domain.support(dist)
        assert values is not None
        return Column(choices=len(values), weights=_weights(dist, values))
    steps = domain.support(dist)
    if steps is None or count(steps) > _FEW:
        return Column()
    return Column(levels=np.unique([domain.to_unit(dist, step) for step in steps]))


def _weights(dist: Categorical, values: Sequence[Any]) -> Array | None:
    """The probabilities of the distinct `values`; None where they are equal."""
    import numpy as np

    keys = [domain.canonical(value) for value in dist.values]
    shares = dist.probabilities or (1.0,) * len(keys)
    total = {domain.canonical(value): 0.0 for value in values}
    for key, share in zip(keys, shares, strict=True):
        if key in total:
            total[key] += share
    weights = np.array(list(total.values()))
    return None if np.all(weights == weights[0]) else weights / weights.sum()
