"""What an agent makes of odd surroundings, piece by piece: a store without room, leases meanwhile, summaries of any size."""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from folded import make_spec
from led import SWEEP, Led
from sweep.agents import inbox as inbox_module
from sweep.agents.inbox import MAX_TEXT, RunInbox
from sweep.agents.leftovers import Leftovers
from sweep.agents.local import LocalRuns, is_full
from sweep.agents.session import LeaseLost, Session, Timing
from sweep.core import entries as e
from sweep.core.names import agent_lease
from sweep.stores._holder import holder_of
from sweep.stores.base import StoreError, StoreFull


class FullStore:
    """A store that has no room for anything as long as `full` is set. Reading works."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.full = False

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._inner, name)
        if name not in ("append", "append_history", "acquire", "renew", "release", "write_index", "put_blob"):
            return method

        def call(*args: Any, **more: Any) -> Any:
            if self.full:
                raise StoreFull("the disk of the store is full; free some space")
            return method(*args, **more)

        return call

    @contextmanager
    def batch(self) -> Iterator[None]:
        with self._inner.batch():
            yield


class World:
    def __init__(self) -> None:
        self.led = Led(make_spec(run_cap=4))
        self.led.memory.release(self.led.driver.lease)
        self.slept_s = 0.0

    def session(self, agent: str) -> tuple[Session, FullStore]:
        store: Any = FullStore(self.led.memory.client())

        def make_driver(lease: Any) -> Any:
            self.led.store = store
            return self.led.make(lease)

        session = Session(
            store, SWEEP, agent, make_driver, timing=Timing(), unix_s=lambda: self.led.now + self.slept_s
        )
        session.join(e.AgentJoined(agent, "h", 1, 1))
        session.add(e.SlotOffered(agent, 0, 1))
        return session, store

    def kinds(self) -> list[str]:
        return [type(recorded.entry).__name__ for recorded in self.led.store.read(SWEEP, 0)]


def test_a_lease_that_ran_out_while_the_store_was_full_is_taken_anew() -> None:
    world = World()
    session, store = world.session("a")
    assert [type(order) for order in session.commit()] == [e.RunAssigned]
    store.full = True
    session.add(e.SlotOffered("a", 0, 2))
    for _ in range(5):
        world.led.now += 10.0
        with pytest.raises(StoreFull):
            session.beat()
        with pytest.raises(StoreFull):
            session.commit()
    store.full = False
    assert session.beat() == pytest.approx(store.clock() + Timing().agent_ttl_s)
    session.commit()
    world.led.now += 2.5
    session.commit()  # leads again by now, and finds itself alive
    assert session.leads
    assert "AgentLost" not in world.kinds()
    assert world.kinds().count("AgentJoined") == 1


def test_two_agents_come_back_together_and_neither_counts_the_other_as_lost() -> None:
    world = World()
    sessions = [world.session("a"), world.session("b")]
    for session, _ in sessions:
        session.commit()
    for _, store in sessions:
        store.full = True
    for _ in range(3):
        world.led.now += 10.0
        for session, _ in sessions:
            with pytest.raises(StoreFull):
                session.beat()
    for session, store in sessions:
        store.full = False
        assert session.beat() is not None
        session.commit()
        world.led.now += 1.0
    world.led.now += 2.0
    for session, _ in sessions:
        session.commit()
    assert "AgentLost" not in world.kinds()


def test_who_was_counted_as_lost_meanwhile_stays_lost() -> None:
    world = World()
    (first, full), (second, _) = world.session("a"), world.session("b")
    first.commit()
    second.commit()
    full.full = True
    for _ in range(8):
        world.led.now += 4.0
        with pytest.raises(StoreFull):
            first.beat()
        second.beat()
        second.commit()
    assert "AgentLost" in world.kinds()
    full.full = False
    with pytest.raises(LeaseLost):
        first.beat()


def test_a_lease_that_ran_out_for_another_reason_is_lost() -> None:
    world = World()
    session, _ = world.session("a")
    session.commit()
    world.led.now += 60.0
    with pytest.raises(LeaseLost):
        session.beat()


def test_a_suspended_machine_loses_no_lease() -> None:
    """The lease's clock stands still while the calendar goes on: nothing has happened."""
    world = World()
    session, _ = world.session("a")
    session.commit()
    world.slept_s = 3600.0
    assert session.beat() is None
    session.commit()
    assert "AgentLost" not in world.kinds()


def test_an_agent_without_a_lease_judges_nobody() -> None:
    """While a store is full every lease runs out: nobody's processes are leftovers for that."""
    world = World()
    (ada, store), (_, _) = world.session("a"), world.session("b")
    ada.commit()

    def gone(agent: str) -> set[str]:
        looking: Any = Leftovers(store, SWEEP, agent, 1.0, view=None)  # type: ignore[arg-type]
        looking._host = "h"
        return looking._gone()

    assert gone("a") == set()
    world.led.now += 60.0
    assert store.leases("agent/") == []
    assert gone("a") == set()
    assert store.acquire(agent_lease("c"), "c", 10.0) is not None
    assert gone("c") == {"a"}


# --- attempts that wait for room -------------------------------------------------------------------------------


def test_what_counts_as_a_full_disk() -> None:
    assert is_full(OSError(errno.ENOSPC, "x")) and is_full(OSError(errno.EDQUOT, "x"))
    assert not is_full(OSError(errno.EACCES, "x")) and not is_full(StoreError("x"))


def test_postponed_attempts_come_back_together_after_their_pause() -> None:
    local = LocalRuns(make_spec(), {}.__setitem__)
    one = e.RunAssigned(0, 1, "a", 0, 1, 0, 1, 1, {})
    two = msgspec.structs.replace(one, run=1)
    assert local.postpone(one, 101.0)
    assert not local.postpone(two, 101.0), "said once"
    assert local.due(100.5) == []
    assert local.due(101.0) == [one, two]
    assert local.due(101.0) == []
    assert not local.postpone(one, 102.0), "still the same trouble"
    assert local.due(None) == [one]
    assert local.postpone(one, 200.0), "again, much later"


# --- summaries -------------------------------------------------------------------------------------------------


def said(**line: Any) -> bytes:
    return json.dumps(line).encode()


def test_long_values_are_cut_in_the_summary_only() -> None:
    box = RunInbox(0, 1, None)
    rows = [
        said(i=0, x={"text": "x" * 10_000, "short": "y", "list": list(range(5000)), "map": {"a": [1, 2]}}),
        said(op="summary", x={"verdict": "z" * 5000}),
    ]
    for row in rows:
        assert box.feed(row)
    summary = box.summary()
    assert summary["text"] == "x" * MAX_TEXT + "… (10,000 characters)"
    assert summary["verdict"] == "z" * MAX_TEXT + "… (5,000 characters)"
    assert summary["list"] == "(a list of 5,000 items, 23,891 bytes: too large for the summary)"
    assert (summary["short"], summary["map"]) == ("y", {"a": [1, 2]})
    assert json.loads(box.take().data)["x"]["text"] == "x" * 10_000


def test_the_summary_keeps_the_first_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inbox_module, "MAX_NAMES", 3)
    box = RunInbox(0, 1, "loss")
    box.feed(said(i=0, m={"loss": 1.0, "a": 1, "b": 1, "c": 1}))
    box.feed(said(i=1, m={"d": 1, "a": 2}))
    assert box.summary() == {"loss": 1.0, "a": 2, "b": 1}
    assert box.doubts() == {
        "crowded": "logged more than 3 different names; its summary keeps the first ones, history all"
    }
    assert box.take().count == 2


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([], "has not logged loss, the metric that is optimised; it logged nothing"),
        ([{"los": 1, "acc": 2}], "has not logged loss, the metric that is optimised; it logged acc, los"),
        ([{"loss": "nan"}], "has logged loss, but no finite value of it"),
        ([{f"k{i}": i for i in range(20)}], "it logged k0, k1, k10, k11, k12, k13, k14, k15 and 12 more"),
        ([{"loss": "nan"}, {"loss": 2.0}], None),
    ],
)
def test_doubts_about_the_metric(rows: list[dict[str, Any]], expected: str | None) -> None:
    box = RunInbox(0, 1, "loss")
    for number, row in enumerate(rows):
        assert box.feed(said(i=number, m=row))
    found = list(box.doubts().values())
    assert (found == []) if expected is None else (len(found) == 1 and found[0].endswith(expected))
    assert RunInbox(0, 1, None).doubts() == {}


# --- who holds the store ---------------------------------------------------------------------------------------


def test_nobody_is_named_where_nobody_holds_it(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    assert holder_of(path) == "another process has been writing to it all this time"
    Path(f"{path}-shm").write_bytes(b"")
    assert holder_of(path) == "another process has been writing to it all this time"
