"""The numbers behind `importance`: a forest, PED-ANOVA, correlations, each with its resampling.

The rule of this file: arrays in, arrays out; chance only from the given generator. Work is bounded by resamples of at
most `LARGEST_RESAMPLE` trials, so that 10,000 trials take hardly longer than 1,000.
"""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sweep.analysis.axes import Axis

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]
Flags = NDArray[np.bool_]

TREES = 16
RESAMPLES = 20
SHUFFLES_OF_FEW, SHUFFLES_OF_MANY = 10, 5
PED_RESAMPLES = 20
PED_SHUFFLES = 10
LARGEST_RESAMPLE = 1000
INTERVAL = (0.05, 0.95)


class Estimate(NamedTuple):
    """Raw importances per parameter, none negative on average; `noise` is on the same scale."""

    method: str
    mean: Floats
    low: Floats
    high: Floats
    noise: float
    silent: str = ""
    """Why the numbers mean nothing, empty when they do."""


class Data(NamedTuple):
    """What the trees see: features, which columns are of each parameter, and which trials have a value of it."""

    features: Floats
    groups: list[list[int]]
    present: Flags


def ranks(values: Floats) -> Floats:
    """Average ranks scaled to [0, 1]: what remains of the objective does not depend on its tail."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    middles = ends - (counts - 1) / 2.0
    return np.asarray((middles[inverse] - 1.0) / max(len(values) - 1, 1), dtype=np.float64)


# --- the forest ------------------------------------------------------------------------------------------------


def forest(
    axes: list[Axis], places: Floats, present: Flags, target: Floats, generator: np.random.Generator
) -> Estimate:
    """Permutation importance on unseen trials, in units of explained variance (R²), over bootstrap resamples. `present`: which
    trials have a value of which parameter; only among those is it shuffled."""
    import sklearn

    groups, features = _features(axes, places)
    data = Data(features, groups, present)
    true = [_drops(data, target, generator) for _ in range(RESAMPLES)]
    shuffles = SHUFFLES_OF_FEW if len(target) <= 300 else SHUFFLES_OF_MANY
    shuffled = [_shuffled_drops(data, target, generator) for _ in range(shuffles)]
    method = f"permutation importance of extremely randomised trees (scikit-learn {sklearn.__version__})"
    silent = ""
    if np.mean([r2 for r2, _ in true]) <= max(r2 for r2, _ in shuffled):
        silent = "the parameters predict unseen trials no better than they predict a shuffled objective"
    return _estimate(
        method, np.array([drop for _, drop in true]), np.array([drop for _, drop in shuffled]), silent
    )


def _shuffled_drops(data: Data, target: Floats, generator: np.random.Generator) -> tuple[float, Floats]:
    """What the forest and the parameters seem worth when the objective has nothing to do with them; means over
    resamples, as the real ones are."""
    shuffled = generator.permutation(target)
    found = [_drops(data, shuffled, generator) for _ in range(3)]
    mean = np.mean([drop for _, drop in found], axis=0)
    return float(np.mean([r2 for r2, _ in found])), np.asarray(mean, dtype=np.float64)


def _estimate(method: str, drops: Floats, shuffled: Floats, silent: str) -> Estimate:
    low, high = np.quantile(drops, INTERVAL, axis=0)
    mean = np.maximum(drops.mean(axis=0), 0.0)
    return Estimate(method, mean, low, high, max(float(np.quantile(shuffled, 0.95)), 0.0), silent)


def _drops(data: Data, target: Floats, generator: np.random.Generator) -> tuple[float, Floats]:
    """R² on the trials left out of one bootstrap resample, and by how much it falls without each parameter."""
    from sklearn.ensemble import ExtraTreesRegressor

    features, groups = data.features, data.groups
    seen, unseen = _split(len(target), generator)
    model = ExtraTreesRegressor(
        n_estimators=TREES, min_samples_leaf=2, random_state=int(generator.integers(2**31)), n_jobs=1
    ).fit(features[seen], target[seen])
    base = features[unseen]
    stacked = np.repeat(base[None], len(groups) + 1, axis=0)
    for number, columns in enumerate(groups, start=1):
        holders = np.flatnonzero(data.present[unseen, number - 1])
        mixed = generator.permutation(holders)
        for column in columns:
            stacked[number][holders, column] = base[mixed, column]
    predicted = model.predict(stacked.reshape(-1, features.shape[1])).reshape(len(groups) + 1, -1)
    errors = ((predicted - target[unseen]) ** 2).mean(axis=1)
    variance = float(target.var()) or 1.0
    return 1.0 - float(errors[0]) / variance, np.asarray(
        (errors[1:] - errors[0]) / variance, dtype=np.float64
    )


def _split(n: int, generator: np.random.Generator) -> tuple[Indices, Indices]:
    """A bootstrap resample and up to as many trials that are not in it; at least two of each kind."""
    size = min(n, LARGEST_RESAMPLE)
    while True:
        seen = generator.integers(n, size=size)
        unseen = np.setdiff1d(np.arange(n), seen)
        if len(unseen) >= 2:
            return seen, generator.permutation(unseen)[:LARGEST_RESAMPLE]


def _features(axes: list[Axis], places: Floats) -> tuple[list[list[int]], Floats]:
    """Columns for the trees and which of them belong to each parameter: positions as they are, unordered categories
    as one column each, an absent number below all others."""
    groups: list[list[int]] = []
    columns: list[Floats] = []
    for number, axis in enumerate(axes):
        place = places[:, number]
        if axis.scale == "category" and not axis.ordinal and len(axis.categories) > 2:
            made = [(place == category).astype(np.float64) for category in range(len(axis.categories))]
        else:
            made = [np.where(np.isnan(place), axis.low - (axis.high - axis.low), place)]
        groups.append(list(range(len(columns), len(columns) + len(made))))
        columns.extend(made)
    return groups, np.column_stack(columns)


# --- PED-ANOVA -------------------------------------------------------------------------------------------------


def ped_anova(
    axes: list[Axis], places: Floats, target: Floats, generator: np.random.Generator, *, minimize: bool
) -> Estimate:
    """Optuna's PED-ANOVA over bootstrap resamples."""
    import optuna

    n = len(target)
    size = min(n, LARGEST_RESAMPLE)
    with _quiet_optuna():
        evaluate = _ped_evaluator(axes, places, minimize)
        true = [evaluate(generator.integers(n, size=size), target) for _ in range(PED_RESAMPLES)]
        shuffled = [
            evaluate(generator.integers(n, size=size), generator.permutation(target))
            for _ in range(PED_SHUFFLES)
        ]
    method = f"PED-ANOVA of the best tenth of the trials (Optuna {optuna.__version__})"
    return _estimate(method, np.array(true), np.array(shuffled), "")


def _ped_evaluator(
    axes: list[Axis], places: Floats, minimize: bool
) -> Callable[[Indices, Floats], list[float]]:
    import optuna
    from optuna.importance import PedAnovaImportanceEvaluator

    distributions = {str(i): _optuna_distribution(axis) for i, axis in enumerate(axes)}
    params = [_optuna_params(axes, row) for row in places]

    def trial(number: int, chosen: int, score: float) -> Any:
        now = datetime.fromtimestamp(0)
        state = optuna.trial.TrialState.COMPLETE
        return optuna.trial.FrozenTrial(
            number, state, score, now, now, params[chosen], distributions, {}, {}, {}, trial_id=number
        )

    def evaluate(chosen: Indices, target: Floats) -> list[float]:
        sample = [trial(number, int(i), float(target[i])) for number, i in enumerate(chosen)]
        study = optuna.create_study(direction="minimize" if minimize else "maximize")
        # Adding the trials to the study would copy each of them deeply, for every resample: 25 times the work itself.
        study.get_trials = lambda deepcopy=True, states=None: list(sample)  # noqa: ARG005
        found = PedAnovaImportanceEvaluator().evaluate(study)
        return [float(found.get(str(i), 0.0)) for i in range(len(axes))]

    return evaluate


def _optuna_distribution(axis: Axis) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    if axis.scale == "category":
        return CategoricalDistribution(tuple(range(len(axis.categories))))
    return FloatDistribution(axis.low, axis.high)  # positions: a log axis is already linear here


def _optuna_params(axes: list[Axis], row: Floats) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for number, (axis, place) in enumerate(zip(axes, row, strict=True)):
        if axis.scale == "category":
            found[str(number)] = int(place)
        else:
            found[str(number)] = axis.low if np.isnan(place) else axis.clip(float(place))
    return found


@contextlib.contextmanager
def _quiet_optuna() -> Iterator[None]:
    """Without Optuna's experimental warnings and its line per study."""
    logger = logging.getLogger("optuna")
    before = logger.disabled
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logger.disabled = True
        logging.getLogger("optuna.storages._in_memory").disabled = True
        try:
            yield
        finally:
            logger.disabled = before
            logging.getLogger("optuna.storages._in_memory").disabled = False


# --- correlation -----------------------------------------------------------------------------------------------


def correlation(axis: Axis, place: Floats, target: Floats) -> tuple[float | None, Literal["rho", "eta", ""]]:
    """Spearman's rank correlation of a numeric parameter (or one with numbers as categories) with the objective; for
    other categories the correlation ratio eta of the objective's ranks, corrected as Kelley (1935, PNAS 21) does."""
    known = ~np.isnan(place)
    place, target = place[known], target[known]
    if len(place) < 3 or np.ptp(place) == 0 or np.ptp(target) == 0:
        return None, ""
    if axis.scale != "category" or axis.ordinal:
        return float(np.clip(np.corrcoef(ranks(place), ranks(target))[0, 1], -1.0, 1.0)), "rho"
    return _eta(place, ranks(target)), "eta"


def _eta(place: Floats, target: Floats) -> float | None:
    categories, member = np.unique(place, return_inverse=True)
    n, k = len(target), len(categories)
    if n <= k:
        return None
    means = np.bincount(member, weights=target) / np.bincount(member)
    within = float(((target - means[member]) ** 2).sum())
    total = float(((target - target.mean()) ** 2).sum())
    unexplained = (within / (n - k)) / (total / (n - 1))
    return float(np.sqrt(max(0.0, 1.0 - unexplained)))
