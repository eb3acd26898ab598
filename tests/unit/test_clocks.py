"""Nodes whose clocks are wrong: limits and waits go by the store's."""

from __future__ import annotations

import msgspec

from folded import make_spec
from led import SWEEP, Led
from sweep.agents.clocks import StoreTime
from sweep.agents.session import Session, Timing
from sweep.core import entries as e
from sweep.core.spec import Retry, RetryRule
from test_session import Flaky


def session(led: Led, ahead_s: float, agent: str = "a") -> tuple[Session, Flaky]:
    """An agent whose node's clock is ahead of the store's by so much, and that may lead."""
    led.memory.release(led.driver.lease)
    store = Flaky(led.memory.client())

    def make_driver(lease):  # type: ignore[no-untyped-def]
        led.store = store  # type: ignore[assignment]
        return led.make(lease)

    found = Session(
        store,
        SWEEP,
        agent,
        make_driver,
        timing=Timing(),
        unix_s=lambda: led.now + ahead_s,  # type: ignore[arg-type]
    )
    found.join(e.AgentJoined(agent, "h", 1, 1))
    found.add(e.SlotOffered(agent, 0, 1))
    return found, store


def test_the_nodes_own_clock_is_believed_until_an_entry_tells() -> None:
    time = StoreTime(lambda: 100.0)
    assert (time.now_s(), time.known) == (100.0, False)
    time.saw(70.0)
    assert (time.now_s(), time.known) == (70.0, True)
    time.saw(100.25)
    assert time.now_s() == 100.25


def test_a_leader_whose_clock_is_ahead_does_not_end_a_sweep_early() -> None:
    led = Led(make_spec(run_cap=3, wall_time_s=600.0))
    agent, _ = session(led, ahead_s=3600.0)
    agent.commit()
    assert agent.phase == "active"
    assert [type(r.entry) for r in led.memory.read(SWEEP, 0)].count(e.RunAssigned) == 1
    assert agent.driver is not None and agent.driver.wake_at_s == led.now + 600
    led.now += 599
    agent.commit()
    assert led.of(e.SweepEnded) == []
    led.now += 1
    agent.commit()
    assert [entry.reason for entry in led.of(e.SweepEnded)] == ["limits.wall_time (600 s) is over"]


def test_nor_does_one_whose_clock_is_behind_end_it_late() -> None:
    led = Led(make_spec(run_cap=3, wall_time_s=600.0))
    agent, _ = session(led, ahead_s=-3600.0)
    agent.commit()
    led.now += 600
    agent.commit()
    assert led.of(e.SweepEnded)


def test_when_the_answer_was_lost_the_entry_itself_tells() -> None:
    led = Led(make_spec(run_cap=3, wall_time_s=600.0))
    agent, store = session(led, ahead_s=3600.0)
    store.lose = "append"
    try:
        agent.commit()
    except Exception as error:
        assert "was lost" in str(error)
    else:
        raise AssertionError("the first commit must fail")
    led.now += 5
    agent.commit()
    assert abs(agent.time.now_s() - led.now) <= 5
    assert agent.phase == "active" and led.of(e.RunAssigned)


def test_it_is_never_earlier_than_the_last_entry() -> None:
    """A run that is to wait 30 s is assigned when the journal says that they are over, whatever the leader's clock says."""
    rules = {"exit": RetryRule(wait_s=30.0)}
    led = Led(msgspec.structs.replace(make_spec(run_cap=1), retry=Retry(max=3, rules=rules)))  # type: ignore[arg-type]
    led.join("a")
    led.step()
    led.outside(
        e.RunStarted(0, 1, "a", 5, "h", 0),
        e.AttemptEnded(0, 1, "a", "failed", "x"),
        e.SlotOffered("a", 0, 2),
        writer="a",
    )
    led.step()
    assert len(led.of(e.RunAssigned)) == 1
    led.now += 31
    led.outside(e.AgentJoined("b", "h2", 1, 1), writer="b")
    with led.store.batch():
        led.driver.step(0.0)
    assert len(led.of(e.RunAssigned)) == 2
