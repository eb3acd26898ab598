"""Bugs in decisions, scores, the index and the search."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest
from planting import around, plant

from sweep.controller.driver import Driver
from sweep.core import decide, ending, evolve, index, state
from sweep.core import entries as e

# --- deciding


@plant
def the_budget_is_off_by_one(patch: pytest.MonkeyPatch) -> None:
    around(
        patch,
        decide,
        "open_budget",
        lambda real: lambda folded: real(folded) + (not folded.exhausted),
    )


@plant
def the_last_trial_is_left_out(patch: pytest.MonkeyPatch) -> None:
    for module in (decide, ending):
        around(patch, module, "open_budget", lambda real: lambda folded: max(0, real(folded) - 1))


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
    around(
        patch, decide, "seed_of", lambda real: lambda spec, config, replicate, *p: real(spec, config, 0, *p)
    )


@plant
def a_run_is_assigned_out_of_turn(patch: pytest.MonkeyPatch) -> None:
    def pop(folded: state.State, now_s: float) -> int | None:
        waiting = [number for number in folded.queue if folded.runs[number].state in ("queued", "paused")]
        if not waiting:
            return None
        folded.queue = [number for number in folded.queue if number != max(waiting)]
        return max(waiting)

    patch.setattr(decide, "_pop_waiting", pop)


@plant
def constraints_are_not_looked_at(patch: pytest.MonkeyPatch) -> None:
    from sweep.core.constraints import Constraints

    patch.setattr(Constraints, "allow", lambda self, values: True)
    patch.setattr(Constraints, "refused_until", lambda self, points, number: None)


@plant
def what_is_wanted_first_is_left_out(patch: pytest.MonkeyPatch) -> None:
    from sweep.search._initial import InitialFirst

    patch.setattr(InitialFirst, "propose", lambda self, seen, n: self._then.propose(seen, n))


@plant
def conditions_are_not_looked_at(patch: pytest.MonkeyPatch) -> None:
    from sweep.core.conditions import Conditions

    around(
        patch,
        Conditions,
        "__init__",
        lambda real: (
            lambda self, space: real(
                self,
                msgspec.structs.replace(
                    space,
                    parameters=tuple(msgspec.structs.replace(p, when=()) for p in space.parameters),
                ),
            )
        ),
    )


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
    patch.setattr(ending, "wall_end_s", lambda folded: None)


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


@plant
def the_first_few_runs_are_ended_as_well(patch: pytest.MonkeyPatch) -> None:
    from sweep.stopping._rungs import RungStopper

    around(
        patch,
        RungStopper,
        "__init__",
        lambda real: lambda self, *given, **keys: real(self, *given, **{**keys, "least": 1}),
    )


@plant
def a_restarted_attempt_counts_its_seconds_anew(patch: pytest.MonkeyPatch) -> None:
    around(
        patch,
        state.Run,
        "absorb",
        lambda real: (
            lambda self, first, steps, values, progress=(), anew=False: real(
                self, first, steps, values, progress
            )
        ),
    )


# --- scores, the index, the searcher


@plant
def the_worst_value_is_the_score(patch: pytest.MonkeyPatch) -> None:
    def worst(values: Any, goal: str) -> float | None:
        finite = [value for value in values if value is not None and math.isfinite(value)]
        return (max(finite) if goal == "minimize" else min(finite)) if finite else None

    patch.setattr(evolve, "best_finite", worst)
    patch.setattr(evolve, "best_so_far", lambda best, values, goal: worst([best, *values], goal))


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
