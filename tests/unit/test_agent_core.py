"""What an agent decides: offers, orders, limits, signals, people, and giving up."""

from __future__ import annotations

import signal
from typing import Any

import pytest

from sweep.core import agent as a
from sweep.core import entries as e
from sweep.core.spec import Limits

NO_LIMITS = Limits(kill_after_s=30.0)


def make_core(slots: int = 1, limits: Limits = NO_LIMITS, count: int | None = None) -> a.AgentCore:
    return a.AgentCore("ag", slots, limits, 0.0, count)


def assignment(run: int = 0, attempt: int = 1, slot: int = 0, offer: int = 1) -> e.RunAssigned:
    return e.RunAssigned(run, attempt, "ag", slot, offer, run, 0, 5, {"x": run})


def started(run: int = 0, attempt: int = 1) -> e.RunStarted:
    return e.RunStarted(run, attempt, "ag", 11, "host", 0)


def running(core: a.AgentCore, run: int = 0, slot: int = 0, now: float = 0.0) -> None:
    """Bring `run` to life on `slot`."""
    core.offer()
    assert core.assigned(assignment(run, slot=slot), now) == [a.Start(assignment(run, slot=slot))]
    core.started(run, started(run), now)


def appended(actions: list[a.Action]) -> list[e.AnyEntry]:
    return [action.entry for action in actions if isinstance(action, a.Append)]


def ending(actions: list[a.Action]) -> e.AttemptEnded:
    """The one AttemptEnded in `actions`."""
    (entry,) = [entry for entry in appended(actions) if isinstance(entry, e.AttemptEnded)]
    return entry


def signals(actions: list[a.Action]) -> list[tuple[int, int, bool]]:
    return [
        (action.run, action.signal, action.everything) for action in actions if isinstance(action, a.Signal)
    ]


def offers(actions: list[a.Action]) -> list[tuple[int, int]]:
    return [(entry.slot, entry.offer) for entry in appended(actions) if isinstance(entry, e.SlotOffered)]


def exit_(code: int | None, **more: Any) -> a.Ended:
    return a.Ended(exit_code=code, **more)


# --- offers


def test_every_free_slot_is_offered_once() -> None:
    core = make_core(slots=3)
    assert offers(core.offer()) == [(0, 1), (1, 2), (2, 3)]
    assert core.offer() == []
    core.assigned(assignment(7, slot=1, offer=2), 0.0)
    assert core.offer() == []


def test_a_slot_is_offered_again_under_a_new_number_when_its_run_has_ended() -> None:
    core = make_core(slots=2)
    running(core)
    actions = core.exited(0, exit_(0), 5.0)
    assert ending(actions).outcome == "completed"
    assert offers(actions) == [(0, 3)]


@pytest.mark.parametrize(("count", "slots", "taken"), [(1, 2, [1, 0]), (3, 2, [2, 1, 0]), (0, 2, [0])])
def test_count_limits_how_many_runs_an_agent_takes(count: int, slots: int, taken: list[int]) -> None:
    core = make_core(slots=slots, count=count)
    actions = core.offer()
    run = 0
    for expected in taken:
        assert len(core.offers) <= expected
        made = offers(actions)
        for slot, offer in made:
            core.assigned(assignment(run, slot=slot, offer=offer), 0.0)
            core.started(run, started(run), 0.0)
            run += 1
        actions = []
        for number in list(core.attempts):
            actions += core.exited(number, exit_(0), 1.0)
    assert run == count
    assert core.idle
    assert core.draining == f"its {count} runs are done", "nothing keeps it here"


def test_an_assignment_that_is_said_again_starts_nothing() -> None:
    core = make_core(slots=2)
    core.begin(0.0)
    entry = e.RunAssigned(0, 1, "ag", 0, core.offers[0], 0, 0, 5, {})
    assert core.assigned(entry, 0.0) == [a.Start(entry)]
    assert core.assigned(entry, 1.0) == []
    again = e.RunAssigned(0, 2, "ag", 1, core.offers[1], 0, 0, 5, {})
    assert core.assigned(again, 2.0) == [a.Start(again)]


def test_draining_takes_back_what_is_on_offer_and_offers_nothing() -> None:
    core = make_core(slots=2)
    running(core)
    actions = core.drain("no more")
    assert appended(actions) == [e.SlotWithdrawn("ag", 1, 2)]
    assert core.drain("again") == []
    assert core.draining == "no more"
    assert not core.idle
    assert offers(core.exited(0, exit_(0), 1.0)) == []
    assert core.idle


def test_an_assignment_that_crossed_the_withdrawal_is_given_back() -> None:
    core = make_core()
    core.offer()
    core.drain("no more")
    actions = core.assigned(assignment(), 1.0)
    assert (ending(actions).outcome, ending(actions).reason) == (
        "preempted",
        "the agent is leaving: no more",
    )
    assert core.idle


# --- how attempts end

VERDICTS: list[tuple[int | None, str, str, str]] = [
    (0, "completed", "", ""),
    (3, "failed", "exit code 3", "exit"),
    (-9, "failed", "killed by SIGKILL", "signal"),
    (-199, "failed", "killed by signal 199", "signal"),
    (None, "failed", "exit code None", "exit"),
]


@pytest.mark.parametrize(("code", "outcome", "reason", "error_class"), VERDICTS)
def test_verdicts(code: int | None, outcome: str, reason: str, error_class: str) -> None:
    core = make_core()
    running(core)
    ended = ending(core.exited(0, exit_(code, score=0.5, summary={"a": 1}, rows=7, tail="last words"), 100.0))
    assert (ended.outcome, ended.error_class) == (outcome, error_class)
    assert code is None or ended.reason == reason
    assert (ended.exit_code, ended.score, ended.summary, ended.rows) == (code, 0.5, {"a": 1}, 7)
    assert ended.tail == ("last words" if outcome == "failed" else "")


@pytest.mark.parametrize("code", [1, -9, 137])
def test_a_cause_says_more_than_an_exit_code(code: int) -> None:
    core = make_core()
    running(core)
    assert core.failed_by_itself(0, code)
    cause = a.Cause("gpu_memory", "out of GPU memory (CUDA out of memory)")
    ended = ending(core.exited(0, exit_(code, cause=cause), 1.0))
    assert (ended.outcome, ended.error_class, ended.reason) == ("failed", cause.error_class, cause.text)
    assert ended.exit_code == code


def test_what_was_told_to_end_has_no_cause_of_its_own() -> None:
    core = make_core()
    running(core)
    core.ordered(e.RunPruned(0, 1, "ag", "poor"), 1.0)
    assert not core.failed_by_itself(0, -15)
    cause = a.Cause("memory", "out of memory")
    ended = ending(core.exited(0, exit_(-9, cause=cause), 2.0))
    assert (ended.outcome, ended.error_class, ended.reason) == ("pruned", "", "poor")


def test_who_ended_well_or_is_not_here_did_not_fail() -> None:
    core = make_core()
    running(core)
    assert not core.failed_by_itself(0, 0)
    assert not core.failed_by_itself(7, 1)


def test_limits_that_were_revised_hold_for_what_runs() -> None:
    core = make_core()
    running(core)
    assert core.next_wake_s() is None
    core.limits = Limits(run_time_s=5.0, kill_after_s=2.0)
    assert core.next_wake_s() == 5.0
    assert signals(core.tick(5.0)) == [(0, a.TERM, False)]
    assert core.next_wake_s() == 7.0


def test_an_exit_that_nobody_knows_of_is_nothing() -> None:
    assert make_core().exited(5, exit_(0), 1.0) == []


def test_a_start_that_fails_is_a_failure_of_the_run() -> None:
    core = make_core()
    core.offer()
    core.assigned(assignment(), 0.0)
    actions = core.start_failed(0, "no such file: train.py", 1.0)
    ended = ending(actions)
    assert (ended.outcome, ended.reason, ended.error_class) == (
        "failed",
        "no such file: train.py",
        "start",
    )
    assert offers(actions) == [(0, 2)]


def test_a_start_that_fails_after_an_order_ends_as_ordered() -> None:
    core = make_core()
    core.offer()
    core.assigned(assignment(), 0.0)
    assert core.ordered(e.RunCancelled(0, 1, "ag", "no more"), 0.0) == []
    ended = ending(core.start_failed(0, "no such file", 1.0))
    assert (ended.outcome, ended.reason) == ("cancelled", "no more")


# --- orders

ORDERS = [
    (e.RunPruned(0, 1, "ag", "poor"), "pruned"),
    (e.RunPaused(0, 1, "ag", "make room"), "paused"),
    (e.RunCancelled(0, 1, "ag", "no more"), "cancelled"),
]


@pytest.mark.parametrize(("order", "outcome"), ORDERS)
@pytest.mark.parametrize("code", [0, 1, -15])
def test_an_order_is_told_and_signalled_and_decides_the_outcome(
    order: e.RunPruned, outcome: str, code: int
) -> None:
    core = make_core()
    running(core)
    actions = core.ordered(order, 10.0)
    assert actions == [a.TellStop(0, 1, order.reason), a.Signal(0, 1, signal.SIGTERM)]
    assert core.next_wake_s() == 40.0
    ended = ending(core.exited(0, exit_(code), 11.0))
    assert (ended.outcome, ended.reason) == (outcome, order.reason)


def test_only_the_first_order_counts() -> None:
    core = make_core()
    running(core)
    core.ordered(ORDERS[0][0], 1.0)
    assert core.ordered(ORDERS[2][0], 2.0) == []
    assert ending(core.exited(0, exit_(0), 3.0)).outcome == "pruned"


def test_an_order_for_another_attempt_is_nothing() -> None:
    core = make_core()
    running(core)
    assert core.ordered(e.RunPruned(0, 2, "ag", "poor"), 1.0) == []
    assert core.ordered(e.RunPruned(9, 1, "ag", "poor"), 1.0) == []
    assert core.connected(0, 2, True) == []
    assert ending(core.exited(0, exit_(0), 3.0)).outcome == "completed"


def test_an_order_that_comes_before_the_process_waits_for_it() -> None:
    core = make_core()
    core.offer()
    core.assigned(assignment(), 0.0)
    assert core.ordered(ORDERS[2][0], 1.0) == []
    actions = core.started(0, started(), 2.0)
    assert appended(actions) == [started()]
    assert signals(actions) == [(0, signal.SIGTERM, False)]
    assert core.next_wake_s() == 32.0


def test_a_program_that_asked_to_be_told_is_not_signalled_when_pruned() -> None:
    core = make_core()
    running(core)
    assert core.connected(0, 1, True) == []
    assert core.ordered(ORDERS[0][0], 1.0) == [a.TellStop(0, 1, "poor")]
    assert signals(core.tick(31.0)) == [(0, signal.SIGKILL, True)]


def test_a_program_that_asked_to_be_told_is_signalled_when_cancelled() -> None:
    core = make_core()
    running(core)
    core.connected(0, 1, True)
    assert signals(core.ordered(ORDERS[2][0], 1.0)) == [(0, signal.SIGTERM, False)]


def test_a_program_that_connects_after_the_order_is_told_then() -> None:
    core = make_core()
    running(core)
    core.ordered(ORDERS[0][0], 1.0)
    assert core.connected(0, 1, True) == [a.TellStop(0, 1, "poor")]


def test_a_program_that_does_not_listen_is_killed_and_killed_again() -> None:
    core = make_core()
    running(core)
    core.ordered(ORDERS[0][0], 10.0)
    assert core.tick(39.9) == []
    assert signals(core.tick(40.0)) == [(0, signal.SIGKILL, True)]
    assert core.tick(41.0) == []
    assert signals(core.tick(45.0)) == [(0, signal.SIGKILL, True)]


# --- limits


def test_the_time_limit_ends_a_run_as_failed() -> None:
    core = make_core(limits=Limits(run_time_s=100.0))
    core.offer()
    core.assigned(assignment(), 0.0)
    assert core.next_wake_s() is None
    core.started(0, started(), 50.0)
    assert core.next_wake_s() == 150.0
    assert core.tick(149.9) == []
    assert signals(core.tick(150.0)) == [(0, signal.SIGTERM, False)]
    assert core.tick(151.0) == []
    ended = ending(core.exited(0, exit_(0), 152.0))
    assert (ended.outcome, ended.error_class) == ("failed", "run_time")
    assert ended.reason == "limits.run_time: it ran for 100 s"


def test_the_progress_limit_counts_from_the_last_report() -> None:
    core = make_core(limits=Limits(no_progress_s=10.0))
    running(core)
    core.reported(0, 7.0)
    core.reported(3, 9.0)
    assert core.next_wake_s() == 17.0
    assert core.tick(16.9) == []
    assert signals(core.tick(17.0)) == [(0, signal.SIGTERM, False)]
    ended = ending(core.exited(0, exit_(-15), 18.0))
    assert (ended.outcome, ended.error_class) == ("failed", "no_progress")
    assert ended.reason == "limits.no_progress: it logged nothing for 10 s"


def test_a_run_that_is_told_to_end_has_no_other_limit_than_kill_after() -> None:
    core = make_core(limits=Limits(run_time_s=100.0, no_progress_s=10.0, kill_after_s=30.0))
    running(core)
    core.ordered(ORDERS[0][0], 5.0)
    assert core.next_wake_s() == 35.0
    assert core.tick(20.0) == []


# --- the guard, the lease


def test_when_the_guard_dies_its_runs_are_lost_and_the_slots_offered_again() -> None:
    core = make_core(slots=2)
    running(core, 0, slot=0)
    core.assigned(assignment(1, slot=1, offer=2), 0.0)
    actions = core.guard_died()
    ended = [entry for entry in appended(actions) if isinstance(entry, e.AttemptEnded)]
    assert [(entry.run, entry.outcome, entry.reason) for entry in ended] == [
        (0, "lost", "the guard process died"),
        (1, "lost", "the guard process died"),
    ]
    assert offers(actions) == [(0, 3), (1, 4)]
    assert core.exited(0, exit_(-9), 1.0) == []


@pytest.mark.parametrize(("order", "outcome"), ORDERS)
def test_when_the_guard_dies_a_run_that_was_told_to_end_has_ended_so(
    order: e.RunPruned, outcome: str
) -> None:
    core = make_core()
    running(core)
    core.ordered(order, 1.0)
    ended = ending(core.guard_died())
    assert ended.outcome == outcome
    assert ended.reason == order.reason


def test_a_run_that_hit_a_limit_when_the_guard_died_has_failed() -> None:
    core = make_core(limits=Limits(run_time_s=10.0))
    running(core)
    core.tick(10.0)
    ended = ending(core.guard_died())
    assert (ended.outcome, ended.error_class) == ("failed", "run_time")


def test_a_lost_lease_forgets_everything() -> None:
    core = make_core(slots=2)
    running(core)
    assert core.lease_lost("it ran out") == [a.Forget("it ran out")]
    assert core.idle
    assert core.draining == "it ran out"
    assert core.offer() == []
    assert core.exited(0, exit_(0), 1.0) == []


# --- people


def test_ctrl_c_once_lets_runs_finish() -> None:
    core = make_core(slots=2)
    running(core)
    actions = core.interrupt(1.0)
    assert appended(actions) == [e.SlotWithdrawn("ag", 1, 2)]
    assert signals(actions) == []
    assert any("Ctrl-C again ends them" in x.text for x in actions if isinstance(x, a.Say))
    assert ending(core.exited(0, exit_(0), 2.0)).outcome == "completed"


def test_ctrl_c_twice_ends_runs_and_three_times_kills_them() -> None:
    core = make_core()
    running(core)
    core.interrupt(1.0)
    second = core.interrupt(2.0)
    assert signals(second) == [(0, signal.SIGTERM, False)]
    assert any("kills them" in x.text for x in second if isinstance(x, a.Say))
    assert signals(core.interrupt(3.0)) == [(0, signal.SIGKILL, True)]
    ended = ending(core.exited(0, exit_(-9), 4.0))
    assert (ended.outcome, ended.reason) == ("preempted", "ended by Ctrl-C")


def test_ctrl_c_without_runs_says_nothing() -> None:
    core = make_core()
    core.offer()
    assert core.interrupt(1.0) == [a.Append(e.SlotWithdrawn("ag", 0, 1))]
    assert core.interrupt(2.0) == []


def test_a_run_that_was_pruned_stays_pruned_under_ctrl_c() -> None:
    core = make_core()
    running(core)
    core.ordered(ORDERS[0][0], 1.0)
    for now in (2.0, 3.0, 4.0):
        core.interrupt(now)
    assert ending(core.exited(0, exit_(-9), 5.0)).outcome == "pruned"


def test_sigterm_is_passed_on_and_the_runs_go_on_elsewhere() -> None:
    core = make_core(slots=2)
    running(core)
    actions = core.terminate("the agent got SIGTERM", 1.0)
    assert appended(actions) == [e.SlotWithdrawn("ag", 1, 2)]
    assert signals(actions) == [(0, signal.SIGTERM, False)]
    ended = ending(core.exited(0, exit_(-15), 2.0))
    assert (ended.outcome, ended.reason) == ("preempted", "the agent got SIGTERM")


def test_a_run_that_finishes_well_under_sigterm_has_completed() -> None:
    core = make_core()
    running(core)
    core.terminate("the agent got SIGTERM", 1.0)
    assert ending(core.exited(0, exit_(0), 2.0)).outcome == "completed"


# --- giving up


def fail(core: a.AgentCore, run: int, now: float) -> list[a.Action]:
    slot, offer = next(iter(core.offers.items()))
    core.assigned(assignment(run, slot=slot, offer=offer), now)
    core.started(run, started(run), now)
    return core.exited(run, exit_(1), now)


def test_an_agent_whose_first_runs_all_fail_stops() -> None:
    core = make_core()
    core.offer()
    assert offers(fail(core, 0, 1.0))
    assert offers(fail(core, 1, 2.0))
    actions = fail(core, 2, 3.0)
    assert offers(actions) == []
    assert core.broken == "the first 3 runs failed within 60 s (the last: exit code 1)"
    assert core.draining == core.broken
    assert core.idle
    (said,) = [x for x in actions if isinstance(x, a.Say)]
    assert (said.level, said.text) == ("error", f"this agent stops: {core.broken}")


def test_starts_that_fail_count_as_well() -> None:
    core = make_core()
    core.offer()
    for run in range(3):
        core.assigned(assignment(run), 1.0)
        core.start_failed(run, "no such file", 1.0)
    assert "no such file" in core.broken


def test_an_agent_that_had_a_success_or_works_for_long_goes_on() -> None:
    lucky = make_core()
    running(lucky)
    lucky.exited(0, exit_(0), 1.0)
    late = make_core()
    late.offer()
    for run in range(1, 6):
        fail(lucky, run, 2.0)
        fail(late, run, 61.0)
    assert not lucky.broken and not late.broken


def test_a_pruned_run_is_a_success_of_the_node() -> None:
    core = make_core()
    running(core)
    core.ordered(ORDERS[0][0], 1.0)
    core.exited(0, exit_(-15), 1.0)
    for run in range(1, 6):
        fail(core, run, 2.0)
    assert not core.broken


# --- signals that reach the runs before the agent


def hit(number: int) -> tuple[a.AgentCore, list[a.Action]]:
    """A core whose run was ended by a signal that it did not send, and what it makes of that."""
    core = make_core()
    running(core)
    return core, core.exited(0, exit_(-number), 10.0)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_run_that_a_batch_system_has_signalled_is_judged_when_the_agent_has_had_the_time_to_be(
    number: int,
) -> None:
    core, actions = hit(number)
    assert actions == [] and not core.idle
    assert core.next_wake_s() == 11.0
    assert core.tick(10.9) == []
    actions = core.terminate("the agent got SIGTERM", 10.95)
    end = ending(actions)
    assert (end.outcome, end.reason, end.exit_code, end.wall_s) == (
        "preempted",
        "the agent got SIGTERM",
        -number,
        10.0,
    )
    assert signals(actions) == [], "its process is gone"
    assert core.idle


def test_when_no_signal_follows_it_has_failed() -> None:
    core, _ = hit(signal.SIGTERM)
    actions = core.tick(11.0)
    end = ending(actions)
    assert (end.outcome, end.reason, end.error_class) == ("failed", "killed by SIGTERM", "signal")
    assert offers(actions) == [(0, 2)]


def test_what_the_controller_orders_meanwhile_holds() -> None:
    core, _ = hit(signal.SIGTERM)
    end = ending(core.ordered(e.RunPruned(0, 1, "ag", "poor"), 10.5))
    assert (end.outcome, end.reason) == ("pruned", "poor")
    assert core.tick(11.0) == []


def test_ctrl_c_three_times_judges_it_at_once() -> None:
    core, _ = hit(signal.SIGTERM)
    for _ in range(2):
        core.interrupt(10.2)
    assert core.idle


def test_the_guards_death_meanwhile_is_nobodys_fault() -> None:
    core, _ = hit(signal.SIGUSR1)
    assert ending(core.guard_died()).outcome == "lost"
    assert core.tick(11.0) == []


def test_another_signal_is_judged_at_once() -> None:
    _, actions = hit(signal.SIGSEGV)
    assert ending(actions).reason == "killed by SIGSEGV"
