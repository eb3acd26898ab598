"""The identity of data that a run reads: BLAKE3 of a file, or of a folder's list of files, remembered as long as the file stays as it is.

The rules of this file:
- What is remembered belongs to (device, inode, size, time of change, time of the inode's change): a write changes one of them. A file
  that was changed within `FRESH_S` is not remembered, as a second write within the clock's grain would not show.
- The cache is a cache: where it cannot be used, everything is read.
- A folder has the digest that an artifact with the same files has (`sweep.provenance.artifact`).
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from sweep.provenance.artifact import File, digest_of

PART_BYTES = 1 << 20
FRESH_S = 2.0
MAX_FILES = 1_000_000
_SCHEMA = """
create table if not exists digest (
    device integer, inode integer, size integer, changed integer, status integer, digest text, primary key (device, inode)
) without rowid
"""


class DataError(Exception):
    """Data cannot be read; the message says what and why."""


class Seen(msgspec.Struct, frozen=True):
    """Data as it was found."""

    digest: str
    """BLAKE3, hex."""
    size: int
    """In bytes."""
    files: int = 1
    newest_s: float = 0.0
    """When a file of it, or what is known about one, was changed last (Unix time)."""
    stamp: tuple[int, ...] = ()
    """Of a single file: inode, size, time of change, time of the inode's change (in ns), when it was read."""
    listing: bytes = b""
    """For a folder: its files with sizes and digests, as JSON; empty for a single file."""


class Digests:
    """Hashes files and folders, each content once. Safe to use from several threads, one of which reads at a time."""

    def __init__(self, cache: Path | None = None) -> None:
        """`cache`: the file that remembers digests for other processes; None: nothing is remembered."""
        self._cache, self._lock = cache, threading.Lock()
        self._known: sqlite3.Connection | None = None

    def of(self, path: str) -> Seen:
        """The identity of a file or a folder, which may be a link to one. Raises DataError."""
        with self._lock:
            try:
                if not os.path.isdir(path):  # noqa: PTH112
                    digest, stat = self._file(path)
                    stamp = (stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
                    return Seen(digest, stat.st_size, 1, _newest_s(stat), stamp)
                rows = list(self._files(path))
            except OSError as error:
                raise DataError(f"{error.filename or path}: {error.strerror or error}") from None
            files = tuple(
                sorted(
                    (File(name, size, digest) for name, size, digest, _ in rows), key=lambda file: file.path
                )
            )
            newest_s = max((row[3] for row in rows), default=0.0)
            listing = msgspec.json.encode([[file.path, file.size, file.digest] for file in files])
            return Seen(
                digest_of(files), sum(file.size for file in files), len(files), newest_s, listing=listing
            )

    def close(self) -> None:
        """Let go of the cache."""
        with self._lock:
            if self._known is not None:
                self._known.close()
                self._known = None

    def _files(self, folder: str) -> Iterator[tuple[str, int, str, float]]:
        """(path below `folder`, size, digest, time of the last change) of every file; links to files are followed, links to folders are not."""
        count = 0
        for at, _, names in os.walk(folder):
            for name in names:
                count += 1
                if count > MAX_FILES:
                    raise DataError(f"{folder} has more than {MAX_FILES:,} files")
                path = f"{at}/{name}"
                digest, stat = self._file(path)
                name = os.fsencode(os.path.relpath(path, folder)).decode("utf-8", "replace")
                yield name, stat.st_size, digest, _newest_s(stat)

    def _file(self, path: str) -> tuple[str, os.stat_result]:
        from blake3 import blake3

        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb", buffering=0) as stream:  # noqa: PTH123
            stat = os.fstat(stream.fileno())
            key = (stat.st_dev, _signed(stat.st_ino), stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
            known = self._look_up(key)
            if known is not None:
                return known, stat
            hasher, part = blake3(), bytearray(PART_BYTES)
            view = memoryview(part)
            while count := stream.readinto(part):
                hasher.update(view[:count])
            after = os.fstat(stream.fileno())
        digest = str(hasher.hexdigest())
        quiet = time.time() - _newest_s(stat) > FRESH_S
        if quiet and (after.st_mtime_ns, after.st_ctime_ns) == key[3:]:
            self._remember(key, digest)
        return digest, after

    def _look_up(self, key: tuple[int, ...]) -> str | None:
        with contextlib.suppress(sqlite3.Error, OSError):
            known = self._opened()
            if known is not None:
                where = "device = ? and inode = ? and size = ? and changed = ? and status = ?"
                row = known.execute(f"select digest from digest where {where}", key).fetchone()
                return None if row is None else str(row[0])
        return None

    def _remember(self, key: tuple[int, ...], digest: str) -> None:
        with contextlib.suppress(sqlite3.Error, OSError):
            known = self._opened()
            if known is not None:
                known.execute("insert or replace into digest values (?, ?, ?, ?, ?, ?)", (*key, digest))

    def _opened(self) -> sqlite3.Connection | None:
        if self._known is None and self._cache is not None:
            self._cache.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._known = sqlite3.connect(
                self._cache, timeout=5, isolation_level=None, check_same_thread=False
            )
            self._known.execute("pragma journal_mode = wal")
            self._known.execute("pragma synchronous = off")
            self._known.execute(_SCHEMA)
        return self._known


def _newest_s(stat: os.stat_result) -> float:
    return max(stat.st_mtime, stat.st_ctime)


def _signed(number: int) -> int:
    """An inode as SQLite keeps integers: 64 bits with a sign."""
    return number - (1 << 64) if number >= 1 << 63 else number
