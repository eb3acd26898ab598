"""`evolve`: facts that come too late are ignored with a reason, illegal decisions raise and change nothing."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest

from folded import Lab, make_spec, refold
from sweep.core import entries as e
from sweep.core.codec import spec_to_builtins
from sweep.core.evolve import IllegalDecision, evolve
from sweep.core.spec import EarlyTerminate, Metric
from sweep.core.state import State
from sweep.testing.states import check_state, dump


def recorded(position: int, entry: e.AnyEntry, at_s: float = 1000.0) -> e.Recorded:
    return e.Recorded(position, at_s, "w", position, entry)


# --- the journal as a whole


@pytest.mark.parametrize("position", [0, 2, 7])
def test_a_gap_in_the_journal_raises(position: int) -> None:
    state = Lab().fresh()
    with pytest.raises(ValueError, match=f"entry {position} does not follow 0"):
        evolve(state, recorded(position, e.PauseRequested()))


@pytest.mark.parametrize(
    "entry",
    [e.PauseRequested(), e.ExtendRequested(3), e.RetryRequested((0,)), e.AgentJoined("a", "h", 1, 1)],
)
def test_nothing_happens_to_a_sweep_that_does_not_exist(entry: e.AnyEntry) -> None:
    state = Lab().fresh()
    assert evolve(state, recorded(1, entry)) == "the sweep does not exist yet"
    assert state.ignored == [(1, "the sweep does not exist yet")]
    with pytest.raises(LookupError, match="does not begin with SweepCreated"):
        _ = state.spec


def test_a_sweep_is_created_once() -> None:
    lab = Lab()
    assert lab.add(e.SweepCreated("s2", spec_to_builtins(lab.spec))) == "the sweep exists already"
    assert lab.state.sweep == "s1"


def test_the_goal_is_minimize_where_there_is_no_metric() -> None:
    assert Lab(make_spec(metric=None)).state.goal == "minimize"
    assert State(lambda _: None).goal == "minimize"
    assert Lab(make_spec(metric=Metric(name="a", goal="maximize"))).state.goal == "maximize"


ILLEGAL: list[tuple[str, e.AnyEntry]] = [
    ("trial 5 does not follow -1", e.TrialsProposed(5, ({},), False, 1, "grid", "1", 1)),
    ("proposed for revision 3", e.TrialsProposed(0, ({},), False, 3, "grid", "1", 1)),
    ("run 4 does not follow -1", e.RunAdded(4, 0, 0, 1)),
    ("there is no trial 0", e.RunAdded(0, 0, 0, 1)),
    ("there is no trial -1", e.RunAdded(0, -1, 0, 1)),
    ("there is no run 0", e.RunAssigned(0, 1, "a", 0, 1, 0, 0, 1, {})),
    ("there is no run -1", e.RunPruned(-1, 1, "a", "poor")),
    ("there is no run 9", e.RunCancelled(9, 1, "a", "no more")),
    ("the sweep has not ended", e.SweepReopened("more")),
]


@pytest.mark.parametrize(("reason", "entry"), ILLEGAL, ids=[reason for reason, _ in ILLEGAL])
def test_an_illegal_decision_raises_and_changes_nothing(reason: str, entry: e.AnyEntry) -> None:
    lab = Lab()
    lab.now += 5
    before = (lab.state.position, lab.state.last_s, len(lab.state.trials), list(lab.state.ignored))
    with pytest.raises(IllegalDecision, match=reason):
        lab.add(entry)
    state = lab.state
    assert (state.position, state.last_s, len(state.trials), state.ignored) == before
    assert lab.add(e.PauseRequested()) is None, "the journal goes on at the same position"


def test_an_ended_sweep_cannot_end_and_one_with_runs_cannot_either() -> None:
    lab = Lab(make_spec(run_cap=1))
    lab.running()
    with pytest.raises(IllegalDecision, match="runs are still to be done"):
        lab.add(e.SweepEnded("enough"))
    lab.end(0, "preempted")
    with pytest.raises(IllegalDecision, match="runs are still to be done"):
        lab.add(e.SweepEnded("enough"))
    lab.offer()
    lab.work()
    lab.start()
    lab.end(0, "completed")
    lab.work()
    with pytest.raises(IllegalDecision, match="has ended already"):
        lab.add(e.SweepEnded("enough"))


FACTS: list[tuple[str, e.AnyEntry]] = [
    ("there is no run 3", e.RunStarted(3, 1, "a", 1, "h", 0)),
    ("there is no run -1", e.ObjectiveReported(-1, 1, 0, (1.0,), (1.0,))),
    ("there is no run 0", e.AttemptEnded(0, 1, "a", "completed")),
    ("this agent is not here", e.AgentLeft("nobody")),
    ("this agent is not here", e.AgentLost("nobody")),
    ("this agent is not here", e.SlotOffered("nobody", 0, 1)),
    ("this agent is not here", e.SlotKept("nobody", 0, "its GPU is lost", True)),
    ("this offer is used up or withdrawn", e.SlotWithdrawn("nobody", 0, 1)),
    ("none of these runs has failed or was cancelled", e.RetryRequested((-1, 0, 5))),
    ("revision 3 does not follow 1", e.SpecRevised(3, {})),
    ("the sweep is active", e.ResumeRequested()),
]


@pytest.mark.parametrize(
    ("reason", "entry"), FACTS, ids=[f"{type(x).__name__}: {reason}" for reason, x in FACTS]
)
def test_a_fact_that_cannot_happen_is_ignored_with_a_reason(reason: str, entry: e.AnyEntry) -> None:
    lab = Lab()
    assert lab.add(entry) == reason
    assert lab.state.ignored == [(2, reason)]


def test_folding_again_gives_the_same_state() -> None:
    lab = Lab(make_spec(run_cap=4, replicates=2, retry=1), limit=0.9)
    lab.join(slots=3)
    lab.work()
    for number in (0, 1, 2):
        lab.start(number)
        lab.report(number, 0.5 + number / 10, 0.4 + number / 2)
    lab.work()
    lab.end(0, "completed", 0.4)
    lab.end(1, "failed")
    lab.add(e.AgentLost("a"))
    lab.work()
    again, state = refold(lab), lab.state
    assert [run.state for run in again.runs] == lab.states()
    assert [list(run.values) for run in again.runs] == [list(run.values) for run in state.runs]
    for name in ("phase", "reason", "live", "waiting", "offers", "observations", "ignored", "counts"):
        assert getattr(again, name) == getattr(state, name), name


# --- agents and offers


def test_an_agent_joins_once_and_leaves_once() -> None:
    lab = Lab()
    lab.join()
    assert lab.add(e.AgentJoined("a", "h", 2, 4)) == "this agent has joined before"
    assert lab.add(e.AgentLeft("a")) is None
    assert lab.state.offers == {}
    assert lab.add(e.AgentLost("a")) == "this agent is not here"
    assert lab.offer() == "this agent is not here"
    assert lab.add(e.AgentJoined("a", "h", 2, 4)) == "this agent has joined before"


def test_an_offer_is_open_until_it_is_withdrawn_or_consumed() -> None:
    lab = Lab()
    lab.join()
    assert lab.offer() == "this slot is on offer already"
    assert lab.add(e.SlotWithdrawn("a", 0, 99)) == "this offer is used up or withdrawn"
    assert lab.add(e.SlotWithdrawn("a", 0, 1)) is None
    assert lab.add(e.SlotWithdrawn("a", 0, 1)) == "this offer is used up or withdrawn"
    lab.propose(1)
    lab.add(e.RunAdded(0, 0, 0, 1))
    with pytest.raises(IllegalDecision, match="offer 1 of a is not open"):
        lab.add(e.RunAssigned(0, 1, "a", 0, 1, 0, 0, 1, {}))
    assert lab.run().state == "queued"


def test_an_offer_is_consumed_by_one_assignment() -> None:
    lab = Lab()
    lab.join()
    lab.propose(2)
    lab.add(e.RunAdded(0, 0, 0, 1))
    lab.add(e.RunAdded(1, 1, 0, 1))
    assert lab.add(e.RunAssigned(0, 1, "a", 0, 1, 0, 0, 1, {})) is None
    with pytest.raises(IllegalDecision, match="offer 1 of a is not open"):
        lab.add(e.RunAssigned(1, 1, "a", 0, 1, 1, 0, 1, {}))
    assert lab.state.agents["a"].runs == {0}


# --- values and scores


def test_the_score_is_the_best_finite_value_in_the_metrics_direction() -> None:
    for goal, expected in (("minimize", -2.0), ("maximize", 7.0)):
        lab = Lab(make_spec(metric=Metric(name="m", goal=goal)))  # type: ignore[arg-type]
        lab.running()
        lab.report(0, 3.0, math.nan, 7.0, math.inf, -math.inf, -2.0)
        assert lab.run().score == expected


def test_a_run_that_logged_nothing_finite_has_no_score() -> None:
    lab = Lab()
    lab.running()
    lab.report(0, math.nan, math.inf)
    lab.end(0, "completed", math.nan)
    assert lab.run().score is None
    assert lab.state.observations[0].status == "completed"
    assert lab.state.observations[0].score is None


def test_the_summary_counts_for_the_score() -> None:
    lab = Lab()
    lab.running()
    lab.report(0, 0.5)
    lab.end(0, "completed", 0.25)
    assert lab.run().score == 0.25


def test_an_attempt_that_goes_back_replaces_what_it_repeats() -> None:
    lab = Lab()
    lab.running()
    lab.report(0, 0.9, 0.1, 0.2)
    lab.end(0, "lost")
    lab.offer()
    lab.work()
    lab.start()
    lab.report(0, 0.5, 0.4, step=1)
    assert list(lab.run().steps) == [0, 1, 2]
    assert list(lab.run().values) == [0.9, 0.5, 0.4]
    assert lab.run().score == 0.4
    lab.report(0, 0.3, first=2, step=3)
    assert list(lab.run().values) == [0.9, 0.5, 0.4, 0.3]


def test_an_attempt_that_goes_on_keeps_what_came_before() -> None:
    lab = Lab()
    lab.running()
    lab.report(0, 0.9, 0.1)
    lab.end(0, "preempted")
    lab.offer()
    lab.work()
    lab.start()
    lab.report(0, 0.5, step=2)
    assert list(lab.run().values) == [0.9, 0.1, 0.5]
    assert lab.run().score == 0.1


def test_a_trials_score_is_the_mean_over_completed_and_pruned_replicates() -> None:
    lab = Lab(make_spec(replicates=4, run_cap=1))
    lab.join(slots=4)
    lab.work()
    for number, (outcome, score) in enumerate(
        [("completed", 1.0), ("pruned", 3.0), ("failed", 0.0), ("cancelled", None)]
    ):
        assert lab.state.observations[0].status == "open"
        lab.start(number)
        lab.end(number, outcome, score)  # type: ignore[arg-type]
    assert lab.state.observations[0].status == "completed"
    assert lab.state.observations[0].score == 2.0


@pytest.mark.parametrize(
    ("outcomes", "status"),
    [
        (("pruned", "failed"), "pruned"),
        (("failed", "cancelled"), "failed"),
        (("completed", "pruned"), "completed"),
    ],
)
def test_a_trials_status(outcomes: tuple[e.Outcome, ...], status: str) -> None:
    lab = Lab(make_spec(replicates=2, run_cap=1))
    lab.join(slots=2)
    lab.work()
    for number, outcome in enumerate(outcomes):
        lab.start(number)
        lab.end(number, outcome)
    assert lab.state.observations[0].status == status


def test_runs_of_other_purposes_are_not_what_the_searcher_sees() -> None:
    lab = Lab(make_spec(run_cap=1, metric=Metric(name="m", target=0.0)))
    lab.running()
    lab.end(0, "completed", 5.0)
    lab.add(e.RunAdded(1, 0, 0, 77, "confirm"))
    lab.offer()
    lab.work()
    lab.start(1)
    lab.end(1, "completed", -9.0)
    assert lab.state.observations[0].score == 5.0
    assert lab.state.reached is None
    assert lab.state.best_run == 0


def test_the_best_run_is_the_completed_or_pruned_one_with_the_best_score() -> None:
    lab = Lab(make_spec(run_cap=5))
    lab.join(slots=5)
    lab.work()
    outcomes: list[tuple[e.Outcome, float | None]] = [
        ("completed", None),
        ("failed", 0.0),
        ("pruned", 2.0),
        ("completed", 3.0),
        ("completed", 1.0),
    ]
    bests = []
    for number, (outcome, score) in enumerate(outcomes):
        lab.start(number)
        lab.end(number, outcome, score)
        bests.append(lab.state.best_run)
    assert bests == [None, None, 2, 2, 4]


@pytest.mark.parametrize(("goal", "value", "hit"), [("minimize", 1.0, True), ("minimize", 1.5, False)])
@pytest.mark.parametrize("how", ["report", "end"])
def test_the_target_is_reached_by_a_report_or_a_summary(how: str, goal: Any, value: float, hit: bool) -> None:
    lab = Lab(make_spec(metric=Metric(name="m", goal=goal, target=1.0)))
    lab.running()
    if how == "report":
        lab.report(0, 5.0, value)
    else:
        lab.end(0, "completed", value)
    assert lab.state.reached == ((0, value) if hit else None)


def test_the_first_run_to_reach_the_target_is_remembered() -> None:
    lab = Lab(make_spec(metric=Metric(name="m", goal="maximize", target=1.0)))
    lab.join(slots=2)
    lab.work()
    lab.start(0)
    lab.start(1)
    lab.report(1, 2.0)
    lab.report(0, 3.0)
    assert lab.state.reached == (1, 2.0)


# --- requests


def test_pause_and_resume() -> None:
    lab = Lab()
    assert lab.add(e.PauseRequested("ann")) is None
    assert (lab.state.phase, lab.state.reason) == ("paused", "paused by ann")
    assert lab.add(e.PauseRequested()) == "the sweep is paused"
    assert lab.add(e.ResumeRequested()) is None
    assert (lab.state.phase, lab.state.reason) == ("active", "")


def test_stop_then_cancel_then_resume() -> None:
    lab = Lab()
    assert lab.add(e.StopRequested("ann")) is None
    assert (lab.state.phase, lab.state.stop_requested, lab.state.reason) == (
        "finishing",
        "stop",
        "stopped by ann",
    )
    assert lab.add(e.StopRequested()) == "the sweep is finishing already"
    assert lab.add(e.PauseRequested()) == "the sweep is finishing"
    assert lab.add(e.CancelRequested()) is None
    assert (lab.state.stop_requested, lab.state.reason) == ("cancel", "cancelled")
    assert lab.add(e.StopRequested()) == "the sweep is finishing already"
    assert lab.add(e.ResumeRequested()) is None
    assert (lab.state.phase, lab.state.stop_requested) == ("active", "")


def test_a_sweep_that_ended_takes_no_requests_but_those_that_reopen_it() -> None:
    lab = Lab()
    lab.add(e.StopRequested())
    lab.settle()
    assert lab.state.phase == "ended"
    for entry in (e.PauseRequested(), e.StopRequested(), e.CancelRequested()):
        assert lab.add(entry) is not None
    assert lab.add(e.ResumeRequested("ann")) is None
    assert lab.state.reopen == "resumed by ann"


def test_resuming_a_sweep_that_is_finishing_takes_up_what_waited() -> None:
    lab = Lab(make_spec(run_cap=3))
    lab.join(slots=3)
    lab.work()
    lab.start(0)
    lab.end(1, "preempted")
    lab.add(e.StopRequested())
    lab.settle()
    assert lab.states() == ["running", "cancelled", "assigned"]
    lab.add(e.ResumeRequested())
    assert lab.states() == ["running", "queued", "assigned"]
    lab.offer(slot=1)
    lab.work()
    assert lab.states() == ["running", "assigned", "assigned"]


def test_runs_that_were_ended_by_a_cancel_are_not_taken_up_again() -> None:
    lab = Lab(make_spec(run_cap=2))
    lab.running()
    lab.propose(1)
    lab.settle()
    lab.add(e.CancelRequested())
    lab.settle()
    lab.end(0, "cancelled")
    assert lab.states() == ["cancelled", "cancelled"]
    lab.settle()
    assert lab.state.phase == "ended"
    lab.add(e.ResumeRequested())
    lab.settle()
    assert lab.states() == ["cancelled", "queued"]


def test_a_retry_names_the_runs_and_forgives_them() -> None:
    lab = Lab(make_spec(run_cap=3, retry=0))
    lab.join(slots=3)
    lab.work()
    for number, outcome in enumerate(("failed", "completed", "failed")):
        lab.start(number)
        lab.end(number, outcome)  # type: ignore[arg-type]
    assert lab.add(e.RetryRequested((0, 1, 2))) is None
    assert lab.states() == ["queued", "completed", "queued"]
    assert lab.run().failures == {}
    assert lab.run().reason == ""
    assert lab.add(e.RetryRequested((1,))) == "none of these runs has failed or was cancelled"


def test_extend_changes_the_cap_and_is_a_revision() -> None:
    lab = Lab(make_spec(run_cap=3))
    assert lab.add(e.ExtendRequested(8)) is None
    assert (lab.state.spec.run_cap, lab.state.revision) == (8, 2)
    with pytest.raises(IllegalDecision, match="proposed for revision 1"):
        lab.add(e.TrialsProposed(0, ({},), False, 1, "grid", "1", 1))


def test_a_revised_spec_starts_a_new_stopper_with_what_is_known() -> None:
    lab = Lab(limit=1.0)
    lab.running()
    lab.report(0, 5.0)
    old = lab.state.stopper
    revised = msgspec.structs.replace(lab.spec, run_cap=1, early_terminate=EarlyTerminate(min_iter=1))
    assert lab.add(e.SpecRevised(2, spec_to_builtins(revised))) is None
    assert lab.state.stopper is not old
    assert lab.state.stopper is not None and lab.state.stopper.condemned(0) == "5 is above 1"
    assert lab.state.spec.run_cap == 1
    assert lab.add(e.SpecRevised(2, spec_to_builtins(revised))) == "revision 2 does not follow 2"


# --- runs that a person wants tried again


def test_what_was_asked_for_is_forgotten_when_the_run_ends() -> None:
    lab = Lab(make_spec(run_cap=2, retry=1))
    lab.running()
    lab.end(0, "failed")
    assert not lab.run().asked, "its own second attempt"
    lab.add(e.CancelRequested())
    lab.settle()
    lab.add(e.RetryRequested((0,)))
    assert (lab.run().asked, lab.state.spared_waiting) == (True, 1)
    lab.settle()
    lab.offer()
    lab.settle()
    assert (lab.run().asked, lab.state.spared_waiting) == (True, 0)
    lab.start()
    lab.end(0, "preempted")
    assert (lab.run().asked, lab.state.spared_waiting) == (True, 1)
    lab.offer()
    lab.settle()
    lab.start()
    lab.end(0, "completed", 1.0)
    assert (lab.run().asked, lab.state.spared_waiting) == (False, 0)
    check_state(lab.state)
    assert dump(refold(lab)) == dump(lab.state)


def test_a_trial_that_is_tried_again_counts_once_for_patience() -> None:
    lab = Lab(make_spec(run_cap=9, patience=3))
    lab.running()
    for _ in range(4):
        lab.end(0, "failed")
        lab.settle()
        lab.add(e.RetryRequested((0,)))
        lab.offer()
        lab.settle()
        lab.start()
    assert (lab.state.unimproved, lab.state.stalled) == (1, "")
    lab.end(0, "completed", 1.0)
    assert (lab.state.unimproved, lab.state.best_score) == (0, 1.0), "a better score always counts"


def test_a_trial_whose_last_replicate_is_put_off_counts_once_for_patience() -> None:
    lab = Lab(make_spec(run_cap=9, patience=2, replicates=2))
    lab.running()
    lab.end(0, "completed", 1.0)
    for cap in (10, 11, 12):
        lab.add(e.StopRequested())
        lab.settle()
        assert lab.states() == ["completed", "cancelled"]
        lab.add(e.ExtendRequested(cap))
        lab.settle()
    assert (lab.state.best_score, lab.state.unimproved, lab.state.stalled) == (1.0, 0, "")


# --- a stop that meets a sweep which is about to go on


@pytest.mark.parametrize(
    "more", [e.ExtendRequested(5, "bob"), e.ResumeRequested("bob"), e.RetryRequested((0,))]
)
@pytest.mark.parametrize("less", [e.StopRequested("ann"), e.CancelRequested("ann")])
def test_a_stop_is_not_lost_on_a_sweep_that_is_about_to_go_on(more: e.AnyEntry, less: e.AnyEntry) -> None:
    lab = Lab(make_spec(run_cap=1))
    lab.running()
    lab.end(0, "failed")
    lab.settle()
    lab.add(more)
    assert lab.add(less) is None
    lab.offer()
    made = lab.settle()
    assert not [entry for entry in made if isinstance(entry, e.RunAssigned)]
    assert lab.commands == []
    assert (lab.state.phase, lab.state.reason) == ("ended", made[-1].reason)  # type: ignore[union-attr]
    assert "by ann" in lab.state.reason
    assert dump(refold(lab)) == dump(lab.state)
    check_state(lab.state)
    lab.add(e.ExtendRequested(6))
    assert lab.settle()[0] == e.SweepReopened("extended to 6 trials")
    assert lab.state.phase == "active"


def test_a_resume_undoes_a_stop_that_nobody_has_acted_on() -> None:
    lab = Lab(make_spec(run_cap=1))
    lab.running()
    lab.end(0, "completed")
    lab.settle()
    lab.add(e.ExtendRequested(5))
    lab.add(e.CancelRequested())
    lab.add(e.ResumeRequested("bob"))
    lab.settle()
    assert (lab.state.phase, lab.state.stop_requested) == ("active", "")


def test_an_ended_sweep_cannot_be_stopped() -> None:
    lab = Lab(make_spec(run_cap=1))
    lab.running()
    lab.add(e.StopRequested("ann"))
    lab.end(0, "completed")
    lab.settle()
    for ask in (e.StopRequested(), e.CancelRequested()):
        assert lab.add(ask) == "the sweep has ended"
    assert lab.state.reason == "stopped by ann"


# --- how far a run is, for the stopper


def test_how_far_a_run_is_follows_what_its_attempts_say() -> None:
    lab = Lab(make_spec(run_cap=1, early_terminate=EarlyTerminate(type="asha", min_iter=9, step="time")))
    lab.running()
    lab.add(e.ObjectiveReported(0, 1, 0, (0.0, 1.0, 2.0), (5.0, 4.0, 3.0), (10.0, 20.0, 30.0)))
    lab.end(0, "preempted")
    lab.offer()
    lab.settle()
    lab.start(0)
    lab.add(e.ObjectiveReported(0, 2, 0, (2.0,), (2.0,), (12.0,)))
    lab.add(e.ObjectiveReported(0, 2, 1, (3.0,), (1.0,), (22.0,)))
    run = lab.run(0)
    assert list(run.values) == [5.0, 4.0, 2.0, 1.0]
    assert list(run.progress) == [10.0, 20.0, 32.0, 42.0], "it went back behind second 30"


def test_without_a_word_on_it_the_steps_say_how_far_a_run_is() -> None:
    lab = Lab(make_spec(run_cap=1))
    lab.running()
    lab.add(e.ObjectiveReported(0, 1, 0, (2.0, 4.0), (5.0, 4.0)))
    lab.add(e.ObjectiveReported(0, 1, 2, (5.0,), (3.0,), (1.0, 2.0)))
    assert list(lab.run(0).progress) == [2.0, 4.0, 5.0], "one value cannot have two places"
