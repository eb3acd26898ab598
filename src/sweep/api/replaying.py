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


class _Attempt(msgspec.Struct, frozen=True):
    """One that is at work."""

    number: int
    slot: int
    began_s: float
    first: int
    """Its first report, of the curve's."""
    spent_s: float
    """What earlier attempts had used of the curve's time."""


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
        self._events: list[tuple[float, int, int, int]] = []  # time, run, which of its reports, attempt
        self._starts: dict[int, _Attempt] = {}
        self._slot_s: list[float] = []
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
            at_s, run, report, attempt = heapq.heappop(self._events)
            going = self._starts.get(run)
            if going is not None and going.number == attempt:  # it may have ended before it could report
                self._now = at_s
                self._report(run, report, going)
                self._settle()
        best = best_finite((run.score for run in self._state.runs), self._goal)
        return Outcome(tuple(self._ended), self._now, math.fsum(self._slot_s), best)

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
                elif isinstance(decision, e.RunPaused):
                    self._end(decision.run, "paused", decision.reason)
                elif isinstance(decision, e.RunPruned) and decision.run in self._starts:
                    self._end(decision.run, "pruned", decision.reason)
                elif isinstance(decision, e.RunPruned):  # it was paused
                    self._note(decision.run, decision.reason)
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
        """Its program begins, or goes on from where it was paused: it had written its checkpoint at its last report."""
        run, done = assigned.run, len(self._state.runs[assigned.run].values)
        spent_s = self._curves[run].seconds[done - 1] if done else 0.0
        self._starts[run] = _Attempt(assigned.attempt, assigned.slot, self._now, done, spent_s)
        self._add(e.RunStarted(run, assigned.attempt, _AGENT, 1, "here", assigned.slot))
        self._expect(run, done)

    def _expect(self, run: int, report: int) -> None:
        going = self._starts[run]
        at_s = going.began_s + self._curves[run].seconds[report] - going.spent_s
        heapq.heappush(self._events, (at_s, run, report, going.number))

    def _report(self, run: int, report: int, going: _Attempt) -> None:
        curve = self._curves[run]
        far = (curve.seconds[report] - going.spent_s,) if self._unit == "time" else ()
        value = (curve.steps[report],), (curve.values[report],)
        self._add(e.ObjectiveReported(run, going.number, report - going.first, *value, far))
        if report + 1 == len(curve.values):
            self._end(run, "completed", "")
        else:
            self._expect(run, report + 1)

    def _end(self, run: int, outcome: e.Outcome, reason: str) -> None:
        going = self._starts.pop(run)
        self._add(e.AttemptEnded(run, going.number, _AGENT, outcome, reason))
        self._slot_s.append(self._now - going.began_s)
        if outcome != "paused":
            self._note(run, reason)
        self._offer(going.slot)

    def _note(self, run: int, reason: str) -> None:
        self._ended.append(Ended(run, len(self._state.runs[run].values), self._now, reason))
