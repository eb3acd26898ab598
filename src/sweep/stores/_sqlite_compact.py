"""Giving back to the system what deletions have freed in an SQLite file.

The rule of this file: agents are never held up for longer than one small step takes. A file that frees its pages step by step
(`auto_vacuum`; all that are made now) is always compacted; an older one must be written anew as a whole, which is done
only while nobody holds a lease, and makes it one of the former.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

from sweep.stores._sqlite_file import is_busy

STEP_PAGES = 512
INCREMENTAL = 2
"""Value of `PRAGMA auto_vacuum` for freeing on demand."""


def compact(db: sqlite3.Connection, unused: Callable[[], bool]) -> bool:
    """Shrink the file behind `db`. `unused`: whether no agent is at work. False when it has to be done later."""
    if _pragma(db, "auto_vacuum") == INCREMENTAL:
        while (left := _pragma(db, "freelist_count")) > 0:
            db.execute(f"PRAGMA incremental_vacuum({STEP_PAGES})").fetchall()
            if _pragma(db, "freelist_count") >= left:
                break
    elif not unused() or not _written_anew(db):
        return False
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    return True


def _written_anew(db: sqlite3.Connection) -> bool:
    try:
        db.execute(f"PRAGMA auto_vacuum = {INCREMENTAL}")
        db.execute("VACUUM")
    except sqlite3.OperationalError as error:
        if is_busy(error):
            return False
        raise
    return True


def _pragma(db: sqlite3.Connection, name: str) -> int:
    value: int = db.execute(f"PRAGMA {name}").fetchone()[0]
    return value
