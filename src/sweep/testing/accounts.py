"""What the oracle keeps of each run and attempt, and sums over them.

The rule of this file: plain records of what the journal said, and nothing that is kept up to date.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from sweep.core import entries as e
from sweep.core.spec import Limits, Retry, SweepSpec
from sweep.testing.naive import naive_score
from sweep.testing.terms import naive_class, naive_retried, naive_wait_s


class AttemptAccount:
    """One attempt, by the journal."""

    def __init__(self, assigned: e.RunAssigned, position: int, revision: int) -> None:
        self.assigned, self.position, self.revision = assigned, position, revision
        self.started = False
        self.started_s = 0.0
        self.gpus = 0.0
        self.ended: e.AttemptEnded | None = None
        self.ended_s: float | None = None
        self.reports: list[e.ObjectiveReported] = []
        self.used: list[tuple[float, float, float]] = []
        """When it was told, what it had used by then: CPU seconds, joules (0: not measured)."""
        self.timed = False
        """When it first reported, an iteration was a second of its time."""

    def note_used(self, at_s: float, cpu_s: float | None, energy_j: float | None) -> None:
        """It was told what this attempt has used."""
        self.used.append((at_s, cpu_s or 0.0, energy_j or 0.0))


class PatienceAccount:
    """What `patience` has seen of trials that have finished."""

    def __init__(self) -> None:
        self.best: float | None = None
        self.row: list[int] = []
        """Trials that have finished in a row without being the best so far."""
        self._seen: set[int] = set()
        """Trials that have finished at least once: each counts once."""
        self._stalled: list[int] | None = None
        """The row that was too long."""

    @property
    def stalled(self) -> bool:
        """Whether a row was too long since somebody last wanted the sweep to go on."""
        return self._stalled is not None

    def finished(self, trial: int, mean: float | None, goal: str, patience: int | None) -> None:
        """A trial has finished, perhaps again."""
        again, sign = trial in self._seen, 1 if goal == "minimize" else -1
        self._seen.add(trial)
        if mean is not None and (self.best is None or sign * mean < sign * self.best):
            self.best, self.row = mean, []
            return
        self.row += [] if again else [trial]
        if not self.stalled:
            self.judge(patience)

    def take_back(self, trial: int, patience: int | None) -> None:
        """It was its node's fault that a run of this trial failed."""
        if trial in self.row:
            self.row.remove(trial)
            self._seen.discard(trial)
            if self._stalled is self.row:
                self.judge(patience)

    def judge(self, patience: int | None) -> None:
        """By another patience than before."""
        self._stalled = self.row if patience is not None and len(self.row) >= patience else None

    def begin_anew(self) -> None:
        """Somebody wants the sweep to go on."""
        self.row, self._stalled = [], None


class RunAccount:
    """One run, by the journal."""

    def __init__(self, added: e.RunAdded) -> None:
        self.added = added
        self.attempts: list[AttemptAccount] = []
        self.final = ""
        """How it ended, '' while it has not."""
        self.failures: list[str] = []
        """The classes of its failures since it was last asked for."""
        self.last_error = ""
        self.ready_s = 0.0
        self.losses = 0
        self.life = 0
        """How often it was asked for, or a node blamed for its failures."""
        self.order = ""
        self.paused = False
        self.granted: float | None = None
        """How far it was when it last went on from a pause."""
        self.shelved = False
        self.asked = False
        """Somebody asked for it to be tried again, and it has not ended since."""


def settle(run: RunAccount, entry: e.AttemptEnded, retry: Retry, at_s: float, spared: bool) -> None:
    """What becomes of a run whose attempt has ended; `spared`: a failure is its node's fault."""
    if entry.outcome == "failed":
        run.last_error = entry.error_class or "exit"
        run.failures += [] if spared else [naive_class(run.last_error)]
    if entry.outcome in ("completed", "pruned", "cancelled"):
        run.final = entry.outcome
    elif entry.outcome == "paused":
        run.paused = True
    elif run.order in ("pruned", "cancelled"):
        run.final = run.order
    elif entry.outcome == "failed":
        if not spared and not naive_retried(retry, run.failures):
            run.final = "failed"
        else:
            wait_s = naive_wait_s(retry, naive_class(run.last_error))
            run.ready_s = at_s + wait_s if wait_s else 0.0
    else:
        run.losses += entry.outcome == "lost"
        if run.losses > 20:
            run.final = "failed"
        elif run.order == "paused":
            run.paused = True


def trial_end(runs: Sequence[RunAccount], trial: int, goal: str) -> tuple[bool, float | None]:
    """(whether the trial has finished with somebody having tried it, its score). One that is paused has, as far as is known."""
    here = [run for run in runs if run.added.trial == trial and run.added.purpose == "search"]
    counted = [run for run in here if run.final in ("completed", "pruned") or run.paused]
    untried = not counted and any(run.final == "cancelled" for run in here)
    return all(run.final or run.paused for run in here) and not untried, mean_score(counted, goal)


def naive_wanted(spec: SweepSpec, runs: Sequence[RunAccount], goal: str) -> set[tuple[int, int]]:
    """(trial, replicate) of every run that is to confirm one of the best configs, by what is known of the search."""
    if spec.confirm is None:
        return set()
    ranked = []
    for trial in {run.added.trial for run in runs}:
        finished, mean = trial_end(runs, trial, goal)
        if finished and mean is not None:
            ranked.append((mean if goal == "minimize" else -mean, trial))
    best = [trial for _, trial in sorted(ranked)[: spec.confirm.top]]
    return {(trial, spec.replicates + fresh) for trial in best for fresh in range(spec.confirm.seeds)}


def gpu_seconds(runs: Sequence[RunAccount], at_s: float | None) -> float:
    """GPU-seconds of all attempts that have ended; with `at_s` also of those that run, up to then."""
    total = 0.0
    for run in runs:
        for attempt in run.attempts:
            end_s = attempt.ended_s if attempt.ended_s is not None else at_s
            if attempt.started and end_s is not None:
                total += attempt.gpus * (end_s - attempt.started_s)
    return total


def used(runs: Sequence[RunAccount], at_s: float | None) -> tuple[float, float]:
    """CPU seconds and joules of all attempts that was told of until `at_s`, of each the most."""
    cpu_s = energy_j = 0.0
    for run in runs:
        for attempt in run.attempts:
            told = [one for one in attempt.used if at_s is None or one[0] <= at_s]
            cpu_s += max((one[1] for one in told), default=0.0)
            energy_j += max((one[2] for one in told), default=0.0)
    return cpu_s, energy_j


def over(runs: Sequence[RunAccount], limits: Limits, joined_s: float | None, at_s: float) -> list[str]:
    """Which limits of the sweep are over at this time; `joined_s`: when its first agent joined."""
    cpu_s, energy_j = used(runs, at_s)
    checks = [
        ("wall_time", limits.wall_time_s, at_s + 1e-6 - (at_s if joined_s is None else joined_s)),
        ("gpu_hours", limits.gpu_hours, (gpu_seconds(runs, at_s) + 0.002) / 3600),
        ("cpu_hours", limits.cpu_hours, cpu_s / 3600),
        ("energy_kwh", limits.energy_kwh, energy_j / 3.6e6),
    ]
    return [name for name, limit, spent in checks if limit is not None and spent >= limit]


def mean_score(runs: Sequence[RunAccount], goal: str) -> float | None:
    """The mean over the runs that have a score, None when none has."""
    scores = [score for run in runs if (score := naive_score(run, goal)) is not None]
    return math.fsum(scores) / len(scores) if scores else None
