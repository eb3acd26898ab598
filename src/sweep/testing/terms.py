"""What a spec says about retries, budgets, patience and revisions, by hand: plain and slow, for the oracle.

The rule of this file: written from the reference page, not from the code; nothing of `sweep.core` but its data types.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from sweep.core.entries import Annotated
from sweep.core.space import Categorical, Space
from sweep.core.spec import Retry, SweepSpec

CLASSES = {
    "exit": {"", "exit", "signal"},
    "oom": {"memory", "gpu_memory"},
    "time": {"run_time", "no_progress"},
    "node": {"start", "agent", "node"},
}

CUTS = ("wall_time", "gpu_hours", "cpu_hours", "energy_kwh")
"""The limits at whose end running runs are ended."""


def naive_class(error: str) -> str:
    """What `retry` calls a failure."""
    (name,) = [name for name, errors in CLASSES.items() if error in errors]
    return name


def naive_retried(retry: Retry, failures: Sequence[str]) -> bool:
    """Whether a run goes on that has failed by these classes since it was last asked for, the last one just now."""
    last = failures[-1]
    rules: dict[str, Any] = {str(name): rule for name, rule in retry.rules.items()}
    with_own = [name for name in rules if rules[name].max is not None]
    if last not in retry.on:
        return False
    if last in with_own:
        return failures.count(last) <= rules[last].max  # type: ignore[no-any-return]
    return len([name for name in failures if name not in with_own]) <= retry.max


def naive_wait_s(retry: Retry, last: str) -> float:
    """How long a run waits after failing by the class `last`."""
    rules: dict[str, Any] = {str(name): rule for name, rule in retry.rules.items()}
    return float(rules[last].wait_s) if last in rules else 0.0


def naive_share(of_a_run: float | None, held: int) -> float:
    """How many GPUs an attempt counts for that holds so many, where the spec gives a run `of_a_run`."""
    if held and of_a_run is not None and 0 < of_a_run < 1:
        return of_a_run
    return held


def naive_fixed(old: SweepSpec, new: SweepSpec) -> bool:
    """Whether a revision leaves alone what may not change."""
    assert old.metric is not None and new.metric is not None
    kept = (old.method, old.seed, old.replicates, old.metric.name, old.metric.goal)
    was, now = naive_unit(old), naive_unit(new)
    same_unit = was == now or now == "count" or (was in ("count", "logged") and now == "logged")
    return same_unit and kept == (new.method, new.seed, new.replicates, new.metric.name, new.metric.goal)


def naive_unit(spec: SweepSpec) -> str:
    """What an iteration is for the rule that ends runs early."""
    early = spec.early_terminate
    if early is None or early.type == "none":
        return "count"
    return early.step or {"hyperband": "count"}.get(early.type, "logged")


def naive_reached(spec: SweepSpec, value: float | None) -> bool:
    """Whether a value of the objective meets `metric.target`."""
    assert spec.metric is not None
    target = spec.metric.target
    if target is None or value is None or not math.isfinite(value):
        return False
    return value <= target if spec.metric.goal == "minimize" else value >= target


def naive_told(run_times: Mapping[int, float | None], since: int, reason: str) -> bool:
    """Whether a run was ended by a `limits.run_time` (by revision) that held at some time after revision `since`."""
    limits = [limit for revision, limit in run_times.items() if revision >= since and limit is not None]
    return any(f" {limit:g} s" in reason for limit in limits)


def naive_notes(tags: Sequence[str], note: str, entry: Annotated) -> tuple[tuple[str, ...], str]:
    """Tags and note after somebody has annotated them."""
    kept = [tag for tag in tags if tag not in entry.remove]
    kept += [tag for tag in entry.add if tag not in kept]
    return tuple(kept), note if entry.note is None else entry.note


def naive_points(space: Space) -> list[str] | None:
    """Every config of a space of choices that its conditions and constraints allow, as text; None where there are infinitely
    many."""
    values = []
    for parameter in space.parameters:
        if not isinstance(parameter.distribution, Categorical):
            return None
        values.append(parameter.distribution.values)
    names = [parameter.path[-1] for parameter in space.parameters]
    found = []
    for point in itertools.product(*values):
        config = dict(zip(names, point, strict=True))
        config = {name: value for name, value in config.items() if name in naive_active(space, config)}
        if naive_allowed(space, config):
            found.append(json.dumps(config, sort_keys=True))
    return sorted(set(found))


def naive_active(space: Space, config: Mapping[str, Any]) -> set[str]:
    """The parameters that are there beside these values; conditions are on parameters that have none themselves."""
    return {
        parameter.path[-1]
        for parameter in space.parameters
        if all(config.get(condition.path[-1]) in condition.values for condition in parameter.when)
    }


def naive_allowed(space: Space, config: Mapping[str, Any]) -> bool:
    """Whether the constraints hold, all of which say that a sum is at most so much."""
    for text in space.constraints:
        terms, most = text.split(" <= ")
        if sum(config[name] for name in terms.split(" + ")) > int(most):
            return False
    return True


def naive_more(old: SweepSpec, new: SweepSpec) -> bool:
    """Whether a revision raises or removes a limit, moves the target, or has another space."""
    assert old.metric is not None and new.metric is not None
    pairs = [
        (old.run_cap, new.run_cap),
        (old.patience, new.patience),
        (old.limits.wall_time_s, new.limits.wall_time_s),
        (old.limits.gpu_hours, new.limits.gpu_hours),
        (old.limits.cpu_hours, new.limits.cpu_hours),
        (old.limits.energy_kwh, new.limits.energy_kwh),
    ]
    infinite = float("inf")
    raised = [
        (infinite if after is None else after) > (infinite if before is None else before)
        for before, after in pairs
    ]
    moved = old.metric.target is not None and old.metric.target != new.metric.target
    return any(raised) or moved or old.space != new.space


def naive_confirms_more(old: SweepSpec, new: SweepSpec) -> bool:
    """Whether a revision has more configs confirmed, or on more seeds."""
    was, now = ((0, 0) if c is None else (c.top, c.seeds) for c in (old.confirm, new.confirm))
    return now[0] > was[0] or now[1] > was[1]
