"""Checks of a store's journal."""

from __future__ import annotations

import math
import threading
import time

from sweep.core import entries as e
from sweep.core.entries import AnyEntry
from sweep.core.journal import JournalError, encode
from sweep.stores import Index, IndexUpdate, Moved, SweepRemoved
from sweep.testing._store_world import (
    StoreWorld,
    assigned,
    check,
    chunk,
    positions,
    raises,
    reports,
)


@check
def an_unknown_sweep_is_empty(world: StoreWorld) -> None:
    store = world.open()
    assert store.position("s") == 0
    assert store.read("s", 0) == []
    assert store.sweeps() == []
    assert store.last_seq("s", "w") == 0
    assert store.read_index("s") == Index(0, {})
    assert store.read_history("s", 1) == []
    store.delete_sweep("s")


@check
def positions_have_no_gaps_and_keep_the_order(world: StoreWorld) -> None:
    store = world.open()
    first = store.append("s", reports(3), writer="a", first_seq=1)
    second = store.append("s", reports(2, 3), writer="b", first_seq=1, based_on=3)
    read = store.read("s", 0)
    assert positions(read) == [1, 2, 3, 4, 5]
    assert (first.last, second.last, store.position("s")) == (3, 5, 5)
    assert list(first.recorded + second.recorded) == read, "append returns what a reader sees"
    assert [recorded.entry for recorded in read] == reports(5)
    assert [(recorded.writer, recorded.seq) for recorded in read] == [
        ("a", 1),
        ("a", 2),
        ("a", 3),
        ("b", 1),
        ("b", 2),
    ]
    assert [recorded.based_on for recorded in read] == [None, None, None, 3, 3]
    assert {recorded.format for recorded in read} == {e.FORMAT}


@check
def reading_begins_after_a_position_and_ends_at_a_limit(world: StoreWorld) -> None:
    store = world.open()
    store.append("s", reports(5), writer="w", first_seq=1)
    assert positions(store.read("s", 3)) == [4, 5]
    assert positions(store.read("s", 1, limit=2)) == [2, 3]
    assert store.read("s", 5) == []
    assert store.read("s", 99) == []


@check
def a_bare_reading_has_positions_times_and_entries(world: StoreWorld) -> None:
    store = world.open()
    store.append("s", [*reports(3), assigned("a")], writer="w", first_seq=1)
    for reader in (store, world.open()):
        for asked in ({}, {"limit": 2}, {"addressee": "a"}):
            whole, bare = reader.read("s", 1, **asked), reader.read("s", 1, **asked, bare=True)
            assert [(r.position, r.at_s, r.entry) for r in bare] == [
                (r.position, r.at_s, r.entry) for r in whole
            ]
            assert whole


@check
def sweeps_are_apart_and_listed_as_created(world: StoreWorld) -> None:
    store = world.open()
    for sweep in ("zebra", "ant", "mole"):
        store.append(sweep, reports(1), writer="w", first_seq=1)
    store.append("zebra", reports(1), writer="w", first_seq=2)
    store.append("empty", [], writer="w", first_seq=1)
    store.append_history("rows-only", [chunk(0, 1)])
    assert store.sweeps() == ["zebra", "ant", "mole"]
    assert [store.position(sweep) for sweep in store.sweeps()] == [2, 1, 1]


@check
def a_second_delivery_changes_nothing(world: StoreWorld) -> None:
    store = world.open()
    store.append("s", reports(3), writer="w", first_seq=1)
    again = store.append("s", reports(3), writer="w", first_seq=1)
    assert (again.last, again.recorded) == (3, ())
    overlapping = store.append("s", reports(4, 1), writer="w", first_seq=2)
    assert overlapping.last == 5
    assert [recorded.seq for recorded in overlapping.recorded] == [4, 5]
    assert [recorded.entry for recorded in store.read("s", 0)] == reports(5)
    assert (store.last_seq("s", "w"), store.last_seq("s", "other"), store.last_seq("t", "w")) == (5, 0, 0)


@check
def writers_number_their_entries_apart(world: StoreWorld) -> None:
    store = world.open()
    store.append("s", reports(2), writer="a", first_seq=1)
    store.append("s", reports(2), writer="b", first_seq=1)
    store.append("t", reports(2), writer="a", first_seq=1)
    assert (store.position("s"), store.position("t")) == (4, 2)


@check
def an_append_can_ask_for_the_position_it_knows(world: StoreWorld) -> None:
    one, two = world.open(), world.open()
    one.append("s", reports(2), writer="w", first_seq=1, after=0)
    two.append("s", reports(1), writer="x", first_seq=1)
    with raises(Moved):
        one.append("s", reports(1), writer="w", first_seq=3, after=2)
    assert one.position("s") == 3
    one.append("s", reports(1), writer="w", first_seq=3, after=3)
    with raises(Moved):
        one.append("s", [], writer="w", first_seq=4, after=3)
    again = one.append("s", reports(1), writer="w", first_seq=3, after=3)
    assert (again.last, again.recorded) == (4, ()), "repeating what had succeeded is no conflict"


@check
def an_append_can_ask_for_a_journal_that_is_there(world: StoreWorld) -> None:
    store, other = world.open(), world.open()
    with raises(SweepRemoved):
        store.append("s", reports(1), writer="w", first_seq=1, existing=True)
    assert (store.sweeps(), store.position("s")) == ([], 0)
    other.append("s", reports(1), writer="w", first_seq=1)
    store.append("s", reports(1), writer="x", first_seq=1, existing=True)
    other.delete_sweep("s")
    with raises(SweepRemoved):
        store.append("s", reports(1), writer="x", first_seq=2, existing=True)
    assert other.sweeps() == []


@check
def only_addressed_entries_reach_an_addressee(world: StoreWorld) -> None:
    store = world.open()
    mixed = [
        assigned("a", 1),
        *reports(1),
        assigned("b", 2),
        e.RunPruned(1, 1, "a", "poor"),
        e.RunCancelled(3, 1, "", ""),
    ]
    store.append("s", mixed, writer="w", first_seq=1)
    assert positions(store.read("s", 0, addressee="a")) == [1, 4]
    assert positions(store.read("s", 1, addressee="a")) == [4]
    assert positions(store.read("s", 0, addressee="a", limit=1)) == [1]
    assert positions(store.read("s", 0, addressee="b")) == [3]
    assert store.read("s", 0, addressee="c") == []
    assert [recorded.addressee for recorded in store.read("s", 0)] == ["a", None, "b", "a", None]


@check
def handles_see_each_other_at_once(world: StoreWorld) -> None:
    one, two = world.open(), world.open()
    for number in range(1, 20):
        writer, reader = (one, two) if number % 2 else (two, one)
        writer.append("s", reports(1, number), writer="w", first_seq=number)
        assert reader.position("s") == number
        assert reader.read("s", number - 1)[0].entry == reports(1, number)[0]
        assert reader.last_seq("s", "w") == number


@check
def time_never_runs_backwards_within_a_sweep(world: StoreWorld) -> None:
    store = world.open()
    store.append("s", reports(1), writer="w", first_seq=1, at_s=2e9)
    store.append("s", reports(1), writer="w", first_seq=2, at_s=2e9 + 0.25)
    store.append("s", reports(1), writer="w", first_seq=3, at_s=1e9)
    store.append("s", reports(1), writer="w", first_seq=4)
    times = [recorded.at_s for recorded in store.read("s", 0)]
    assert times[:3] == [2e9, 2e9 + 0.25, 2e9 + 0.25]
    assert times[3] >= times[2]


@check
def waiting_ends_with_the_first_entry(world: StoreWorld) -> None:
    reader = world.open()

    def write() -> None:
        time.sleep(0.05)  # most likely the reader waits by now; the check holds if it does not
        store = world.open()
        store.append("s", [assigned("b")], writer="w", first_seq=1)
        store.append("s", [assigned("a")], writer="w", first_seq=2)
        store.close()

    thread = threading.Thread(target=write)
    thread.start()
    found = reader.read("s", 0, addressee="a", wait_s=30.0)
    thread.join()
    assert positions(found) == [2]


@check
def waiting_in_vain_ends_in_time(world: StoreWorld) -> None:
    store = world.open()
    store.append("s", reports(1), writer="w", first_seq=1)
    begin_s = time.monotonic()
    assert store.read("s", 1, wait_s=0.05) == []
    assert time.monotonic() - begin_s >= 0.05
    assert positions(store.read("s", 0, wait_s=30.0)) == [1], "what is there already is not waited for"


@check
def any_plain_value_survives(world: StoreWorld) -> None:
    store = world.open()
    spec = {
        "nul": "a\0b",
        "text": "lr=½ 学習 🚀\u2028",
        "nan": math.nan,
        "inf": [math.inf, -math.inf],
        "": None,
    }
    odd = "w\0riter-☃"
    entries: list[AnyEntry] = [
        e.SpecRevised(
            1, {**spec, "bytes": b"\0\xff", "deep": [{"x": [1, 1.0, True]}], "big": 2**70}, "\0source"
        ),
        e.ObjectiveReported(1, 1, 0, (0.0, -0.0), (math.nan, -math.inf)),
    ]
    store.append("s\0☃", entries, writer=odd, first_seq=1)
    read = world.open().read("s\0☃", 0)
    assert [encode(recorded.entry) for recorded in read] == [encode(entry) for entry in entries]
    assert read[0].writer == odd
    assert world.open().sweeps() == ["s\0☃"]


@check
def what_cannot_be_read_again_is_not_written(world: StoreWorld) -> None:
    store = world.open()
    bad = e.AttemptEnded(1, 1, "a", "exploded")  # type: ignore[arg-type]
    with raises(JournalError):
        store.append("s", [*reports(1), bad], writer="w", first_seq=1)
    assert store.position("s") == 0


@check
def readers_share_nothing_with_the_writer(world: StoreWorld) -> None:
    store = world.open()
    config = {"lr": [0.1]}
    appended = store.append("s", [e.SpecRevised(1, config)], writer="w", first_seq=1)
    config["lr"].append(9)
    for recorded in (appended.recorded[0], store.read("s", 0)[0]):
        assert isinstance(recorded.entry, e.SpecRevised)
        assert recorded.entry.spec == {"lr": [0.1]}
        recorded.entry.spec["lr"] = "scribbled"


@check
def large_entries_and_long_journals(world: StoreWorld) -> None:
    store = world.open()
    big = e.SweepCreated("s", {}, source="x" * 5_000_000)
    store.append("s", [big, *reports(9_999)], writer="w", first_seq=1)
    read = world.open().read("s", 0)
    assert positions(read) == list(range(1, 10_001))
    assert read[0].entry == big
    assert read[-1].entry == reports(1, 9_998)[0]


@check
def a_deleted_sweep_is_gone(world: StoreWorld) -> None:
    store, other = world.open(), world.open()
    for sweep in ("s", "t"):
        store.append(sweep, reports(2), writer="w", first_seq=1, index=IndexUpdate(2, {"k": b"v"}))
        store.append_history(sweep, [chunk(0, 2)])
        store.put_cache(sweep, "c", b"kept")
    assert other.position("s") == 2
    store.delete_sweep("s")
    for handle in (store, other):
        assert handle.sweeps() == ["t"]
        assert (handle.position("s"), handle.last_seq("s", "w"), handle.read("s", 0)) == (0, 0, [])
        assert (handle.read_index("s"), handle.read_history("s", 1)) == (Index(0, {}), [])
        assert (handle.get_cache("s", "c"), handle.get_cache("t", "c")) == (None, b"kept")
        assert (handle.position("t"), handle.read_index("t").rows) == (2, {"k": b"v"})
        assert len(handle.read_history("t", 1)) == 1
    store.append("s", reports(1), writer="w", first_seq=1)
    assert (other.position("s"), other.sweeps()) == (1, ["t", "s"])
