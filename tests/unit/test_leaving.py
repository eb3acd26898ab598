"""An agent that knows its end: which times are understood, what it still offers, and what it ends when."""

from __future__ import annotations

import datetime
import signal

import pytest

from sweep.agents.leaving import BadTime, announcement, clock_text, leave_at, read_time, until
from sweep.core import agent as a
from sweep.core import entries as e
from sweep.core.spec import Limits
from sweep.core.until import Until
from test_agent_core import appended, assignment, ending, offers, signals, started

NOW = datetime.datetime(2026, 3, 1, 16, 0, 30).timestamp()


def at(*when: int) -> float:
    return datetime.datetime(*when).timestamp()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90m", NOW + 5400),
        ("1h30m", NOW + 5400),
        ("1d", NOW + 86400),
        ("45s", NOW + 45),
        ("0.5h", NOW + 1800),
        ("2H", NOW + 7200),
        ("17:30", at(2026, 3, 1, 17, 30)),
        ("9:05", at(2026, 3, 2, 9, 5)),
        ("16:00", at(2026, 3, 2, 16, 0)),
        (" 2026-03-01T17:30 ", at(2026, 3, 1, 17, 30)),
        ("2026-03-02 08:00", at(2026, 3, 2, 8, 0)),
    ],
)
def test_times_and_durations(text: str, expected: float) -> None:
    assert read_time(text, NOW) == expected


def test_a_time_with_a_zone_is_that_zones() -> None:
    assert read_time("2100-01-01T00:00:00+00:00", NOW) == 4102444800.0


@pytest.mark.parametrize("text", ["", "soon", "25:00", "17:75", "90", "-5m", "m", "9" * 400 + "h30"])
def test_what_is_no_time_is_refused_with_examples(text: str) -> None:
    with pytest.raises(
        BadTime, match=r"must be a time \(17:30, .*\) or how long from now \(90m, 1h30m\), not "
    ):
        read_time(text, NOW)


def test_a_time_that_has_passed_is_refused() -> None:
    with pytest.raises(BadTime, match="--until 2026-03-01T15:00 has passed already"):
        read_time("2026-03-01T15:00", NOW)


@pytest.mark.parametrize(
    ("text", "job", "expected"),
    [
        (None, None, None),
        (None, str(int(NOW) + 600), int(NOW) + 600),
        ("5m", str(int(NOW) + 600), NOW + 300),
        ("15m", str(int(NOW) + 600), int(NOW) + 600),
        (None, str(int(NOW) - 5), None),
        (None, "Unknown", None),
        (None, "nan", None),
        (None, "inf", None),
        ("15m", "", NOW + 900),
    ],
)
def test_the_earlier_of_what_a_person_and_slurm_say_counts(
    text: str | None, job: str | None, expected: float | None
) -> None:
    environ = {} if job is None else {"SLURM_JOB_END_TIME": job}
    assert leave_at(text, environ, NOW) == expected


def test_a_time_is_named_as_a_person_would() -> None:
    assert clock_text(at(2026, 3, 1, 17, 30), NOW) == "17:30"
    assert clock_text(at(2026, 3, 2, 7, 5), NOW) == "2026-03-02 07:05"
    assert until(None, NOW, 5.0) is None
    assert until(NOW + 60, NOW, 5.0) == Until(65.0, "16:01")


def test_the_person_is_told_at_the_start_what_will_happen() -> None:
    leaving = until(at(2026, 3, 1, 17, 30), NOW, 0.0)
    assert leaving is not None
    limits = Limits(kill_after_s=58)
    assert announcement(leaving, limits, 0.0, NOW) == (
        "this agent leaves at 17:30; what runs at 17:29 is ended, and starts again elsewhere"
    )
    limits = Limits(kill_after_s=58, run_time_s=3600)
    assert announcement(leaving, limits, 0.0, NOW) == (
        "this agent leaves at 17:30; no run starts after 16:29 (limits.run_time)"
    )


# --- what the agent decides by it

UNTIL = Until(100.0, "17:30")
LIMITED = Limits(run_time_s=30.0, kill_after_s=8.0)
UNLIMITED = Limits(kill_after_s=8.0)


def core(limits: Limits, slots: int = 1) -> a.AgentCore:
    return a.AgentCore("ag", slots, limits, 0.0, until=UNTIL)


def said(actions: list[a.Action]) -> list[str]:
    return [action.text for action in actions if isinstance(action, a.Say)]


def test_slots_are_offered_while_a_run_can_end_in_time() -> None:
    agent = core(LIMITED)
    assert offers(agent.begin(0.0)) == [(0, 1)]
    assert agent.next_wake_s() == 60.0
    assert agent.tick(59.9) == []
    actions = agent.tick(60.0)
    assert appended(actions) == [e.SlotWithdrawn("ag", 0, 1)]
    assert said(actions) == ["leaving at 17:30: no run could be sure to end before (limits.run_time is 30 s)"]
    assert agent.draining == said(actions)[0]
    assert agent.idle and agent.next_wake_s() is None and agent.tick(61.0) == []


def test_an_agent_that_comes_too_late_offers_nothing() -> None:
    agent = core(LIMITED, slots=2)
    actions = agent.begin(70.0)
    assert appended(actions) == []
    assert agent.draining.startswith("leaving at 17:30") and agent.idle


def test_what_runs_may_end_by_itself_and_its_slot_is_not_offered_again() -> None:
    agent = core(LIMITED)
    agent.begin(0.0)
    agent.assigned(assignment(), 50.0)
    agent.started(0, started(), 50.0)
    assert offers(agent.tick(60.0)) == []
    assert agent.draining and not agent.idle
    actions = agent.exited(0, a.Ended(exit_code=0), 70.0)
    assert ending(actions).outcome == "completed"
    assert offers(actions) == []
    assert agent.idle


def test_what_still_runs_near_the_end_is_preempted() -> None:
    agent = core(UNLIMITED, slots=2)
    agent.begin(0.0)
    agent.assigned(assignment(0, slot=0, offer=1), 1.0)
    agent.started(0, started(0), 1.0)
    assert agent.next_wake_s() == 90.0
    assert agent.tick(89.0) == []
    actions = agent.tick(90.0)
    assert signals(actions) == [(0, signal.SIGTERM, False)]
    assert appended(actions) == [e.SlotWithdrawn("ag", 1, 2)]
    assert agent.next_wake_s() == 98.0
    assert agent.tick(91.0) == []
    assert signals(agent.tick(98.0)) == [(0, signal.SIGKILL, True)]
    end = ending(agent.exited(0, a.Ended(exit_code=-9), 98.1))
    assert (end.outcome, end.reason) == ("preempted", "the agent leaves at 17:30")


def test_a_run_that_is_being_started_when_time_is_up_is_ended_as_soon_as_it_exists() -> None:
    agent = core(UNLIMITED)
    agent.begin(0.0)
    agent.assigned(assignment(), 89.0)
    assert signals(agent.tick(90.0)) == []
    assert signals(agent.started(0, started(), 90.5)) == [(0, signal.SIGTERM, False)]


def test_a_limit_that_a_revision_brings_counts_from_then_on() -> None:
    agent = core(UNLIMITED)
    agent.begin(0.0)
    agent.limits = LIMITED
    assert agent.tick(59.0) == []
    assert agent.tick(65.0) != []


def test_an_order_that_came_before_stands() -> None:
    agent = core(UNLIMITED)
    agent.begin(0.0)
    agent.assigned(assignment(), 1.0)
    agent.started(0, started(), 1.0)
    agent.ordered(e.RunPruned(0, 1, "ag", "poor"), 89.0)
    agent.tick(90.0)
    assert ending(agent.exited(0, a.Ended(exit_code=-15), 91.0)).outcome == "pruned"
