"""Hyperband and a run's values by hand: slow, plain, and written from the description alone, for the oracle."""

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


def naive_bands(settings: EarlyTerminate) -> list[int]:
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


def naive_condemned(
    settings: EarlyTerminate, goal: str, values: Mapping[int, Sequence[float]], run: int
) -> bool:
    """Whether `run` is worse, at the highest band that it has reached, than the value of rank n / eta of all there."""
    reached = [band for band in naive_bands(settings) if band <= len(values[run])]
    if not reached:
        return False
    band = reached[-1]

    def badness(some: Sequence[float]) -> float:
        signed = [v if goal == "minimize" else -v for v in some]
        clean = [v if math.isfinite(v) else math.inf for v in signed]
        return clean[band - 1] if settings.strict else min(clean[:band])

    here = sorted(badness(some) for some in values.values() if len(some) >= band)
    return badness(values[run]) > here[int(len(here) / settings.eta)]


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
