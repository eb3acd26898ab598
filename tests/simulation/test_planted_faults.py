"""The oracle is worth what it catches: each of these bugs is put into the real code and must be noticed.

The rule of this file: a plant changes one thing, as a person could get it wrong, and nothing in the oracle or the world.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from sweep.agent.session import Session
from sweep.controller.driver import Driver
from sweep.core import agent, decide, evolve, index, lifecycle, state
from sweep.core import entries as e
from sweep.core.agent import AgentCore
from sweep.stores.base import StoreError
from sweep.stores.memory import MemoryStore
from sweep.testing.campaign import Failure, run_seeds

WITHIN = 400
"""Seeds in which a planted fault must be caught. Most need fewer than ten, the rarest about a hundred."""

Plant = Callable[[pytest.MonkeyPatch], None]
PLANTS: dict[str, Plant] = {}


def plant(function: Plant) -> Plant:
    PLANTS[function.__name__] = function
    return function


def handler(patch: pytest.MonkeyPatch, kind: type[e.Entry], wrap: Callable[[Any], Any]) -> None:
    """Replace what `evolve` does with entries of `kind`."""
    patch.setitem(evolve._HANDLERS, kind, wrap(evolve._HANDLERS[kind]))


def around(patch: pytest.MonkeyPatch, owner: Any, name: str, wrap: Callable[[Any], Any]) -> None:
    patch.setattr(owner, name, wrap(getattr(owner, name)))


# --- leases and fences


@plant
def the_fence_is_not_checked(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(MemoryStore, "_check_fence", lambda self, fence: None)


@plant
def the_controller_does_not_look_where_it_appends(patch: pytest.MonkeyPatch) -> None:
    around(
        patch,
        MemoryStore,
        "append",
        lambda real: lambda self, *args, **more: real(self, *args, **{**more, "after": None}),
    )


@plant
def a_lease_that_ran_out_is_revived(patch: pytest.MonkeyPatch) -> None:
    def holds(self: Any, lease: Any) -> bool:
        held = self._core.leases.get(lease.name)
        return held is None or held.token == lease.token

    patch.setattr(MemoryStore, "_holds", holds)


@plant
def a_lost_lease_is_not_noticed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(AgentCore, "lease_lost", lambda self, reason: [])


@plant
def the_end_of_the_lease_is_told_wrongly(patch: pytest.MonkeyPatch) -> None:
    around(
        patch,
        Session,
        "beat",
        lambda real: lambda self: None if (end := real(self)) is None else end + 30.0,
    )


@plant
def agents_that_vanished_are_not_noted(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Driver, "_note_lost_agents", lambda self: None)


@plant
def runs_of_vanished_agents_are_not_given_up(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(decide, "_lost", lambda state: [])


# --- deliveries


@plant
def a_second_delivery_counts(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(MemoryStore, "_not_yet", lambda self, journal, writer, settled: settled)


@plant
def numbers_are_used_twice(patch: pytest.MonkeyPatch) -> None:
    def write(real: Any) -> Any:
        def wrapped(self: Session, history: Any) -> Any:
            position, seq = real(self, history)
            return position, max(self._seq, seq - 1)

        return wrapped

    around(patch, Session, "_write", write)


@plant
def what_was_pending_is_dropped_when_the_store_fails(patch: pytest.MonkeyPatch) -> None:
    def commit(real: Any) -> Any:
        def wrapped(self: Session, history: Any = ()) -> Any:
            try:
                return real(self, history)
            except StoreError:
                self._pending.clear()
                raise

        return wrapped

    around(patch, Session, "commit", commit)


@plant
def an_order_is_missed_when_reading_it_failed(patch: pytest.MonkeyPatch) -> None:
    def orders(real: Any) -> Any:
        def wrapped(self: Session, position: int) -> Any:
            try:
                return real(self, position)
            except StoreError:
                self._seen = position
                self._cursor = position
                raise

        return wrapped

    around(patch, Session, "_orders", orders)


@plant
def a_failed_batch_is_taken_for_done(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Driver, "forget", lambda self: None)


@plant
def an_own_append_that_came_late_is_not_counted(patch: pytest.MonkeyPatch) -> None:
    def catch_up(self: Driver) -> None:
        state, fold = self.state, self._fold
        assert fold is not None
        for recorded in self.store.read(self.sweep, state.position):
            fold.fold(recorded)

    patch.setattr(Driver, "catch_up", catch_up)


@plant
def history_is_not_written(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(MemoryStore, "append_history", lambda self, sweep, chunks: None)


# --- facts and attempts


def refusing_less(patch: pytest.MonkeyPatch, but: str) -> None:
    """`refuse` lets through what it would refuse with the words `but`."""

    def wrap(real: Any) -> Any:
        def refuse(run: Any, entry: Any) -> str | None:
            refusal = real(run, entry)
            return None if refusal is not None and but in refusal else refusal  # type: ignore[no-any-return]

        return refuse

    around(patch, evolve, "refuse", wrap)


@plant
def the_number_of_an_attempt_is_not_checked(patch: pytest.MonkeyPatch) -> None:
    refusing_less(patch, "is not the current one")


@plant
def late_ends_are_taken(patch: pytest.MonkeyPatch) -> None:
    def wrap(real: Any) -> Any:
        def ended(folded: state.State, entry: e.AttemptEnded) -> str | None:
            if entry.run < len(folded.runs):
                entry = msgspec.structs.replace(entry, attempt=folded.runs[entry.run].attempt, agent="")
            return real(folded, entry)  # type: ignore[no-any-return]

        return ended

    handler(patch, e.AttemptEnded, wrap)


@plant
def an_offer_is_not_consumed(patch: pytest.MonkeyPatch) -> None:
    def consume(folded: state.State, entry: e.RunAssigned) -> str | None:
        folded.agents[entry.agent].runs.add(entry.run)
        return None

    patch.setattr(evolve, "_consume", consume)


@plant
def offers_outlive_their_agent(patch: pytest.MonkeyPatch) -> None:
    def gone(folded: state.State, entry: Any) -> str | None:
        if entry.agent not in folded.agents or not folded.agents[entry.agent].alive:
            return "this agent is not here"
        folded.agents[entry.agent].alive = False
        return None

    for kind in (e.AgentLost, e.AgentLeft):
        patch.setitem(evolve._HANDLERS, kind, gone)


@plant
def one_retry_too_many(patch: pytest.MonkeyPatch) -> None:
    around(patch, evolve, "advance", lambda real: lambda run, entry, most: real(run, entry, most + 1))


@plant
def one_retry_too_few(patch: pytest.MonkeyPatch) -> None:
    around(patch, evolve, "advance", lambda real: lambda run, entry, most: real(run, entry, most - 1))


@plant
def lost_attempts_are_charged(patch: pytest.MonkeyPatch) -> None:
    around(
        patch,
        lifecycle,
        "_after_attempt",
        lambda real: lambda run, outcome, most: real(run, "failed" if outcome == "lost" else outcome, most),
    )


@plant
def a_pruned_run_that_was_lost_goes_again(patch: pytest.MonkeyPatch) -> None:
    def wrap(real: Any) -> Any:
        def after(run: Any, outcome: Any, most: int) -> Any:
            run.order = ""
            return real(run, outcome, most)

        return after

    around(patch, lifecycle, "_after_attempt", wrap)


@plant
def the_death_of_the_guard_is_the_runs_fault(patch: pytest.MonkeyPatch) -> None:
    def wrap(real: Any) -> Any:
        def died(self: AgentCore) -> Any:
            return [
                agent.Append(msgspec.structs.replace(action.entry, outcome="failed"))
                if isinstance(action, agent.Append) and getattr(action.entry, "outcome", "") == "lost"
                else action
                for action in real(self)
            ]

        return died

    around(patch, AgentCore, "guard_died", wrap)


@plant
def every_exit_is_a_success(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(agent, "_verdict", lambda attempt, ended: ("completed", "", ""))


@plant
def a_program_that_does_not_listen_is_left_alone(patch: pytest.MonkeyPatch) -> None:
    def wrap(real: Any) -> Any:
        def tick(self: AgentCore, now_s: float) -> Any:
            return [
                x for x in real(self, now_s) if not (isinstance(x, agent.Signal) and x.signal == agent.KILL)
            ]

        return tick

    around(patch, AgentCore, "tick", wrap)


@plant
def a_slot_is_not_offered_again(patch: pytest.MonkeyPatch) -> None:
    around(
        patch,
        AgentCore,
        "offer",
        lambda real: lambda self: [] if self.taken and not self.draining else real(self),
    )


@plant
def a_busy_slot_is_offered(patch: pytest.MonkeyPatch) -> None:
    def wrap(real: Any) -> Any:
        def offer(self: AgentCore) -> Any:
            held, self.attempts = self.attempts, {}
            try:
                return real(self)
            finally:
                self.attempts = held

        return offer

    around(patch, AgentCore, "offer", wrap)


@plant
def an_agent_that_took_all_its_runs_stays(patch: pytest.MonkeyPatch) -> None:
    def wrap(real: Any) -> Any:
        def offer(self: AgentCore) -> Any:
            if self.count is not None and self.taken >= self.count:
                return []
            return real(self)

        return offer

    around(patch, AgentCore, "offer", wrap)


# --- deciding


@plant
def the_budget_is_off_by_one(patch: pytest.MonkeyPatch) -> None:
    around(
        patch,
        decide,
        "_open_budget",
        lambda real: lambda folded: real(folded) + (not folded.exhausted),
    )


@plant
def the_last_trial_is_left_out(patch: pytest.MonkeyPatch) -> None:
    around(patch, decide, "_open_budget", lambda real: lambda folded: max(0, real(folded) - 1))


@plant
def one_replicate_too_many(patch: pytest.MonkeyPatch) -> None:
    def wrap(real: Any) -> Any:
        def expand(folded: state.State) -> Any:
            made = real(folded)
            if made:
                made.append(e.RunAdded(made[-1].run + 1, made[-1].trial, folded.spec.replicates, 1))
            return made

        return expand

    around(patch, decide, "_expand", wrap)


@plant
def replicates_have_one_seed(patch: pytest.MonkeyPatch) -> None:
    around(patch, decide, "run_seed", lambda real: lambda seed, replicate: real(seed, 0))


@plant
def a_run_is_assigned_out_of_turn(patch: pytest.MonkeyPatch) -> None:
    def pop(folded: state.State) -> int | None:
        waiting = [number for number in folded.queue if folded.runs[number].state in ("queued", "paused")]
        if not waiting:
            return None
        folded.queue = [number for number in folded.queue if number != max(waiting)]
        return max(waiting)

    patch.setattr(decide, "_pop_waiting", pop)


@plant
def a_pause_has_no_effect(patch: pytest.MonkeyPatch) -> None:
    patch.setitem(evolve._HANDLERS, e.PauseRequested, lambda folded, entry: None)


@plant
def a_stop_has_no_effect(patch: pytest.MonkeyPatch) -> None:
    patch.setitem(evolve._HANDLERS, e.StopRequested, lambda folded, entry: None)


@plant
def what_waited_is_not_taken_up_again(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(evolve, "_take_up_again", lambda folded: None)


@plant
def the_target_is_not_seen(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(evolve, "_check_target", lambda folded, run: None)


@plant
def the_wall_time_is_not_seen(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(decide, "_wall_end_s", lambda folded: None)


@plant
def nobody_is_pruned(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(decide, "_judge", lambda folded: [])


@plant
def everybody_is_pruned(patch: pytest.MonkeyPatch) -> None:
    from sweep.stopping._hyperband import Hyperband

    patch.setattr(Hyperband, "condemned", lambda self, run: "it looks poor")


@plant
def reasons_are_left_out(patch: pytest.MonkeyPatch) -> None:
    from sweep.stopping._hyperband import Hyperband

    around(patch, Hyperband, "condemned", lambda real: lambda self, run: "" if real(self, run) else None)


# --- scores, the index, the searcher


@plant
def the_worst_value_is_the_score(patch: pytest.MonkeyPatch) -> None:
    def worst(values: Any, goal: str) -> float | None:
        finite = [value for value in values if value is not None and math.isfinite(value)]
        return (max(finite) if goal == "minimize" else min(finite)) if finite else None

    patch.setattr(evolve, "best_finite", worst)


@plant
def what_an_attempt_repeats_counts_twice(patch: pytest.MonkeyPatch) -> None:
    def absorb(self: state.Run, first: int, steps: Any, values: Any) -> bool:
        self.steps.extend(steps)
        self.values.extend(values)
        return False

    patch.setattr(state.Run, "absorb", absorb)


@plant
def the_index_is_not_updated(patch: pytest.MonkeyPatch) -> None:
    def wrap(real: Any) -> Any:
        def note(self: index.IndexFold, entry: e.AnyEntry, at_s: float) -> None:
            if not (isinstance(entry, e.AttemptEnded) and entry.outcome == "preempted"):
                real(self, entry, at_s)

        return note

    around(patch, index.IndexFold, "_note", wrap)


@plant
def the_index_is_written_late(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Driver, "_load_row", lambda self, key: self.store.read_index(self.sweep, key).rows.get(key))
    around(
        patch,
        Driver,
        "_flush_index",
        lambda real: lambda self: real(self) if self.state.position % 3 == 0 else None,
    )


@plant
def the_searcher_sees_what_never_happened(patch: pytest.MonkeyPatch) -> None:
    def wrap(real: Any) -> Any:
        def forget(self: Driver) -> None:
            real(self)
            self._void = False

        return forget

    around(patch, Driver, "forget", wrap)


@plant
def the_searcher_does_not_see_failures(patch: pytest.MonkeyPatch) -> None:
    def wrap(real: Any) -> Any:
        def outcome(runs: Any) -> Any:
            status, score = real(runs)
            return ("open", None) if status == "failed" else (status, score)

        return outcome

    around(patch, state, "trial_outcome", wrap)


@plant
def a_proposal_for_another_revision_is_taken(patch: pytest.MonkeyPatch) -> None:
    def wrap(real: Any) -> Any:
        def record(self: Driver, answer: Any) -> None:
            request = msgspec.structs.replace(answer.request, revision=self.state.revision)
            real(self, msgspec.structs.replace(answer, request=request))

        return record

    around(patch, Driver, "_record", wrap)


def hunt(seeds: int) -> str | None:
    """What is noticed first in the worlds of so many seeds, None when nothing is."""
    try:
        run_seeds(range(seeds))
    except Failure as failure:
        return str(failure)
    return None


@pytest.mark.parametrize("name", sorted(PLANTS))
def test_a_planted_fault_is_caught(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    PLANTS[name](monkeypatch)
    caught = hunt(WITHIN)
    assert caught is not None, f"{name} went unnoticed for {WITHIN} seeds"
    assert caught.startswith("seed "), "a failure names its seed"


def test_there_are_enough_planted_faults() -> None:
    assert len(PLANTS) >= 20


def test_without_a_planted_fault_nothing_is_caught() -> None:
    assert hunt(20) is None
