"""What a journal says, folded: the state that decisions are made from.

Only `evolve` changes a state. Everything here that could be a query is kept as an index because `decide` runs after
every commit; `sweep.testing` rebuilds and compares them.
"""

from __future__ import annotations

import heapq
import math
from array import array
from collections.abc import Callable, Iterable, MutableSequence, Sequence

import msgspec

from sweep.core.lifecycle import ENDED, LIVE
from sweep.core.outcomes import ErrorClass, Purpose
from sweep.core.plugins import Observation, Stopper, TrialStatus
from sweep.core.space import Config
from sweep.core.spec import Goal, RetryClass, SweepSpec, unit_of
from sweep.core.views import RunState, SweepState
from sweep.core.worth import MOST, Yardstick, references

COUNTED: frozenset[RunState] = frozenset(("completed", "pruned", "paused"))
"""What a run that has a score is, as far as its trial's score goes."""
MakeStopper = Callable[[SweepSpec], Stopper | None]


class Run:
    """One seeded execution of a trial, as the controller sees it."""

    __slots__ = (
        "after",
        "agent",
        "asked",
        "attempt",
        "cpu_s",
        "energy_j",
        "failed_on",
        "failures",
        "gpus",
        "granted",
        "lost",
        "order",
        "passed",
        "progress",
        "purpose",
        "ready_s",
        "reason",
        "replicate",
        "run",
        "score",
        "seed",
        "shelved",
        "started_s",
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
        self.failures: dict[RetryClass, int] = {}
        self.after: ErrorClass = ""
        self.failed_on = ""
        """The node that it has failed on since it was last asked for; '*' when it was more than one."""
        self.ready_s = 0.0
        self.lost = 0
        self.order = ""
        self.shelved = False
        self.asked = False
        """A person wants it tried again: it is, although the sweep has reached its target or lost patience."""
        self.reason = ""
        self.started_s = 0.0
        """When its current attempt started (Unix seconds)."""
        self.gpus = 0.0
        """How many GPUs its current attempt holds; a share of one that several runs share; 0 before it has started."""
        self.cpu_s = 0.0
        """CPU time and energy that its current attempt has reported."""
        self.energy_j = 0.0
        self.steps = array("d")
        """Steps and values of the objective that count, over all attempts."""
        self.values = array("d")
        self.progress = array("d")
        """How far it was at each, in the unit of `early_terminate.step`."""
        self.passed = 0.0
        """What earlier attempts had used of the unit, where each attempt counts from its own start."""
        self.granted: float | None = None
        """How far it was when it went on from a pause last, None when it never has."""
        self.score: float | None = None

    @property
    def spared(self) -> bool:
        """Whether it is executed although the sweep has reached its target or lost patience."""
        return self.asked or self.purpose != "search"

    def far(self, unit: str) -> float:
        """How far it is in the unit of `early_terminate.step`, as far as that is known; 0 before its first value."""
        if unit == "count":
            return float(len(self.values))
        return next((at for at in reversed(self.progress) if not math.isnan(at)), 0.0)

    def absorb(
        self,
        first: int,
        steps: Sequence[float],
        values: Sequence[float],
        progress: Sequence[float] = (),
        anew: bool = False,
    ) -> bool:
        """Take in reported values. An attempt that starts again at a step replaces what earlier ones had from there
        on; returns whether anything was replaced. `anew`: progress counts from the attempt's own start."""
        if first and len(steps) == len(values) == 1 and not progress:  # by far the most frequent
            self.progress.append(steps[0])
            self.steps.append(steps[0])
            self.values.append(values[0])
            return False
        replaced = False
        if first == 0 and steps:
            while self.steps and self.steps[-1] >= steps[0]:
                self.steps.pop()
                self.values.pop()
                self.progress.pop()
                replaced = True
        if first == 0:
            self.passed = self.progress[-1] if anew and self.progress else 0.0
        if len(progress) == len(steps):
            self.progress.extend([self.passed + at for at in progress] if self.passed else progress)
        else:
            self.progress.extend(steps)
        self.steps.extend(steps)
        self.values.extend(values)
        return replaced


class Trial:
    """One proposed config and its runs."""

    __slots__ = ("config", "counted", "runs")

    def __init__(self, config: Config) -> None:
        self.config = config
        self.runs: list[int] = []
        self.counted = 0
        """The row of finished trials in which `patience` has counted it, from 1; 0 while it has not. One that is tried again
        finishes again, and is still one trial."""


class Agent:
    """A process that works for the sweep."""

    __slots__ = ("alive", "aside", "gpus", "host", "joined_s", "runs", "slots")

    def __init__(self, host: str, slots: int, joined_s: float, gpus: float | None = None) -> None:
        """`gpus`: what the spec said of a run's GPUs when the agent made its slots."""
        self.host, self.slots, self.joined_s, self.gpus = host, slots, joined_s, gpus
        self.alive = True
        self.aside = False
        """Its node was set aside: it gets no further run."""
        self.runs: set[int] = set()


def _finished(seen: Observation) -> bool:
    return seen.status in ("completed", "pruned") and seen.score is not None


class State:
    """Everything that a controller needs to know about one sweep."""

    block = 256
    """Snapshots keep runs and trials in blocks of so many numbers."""

    def __init__(self, make_stopper: MakeStopper) -> None:
        self.make_stopper = make_stopper
        self.position = 0
        self.sweep = ""
        self._spec: SweepSpec | None = None
        self.goal: Goal = "minimize"
        """The metric's direction; minimize where there is no metric."""
        self.revision = 0
        self.stopper: Stopper | None = None
        self.phase: SweepState = "active"
        self.reason = ""
        self.stop_requested = ""
        """'', 'stop' or 'cancel'."""
        self.reopen = ""
        """Why an ended sweep should go on, '' when it should not."""
        self.only_confirm = ""
        """Why the sweep had ended before it was reopened for its confirmation alone, '' otherwise."""
        self.created_s = 0.0
        self.first_agent_s: float | None = None
        self.last_s = 0.0
        self.trials: list[Trial] = []
        self.runs: list[Run] = []
        self.agents: dict[str, Agent] = {}
        self.in_a_row: dict[str, list[tuple[int, ErrorClass, float, float]]] = {}
        """Node -> run, class of error, start (Unix time) and seconds of each attempt that has failed there, while none that
        started later has succeeded."""
        self.lately: list[tuple[str, bool]] = []
        """Node, and whether it went well, of the attempts that ended last."""
        self.exhausted = False
        self.reached: tuple[int, float] | None = None
        """The first run that met `metric.target`, and its value."""
        self.best_score: float | None = None
        """The best score of a trial that has finished."""
        self.unimproved = 0
        """How many trials in a row have finished without bettering it."""
        self.row = 1
        """Number of that row: each time the best score is bettered another one begins."""
        self.stalled = ""
        """Why `patience` ends the sweep, '' while it does not."""
        self.stalled_in = 0
        """The row in which it did."""
        self.gpu_s = 0.0
        """GPU-seconds of all attempts that have ended."""
        self.cpu_s = 0.0
        """Likewise CPU time and energy, as far as they were measured."""
        self.energy_j = 0.0
        self.ignored: list[tuple[int, str]] = []

        self._begin_indexes()

    def _begin_indexes(self) -> None:
        """What can be derived from the rest."""
        self.counts: dict[str, int] = {}
        """State of runs -> how many."""
        self.best_run: int | None = None
        """The completed or pruned run with the best score."""
        self.best_trial: int | None = None
        """The trial with the best score, of those that have finished; its score is a mean where there are replicates."""
        self.queue: list[int] = []
        """Heap of queued run numbers (entries may be stale: check `Run.state`)."""
        self.delayed: list[tuple[float, int]] = []
        """Heap of (Unix time, run) of queued runs that wait for a time; `decide` moves those that are ready to `queue`."""
        self.waiting = 0
        """How many runs are queued."""
        self.paused: set[int] = set()
        self.spared_waiting = 0
        """How many of those that wait are executed even when the search has ended."""
        self.confirm_open = 0
        """How many runs that confirm a result have not ended."""
        self.live: set[int] = set()
        self.offers: dict[tuple[str, int], int] = {}
        """(agent, slot) -> offer number, oldest first."""
        self.unexpanded = 0
        """Trials up to this number have their runs."""
        self.observations: MutableSequence[Observation] = []
        self.whole: list[int] = []
        """Completed runs with a score and a curve, in the order in which they ended."""
        self._yardstick: tuple[object, Yardstick] | None = None  # a cache: (what it was made of, it)
        self.to_judge = False
        """Whether something came that a stopper could condemn a running run for since they were last judged."""
        self.touched: dict[int, int] = {}
        """Blocks of runs and trials that have changed since they were last packed -> the journal's position before the entry that
        changed one last. That which has been left alone for longest comes first."""

    @property
    def spec(self) -> SweepSpec:
        """The current revision of the spec. Raises LookupError before SweepCreated."""
        if self._spec is None:
            raise LookupError("the journal does not begin with SweepCreated")
        return self._spec

    @property
    def confirming(self) -> bool:
        """Whether nothing is left to do but to confirm the result."""
        return 0 < self.confirm_open == self.waiting + len(self.live)

    def adopt_spec(self, spec: SweepSpec) -> None:
        """Take `spec` as the current one; another stopper begins with what the runs have reported."""
        old, self._spec = self._spec, spec
        self.goal = spec.metric.goal if spec.metric is not None else "minimize"
        self.revision += 1
        if old is not None and (old.early_terminate, old.metric) == (spec.early_terminate, spec.metric):
            return
        self.stopper = self.make_stopper(spec)
        if self.stopper is not None:
            for run in self.runs:
                if run.values and run.purpose == "search":
                    self.stopper.report(run.run, run.values, run.progress)
        self.to_judge = True
        if old is not None and unit_of(old.early_terminate) != unit_of(spec.early_terminate):
            for run in self.runs:
                run.granted = None
                self.touch(run.run)
            self.measure_again()

    def touch(self, number: int) -> None:
        """The run or the trial `number` has changed, or changes with the entry that is being folded."""
        block = number // self.block
        self.touched.pop(block, None)
        self.touched[block] = self.position

    def move(self, run: Run, before: RunState | None) -> None:
        """Bring the indexes up to date after `run` went from `before` (None: it is new) to its present state."""
        self.touch(run.run)
        after, counts = run.state, self.counts
        if before is not None:
            counts[before] -= 1
        counts[after] = counts.get(after, 0) + 1
        if after == "running":  # it was assigned: nothing else depends on which of the two
            return
        search = run.purpose == "search"
        if search and run.score is not None and after in ("completed", "pruned"):
            best = None if self.best_run is None else self.runs[self.best_run].score
            if better(run.score, best, self.goal):
                self.best_run = run.run
        if after in LIVE:
            self.live.add(run.run)
        elif before in LIVE:
            self.live.discard(run.run)
        if after == "paused":
            self.paused.add(run.run)
        elif before == "paused":
            self.paused.discard(run.run)
        was, now = before == "queued", after == "queued"
        if was != now:
            self.waiting += 1 if now else -1
            if run.spared:
                self.spared_waiting += 1 if now else -1
        if run.purpose == "confirm":
            self.confirm_open += (after not in ENDED) - (before is not None and before not in ENDED)
        if after in ENDED:
            run.asked = False
        if now and run.ready_s:
            heapq.heappush(self.delayed, (run.ready_s, run.run))
        elif now:
            heapq.heappush(self.queue, run.run)
        if search and after == "completed" and before != after and run.score is not None and run.values:
            self._note_whole(run)
        ended = after in ENDED or after == "paused"
        if search and (ended or self.observations[run.trial].status != "open"):
            self.observe(run.trial)

    def observe(self, number: int) -> None:
        """Bring what the searcher sees of a trial up to date."""
        trial = self.trials[number]
        status, score = trial_outcome([self.runs[r] for r in trial.runs])
        old = self.observations[number]
        worth = self.worth(trial) if status in ("completed", "pruned") else None
        self.touch(number)
        if (old.status, old.score, old.worth) != (status, score, worth):
            self.observations[number] = Observation(number, trial.config, status, score, worth)
            self._note_best_trial(self.observations[number])
        if old.status == "open" and status != "open":
            untried = status == "failed" and any(self.runs[r].state == "cancelled" for r in trial.runs)
            if not untried:
                self._count_finished(trial, score)

    def _note_best_trial(self, seen: Observation) -> None:
        best = None if self.best_trial is None else self.observations[self.best_trial]
        if best is not None and best.trial == seen.trial:  # tried again, say: it may not be the best any more
            found = [one for one in self.observations if _finished(one)]
            first = min if self.goal == "minimize" else max
            best = first(found, key=lambda one: one.score or 0.0, default=None)
            self.best_trial = None if best is None else best.trial
        elif (
            seen.score is not None
            and _finished(seen)
            and better(seen.score, best.score if best else None, self.goal)
        ):
            self.best_trial = seen.trial

    def worth(self, trial: Trial) -> float | None:
        """The score of a trial, had those of its runs not been ended early that were; None where none was."""
        runs = [self.runs[number] for number in trial.runs if self.runs[number].purpose == "search"]
        counted = [run for run in runs if run.state in COUNTED and run.score is not None]
        if not self.whole or all(run.state == "completed" for run in counted):
            return None
        yardstick = self.yardstick()
        found = [
            yardstick.worth(run.progress, run.score) if run.state != "completed" else run.score
            for run in counted
            if run.score is not None
        ]
        return math.fsum(found) / len(found)

    def yardstick(self) -> Yardstick:
        """What runs that were ended early are measured against now."""
        count, by_count = references(len(self.whole)), unit_of(self.spec.early_terminate) == "count"
        made_of = (count, by_count, self.goal)
        if self._yardstick is None or self._yardstick[0] != made_of:
            runs = [self.runs[number] for number in self.whole[max(0, count - MOST) : count]]
            curves = [(run.progress, run.values, run.score) for run in runs if run.score is not None]
            self._yardstick = made_of, Yardstick(curves, self.goal, by_count)
        return self._yardstick[1]

    def _note_whole(self, run: Run) -> None:
        """A run has ended by itself; now and then those that were ended early are measured anew."""
        self.whole.append(run.run)
        if references(len(self.whole)) == len(self.whole):
            self.measure_again()

    def measure_again(self) -> None:
        """Bring what trials are worth that were ended early up to date."""
        for number, seen in enumerate(self.observations):
            if seen.status in ("completed", "pruned"):
                worth = self.worth(self.trials[number])
                if worth != seen.worth:
                    self.touch(number)
                    self.observations[number] = msgspec.structs.replace(seen, worth=worth)

    def _count_finished(self, trial: Trial, score: float | None) -> None:
        """A trial has finished: count those in a row that are no better than what was there."""
        again, trial.counted = trial.counted, trial.counted or self.row
        if score is not None and better(score, self.best_score, self.goal):
            self.best_score = score
            self.begin_row()
            return
        if again:
            return
        self.unimproved += 1
        if not self.stalled:
            self.note_stall()

    def begin_row(self) -> None:
        """`patience` counts anew."""
        self.unimproved, self.row = 0, self.row + 1

    def take_back(self, number: int) -> None:
        """A run of this trial had failed because of its node: `patience` has not seen the trial finish."""
        self.touch(number)
        trial = self.trials[number]
        if trial.counted == self.row and self.unimproved:
            trial.counted = 0
            self.unimproved -= 1
            if self.stalled_in == self.row:
                self.note_stall()

    def note_stall(self) -> None:
        """Whether too many trials in a row have not improved the best score, by the current spec."""
        spec = self.spec
        self.stalled = ""
        if spec.patience is not None and self.unimproved >= spec.patience:
            name = spec.metric.name if spec.metric is not None else "a score"
            than = f"{name} {self.best_score:g}" if self.best_score is not None else "none at all"
            self.stalled = f"patience: {self.unimproved} trials in a row were no better than {than}"
            self.stalled_in = self.row


def better(a: float, b: float | None, goal: Goal) -> bool:
    """Whether `a` is a better objective than `b`; None is worse than anything."""
    return b is None or (a < b if goal == "minimize" else a > b)


def best_finite(values: Iterable[float | None], goal: Goal) -> float | None:
    """The best of the finite values, None when there is none."""
    finite = [v for v in values if v is not None and math.isfinite(v)]
    if not finite:
        return None
    return min(finite) if goal == "minimize" else max(finite)


def best_so_far(best: float | None, values: Sequence[float], goal: Goal) -> float | None:
    """The best of `best` and the finite ones among `values`, None when there is none."""
    if len(values) == 1:  # by far the most frequent
        value = values[0]
        return value if math.isfinite(value) and better(value, best, goal) else best
    finite = values if all(map(math.isfinite, values)) else list(filter(math.isfinite, values))
    if not finite:
        return best
    found = min(finite) if goal == "minimize" else max(finite)
    return found if better(found, best, goal) else best


def trial_outcome(runs: list[Run]) -> tuple[TrialStatus, float | None]:
    """Status and score of a trial from its runs; the score is the mean over completed and pruned replicates. While it is paused, a
    run counts as pruned: it may never go on, and the searcher is to know what it has come to."""
    if len(runs) == 1 and runs[0].purpose == "search":  # by far the most frequent
        [run] = runs
        if run.state == "completed":
            return "completed", run.score
        if run.state == "pruned" or run.state == "paused":
            return "pruned", run.score
        return ("failed" if run.state in ENDED else "open"), None
    searched = [run for run in runs if run.purpose == "search"]
    if not searched:
        return "open", None
    for run in searched:
        if run.state not in ENDED and run.state != "paused":
            return "open", None
    counted = [run for run in searched if run.state in COUNTED]
    scores = [run.score for run in counted if run.score is not None]
    score = math.fsum(scores) / len(scores) if scores else None
    if any(run.state == "completed" for run in counted):
        return "completed", score
    return ("pruned" if counted else "failed"), score
