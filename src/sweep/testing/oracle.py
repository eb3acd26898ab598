"""The oracle: a second, naive account of what must hold, told from the journal and from what really happened.

The rule of this file: nothing of `evolve`, `decide`, `lifecycle` or `state` is used; each rule is written as a person would
check it by hand. Whatever breaks one is a `Violation`.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sweep.core import entries as e
from sweep.core.seeds import run_seed
from sweep.core.views import RunView
from sweep.testing.naive import effective_values, naive_condemned

if TYPE_CHECKING:
    from sweep.testing.world import World


class Violation(AssertionError):
    """Something happened that must not happen."""


class AttemptAccount:
    """One attempt, by the journal."""

    def __init__(self, assigned: e.RunAssigned, position: int) -> None:
        self.assigned, self.position = assigned, position
        self.started = False
        self.ended: e.AttemptEnded | None = None
        self.reports: list[e.ObjectiveReported] = []


class RunAccount:
    """One run, by the journal."""

    def __init__(self, added: e.RunAdded) -> None:
        self.added = added
        self.attempts: list[AttemptAccount] = []
        self.final = ""
        """How it ended, '' while it has not."""
        self.failures = 0
        self.losses = 0
        self.order = ""
        self.shelved = False


class Account:
    """Follows a journal entry by entry."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.spec = world.spec
        self.cap = world.spec.run_cap
        self.configs: list[str] = []
        self.runs: list[RunAccount] = []
        self.agents: dict[str, bool] = {}
        self.open_offers: dict[tuple[str, int], int] = {}
        self.used_offers: set[tuple[str, int]] = set()
        self.phase = "active"
        self.stopping = False
        self.ever_cut_short = False
        """Somebody stopped the sweep, or a limit or the target ended it."""
        self.numbers: dict[str, int] = {}
        self.revision = 1
        self.exhausted = False
        self.target_hit = False
        self.first_joined_s: float | None = None
        self.leader = 0
        self.revised = 1
        """Position of the entry that made the current revision of the spec."""
        self.position = 0

    # --- one entry

    def follow(self, recorded: e.Recorded) -> None:
        """Take in one entry and check what can be checked at once."""
        self.position += 1
        self.need(recorded.position == self.position, "positions have a gap")
        last = self.numbers.get(recorded.writer, 0)
        self.need(recorded.seq == last + 1, f"{recorded.writer} wrote number {recorded.seq} after {last}")
        self.numbers[recorded.writer] = recorded.seq
        self._check_leader(recorded.writer)
        if isinstance(recorded.entry, e.Decision):
            self.need(recorded.based_on is not None, "a decision without the position it is based on")
            self.need((recorded.based_on or 0) < recorded.position, "a decision based on the future")
        name = f"_{type(recorded.entry).__name__}"
        handler = getattr(self, name, None)
        if handler is not None:
            handler(recorded.entry, recorded)

    def _check_leader(self, writer: str) -> None:
        """Once somebody else leads, an earlier controller writes nothing any more."""
        if writer.startswith("controller/"):
            token = int(writer.rpartition("/")[2])
            self.need(token >= self.leader, f"controller {token} wrote although {self.leader} leads")
            self.leader = token

    def need(self, holds: bool, otherwise: str) -> None:
        """Raise Violation unless `holds`."""
        if not holds:
            raise Violation(f"entry {self.position}: {otherwise}")

    # --- the sweep

    def _PauseRequested(self, _: e.PauseRequested, __: e.Recorded) -> None:
        if self.phase == "active":
            self.phase = "paused"

    def _ResumeRequested(self, _: e.ResumeRequested, __: e.Recorded) -> None:
        if self.phase in ("paused", "finishing"):
            self.phase, self.stopping = "active", False
            self._take_up()

    def _StopRequested(self, _: e.StopRequested, __: e.Recorded) -> None:
        if self.phase != "ended":
            self.phase, self.stopping, self.ever_cut_short = "finishing", True, True

    _CancelRequested = _StopRequested

    def _ExtendRequested(self, entry: e.ExtendRequested, _: e.Recorded) -> None:
        self.cap = entry.run_cap
        self.revision += 1
        self.revised = self.position

    def _RetryRequested(self, entry: e.RetryRequested, _: e.Recorded) -> None:
        for number in entry.runs:
            if number < len(self.runs) and self.runs[number].final in ("failed", "cancelled"):
                self._again(self.runs[number])

    def _SweepEnded(self, entry: e.SweepEnded, _: e.Recorded) -> None:
        self.need(bool(entry.reason), "the sweep ended without a reason")
        self.need(self.phase != "ended", "the sweep ended twice")
        left = [run.added.run for run in self.runs if not run.final]
        self.need(not left, f"the sweep ended while runs {left} had not")
        spent = self.exhausted or (self.cap is not None and len(self.configs) >= self.cap)
        if not self.stopping and "wall_time" not in entry.reason and "target" not in entry.reason:
            self.need(spent, "the sweep ended with budget left, and nobody stopped it")
            self._nothing_left_out()
        else:
            self.ever_cut_short = True
        self.phase = "ended"

    def _nothing_left_out(self) -> None:
        """Every trial has all its replicates; none is cancelled unless the sweep was once cut short."""
        have = Counter(run.added.trial for run in self.runs)
        want = dict.fromkeys(range(len(self.configs)), self.spec.replicates)
        self.need(dict(have) == want, f"replicates per trial: {dict(have)}, should be {want}")
        if not self.ever_cut_short:
            cancelled = [run.added.run for run in self.runs if run.final == "cancelled"]
            self.need(not cancelled, f"runs {cancelled} were cancelled, but nobody stopped the sweep")

    def _SweepReopened(self, entry: e.SweepReopened, _: e.Recorded) -> None:
        self.need(bool(entry.reason), "the sweep was reopened without a reason")
        self.need(self.phase == "ended", "a sweep that had not ended was reopened")
        self.phase, self.stopping = "active", False
        self._take_up()

    def _take_up(self) -> None:
        for run in self.runs:
            if run.shelved:
                self._again(run)

    def _again(self, run: RunAccount) -> None:
        run.final, run.failures, run.losses, run.shelved = "", 0, 0, False

    # --- agents

    def _AgentJoined(self, entry: e.AgentJoined, recorded: e.Recorded) -> None:
        self.agents.setdefault(entry.agent, True)
        if self.first_joined_s is None:
            self.first_joined_s = recorded.at_s

    def _AgentLeft(self, entry: e.AgentLeft | e.AgentLost, _: e.Recorded) -> None:
        if self.agents.get(entry.agent):
            self.agents[entry.agent] = False
            self.open_offers = {key: n for key, n in self.open_offers.items() if key[0] != entry.agent}

    _AgentLost = _AgentLeft

    def _SlotOffered(self, entry: e.SlotOffered, _: e.Recorded) -> None:
        if self.agents.get(entry.agent):
            self.open_offers.setdefault((entry.agent, entry.slot), entry.offer)

    def _SlotWithdrawn(self, entry: e.SlotWithdrawn, _: e.Recorded) -> None:
        if self.open_offers.get((entry.agent, entry.slot)) == entry.offer:
            del self.open_offers[entry.agent, entry.slot]

    # --- trials and runs

    def _TrialsProposed(self, entry: e.TrialsProposed, recorded: e.Recorded) -> None:
        self.need(entry.first == len(self.configs), "trials are not dense")
        self.need(entry.revision == self.revision, "proposed for another revision of the spec")
        self.need(entry.seen < recorded.position, "the searcher saw the future")
        self.need(entry.seen >= self.revised, "the searcher was asked under an earlier revision of the spec")
        self.configs += [json.dumps(config, sort_keys=True) for config in entry.configs]
        self.exhausted = entry.exhausted
        over = self.cap is not None and len(self.configs) > self.cap
        self.need(not over, f"{len(self.configs)} trials, but run_cap is {self.cap}")
        self.need(len(set(self.configs)) == len(self.configs), "a config was proposed twice")

    def _RunAdded(self, entry: e.RunAdded, _: e.Recorded) -> None:
        self.need(entry.run == len(self.runs), "runs are not dense")
        self.need(entry.trial < len(self.configs), "a run of a trial that nobody proposed")
        known = {(run.added.trial, run.added.replicate) for run in self.runs}
        self.need((entry.trial, entry.replicate) not in known, "a replicate was added twice")
        self.need(entry.seed == run_seed(self.spec.seed, entry.replicate), "a run has a wrong seed")
        self.runs.append(RunAccount(entry))

    def _RunAssigned(self, entry: e.RunAssigned, recorded: e.Recorded) -> None:
        run = self.runs[entry.run]
        self.need(self.phase == "active", f"run {entry.run} was assigned while the sweep was {self.phase}")
        self.need(not run.final, f"run {entry.run} was assigned after it was {run.final}")
        self.need(entry.attempt == len(run.attempts) + 1, f"attempts of run {entry.run} are not dense")
        self.need(
            not run.attempts or run.attempts[-1].ended is not None,
            f"run {entry.run} was assigned again while attempt {entry.attempt - 1} was going on",
        )
        self.need((entry.agent, entry.offer) not in self.used_offers, "an offer was consumed twice")
        key = (entry.agent, entry.slot)
        self.need(self.open_offers.get(key) == entry.offer, f"offer {entry.offer} of {key} was not open")
        busy = [
            one.added.run
            for one in self.runs
            if one.attempts
            and one.attempts[-1].ended is None
            and (one.attempts[-1].assigned.agent, one.attempts[-1].assigned.slot) == key
        ]
        self.need(not busy, f"slot {key} got run {entry.run} while it had run {busy}")
        self.need(json.dumps(entry.config, sort_keys=True) == self.configs[entry.trial], "another config")
        waiting = [n for n, one in enumerate(self.runs[: entry.run]) if self._waits(one)]
        self.need(not waiting, f"run {entry.run} was assigned before runs {waiting}, which waited longer")
        self._may_begin(entry.run, recorded.at_s)
        del self.open_offers[key]
        self.used_offers.add((entry.agent, entry.offer))
        run.attempts.append(AttemptAccount(entry, recorded.position))
        run.order = ""

    def _may_begin(self, number: int, at_s: float) -> None:
        """Nothing speaks against another run: no target, no limit, and nobody who should have been told to end first."""
        self.need(not self.target_hit, f"run {number} was assigned after the target had been reached")
        wall_s = self.spec.limits.wall_time_s
        if wall_s is not None and self.first_joined_s is not None:
            late = at_s >= self.first_joined_s + wall_s
            self.need(not late, f"run {number} was assigned after limits.wall_time was over")
        spared = [
            run.added.run
            for run in self.runs
            if run.attempts and run.attempts[-1].started and not run.attempts[-1].ended and not run.order
        ]
        for other in spared:
            self.need(not self._condemned(other), f"run {number} was assigned, and run {other} not pruned")

    def _condemned(self, run: int) -> bool:
        """What hyperband by hand says of a run now."""
        stopper = self.spec.early_terminate
        if stopper is None:
            return False
        values = {one.added.run: effective_values(one.attempts) for one in self.runs}
        return naive_condemned(stopper, self.world.goal, values, run)

    def _value(self, value: float | None) -> None:
        """Whether an objective reaches the target."""
        metric = self.spec.metric
        assert metric is not None
        if value is not None and math.isfinite(value) and metric.target is not None:
            reached = value <= metric.target if metric.goal == "minimize" else value >= metric.target
            self.target_hit = self.target_hit or reached

    def _waits(self, run: RunAccount) -> bool:
        return not run.final and (not run.attempts or run.attempts[-1].ended is not None)

    def current(self, run: int, attempt: int, agent: str) -> tuple[RunAccount, AttemptAccount] | None:
        """The run and its open attempt, when this fact is about it."""
        if run >= len(self.runs) or not self.runs[run].attempts:
            return None
        account = self.runs[run]
        last = account.attempts[-1]
        fits = last.assigned.attempt == attempt and agent in ("", last.assigned.agent)
        return (account, last) if fits and last.ended is None else None

    def _RunStarted(self, entry: e.RunStarted, _: e.Recorded) -> None:
        found = self.current(entry.run, entry.attempt, entry.agent)
        if found is not None:
            found[1].started = True

    def _ObjectiveReported(self, entry: e.ObjectiveReported, _: e.Recorded) -> None:
        found = self.current(entry.run, entry.attempt, "")
        if found is not None and found[1].started:
            had = sum(len(report.values) for report in found[1].reports)
            self.need(entry.first == had, f"run {entry.run} reported value {entry.first} after {had} values")
            found[1].reports.append(entry)
            for value in entry.values:
                self._value(value)

    def _RunPruned(self, entry: e.RunPruned, _: e.Recorded) -> None:
        self._order(entry, "pruned")
        self.need(
            self._condemned(entry.run), f"run {entry.run} was pruned, but hyperband does not condemn it"
        )

    def _RunCancelled(self, entry: e.RunCancelled, _: e.Recorded) -> None:
        run = self.runs[entry.run]
        if self._waits(run):
            self.need(bool(entry.reason), f"run {entry.run} was cancelled without a reason")
            run.final, run.shelved, self.ever_cut_short = "cancelled", True, True
        else:
            self._order(entry, "cancelled")
            self.ever_cut_short = True

    def _order(self, entry: e.RunPruned | e.RunCancelled, order: str) -> None:
        self.need(bool(entry.reason), f"run {entry.run} was {order} without a reason")
        found = self.current(entry.run, entry.attempt, entry.agent)
        self.need(
            found is not None, f"run {entry.run} was {order}, but attempt {entry.attempt} is not going on"
        )
        assert found is not None
        self.need(not found[0].order, f"run {entry.run} was told to end twice")
        self.need(order != "pruned" or found[1].started, f"run {entry.run} was pruned before it started")
        found[0].order = order

    def _AttemptEnded(self, entry: e.AttemptEnded, _: e.Recorded) -> None:
        found = self.current(entry.run, entry.attempt, entry.agent)
        if found is None:
            return
        run, attempt = found
        if not attempt.started and entry.outcome in ("completed", "pruned", "paused"):
            return
        self.need(bool(entry.reason) or entry.outcome == "completed", f"run {entry.run}: no reason")
        attempt.ended = entry
        self._value(entry.score)
        self._settle(run, entry)

    def _settle(self, run: RunAccount, entry: e.AttemptEnded) -> None:
        """What becomes of a run whose attempt has ended."""
        if entry.outcome in ("completed", "pruned", "cancelled"):
            run.final = entry.outcome
        elif run.order:
            run.final = run.order
        elif entry.outcome == "failed":
            run.failures += 1
            if run.failures > self.spec.retry.max:
                run.final = "failed"
        else:
            run.losses += entry.outcome == "lost"
            if run.losses > 20:
                run.final = "failed"


def check_listing(account: Account, views: Sequence[RunView]) -> None:
    """Compare what listings say of each run with the account. Raises Violation."""
    if len(views) != len(account.runs):
        raise Violation(f"the index lists {len(views)} runs, there are {len(account.runs)}")
    for run, view in zip(account.runs, views, strict=True):
        expected = {
            "state": run.final or _unfinished(run),
            "objective": naive_score(run, account.world.goal),
            "steps": len(effective_values(run.attempts)),
            "attempts": [_attempt_facts(attempt) for attempt in run.attempts],
        }
        found = {
            "state": view.state,
            "objective": view.objective,
            "steps": view.steps,
            "attempts": [(a.attempt, a.agent, a.slot, a.outcome, a.exit_code, a.rows) for a in view.attempts],
        }
        if found != expected:
            raise Violation(f"run {run.added.run}: the index says {found}, it should be {expected}")


def _attempt_facts(attempt: AttemptAccount) -> tuple[object, ...]:
    assigned, ended = attempt.assigned, attempt.ended
    known = (None, None, 0) if ended is None else (ended.outcome, ended.exit_code, ended.rows)
    return (assigned.attempt, assigned.agent, assigned.slot, *known)


def _unfinished(run: RunAccount) -> str:
    if not run.attempts or run.attempts[-1].ended is not None:
        return "queued"
    return "running" if run.attempts[-1].started else "assigned"


def naive_score(run: RunAccount, goal: str) -> float | None:
    """The best finite value that counts: of the history, and of the ends of attempts that nothing went back behind."""
    steps: list[float] = []
    values: list[float] = []
    scores: list[float] = []
    for attempt in run.attempts:
        for report in attempt.reports:
            if report.first == 0 and report.steps and steps and steps[-1] >= report.steps[0]:
                scores = []
                while steps and steps[-1] >= report.steps[0]:
                    steps.pop()
                    values.pop()
            steps += report.steps
            values += report.values
        if attempt.ended is not None and attempt.ended.score is not None:
            scores.append(attempt.ended.score)
    finite = [value for value in values + scores if math.isfinite(value)]
    if not finite:
        return None
    return min(finite) if goal == "minimize" else max(finite)


def check_truth(account: Account, history: dict[tuple[int, int], list[bytes]]) -> None:
    """Compare the journal and the history with what the processes really did. Raises Violation."""
    _check_overlaps(account.world)
    truth = {(p.run, p.attempt): p for p in account.world.processes}
    if len(truth) != len(account.world.processes):
        raise Violation("an attempt was started twice")
    for run in account.runs:
        completed = [attempt for attempt in run.attempts if _outcome(attempt) == "completed"]
        if len(completed) > 1:
            raise Violation(f"run {run.added.run} was completed {len(completed)} times")
        for attempt in run.attempts:
            process = truth.get((run.added.run, attempt.assigned.attempt))
            if attempt.started and process is None:
                raise Violation(f"run {run.added.run} was reported as started, but no process was")
            if process is not None:
                _check_attempt(attempt, process, history)


def _outcome(attempt: AttemptAccount) -> str:
    return attempt.ended.outcome if attempt.ended is not None else ""


def _check_attempt(
    attempt: AttemptAccount, process: Any, history: dict[tuple[int, int], list[bytes]]
) -> None:
    name = f"run {process.run}, attempt {process.attempt}"
    logged = [(float(step), repr(value)) for step, value, _ in process.rows]
    reported = [
        pair for r in attempt.reports for pair in zip(r.steps, [repr(v) for v in r.values], strict=True)
    ]
    if reported != logged[: len(reported)]:
        raise Violation(f"{name} logged {logged}, but the journal has {reported}")
    rows = history.get((process.run, process.attempt), [])
    if rows != [text for _, _, text in process.rows][: len(rows)]:
        raise Violation(f"{name}: the history is not what was logged")
    ended = attempt.ended
    if ended is None or ended.outcome == "lost":
        return
    blameless = process.guard_died and ended.error_class not in ("run_time", "no_progress")
    if ended.outcome == "failed" and blameless:
        raise Violation(f"{name} was ended by the death of its guard, but counts as failed")
    if ended.outcome == "failed" and process.code == 0 and not ended.error_class:
        raise Violation(f"{name} ended with code 0, but counts as failed")
    if ended.outcome == "completed" and process.code != 0:
        raise Violation(f"{name} ended with code {process.code}, but counts as completed")
    if ended.outcome in ("completed", "failed") and ended.exit_code is not None and len(rows) < len(logged):
        raise Violation(f"{name} logged {len(logged)} rows, but the history has {len(rows)}")
    if ended.outcome == "completed" and len(reported) < len(logged):
        raise Violation(f"{name} logged {len(logged)} values, but {len(reported)} count")


def _check_overlaps(world: World) -> None:
    """Two attempts of one run, or two on one slot, run at a time only where agent and guard of the earlier were frozen."""
    for one in world.processes:
        if one.alive:
            raise Violation(f"run {one.run}, attempt {one.attempt} was left behind and runs for ever")
    for key in ("run", "slot"):
        groups: dict[Any, list[Any]] = {}
        for process in world.processes:
            owner = process.run if key == "run" else (process.guard.listener.node, process.slot)
            groups.setdefault(owner, []).append(process)
        for group in groups.values():
            _check_group(sorted(group, key=lambda p: (p.began_s, p.attempt)))


def _check_group(group: list[Any]) -> None:
    for index, early in enumerate(group):
        for late in group[index + 1 :]:
            if late.began_s < early.ended_s and not (early.guard.was_frozen or late.guard.was_frozen):
                raise Violation(
                    f"run {early.run}, attempt {early.attempt} ran until {early.ended_s:.2f} s, "
                    f"but run {late.run}, attempt {late.attempt} began at {late.began_s:.2f} s"
                )
