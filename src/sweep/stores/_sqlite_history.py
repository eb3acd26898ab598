"""The SQLite store's table of history: rows of attempts, in chunks that never share a row."""

from __future__ import annotations

import sqlite3

from sweep.stores._common import without
from sweep.stores.base import HistoryChunk


def append(db: sqlite3.Connection, sweep: str, chunk: HistoryChunk) -> None:
    """Keep the rows of `chunk` that are not there yet, within the transaction that is open."""
    rows = [
        (sweep, piece.run, piece.attempt, piece.first_row, piece.count, piece.data)
        for piece in without(chunk, _overlaps(db, sweep, chunk))
    ]
    db.executemany("INSERT INTO history VALUES (?, ?, ?, ?, ?, ?)", rows)


def _overlaps(db: sqlite3.Connection, sweep: str, chunk: HistoryChunk) -> list[tuple[int, int]]:
    """(first row, count) of all stored chunks that may share rows with `chunk`: from the last one that begins no later than
    it (stored chunks are disjoint, so none before that reaches it)."""
    key = (sweep, chunk.run, chunk.attempt)
    return db.execute(
        """SELECT first_row, rows FROM history WHERE sweep = ? AND run = ? AND attempt = ? AND first_row < ?
           AND first_row >= IFNULL((SELECT MAX(first_row) FROM history
                                    WHERE sweep = ? AND run = ? AND attempt = ? AND first_row <= ?), 0)
           ORDER BY first_row""",
        (*key, chunk.first_row + chunk.count, *key, chunk.first_row),
    ).fetchall()


def read(db: sqlite3.Connection, sweep: str, run: int, attempt: int | None) -> list[HistoryChunk]:
    """Chunks of a run, or of one attempt of it, in order."""
    which, values = ("", [sweep, run]) if attempt is None else ("AND attempt = ?", [sweep, run, attempt])
    rows = db.execute(
        "SELECT run, attempt, first_row, rows, data FROM history "
        f"WHERE sweep = ? AND run = ? {which} ORDER BY attempt, first_row",
        values,
    ).fetchall()
    return [HistoryChunk(*row) for row in rows]
