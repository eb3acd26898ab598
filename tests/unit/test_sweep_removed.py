"""An agent whose sweep is removed under it (it was frozen, say) stops; it never brings a piece of the sweep back."""

from __future__ import annotations

import pytest

from folded import make_spec
from led import SWEEP, Led
from sweep.agents.session import Session, Timing
from sweep.controller import settle
from sweep.core import entries as e
from sweep.stores import HistoryChunk, SweepRemoved, digest_of


def session(led: Led) -> Session:
    return Session(led.memory.client(), SWEEP, "a", None, timing=Timing(600.0, 600.0), unix_s=lambda: led.now)


def joined() -> e.AgentJoined:
    return e.AgentJoined("a", "h", 1, 1)


def test_a_removed_sweep_cannot_be_joined() -> None:
    led = Led(make_spec())
    led.memory.delete_sweep(SWEEP)
    with pytest.raises(SweepRemoved, match="s1 has been removed"):
        session(led).join(joined())
    assert led.memory.sweeps() == []


@pytest.mark.parametrize("imported", [False, True])
@pytest.mark.parametrize("history", [False, True])
def test_whoever_worked_on_it_stops_without_a_trace(history: bool, imported: bool) -> None:
    led = Led(make_spec())
    led.outside(e.PauseRequested())
    mine = session(led)
    mine.join(joined())
    mine.commit()
    led.memory.delete_sweep(SWEEP)
    if imported:  # a sweep of that name again: not the one that was joined
        led.memory.append(SWEEP, [e.SweepCreated(SWEEP, {})], writer="import", first_seq=1)
    rows = [HistoryChunk(0, 1, 0, 1, b"{}")] if history else []
    if not history:
        mine.add(e.SlotOffered("a", 0, 1))
    with pytest.raises(SweepRemoved):
        mine.commit(rows)
    assert led.memory.position(SWEEP) == int(imported)
    assert led.memory.read_history(SWEEP, 0) == []


def test_a_controller_that_settles_a_removed_sweep_does_nothing() -> None:
    led = Led(make_spec())
    led.memory.release(led.driver.lease)
    led.memory.delete_sweep(SWEEP)
    settle(led.memory, SWEEP)
    assert (led.memory.sweeps(), led.memory.leases("")) == ([], [])


def test_blobs_stand_in_the_store_exactly_with_the_entry_that_names_them() -> None:
    led = Led(make_spec())
    mine = session(led)
    mine.blobs = [b"packages"]
    mine.join(joined())
    assert led.memory.blobs() == {}
    mine.commit()
    assert led.memory.blobs().keys() == {digest_of(b"packages")}
    assert mine.blobs == []
