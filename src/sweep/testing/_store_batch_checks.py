"""Checks of a store's batches: all or nothing, and nobody in between."""

from __future__ import annotations

import threading

from sweep.core.names import controller_lease
from sweep.stores import Index, IndexUpdate, Moved, StaleFence, Store
from sweep.testing._store_world import (
    StoreWorld,
    assigned,
    check,
    chunk,
    hold,
    positions,
    raises,
    reports,
)


def _change_everything(store: Store) -> None:
    store.append(
        "s",
        [assigned("a"), *reports(1)],
        writer="w",
        first_seq=3,
        index=IndexUpdate(4, {"k": b"new", "n": b""}),
    )
    store.append("new", reports(1), writer="w", first_seq=1)
    store.append_history("s", [chunk(0, 4)])
    store.put_blob(b"in a batch")
    store.delete_blobs(store.blobs().keys() - {store.put_blob(b"in a batch")})
    store.put_cache("s", "c", b"new")
    kept = store.leases("kept")[0]
    assert store.renew(kept, 600.0) is not None
    assert store.acquire("fresh", "one", 60.0) is not None
    store.release(store.leases("given-up")[0])
    store.write_index("t", Index(9, {}))
    store.delete_sweep("t")


def _everything(store: Store) -> list[object]:
    return [
        store.sweeps(),
        *(
            [store.read(s, 0), store.position(s), store.read_index(s), store.read_history(s, 1)]
            for s in ("s", "t", "new")
        ),
        [store.last_seq("s", "w"), store.read("s", 0, addressee="a")],
        store.leases(""),
        [store.get_cache(s, "c") for s in ("s", "t")],
        store.get_blob("100642d16c660d27ffbf1202ea0be4c3d1fc9a39540390003c8d7ff07784a4b4"),
        sorted(store.blobs()),
    ]


def _prepared(store: Store) -> None:
    store.append("t", reports(2), writer="w", first_seq=1)
    store.append("s", reports(2), writer="w", first_seq=1, index=IndexUpdate(2, {"k": b"old"}))
    store.append_history("s", [chunk(1, 1)])
    store.append_history("t", [chunk(0, 1)])
    store.put_blob(b"before the batch")
    store.put_cache("s", "c", b"old")
    store.put_cache("t", "c", b"kept")
    hold(store, "kept")
    hold(store, "given-up")


@check
def a_batch_that_raises_leaves_nothing(world: StoreWorld) -> None:
    store, other = world.open(), world.open()
    _prepared(store)
    before = _everything(store)
    if not store.whole_batches:
        _survives_a_batch_that_raises(store, other)
        return
    with raises(KeyboardInterrupt), store.batch():
        _change_everything(store)
        assert _everything(store) != before, "its own writer sees it"
        raise KeyboardInterrupt
    assert _everything(store) == before
    assert _everything(other) == before
    _change_everything(store)
    after = _everything(other)
    assert [recorded.seq for recorded in other.read("s", 2)] == [3, 4]
    assert other.sweeps() == ["s", "new"]
    assert after == _everything(store)


def _survives_a_batch_that_raises(store: Store, other: Store) -> None:
    """Where what was written stays, the same once more must change nothing, in another handle as well."""
    with raises(KeyboardInterrupt), store.batch():
        store.append("s", [assigned("a"), *reports(1)], writer="w", first_seq=3)
        store.append_history("s", [chunk(0, 4)])
        raise KeyboardInterrupt
    before = _everything(store)
    with store.batch():
        store.append("s", [assigned("a"), *reports(1)], writer="w", first_seq=3)
        store.append_history("s", [chunk(0, 4)])
    assert _everything(store) == _everything(other) == before
    assert [recorded.seq for recorded in other.read("s", 2)] == [3, 4]


@check
def a_batch_is_there_as_a_whole_after_its_end(world: StoreWorld) -> None:
    store, other = world.open(), world.open()
    _prepared(store)
    with store.batch():
        _change_everything(store)
        assert store.position("s") == 4
        assert store.read("s", 4, wait_s=30.0) == [], "nobody else can write now: no waiting"
        last = store.append("s", reports(1), writer="w", first_seq=5, after=4)
    assert (other.position("s"), last.last) == (5, 5)
    assert _everything(other) == _everything(store)
    assert other.read_index("s") == Index(4, {"k": b"new", "n": b""})


@check
def a_failed_batch_undoes_no_earlier_one(world: StoreWorld) -> None:
    store = world.open()
    with store.batch():
        _prepared(store)
    before = _everything(store)
    with raises(KeyboardInterrupt), store.batch():
        store.append("s", reports(1), writer="w", first_seq=3)
        raise KeyboardInterrupt
    if store.whole_batches:
        assert _everything(store) == before
    assert [recorded.seq for recorded in store.read("s", 0)][:2] == [1, 2]


@check
def a_failed_operation_spares_the_rest_of_its_batch(world: StoreWorld) -> None:
    store = world.open()
    lease = hold(store, controller_lease("s"))
    store.release(lease)
    with store.batch():
        store.append("s", reports(1), writer="w", first_seq=1)
        with raises(StaleFence):
            store.append("s", reports(2, 1), writer="w", first_seq=2, fence=lease)
        with raises(Moved):
            store.append("s", reports(2, 1), writer="w", first_seq=2, after=0)
        store.append("s", reports(1, 5), writer="w", first_seq=2)
    assert [recorded.entry for recorded in world.open().read("s", 0)] == [*reports(1), *reports(1, 5)]


@check
def batches_do_not_nest(world: StoreWorld) -> None:
    store = world.open()
    with raises(RuntimeError), store.batch():
        store.append("s", reports(1), writer="w", first_seq=1)
        with store.batch():
            pass
    assert store.position("s") == (0 if store.whole_batches else 1)
    with store.batch():
        store.append("s", reports(1), writer="w", first_seq=1)
    assert store.position("s") == 1


@check
def writers_in_threads_lose_nothing(world: StoreWorld) -> None:
    def write(name: str) -> None:
        store = world.open()
        for seq in range(1, 41, 2):
            with store.batch():
                store.append("s", reports(1), writer=name, first_seq=seq)
                store.append("s", reports(1), writer=name, first_seq=seq + 1)
        store.close()

    threads = [threading.Thread(target=write, args=(f"w{number}",)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    read = world.open().read("s", 0)
    assert positions(read) == list(range(1, 121))
    for name in ("w0", "w1", "w2"):
        assert [recorded.seq for recorded in read if recorded.writer == name] == list(range(1, 41))
    pairs = list(zip(read[::2], read[1::2], strict=True))
    assert not world.open().whole_batches or all(
        a.writer == b.writer and a.seq + 1 == b.seq for a, b in pairs
    ), "no writer gets into another's batch"
