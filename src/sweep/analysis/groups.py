"""Runs grouped by everything except the seed: one row per config, with its mean, how far seeds spread it, and all its values.

The rule of this file: runs of the search and runs on fresh seeds are never averaged together: the first had a part in a choice.
"""

from __future__ import annotations

import math

import msgspec

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
    fresh: tuple[float, ...] = ()
    """On fresh seeds (`confirm`), by replicate."""
    fresh_mean: Interval | None = None


def groups(table: SweepTable) -> list[Group]:
    """All configs, in the order of their trials."""
    fresh: dict[int, list[RunView]] = {}
    for run in table.runs:
        if run.purpose == "confirm":
            fresh.setdefault(run.trial, []).append(run)
    found = []
    for row in table.trials:
        values, again = _values(list(row.runs)), _values(fresh.get(row.trial, []))
        found.append(
            Group(
                trial=row.trial,
                config=row.config,
                state=row.state,
                runs=len(row.runs),
                values=values,
                mean=mean_interval(values),
                fresh=again,
                fresh_mean=mean_interval(again),
            )
        )
    return found


def _values(runs: list[RunView]) -> tuple[float, ...]:
    counted = [run for run in runs if run.state in ("completed", "pruned")]
    ordered = [run.objective for run in sorted(counted, key=lambda run: run.replicate)]
    return tuple(value for value in ordered if value is not None and math.isfinite(value))
