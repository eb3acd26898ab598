"""An agent's dealings with the store, and what is left of them when the store fails in between."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from folded import make_spec
from led import SWEEP, Led
from sweep.agents.session import LeaseLost, Session, Timing, carry_orders
from sweep.core import agent as a
from sweep.core import entries as e
from sweep.core.names import agent_lease, controller_lease
from sweep.core.spec import Limits
from sweep.stores import Heard, Told
from sweep.stores.base import HistoryChunk, StoreError
from sweep.stores.memory import MemoryStore


class Flaky:
    """A store of which single calls fail, before or after they have had their effect."""

    def __init__(self, inner: MemoryStore) -> None:
        self._inner = inner
        self.fail: str = ""
        self.lose: str = ""

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._inner, name)
        if name == "batch" or not callable(method):
            return method

        def call(*args: Any, **more: Any) -> Any:
            if self.fail == name:
                self.fail = ""
                raise StoreError(f"{name} failed")
            result = method(*args, **more)
            if self.lose == name:
                self.lose = ""
                raise StoreError(f"the answer of {name} was lost")
            return result

        return call


class World:
    """A sweep, and sessions on it."""

    def __init__(self, **spec: Any) -> None:
        self.led = Led(make_spec(**spec))
        self.led.memory.release(self.led.driver.lease)
        self.stores: dict[str, Flaky] = {}

    def session(self, agent: str = "a", leads: bool = True, join: bool = True) -> Session:
        led = self.led
        store: Any = Flaky(led.memory.client())
        self.stores[agent] = store

        def make_driver(lease: Any) -> Any:
            led.store = store
            return led.make(lease)

        session = Session(
            store,
            SWEEP,
            agent,
            make_driver if leads else None,
            timing=Timing(),
            unix_s=lambda: led.now,
        )
        if join:
            session.join(e.AgentJoined(agent, "h", 1, 1))
            session.add(e.SlotOffered(agent, 0, 1))
        return session


def test_joining_offering_leading_and_the_first_assignment_are_one_commit() -> None:
    world = World(run_cap=2)
    session = world.session()
    (order,) = session.commit()
    assert session.leads
    assert isinstance(order, e.RunAssigned) and order.run == 0
    assert session.commit() == []
    assert not session.behind()
    assert session.phase == "active"


def test_two_sessions_share_a_sweep_and_one_leads() -> None:
    world = World(run_cap=4)
    first, second = world.session("a"), world.session("b")
    first.commit()
    assert second.commit() == []
    assert (first.leads, second.leads) == (True, False)
    assert first.behind()
    first.commit()
    (order,) = second.commit()
    assert isinstance(order, e.RunAssigned) and order.agent == "b"


def test_an_agent_that_never_leads_does_not_try() -> None:
    world = World()
    session = world.session(leads=False)
    session.commit()
    assert not session.leads
    assert world.led.memory.leases(controller_lease(SWEEP)) == []


def test_a_second_agent_of_that_name_cannot_join() -> None:
    world = World()
    world.session("a")
    with pytest.raises(StoreError, match="an agent called a is already at work"):
        world.session("a")


@pytest.mark.parametrize("failing", ["append", "append_history", "read", "position", "leases"])
@pytest.mark.parametrize("how", ["fail", "lose"])
def test_whatever_fails_in_a_commit_the_next_one_does_it_all_and_nothing_twice(
    failing: str, how: str
) -> None:
    world = World(run_cap=2)
    session = world.session()
    store = world.stores["a"]
    session.commit()
    world.led.join("b", slots=0)  # its lease has to be looked at
    session.add(e.RunStarted(0, 1, "a", 7, "h", 0))
    session.add(e.ObjectiveReported(0, 1, 0, (0.0,), (0.5,)))
    session.add(e.AttemptEnded(0, 1, "a", "completed", score=0.5))
    session.add(e.SlotOffered("a", 0, 2))
    rows = [HistoryChunk(0, 1, 0, 1, b'{"loss": 0.5}')]
    setattr(store, how, failing)
    orders: list[e.AnyEntry] = []
    for _ in range(3):
        try:
            orders += session.commit(rows)
        except StoreError:
            continue
    assert (store.fail, store.lose) == ("", "")
    assert [order.run for order in orders if isinstance(order, e.RunAssigned)] == [1]
    assert len(world.led.of(e.AttemptEnded)) == 1
    assert len(world.led.of(e.RunAssigned)) == 2
    assert len(world.led.memory.read_history(SWEEP, 0)) == 1
    world.led.check_index()


@pytest.mark.parametrize("failing", ["read", "read_index"])
def test_an_order_is_not_missed_when_reading_it_failed(failing: str) -> None:
    world = World(run_cap=1)
    leader, worker = world.session("a"), world.session("b", leads=False, join=False)
    worker.join(e.AgentJoined("b", "h", 1, 1))
    worker.add(e.SlotOffered("b", 0, 1))
    worker.commit()
    leader.add(e.SlotWithdrawn("a", 0, 1))
    leader.commit()
    world.stores["b"].fail = failing
    with pytest.raises(StoreError):
        worker.commit()
    assert [type(order) for order in worker.commit()] == [e.RunAssigned]


def test_leases_are_renewed_three_times_within_their_life() -> None:
    world = World()
    session, led = world.session(), world.led
    session.commit()
    assert session.beat() is None
    for _ in range(20):
        led.now += 3.4
        assert session.beat() == pytest.approx(led.now + 10)
        assert session.beat() is None
    assert session.leads
    assert {lease.name for lease in led.memory.leases("")} == {agent_lease("a"), controller_lease(SWEEP)}


def test_a_lease_that_ran_out_is_lost_for_good() -> None:
    world = World()
    session = world.session()
    session.commit()
    world.led.now += 10.1
    with pytest.raises(LeaseLost, match="frozen or cut off"):
        session.beat()
    session.drop()
    assert not session.leads
    assert not session.pending


def test_dropping_never_fails_and_gives_the_lead_away() -> None:
    world = World()
    session = world.session()
    session.commit()
    session.add(e.AgentLeft("a"))
    session.drop()
    assert world.led.memory.leases(controller_lease(SWEEP)) == []
    other = world.session("b")
    other.commit()
    world.stores["b"].fail = "release"
    other.drop()
    assert not other.leads


def test_who_lost_the_lead_writes_its_own_facts_all_the_same() -> None:
    world = World(run_cap=1)
    first = world.session("a")
    first.commit()
    first.beat()
    lead = first.driver
    assert lead is not None
    world.led.memory.release(lead.lease)
    world.led.now += 2
    second = world.session("b")
    second.commit()
    assert second.leads
    first.add(e.RunStarted(0, 1, "a", 7, "h", 0))
    first.commit()
    assert not first.leads
    assert len(world.led.of(e.RunStarted)) == 1


def test_a_lost_lead_is_noticed_by_the_heartbeat() -> None:
    world = World()
    session = world.session()
    session.commit()
    assert session.driver is not None
    world.led.memory.release(session.driver.lease)
    world.led.now += 4
    session.beat()
    assert not session.leads


def test_the_lead_is_taken_over_when_the_leader_is_gone() -> None:
    world = World(run_cap=1)
    first, second = world.session("a"), world.session("b")
    first.commit()
    second.commit()
    world.led.now += 8
    second.beat()
    world.led.now += 3
    (order,) = second.commit()
    assert second.leads
    assert isinstance(order, e.RunAssigned) and (order.attempt, order.agent) == (2, "b")
    assert world.led.of(e.AgentLost) == [e.AgentLost("a")]


def test_leaving_gives_everything_back() -> None:
    world = World(run_cap=1)
    session = world.session()
    session.commit()
    session.leave("done")
    assert world.led.of(e.AgentLeft) == [e.AgentLeft("a", "done")]
    assert world.led.memory.leases("") == []
    assert world.led.of(e.AttemptEnded)[0].outcome == "lost", "a run it left behind goes again"


def test_the_phase_follows_the_sweep() -> None:
    world = World(run_cap=1)
    session = world.session()
    session.commit()
    world.led.outside(e.PauseRequested("ann"))
    session.commit()
    assert (session.phase, session.reason) == ("paused", "paused by ann")


def test_a_revised_spec_is_told_once() -> None:
    world = World(run_cap=1)
    session = world.session()
    assert session.revised() is None, "nothing is known yet"
    session.commit()
    assert session.revised() == make_spec(run_cap=1)
    assert session.revised() is None
    world.led.outside(e.ExtendRequested(5))
    session.commit()
    world.stores["a"].fail = "read_index"
    with pytest.raises(StoreError):
        session.revised()
    assert session.revised() == make_spec(run_cap=5)
    assert session.revised() is None


def test_a_phase_that_the_listing_does_not_show_yet_is_looked_for_again() -> None:
    world = World(run_cap=1)
    worker = world.session("b", leads=False)
    worker.commit()
    leader = world.session("a")
    leader.commit()
    worker.commit()
    world.led.outside(e.PauseRequested("ann"))
    worker.commit()  # before the leader has seen it
    assert worker.phase == "active"
    leader.commit()
    assert worker.behind()
    worker.commit()
    assert worker.phase == "paused"
    assert not worker.behind()


def ended() -> World:
    """A sweep that has ended; its leader, `a`, still holds the lease."""
    world = World(run_cap=1)
    leader = world.session("a")
    leader.commit()
    world.led.outside(e.StopRequested())
    leader.add(e.AttemptEnded(0, 1, "a", "preempted"))
    leader.commit()
    assert leader.phase == "ended"
    return world


def test_a_sweep_that_was_asked_to_go_on_has_not_ended_for_who_joins_then() -> None:
    world = ended()
    world.led.outside(
        e.ResumeRequested()
    )  # the leader is killed before it sees this; its lease is still held
    late = world.session("b")
    late.commit()
    assert not late.leads
    assert late.phase == "active"
    world.led.now += 11
    with pytest.raises(LeaseLost):
        late.beat()
    later = world.session("c")
    later.commit()
    assert (later.leads, later.phase) == (True, "active")


CARRIED: list[tuple[e.AnyEntry, Callable[[list[a.Action]], bool]]] = [
    (e.RunAssigned(1, 1, "a", 1, 2, 1, 0, 5, {}), lambda made: isinstance(made[0], a.Start)),
    (e.RunPruned(0, 1, "a", "poor"), lambda made: a.TellStop(0, 1, "poor") in made),
    (e.RunCancelled(0, 1, "a", "no more"), lambda made: a.TellStop(0, 1, "no more") in made),
    (e.SweepEnded("done"), lambda made: made == []),
]


@pytest.mark.parametrize(("entry", "check"), CARRIED)
def test_orders_are_carried_to_the_core(entry: e.AnyEntry, check: Callable[[list[a.Action]], bool]) -> None:
    core = a.AgentCore("a", 2, Limits(), 0.0)
    core.offer()
    core.assigned(e.RunAssigned(0, 1, "a", 0, 1, 0, 0, 5, {}), 0.0)
    core.started(0, e.RunStarted(0, 1, "a", 7, "h", 0), 0.0)
    assert check(carry_orders(core, [entry], 1.0))


# --- what a store tells ------------------------------------------------------------------------------------------


class Counting:
    """A store that counts what it is asked."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.asked: list[str] = []

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if name in ("read", "read_index", "position"):
            self.asked.append(name)
        return found


def told(journal: list[e.Recorded], agent: str, before: int = 0) -> list[Told]:
    """What a store would have told of the orders in `journal`, one by one."""
    orders: list[Told] = []
    for recorded in journal:
        if recorded.addressee == agent:
            orders.append(Told(before, recorded.position, recorded.based_on or 0, (recorded,)))
            before = recorded.position
    return orders


def test_orders_that_were_told_need_not_be_looked_for() -> None:
    world = World(run_cap=4)
    leader, worker = world.session("a"), world.session("b")
    leader.commit()
    worker.commit()
    leader.commit()
    orders = told(world.led.memory.read(SWEEP, 0), "b")
    assert len(orders) == 1
    worker.store = counting = Counting(worker.store)  # type: ignore[assignment]
    (order,) = worker.commit(heard=Heard(orders=orders))
    assert isinstance(order, e.RunAssigned) and order.agent == "b"
    assert counting.asked == []
    assert worker.settled, "the controller had seen what this agent wrote"
    assert worker.commit(heard=Heard(orders=orders)) == [], "told again"
    assert worker.commit() == [], "nor does a look give it once more"


def test_who_misses_an_order_looks() -> None:
    world = World(run_cap=4)
    leader, worker = world.session("a"), world.session("b")
    leader.commit()
    worker.commit()
    leader.commit()
    [first] = told(world.led.memory.read(SWEEP, 0), "b")
    worker.add(e.SlotOffered("b", 1, 2))
    assert worker.commit(heard=Heard()) == [], "it will be told"
    leader.commit()
    *_, second = told(world.led.memory.read(SWEEP, 0), "b")
    assert second.before == first.position
    orders = worker.commit(heard=Heard(orders=[second]))
    assert [order.run for order in orders if isinstance(order, e.RunAssigned)] == [1, 2]


def test_a_controller_folds_what_it_was_told_and_reads_only_what_is_missing() -> None:
    world = World(run_cap=4)
    leader, worker = world.session("a"), world.session("b")
    leader.commit()
    known = world.led.memory.position(SWEEP)
    worker.commit()
    journal = world.led.memory.read(SWEEP, known)
    assert leader.driver is not None
    reading = Counting(leader.store)
    leader.store = leader.driver.store = reading  # type: ignore[assignment,attr-defined]
    leader.commit(heard=Heard(events=journal))
    assert reading.asked == []
    assert len(worker.commit()) == 1, "it has decided on them"
    worker.add(e.SlotOffered("b", 1, 2))
    worker.add(e.SlotWithdrawn("b", 1, 2))
    worker.commit()
    last = world.led.memory.read(SWEEP, world.led.memory.position(SWEEP) - 1)
    leader.commit(heard=Heard(events=last))
    assert "read" in reading.asked
    assert not leader.behind()


def test_late_words_of_agents_do_not_hide_that_the_sweep_has_ended() -> None:
    """Nobody takes them into the listing: the controller has gone."""
    world = ended()
    late = world.session("b", leads=False)  # it joins, and offers a slot
    late.commit()
    assert late.phase == "ended"
    world.led.outside(e.ResumeRequested())
    later = world.session("c", leads=False)
    later.commit()
    assert later.phase == "active"
