"""`decide`: every obligation follows from the state alone, and asking twice gives the same answer (`Lab.settle` asks
twice each time)."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from folded import Lab, make_spec, refold
from sweep.core import entries as e
from sweep.core.codec import spec_to_builtins
from sweep.core.decide import Propose, WakeAt, decide
from sweep.core.seeds import run_seed
from sweep.core.spec import Limits, Metric, Retry, RetryRule
from sweep.testing.states import check_state, dump


def kinds(entries: list[e.AnyEntry]) -> list[str]:
    return [type(entry).__name__ for entry in entries]


# --- proposing and expanding


def test_nothing_is_proposed_before_a_slot_is_on_offer() -> None:
    lab = Lab(make_spec(run_cap=5))
    assert lab.settle() == []
    assert lab.commands == []


def test_as_many_trials_are_proposed_as_slots_are_on_offer() -> None:
    lab = Lab(make_spec(run_cap=5))
    lab.join(slots=3)
    lab.settle()
    assert lab.commands == [Propose(3)]


def test_a_cheap_searcher_is_asked_ahead() -> None:
    lab = Lab(make_spec(run_cap=50), lookahead=4)
    lab.join(slots=3)
    lab.settle()
    assert lab.commands == [Propose(7)]
    lab.work()
    assert lab.states().count("assigned") == 3
    assert lab.states().count("queued") == 4


def test_replicates_share_a_proposal() -> None:
    lab = Lab(make_spec(run_cap=9, replicates=3))
    lab.join(slots=4)
    lab.settle()
    assert lab.commands == [Propose(2)]
    lab.propose(2)
    made = lab.settle()
    added = [entry for entry in made if isinstance(entry, e.RunAdded)]
    assert [(a.run, a.trial, a.replicate) for a in added] == [
        (0, 0, 0),
        (1, 0, 1),
        (2, 0, 2),
        (3, 1, 0),
        (4, 1, 1),
        (5, 1, 2),
    ]
    assert [a.seed for a in added] == [run_seed(7, r) for r in (0, 1, 2)] * 2
    assert lab.states().count("assigned") == 4


@pytest.mark.parametrize("cap", [1, 2, 7])
def test_the_budget_counts_trials_and_is_never_exceeded(cap: int) -> None:
    lab = Lab(make_spec(run_cap=cap, replicates=2), lookahead=5)
    lab.join(slots=3)
    for _ in range(20):
        lab.work()
        if not lab.state.live:
            break
        number = min(lab.state.live)
        slot = _slot_of(lab, number)
        lab.start(number)
        lab.end(number, "completed", 1.0)
        lab.offer(slot=slot)
    assert len(lab.state.trials) == cap
    assert lab.states() == ["completed"] * (2 * cap)
    assert lab.state.phase == "ended"
    done = "the one trial is" if cap == 1 else f"all {cap} trials are"
    assert lab.state.reason == f"run_cap: {done} done"


def _slot_of(lab: Lab, number: int) -> int:
    return next(
        r.entry.slot
        for r in reversed(lab.journal)
        if isinstance(r.entry, e.RunAssigned) and r.entry.run == number
    )


def test_without_a_cap_there_is_always_more() -> None:
    lab = Lab(make_spec(run_cap=None))
    lab.join(slots=2)
    lab.settle()
    assert lab.commands == [Propose(2)]


def test_an_exhausted_space_ends_the_sweep_and_says_so() -> None:
    lab = Lab(make_spec(run_cap=None))
    lab.join(slots=2)
    lab.work(points=3)
    while lab.state.live:
        number = min(lab.state.live)
        slot = _slot_of(lab, number)
        lab.start(number)
        lab.end(number, "completed", 1.0)
        lab.offer(slot=slot)
        lab.work(points=3)
    assert lab.state.phase == "ended"
    assert lab.state.reason == "all 3 points of the space are done"


def test_a_space_without_points_ends_the_sweep_at_once() -> None:
    lab = Lab(make_spec(run_cap=None))
    lab.join()
    lab.settle()
    lab.propose(0, exhausted=True)
    assert kinds(lab.settle()) == ["SweepEnded"]


# --- assigning


def test_lowest_run_first_onto_the_oldest_offer_first() -> None:
    lab = Lab(make_spec(run_cap=9), lookahead=3)
    lab.join("b", slots=1)
    lab.join("a", slots=2)
    assigned = [entry for entry in lab.work() if isinstance(entry, e.RunAssigned)]
    assert [(a.run, a.agent, a.slot) for a in assigned] == [(0, "b", 0), (1, "a", 0), (2, "a", 1)]
    assert [a.config for a in assigned] == [{"x": 0}, {"x": 1}, {"x": 2}]


def test_a_run_that_goes_again_goes_before_newer_ones() -> None:
    lab = Lab(make_spec(run_cap=9), lookahead=3)
    lab.join(slots=2)
    lab.work()
    lab.start(0)
    lab.end(0, "lost")
    lab.offer(slot=0)
    (assigned,) = lab.settle()
    assert isinstance(assigned, e.RunAssigned)
    assert (assigned.run, assigned.attempt) == (0, 2)


def test_a_run_is_assigned_once_however_often_it_was_queued() -> None:
    lab = Lab(make_spec(run_cap=3))
    lab.join(slots=3)
    for _ in range(4):
        lab.work()
        lab.end(0, "preempted")
        lab.end(1, "preempted")
        lab.offer(slot=0)
        lab.offer(slot=1)
    made = lab.work()
    assert sorted(entry.run for entry in made if isinstance(entry, e.RunAssigned)) == [0, 1]


def test_a_paused_run_goes_on() -> None:
    lab = Lab(make_spec(run_cap=1))
    lab.running()
    lab.end(0, "paused")
    lab.offer()
    (assigned,) = lab.settle()
    assert isinstance(assigned, e.RunAssigned)
    assert assigned.attempt == 2


def test_a_paused_sweep_assigns_and_proposes_nothing() -> None:
    lab = Lab(make_spec(run_cap=3))
    lab.propose(1)
    lab.settle()
    lab.add(e.PauseRequested())
    lab.join(slots=2)
    assert lab.settle() == []
    assert lab.commands == []
    lab.add(e.ResumeRequested())
    assert kinds(lab.settle()) == ["RunAssigned"]
    assert lab.commands == [Propose(1)]


def test_a_paused_sweep_still_prunes_and_ends() -> None:
    lab = Lab(make_spec(run_cap=1), limit=1.0)
    lab.running()
    lab.add(e.PauseRequested())
    lab.report(0, 2.0)
    assert kinds(lab.settle()) == ["RunPruned"]
    lab.end(0, "pruned")
    assert kinds(lab.settle()) == ["SweepEnded"]


# --- agents that vanish


@pytest.mark.parametrize("gone", [e.AgentLost("a"), e.AgentLeft("a", "bye")])
def test_the_attempts_of_an_agent_that_is_gone_are_lost(gone: e.AnyEntry) -> None:
    lab = Lab(make_spec(run_cap=4))
    lab.join(slots=3)
    lab.work()
    lab.start(1)
    lab.end(2, "failed")
    lab.add(gone)
    made = lab.settle()
    lost = [entry for entry in made if isinstance(entry, e.AttemptEnded)]
    assert [(entry.run, entry.attempt, entry.agent, entry.outcome) for entry in lost] == [
        (0, 1, "a", "lost"),
        (1, 1, "a", "lost"),
    ]
    assert all(entry.reason == "its agent vanished" for entry in lost)
    assert lab.states() == ["queued", "queued", "failed"]
    assert lab.settle() == []


def test_what_a_lost_agent_says_later_is_ignored() -> None:
    lab = Lab(make_spec(run_cap=1))
    lab.running()
    lab.add(e.AgentLost("a"))
    lab.settle()
    assert lab.add(e.AttemptEnded(0, 1, "a", "completed")) == "a run that is queued takes no AttemptEnded"
    lab.join("b")
    lab.settle()
    assert lab.add(e.AttemptEnded(0, 1, "a", "completed")) == "attempt 1 is not the current one (2)"
    assert lab.add(e.SlotOffered("a", 0, 9)) == "this agent is not here"
    assert lab.states() == ["assigned"]


def test_a_run_pruned_while_its_agent_vanished_is_pruned() -> None:
    lab = Lab(make_spec(run_cap=1), limit=1.0)
    lab.running()
    lab.report(0, 0.5, 2.0)
    lab.settle()
    lab.add(e.AgentLost("a"))
    lab.settle()
    assert lab.states() == ["pruned"]
    assert lab.run().reason == "2 is above 1"
    assert lab.run().score == 0.5
    assert lab.state.phase == "ended"


# --- pruning


def test_a_condemned_run_is_told_once_with_the_reason() -> None:
    lab = Lab(make_spec(run_cap=3), limit=1.0)
    lab.join(slots=2)
    lab.work()
    lab.start(0)
    lab.start(1)
    lab.report(0, 0.5)
    assert lab.settle() == []
    lab.report(0, 3.0, first=1)
    (pruned,) = lab.settle()
    assert pruned == e.RunPruned(0, 1, "a", "3 is above 1")
    assert lab.states()[:2] == ["running", "running"]
    lab.report(0, 4.0, first=2)
    assert lab.settle() == []
    lab.end(0, "pruned")
    assert (lab.run().state, lab.run().score, lab.run().reason) == ("pruned", 0.5, "3 is above 1")


def test_a_run_that_completes_before_it_is_told_has_completed() -> None:
    lab = Lab(make_spec(run_cap=3), limit=1.0)
    lab.running()
    lab.report(0, 3.0)
    lab.settle()
    lab.end(0, "completed", 3.0)
    assert lab.run().state == "completed"


def test_judging_does_not_depend_on_when_the_controller_was_born() -> None:
    lab = Lab(make_spec(run_cap=1), limit=1.0)
    lab.running()
    lab.report(0, 3.0)
    lab.end(0, "preempted")
    lab.settle()
    lab.offer()
    lab.settle()
    lab.start(0)
    decided, _ = decide(lab.state, lab.now)
    reborn, _ = decide(refold(lab), lab.now)
    assert decided == reborn
    assert kinds(decided) == ["RunPruned"]


# --- winding down


def test_stop_lets_runs_finish_and_ends_what_waits() -> None:
    lab = Lab(make_spec(run_cap=9), lookahead=2)
    lab.running()
    lab.add(e.StopRequested("ann"))
    made = lab.settle()
    assert kinds(made) == ["RunCancelled", "RunCancelled"]
    assert lab.states() == ["running", "cancelled", "cancelled"]
    assert lab.run(1).reason == "stopped by ann"
    assert lab.commands == []
    lab.end(0, "completed", 1.0)
    lab.offer()
    assert kinds(lab.settle()) == ["SweepEnded"]
    assert lab.state.reason == "stopped by ann"


def test_a_failed_run_is_not_tried_again_once_the_sweep_is_stopped() -> None:
    lab = Lab(make_spec(run_cap=9, retry=3))
    lab.running()
    lab.add(e.StopRequested())
    lab.settle()
    lab.end(0, "failed")
    lab.settle()
    assert lab.states() == ["cancelled"]
    assert lab.state.phase == "ended"


def test_runs_are_still_pruned_while_a_sweep_finishes() -> None:
    lab = Lab(make_spec(run_cap=9), limit=1.0)
    lab.running()
    lab.add(e.StopRequested())
    lab.report(0, 2.0)
    assert kinds(lab.settle()) == ["RunPruned"]


def test_cancel_ends_running_runs_and_says_so_once() -> None:
    lab = Lab(make_spec(run_cap=9), lookahead=1)
    lab.join(slots=2)
    lab.work()
    lab.start(0)
    lab.add(e.CancelRequested("ann"))
    made = lab.settle()
    assert made == [
        e.RunCancelled(0, 1, "a", "cancelled by ann"),
        e.RunCancelled(1, 1, "a", "cancelled by ann"),
        e.RunCancelled(2, 0, "", "cancelled by ann"),
    ]
    lab.end(0, "cancelled")
    assert lab.settle() == []
    lab.end(1, "cancelled")
    assert kinds(lab.settle()) == ["SweepEnded"]


def test_cancel_overrules_stop() -> None:
    lab = Lab(make_spec(run_cap=9))
    lab.running()
    lab.add(e.StopRequested())
    assert lab.settle() == []
    lab.add(e.CancelRequested())
    assert kinds(lab.settle()) == ["RunCancelled"]


def test_a_pruned_run_is_not_cancelled_as_well() -> None:
    lab = Lab(make_spec(run_cap=9), limit=1.0)
    lab.running()
    lab.report(0, 2.0)
    lab.settle()
    lab.add(e.CancelRequested())
    assert lab.settle() == []


def test_the_target_ends_the_sweep_and_lets_runs_finish() -> None:
    lab = Lab(make_spec(run_cap=9, metric=Metric(name="loss", target=0.1)))
    lab.join(slots=2)
    lab.work()
    lab.start(0)
    lab.start(1)
    lab.report(0, 0.05)
    assert lab.settle() == []
    lab.end(0, "completed", 0.05)
    lab.offer()
    assert lab.settle() == []
    assert lab.commands == []
    lab.end(1, "completed", 0.5)
    assert lab.settle() == [e.SweepEnded("run 0 reached the target: loss 0.05")]


def test_wall_time_counts_from_the_first_agent_and_ends_running_runs() -> None:
    lab = Lab(make_spec(run_cap=9, wall_time_s=100.0))
    lab.settle()
    assert lab.wakes() == []
    lab.now += 50
    lab.running()
    assert lab.wakes() == [1150.0]
    lab.now = 1149.0
    assert lab.settle() == []
    lab.now = 1150.0
    (cancelled,) = lab.settle()
    assert cancelled == e.RunCancelled(0, 1, "a", "limits.wall_time (100 s) is over")
    assert lab.wakes() == []
    lab.end(0, "cancelled")
    assert kinds(lab.settle()) == ["SweepEnded"]


def test_a_timer_is_set_while_a_sweep_winds_down() -> None:
    lab = Lab(make_spec(run_cap=9, wall_time_s=100.0))
    lab.running()
    lab.add(e.StopRequested())
    lab.settle()
    assert lab.commands == [WakeAt(1100.0)]


# --- going on


def ended(lab: Lab) -> Lab:
    """The lab with its only trial completed and the sweep ended."""
    lab.running()
    lab.end(0, "completed", 1.0)
    lab.settle()
    assert lab.state.phase == "ended"
    lab.offer()
    return lab


def test_an_ended_sweep_decides_nothing() -> None:
    lab = ended(Lab(make_spec(run_cap=1)))
    assert lab.settle() == []
    assert lab.commands == []


def test_extend_reopens_and_adds_to_the_budget() -> None:
    lab = ended(Lab(make_spec(run_cap=1)))
    lab.add(e.ExtendRequested(3, "ann"))
    assert lab.settle() == [e.SweepReopened("extended to 3 trials by ann")]
    assert lab.commands == [Propose(1)]


def test_an_extension_that_gives_nothing_more_to_do_reopens_nothing() -> None:
    lab = ended(Lab(make_spec(run_cap=1)))
    assert lab.add(e.ExtendRequested(1)) is None
    assert lab.settle() == []
    assert lab.state.revision == 2


def test_retry_reopens_and_runs_just_those_runs() -> None:
    lab = Lab(make_spec(run_cap=1))
    lab.running()
    lab.end(0, "failed")
    lab.settle()
    lab.offer()
    lab.add(e.RetryRequested((0,)))
    made = lab.settle()
    assert kinds(made) == ["SweepReopened", "RunAssigned"]
    assert made[0] == e.SweepReopened("1 runs to be tried again")
    assert lab.run().attempt == 2


def test_resume_takes_up_what_a_stop_left_waiting() -> None:
    lab = Lab(make_spec(run_cap=3), lookahead=2)
    lab.running()
    lab.add(e.StopRequested())
    lab.settle()
    lab.end(0, "completed")
    lab.settle()
    assert lab.state.phase == "ended"
    lab.offer()
    lab.add(e.ResumeRequested())
    assert kinds(lab.settle()) == ["SweepReopened", "RunAssigned"]
    assert lab.states() == ["completed", "assigned", "queued"]


def test_two_wishes_to_go_on_reopen_once() -> None:
    lab = ended(Lab(make_spec(run_cap=1)))
    lab.add(e.ExtendRequested(2))
    lab.add(e.ResumeRequested("ann"))
    assert kinds(lab.settle()) == ["SweepReopened"]
    assert lab.state.phase == "active"


def test_a_lower_cap_stops_proposing_and_the_sweep_ends_when_its_runs_are_done() -> None:
    lab = Lab(make_spec(run_cap=9))
    lab.join(slots=2)
    lab.work()
    lab.add(e.ExtendRequested(1))
    lab.start(0)
    lab.end(0, "completed")
    lab.offer()
    assert lab.settle() == []
    assert lab.commands == []
    lab.start(1)
    lab.end(1, "completed")
    assert kinds(lab.settle()) == ["SweepEnded"]


# --- runs that a person wants tried again


def at_target(waiting: int = 0) -> Lab:
    """A sweep that has ended by its target: run 0 failed, run 1 reached it, and so many runs never began."""
    lab = Lab(make_spec(run_cap=9, metric=Metric(name="loss", target=0.1)), lookahead=waiting)
    lab.join(slots=2)
    lab.work()
    lab.start(0)
    lab.end(0, "failed")
    lab.start(1)
    lab.end(1, "completed", 0.05)
    lab.settle()
    assert lab.state.reason == "run 1 reached the target: loss 0.05"
    assert lab.states() == ["failed", "completed", *["cancelled"] * waiting]
    return lab


def lost_patience() -> Lab:
    lab = Lab(make_spec(run_cap=9, patience=1))
    lab.running()
    lab.end(0, "failed")
    lab.settle()
    assert lab.state.reason == "patience: 1 trials in a row were no better than none at all"
    return lab


@pytest.mark.parametrize("make", [at_target, lost_patience])
def test_a_retry_is_executed_after_a_soft_end_and_nothing_else_is(make: Callable[[], Lab]) -> None:
    lab = make()
    trials, reason = len(lab.state.trials), lab.state.reason
    lab.add(e.RetryRequested((0,)))
    lab.offer(slot=0)
    lab.offer(slot=1)
    made = lab.settle()
    assert kinds(made) == ["SweepReopened", "RunAssigned"]
    assert lab.commands == [], "no trial is asked for"
    lab.start(0)
    lab.end(0, "completed", 0.3)
    lab.offer(slot=0)
    assert lab.settle() == [e.SweepEnded(reason)]
    assert len(lab.state.trials) == trials
    assert dump(refold(lab)) == dump(lab.state)


def test_what_waited_when_the_target_was_reached_goes_on_waiting_for_the_sweep() -> None:
    lab = at_target(waiting=3)
    lab.add(e.RetryRequested((0, 3)))
    lab.settle()
    assert lab.states() == ["queued", "completed", "cancelled", "queued", "cancelled"]
    lab.offer(slot=0)
    lab.offer(slot=1)
    assert [(x.run, x.attempt) for x in lab.settle() if isinstance(x, e.RunAssigned)] == [(0, 2), (3, 1)]
    for number in (0, 3):
        lab.start(number)
        lab.end(number, "failed")
    assert kinds(lab.settle()) == ["SweepEnded"]
    assert not any(run.asked for run in lab.state.runs)
    lab.add(e.ResumeRequested())
    lab.settle()
    assert lab.states() == ["failed", "completed", "cancelled", "failed", "cancelled"]


def test_a_retry_goes_through_all_its_attempts() -> None:
    lab = at_target()
    spec = msgspec.structs.replace(lab.spec, retry=Retry(max=1, rules={"exit": RetryRule(wait_s=5.0)}))
    lab.add(e.SpecRevised(2, spec_to_builtins(spec)))
    lab.add(e.RetryRequested((0,)))
    for outcome in ("lost", "failed"):
        lab.offer()
        assert "RunAssigned" in kinds(lab.settle())
        lab.start(0)
        lab.end(0, outcome)
    lab.offer()
    assert lab.settle() == []
    assert lab.wakes() == [lab.now + 5]
    lab.now += 5
    assert kinds(lab.settle()) == ["RunAssigned"]
    lab.start(0)
    lab.end(0, "failed")
    assert kinds(lab.settle()) == ["SweepEnded"]
    assert lab.states() == ["failed", "completed"]


def test_a_retry_that_was_asked_for_before_the_target_was_reached_is_executed() -> None:
    lab = Lab(make_spec(run_cap=9, metric=Metric(name="loss", target=0.1)), lookahead=2)
    lab.join(slots=2)
    lab.work()
    lab.start(0)
    lab.end(0, "failed")
    lab.add(e.RetryRequested((0,)))
    lab.start(1)
    lab.report(1, 0.05)
    assert kinds(lab.settle()) == ["RunCancelled"] * 2
    lab.offer(slot=0)
    assert kinds(lab.settle()) == ["RunAssigned"]
    lab.end(1, "completed", 0.05)
    assert lab.settle() == [], "run 0 is at work"
    lab.start(0)
    lab.end(0, "completed", 0.5)
    assert kinds(lab.settle()) == ["SweepEnded"]


@pytest.mark.parametrize("ask", [e.StopRequested("ann"), e.CancelRequested("ann")])
def test_a_stop_after_a_retry_cancels_it(ask: e.AnyEntry) -> None:
    lab = at_target()
    lab.add(e.RetryRequested((0,)))
    lab.settle()
    assert lab.states() == ["queued", "completed"]
    lab.add(ask)
    assert kinds(lab.settle()) == ["RunCancelled", "SweepEnded"]
    assert lab.states() == ["cancelled", "completed"]
    check_state(lab.state)


def test_a_limit_that_is_over_cancels_a_retry() -> None:
    lab = at_target()
    spec = msgspec.structs.replace(lab.spec, limits=Limits(wall_time_s=100.0))
    lab.add(e.SpecRevised(2, spec_to_builtins(spec)))
    lab.add(e.RetryRequested((0,)))
    lab.offer()
    lab.settle()
    lab.start(0)
    lab.now += 100
    assert kinds(lab.settle()) == ["RunCancelled"]
    lab.end(0, "cancelled")
    assert lab.settle() == [e.SweepEnded("limits.wall_time (100 s) is over")]


def test_a_retry_in_a_paused_sweep_waits() -> None:
    lab = at_target()
    lab.add(e.RetryRequested((0,)))
    lab.settle()
    lab.add(e.PauseRequested())
    lab.offer()
    assert lab.settle() == []
    lab.add(e.ResumeRequested())
    assert kinds(lab.settle()) == ["RunAssigned"]


def test_a_retry_can_reach_the_target_itself() -> None:
    lab = Lab(make_spec(run_cap=9, patience=1, metric=Metric(name="loss", target=0.1)))
    lab.running()
    lab.end(0, "failed")
    lab.settle()
    lab.add(e.RetryRequested((0,)))
    lab.offer()
    lab.settle()
    lab.start(0)
    lab.end(0, "completed", 0.05)
    assert lab.settle() == [e.SweepEnded("run 0 reached the target: loss 0.05")]
