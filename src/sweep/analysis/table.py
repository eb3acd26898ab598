"""A sweep as analysis sees it: its trials with their scores, its parameters that vary, its runs' curves.

The rule of this file: facts only, no numpy, no drawing. What a trial is worth is `sweep.core.state.trial_outcome`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Literal

import msgspec

from sweep.analysis.history import History, Series
from sweep.core.domain import canonical, value_at
from sweep.core.lifecycle import ENDED
from sweep.core.samples import Samples
from sweep.core.space import Config, Constant, Parameter
from sweep.core.spec import Goal, SweepSpec
from sweep.core.state import Run, trial_outcome
from sweep.core.views import RunView, SweepView

TrialState = Literal["open", "completed", "pruned", "failed", "cancelled"]


class _Absent:
    def __repr__(self) -> str:
        return "(absent)"


ABSENT = _Absent()
"""Stands where a config has no value for a parameter (it was inactive, or the space was revised)."""


class TrialRow(msgspec.Struct, frozen=True, kw_only=True):
    """One trial: replicates are averaged."""

    trial: int
    config: Config
    state: TrialState
    score: float | None
    """Mean objective over its completed and pruned replicates, None without a finite one or while it is open."""
    runs: tuple[RunView, ...]
    ended_s: float | None
    """Unix time, seconds, of its last run's end; None while it is open or when none ever ran."""

    def value(self, parameter: Parameter) -> Any:
        """Its value of `parameter`, or ABSENT."""
        return _value(self.config, parameter)


class SweepTable:
    """Everything that the importance and the pictures are made from.

    `histories` maps a run's number to its history; runs without one simply have no learning curve. Runs whose purpose
    is not `search` are kept in `runs` but are not part of `trials`.
    """

    def __init__(
        self,
        spec: SweepSpec,
        sweep: SweepView,
        runs: Sequence[RunView],
        histories: Mapping[int, History] | None = None,
        samples: Mapping[int, Mapping[int, Samples]] | None = None,
    ) -> None:
        """`samples`: run -> attempt -> what it used over time."""
        self.spec = spec
        self.sweep = sweep
        self.runs = sorted(runs, key=lambda run: run.run)
        self.histories = histories or {}
        self.samples = samples or {}

    @property
    def metric(self) -> str | None:
        """Name of the objective, None when the spec names none."""
        return self.spec.metric.name if self.spec.metric is not None else None

    @property
    def goal(self) -> Goal:
        return self.spec.metric.goal if self.spec.metric is not None else "minimize"

    @property
    def direction(self) -> str:
        """For people: `lower is better`."""
        return "lower is better" if self.goal == "minimize" else "higher is better"

    @cached_property
    def trials(self) -> list[TrialRow]:
        """By number; only runs of the search count."""
        by_trial: dict[int, list[RunView]] = {}
        for run in self.runs:
            if run.purpose == "search":
                by_trial.setdefault(run.trial, []).append(run)
        return [_trial(number, by_trial[number]) for number in sorted(by_trial)]

    @cached_property
    def scored(self) -> list[TrialRow]:
        """Trials that are completed or pruned and have a finite score; none where the spec names no metric."""
        if self.metric is None:
            return []
        return [row for row in self.trials if row.score is not None and row.state in ("completed", "pruned")]

    @cached_property
    def parameters(self) -> list[Parameter]:
        """The parameters that took at least two values, in the spec's order. That a conditional one was inactive is no value:
        it is said by those that it depends on."""
        return [
            parameter
            for parameter in self.spec.space.parameters
            if not isinstance(parameter.distribution, Constant) and len(self._taken(parameter)) > 1
        ]

    def _taken(self, parameter: Parameter) -> set[str]:
        keys = {_key(row.value(parameter)) for row in self.trials}
        return keys - {_key(ABSENT)} if parameter.when else keys

    @property
    def best(self) -> TrialRow | None:
        """The trial with the best score: of equals the one that the sweep calls its best, as `sweep best` does, else the first."""
        return min(
            self.scored, key=lambda row: (self.rank_key(row), not self._has_best_run(row)), default=None
        )

    def _has_best_run(self, row: TrialRow) -> bool:
        return any(run.run == self.sweep.best_run for run in row.runs)

    def rank_key(self, row: TrialRow) -> float:
        """Smaller is better, whatever the direction of the metric; without a score infinity."""
        if row.score is None:
            return math.inf
        return row.score if self.goal == "minimize" else -row.score

    def value(self, run: RunView, parameter: Parameter) -> Any:
        """A run's value of `parameter`, or ABSENT."""
        return _value(run.config, parameter)

    def curve(self, run: RunView) -> Series | None:
        """The objective over the steps of a run; None when it logged none."""
        history = self.histories.get(run.run)
        if history is None or self.metric is None:
            return None
        series = history.series(self.metric)
        return series if len(series.values) else None


def _trial(number: int, views: list[RunView]) -> TrialRow:
    state, score = trial_outcome([_as_run(view) for view in views])
    shown: TrialState = "cancelled" if all(view.state == "cancelled" for view in views) else state
    ends = [attempt.ended_s for view in views for attempt in view.attempts if attempt.ended_s is not None]
    return TrialRow(
        trial=number,
        config=views[0].config,
        state=shown,
        score=score if score is not None and math.isfinite(score) else None,
        runs=tuple(views),
        ended_s=max(ends) if ends and all(view.state in ENDED for view in views) else None,
    )


def _as_run(view: RunView) -> Run:
    run = Run(view.run, view.trial, view.replicate, view.purpose, view.seed)
    run.state = view.state
    run.score = view.objective if view.objective is not None and math.isfinite(view.objective) else None
    return run


def _value(config: Config, parameter: Parameter) -> Any:
    try:
        return value_at(config, parameter.path)
    except KeyError:
        return ABSENT


def _key(value: Any) -> str:
    return "(absent)" if value is ABSENT else canonical(value)
