"""What rules that end runs early would have saved and lost on recorded curves.

The rule of this file: every figure comes from whole replays, and says how sure it is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from random import Random

import msgspec

from sweep.api.curves import Curves, RunCurve
from sweep.api.replaying import Outcome, replay
from sweep.core.spec import PATIENCE_SHARE, EarlyTerminate, Metric, StopperType

SHARE = 0.8
"""The part of the runs that a replay draws."""


class Verdict(msgspec.Struct, frozen=True):
    """One rule over all replays. The pairs are 95 % intervals."""

    rule: EarlyTerminate
    replays: int
    clock_saved: float
    """Mean share of the time until the sweep's end."""
    clock_interval: tuple[float, float]
    slot_time_saved: float
    """Mean share of the time that runs took on their slots."""
    kept: float
    """Share of the replays that found the best value of all the same."""
    kept_interval: tuple[float, float]
    lost: float
    """How much worse the best value was, in the metric's unit: mean over the replays."""
    ended: float
    """Share of the runs that were ended early."""


def rules_for(length: float) -> list[EarlyTerminate]:
    """The rules to compare where runs are so long: as somebody has them who gives no more than `max_iter`."""
    whole = max(2, math.ceil(length))
    eta: dict[StopperType, float] = {"asha": 2.0}
    own: tuple[StopperType, ...] = ("asha", "median", "percentile", "plateau")
    rules = [
        EarlyTerminate(
            type=kind,
            max_iter=whole,
            eta=eta.get(kind, 3.0),
            trend=kind != "plateau",
            patience_share=PATIENCE_SHARE if kind == "plateau" else 0.5,
        )
        for kind in own
    ]
    rules.insert(1, EarlyTerminate(type="asha", max_iter=whole, eta=2.0, resume=True, trend=True))
    return [*rules, EarlyTerminate(type="hyperband", min_iter=max(1, math.ceil(whole / 10)))]


def simulate(
    curves: Curves,
    metric: Metric,
    rules: Sequence[EarlyTerminate],
    slots: int,
    replays: int,
    seed: int,
    progress: Callable[[], None] = lambda: None,
) -> list[Verdict]:
    """Each rule over the same replays: each of them four fifths of the runs in an order of its own, each run once."""
    rng = Random(seed)
    count = max(2, round(SHARE * len(curves.runs)))
    orders = [rng.sample(range(len(curves.runs)), count) for _ in range(replays)]
    drawn = [[curves.runs[index] for index in order] for order in orders]
    whole = []
    for runs in drawn:
        whole.append(replay(runs, metric, None, slots))
        progress()
    verdicts = []
    for rule in rules:
        outcomes = []
        for runs in drawn:
            outcomes.append(replay(runs, metric, rule, slots))
            progress()
        verdicts.append(_verdict(rule, drawn, whole, outcomes, seed))
    return verdicts


def _verdict(
    rule: EarlyTerminate,
    drawn: Sequence[Sequence[RunCurve]],
    whole: Sequence[Outcome],
    outcomes: Sequence[Outcome],
    seed: int,
) -> Verdict:
    pairs = list(zip(whole, outcomes, strict=True))
    saved = [_saved(before.clock_s, after.clock_s) for before, after in pairs]
    lost = [abs((before.best or 0.0) - (after.best or 0.0)) for before, after in pairs]
    kept = sum(before.best == after.best for before, after in pairs)
    ended = sum(bool(end.reason) for outcome in outcomes for end in outcome.ended)
    return Verdict(
        rule=rule,
        replays=len(pairs),
        clock_saved=_mean(saved),
        clock_interval=_bootstrap(saved, seed),
        slot_time_saved=_mean([_saved(before.slot_s, after.slot_s) for before, after in pairs]),
        kept=kept / len(pairs),
        kept_interval=_wilson(kept, len(pairs)),
        lost=_mean(lost),
        ended=ended / sum(map(len, drawn)),
    )


def _saved(before: float, after: float) -> float:
    return 1 - after / before if before > 0 else 0.0


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _bootstrap(values: Sequence[float], seed: int) -> tuple[float, float]:
    """A 95 % interval of the mean over the replays."""
    rng = Random(seed)
    means = sorted(_mean(rng.choices(values, k=len(values))) for _ in range(1000))
    return means[24], means[974]


def _wilson(hits: int, count: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share (E. B. Wilson, JASA 22, 1927)."""
    z = 1.959964
    share, square = hits / count, z * z / count
    middle = (share + square / 2) / (1 + square)
    half = z / (1 + square) * math.sqrt(share * (1 - share) / count + square / (4 * count))
    return max(0.0, middle - half), min(1.0, middle + half)
