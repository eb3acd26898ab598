"""Bugs in confirming a result on fresh seeds."""

from __future__ import annotations

from typing import Any

import pytest
from planting import around, plant

from sweep.core import confirming, decide, ending, evolve, state
from sweep.core import entries as e
from sweep.core.seeds import run_seed


@plant
def nothing_is_confirmed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(decide, "missing", lambda folded: [])


@plant
def the_worst_are_confirmed(patch: pytest.MonkeyPatch) -> None:
    def worst(folded: state.State) -> list[int]:
        confirm = folded.spec.confirm
        scored = [seen for seen in folded.observations if seen.score is not None]
        sign = -1 if folded.goal == "minimize" else 1
        ranked = sorted(scored, key=lambda seen: (sign * (seen.score or 0.0), seen.trial))
        return [seen.trial for seen in ranked[: confirm.top if confirm else 0]]

    patch.setattr(confirming, "finalists", worst)


@plant
def what_confirms_runs_on_the_seeds_of_the_search(patch: pytest.MonkeyPatch) -> None:
    around(
        patch,
        decide,
        "seed_of",
        lambda real: lambda spec, config, replicate, *_: real(spec, config, replicate),
    )


@plant
def every_config_is_confirmed_on_seeds_of_its_own(patch: pytest.MonkeyPatch) -> None:
    def wrap(real: Any) -> Any:
        def confirm(folded: state.State) -> Any:
            seed = folded.spec.seed
            return [
                e.RunAdded(
                    r.run,
                    r.trial,
                    r.replicate,
                    run_seed(seed + r.trial, r.replicate, "confirm"),
                    r.purpose,
                )
                for r in real(folded)
            ]

        return confirm

    around(patch, decide, "_confirm", wrap)


@plant
def confirming_begins_while_runs_of_the_search_go_on(patch: pytest.MonkeyPatch) -> None:
    def wrap(real: Any) -> Any:
        def early(folded: state.State, end: Any, now_s: float) -> Any:
            made = real(folded, end, now_s)
            if not made and end.confirms and folded.live:
                return decide._confirm(folded)
            return made

        return early

    around(patch, decide, "_wind_down", wrap)


@plant
def a_stopper_ends_what_confirms(patch: pytest.MonkeyPatch) -> None:
    def condemned(folded: state.State) -> list[Any]:
        runs = [folded.runs[number] for number in sorted(folded.live)]
        return [
            e.RunPruned(run.run, run.attempt, run.agent, "it looks poor")
            for run in runs
            if run.purpose == "confirm" and run.state == "running" and not run.order and run.values
        ]

    around(patch, decide, "_judge", lambda real: lambda folded: real(folded) + condemned(folded))


@plant
def a_stopper_compares_runs_with_what_confirms(patch: pytest.MonkeyPatch) -> None:
    def wrap(real: Any) -> Any:
        def absorb(folded: state.State, run: state.Run, entry: Any) -> None:
            real(folded, run, entry)
            if run.purpose != "search" and folded.stopper is not None:
                folded.stopper.report(run.run, run.values, run.progress)

        return absorb

    around(patch, evolve, "_absorb", wrap)


@plant
def what_confirms_reaches_the_target(patch: pytest.MonkeyPatch) -> None:
    def wrap(real: Any) -> Any:
        def check(folded: state.State, run: state.Run) -> None:
            purpose, run.purpose = run.purpose, "search"
            real(folded, run)
            run.purpose = purpose

        return check

    around(patch, evolve, "_check_target", wrap)


@plant
def what_confirms_is_what_the_searcher_sees(patch: pytest.MonkeyPatch) -> None:
    def wrap(real: Any) -> Any:
        def move(self: state.State, run: state.Run, before: Any) -> None:
            real(self, run, before)
            if run.purpose == "confirm" and run.state == "completed" and run.score is not None:
                seen = self.observations[run.trial]
                self.observations[run.trial] = type(seen)(seen.trial, seen.config, seen.status, run.score)

        return move

    around(patch, state.State, "move", wrap)


@plant
def what_confirms_is_a_best_run(patch: pytest.MonkeyPatch) -> None:
    def wrap(real: Any) -> Any:
        def move(self: state.State, run: state.Run, before: Any) -> None:
            real(self, run, before)
            if run.purpose == "confirm" and run.state == "completed" and run.score is not None:
                self.best_run = run.run

        return move

    around(patch, state.State, "move", wrap)


@plant
def who_asks_for_a_confirmation_sets_the_search_going(patch: pytest.MonkeyPatch) -> None:
    def wrap(real: Any) -> Any:
        def reopen(folded: state.State, *given: Any) -> None:
            had = folded.only_confirm
            real(folded, *given)
            folded.only_confirm = had

        return reopen

    around(patch, evolve, "_reopen_to_confirm", wrap)


@plant
def a_confirmation_does_not_reopen(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(evolve, "_reopen_to_confirm", lambda *given: None)


@plant
def a_confirmation_that_failed_is_not_asked_for_again(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(evolve, "without_value", lambda folded: [])


@plant
def who_stops_a_sweep_has_it_confirmed(patch: pytest.MonkeyPatch) -> None:
    def wrap(real: Any) -> Any:
        return lambda folded, now_s: (
            None if (end := real(folded, now_s)) is None else end._replace(confirms=True)
        )

    around(patch, decide, "ending", wrap)


@plant
def what_confirms_is_cancelled_when_the_target_is_reached(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(state.Run, "spared", property(lambda run: run.asked))


@plant
def a_confirmation_goes_on_when_a_limit_is_over(patch: pytest.MonkeyPatch) -> None:
    def wrap(real: Any) -> Any:
        def stopped_by(folded: state.State, now_s: float) -> Any:
            end = real(folded, now_s)
            return None if end is not None and end.kills and folded.confirm_open else end

        return stopped_by

    around(patch, ending, "stopped_by", wrap)
