"""`skopt-et`, `skopt-rf` and `skopt-gp`: scikit-optimize's optimiser with extra trees, a random forest or a Gaussian process.

The rule of this file: nothing is kept between questions. An optimiser is built and told everything at once for each
proposal, because it fits its model in `tell`. Every number stands at its quantile in [0, 1] (trees only see its order),
so that whatever the model proposes lies in bounds.
"""

from __future__ import annotations

import statistics
import warnings
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import Any

from sweep.core import domain
from sweep.core.plugins import Observation
from sweep.core.space import Config
from sweep.core.spec import SweepSpec
from sweep.search._activity import Activity
from sweep.search._axes import Axes
from sweep.search._model import ModelSearcher, Point, goal_of, score_of

NAME = "skopt-et"
MAX_BEST = 100
"""Trees see so many of the best trials at most …"""
MAX_LATEST = 300
"""… and so many of the latest others: a fit then takes a few tenths of a second however long the sweep is."""
MAX_PROCESS = 60
"""The process, whose cost grows with the cube, sees so many trials at most, two thirds of them the best ones."""
# Trees grown to the last observation are certain of themselves everywhere; these settings leave them doubts.
_TREES = 40
_LEAF = 2
_FEATURES = 0.5
_INACTIVE = -1.0
# Under constraints, where each candidate is looked at: how many there are, and how many are drawn for that at most.
_CANDIDATES = 2_000
_MOST_CANDIDATES = 10_000


class ForestSearcher(ModelSearcher):
    """Expected improvement under extremely randomised trees (Geurts et al., Machine Learning 63, 2006).

    Scores worse than the median count as the median: trees would otherwise spend their splits on how bad the bad ones
    are. Failed trials, and those without a finite score, are told as the worst score seen; open ones as the mean. Of long histories the model sees the best `MAX_BEST` and the latest `MAX_LATEST` trials.
    """

    def __init__(self, spec: SweepSpec, name: str = NAME) -> None:
        """`name`: the engine's, which says the model."""
        axes = Axes(spec.space, quantiles=True)
        described = f"1+skopt-{version('scikit-optimize')}+sklearn-{version('scikit-learn')}"
        super().__init__(name, described, spec, axes, _Forest(axes, goal_of(spec), name))


class _Forest:
    asks = 2

    def __init__(self, axes: Axes, goal: str, name: str = NAME) -> None:
        self._axes, self._sign, self._name = axes, 1.0 if goal == "minimize" else -1.0, name
        self._points: list[Point] = []
        self._scores: list[float | None] = []
        self._pending: list[Point] = []

    def update(self, seen: Sequence[Observation]) -> None:
        """Take the usable trials of `seen`, scaled, with the better ones lower."""
        self._points, self._scores, self._pending = [], [], []
        for observation in seen:
            point = self._axes.encode(observation.config)
            if point is None:
                continue
            if observation.status == "open":
                self._pending.append(point)
                continue
            score = score_of(observation)
            self._points.append(point)
            self._scores.append(None if score is None else self._sign * score)

    def ask(self, seed: int) -> Point:
        """The point with the largest expected improvement among many random ones."""
        points, scores = self._told()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import numpy
            from skopt import Optimizer

            optimizer = Optimizer(
                dimensions := self._dimensions(),
                base_estimator=self._estimator(seed, dimensions),
                n_initial_points=1,
                acq_func="EI",
                acq_optimizer="sampling",
                random_state=seed,
                avoid_duplicates=False,
                space_constraint=self._constraint(),
                acq_optimizer_kwargs={"n_points": _CANDIDATES} if self._axes.space.constraints else None,
            )
            with numpy.errstate(all="ignore"):
                if points:
                    optimizer.tell(points, scores)
                asked = optimizer.ask()
        return [
            int(value) if axis.kind == "choice" else float(value)
            for axis, value in zip(self._axes.axes, asked, strict=True)
        ]

    def pend(self, config: Config) -> None:
        """Count `config` as open until the next update."""
        point = self._axes.encode(config)
        assert point is not None
        self._pending.append(point)

    def _told(self) -> tuple[list[Point], list[float]]:
        """Points and scores for the model: the thinned history, then what is open with a believed score."""
        scores = scaled(self._scores)
        order = sorted(range(len(scores)), key=lambda i: scores[i])
        most_best, most_latest = MAX_BEST, MAX_LATEST
        if self._name == "skopt-gp":
            most_best, most_latest = 2 * MAX_PROCESS // 3, MAX_PROCESS // 3
        best, others = order[:most_best], sorted(order[most_best:])
        chosen = sorted(best + others[-most_latest:])
        believed = statistics.fmean(scores[i] for i in chosen) if chosen else 0.0
        pending = self._pending[-most_latest:]
        points = [self._points[i] for i in chosen] + pending
        return points, [scores[i] for i in chosen] + [believed] * len(pending)

    def _constraint(self) -> Callable[[Any], bool] | None:
        """What tells the optimiser which candidates the constraints allow; after many it lets everything pass, and what it
        then proposes is judged by who asked."""
        if not self._axes.space.constraints:
            return None
        left = _MOST_CANDIDATES

        def allowed(candidate: Any) -> bool:
            nonlocal left
            left -= 1
            return left < 0 or domain.allows(self._axes.space, self._axes.decode(list(candidate)))

        return allowed

    def _estimator(self, seed: int, dimensions: list[Any]) -> Any:
        """The model. Where parameters can be inactive, a forest sees a value below all others in their place: the optimiser itself
        knows nothing of conditions, and draws values for them. To the process they are noise."""
        from skopt.learning import ExtraTreesRegressor, RandomForestRegressor

        if self._name == "skopt-gp":
            from skopt.utils import cook_estimator, normalize_dimensions

            space = normalize_dimensions(dimensions)
            return cook_estimator(
                "GP", space=space, random_state=seed, noise="gaussian", n_restarts_optimizer=0
            )
        kind = RandomForestRegressor if self._name == "skopt-rf" else ExtraTreesRegressor
        made = kind(n_estimators=_TREES, min_samples_leaf=_LEAF, max_features=_FEATURES, random_state=seed)
        if not self._axes.conditional:
            return made
        return _conditional(kind, _settling(self._axes, dimensions))(**made.get_params())

    def _dimensions(self) -> list[Any]:
        from skopt.space import Categorical, Real

        return [
            Categorical(list(range(int(axis.high) + 1))) if axis.kind == "choice" else Real(0.0, 1.0)
            for axis in self._axes.axes
        ]


def _conditional(trees: Any, settle: Callable[[Any], Any]) -> Any:
    """This class of forests, for points whose inactive parameters are to be told by `settle`."""

    class Conditional(trees):  # type: ignore[misc]
        def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
            return super().fit(settle(X), y, sample_weight)

        def predict(self, X: Any, return_std: bool = False) -> Any:
            return super().predict(settle(X), return_std)

    return Conditional


def _settling(axes: Axes, dimensions: list[Any]) -> Callable[[Any], Any]:
    """What puts `_INACTIVE` into the columns of inactive parameters, for points as the optimiser's model sees them: one column
    per number, and one per choice where there are more than two."""
    import numpy as np

    activity = Activity(axes)
    ends = np.cumsum([dimension.transformed_size for dimension in dimensions])
    columns = [slice(end - d.transformed_size, end) for end, d in zip(ends, dimensions, strict=True)]

    def settle(transformed: Any) -> Any:
        settled = np.array(transformed, dtype=np.float64)
        points = np.column_stack(
            [
                np.asarray(dimension.inverse_transform(settled[:, where]), dtype=np.float64).ravel()
                for dimension, where in zip(dimensions, columns, strict=True)
            ]
        )
        for active, where in zip(activity.mask(points).T, columns, strict=True):
            settled[~active, where] = _INACTIVE
        return settled

    return settle


def scaled(scores: Sequence[float | None]) -> list[float]:
    """Scores (lower is better) below their median, in units of the lower quartile's distance from it; those above it,
    and None, are 0. Always finite."""
    known = sorted(score for score in scores if score is not None)
    if not known:
        return [0.0] * len(scores)
    middle = known[len(known) // 2]
    width = middle / 2 - known[len(known) // 4] / 2 or middle / 2 - known[0] / 2 or 1.0

    def scale(score: float) -> float:
        return min(max((score / 2 - middle / 2) / width, -1e6), 0.0)

    return [scale(known[-1] if score is None else score) for score in scores]
