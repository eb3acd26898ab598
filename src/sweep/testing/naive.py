"""The rules that end runs early, and a run's values, by hand: slow, plain, and written from the description alone, for the oracle."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from sweep.core.spec import EarlyTerminate


def effective_values(attempts: Sequence[Any]) -> list[float]:
    """The objective values of a run that count: an attempt that goes back to a step replaces what came from there on.

    `attempts` have `reports`, which have `first`, `steps` and `values`.
    """
    pairs: list[tuple[float, float]] = []
    for attempt in attempts:
        for number, report in enumerate(attempt.reports):
            if number == 0 and report.steps:
                keep = len(pairs)
                while keep and pairs[keep - 1][0] >= report.steps[0]:
                    keep -= 1
                pairs = pairs[:keep]
            pairs += zip(report.steps, report.values, strict=True)
    return [value for _, value in pairs]


def effective_curve(attempts: Sequence[Any], early: EarlyTerminate) -> list[tuple[float, float]]:
    """How far the run was at each of its values that count, in the unit of the rule, and the value. Steps that begin at 0 are
    counted from 1."""
    values = _placed(attempts)
    if _counts(early):
        return [(number + 1, value) for number, (_, _, value) in enumerate(values)]
    shift = naive_shift(attempts, early)
    curve: list[tuple[float, float]] = []
    for _, at, value in values:
        if math.isnan(at):  # not known: no further than before
            if not curve:
                continue
            at = curve[-1][0] - shift
        curve = [point for point in curve if point[0] < at + shift] + [(at + shift, value)]
    return curve


def naive_far(attempts: Sequence[Any], early: EarlyTerminate | None) -> float:
    """How far a run has said last that it was, in the unit of the rule."""
    values = _placed(attempts)
    if early is None or _counts(early):
        return float(len(values))
    known = [at for _, at, _ in values if not math.isnan(at)]
    return known[-1] if known else 0.0


def naive_shift(attempts: Sequence[Any], early: EarlyTerminate) -> int:
    """1 where a run begins at 0, which counts as 1."""
    values = _placed(attempts)
    return 1 if values and values[0][1] == 0 and not _counts(early) else 0


def _counts(early: EarlyTerminate) -> bool:
    """Whether each value is an iteration."""
    return (early.type in ("hyperband", "none") and early.step is None) or early.step == "count"


def _placed(attempts: Sequence[Any]) -> list[tuple[float, float, float]]:
    """Step, how far, and value of what counts."""
    values: list[tuple[float, float, float]] = []  # step, how far, value
    spent = 0.0
    for attempt in attempts:
        for number, report in enumerate(attempt.reports):
            if number == 0 and report.steps:
                while values and values[-1][0] >= report.steps[0]:
                    values.pop()
                spent = values[-1][1] if values and attempt.timed else 0.0
            far = [spent + at for at in report.progress] if report.progress else report.steps
            values += zip(report.steps, far, report.values, strict=True)
    return values


def naive_bands(settings: EarlyTerminate) -> list[float]:
    """min_iter, min_iter * eta, …; or max_iter / eta, max_iter / eta**2, … s times; integers of at least 1."""
    bands: list[int] = []
    if settings.min_iter is not None:
        for k in range(100):
            band = settings.min_iter * settings.eta**k
            if band > 10_000:
                break
            bands.append(int(band))
    else:
        assert settings.max_iter is not None and settings.s is not None
        for k in range(1, settings.s + 1):
            bands.append(int(settings.max_iter / settings.eta**k))
    return sorted({band for band in bands if band >= 1})


def naive_first(settings: EarlyTerminate) -> int:
    """From when on one of our own rules ends runs."""
    if settings.min_iter is not None:
        return settings.min_iter
    if settings.type == "threshold":
        return 1
    usual, share = {"plateau": (15, 3), "median": (8, 6)}.get(settings.type, (5, 10))
    return usual if settings.max_iter is None else max(1, math.ceil(settings.max_iter / share))


def naive_rungs(settings: EarlyTerminate) -> tuple[list[float], float]:
    """The iterations at which runs are compared, and of how many one is kept."""
    if settings.type == "hyperband":
        return naive_bands(settings), settings.eta
    percentile, growth = settings.percentile, 1.5 if settings.trend else 1.1
    if percentile is None:
        percentile = 60 if settings.trend else 65
    eta = {"asha": settings.eta, "median": 2.0, "percentile": 100 / percentile}[settings.type]
    at, end, rungs = float(naive_first(settings)), settings.max_iter or 10_000, list[float]()
    while at < end:
        rungs.append(at if settings.step == "time" else int(at))
        if settings.type == "asha":
            at *= eta
        else:
            wide = settings.step == "time" or settings.trend or at * 0.1 >= 1
            at = at * growth if wide else at + 1
    return sorted(set(rungs)), eta


def naive_condemned(
    settings: EarlyTerminate,
    goal: str,
    curves: Mapping[int, Sequence[tuple[float, float]]],
    run: int,
    since: float | None = None,
) -> bool:
    """Whether the rule, by its words in the reference, ends `run` now. `since`: where it went on from a pause."""
    sign = 1 if goal == "minimize" else -1
    bad = {
        one: [(at, sign * value if math.isfinite(value) else math.inf) for at, value in curve]
        for one, curve in curves.items()
    }
    if settings.type == "none" or not bad[run]:
        return False
    if settings.type in ("plateau", "threshold"):
        return _alone(settings, sign, bad[run])
    rungs, eta = naive_rungs(settings)
    reached = [rung for rung in rungs if rung <= bad[run][-1][0]]
    if not reached or (since is not None and all(rung <= since for rung in reached)):
        return False
    rung, own = reached[-1], settings.type != "hyperband"

    def judged(curve: Sequence[tuple[float, float]]) -> float:
        until = next(index for index, (at, _) in enumerate(curve) if at >= rung)
        if (not own and settings.strict) or (own and math.isinf(curve[until][1])):
            return curve[until][1]
        return min(value for _, value in curve[: until + 1])

    here = sorted(judged(curve) for curve in bad.values() if curve and curve[-1][0] >= rung)
    if own:
        first = {"percentile": 5}.get(settings.type, 8)
        least = settings.min_runs or (4 if settings.trend and rung > rungs[0] else first)
        best = min((value for curve in bad.values() for _, value in curve), default=math.inf)
        if bad[run][-1][0] >= (settings.max_iter or math.inf):
            return False
        if len(here) < least or min(value for _, value in bad[run]) == best < math.inf:
            return False
    if not settings.trend:
        return judged(bad[run]) > here[int(len(here) / eta)]
    trends = sorted(
        _trend(curve, rung, judged(curve)) for curve in bad.values() if curve and curve[-1][0] >= rung
    )
    return (
        judged(bad[run]) > here[int(len(here) / eta)]
        and _trend(bad[run], rung, judged(bad[run])) > trends[int(len(here) / eta)]
    )


def _trend(curve: Sequence[tuple[float, float]], rung: float, judged: float) -> float:
    """As much better again as it has become since half of its way to the rung, if that can be told."""
    reached = next(at for at, _ in curve if at >= rung)
    before = [value for at, value in curve if at <= reached / 2]
    gain = min(before, default=math.inf) - judged
    return judged - gain if math.isfinite(gain) else judged


def _alone(settings: EarlyTerminate, sign: int, curve: Sequence[tuple[float, float]]) -> bool:
    """The rules that look at one run only."""
    now, best = curve[-1][0], min(value for _, value in curve)
    if not naive_first(settings) <= now < (settings.max_iter or math.inf):
        return False
    if settings.type == "threshold":
        assert settings.threshold is not None
        return best > sign * settings.threshold
    since = now - (settings.patience or now * settings.patience_share)
    before = [value for at, value in curve if at <= since]
    if not before:
        return False
    return math.isinf(best) or not min(before) - best > settings.min_delta


def naive_score(run: Any, goal: str) -> float | None:
    """The best finite value that counts: of the history, and of the ends of attempts that nothing went back behind."""
    steps: list[float] = []
    values: list[float] = []
    scores: list[float] = []
    for attempt in run.attempts:
        for report in attempt.reports:
            if report.first == 0 and report.steps and steps and steps[-1] >= report.steps[0]:
                scores = []
                while steps and steps[-1] >= report.steps[0]:
                    steps.pop()
                    values.pop()
            steps += report.steps
            values += report.values
        if attempt.ended is not None and attempt.ended.score is not None:
            scores.append(attempt.ended.score)
    finite = [value for value in values + scores if math.isfinite(value)]
    if not finite:
        return None
    return min(finite) if goal == "minimize" else max(finite)
