"""What is the memory store's own: handles that share, clocks that are given, batches in one thread."""

from __future__ import annotations

import pytest

from sweep.core import entries as e
from sweep.stores import StoreError
from sweep.stores.memory import MemoryStore

PAUSE = e.PauseRequested()


def test_handles_share_and_stores_do_not() -> None:
    store = MemoryStore()
    store.client().append("s", [PAUSE], writer="w", first_seq=1)
    assert store.client().client().position("s") == 1
    assert MemoryStore().position("s") == 0
    store.close()
    assert store.position("s") == 1, "what is stored outlives its handles"
    assert "none" in store.describe()["durability"]


def test_given_clocks_rule_every_handle() -> None:
    clock, now = [10.0], [1000.0]
    store = MemoryStore(clock=lambda: clock[0], now=lambda: now[0])
    lease = store.client().acquire("lead", "a", 5.0)
    assert lease is not None
    assert (lease.expires_s, store.clock()) == (15.0, 10.0)
    for moment in (1000.0, 900.0, 1001.0):
        now[0] = moment
        store.append("s", [PAUSE], writer="w", first_seq=store.last_seq("s", "w") + 1)
    assert [recorded.at_s for recorded in store.read("s", 0)] == [1000.0, 1000.0, 1001.0]
    clock[0] = 15.0
    assert store.leases("") == [], "it has run out at the instant it names"


def test_nobody_gets_into_a_batch_of_the_same_thread() -> None:
    store = MemoryStore()
    other = store.client()
    with store.batch():
        store.append("s", [PAUSE], writer="w", first_seq=1)
        for use in (lambda: other.position("s"), lambda: other.append("s", [PAUSE], writer="x", first_seq=1)):
            with pytest.raises(StoreError, match="another handle in this thread has a batch open"):
                use()
        with pytest.raises(StoreError), other.batch():
            pass
    assert other.position("s") == 1


def test_an_undone_deletion_keeps_the_order_of_sweeps() -> None:
    store = MemoryStore()
    for sweep in ("c", "a", "b"):
        store.append(sweep, [PAUSE], writer="w", first_seq=1)
    with pytest.raises(ZeroDivisionError), store.batch():
        store.delete_sweep("c")
        store.append("c", [PAUSE, PAUSE], writer="w", first_seq=1)
        store.append("d", [PAUSE], writer="w", first_seq=1)
        assert store.sweeps() == ["a", "b", "c", "d"]
        1 / 0  # noqa: B018
    assert store.sweeps() == ["c", "a", "b"]
    assert (store.position("c"), store.last_seq("c", "w")) == (1, 1)
