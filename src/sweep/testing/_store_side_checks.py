"""Checks of what stands beside a store's journal: leases and fences, history, blobs, the index."""

from __future__ import annotations

import threading
from contextlib import suppress

from sweep.core.names import controller_lease
from sweep.stores import HistoryChunk, Index, IndexUpdate, Lease, Moved, StaleFence
from sweep.testing._store_world import (
    StoreWorld,
    check,
    chunk,
    hold,
    raises,
    reports,
    rows_of,
)

TRIED_S = (0.5, 2.0, 8.0)
"""Lives of a lease that is to be used while it holds, and to run out then: where a store has a clock of its own, a machine that stands
still for longer than the first costs another try, and is no fault of the store."""

# --- leases and fences -----------------------------------------------------------------------------------------


@check
def a_lease_has_one_holder(world: StoreWorld) -> None:
    one, two = world.open(), world.open()
    lease = hold(one)
    assert lease.expires_s > one.clock()
    assert two.acquire("lead", "two", 60.0) is None
    assert one.acquire("lead", "one", 60.0) is None, "not even for its holder"
    assert two.acquire("other", "two", 60.0) is not None
    assert [held.name for held in two.leases("l")] == ["lead"]
    assert [held.name for held in two.leases("")] == ["lead", "other"]
    assert two.leases("lead")[0] == lease


@check
def of_many_at_once_one_gets_the_lease(world: StoreWorld) -> None:
    ready = threading.Barrier(4)
    got: list[Lease | None] = []

    def ask(name: str) -> None:
        store = world.open()
        ready.wait(30)
        got.append(store.acquire("lead", name, 60.0))
        store.close()

    threads = [threading.Thread(target=ask, args=(f"h{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    winners = [lease for lease in got if lease is not None]
    assert (len(got), len(winners)) == (4, 1)
    assert world.open().leases("lead") == winners


@check
def tokens_grow(world: StoreWorld) -> None:
    store = world.open()
    tokens = []
    for _ in range(3):
        lease = hold(store)
        store.release(lease)
        tokens.append(lease.token)
    expiring = hold(store, ttl_s=0.02)
    world.advance(0.03)
    tokens += [expiring.token, hold(store, holder="two").token]
    assert tokens == sorted(set(tokens)), tokens


@check
def a_released_lease_is_free_and_cannot_be_renewed(world: StoreWorld) -> None:
    store = world.open()
    first = hold(store)
    store.release(first)
    assert store.leases("") == []
    assert store.renew(first, 60.0) is None
    second = hold(store, holder="two")
    store.release(first)
    assert [held.token for held in store.leases("")] == [second.token], (
        "a late release takes nothing from the next holder"
    )


@check
def renewing_prolongs(world: StoreWorld) -> None:
    store = world.open()
    for ttl_s in TRIED_S:
        lease = hold(store, ttl_s=ttl_s)
        if (renewed := store.renew(lease, 60.0)) is not None:
            break
    assert renewed is not None
    assert (renewed.name, renewed.holder, renewed.token) == (lease.name, lease.holder, lease.token)
    assert renewed.expires_s > lease.expires_s
    world.advance(ttl_s + 0.1)
    assert world.open().acquire("lead", "two", 60.0) is None
    assert store.renew(lease, 60.0) is not None, "the older copy of a held lease is as good"


@check
def an_expired_lease_is_never_revived(world: StoreWorld) -> None:
    store = world.open()
    lease = hold(store, ttl_s=0.02)
    world.advance(0.03)
    assert store.renew(lease, 60.0) is None
    assert store.leases("") == []
    successor = hold(store, holder="two")
    assert store.renew(lease, 60.0) is None
    assert [held.token for held in store.leases("")] == [successor.token]


@check
def a_fence_lets_only_the_holder_append(world: StoreWorld) -> None:
    old, new = world.open(), world.open()
    for ttl_s in TRIED_S:
        lease = hold(old, controller_lease("s"), ttl_s=ttl_s)
        with suppress(StaleFence):
            old.append("s", reports(1), writer="old", first_seq=1, fence=lease)
            break
    else:
        raise AssertionError("whoever holds the lease could not append")
    world.advance(ttl_s + 0.1)
    with raises(StaleFence):  # expired
        old.append("s", reports(1), writer="old", first_seq=2, fence=lease)
    successor = hold(new, controller_lease("s"), holder="two")
    with raises(StaleFence):  # taken over
        old.append("s", reports(1), writer="old", first_seq=2, fence=lease, index=IndexUpdate(9, {"k": b"v"}))
    with raises(StaleFence):  # also when there is nothing left to write
        old.append("s", reports(1), writer="old", first_seq=1, fence=lease)
    new.append("s", reports(1), writer="new", first_seq=1, fence=successor)
    assert [recorded.writer for recorded in new.read("s", 0)] == ["old", "new"]
    assert new.read_index("s") == Index(0, {})
    new.release(successor)
    with raises(StaleFence):  # given back
        new.append("s", reports(1), writer="new", first_seq=2, fence=successor)


# --- history ---------------------------------------------------------------------------------------------------


@check
def history_comes_back_in_order(world: StoreWorld) -> None:
    store = world.open()
    chunks = [chunk(0, 2), chunk(2, 1), chunk(0, 3, attempt=2), chunk(0, 1, run=2)]
    store.append_history("s", [chunks[2], chunks[1]])
    store.append_history("s", [chunks[0], chunks[3]])
    assert world.open().read_history("s", 1) == chunks[:3]
    assert store.read_history("s", 1, 2) == [chunks[2]]
    assert store.read_history("s", 2) == [chunks[3]]
    assert store.read_history("s", 1, 3) == store.read_history("t", 1) == []


@check
def rows_present_already_are_skipped(world: StoreWorld) -> None:
    store = world.open()
    store.append_history("s", [chunk(2, 3), chunk(8, 2)])
    for again in (chunk(2, 3, mark=" "), chunk(3, 1, mark=" "), chunk(0, 0)):
        store.append_history("s", [again])
    assert [row for row, _ in rows_of(store)] == [2, 3, 4, 8, 9]
    store.append_history("s", [chunk(0, 12, mark=" "), chunk(11, 2, mark="  ")])
    rows = rows_of(store)
    assert [row for row, _ in rows] == list(range(13))
    marks = {row: data.decode().count(" ") for row, data in rows}
    assert [row for row, mark in marks.items() if mark == 0] == [2, 3, 4, 8, 9], "the first delivery counts"
    assert [row for row, mark in marks.items() if mark == 2] == [12]
    assert all(b'{"row":%d' % row in data for row, data in rows)


@check
def a_newline_at_the_end_is_no_row(world: StoreWorld) -> None:
    store = world.open()
    closed = HistoryChunk(1, 1, 0, 2, b"{}\n[]\n")
    store.append_history("s", [closed])
    assert store.read_history("s", 1) == [closed]
    store.append_history("s", [HistoryChunk(1, 1, 1, 2, b"x\n\xff\0\n")])
    assert store.read_history("s", 1) == [closed, HistoryChunk(1, 1, 2, 1, b"\xff\0\n")]


@check
def a_wrong_count_of_rows_is_refused(world: StoreWorld) -> None:
    store = world.open()
    with raises(ValueError):
        store.append_history("s", [chunk(0, 1), HistoryChunk(1, 1, 1, 3, b"a\nb")])
    assert store.read_history("s", 1) == []


# --- blobs and index -------------------------------------------------------------------------------------------


@check
def blobs_are_named_by_their_content(world: StoreWorld) -> None:
    store = world.open()
    blobs = [b"", b"abc", b"\0" * 100_000, bytes(range(256)) * 3]
    digests = [store.put_blob(blob) for blob in blobs]
    assert digests[1] == "bddd813c634239723171ef3fee98579b94964e3bb1cb3e427262c8c068d52319", (
        "BLAKE2b-256 of abc"
    )
    assert [store.put_blob(blob) for blob in blobs] == digests
    assert [world.open().get_blob(digest) for digest in digests] == blobs
    assert store.get_blob("0" * 64) is None


@check
def deleted_blobs_are_gone_and_can_be_put_again(world: StoreWorld) -> None:
    store, other = world.open(), world.open()
    assert store.blobs() == {}
    kept, gone = store.put_blob(b"kept" * 1000), store.put_blob(b"gone")
    assert other.blobs().keys() == {kept, gone}
    assert all(0 < size <= 4000 for size in other.blobs().values())
    store.delete_blobs([gone, "0" * 64])
    assert (other.get_blob(gone), other.get_blob(kept)) == (None, b"kept" * 1000)
    assert other.blobs().keys() == {kept}
    assert other.put_blob(b"gone") == gone
    assert store.get_blob(gone) == b"gone"


@check
def compacting_changes_nothing_that_can_be_read(world: StoreWorld) -> None:
    store, other = world.open(), world.open()
    store.append("s", reports(3), writer="w", first_seq=1)
    digests = [store.put_blob(bytes([n]) * 50_000 + bytes(range(256)) * 200) for n in range(8)]
    lease = hold(store)
    store.delete_blobs(digests[:6])
    store.compact()
    store.release(lease)
    assert store.compact() is True, "nobody is at work any more"
    assert other.blobs().keys() == set(digests[6:])
    assert [recorded.position for recorded in other.read("s", 0)] == [1, 2, 3]
    other.append("s", reports(1), writer="w", first_seq=4)
    assert store.position("s") == 4


@check
def the_index_is_written_with_the_append(world: StoreWorld) -> None:
    store, other = world.open(), world.open()
    store.append(
        "s", reports(1), writer="w", first_seq=1, index=IndexUpdate(1, {"run/1": b"one", "sweep": b"\0"})
    )
    assert other.read_index("s") == Index(1, {"run/1": b"one", "sweep": b"\0"})
    with raises(Moved):
        store.append(
            "s", reports(1), writer="w", first_seq=2, after=0, index=IndexUpdate(2, {"run/1": b"two"})
        )
    assert other.read_index("s").rows["run/1"] == b"one"
    store.append("s", [], writer="w", first_seq=2, index=IndexUpdate(1, {"run/1": b"two", "run/2": b"new"}))
    assert other.read_index("s") == Index(1, {"run/1": b"two", "run/2": b"new", "sweep": b"\0"})
    store.append("s", [], writer="w", first_seq=2, index=IndexUpdate(0, {"run/1": b"late"}))
    assert other.read_index("s", "run/1") == Index(1, {"run/1": b"two"}), "an older update changes nothing"


@check
def the_index_is_read_by_prefix_and_replaced_whole(world: StoreWorld) -> None:
    store = world.open()
    store.write_index(
        "s", Index(7, dict.fromkeys(("a", "run", "run/1", "run/10", "run0", "s", "\U0010ffffz", "☃"), b""))
    )
    store.write_index("t", Index(1, {"run/9": b""}))
    assert list(store.read_index("s", "run/").rows) == ["run/1", "run/10"]
    assert list(store.read_index("s", "\U0010ffff").rows) == ["\U0010ffffz"]
    assert store.read_index("s", "zz") == Index(7, {})
    assert len(store.read_index("s").rows) == 8
    store.write_index("s", Index(3, {"only": b"x"}))
    assert store.read_index("s") == Index(3, {"only": b"x"})


# --- caches ----------------------------------------------------------------------------------------------------


@check
def a_cache_keeps_what_was_put_last(world: StoreWorld) -> None:
    store, other = world.open(), world.open()
    assert store.get_cache("s", "state") is None
    store.put_cache("s", "state", b"one")
    store.put_cache("t", "state", b"other sweep")
    store.put_cache("s", "more", b"")
    store.put_cache("s", "state", b"two\0" * 100_000)
    assert other.get_cache("s", "state") == b"two\0" * 100_000
    assert (other.get_cache("t", "state"), other.get_cache("s", "more")) == (b"other sweep", b"")
    assert (other.get_cache("s", "stat"), other.sweeps()) == (None, [])
