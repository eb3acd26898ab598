"""Stoppers: what ends poor runs early. Pure; no stores, processes or clocks.

The rule of this package: a stopper judges by the reported values alone, whatever the order in which runs report.
"""

from __future__ import annotations

import math

from sweep.core.plugins import Stopper
from sweep.core.spec import EarlyTerminate, Metric, SweepSpec, unit_of

MIN_ITER = {"asha": 5, "median": 8, "percentile": 5, "plateau": 15, "threshold": 1}
"""The first iteration at which a rule judges runs where neither min_iter nor max_iter says it."""
MIN_SHARE = {"asha": 10, "median": 6, "percentile": 10, "plateau": 3}
"""With max_iter alone, runs are judged from this part of it on."""
MIN_RUNS = {"asha": 8, "median": 8, "percentile": 5}
LATER_RUNS = 4
"""With `trend`, so many are enough where runs are judged for a second time, unless min_runs says it."""
PERCENTILE, PERCENTILE_OF_TRENDS = 65.0, 60.0
_GROWTH, _GROWTH_OF_TRENDS = 1.1, 1.5
_FARTHEST = 2.0**53


def make_stopper(spec: SweepSpec) -> Stopper | None:
    """The stopper that `early_terminate` asks for; None without one, or without a metric to judge by.

    Raises ValueError when its numbers make no rule.
    """
    early, metric = spec.early_terminate, spec.metric
    if early is None or early.type == "none" or metric is None:
        return None
    if early.type == "hyperband":
        from sweep.stopping._hyperband import Hyperband

        return Hyperband(metric, early)
    return _own(early, metric)


def _own(early: EarlyTerminate, metric: Metric) -> Stopper:
    step = unit_of(early)
    first, end = first_rung(early), early.max_iter
    if early.type == "plateau":
        from sweep.stopping._alone import Plateau

        return Plateau(
            metric,
            step=step,
            first=first,
            end=end,
            patience=early.patience,
            share=early.patience_share,
            min_delta=early.min_delta,
        )
    if early.type == "threshold":
        from sweep.stopping._alone import Threshold

        if early.threshold is None:
            raise ValueError("early_terminate: threshold needs `threshold`, the value to reach")
        return Threshold(metric, step=step, first=first, end=end, threshold=early.threshold)
    from sweep.stopping._rungs import RungStopper

    eta = kept_eta(early)
    halving, growth = early.type == "asha", _GROWTH_OF_TRENDS if early.trend else _GROWTH
    least = early.min_runs if early.min_runs is not None else MIN_RUNS[early.type]
    return RungStopper(
        metric,
        rungs(first, eta if halving else growth, end, whole=step != "time"),
        eta,
        step=step,
        judged="sound best",
        least=least,
        later=LATER_RUNS if early.trend and early.min_runs is None else least,
        trend=early.trend,
        spares_leader=True,
        end=end,
    )


def first_rung(early: EarlyTerminate) -> float:
    """The first iteration at which one of our own rules judges a run."""
    if early.min_iter is not None:
        return early.min_iter
    if early.max_iter is None or early.type not in MIN_SHARE:
        return MIN_ITER[early.type]
    return max(1, math.ceil(early.max_iter / MIN_SHARE[early.type]))


def kept_eta(early: EarlyTerminate) -> float:
    """1 run in so many is kept at each rung. Raises ValueError when that is not above 1."""
    percentile = early.percentile
    if percentile is None:
        percentile = PERCENTILE_OF_TRENDS if early.trend else PERCENTILE
    eta = {"median": 2.0, "percentile": 100 / percentile if percentile > 0 else 0.0}.get(
        early.type, early.eta
    )
    if not eta > 1:
        raise ValueError(f"early_terminate: eta must be above 1, not {eta:g}")
    return eta


def rungs(first: float, growth: float, end: float | None, whole: bool) -> tuple[float, ...]:
    """first, first·growth, first·growth², … below `end`; whole numbers, each at least 1 more, where `whole`."""
    found: list[float] = []
    exact = float(first)
    while exact < (_FARTHEST if end is None else end) and len(found) < 1000:
        rung = float(int(exact)) if whole else exact
        if not found or rung > found[-1]:
            found.append(rung)
        exact = exact * growth if exact * (growth - 1) >= 1 or not whole or growth >= 1.5 else exact + 1
    return tuple(found)
