"""A sweep in a few figures: how many runs in which state, the best one, how long it took."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from sweep.analysis.records import duration_s
from sweep.analysis.table import SweepTable
from sweep.core.space import Config
from sweep.core.views import RunView


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """All durations in seconds."""

    counts: dict[str, int]
    """Runs per state, only states that occur, in the order of a run's life."""
    runs: int
    trials: int
    best_run: str | None
    """ID of the best run of the best trial, None while nothing has a finite score."""
    best_trial: int | None
    best_objective: float | None
    """The best trial's score: the mean over its replicates."""
    best_config: Config | None
    best_replicates: int
    """How many runs that score is the mean of."""
    mean_duration_s: float | None
    """Mean over the runs that completed."""
    total_time_s: float
    """Time in execution of all runs and attempts together."""
    wall_time_s: float | None
    """From the first start to the last end; None before both."""


_ORDER = ("queued", "assigned", "running", "paused", "completed", "pruned", "failed", "cancelled")


def summary(table: SweepTable) -> Summary:
    """Counts per state, the best run with its config, mean duration and total time."""
    durations = {run.run: duration_s(run) for run in table.runs}
    completed = [durations[run.run] for run in table.runs if run.state == "completed"]
    known = [seconds for seconds in completed if seconds is not None]
    best = table.best
    counted = _counted(best.runs) if best is not None else []
    chosen = _best_of(counted, table)
    return Summary(
        counts=state_counts(table.runs),
        runs=len(table.runs),
        trials=len(table.trials),
        best_run=chosen.id if chosen is not None else None,
        best_trial=best.trial if best is not None else None,
        best_objective=best.score if best is not None else None,
        best_config=best.config if best is not None else None,
        best_replicates=len(counted),
        mean_duration_s=sum(known) / len(known) if known else None,
        total_time_s=sum(seconds for seconds in durations.values() if seconds is not None),
        wall_time_s=_wall_time_s(table.runs),
    )


def state_counts(runs: Sequence[RunView]) -> dict[str, int]:
    """How many runs are in each state that occurs."""
    counts = dict.fromkeys(_ORDER, 0)
    for run in runs:
        counts[run.state] += 1
    return {state: count for state, count in counts.items() if count}


def _counted(runs: Sequence[RunView]) -> list[RunView]:
    return [run for run in runs if run.state in ("completed", "pruned") and run.objective is not None]


def _best_of(runs: Sequence[RunView], table: SweepTable) -> RunView | None:
    sign = 1.0 if table.goal == "minimize" else -1.0
    best = table.sweep.best_run  # of equals: the one that every listing names
    return min(runs, key=lambda run: (sign * (run.objective or 0.0), run.run != best), default=None)


def _wall_time_s(runs: Sequence[RunView]) -> float | None:
    starts = [a.started_s for run in runs for a in run.attempts if a.started_s is not None]
    ends = [a.ended_s for run in runs for a in run.attempts if a.ended_s is not None]
    return max(max(ends) - min(starts), 0.0) if starts and ends else None
