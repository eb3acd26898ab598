"""Bugs about facts, attempts and slots."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from planting import around, handler, plant

from sweep.core import agent, evolve, lifecycle, state
from sweep.core import entries as e
from sweep.core.agent import AgentCore

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
def lost_attempts_are_charged(patch: pytest.MonkeyPatch) -> None:
    around(
        patch,
        lifecycle,
        "_after_attempt",
        lambda real: lambda run, outcome, retry: real(run, "failed" if outcome == "lost" else outcome, retry),
    )


@plant
def a_pruned_run_that_was_lost_goes_again(patch: pytest.MonkeyPatch) -> None:
    def wrap(real: Any) -> Any:
        def after(run: Any, outcome: Any, retry: Any) -> Any:
            run.order = ""
            return real(run, outcome, retry)

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
    patch.setattr(agent, "verdict", lambda attempt, ended: ("completed", "", ""))


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
