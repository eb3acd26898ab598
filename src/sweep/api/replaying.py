"""Recorded curves under the real controller and a virtual clock: what a sweep of them would have been.

The rule of this file: what decides is `sweep.core` as it is, with the stopper that an agent would use. Here is only what an agent and
training programs do, without any time of their own: a run reports when it did, ends when it is told to, and its slot is offered at once.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence

import msgspec

from sweep.api.curves import RunCurve
from sweep.core import entries as e
from sweep.core.codec import spec_to_builtins
from sweep.core.decide import Propose, decide
from sweep.core.evolve import evolve
from sweep.core.space import Space
from sweep.core.spec import EarlyTerminate, Limits, Metric, Retry, SweepSpec, unit_of
from sweep.core.state import State, best_finite
from sweep.stopping import make_stopper

_AGENT = "replay"


class Ended(msgspec.Struct, frozen=True):
    """How a run of a replay ended."""

    curve: int
    """Its place in the order of the replay."""
    reports: int
    at_s: float
    reason: str = ""
    """Why it was ended early, '' when it was not."""


class Outcome(msgspec.Struct, frozen=True):
    """What became of a replay."""

    ended: tuple[Ended, ...]
    clock_s: float
    """When the last run ended."""
    slot_s: float
    """What the runs used of their slots."""
    best: float | None
    """The best value that was seen."""


def replay(curves: Sequence[RunCurve], metric: Metric, early: EarlyTerminate | None, slots: int) -> Outcome:
    """A sweep whose trials are `curves`, in this order, on so many slots."""
    return _Replay(curves, metric, early, slots).outcome()


class _Replay:
    def __init__(
        self, curves: Sequence[RunCurve], metric: Metric, early: EarlyTerminate | None, slots: int
    ) -> None:
        self._curves, self._goal = curves, metric.goal
        self._unit = unit_of(early)
        spec = SweepSpec(
            method="random",
            space=Space(()),
            seed=0,
            metric=msgspec.structs.replace(metric, target=None),
            run_cap=len(curves),
            early_terminate=early,
            limits=Limits(),
            retry=Retry(),
        )
        self._state = State(make_stopper)
        self._now = 0.0
        self._events: list[tuple[float, int, int]] = []  # time, run, which of its reports
        self._starts: dict[int, float] = {}
        self._slots: dict[int, int] = {}
        self._ended: list[Ended] = []
        self._offers = 0
        self._told = 0
        self._add(e.SweepCreated("replay", spec_to_builtins(spec)))
        self._add(e.AgentJoined(_AGENT, "here", 1, slots))
        for slot in range(slots):
            self._offer(slot)

    def outcome(self) -> Outcome:
        """To the end of the sweep."""
        self._settle()
        while self._events:
            self._now, run, report = heapq.heappop(self._events)
            if run in self._starts:  # it may have been ended before it could report
                self._report(run, report)
                self._settle()
        best = best_finite((run.score for run in self._state.runs), self._goal)
        slot_s = math.fsum(ended.at_s - self._state.runs[ended.curve].started_s for ended in self._ended)
        return Outcome(tuple(self._ended), self._now, slot_s, best)

    def _add(self, entry: e.AnyEntry) -> None:
        self._told += 1
        evolve(self._state, e.Recorded(self._told, self._now, _AGENT, self._told, entry))

    def _offer(self, slot: int) -> None:
        self._offers += 1
        self._add(e.SlotOffered(_AGENT, slot, self._offers))

    def _settle(self) -> None:
        """Let the controller decide until it is content."""
        while True:
            decisions, commands = decide(self._state, self._now)
            for decision in decisions:
                self._add(decision)
                if isinstance(decision, e.RunAssigned):
                    self._start(decision)
                elif isinstance(decision, e.RunPruned):
                    self._end(decision.run, "pruned", decision.reason)
            wanted = sum(command.n for command in commands if isinstance(command, Propose))
            if wanted:
                self._propose(wanted)
            if not decisions and not wanted:
                return

    def _propose(self, count: int) -> None:
        first = len(self._state.trials)
        configs = tuple({"run": curve.run} for curve in self._curves[first : first + count])
        exhausted = first + len(configs) >= len(self._curves)
        state = self._state
        self._add(e.TrialsProposed(first, configs, exhausted, state.revision, "replay", "1", state.position))

    def _start(self, assigned: e.RunAssigned) -> None:
        run = assigned.run
        self._slots[run], self._starts[run] = assigned.slot, self._now
        self._add(e.RunStarted(run, assigned.attempt, _AGENT, 1, "here", assigned.slot))
        heapq.heappush(self._events, (self._now + self._curves[run].seconds[0], run, 0))

    def _report(self, run: int, report: int) -> None:
        curve = self._curves[run]
        far = (curve.seconds[report],) if self._unit == "time" else ()
        self._add(e.ObjectiveReported(run, 1, report, (curve.steps[report],), (curve.values[report],), far))
        if report + 1 == len(curve.values):
            self._end(run, "completed", "")
        else:
            heapq.heappush(self._events, (self._starts[run] + curve.seconds[report + 1], run, report + 1))

    def _end(self, run: int, outcome: e.Outcome, reason: str) -> None:
        reports = len(self._state.runs[run].values)
        self._add(e.AttemptEnded(run, 1, _AGENT, outcome, reason))
        del self._starts[run]
        self._ended.append(Ended(run, reports, self._now, reason))
        self._offer(self._slots.pop(run))
