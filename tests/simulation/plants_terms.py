"""Bugs about what the spec says: retries by class, budgets, patience, revisions, annotations."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from planting import around, handler, plant

from sweep.agents.session import Session
from sweep.core import decide, ending, evolve, index, lifecycle, retries, state
from sweep.core import entries as e

# --- retries


@plant
def one_retry_too_many(patch: pytest.MonkeyPatch) -> None:
    def wrap(real: Any) -> Any:
        return lambda retry, failures, last: real(
            msgspec.structs.replace(retry, max=retry.max + 1), failures, last
        )

    around(patch, lifecycle, "tried_again", wrap)


@plant
def one_retry_too_few(patch: pytest.MonkeyPatch) -> None:
    def wrap(real: Any) -> Any:
        return lambda retry, failures, last: real(
            msgspec.structs.replace(retry, max=retry.max - 1), failures, last
        )

    around(patch, lifecycle, "tried_again", wrap)


@plant
def failures_of_every_class_are_tried_again(patch: pytest.MonkeyPatch) -> None:
    def wrap(real: Any) -> Any:
        every = ("exit", "oom", "time", "node")
        return lambda retry, failures, last: real(msgspec.structs.replace(retry, on=every), failures, last)

    around(patch, lifecycle, "tried_again", wrap)


@plant
def the_max_of_a_class_is_not_looked_at(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(retries, "_own_max", lambda retry, name: None)


@plant
def failures_of_a_class_with_a_max_of_its_own_count_for_all(patch: pytest.MonkeyPatch) -> None:
    def tried_again(retry: Any, failures: Any, last: Any) -> bool:
        own = retries._own_max(retry, last)
        if last not in retry.on:
            return False
        return failures[last] <= own if own is not None else sum(failures.values()) <= retry.max  # type: ignore[no-any-return]

    patch.setattr(lifecycle, "tried_again", tried_again)


@plant
def gpu_memory_is_an_exit_code(patch: pytest.MonkeyPatch) -> None:
    patch.setitem(retries.RETRY_CLASS, "gpu_memory", "exit")


@plant
def nobody_waits_before_a_retry(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(lifecycle, "rule_of", lambda retry, error: retries._PLAIN)


@plant
def who_waits_is_forgotten(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(decide, "_wake", lambda folded, now_s: None)


@plant
def a_lost_attempt_hides_the_failure_before_it(patch: pytest.MonkeyPatch) -> None:
    def wrap(real: Any) -> Any:
        def advance(run: Any, entry: Any, retry: Any, at_s: float) -> None:
            real(run, entry, retry, at_s)
            if getattr(entry, "outcome", "") == "lost":
                run.after = ""

        return advance

    around(patch, evolve, "advance", wrap)


@plant
def a_retry_by_hand_forgives_nothing(patch: pytest.MonkeyPatch) -> None:
    def wrap(real: Any) -> Any:
        def requeue(folded: state.State, run: state.Run) -> None:
            kept = dict(run.failures)
            real(folded, run)
            run.failures.update(kept)

        return requeue

    around(patch, evolve, "_requeue", wrap)


# --- budgets


@plant
def gpu_hours_are_not_looked_at(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ending, "gpu_end_s", lambda folded: None)


@plant
def gpu_hours_of_running_attempts_are_left_out(patch: pytest.MonkeyPatch) -> None:
    def wrap(real: Any) -> Any:
        return lambda folded: end if (end := real(folded)) is not None and end < 0 else None

    around(patch, ending, "gpu_end_s", wrap)


@plant
def energy_is_not_looked_at(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ending, "energy_spent_j", lambda folded: 0.0)


@plant
def cpu_time_of_running_attempts_is_left_out(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ending, "cpu_spent_s", lambda folded: folded.cpu_s)


@plant
def what_lost_attempts_have_used_is_left_out(patch: pytest.MonkeyPatch) -> None:
    def wrap(real: Any) -> Any:
        def ended(folded: state.State, entry: e.AttemptEnded) -> str | None:
            spent = folded.cpu_s
            refusal: str | None = real(folded, entry)
            if entry.outcome == "lost":
                folded.cpu_s = spent
            return refusal

        return ended

    handler(patch, e.AttemptEnded, wrap)


@plant
def gpu_hours_of_failed_attempts_are_left_out(patch: pytest.MonkeyPatch) -> None:
    def wrap(real: Any) -> Any:
        def ended(folded: state.State, entry: e.AttemptEnded) -> str | None:
            spent = folded.gpu_s
            refusal: str | None = real(folded, entry)
            if entry.outcome == "failed":
                folded.gpu_s = spent
            return refusal

        return ended

    handler(patch, e.AttemptEnded, wrap)


@plant
def a_share_of_a_gpu_counts_as_a_whole_one(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(evolve, "_gpus", lambda agent, entry: float(len(entry.gpus)))


@plant
def runs_go_on_when_a_limit_of_the_sweep_is_over(patch: pytest.MonkeyPatch) -> None:
    def wrap(real: Any) -> Any:
        return lambda folded, now_s: (
            None if (end := real(folded, now_s)) is None else end._replace(kills=False)
        )

    around(patch, decide, "ending", wrap)


# --- patience


@plant
def patience_is_not_looked_at(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(state.State, "note_stall", lambda self: None)


@plant
def patience_does_not_see_that_something_is_better(patch: pytest.MonkeyPatch) -> None:
    def wrap(real: Any) -> Any:
        def count(self: state.State, trial: state.Trial, score: float | None) -> None:
            before = self.unimproved
            real(self, trial, score)
            self.unimproved = before + 1

        return count

    around(patch, state.State, "_count_finished", wrap)


@plant
def patience_passes_over_failures(patch: pytest.MonkeyPatch) -> None:
    def wrap(real: Any) -> Any:
        return lambda self, trial, score: real(self, trial, score) if score is not None else None

    around(patch, state.State, "_count_finished", wrap)


@plant
def patience_counts_what_nobody_tried(patch: pytest.MonkeyPatch) -> None:
    def cancelled(self: state.State, number: int) -> None:
        before = self.observations[number].status
        real(self, number)
        runs = [self.runs[run] for run in self.trials[number].runs]
        now = self.observations[number].status
        if before == "open" and now == "failed" and any(run.state == "cancelled" for run in runs):
            self._count_finished(self.trials[number], None)

    real = state.State.observe
    patch.setattr(state.State, "observe", cancelled)


# --- revisions


@plant
def what_may_not_change_changes(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(evolve, "revisable", lambda old, new: [])


@plant
def a_revision_never_reopens(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(evolve, "gives_more", lambda old, new: [])


@plant
def every_revision_reopens(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(evolve, "over", lambda folded, now_s: False)


@plant
def another_space_counts_as_done(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(evolve, "is_used_up", lambda space, method, tried: True)


@plant
def what_a_limit_shelved_stays_so_when_the_limit_is_raised(patch: pytest.MonkeyPatch) -> None:
    def wrap(real: Any) -> Any:
        def revise(folded: state.State, spec: Any) -> Any:
            shelved = [run for run in folded.runs if run.shelved]
            for run in shelved:
                run.shelved = False
            more = real(folded, spec)
            for run in shelved:
                run.shelved = True
            return more

        return revise

    around(patch, evolve, "_revise", wrap)


@plant
def a_target_that_was_moved_away_still_counts(patch: pytest.MonkeyPatch) -> None:
    def wrap(real: Any) -> Any:
        def revise(folded: state.State, spec: Any) -> Any:
            reached = folded.reached
            more = real(folded, spec)
            folded.reached = folded.reached or reached
            return more

        return revise

    around(patch, evolve, "_revise", wrap)


@plant
def agents_keep_the_limits_that_they_began_with(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Session, "revised", lambda self: None)


# --- annotations


@plant
def a_tag_cannot_be_taken_away(patch: pytest.MonkeyPatch) -> None:
    def wrap(real: Any) -> Any:
        return lambda self, entry, at_s: real(self, msgspec.structs.replace(entry, remove=()), at_s)

    around(patch, index.IndexFold, "_annotate", wrap)


# --- runs that a person wants tried again


@plant
def a_retry_after_the_target_is_cancelled(patch: pytest.MonkeyPatch) -> None:
    def wrap(real: Any) -> Any:
        return lambda folded, now_s: (
            None if (end := real(folded, now_s)) is None else end._replace(spares=False)
        )

    around(patch, decide, "ending", wrap)


@plant
def a_retry_sets_all_waiting_runs_going(patch: pytest.MonkeyPatch) -> None:
    def wrap(real: Any) -> Any:
        def requeue(folded: state.State, run: state.Run) -> None:
            run.asked = True
            real(folded, run)

        return requeue

    around(patch, evolve, "_requeue", wrap)


@plant
def who_asked_for_one_retry_asked_for_all_to_come(patch: pytest.MonkeyPatch) -> None:
    def move(self: state.State, run: state.Run, before: Any) -> None:
        asked = run.asked
        real(self, run, before)
        run.asked = asked

    real = state.State.move
    patch.setattr(state.State, "move", move)


@plant
def a_retry_goes_on_although_a_limit_is_over(patch: pytest.MonkeyPatch) -> None:
    def wrap(real: Any) -> Any:
        return lambda folded, now_s: (
            None if (end := real(folded, now_s)) is None else end._replace(spares=True)
        )

    around(patch, decide, "ending", wrap)


@plant
def a_retry_takes_the_searcher_up_again(patch: pytest.MonkeyPatch) -> None:
    def wrap(real: Any) -> Any:
        def stopped_by(folded: state.State, now_s: float) -> Any:
            end = real(folded, now_s)
            return None if end is not None and end.spares and folded.spared_waiting else end

        return stopped_by

    around(patch, ending, "stopped_by", wrap)


@plant
def a_trial_that_finishes_again_counts_again(patch: pytest.MonkeyPatch) -> None:
    def wrap(real: Any) -> Any:
        def count(self: state.State, trial: state.Trial, score: float | None) -> None:
            trial.counted = False
            real(self, trial, score)

        return count

    around(patch, state.State, "_count_finished", wrap)


@plant
def a_stop_is_lost_on_a_sweep_that_is_about_to_go_on(patch: pytest.MonkeyPatch) -> None:
    def wrap(real: Any) -> Any:
        return lambda folded, entry: "the sweep has ended" if folded.phase == "ended" else real(folded, entry)

    handler(patch, e.StopRequested, wrap)
    handler(patch, e.CancelRequested, wrap)
