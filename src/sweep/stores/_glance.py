"""A glance into an SQLite store: its sweeps and how many runs they have, for completing a command line.

The rules of this file: nothing is made or written, nothing is waited for, and whatever is wrong means that nothing is known.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

_APPLICATION = 0x53574550
_WAIT_S = 0.1


def sweep_ids(path: Path) -> list[str]:
    """IDs of all sweeps, the newest first; empty when they cannot be read at once."""
    rows = _ask(path, "SELECT name FROM sweep ORDER BY number DESC")
    return [name for (name,) in rows]


def run_count(path: Path, sweep: str) -> int:
    """How many runs a sweep has, as its listing knows; they are numbered from 0. 0 when that cannot be read at once."""
    query = "SELECT MAX(key) FROM listing WHERE sweep = ? AND key >= 'run/' AND key < 'run0'"
    rows = _ask(path, query, sweep)
    last = rows[0][0] if rows else None
    return int(last.removeprefix("run/")) + 1 if last else 0


def _ask(path: Path, query: str, *values: str) -> list[tuple[str]]:
    try:
        # mode=rw makes no file, and unlike mode=ro it leaves none behind.
        db = sqlite3.connect(f"{path.as_uri()}?mode=rw", uri=True, timeout=_WAIT_S, isolation_level=None)
    except (sqlite3.Error, ValueError):
        return []
    try:
        db.execute("PRAGMA query_only = ON")
        if db.execute("PRAGMA application_id").fetchone()[0] != _APPLICATION:
            return []
        return db.execute(query, values).fetchall()
    except sqlite3.Error:
        return []
    finally:
        db.close()
