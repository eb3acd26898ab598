"""`optuna-tpe`: Optuna's multivariate TPE with the constant liar, over an in-memory study that mirrors `seen`.

The rule of this file: the study is a cache. It holds the usable trials of `seen` in their order, so that one grown step
by step and one built at once are alike to the sampler; when a change cannot be told to it, it is built again. The sampler
is new for each proposal, with a seed of its own, so that no generator's state outlives a question.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from typing import Any

from sweep.core.domain import canonical
from sweep.core.plugins import Observation
from sweep.core.space import Config
from sweep.core.spec import SweepSpec
from sweep.search._axes import Axes, Axis
from sweep.search._model import ModelSearcher, Point, goal_of, score_of

NAME = "optuna-tpe"
# Dropped trials that a study may hold before it is built again.
_CROWDED = 500
_ASKS = 5
# It knows nothing of constraints, and is asked so many times more often under them.
_CONSTRAINED = 6


class TpeSearcher(ModelSearcher):
    """Tree-structured Parzen estimators (Bergstra et al., NeurIPS 2011) as Optuna has them, multivariate.

    Pruned trials are told as completed ones with their score; failed ones, and those without a finite score, as
    pruned ones without a value, which TPE ranks below everything; open ones as running, which the constant liar avoids.
    """

    def __init__(self, spec: SweepSpec) -> None:
        axes = Axes(spec.space)
        super().__init__(NAME, f"1+optuna-{version('optuna')}", spec, axes, _Tpe(axes, goal_of(spec)))


class _Tpe:
    """The mirror of `seen` in an Optuna study."""

    def __init__(self, axes: Axes, goal: str) -> None:
        self.asks = _ASKS * (_CONSTRAINED if axes.space.constraints else 1)
        self._axes, self._goal = axes, goal
        self._study: Any = None
        self._told: list[Observation] = []
        # For each told observation its trial's number in the study; None: not usable.
        self._numbers: list[int | None] = []
        self._pending: list[int] = []  # trials of the study that are proposals not yet in `seen`
        self._count = 0  # trials in the study, with those that were asked for and dropped

    def update(self, seen: Sequence[Observation]) -> None:
        """Make the study hold the usable trials of `seen`, and nothing else that the sampler minds."""
        with quiet():
            for number in self._pending if self._study is not None else ():
                self._drop(number)
            self._pending = []
            crowded = self._count > _CROWDED + 3 * len(seen)
            if crowded or not self._tell_changes(seen):
                self._rebuild(seen)

    def ask(self, seed: int) -> Point:
        """A point with a high ratio of the good trials' density to the others'."""
        with quiet():
            self._study.sampler = self._sampler(seed)
            try:
                trial, point = self._asked()
            except BaseException:
                self._study = None  # it may hold half a trial: to be built again
                raise
            self._count += 1
            self._drop(trial.number)
        return point

    def _asked(self) -> tuple[Any, Point]:
        """A trial of the study and its point. Where parameters depend on others, those come first, and what is inactive then
        is not asked for."""
        axes = self._axes.axes
        if not self._axes.conditional:
            trial = self._study.ask(fixed_distributions=self._distributions)
            return trial, [trial.params[key_of(i)] for i in range(len(axes))]
        trial, point = self._study.ask(), [axis.rest for axis in axes]
        for i in self._axes.order:
            if self._axes.active(point)[i]:
                point[i] = _suggested(trial, key_of(i), axes[i])
        return trial, point

    def pend(self, config: Config) -> None:
        """Count `config` as running until the next update."""
        with quiet():
            number = self._add(config, None, "open")
        assert number is not None
        self._pending.append(number)

    def _drop(self, number: int) -> None:
        """Out of the sampler's sight: it ignores failed trials."""
        from optuna.trial import TrialState

        self._study.tell(number, state=TrialState.FAIL)

    def _rebuild(self, seen: Sequence[Observation]) -> None:
        import optuna

        self._distributions = {key_of(i): distribution_of(axis) for i, axis in enumerate(self._axes.axes)}
        self._sampler = _sampler_over(self._distributions, self._groups())
        self._study = optuna.create_study(
            storage=optuna.storages.InMemoryStorage(), direction=self._goal, study_name="sweep"
        )
        self._told, self._numbers, self._pending, self._count = [], [], [], 0
        self._tell_changes(seen)

    def _groups(self) -> list[dict[str, Any]]:
        """The distributions by the conditions under which their parameters are active."""
        groups: dict[Any, dict[str, Any]] = {}
        for i, axis in enumerate(self._axes.axes):
            conditions = tuple((c.path, tuple(map(canonical, c.values))) for c in axis.parameter.when)
            groups.setdefault(conditions, {})[key_of(i)] = self._distributions[key_of(i)]
        return list(groups.values())

    def _tell_changes(self, seen: Sequence[Observation]) -> bool:
        """Tell what is new in `seen`; False when something told has changed in a way that a study cannot take back."""
        if self._study is None or len(seen) < len(self._told):
            return False
        for index, (old, new) in enumerate(zip(self._told, seen, strict=False)):
            if old is not new and not self._tell(index, old, new):
                return False
        for observation in seen[len(self._told) :]:
            self._numbers.append(self._add(observation.config, score_of(observation), observation.status))
            self._told.append(observation)
        return True

    def _tell(self, index: int, old: Observation, new: Observation) -> bool:
        if canonical(old.config) != canonical(new.config):
            return False
        before, after = (old.status == "open", score_of(old)), (new.status == "open", score_of(new))
        self._told[index] = new
        if before == after:
            return True
        if not before[0]:
            return False
        number = self._numbers[index]
        if number is not None:
            self._end(number, after[1])
        return True

    def _end(self, number: int, score: float | None) -> None:
        from optuna.trial import TrialState

        if score is None:
            self._study.tell(number, state=TrialState.PRUNED)
        else:
            self._study.tell(number, score)

    def _add(self, config: Config, score: float | None, status: str) -> int | None:
        from optuna.trial import TrialState, create_trial

        point = self._axes.encode(config)
        if point is None:
            return None
        state = TrialState.RUNNING if status == "open" else TrialState.COMPLETE
        if status != "open" and score is None:
            state = TrialState.PRUNED
        active = self._axes.active(point)
        params = {key_of(i): coordinate for i, coordinate in enumerate(point) if active[i]}
        distributions = {key: self._distributions[key] for key in params}
        trial = create_trial(state=state, value=score, params=params, distributions=distributions)
        self._study.add_trial(trial)
        self._count += 1
        return self._count - 1


def _sampler_over(distributions: dict[str, Any], groups: list[dict[str, Any]]) -> Callable[[int], Any]:
    """What makes a TPE sampler with a seed. Our space is the same for all trials, and said to it, because finding that
    out from the trials again would take half the time of a question. With several `groups`, parameters that are always active
    together share a model."""
    from optuna.samplers import TPESampler
    from optuna.search_space.group_decomposed import _SearchSpaceGroup

    class Sampler(TPESampler):  # type: ignore[misc, unused-ignore]
        def infer_relative_search_space(self, study: Any, trial: Any) -> dict[str, Any]:  # noqa: ARG002
            if len(groups) > 1:
                self._search_space_group = _SearchSpaceGroup()
                for group in groups:
                    self._search_space_group.add_distributions(group)
            return distributions

    return lambda seed: Sampler(
        seed=seed, multivariate=True, group=len(groups) > 1, constant_liar=True, n_startup_trials=1
    )


def _suggested(trial: Any, key: str, axis: Axis) -> float | int:
    """The trial's coordinate on this axis."""
    found: float | int
    if axis.kind == "choice":
        found = trial.suggest_categorical(key, tuple(range(int(axis.high) + 1)))
    elif axis.kind == "int":
        found = trial.suggest_int(key, int(axis.low), int(axis.high), log=axis.log)
    else:
        found = trial.suggest_float(key, axis.low, axis.high, log=axis.log)
    return found


def key_of(index: int) -> str:
    """Name of an axis in the study: positions keep their order when sorted, whatever the parameters are called."""
    return f"{index:06d}"


def distribution_of(axis: Axis) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if axis.kind == "choice":
        return CategoricalDistribution(tuple(range(int(axis.high) + 1)))
    if axis.kind == "int":
        return IntDistribution(int(axis.low), int(axis.high), log=axis.log)
    return FloatDistribution(axis.low, axis.high, log=axis.log)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Optuna's information and warnings are about its own use, which is ours to answer for."""
    import optuna

    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        optuna.logging.set_verbosity(verbosity)
