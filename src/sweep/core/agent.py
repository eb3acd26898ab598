"""What an agent decides on its node: when to offer a slot, start, end, kill, give up. Pure: time is an argument.

The shell around it (`sweep.agents.loop`, or the simulated world) reports what happened by calling a method, and carries
out the actions that come back, in order. Times are seconds of one clock that never goes back.
"""

from __future__ import annotations

import signal
from collections.abc import Mapping

import msgspec

from sweep.core import entries as e
from sweep.core.agent_actions import (
    Action,
    Append,
    Cause,
    Ended,
    Finding,
    Forget,
    Look,
    Say,
    Signal,
    Start,
    TellStop,
)
from sweep.core.attempt import Attempt, verdict
from sweep.core.gpu_slots import LOOK_LIMIT_S, GpuSlots
from sweep.core.spec import Limits
from sweep.core.until import Until

EARLY_FAILURES = 3
EARLY_WINDOW_S = 60.0
"""An agent whose first runs fail so often within this time of its start, with no success, stops: the node or the
program is broken, and going on would only burn the sweep."""

BATCH_SIGNALS = (-int(signal.SIGTERM), -int(signal.SIGUSR1))
UNEXPLAINED_S = 1.0
"""A run that was ended by a signal of a batch system is judged so much later: it sends them to every process of a job, and the
agent's own may come after that of its runs."""

TERM, KILL = int(signal.SIGTERM), int(signal.SIGKILL)

__all__ = [
    "Action",
    "AgentCore",
    "Append",
    "Attempt",
    "BATCH_SIGNALS",
    "Cause",
    "EARLY_FAILURES",
    "EARLY_WINDOW_S",
    "Ended",
    "Finding",
    "Forget",
    "KILL",
    "Look",
    "Say",
    "Signal",
    "Start",
    "TERM",
    "TellStop",
    "UNEXPLAINED_S",
]


class AgentCore:
    """The decisions of one agent, for one sweep."""

    def __init__(
        self,
        agent: str,
        slots: int,
        limits: Limits,
        now_s: float,
        count: int | None = None,
        until: Until | None = None,
        gpus: GpuSlots | None = None,
    ) -> None:
        """`count`: how many runs it takes at most; `until`: when it must be gone; `gpus`: the slots with GPUs."""
        self.agent, self.limits, self.count, self.until = agent, limits, count, until
        self.slots, self.gpus = slots, gpus or GpuSlots()
        self.began_s = now_s
        self.offers: dict[int, int] = {}
        """slot -> number of its open offer."""
        self.attempts: dict[int, Attempt] = {}
        """run -> its attempt here."""
        self.draining = ""
        """Why no slot is offered any more, '' while they are."""
        self.interrupts = 0
        self.lent: set[int] | None = None
        """Which slots it may offer, each for one run; None: all of them, again and again (`sweep.core.sharing`)."""
        self.returning: set[int] = set()
        """Slots that were lent, and asked back: a run that was assigned before the store had the withdrawal may still come."""
        self.taken = 0
        self.early_failures, self.succeeded = 0, False
        self.failed: dict[int, None] = {}
        """The runs that have failed here, in order."""
        self.broken = ""
        """Why this agent gave up, '' when it did not."""
        self.aside = ""
        """Why the controller has set this node aside, '' when it has not."""
        self._last_offer = 0

    # --- queries

    def failed_by_itself(self, run: int, exit_code: int | None) -> bool:
        """Whether an attempt that has ended so has failed, and nobody had told it to end: its cause is worth a look."""
        attempt = self.attempts.get(run)
        return attempt is not None and attempt.order is None and exit_code != 0

    @property
    def idle(self) -> bool:
        """Nothing runs here and nothing is on offer."""
        return not self.attempts and not self.offers

    def next_wake_s(self) -> float | None:
        """When `tick` must be called at the latest."""
        times = [t for attempt in self.attempts.values() for t in self._deadlines(attempt)]
        if self.until is not None and not self.draining:
            times.append(self.until.last_start_s(self.limits))
        if self.until is not None and any(one.order is None for one in self.attempts.values()):
            times.append(self.until.end_runs_s(self.limits))
        if (look_s := self.gpus.next_wake_s()) is not None:
            times.append(look_s)
        return min(times, default=None)

    def _deadlines(self, attempt: Attempt) -> list[float]:
        if attempt.gone is not None:
            return [attempt.judge_at_s]
        if attempt.kill_at_s is not None:
            return [attempt.kill_at_s]
        times = []
        if attempt.running and attempt.order is None:
            if self.limits.run_time_s is not None:
                times.append(attempt.started_s + self.limits.run_time_s)
            if self.limits.no_progress_s is not None:
                times.append(attempt.progress_s + self.limits.no_progress_s)
        return times

    # --- slots

    def begin(self, now_s: float) -> list[Action]:
        """The agent has joined: offer what there is time for."""
        kept = self._tell_kept({})
        return [*kept, *self._leave_in_time(now_s), *self._leave_without_slots(), *self.offer()]

    def offer(self) -> list[Action]:
        """Offer every free slot, as far as `count` allows, or have its GPUs looked at first; with all of them taken, this
        agent is on its way out."""
        if self.draining:
            return []
        if self.count is not None and self.taken >= self.count:
            return self.drain(f"its {self.count} runs are done")
        busy = {attempt.assignment.slot for attempt in self.attempts.values()}
        actions: list[Action] = []
        looks: list[int] = []
        for slot in range(self.slots):
            if slot in busy or slot in self.offers or self.gpus.keeps(slot) or not self._has(slot):
                continue
            if self.count is not None and self.taken + len(self.offers) + self.gpus.asked >= self.count:
                break
            if self.gpus.asks(slot):
                looks.append(slot)
                continue
            self._last_offer += 1
            self.offers[slot] = self._last_offer
            actions.append(Append(e.SlotOffered(self.agent, slot, self._last_offer)))
        return [*actions, Look(tuple(looks))] if looks else actions

    def looked(self, found: Mapping[int, Finding], now_s: float) -> list[Action]:
        """What a look at the GPUs of slots has found."""
        before = self.gpus.kept()
        actions: list[Action] = [*self.gpus.learn(found, now_s), *self._tell_kept(before)]
        for attempt in list(self.attempts.values()):
            finding = found.get(attempt.assignment.slot)
            if finding is not None and attempt.examined and attempt.gone is not None:
                ended = attempt.gone
                if finding.lost and (ended.cause is None or ended.cause.error_class != "node"):
                    cause = Cause("node", f"the node failed ({finding.lost})")
                    ended = msgspec.structs.replace(ended, cause=cause)
                actions += self._judge(attempt, ended, now_s)
        return [*actions, *self._leave_without_slots(), *self.offer()]

    def drain(self, reason: str) -> list[Action]:
        """Take back every offer; runs go on."""
        if not self.draining:
            self.draining = reason
        withdrawn = [Append(e.SlotWithdrawn(self.agent, slot, offer)) for slot, offer in self.offers.items()]
        self.offers.clear()
        self.gpus.rest()
        return [*withdrawn]

    def lend(self, slot: int) -> list[Action]:
        """This slot is this sweep's until a run has ended there, or `recall`."""
        if self.lent is not None:
            self.lent.add(slot)
        return self.offer()

    def recall(self, slot: int) -> list[Action]:
        """Another sweep is to have this slot. It has come back when what is returned here is in the journal, and every order that
        stands before it there has been carried out: see `confirm`."""
        if self.lent is None or slot not in self.lent:
            return []
        self.lent.discard(slot)
        self.returning.add(slot)
        offer = self.offers.pop(slot, None)
        return [] if offer is None else [Append(e.SlotWithdrawn(self.agent, slot, offer))]

    def confirm(self) -> None:
        """The journal has every withdrawal, and every order before it has been carried out."""
        self.returning.clear()

    def _has(self, slot: int) -> bool:
        return self.lent is None or slot in self.lent

    # --- orders from the controller

    def assigned(self, entry: e.RunAssigned, now_s: float) -> list[Action]:
        """The controller gave this slot a run. Said again (the store lost it before it had acknowledged it), it changes nothing."""
        if self._current(entry.run, entry.attempt) is not None:
            return []
        self.offers.pop(entry.slot, None)
        if self.draining:
            return [self._ended(entry, "preempted", reason=f"the agent is leaving: {self.draining}")]
        if not self._has(entry.slot) and entry.slot not in self.returning:
            return [self._ended(entry, "preempted", reason="another sweep has this slot")]
        if self.lent is not None:
            self.lent.discard(entry.slot)
            self.returning.discard(entry.slot)
        self.taken += 1
        self.attempts[entry.run] = Attempt(entry, now_s)
        return [Start(entry)]

    def ordered(self, entry: e.RunPruned | e.RunPaused | e.RunCancelled, now_s: float) -> list[Action]:
        """The controller wants this attempt to end."""
        attempt = self._current(entry.run, entry.attempt)
        outcomes: dict[type, e.Outcome] = {
            e.RunPruned: "pruned",
            e.RunPaused: "paused",
            e.RunCancelled: "cancelled",
        }
        return [] if attempt is None else self._end(attempt, outcomes[type(entry)], entry.reason, now_s)

    def set_aside(self, entry: e.NodeSetAside) -> list[Action]:
        """The controller gives this node no further run: those that are here may finish."""
        self.aside = entry.reason
        return [
            Say(f"this node is set aside: {entry.reason}", "error"),
            *self.drain(f"set aside: {entry.reason}"),
        ]

    # --- what happens to the processes

    def started(self, run: int, event: e.RunStarted, now_s: float) -> list[Action]:
        """The process exists."""
        attempt = self.attempts[run]
        attempt.running, attempt.started_s, attempt.progress_s = True, now_s, now_s
        actions: list[Action] = [Append(event)]
        if attempt.order is not None:
            actions += self._ask_to_end(attempt, now_s)
        return actions

    def start_failed(self, run: int, message: str, now_s: float) -> list[Action]:
        """The process could not be started."""
        attempt = self.attempts.pop(run)
        if attempt.order is not None:
            return [self._ended(attempt.assignment, attempt.order, reason=attempt.reason), *self.offer()]
        ended = self._ended(attempt.assignment, "failed", reason=message, error_class="start")
        return [ended, *self._count_failure(run, message, now_s), *self.offer()]

    def connected(self, run: int, attempt_number: int, raises: bool) -> list[Action]:
        """The program has said hello on its socket."""
        attempt = self._current(run, attempt_number)
        if attempt is None:
            return []
        attempt.raises = raises
        if attempt.order is not None:
            return [TellStop(run, attempt_number, attempt.reason)]
        return []

    def reported(self, run: int, now_s: float) -> None:
        """The program has logged something."""
        attempt = self.attempts.get(run)
        if attempt is not None:
            attempt.progress_s = now_s

    def exited(self, run: int, ended: Ended, now_s: float) -> list[Action]:
        """The process has ended and everything it said is in."""
        attempt = self.attempts.get(run)
        if attempt is None:
            return []
        ended = msgspec.structs.replace(ended, wall_s=now_s - attempt.started_s)
        if attempt.order is None and ended.exit_code in BATCH_SIGNALS:
            attempt.gone, attempt.judge_at_s = ended, now_s + UNEXPLAINED_S
            return []
        slot = attempt.assignment.slot
        if self.failed_by_itself(run, ended.exit_code) and self.gpus.examines(slot):
            attempt.gone, attempt.judge_at_s, attempt.examined = ended, now_s + 2 * LOOK_LIMIT_S, True
            return [Look((slot,))]
        return self._judge(attempt, ended, now_s)

    def _judge(self, attempt: Attempt, ended: Ended, now_s: float) -> list[Action]:
        del self.attempts[attempt.assignment.run]
        outcome, reason, error_class = verdict(attempt, ended)
        actions: list[Action] = [
            self._ended(attempt.assignment, outcome, reason=reason, error_class=error_class, ended=ended)
        ]
        if outcome == "failed":
            actions += self._count_failure(attempt.assignment.run, reason, now_s)
        elif outcome in ("completed", "pruned", "paused"):
            self.succeeded = True
        return [*actions, *self.offer()]

    def closing(self, run: int) -> None:
        """The process has ended, and `exited` follows when what it left has been kept: no limit ends it any more."""
        attempt = self.attempts.get(run)
        if attempt is not None:
            attempt.running, attempt.kill_at_s = False, None

    def guard_died(self, words: str = "the guard process died; its runs start again") -> list[Action]:
        """The guard, and with it every process here, is gone."""
        actions: list[Action] = [Say(words, "warning")]
        for attempt in self.attempts.values():
            outcome = (
                attempt.order
                if attempt.order in ("pruned", "paused", "cancelled", "failed", "preempted")
                else "lost"
            )
            reason = attempt.reason or words.partition(";")[0]
            actions.append(
                self._ended(attempt.assignment, outcome, reason=reason, error_class=attempt.error_class)
            )
        self.attempts.clear()
        return [*actions, *self.offer()]

    # --- time, leases, people

    def tick(self, now_s: float) -> list[Action]:
        """Limits and escalations that are due."""
        actions: list[Action] = self._leave_in_time(now_s)
        again, unanswered = self.gpus.tick(now_s)
        actions += [Look(again)] if again else []
        actions += self.looked(unanswered, now_s) if unanswered else []
        limits = self.limits
        for attempt in list(self.attempts.values()):
            if attempt.gone is not None:
                if now_s >= attempt.judge_at_s:
                    actions += self._judge(attempt, attempt.gone, now_s)
            elif attempt.kill_at_s is not None and now_s >= attempt.kill_at_s:
                attempt.kill_at_s = now_s + 5.0
                actions.append(self._signal(attempt, KILL, everything=True))
            elif attempt.order is None and attempt.running:
                if limits.run_time_s is not None and now_s >= attempt.started_s + limits.run_time_s:
                    attempt.error_class = "run_time"
                    reason = f"limits.run_time: it ran for {limits.run_time_s:g} s"
                    actions += self._end(attempt, "failed", reason, now_s)
                elif limits.no_progress_s is not None and now_s >= attempt.progress_s + limits.no_progress_s:
                    attempt.error_class = "no_progress"
                    reason = f"limits.no_progress: it logged nothing for {limits.no_progress_s:g} s"
                    actions += self._end(attempt, "failed", reason, now_s)
        return actions

    def lease_lost(self, reason: str) -> list[Action]:
        """Others count this agent as lost: nothing that runs here counts any more."""
        self.attempts.clear()
        self.offers.clear()
        self.draining = self.draining or reason
        return [Forget(reason)]

    def interrupt(self, now_s: float) -> list[Action]:
        """Ctrl-C: once lets runs finish, twice ends them, three times kills them."""
        self.interrupts += 1
        actions = self.drain("interrupted")
        if self.interrupts == 1:
            if self.attempts:
                actions.append(Say("letting runs finish; Ctrl-C again ends them"))
            return actions
        for attempt in list(self.attempts.values()):
            if self.interrupts == 2 or attempt.gone is not None:
                actions += self._end(attempt, "preempted", "ended by Ctrl-C", now_s)
            else:
                attempt.order = attempt.order or "preempted"
                attempt.reason = attempt.reason or "killed by Ctrl-C"
                actions.append(self._signal(attempt, KILL, everything=True))
        if self.attempts and self.interrupts == 2:
            actions.append(Say("ending runs; Ctrl-C again kills them"))
        return actions

    def terminate(self, reason: str, now_s: float) -> list[Action]:
        """The machine is being taken (SIGTERM, Slurm): pass it on; the runs go on elsewhere."""
        actions = self.drain(reason)
        for attempt in list(self.attempts.values()):
            actions += self._end(attempt, "preempted", reason, now_s)
        return actions

    # --- inside

    def _leave_in_time(self, now_s: float) -> list[Action]:
        """Take no run that could not end in time; end those that do not."""
        until, limits = self.until, self.limits
        actions: list[Action] = []
        if until is None:
            return actions
        if not self.draining and now_s >= until.last_start_s(limits):
            why = "no new runs"
            if limits.run_time_s is not None:
                why = f"no run could be sure to end before (limits.run_time is {limits.run_time_s:g} s)"
            actions += [
                Say(f"leaving at {until.text}: {why}"),
                *self.drain(f"leaving at {until.text}: {why}"),
            ]
        if self.attempts and now_s >= until.end_runs_s(limits):
            actions += self.terminate(f"the agent leaves at {until.text}", now_s)
        return actions

    def _tell_kept(self, before: Mapping[int, bool]) -> list[Action]:
        """Tell the journal of slots that are not offered any more, or again."""
        now = self.gpus.kept()
        changed = sorted(slot for slot in before.keys() | now.keys() if before.get(slot) != now.get(slot))
        return [
            Append(e.SlotKept(self.agent, slot, self.gpus.why(slot), now.get(slot, False)))
            for slot in changed
        ]

    def _leave_without_slots(self) -> list[Action]:
        if not self.gpus.aside or len(self.gpus.aside) < self.slots or self.draining:
            return []
        self.broken = f"every slot is set aside ({next(iter(self.gpus.aside.values()))})"
        return [Say(f"this agent stops: {self.broken}", "error"), *self.drain(self.broken)]

    def _current(self, run: int, number: int) -> Attempt | None:
        attempt = self.attempts.get(run)
        return attempt if attempt is not None and attempt.assignment.attempt == number else None

    def _end(self, attempt: Attempt, outcome: e.Outcome, reason: str, now_s: float) -> list[Action]:
        """Ask an attempt to end as `outcome`; the first order counts."""
        if attempt.order is not None:
            return []
        attempt.order, attempt.reason = outcome, reason
        if attempt.gone is not None:
            return self._judge(attempt, attempt.gone, now_s)
        return self._ask_to_end(attempt, now_s) if attempt.running else []

    def _ask_to_end(self, attempt: Attempt, now_s: float) -> list[Action]:
        attempt.kill_at_s = now_s + self.limits.kill_after_s
        number = attempt.assignment
        actions: list[Action] = [TellStop(number.run, number.attempt, attempt.reason)]
        if not attempt.raises or attempt.order not in ("pruned", "paused"):
            actions.append(self._signal(attempt, TERM))
        return actions

    def _signal(self, attempt: Attempt, number: int, everything: bool = False) -> Signal:
        return Signal(attempt.assignment.run, attempt.assignment.attempt, number, everything)

    def _count_failure(self, run: int, reason: str, now_s: float) -> list[Action]:
        self.failed[run] = None
        if self.succeeded or now_s - self.began_s > EARLY_WINDOW_S:
            return []
        self.early_failures += 1
        if self.early_failures < EARLY_FAILURES or self.draining:
            return []
        self.broken = (
            f"the first {self.early_failures} runs failed within {EARLY_WINDOW_S:g} s (the last: {reason})"
        )
        return [Say(f"this agent stops: {self.broken}", "error"), *self.drain(self.broken)]

    def _ended(
        self,
        assignment: e.RunAssigned,
        outcome: e.Outcome,
        *,
        reason: str = "",
        error_class: e.ErrorClass = "",
        ended: Ended | None = None,
    ) -> Append:
        known = ended or Ended(exit_code=None)
        return Append(
            e.AttemptEnded(
                assignment.run,
                assignment.attempt,
                self.agent,
                outcome,
                reason=reason,
                exit_code=known.exit_code,
                error_class=error_class,
                score=known.score,
                summary=known.summary,
                checkpoint=known.checkpoint,
                rows=known.rows,
                tail=known.tail if outcome == "failed" else "",
                defaults=known.defaults,
                state=known.state,
                cpu_s=known.cpu_s,
                maxrss_bytes=known.maxrss_bytes,
                wall_s=known.wall_s,
                usage=known.usage,
            )
        )
