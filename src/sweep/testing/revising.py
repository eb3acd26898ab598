"""What the people of a simulated world ask for, and how they change a spec: every key that may change, now and then one that may not.

The rule of this file: a draw is a function of the generator and the spec that is given.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

import msgspec

from sweep.core.space import Categorical, Parameter, Space
from sweep.core.spec import (
    RETRY_CLASSES,
    Confirm,
    EarlyTerminate,
    Limits,
    Resources,
    Retry,
    RetryRule,
    SweepSpec,
)

replace = msgspec.structs.replace


def draw_requests(rng: Random) -> list[tuple[str, ...]]:
    """What people ask for, in short successions."""
    count = rng.choice((0, 0, 1, 2, 5))
    common: tuple[tuple[str, ...], ...] = (
        ("pause",),
        ("pause", "resume"),
        ("resume",),
        ("extend",),
        ("retry",),
        ("edit",),
        ("edit", "edit"),
        ("edit", "edit", "edit"),
        ("edit", "extend"),
        ("extend", "extend", "extend", "extend"),
        ("annotate", "annotate"),
    )
    final: tuple[tuple[str, ...], ...] = (
        ("stop",),
        ("cancel",),
        ("stop", "resume"),
        ("stop", "resume"),
        ("cancel", "resume"),
        ("stop", "cancel", "extend"),
        ("extend", "cancel"),
        ("resume", "stop"),
    )
    return [rng.choice(common) for _ in range(count)] + [rng.choice(final)] * (rng.random() < 0.25)


def draw_retry(rng: Random) -> Retry:
    """Any classes, some with rules of their own."""
    on = tuple(name for name in RETRY_CLASSES if rng.random() < 0.8)
    rules = {name: _draw_rule(rng) for name in on if rng.random() < 0.5}
    return Retry(max=rng.choice((0, 1, 1, 2)), on=on, rules=rules)


def _draw_rule(rng: Random) -> RetryRule:
    return RetryRule(
        max=rng.choice((None, 0, 1, 2)), wait_s=rng.uniform(0.5, 4) if rng.random() < 0.5 else 0.0
    )


def draw_stopper(rng: Random) -> EarlyTerminate | None:
    """No rule, hyperband in one of its two forms, one of our own, or one that pauses runs."""
    early = _draw_ending(rng)
    own = Random(f"pausing {early!r} {rng.getstate()[1][:8]!r}")  # it moves none of the other draws
    if early is None or own.random() < 0.75:
        return early
    return EarlyTerminate(
        type="asha",
        min_iter=own.randint(1, 2),
        max_iter=own.choice((None, None, 8)),
        eta=own.choice((1.5, 2.0, 3.0)),
        step=own.choice((None, None, None, "count", "metric:epoch")),
        min_runs=own.choice((1, 2, 3)),
        resume=True,
        trend=own.random() < 0.6,
    )


def _draw_ending(rng: Random) -> EarlyTerminate | None:
    if rng.random() < 0.4:
        return None
    eta, strict = rng.choice((1.5, 2.0, 3.0)), rng.random() < 0.5
    if rng.random() < 0.5:
        first = rng.randint(1, 3)
        own = Random(f"{eta} {strict} {first} {rng.random()}")  # its draws move none of the others
        return _draw_own(own, first, eta) or EarlyTerminate(min_iter=first, eta=eta, strict=strict)
    return EarlyTerminate(max_iter=rng.randint(4, 9), s=rng.randint(1, 2), eta=eta, strict=strict)


def _draw_own(rng: Random, first: int, eta: float) -> EarlyTerminate | None:
    """One of our own rules with any of its keys; None: hyperband."""
    kind = rng.choice(("hyperband", "asha", "asha", "median", "percentile", "plateau", "threshold"))
    if kind == "hyperband":
        return None
    step = rng.choice((None, None, "count", "logged", "metric:epoch", "time"))
    return EarlyTerminate(
        type=kind,  # type: ignore[arg-type]
        min_iter=first if step == "time" or rng.random() < 0.8 else None,
        max_iter=rng.randint(4, 12) if rng.random() < 0.4 else None,
        eta=eta,
        step=step,
        min_runs=rng.choice((None, 1, 2)) if kind in ("asha", "median", "percentile") else None,
        percentile=rng.choice((None, 20.0, 50.0)) if kind == "percentile" else None,
        threshold=rng.choice((-0.1, 0.5, 1.5)) if kind == "threshold" else None,
        patience=rng.choice((None, 1, 3)) if kind == "plateau" else None,
        min_delta=rng.choice((0.0, 0.1)) if kind == "plateau" else 0.0,
        resume=kind == "asha" and rng.random() < 0.6,
        trend=kind in ("asha", "median", "percentile") and rng.random() < 0.6,
        patience_share=rng.choice((0.5, 0.65)) if kind == "plateau" else 0.5,
    )


def draw_limits(rng: Random) -> Limits:
    """Each limit in some sweeps."""
    limits = Limits(
        run_time_s=rng.uniform(4, 12) if rng.random() < 0.4 else None,
        no_progress_s=rng.uniform(2, 6) if rng.random() < 0.4 else None,
        wall_time_s=rng.uniform(10, 60) if rng.random() < 0.1 else None,
        gpu_hours=rng.uniform(5, 60) / 3600 if rng.random() < 0.2 else None,
        kill_after_s=rng.uniform(0.5, 4),
    )
    own = Random(f"budgets {limits.kill_after_s}")  # its draws move none of the others
    return replace(
        limits,
        cpu_hours=own.uniform(5, 60) / 3600 if own.random() < 0.15 else None,
        energy_kwh=own.uniform(500, 6000) / 3.6e6 if own.random() < 0.15 else None,
    )


def draw_confirm(rng: Random) -> Confirm | None:
    """Mostly nothing is to be confirmed."""
    if rng.random() < 0.7:
        return None
    return Confirm(top=rng.randint(1, 3), seeds=rng.randint(2, 3))


def draw_gpus(rng: Random) -> float | None:
    """What a run gets of the GPUs."""
    return rng.choice((None, None, 0, 0.5, 0.25, 1, 2))


def draw_revision(rng: Random, spec: SweepSpec, doubts: Random) -> SweepSpec:
    """The spec with one to three keys changed; by `doubts` now and then with another `confirm`, or that alone."""
    revised = spec
    for change in rng.sample(CHANGES, rng.choice((1, 1, 2, 3))):
        revised = change(rng, revised)
    if doubts.random() < 0.2:
        kept = revised if doubts.random() < 0.5 else spec
        revised = replace(kept, confirm=draw_confirm(doubts))
    return revised


def _budget(rng: Random, spec: SweepSpec) -> SweepSpec:
    cap = spec.run_cap
    return replace(spec, run_cap=rng.randint(1, 14) if cap is None else max(1, cap + rng.randint(-2, 4)))


def _patience(rng: Random, spec: SweepSpec) -> SweepSpec:
    return replace(spec, patience=rng.choice((None, 1, 2, 4, 8)))


def _target(rng: Random, spec: SweepSpec) -> SweepSpec:
    assert spec.metric is not None
    return replace(spec, metric=replace(spec.metric, target=rng.choice((None, -0.4, -0.2, 1.8, 2.4))))


def _limits(rng: Random, spec: SweepSpec) -> SweepSpec:
    """Other limits; where hanging programs are ended, they go on to be."""
    old, limits = spec.limits, draw_limits(rng)
    if limits.run_time_s is None and limits.no_progress_s is None:
        limits = replace(limits, run_time_s=old.run_time_s, no_progress_s=old.no_progress_s)
    return replace(spec, limits=limits)


def _more_time(rng: Random, spec: SweepSpec) -> SweepSpec:
    limits = spec.limits
    if limits.gpu_hours is not None:
        limits = replace(limits, gpu_hours=limits.gpu_hours * rng.choice((0.5, 2, 4)))
    if limits.wall_time_s is not None:
        limits = replace(limits, wall_time_s=limits.wall_time_s * 2)
    for key in ("cpu_hours", "energy_kwh"):
        if (old := getattr(limits, key)) is not None:
            limits = replace(limits, **{key: old * 2})
    return replace(spec, limits=limits)


def _space(rng: Random, spec: SweepSpec) -> SweepSpec:
    """A parameter gets other values: more, fewer, or quite others."""
    axes = list(spec.space.parameters)
    index = rng.randrange(len(axes))
    distribution = axes[index].distribution
    if isinstance(distribution, Categorical):
        low = rng.choice((0, 0, 0, 1, 3))
        values = tuple(range(low, low + rng.randint(1, 5)))
        axes[index] = Parameter(axes[index].path, Categorical(values))
    return replace(spec, space=_independent(axes))


def _independent(axes: Sequence[Parameter]) -> Space:
    """Nothing depends on anything any more: what did might be impossible now."""
    return Space(tuple(replace(axis, when=()) for axis in axes))


def _parameters(rng: Random, spec: SweepSpec) -> SweepSpec:
    """A parameter more, or one less."""
    axes = list(spec.space.parameters)
    if len(axes) > 1 and rng.random() < 0.5:
        axes.pop(rng.randrange(len(axes)))
    else:
        axes.append(Parameter((f"r{rng.randrange(10**6)}",), Categorical((1, 2))))
    return replace(spec, space=_independent(axes))


def _forbidden(rng: Random, spec: SweepSpec) -> SweepSpec:
    """What nobody may change; the whole revision must be refused."""
    assert spec.metric is not None
    return rng.choice(
        (
            replace(spec, seed=spec.seed + 1),
            replace(spec, replicates=spec.replicates + 1),
            replace(spec, metric=replace(spec.metric, name="other")),
        )
    )


CHANGES: tuple[Callable[[Random, SweepSpec], SweepSpec], ...] = (
    _budget,
    _budget,
    _patience,
    _patience,
    _target,
    _target,
    _limits,
    _more_time,
    _more_time,
    _space,
    _space,
    _parameters,
    _forbidden,
    lambda rng, spec: replace(spec, early_terminate=draw_stopper(rng)),
    lambda rng, spec: replace(spec, retry=draw_retry(rng)),
    lambda rng, spec: replace(spec, resources=Resources(gpus=draw_gpus(rng))),
)
