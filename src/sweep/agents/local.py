"""The attempts on this node, as the loop knows them: what they were started with, what they have said, how they ended.

No processes, sockets or clocks here: the loop brings what happened.
"""

from __future__ import annotations

import errno
import math
import os
import secrets
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from sweep.agents import trees
from sweep.agents.artifacts import Artifacts
from sweep.agents.causes import KILLED, OomKills, judge
from sweep.agents.code import AGAIN_S as CODE_S
from sweep.agents.code import Code
from sweep.agents.data import Data
from sweep.agents.gpus import Slot
from sweep.agents.guardian import Exited, Spawned
from sweep.agents.inbox import RunInbox
from sweep.agents.outputs import Outputs
from sweep.agents.starting import Prepared
from sweep.agents.telemetry import Telemetry
from sweep.agents.view import SlotLine
from sweep.agents.wholes import Wholes
from sweep.core import agent as a
from sweep.core import entries as e
from sweep.core.spec import SweepSpec
from sweep.provenance import known_secrets
from sweep.stores import HistoryChunk
from sweep.stores.output import KEPT_BYTES

MARKS = tuple(map(os.fsdecode, trees.MARKS))
COUNTED_S = 0.5
"""How old the kernel's counts may be that an attempt begins with."""


class LocalRun(msgspec.Struct, gc=False):
    """One attempt on this node."""

    assignment: e.RunAssigned
    began_s: float
    prepared: Prepared | None = None
    inbox: RunInbox | None = None
    oom_kills: dict[str, int] = {}
    """The kernel's counts when it began."""
    started: bool = False
    """Whether the guard has said so: what the run says before that waits here, as the journal must have its start first."""
    code: int = 0
    """The number of the code that it executes (`sweep.agents.code`)."""


def new_agent_id(node: str) -> str:
    """A name for one life of an agent: that of its node, and something random."""
    name = node.split(".")[0]
    short = "".join(c if c.isalnum() or c == "-" else "-" for c in name)[:20] or "node"
    return f"{short}-{secrets.token_hex(4)}"


def is_full(error: Exception) -> bool:
    """Whether an attempt could not be started because there is no room on a disk: not its fault, and it may pass."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


class LocalRuns:
    """All attempts on this node, and the history rows that wait for a commit."""

    def __init__(
        self,
        spec: SweepSpec,
        put_cache: Callable[[str, bytes], None],
        wholes: Wholes | None = None,
        artifacts: Artifacts | None = None,
        telemetry: Telemetry | None = None,
        data: Data | None = None,
        code: Code | None = None,
    ) -> None:
        """`put_cache(name, content)` has the store keep something with the next commit; `wholes` brings whole outputs to where
        the spec says, `artifacts` what runs log by name; `telemetry` watches what runs use, `data` what they
        read, `code` what they execute."""
        self.artifacts, self.data, self.code = artifacts, data, code
        self.spec = spec
        self.outputs, self.wholes, self._put_cache = (
            Outputs(put_cache, known_secrets(os.environ)),
            wholes,
            put_cache,
        )
        self.kills, self.telemetry = OomKills(), telemetry
        self.runs: dict[int, LocalRun] = {}
        """run -> its attempt here."""
        self.gone: dict[int, tuple[LocalRun, float]] = {}
        """run -> an attempt whose process is gone and which the person has not been told of, and when it went."""
        self.history: list[HistoryChunk] = []
        self._postponed: list[e.RunAssigned] = []
        self._retry_at_s = 0.0
        self._doubted: set[str] = set()
        self._oom_kills: dict[str, int] = {}
        self._counted_s = -math.inf

    def step(self, now_s: float, add: Callable[[e.AnyEntry], None] | None) -> None:
        """Take note of what goes on beside the loop. `add` has an entry written; None while the store is in trouble."""
        if self.wholes is not None:
            self.wholes.step(self._put_cache)
        if self.artifacts is not None:
            self.artifacts.step()
        if self.data is not None:
            self.data.step()
        if self.code is not None:
            self.code.step()
        if self.telemetry is not None:
            self.telemetry.step(now_s, self.spec.limits, add, self._put_cache)

    def owes(self, now_s: float) -> bool:
        """Whether an agent that leaves would lose something."""
        owing = [
            part
            for part in (self.wholes, self.artifacts, self.data, self.code)
            if part is not None and part.owes(now_s)
        ]
        return bool(self.history or owing)

    def look(self, local: LocalRun) -> None:
        """A run has said something: heed what it says of artifacts and data. Its words may be here before the guard's, that it has started."""
        if local.started and local.inbox is not None and local.inbox.noted and self.artifacts is not None:
            local.inbox.noted = False
            self.artifacts.noted(local.assignment.run, local.assignment.attempt, self.spec.outputs)

    def ready(self, assignment: e.RunAssigned, now_s: float) -> bool:
        """Whether this attempt may start now; if not, it is among those that are `due` soon."""
        if self.code is None or self.code.ready(self._keys()):
            return True
        self._postponed.append(assignment)
        self._retry_at_s = now_s + CODE_S
        return False

    def _keys(self) -> list[tuple[int, int]]:
        return [(run, local.assignment.attempt) for run, local in self.runs.items()]

    def begin(self, assignment: e.RunAssigned, now_s: float) -> LocalRun:
        """An attempt that is about to start."""
        if now_s >= self._counted_s + COUNTED_S:
            self._oom_kills, self._counted_s = self.kills.counts(), now_s
        code = 0 if self.code is None else self.code.number
        local = LocalRun(assignment, now_s, oom_kills=self._oom_kills, code=code)
        self.runs[assignment.run] = local
        return local

    def started(self, local: LocalRun, agent: str, node: str, event: Spawned, slot: Slot) -> e.RunStarted:
        """The event of its process having begun."""
        assignment, prepared = local.assignment, local.prepared
        assert prepared is not None
        local.started = True
        if self.telemetry is not None:
            marks = {f"{name}={prepared.env[name]}" for name in MARKS if name in prepared.env}
            key = (assignment.run, assignment.attempt)
            self.telemetry.begin(key, event.pid, slot, set(map(os.fsencode, marks)), event.at_s)
        if self.data is not None:
            since_s = time.time() - (time.monotonic() - local.began_s)
            run, attempt = assignment.run, assignment.attempt
            self.data.begin(run, attempt, prepared.workdir, self.spec.inputs, since_s)
        self.look(local)
        return e.RunStarted(
            assignment.run,
            assignment.attempt,
            agent,
            event.pid,
            node,
            assignment.slot,
            tuple(gpu.uuid for gpu in slot.gpus),
            tuple(prepared.recorded_argv),
            prepared.recorded_env,
            prepared.folder,
            local.code,
        )

    def over(self, run: int, now_s: float) -> None:
        """The process of this attempt is gone, or could not be started."""
        local = self.runs.pop(run)
        self.gone[run] = (local, now_s)
        if self.artifacts is not None and local.inbox is not None:
            self.artifacts.ended(run, local.assignment.attempt, self.spec.outputs)
        if self.data is not None:
            self.data.ended(run, local.assignment.attempt)
        if self.code is not None:
            self.code.ended((run, local.assignment.attempt), self._keys())

    def told(self, event: e.AttemptEnded) -> tuple[e.RunAssigned, e.AttemptEnded, float]:
        """What the person is told of such an attempt, once it is known how it has ended."""
        local, gone_s = self.gone.pop(event.run)
        return local.assignment, event, gone_s - local.began_s

    def by_guard_id(self, guard_id: str) -> LocalRun | None:
        """The attempt that the guard knows by this ID, None when it no longer counts."""
        run, _, attempt = guard_id.partition(".")
        local = self.runs.get(int(run))
        return local if local is not None and local.assignment.attempt == int(attempt) else None

    def collect(self, local: LocalRun, add: Callable[[e.AnyEntry], None], now_s: float | None = None) -> None:
        """Take what a run has said since the last commit: objective values to the journal by `add`, rows to the history, and
        with `now_s`, when it is time for that, what it has printed."""
        inbox, assignment = local.inbox, local.assignment
        if now_s is not None and local.prepared is not None:
            self.outputs.follow(assignment.run, assignment.attempt, local.prepared.output, now_s)
        if inbox is None or not local.started:
            return
        taken = inbox.take()
        run, attempt = assignment.run, assignment.attempt
        if taken.steps:
            progress = tuple(taken.progress) if taken.progress != taken.steps else ()
            add(
                e.ObjectiveReported(
                    run, attempt, taken.first, tuple(taken.steps), tuple(taken.values), progress
                )
            )
        if taken.count:
            self.history.append(HistoryChunk(run, attempt, taken.first_row, taken.count, taken.data))

    def postpone(self, assignment: e.RunAssigned, until_s: float) -> bool:
        """Keep an attempt that could not be started because the disk is full. True for the first in a row."""
        first = not self._postponed and until_s - self._retry_at_s > 10
        self._postponed.append(assignment)
        self._retry_at_s = until_s
        return first

    def measured(self, local: LocalRun, then: Callable[[], None]) -> None:
        """Call `then` when it is known what this attempt, whose process is gone, has used."""
        if self.telemetry is None:
            then()
        else:
            self.telemetry.ended((local.assignment.run, local.assignment.attempt), then)

    def due_s(self, now_s: float) -> float | None:
        """When `step` must be called at the latest; None as long as nothing goes on."""
        due_s = None if self.telemetry is None else self.telemetry.due_s()
        for part in (self.artifacts, self.data, self.code):
            part_s = None if part is None else part.due_s(now_s)
            if part_s is not None:
                due_s = part_s if due_s is None else min(due_s, part_s)
        return due_s

    def give_up(self) -> None:
        """Wait for nothing more: the guard, and with it every process here, is gone."""
        if self.telemetry is not None:
            self.telemetry.give_up()

    def forget(self) -> None:
        """Nothing that is here counts any more."""
        self.runs.clear()
        self.due(None)
        self.gone.clear()
        self.history.clear()
        for part in (self.artifacts, self.telemetry, self.data, self.code):
            if part is not None:
                part.forget()

    def close(self) -> None:
        """Let go."""
        self.kills.close()
        if self.telemetry is not None:
            self.telemetry.close()

    def due(self, now_s: float | None) -> list[e.RunAssigned]:
        """Attempts to be started after all; they are the caller's from then on. `now_s` None: all of them."""
        if not self._postponed or (now_s is not None and now_s < self._retry_at_s):
            return []
        found, self._postponed = self._postponed, []
        return found

    def doubts(self, local: LocalRun) -> list[str]:
        """What a person should know about an attempt that has ended with exit code 0; each kind once, as every run of a
        program is likely to have it."""
        found = local.inbox.doubts() if local.inbox is not None else {}
        fresh = [words for kind, words in found.items() if kind not in self._doubted]
        self._doubted.update(found)
        return fresh

    def ended(self, local: LocalRun, exited: Exited, tail: str, output: str | None) -> a.Ended:
        """What is known of an attempt when its process has ended and all its rows are in. `output`: the end of what it
        printed, where its cause is to be looked for."""
        inbox = local.inbox
        assert inbox is not None and local.prepared is not None
        run, attempt, path = local.assignment.run, local.assignment.attempt, Path(local.prepared.output)
        if (
            self.outputs.close(run, attempt, path) > KEPT_BYTES
            and self.spec.outputs is not None
            and self.wholes
        ):
            self.wholes.begin(self.spec.outputs, run, attempt, path, exited.at_s)
        metric = self.spec.metric
        cause = None
        if exited.status in KILLED:
            self._counted_s = -math.inf  # it may have been counted since
        if output is not None:
            cause = judge(exited.status, output, self.kills.risen(local.oom_kills))
        cpu_s = exited.utime_s + exited.stime_s
        usage = None
        if self.telemetry is not None:
            disk = None if exited.read_bytes < 0 else (exited.read_bytes, exited.written_bytes)
            usage, seen_s = self.telemetry.last((run, attempt), disk, self._put_cache)
            cpu_s = max(cpu_s, seen_s)
        return a.Ended(
            exit_code=exited.status,
            score=inbox.score(metric.goal if metric is not None else "minimize"),
            summary=inbox.summary(),
            rows=inbox.rows,
            defaults=inbox.config,
            state=inbox.state,
            tail=tail,
            cpu_s=cpu_s,
            maxrss_bytes=exited.maxrss_bytes,
            cause=cause,
            usage=usage,
        )

    def gpus(self, slots: Sequence[Slot]) -> frozenset[str]:
        """UUIDs of the GPUs that runs here have."""
        return frozenset(
            gpu.uuid for local in self.runs.values() for gpu in slots[local.assignment.slot].gpus
        )

    def lines(self, slots: Sequence[Slot], core: a.AgentCore, now: float) -> tuple[SlotLine, ...]:
        """One line per slot, for the person at the terminal."""
        busy = {local.assignment.slot: local for local in self.runs.values()}
        return tuple(_line(number, slot, busy.get(number), core, now) for number, slot in enumerate(slots))


def _line(number: int, slot: Slot, local: LocalRun | None, core: a.AgentCore, now: float) -> SlotLine:
    gpus = tuple(gpu.name for gpu in slot.gpus)
    if local is None:
        return SlotLine(number, gpus, waits=core.gpus.why(number))
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
