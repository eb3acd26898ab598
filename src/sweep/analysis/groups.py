"""Runs grouped by everything except the seed: one row per config, with its mean, how far seeds spread it, and all its values.

The rule of this file: runs of the search, runs on fresh seeds that chose, and those that report are never averaged together: the first two had
a part in a choice.
"""

from __future__ import annotations

import math

import msgspec

from sweep.analysis.honest import choosing_seeds, honest, with_spread
from sweep.analysis.inference import Interval, mean_interval
from sweep.analysis.table import SweepTable, TrialState
from sweep.core.space import Config
from sweep.core.views import RunView


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """One config and its runs."""

    trial: int
    config: Config
    state: TrialState
    runs: int
    """Of the search."""
    values: tuple[float, ...] = ()
    """Of each run of the search that has one, by replicate."""
    mean: Interval | None = None
    """Over `values`: mean ± t(n-1)·s/√n over seeds."""
    choosing: tuple[float, ...] = ()
    """On the fresh seeds (`confirm`) that choose, by replicate."""
    fresh: tuple[float, ...] = ()
    """On the fresh seeds that report, by replicate."""
    fresh_mean: Interval | None = None
    """Over `fresh`, as `sweep best` has it."""


def groups(table: SweepTable) -> list[Group]:
    """All configs, in the order of their trials."""
    told = {row.trial: row for row in honest(table).rows}
    found = []
    for row in table.trials:
        values, again = _values(list(row.runs)), told.get(row.trial)
        found.append(
            Group(
                trial=row.trial,
                config=row.config,
                state=row.state,
                runs=len(row.runs),
                values=values,
                mean=mean_interval(values),
                choosing=tuple(point.value for point in again.choosing) if again else (),
                fresh=tuple(point.value for point in again.reporting) if again else (),
                fresh_mean=again.confirmed if again else None,
            )
        )
    return found


def seed_parts(table: SweepTable) -> dict[int, str]:
    """Run -> what its seed is for: `search`, `chooses`, `reports`; empty where no config has more than one run."""
    first, chosen = table.spec.replicates, choosing_seeds(table)
    if first == 1 and not any(run.purpose == "confirm" for run in table.runs):
        return {}
    parts = {}
    for run in table.runs:
        fresh = "chooses" if run.replicate < first + chosen else "reports"
        parts[run.run] = fresh if run.purpose == "confirm" else str(run.purpose)
    return parts


def means_of_runs(table: SweepTable) -> dict[int, str]:
    """Run -> the mean and interval, in words, of all runs of its config whose seeds are for the same as its own; only those that
    have more than one."""
    parts = seed_parts(table)
    if not parts:
        return {}
    by_trial = {group.trial: group for group in groups(table)}
    found = {}
    for run in table.runs:
        group, part = by_trial.get(run.trial), parts[run.run]
        mean = None
        if group is not None and part != "chooses":
            mean = group.fresh_mean if part == "reports" else group.mean if part == "search" else None
        if mean is not None and mean.n > 1:
            found[run.run] = f"{with_spread(mean)} (n={mean.n})"
    return found


def _values(runs: list[RunView]) -> tuple[float, ...]:
    counted = [run for run in runs if run.state in ("completed", "pruned")]
    ordered = [run.objective for run in sorted(counted, key=lambda run: run.replicate)]
    return tuple(value for value in ordered if value is not None and math.isfinite(value))
