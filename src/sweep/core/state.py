"""What a journal says, folded: the state that decisions are made from.

Only `evolve` changes a state. Everything here that could be a query is kept as an index because `decide` runs after
every commit; `sweep.testing` rebuilds and compares them.
"""

from __future__ import annotations

import heapq
import math
from array import array
from collections.abc import Callable, Iterable

from sweep.core.entries import Purpose
from sweep.core.lifecycle import LIVE
from sweep.core.plugins import Observation, Stopper, TrialStatus
from sweep.core.space import Config
from sweep.core.spec import Goal, SweepSpec
from sweep.core.views import RunState, SweepState

MakeStopper = Callable[[SweepSpec], Stopper | None]


class Run:
    """One seeded execution of a trial, as the controller sees it."""

    __slots__ = (
        "agent",
        "attempt",
        "charged",
        "lost",
        "order",
        "purpose",
        "reason",
        "replicate",
        "run",
        "score",
        "seed",
        "shelved",
        "state",
        "steps",
        "trial",
        "values",
    )  # fmt: skip

    def __init__(self, run: int, trial: int, replicate: int, purpose: Purpose, seed: int) -> None:
        self.run, self.trial, self.replicate, self.purpose, self.seed = run, trial, replicate, purpose, seed
        self.state: RunState = "queued"
        self.attempt = 0
        self.agent = ""
        self.charged = 0
        self.lost = 0
        self.order = ""
        self.shelved = False
        self.reason = ""
        self.steps = array("d")
        """Steps and values of the objective that count, over all attempts."""
        self.values = array("d")
        self.score: float | None = None

    def absorb(self, first: int, steps: Iterable[float], values: Iterable[float]) -> bool:
        """Take in reported values. An attempt that starts again at a step replaces what earlier ones had from there
        on; returns whether anything was replaced."""
        had = len(self.steps)
        new_steps = array("d", steps)
        if first == 0 and new_steps:
            while self.steps and self.steps[-1] >= new_steps[0]:
                self.steps.pop()
                self.values.pop()
        replaced = len(self.steps) < had
        self.steps.extend(new_steps)
        self.values.extend(values)
        return replaced


class Trial:
    """One proposed config and its runs."""

    __slots__ = ("config", "runs")

    def __init__(self, config: Config) -> None:
        self.config = config
        self.runs: list[int] = []


class Agent:
    """A process that works for the sweep."""

    __slots__ = ("alive", "joined_s", "runs", "slots")

    def __init__(self, slots: int, joined_s: float) -> None:
        self.slots, self.joined_s = slots, joined_s
        self.alive = True
        self.runs: set[int] = set()


class State:
    """Everything that a controller needs to know about one sweep."""

    def __init__(self, make_stopper: MakeStopper) -> None:
        self.make_stopper = make_stopper
        self.position = 0
        self.sweep = ""
        self._spec: SweepSpec | None = None
        self.revision = 0
        self.stopper: Stopper | None = None
        self.phase: SweepState = "active"
        self.reason = ""
        self.stop_requested = ""
        """'', 'stop' or 'cancel'."""
        self.reopen = ""
        """Why an ended sweep should go on, '' when it should not."""
        self.created_s = 0.0
        self.first_agent_s: float | None = None
        self.last_s = 0.0
        self.trials: list[Trial] = []
        self.runs: list[Run] = []
        self.agents: dict[str, Agent] = {}
        self.exhausted = False
        self.reached: tuple[int, float] | None = None
        """The first run that met `metric.target`, and its value."""
        self.ignored: list[tuple[int, str]] = []

        # Indexes.
        self.counts: dict[str, int] = {}
        """State of runs -> how many."""
        self.best_run: int | None = None
        """The completed or pruned run with the best score."""
        self.queue: list[int] = []
        """Heap of queued and paused run numbers (entries may be stale: check `Run.state`)."""
        self.waiting = 0
        self.live: set[int] = set()
        self.offers: dict[tuple[str, int], int] = {}
        """(agent, slot) -> offer number, oldest first."""
        self.unexpanded = 0
        """Trials up to this number have their runs."""
        self.observations: list[Observation] = []
        self.to_judge = False
        """Whether something came that a stopper could condemn a running run for since they were last judged."""

    @property
    def spec(self) -> SweepSpec:
        """The current revision of the spec. Raises LookupError before SweepCreated."""
        if self._spec is None:
            raise LookupError("the journal does not begin with SweepCreated")
        return self._spec

    @property
    def goal(self) -> Goal:
        """The metric's direction; minimize where there is no metric."""
        return (
            self._spec.metric.goal if self._spec is not None and self._spec.metric is not None else "minimize"
        )

    def adopt_spec(self, spec: SweepSpec) -> None:
        """Take `spec` as the current one; the stopper begins again with what the runs have reported."""
        self._spec = spec
        self.revision += 1
        self.stopper = self.make_stopper(spec)
        if self.stopper is not None:
            for run in self.runs:
                if run.values:
                    self.stopper.report(run.run, run.values)
        self.to_judge = True

    def move(self, run: Run, before: RunState | None) -> None:
        """Bring the indexes up to date after `run` went from `before` (None: it is new) to its present state."""
        after = run.state
        if before is not None:
            self.counts[before] -= 1
        self.counts[after] = self.counts.get(after, 0) + 1
        if after in ("completed", "pruned") and run.score is not None:
            best = None if self.best_run is None else self.runs[self.best_run].score
            if better(run.score, best, self.goal):
                self.best_run = run.run
        if (before in LIVE) != (after in LIVE):
            (self.live.add if after in LIVE else self.live.discard)(run.run)
        was, now = before in ("queued", "paused"), after in ("queued", "paused")
        if was != now:
            self.waiting += 1 if now else -1
        if now:
            heapq.heappush(self.queue, run.run)
        if run.purpose == "search":
            self.observe(run.trial)

    def observe(self, number: int) -> None:
        """Bring what the searcher sees of a trial up to date."""
        trial = self.trials[number]
        status, score = trial_outcome([self.runs[r] for r in trial.runs])
        old = self.observations[number]
        if old.status != status or old.score != score:
            self.observations[number] = Observation(number, trial.config, status, score)


def better(a: float, b: float | None, goal: Goal) -> bool:
    """Whether `a` is a better objective than `b`; None is worse than anything."""
    return b is None or (a < b if goal == "minimize" else a > b)


def best_finite(values: Iterable[float | None], goal: Goal) -> float | None:
    """The best of the finite values, None when there is none."""
    finite = [v for v in values if v is not None and math.isfinite(v)]
    if not finite:
        return None
    return min(finite) if goal == "minimize" else max(finite)


def trial_outcome(runs: list[Run]) -> tuple[TrialStatus, float | None]:
    """Status and score of a trial from its runs; the score is the mean over completed and pruned replicates."""
    searched = [run for run in runs if run.purpose == "search"]
    if not searched or any(
        run.state not in ("completed", "pruned", "failed", "cancelled") for run in searched
    ):
        return "open", None
    counted = [run for run in searched if run.state in ("completed", "pruned")]
    scores = [run.score for run in counted if run.score is not None]
    score = math.fsum(scores) / len(scores) if scores else None
    if any(run.state == "completed" for run in counted):
        return "completed", score
    return ("pruned" if counted else "failed"), score
