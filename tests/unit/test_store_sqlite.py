"""What is the SQLite store's own: its file, its errors in words, its clocks, and what survives what."""

from __future__ import annotations

import re
import shutil
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from sweep.core import entries as e
from sweep.core.journal import encode
from sweep.stores import HistoryChunk, IndexUpdate, StaleFence, StoreError, Unreadable
from sweep.stores._clock import boot_id
from sweep.stores._filesystem import Mount
from sweep.stores._sqlite_file import in_words
from sweep.stores.sqlite import SqliteStore

PAUSE, RESUME = e.PauseRequested(), e.ResumeRequested()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / ".sweep" / "store.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStore]:
    made = SqliteStore(path, create=True)
    yield made
    made.close()


def append(store: SqliteStore, count: int = 1) -> None:
    """The next entries of writer w."""
    store.append("s", [PAUSE] * count, writer="w", first_seq=store.last_seq("s", "w") + 1)


def raw(path: Path, statement: str, *values: Any) -> Any:
    """Behind the store's back."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        return db.execute(statement, values).fetchone()


def opening_fails(path: Path, words: str) -> None:
    for create in (False, True):
        with pytest.raises(StoreError, match=words):
            SqliteStore(path, create=create)


# --- the file --------------------------------------------------------------------------------------------------


def test_what_is_written_is_there_after_reopening(path: Path, store: SqliteStore) -> None:
    append(store, 3)
    store.append("s", [], writer="w", first_seq=4, index=IndexUpdate(3, {"k": b"v"}))
    lease = store.acquire("lead", "me", 60.0)
    assert lease is not None
    store.close()
    again = SqliteStore(path)
    assert (again.position("s"), again.read_index("s").rows) == (3, {"k": b"v"})
    assert again.leases("") == [lease]
    again.append("s", [RESUME], writer="w", first_seq=4, fence=lease)
    again.close()


def test_the_file_says_whose_it_is(path: Path, store: SqliteStore) -> None:
    assert raw(path, "PRAGMA application_id") == (int.from_bytes(b"SWEP", "big"),)
    assert raw(path, "PRAGMA user_version") == (1,)
    assert raw(path, "PRAGMA journal_mode") == ("wal",)


def test_describe(path: Path, store: SqliteStore) -> None:
    append(store)
    described = store.describe()
    assert described["path"] == str(path)
    assert (described["journal_mode"], described["synchronous"], described["schema"]) == ("wal", "FULL", 1)
    assert described["sqlite_version"] == sqlite3.sqlite_version
    assert described["log_bytes"] > 0
    assert "fsync" in described["durability"]


def test_many_threads_make_one_store(path: Path) -> None:
    ready, failures = threading.Barrier(6), list[BaseException]()

    def make(number: int) -> None:
        ready.wait(30)
        try:
            with closing(SqliteStore(path, create=True)) as store:
                store.append("s", [PAUSE], writer=f"w{number}", first_seq=1)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=make, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    with closing(SqliteStore(path)) as store:
        assert store.position("s") == 6


def test_no_file_is_made_by_looking(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no sweep has been recorded here"):
        SqliteStore(tmp_path / "store.db")
    assert list(tmp_path.iterdir()) == []


def test_network_file_systems_are_refused_before_anything_is_made(path: Path) -> None:
    mounts = [Mount("/", "nfs4", "filer:/")]
    with pytest.raises(StoreError, match=r"network file system \(nfs4, filer:/ at /\)"):
        SqliteStore(path, create=True, mounts=mounts)
    assert not path.parent.exists()


def test_a_file_that_is_no_database(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"metric: loss\n" * 500)
    opening_fails(path, "is not a sweep store")
    assert path.read_bytes() == b"metric: loss\n" * 500


def test_somebody_elses_database(path: Path) -> None:
    path.parent.mkdir()
    raw(path, "CREATE TABLE cookies (name)")
    before = path.read_bytes()
    opening_fails(path, "is an SQLite database, but not one of sweep's")
    assert path.read_bytes() == before, "it was left as it was"


def test_a_database_of_a_newer_version(path: Path, store: SqliteStore) -> None:
    store.close()
    raw(path, "PRAGMA user_version = 2")
    opening_fails(
        path, r"written by another version of sweep \(its format is 2, this version knows 1\); upgrade sweep"
    )


def test_a_damaged_database(path: Path, store: SqliteStore) -> None:
    append(store, 5000)
    store.close()
    data = bytearray(path.read_bytes())
    data[8192:] = b"\x55" * (len(data) - 8192)
    path.write_bytes(data)
    with (
        pytest.raises(StoreError, match=r"store\.db is damaged .*\.recover"),
        closing(SqliteStore(path)) as damaged,
    ):
        damaged.read("s", 0)


def test_a_file_that_was_deleted_takes_nothing(path: Path, store: SqliteStore) -> None:
    append(store)
    shutil.rmtree(path.parent)
    with pytest.raises(StoreError, match="was moved, deleted or replaced while in use"):
        append(store)
    with closing(SqliteStore(path, create=True)) as other:
        append(other)
    with pytest.raises(StoreError, match="was moved, deleted or replaced while in use"):
        append(store)


def test_an_entry_of_a_newer_version_names_its_place(path: Path, store: SqliteStore) -> None:
    append(store, 2)
    raw(path, "UPDATE journal SET entry = ? WHERE position = 2", b"\x91\xa9RunCloned")
    with pytest.raises(Unreadable, match=r"sweep s, journal entry 2: .*'RunCloned'.*upgrade sweep"):
        store.read("s", 0)
    assert len(store.read("s", 0, limit=1)) == 1


def test_entries_are_kept_as_the_codec_writes_them(path: Path, store: SqliteStore) -> None:
    append(store)
    assert raw(path, "SELECT entry, format FROM journal") == (encode(PAUSE), e.FORMAT)


# --- errors in words -------------------------------------------------------------------------------------------


def test_a_full_disk_leaves_nothing_half_done(path: Path, store: SqliteStore) -> None:
    append(store)
    store._db.execute(f"PRAGMA max_page_count = {store._db.execute('PRAGMA page_count').fetchone()[0] + 4}")
    big = e.SweepCreated("s", {}, "x" * 100_000)
    with pytest.raises(StoreError, match=r"the disk of .*store\.db is full; free some space"):
        store.append("s", [RESUME, big], writer="w", first_seq=2, index=IndexUpdate(3, {"k": b""}))
    assert (store.position("s"), store.read_index("s").upto) == (1, 0)
    store._db.execute("PRAGMA max_page_count = 1000000")
    store.append("s", [RESUME, big], writer="w", first_seq=2)
    assert store.position("s") == 3


def test_a_batch_in_which_sqlite_failed_is_not_half_recorded(store: SqliteStore) -> None:
    append(store)
    pages = store._db.execute("PRAGMA page_count").fetchone()[0]
    with pytest.raises(StoreError, match="nothing of this batch can be recorded: the disk of"), store.batch():
        append(store)
        store._db.execute(f"PRAGMA max_page_count = {pages + 4}")
        with pytest.raises(StoreError, match="is full"):
            store.put_blob(bytes(range(256)) * 1000 + b"\1")
            store.append("s", [e.SweepCreated("s", {}, "x" * 100_000)], writer="w", first_seq=3)
        append(store)
    assert store.position("s") == 1


def test_a_batch_that_goes_on_after_a_failed_read_is_dropped(path: Path, store: SqliteStore) -> None:
    append(store)
    with pytest.raises(StoreError, match="nothing of this batch was recorded"), store.batch():
        append(store)
        store._db.execute("DROP TABLE blob")
        with pytest.raises(StoreError, match="no such table"):
            store.get_blob("0" * 64)
    assert store.get_blob("0" * 64) is None
    assert store.position("s") == 1


def test_a_failed_commit_records_nothing(store: SqliteStore) -> None:
    store._db.execute("PRAGMA foreign_keys = ON")
    store._db.execute("CREATE TABLE parent (id INTEGER PRIMARY KEY)")
    store._db.execute("CREATE TABLE child (id INTEGER REFERENCES parent DEFERRABLE INITIALLY DEFERRED)")
    with pytest.raises(StoreError, match="FOREIGN KEY"), store.batch():
        append(store, 2)
        store._db.execute("INSERT INTO child VALUES (1)")  # checked by COMMIT alone
    assert (store.position("s"), store.read("s", 0)) == (0, [])
    append(store)
    assert store.position("s") == 1


def test_a_store_that_stays_busy(path: Path, store: SqliteStore) -> None:
    impatient = SqliteStore(path, busy_timeout_s=0.01)
    with store.batch():
        append(store)
        with pytest.raises(StoreError, match=r"store\.db is busy: another process has been writing"):
            append(impatient)
        assert impatient.position("s") == 0, "reading goes on, and sees only what is whole"
    append(impatient)
    assert impatient.position("s") == 2
    impatient.close()


def test_a_store_that_cannot_be_written(store: SqliteStore) -> None:
    store._db.execute("PRAGMA query_only = ON")
    with pytest.raises(
        StoreError, match=r"cannot be written .*; make .*\.sweep and the files in it writable"
    ):
        append(store)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (sqlite3.SQLITE_FULL, "disk of /p/store.db is full"),
        (sqlite3.SQLITE_IOERR | (3 << 8), "the disk of /p/store.db reports an error (odd)"),
        (sqlite3.SQLITE_CANTOPEN, "cannot be opened; check that /p exists"),
        (sqlite3.SQLITE_PERM, "permission denied"),
        (sqlite3.SQLITE_TOOBIG, "a single value that large"),
        (sqlite3.SQLITE_MISMATCH, "/p/store.db: odd"),
        (None, "/p/store.db: odd"),
    ],
)
def test_errors_in_words(code: int | None, words: str) -> None:
    error = sqlite3.OperationalError("odd")
    if code is not None:
        error.sqlite_errorcode = code
    with pytest.raises(StoreError, match=re.escape(words)):
        raise in_words(error, Path("/p/store.db"))


def test_a_closed_store_says_so(path: Path) -> None:
    store = SqliteStore(path, create=True)
    store.close()
    store.close()
    with pytest.raises(StoreError, match="closed"):
        store.position("s")


def test_another_thread_is_told(store: SqliteStore) -> None:
    errors: list[str] = []

    def use() -> None:
        try:
            store.position("s")
        except StoreError as error:
            errors.append(str(error))

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    assert len(errors) == 1
    assert "thread" in errors[0]


# --- clocks ----------------------------------------------------------------------------------------------------


class Clock:
    def __init__(self, at_s: float) -> None:
        self.at_s = at_s

    def __call__(self) -> float:
        return self.at_s


def test_a_wall_clock_that_jumps_back(path: Path) -> None:
    now = Clock(1000.0)
    store, other = SqliteStore(path, create=True, now=now), SqliteStore(path, now=lambda: 900.0)
    append(store)
    now.at_s = 500.0
    append(store)
    other.append("s", [PAUSE], writer="x", first_seq=1)
    other.append("t", [PAUSE], writer="x", first_seq=1)
    now.at_s = 1001.5
    append(store)
    assert [recorded.at_s for recorded in store.read("s", 0)] == [1000.0, 1000.0, 1000.0, 1001.5]
    assert [recorded.at_s for recorded in store.read("t", 0)] == [900.0]
    store.close()
    other.close()


def test_a_lease_of_another_boot_has_expired(path: Path) -> None:
    clock = Clock(5000.0)
    before = SqliteStore(path, create=True, clock=clock, boot="monday")
    lease = before.acquire("lead", "a", 60.0)
    assert lease is not None
    before.close()
    clock.at_s = 5010.0  # by its numbers alone it would hold
    after = SqliteStore(path, clock=clock, boot="tuesday")
    assert after.leases("") == []
    assert after.renew(lease, 60.0) is None
    with pytest.raises(StaleFence):
        after.append("s", [PAUSE], writer="w", first_seq=1, fence=lease)
    successor = after.acquire("lead", "b", 60.0)
    assert successor is not None
    assert successor.token > lease.token
    after.close()


def test_without_a_boot_id_a_lease_from_the_future_has_expired(path: Path) -> None:
    clock = Clock(5000.0)
    store = SqliteStore(path, create=True, clock=clock, boot="")
    assert store.acquire("lead", "a", 60.0) is not None
    clock.at_s = 3.0
    assert store.leases("") == []
    assert store.acquire("lead", "b", 60.0) is not None
    store.close()


@pytest.mark.parametrize("begin_s", [0.1, 0.3, 1e9 / 7])
def test_a_lease_holds_from_its_first_moment(begin_s: float, path: Path) -> None:
    """clock + ttl - clock can round to more than ttl."""
    store = SqliteStore(path, create=True, clock=lambda: begin_s)
    for number in range(1, 20):
        lease = store.acquire(f"lead{number}", "a", number / 10)
        assert lease is not None
        assert store.leases(f"lead{number}")[0] == lease
    store.close()


def test_the_machines_own_clock(store: SqliteStore) -> None:
    lease = store.acquire("lead", "a", 0.02)
    assert lease is not None
    time.sleep(0.03)
    assert store.renew(lease, 60.0) is None
    assert store.acquire("lead", "b", 60.0) is not None
    assert boot_id() == boot_id()


# --- blobs and history -----------------------------------------------------------------------------------------


def test_blobs_are_compressed_where_it_pays(path: Path, store: SqliteStore) -> None:
    plain, noise = b"sweep " * 1000, bytes((7 * n * n + n) % 251 for n in range(97))
    for data in (plain, noise):
        digest = store.put_blob(data)
        codec, size = raw(path, "SELECT codec, length(data) FROM blob WHERE digest = ?", digest)
        assert store.get_blob(digest) == data
        assert size <= len(data)
        assert codec == (1 if data is plain else 0)


@pytest.mark.parametrize("codec", [0, 1])
def test_a_damaged_blob_is_not_handed_out(codec: int, path: Path, store: SqliteStore) -> None:
    digest = store.put_blob(b"code " * 100)
    raw(path, "UPDATE blob SET codec = ?, data = ?", codec, b"not what it was")
    with pytest.raises(StoreError, match=f"the blob {digest[:12]} is damaged"):
        store.get_blob(digest)


def test_one_row_of_sql_for_each_chunk(path: Path, store: SqliteStore) -> None:
    store.append_history("s", [HistoryChunk(1, 1, 0, 3, b"1\n2\n3"), HistoryChunk(1, 1, 3, 2, b"4\n5")])
    assert raw(path, "SELECT COUNT(*), SUM(rows) FROM history") == (2, 5)
