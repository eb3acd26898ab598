"""The SQLite store's table of caches: what may vanish at any time, and is made again from the journal.

The rule of this file: the table is made when something is first kept. Files written before there was one stay readable, and
earlier versions of this package do not mind it.
"""

from __future__ import annotations

import sqlite3

_TABLE = """CREATE TABLE IF NOT EXISTS cache (
    sweep TEXT NOT NULL, name TEXT NOT NULL, data BLOB NOT NULL, UNIQUE (sweep, name)
)"""


def put(db: sqlite3.Connection, sweep: str, name: str, data: bytes) -> None:
    """Keep `data`, within the transaction that is open."""
    if not _exists(db):
        db.execute(_TABLE)
    db.execute("INSERT OR REPLACE INTO cache VALUES (?, ?, ?)", (sweep, name, data))


def get(db: sqlite3.Connection, sweep: str, name: str) -> bytes | None:
    """What was kept last; None without it."""
    if not _exists(db):
        return None
    row = db.execute("SELECT data FROM cache WHERE sweep = ? AND name = ?", (sweep, name)).fetchone()
    return row[0] if row else None


def drop(db: sqlite3.Connection, sweep: str) -> None:
    """Keep nothing of a sweep any longer, within the transaction that is open."""
    if _exists(db):
        db.execute("DELETE FROM cache WHERE sweep = ?", (sweep,))


def _exists(db: sqlite3.Connection) -> bool:
    found = db.execute("SELECT EXISTS (SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'cache')")
    return bool(found.fetchone()[0])
