"""Giving freed space back: at once where the file can do it in steps, later where it must be written anew."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from sweep.stores.sqlite import SqliteStore


def filled(path: Path) -> SqliteStore:
    store = SqliteStore(path, create=True)
    for n in range(20):
        store.put_blob(os.urandom(50_000) + bytes([n]))
    store.compact()
    return store


def test_new_files_shrink_while_agents_are_at_work(tmp_path: Path) -> None:
    with closing(filled(tmp_path / "a.db")) as store, closing(SqliteStore(tmp_path / "a.db")) as other:
        assert store.acquire("agent/x", "x", 600.0) is not None
        before = store.path.stat().st_size
        store.delete_blobs(store.blobs())
        assert store.compact() is True
        assert store.path.stat().st_size < before / 5
        assert other.blobs() == {}
        assert len(other.leases("agent/")) == 1


def test_older_files_wait_until_nobody_is_at_work(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    with closing(filled(path)) as store:
        kept = next(iter(store.blobs()))
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA auto_vacuum = NONE")
        db.execute("VACUUM")
    with closing(SqliteStore(path)) as store:
        lease = store.acquire("agent/x", "x", 600.0)
        assert lease is not None
        before = path.stat().st_size
        store.delete_blobs(store.blobs().keys() - {kept})
        assert store.compact() is False
        assert path.stat().st_size == before
        store.release(lease)
        assert store.compact() is True
        assert path.stat().st_size < before / 5
        assert store.get_blob(kept) is not None
        store.delete_blobs([kept])
        assert store.acquire("agent/x", "x", 600.0) is not None
        assert store.compact() is True, "it can do it in steps from now on"


def test_a_reader_that_is_in_the_way_puts_it_off(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    filled(path).close()
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA auto_vacuum = NONE")
        db.execute("VACUUM")
    with (
        closing(SqliteStore(path, busy_timeout_s=0.05)) as store,
        closing(sqlite3.connect(path, isolation_level=None)) as db,
    ):
        db.execute("BEGIN IMMEDIATE")
        assert store.compact() is False
        db.execute("ROLLBACK")
        assert store.compact() is True
