"""`optuna-gp`: Optuna's Gaussian process sampler, which needs torch (`pip install 'sweep[gp]'`).

The rule of this file: nothing is kept between questions. A study is built and told everything for each proposal, because the
sampler starts each fit from the last one's parameters: a new one has a seed and nothing else to remember. The study is
flat: it knows no conditions, so an inactive parameter stands at its axis' rest, as a new proposal does after decoding.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from sweep.core.errors import SweepError
from sweep.core.plugins import Observation
from sweep.core.space import Config
from sweep.core.spec import SweepSpec
from sweep.search._axes import Axes
from sweep.search._model import ModelSearcher, Point, goal_of, score_of
from sweep.search._tpe import distribution_of, key_of, quiet

NAME = "optuna-gp"
MOST_BEST = 80
"""The process, whose cost grows with the cube, sees so many of the best trials at most …"""
MOST_LATEST = 40
"""… and so many of the latest others."""


class EngineMissing(SweepError, ValueError):
    """The engine's library is not installed here."""


class OptunaGpSearcher(ModelSearcher):
    """Log expected improvement under a Gaussian process (Matern 5/2), as Optuna's `GPSampler` has it.

    Failed trials, and those without a finite score, count as the worst score seen; open ones are running trials to it.
    """

    def __init__(self, spec: SweepSpec) -> None:
        """Raises EngineMissing where torch is not installed."""
        try:
            described = f"1+optuna-{version('optuna')}+torch-{version('torch')}"
        except PackageNotFoundError:
            raise EngineMissing(
                "engine 'optuna-gp' needs torch, which is not installed here; install it with `pip install 'sweep[gp]'`, "
                "or name another engine: `auto` has a Gaussian process of its own and needs no torch"
            ) from None
        axes = Axes(spec.space)
        super().__init__(NAME, described, spec, axes, _Study(axes, goal_of(spec)))


class _Study:
    """What was told, for a study that is made for each question."""

    asks = 1

    def __init__(self, axes: Axes, goal: str) -> None:
        self._axes, self._goal = axes, goal
        self._scored: list[tuple[Point, float]] = []
        self._pending: list[Point] = []

    def update(self, seen: Sequence[Observation]) -> None:
        """Take the usable trials of `seen`."""
        ended: list[tuple[Point, float | None]] = []
        self._pending = []
        for observation in seen:
            point = self._axes.encode(observation.config)
            if point is None:
                continue
            if observation.status == "open":
                self._pending.append(point)
            else:
                ended.append((point, score_of(observation)))
        known = [score for _, score in ended if score is not None]
        worst = (max if self._goal == "minimize" else min)(known, default=0.0)
        self._scored = [(point, worst if score is None else score) for point, score in ended]

    def pend(self, config: Config) -> None:
        """Count `config` as open until the next update."""
        point = self._axes.encode(config)
        assert point is not None
        self._pending.append(point)

    def ask(self, seed: int) -> Point:
        """The most promising point."""
        import optuna
        from optuna.trial import TrialState, create_trial

        keys = [key_of(number) for number in range(len(self._axes.axes))]
        space = {key: distribution_of(axis) for key, axis in zip(keys, self._axes.axes, strict=True)}

        def trial_of(point: Point, score: float | None) -> Any:
            state = TrialState.RUNNING if score is None else TrialState.COMPLETE
            params = dict(zip(keys, point, strict=True))
            return create_trial(state=state, value=score, params=params, distributions=space)

        with quiet():
            sampler = optuna.samplers.GPSampler(seed=seed, n_startup_trials=1)
            study = optuna.create_study(direction=self._goal, study_name="sweep", sampler=sampler)
            study.add_trials([trial_of(point, score) for point, score in self._thinned()])
            study.add_trials([trial_of(point, None) for point in self._pending[-MOST_LATEST:]])
            asked = study.ask(fixed_distributions=space)
        return [asked.params[key] for key in keys]

    def _thinned(self) -> list[tuple[Point, float]]:
        """The best and the latest, in their order."""
        sign = 1.0 if self._goal == "minimize" else -1.0
        order = sorted(range(len(self._scored)), key=lambda number: sign * self._scored[number][1])
        best, others = order[:MOST_BEST], sorted(order[MOST_BEST:])
        widest = max((abs(score) for _, score in self._scored), default=0.0)
        scale = 1.0 if widest < 1e100 else 1e100 / widest  # squares of scores must stay finite
        return [
            (self._scored[number][0], scale * self._scored[number][1])
            for number in sorted(best + others[-MOST_LATEST:])
        ]
