"""The attempts on this node, as the loop knows them: what they were started with, what they have said, how they ended.

No processes, sockets or clocks here: the loop brings what happened.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from sweep.agents.gpus import Slot
from sweep.agents.guardian import Exited
from sweep.agents.inbox import RunInbox
from sweep.agents.starting import Prepared
from sweep.agents.view import SlotLine
from sweep.core import agent as a
from sweep.core import entries as e
from sweep.core.spec import SweepSpec
from sweep.stores import HistoryChunk


class LocalRun(msgspec.Struct, gc=False):
    """One attempt on this node."""

    assignment: e.RunAssigned
    began_s: float
    prepared: Prepared | None = None
    inbox: RunInbox | None = None


class LocalRuns:
    """All attempts on this node, and the history rows that wait for a commit."""

    def __init__(self, spec: SweepSpec) -> None:
        self.spec = spec
        self.runs: dict[int, LocalRun] = {}
        """run -> its attempt here."""
        self.history: list[HistoryChunk] = []

    def by_guard_id(self, guard_id: str) -> LocalRun | None:
        """The attempt that the guard knows by this ID, None when it no longer counts."""
        run, _, attempt = guard_id.partition(".")
        local = self.runs.get(int(run))
        return local if local is not None and local.assignment.attempt == int(attempt) else None

    def collect(self, local: LocalRun, add: Callable[[e.AnyEntry], None]) -> None:
        """Take what a run has said since the last commit: objective values to the journal by `add`, rows to the history."""
        inbox, assignment = local.inbox, local.assignment
        if inbox is None:
            return
        taken = inbox.take()
        run, attempt = assignment.run, assignment.attempt
        if taken.steps:
            add(e.ObjectiveReported(run, attempt, taken.first, tuple(taken.steps), tuple(taken.values)))
        if taken.count:
            self.history.append(HistoryChunk(run, attempt, taken.first_row, taken.count, taken.data))

    def ended(self, local: LocalRun, exited: Exited, tail: str) -> a.Ended:
        """What is known of an attempt when its process has ended and all its rows are in."""
        inbox = local.inbox
        assert inbox is not None
        metric = self.spec.metric
        return a.Ended(
            exit_code=exited.status,
            score=inbox.score(metric.goal if metric is not None else "minimize"),
            summary=inbox.summary(),
            rows=inbox.rows,
            defaults=inbox.config,
            tail=tail,
            cpu_s=exited.utime_s + exited.stime_s,
            maxrss_bytes=exited.maxrss_bytes,
        )

    def lines(self, slots: Sequence[Slot], core: a.AgentCore, now: float) -> tuple[SlotLine, ...]:
        """One line per slot, for the person at the terminal."""
        busy = {local.assignment.slot: local for local in self.runs.values()}
        return tuple(_line(number, slot, busy.get(number), core, now) for number, slot in enumerate(slots))


def _line(number: int, slot: Slot, local: LocalRun | None, core: a.AgentCore, now: float) -> SlotLine:
    gpus = tuple(gpu.name for gpu in slot.gpus)
    if local is None:
        return SlotLine(number, gpus)
    assignment, inbox = local.assignment, local.inbox
    known = core.attempts.get(assignment.run)
    return SlotLine(
        number,
        gpus,
        assignment.run,
        assignment.attempt,
        assignment.config,
        now - local.began_s,
        inbox.rows if inbox is not None else 0,
        inbox.last_objective if inbox is not None else None,
        known.reason if known is not None else "",
    )
