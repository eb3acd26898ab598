"""Bugs in pausing runs and letting them go on."""

from __future__ import annotations

from typing import Any

import pytest
from planting import around, handler, plant

from sweep.core import decide, ending, lifecycle, state
from sweep.core import entries as e


@plant
def paused_runs_never_go_on(patch: pytest.MonkeyPatch) -> None:
    for module in (decide, ending):
        patch.setattr(module, "promotable", lambda folded: [])


@plant
def whoever_is_paused_goes_on_at_once(patch: pytest.MonkeyPatch) -> None:
    for module in (decide, ending):
        patch.setattr(module, "promotable", lambda folded: sorted(folded.paused))


@plant
def the_one_that_is_least_far_goes_on_first(patch: pytest.MonkeyPatch) -> None:
    around(patch, decide, "promotable", lambda real: lambda folded: real(folded)[::-1])


@plant
def new_runs_begin_before_paused_ones_go_on(patch: pytest.MonkeyPatch) -> None:
    around(
        patch,
        decide,
        "promotable",
        lambda real: lambda folded: [] if folded.waiting else real(folded),
    )


@plant
def a_promotion_is_forgotten(patch: pytest.MonkeyPatch) -> None:
    def wrap(real: Any) -> Any:
        def assigned(folded: state.State, entry: e.RunAssigned) -> str | None:
            refusal: str | None = real(folded, entry)
            folded.runs[entry.run].granted = None
            return refusal

        return assigned

    handler(patch, e.RunAssigned, wrap)


@plant
def paused_runs_are_given_up_while_others_may_still_let_them_go_on(patch: pytest.MonkeyPatch) -> None:
    def wrap(real: Any) -> Any:
        def judge(folded: state.State, for_good: bool = False) -> Any:
            decisions = real(folded, for_good)
            told = {decision.run for decision in decisions}
            for number in sorted(folded.paused - told):
                decisions.append(e.RunPruned(number, folded.runs[number].attempt, "", "no use"))
            return decisions

        return judge

    around(patch, decide, "_judge", wrap)


@plant
def runs_that_could_be_paused_are_ended(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(decide, "pauses", lambda early: False)


@plant
def runs_are_paused_when_nothing_goes_on_any_more(patch: pytest.MonkeyPatch) -> None:
    around(patch, decide, "_judge", lambda real: lambda folded, for_good=False: real(folded))


@plant
def what_is_paused_when_its_agent_vanishes_begins_anew(patch: pytest.MonkeyPatch) -> None:
    def wrap(real: Any) -> Any:
        def after(run: Any, outcome: e.Outcome, retry: Any) -> Any:
            found = real(run, outcome, retry)
            return "queued" if found == "paused" and outcome in ("lost", "preempted") else found

        return after

    around(patch, lifecycle, "_after_attempt", wrap)


@plant
def the_searcher_does_not_see_paused_runs(patch: pytest.MonkeyPatch) -> None:
    def wrap(real: Any) -> Any:
        def outcome(runs: Any) -> Any:
            return ("open", None) if any(run.state == "paused" for run in runs) else real(runs)

        return outcome

    around(patch, state, "trial_outcome", wrap)
