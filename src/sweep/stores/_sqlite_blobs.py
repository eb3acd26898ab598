"""The SQLite store's table of blobs: bytes under the name that their content gives them, compressed where that helps."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection

from sweep.stores._common import digest_of

_ZLIB = 1
"""Value of the column `codec`; 0 is for what is kept as it is."""


def has(db: sqlite3.Connection, digest: str) -> bool:
    """Whether a blob is there."""
    return db.execute("SELECT 1 FROM blob WHERE digest = ?", (digest,)).fetchone() is not None


def put(db: sqlite3.Connection, row: tuple[str, int, bytes]) -> None:
    """Keep a blob as (digest, codec, bytes), packed beforehand, within the transaction that is open."""
    db.execute("INSERT OR IGNORE INTO blob VALUES (?, ?, ?)", row)


def get(db: sqlite3.Connection, digest: str) -> bytes | None:
    """The blob; None without it. Raises ValueError when what is kept is not what its name says."""
    row = db.execute("SELECT codec, data FROM blob WHERE digest = ?", (digest,)).fetchone()
    if row is None:
        return None
    import zlib  # listings read none

    try:
        data: bytes = zlib.decompress(row[1]) if row[0] == _ZLIB else row[1]
    except zlib.error:
        data = b""
    if digest_of(data) != digest:
        raise ValueError(f"the blob {digest[:12]} is damaged")
    return data


def sizes(db: sqlite3.Connection) -> dict[str, int]:
    """Digest of each blob -> the bytes that it takes."""
    return dict(db.execute("SELECT digest, length(data) FROM blob").fetchall())


def delete(db: sqlite3.Connection, digests: Collection[str]) -> None:
    """Forget blobs, within the transaction that is open."""
    db.executemany("DELETE FROM blob WHERE digest = ?", [(digest,) for digest in digests])
