"""The default store: one SQLite file in WAL mode, shared by all processes of one machine.

The rules of this file: every change runs in one `BEGIN IMMEDIATE … COMMIT`, so that nobody gets in between; what is
remembered between calls (positions) is dropped when `PRAGMA data_version` says that somebody else has written, and
after every rollback; no read transaction outlives its call, so that the log can always be folded back.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweep.stores import _sqlite_blobs, _sqlite_cache, _sqlite_compact, _sqlite_history
from sweep.stores._clock import boot_id, monotonic_s
from sweep.stores._common import (
    Row,
    Settled,
    bare_all,
    check_chunk,
    check_there,
    condemned,
    digest_of,
    packed,
    prefix_end,
    recorded_all,
    settle_all,
    stale,
    unexpired,
)
from sweep.stores._filesystem import Mount
from sweep.stores._sqlite_file import describe_file, in_words, open_file, take_lock
from sweep.stores._sqlite_known import Known
from sweep.stores._sqlite_words import as_store_errors
from sweep.stores.base import Appended, Damaged, HistoryChunk, Index, IndexUpdate, Lease, StoreError

if TYPE_CHECKING:  # listings need none of the journal's entries
    from sweep.core.entries import AnyEntry, Recorded

BUSY_TIMEOUT_S = 30.0
_COLUMNS, _BARE = "position, at, writer, seq, entry, addressee, based_on, format", "position, at, entry"
_FIRST_POLL_S, _LAST_POLL_S = 0.001, 0.01
_GOES_ON = contextlib.nullcontext()
"""Within what is open already."""


class SqliteStore:
    """A store in the file `path` (absolute). One object belongs to one thread; many objects may share the file.

    `clock`, `now`, `boot` and `mounts` stand in for the machine's in tests.
    """

    def __init__(
        self,
        path: Path,
        *,
        create: bool = False,
        clock: Callable[[], float] = monotonic_s,
        now: Callable[[], float] = time.time,
        boot: str | None = None,
        mounts: list[Mount] | None = None,
        busy_timeout_s: float = BUSY_TIMEOUT_S,
    ) -> None:
        self.path, self._name, self.whole_batches = path, str(path), True
        self.url = f"sqlite:///{path}"
        self._clock, self._now, self._given_boot = clock, now, boot
        self._busy_timeout_s = busy_timeout_s
        self._db = open_file(path, create=create, busy_timeout_s=busy_timeout_s, mounts=mounts)
        self._file = self._identity()
        self._in_batch = False
        self._broken: StoreError | None = None
        self._known = Known()
        self._fenced: Lease | None = None
        """Found to hold in this batch: nobody can take it before its end."""
        self._version = -1

    @as_store_errors
    def close(self) -> None:
        self._db.close()

    # --- transactions

    @contextlib.contextmanager
    def batch(self) -> Iterator[None]:
        if self._in_batch:
            raise RuntimeError("a batch is open already: batches do not nest")
        self._in_batch, self._broken, self._fenced = True, None, None
        try:
            self._begin()
            yield
            if self._broken is not None:
                raise condemned(self._broken, "was")
            self._db.execute("COMMIT")
        except BaseException as error:
            self._roll_back()
            if isinstance(error, sqlite3.Error):
                raise in_words(error, self.path) from error
            raise
        finally:
            self._in_batch = False

    def _begin(self) -> None:
        if self._identity() != self._file:
            raise StoreError(
                f"{self.path} was moved, deleted or replaced while in use; what is written now would be lost"
            )
        if self._db.in_transaction:  # an interrupt came between the end of one and our note of it
            self._db.execute("ROLLBACK")
        take_lock(self._db, self._busy_timeout_s)
        self._refresh()

    def _roll_back(self) -> None:
        self._known.clear()
        with contextlib.suppress(sqlite3.Error):
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")

    def _writing(self) -> AbstractContextManager[None]:
        """The batch that is open, or one for a single operation."""
        if not self._in_batch:
            return self.batch()
        if self._broken is not None:  # SQLite may have rolled back already: another change would stand alone
            raise condemned(self._broken, "can be")
        return _GOES_ON

    def _snapshot(self) -> AbstractContextManager[None]:
        """Several reads that see the same state."""
        return _GOES_ON if self._in_batch else self._reading()

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            self._db.execute("BEGIN")
            yield
        finally:
            if self._db.in_transaction:
                self._db.execute("COMMIT")

    def _identity(self) -> tuple[int, int] | None:
        try:
            found = os.stat(self._name)  # noqa: PTH116 - at every commit
        except OSError:
            return None
        return found.st_dev, found.st_ino

    # --- journal

    @as_store_errors
    def append(
        self,
        sweep: str,
        entries: Sequence[AnyEntry],
        *,
        writer: str,
        first_seq: int,
        fence: Lease | None = None,
        after: int | None = None,
        based_on: int | None = None,
        index: IndexUpdate | None = None,
        at_s: float | None = None,
        existing: bool = False,
    ) -> Appended:
        settled = settle_all(entries, first_seq)
        with self._writing():
            if fence is not None:
                self._check_fence(fence)
            position, previous_s = self._head(sweep)
            fresh = self._not_yet(sweep, writer, settled)
            check_there(sweep, existing, after, position, len(settled), len(fresh))
            now_s = max(previous_s, self._now() if at_s is None else at_s)
            recorded = self._insert(sweep, position, now_s, writer, based_on, fresh)
            if index is not None:
                self._update_index(sweep, index)
        return Appended(position + len(recorded), recorded)

    def _not_yet(self, sweep: str, writer: str, settled: list[Settled]) -> list[Settled]:
        """Without those that this writer has appended before."""
        if not settled or self.last_seq(sweep, writer) < settled[0][0]:
            return settled
        span = (sweep, writer, settled[0][0], settled[-1][0])
        rows = self._db.execute(
            "SELECT seq FROM journal WHERE sweep = ? AND writer = ? AND seq BETWEEN ? AND ?", span
        )
        known = {seq for (seq,) in rows.fetchall()}
        return [item for item in settled if item[0] not in known]

    def _insert(
        self, sweep: str, position: int, at_s: float, writer: str, based_on: int | None, fresh: list[Settled]
    ) -> tuple[Recorded, ...]:
        if not fresh:
            return ()
        from sweep.core.entries import FORMAT, Recorded, addressee_of

        if position == 0:
            self._db.execute("INSERT INTO sweep (name) VALUES (?)", (sweep,))
        rows: list[Row] = []
        recorded = []
        for at, (seq, data, entry) in enumerate(fresh, position + 1):
            addressee = addressee_of(entry)
            rows.append((at, at_s, writer, seq, data, addressee, based_on, FORMAT))
            recorded.append(Recorded(at, at_s, writer, seq, entry, addressee, based_on, FORMAT))
        self._db.executemany(
            "INSERT INTO journal (sweep, position, at, writer, seq, entry, addressee, based_on, format) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [(sweep, *row) for row in rows],
        )
        self._known.appended(sweep, writer, rows)
        return tuple(recorded)

    @as_store_errors
    def read(
        self,
        sweep: str,
        after: int,
        *,
        addressee: str | None = None,
        limit: int | None = None,
        wait_s: float = 0.0,
        bare: bool = False,
    ) -> list[Recorded]:
        deadline_s = time.monotonic() + wait_s
        while True:
            if self.position(sweep) > after:
                found = self._read_now(sweep, after, addressee, -1 if limit is None else limit, bare)
                if found:
                    return found
            if self._in_batch or not self._wait_for_others(deadline_s):
                return []

    def _read_now(
        self, sweep: str, after: int, addressee: str | None, limit: int, bare: bool
    ) -> list[Recorded]:
        known = self._known.after(sweep, after, addressee, limit)
        if known is not None:
            return recorded_all(sweep, known)
        which, values = "", [sweep, after]
        if addressee is not None:
            which, values = "AND addressee = ?", [*values, addressee]
        columns = _BARE if bare else _COLUMNS
        rows = self._db.execute(
            f"SELECT {columns} FROM journal WHERE sweep = ? AND position > ? {which} ORDER BY position LIMIT ?",
            [*values, limit],
        ).fetchall()
        return bare_all(sweep, rows) if bare else recorded_all(sweep, rows)

    def _wait_for_others(self, deadline_s: float) -> bool:
        """Wait until somebody else has written. False when the time is over."""
        pause_s = _FIRST_POLL_S
        while not self._refresh():
            left_s = deadline_s - time.monotonic()
            if left_s <= 0:
                return False
            time.sleep(min(pause_s, left_s))
            pause_s = min(pause_s * 1.5, _LAST_POLL_S)
        return True

    @as_store_errors
    def position(self, sweep: str) -> int:
        if not self._in_batch:
            self._refresh()
        return self._head(sweep)[0]

    def _head(self, sweep: str) -> tuple[int, float]:
        """Position and time of the last entry, as of the last `_refresh`."""
        head = self._known.heads.get(sweep)
        if head is None:
            row = self._db.execute(
                "SELECT position, at FROM journal WHERE sweep = ? ORDER BY position DESC LIMIT 1", (sweep,)
            ).fetchone()
            head = self._known.heads[sweep] = row or (0, 0.0)
        return head

    def _refresh(self) -> bool:
        """Forget positions when another connection has written since the last call; True then."""
        version = self._db.execute("PRAGMA data_version").fetchone()[0]
        if version == self._version:
            return False
        self._version = version
        self._known.clear()
        return True

    @as_store_errors
    def sweeps(self) -> list[str]:
        return [name for (name,) in self._db.execute("SELECT name FROM sweep ORDER BY number").fetchall()]

    @as_store_errors
    def last_seq(self, sweep: str, writer: str) -> int:
        if not self._in_batch:
            self._refresh()
        last = self._known.seqs.get((sweep, writer))
        if last is None:
            query = "SELECT MAX(seq) FROM journal WHERE sweep = ? AND writer = ?"
            last = self._known.seqs[sweep, writer] = (
                self._db.execute(query, (sweep, writer)).fetchone()[0] or 0
            )
        return last

    # --- index

    @as_store_errors
    def read_index(self, sweep: str, prefix: str = "") -> Index:
        query, values = "SELECT key, row FROM listing WHERE sweep = ? AND key >= ?", [sweep, prefix]
        end = prefix_end(prefix)
        if end is not None:
            query, values = f"{query} AND key < ?", [*values, end]
        with self._snapshot():
            if not self._in_batch:
                self._refresh()
            upto = self._upto(sweep)
            rows = self._db.execute(f"{query} ORDER BY key", values).fetchall()
        return Index(upto, dict(rows))

    @as_store_errors
    def write_index(self, sweep: str, index: Index) -> None:
        with self._writing():
            self._db.execute("DELETE FROM listing WHERE sweep = ?", (sweep,))
            self._put_rows(sweep, index.upto, index.rows)

    def _update_index(self, sweep: str, index: IndexUpdate) -> None:
        if index.upto >= self._upto(sweep):  # else a repetition that came late
            self._put_rows(sweep, index.upto, index.rows)

    def _put_rows(self, sweep: str, upto: int, rows: dict[str, bytes]) -> None:
        changed = [(sweep, key, row) for key, row in rows.items()]
        self._db.executemany("INSERT OR REPLACE INTO listing VALUES (?, ?, ?)", changed)
        self._db.execute("INSERT OR REPLACE INTO listing_upto VALUES (?, ?)", (sweep, upto))
        self._known.uptos[sweep] = upto

    def _upto(self, sweep: str) -> int:
        """As of the last `_refresh`."""
        upto = self._known.uptos.get(sweep)
        if upto is None:
            row = self._db.execute("SELECT upto FROM listing_upto WHERE sweep = ?", (sweep,)).fetchone()
            upto = self._known.uptos[sweep] = row[0] if row else 0
        return upto

    # --- history

    @as_store_errors
    def append_history(self, sweep: str, chunks: Sequence[HistoryChunk]) -> None:
        for chunk in chunks:
            check_chunk(chunk)
        with self._writing():
            for chunk in chunks:
                _sqlite_history.append(self._db, sweep, chunk)

    @as_store_errors
    def read_history(self, sweep: str, run: int, attempt: int | None = None) -> list[HistoryChunk]:
        return _sqlite_history.read(self._db, sweep, run, attempt)

    # --- leases

    def clock(self) -> float:
        return self._clock()

    @as_store_errors
    def acquire(self, name: str, holder: str, ttl_s: float) -> Lease | None:
        if self._held(name) is not None:  # without waiting for the lock: agents ask again and again
            return None
        with self._writing():
            if self._held(name) is not None:
                return None
            self._db.execute("UPDATE token SET last = last + 1")
            token: int = self._db.execute("SELECT last FROM token").fetchone()[0]
            expires_s = self._clock() + ttl_s
            row = (name, holder, token, expires_s, ttl_s, self._boot())
            self._db.execute("INSERT OR REPLACE INTO lease VALUES (?, ?, ?, ?, ?, ?)", row)
        return Lease(name, holder, token, expires_s)

    @as_store_errors
    def renew(self, lease: Lease, ttl_s: float) -> Lease | None:
        with self._writing():
            held = self._held(lease.name)
            if held is None or (held.holder, held.token) != (lease.holder, lease.token):
                return None
            expires_s = self._clock() + ttl_s
            self._db.execute(
                "UPDATE lease SET expires = ?, ttl = ? WHERE name = ?", (expires_s, ttl_s, lease.name)
            )
        return Lease(lease.name, lease.holder, lease.token, expires_s)

    @as_store_errors
    def release(self, lease: Lease) -> None:
        self._fenced = None
        mine = (lease.name, lease.holder, lease.token)
        with self._writing():
            self._db.execute("DELETE FROM lease WHERE name = ? AND holder = ? AND token = ?", mine)

    @as_store_errors
    def leases(self, prefix: str) -> list[Lease]:
        rows = self._db.execute("SELECT * FROM lease ORDER BY name").fetchall()
        return [
            lease
            for lease in map(self._unexpired, rows)
            if lease is not None and lease.name.startswith(prefix)
        ]

    def _held(self, name: str) -> Lease | None:
        row = self._db.execute("SELECT * FROM lease WHERE name = ?", (name,)).fetchone()
        return None if row is None else self._unexpired(row)

    def _unexpired(self, row: tuple[str, str, int, float, float, str]) -> Lease | None:
        return unexpired(row, self._clock(), self._boot())

    def _boot(self) -> str:
        return boot_id() if self._given_boot is None else self._given_boot

    def _check_fence(self, fence: Lease) -> None:
        known = self._fenced
        if known is not None and (known.name, known.token) == (fence.name, fence.token):
            return
        held = self._held(fence.name)
        if held is None or (held.holder, held.token) != (fence.holder, fence.token):
            raise stale(fence)
        self._fenced = held

    # --- blobs

    @as_store_errors
    def put_blob(self, data: bytes) -> str:
        digest = digest_of(data)
        if not _sqlite_blobs.has(self._db, digest):
            row = (digest, *packed(data))
            with self._writing():
                _sqlite_blobs.put(self._db, row)
        return digest

    @as_store_errors
    def get_blob(self, digest: str) -> bytes | None:
        try:
            return _sqlite_blobs.get(self._db, digest)
        except ValueError as error:
            raise Damaged(f"{self.path}: {error}") from None

    @as_store_errors
    def blobs(self, idle_s: float = 0.0) -> dict[str, int]:  # noqa: ARG002
        return _sqlite_blobs.sizes(self._db)

    @as_store_errors
    def delete_blobs(self, digests: Collection[str]) -> None:
        with self._writing():
            _sqlite_blobs.delete(self._db, digests)

    # --- caches

    @as_store_errors
    def put_cache(self, sweep: str, name: str, data: bytes) -> None:
        with self._writing():
            _sqlite_cache.put(self._db, sweep, name, data)

    @as_store_errors
    def get_cache(self, sweep: str, name: str) -> bytes | None:
        return _sqlite_cache.get(self._db, sweep, name)

    # --- housekeeping

    @as_store_errors
    def delete_sweep(self, sweep: str) -> None:
        with self._writing():
            for table in ("journal", "history", "listing", "listing_upto"):
                self._db.execute(f"DELETE FROM {table} WHERE sweep = ?", (sweep,))
            _sqlite_cache.drop(self._db, sweep)
            self._db.execute("DELETE FROM sweep WHERE name = ?", (sweep,))
            self._known.clear()

    @as_store_errors
    def compact(self) -> bool:
        self._db.execute(f"PRAGMA busy_timeout = {int(self._busy_timeout_s * 1000)}")
        try:
            return _sqlite_compact.compact(self._db, lambda: not self.leases(""))
        finally:
            self._db.execute("PRAGMA busy_timeout = 0")

    @as_store_errors
    def describe(self) -> dict[str, Any]:
        """What a person who looks after the store wants to know; plain values, sizes in bytes."""
        return {"url": self.url, **describe_file(self._db, self.path)}
