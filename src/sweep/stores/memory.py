"""A store in this process's memory: for tests, the simulated world and `memory:`.

The rule of this file: it behaves as the SQLite store does, down to what comes back. Entries are kept as bytes, so that
no reader shares anything mutable with a writer; a batch keeps an undo log, so that its cost is that of its changes.
"""

from __future__ import annotations

import bisect
import contextlib
import functools
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, NamedTuple

from sweep.core.entries import FORMAT, AnyEntry, Recorded, addressee_of
from sweep.stores._common import (
    Settled,
    check_chunk,
    check_there,
    digest_of,
    readable,
    settle_all,
    stale,
    without,
)
from sweep.stores.base import Appended, HistoryChunk, Index, IndexUpdate, Lease, StoreError


class _Row(NamedTuple):
    at_s: float
    writer: str
    seq: int
    data: bytes
    addressee: str | None
    based_on: int | None
    format: int


class _Journal:
    """Row k is position k+1."""

    def __init__(self) -> None:
        self.rows: list[_Row] = []
        self.numbers: dict[str, list[int]] = {}
        """Each writer's numbers, ascending."""
        self.addressed: dict[str, list[int]] = {}
        """Each addressee's positions, ascending."""


class _Core:
    """What all handles share."""

    def __init__(self, clock: Callable[[], float], now: Callable[[], float]) -> None:
        self.clock, self.now = clock, now
        self.lock = threading.RLock()
        self.changed = threading.Condition(self.lock)
        self.journals: dict[str, _Journal] = {}
        self.histories: dict[str, dict[tuple[int, int], list[HistoryChunk]]] = {}
        self.listings: dict[str, dict[str, bytes]] = {}
        self.upto: dict[str, int] = {}
        self.leases: dict[str, Lease] = {}
        self.token = 0
        self.blobs: dict[str, bytes] = {}
        self.caches: dict[str, dict[str, bytes]] = {}
        self.batch_of: MemoryStore | None = None
        self.undo: list[Callable[[], object]] = []


class _Alone:
    """Holds the lock, and nobody else's batch is open. A class, because the simulated world spends its time here."""

    __slots__ = ("_core", "_store")

    def __init__(self, store: MemoryStore, core: _Core) -> None:
        self._store, self._core = store, core

    def __enter__(self) -> _Core:
        core = self._core
        core.lock.acquire()
        if core.batch_of is not None and core.batch_of is not self._store:
            core.lock.release()
            raise StoreError("the store is busy: another handle in this thread has a batch open")
        return core

    def __exit__(self, *_: object) -> None:
        self._core.lock.release()


class MemoryStore:
    """A store that ends with the process. `client()` gives further handles on the same data, one per thread.

    `clock` is the lease clock, `now` the Unix time, both in seconds: the simulated world passes its own. While one
    handle has a batch open, the others wait (in other threads) or raise StoreError (in the same one).
    """

    url = "memory:"
    whole_batches = True

    def __init__(
        self, *, clock: Callable[[], float] = time.monotonic, now: Callable[[], float] = time.time
    ) -> None:
        self._core = _Core(clock, now)

    def client(self) -> MemoryStore:
        """Another handle on the same data."""
        handle = MemoryStore.__new__(MemoryStore)
        handle._core = self._core
        return handle

    def close(self) -> None:
        """Nothing to do: what is stored lives as long as any handle."""

    def describe(self) -> dict[str, Any]:
        """What a person who looks after the store wants to know."""
        return {"url": self.url, "durability": "none: everything is gone when this process ends"}

    # --- transactions

    @contextlib.contextmanager
    def batch(self) -> Iterator[None]:
        with self._alone() as core:
            if core.batch_of is self:
                raise RuntimeError("a batch is open already: batches do not nest")
            core.batch_of = self
            try:
                yield
            except BaseException:
                for step in reversed(core.undo):
                    step()
                raise
            finally:
                core.batch_of = None
                core.undo.clear()
                core.changed.notify_all()

    def _alone(self) -> _Alone:
        return _Alone(self, self._core)

    def _on_undo(self, step: Callable[[], object]) -> None:
        if self._core.batch_of is not None:
            self._core.undo.append(step)

    def _set(self, table: dict[Any, Any], key: Any, value: Any) -> None:
        """table[key] = value, undone with the batch; None removes the key."""
        if key in table:
            before = table[key]
            self._on_undo(lambda: table.__setitem__(key, before))
        else:
            self._on_undo(lambda: table.pop(key, None))
        if value is None:
            table.pop(key, None)
        else:
            table[key] = value

    # --- journal

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
        with self._alone() as core:
            if fence is not None:
                self._check_fence(fence)
            journal = core.journals.get(sweep) or _Journal()
            fresh = self._not_yet(journal, writer, settled)
            position = len(journal.rows)
            check_there(sweep, existing, after, position, len(settled), len(fresh))
            previous_s = journal.rows[-1].at_s if journal.rows else 0.0
            now_s = max(previous_s, core.now() if at_s is None else at_s)
            if fresh and sweep not in core.journals:
                self._set(core.journals, sweep, journal)
            recorded = tuple(self._add(journal, now_s, writer, based_on, item) for item in fresh)
            if index is not None and index.upto >= core.upto.get(sweep, 0):
                self._put_rows(sweep, index.upto, index.rows)
            core.changed.notify_all()
        return Appended(position + len(recorded), recorded)

    def _not_yet(self, journal: _Journal, writer: str, settled: list[Settled]) -> list[Settled]:
        numbers = journal.numbers.get(writer)
        if not numbers or not settled or numbers[-1] < settled[0][0]:
            return settled
        known = set(numbers[bisect.bisect_left(numbers, settled[0][0]) :])
        return [item for item in settled if item[0] not in known]

    def _add(
        self, journal: _Journal, at_s: float, writer: str, based_on: int | None, item: Settled
    ) -> Recorded:
        seq, data, entry = item
        addressee = addressee_of(entry)
        journal.rows.append(_Row(at_s, writer, seq, data, addressee, based_on, FORMAT))
        self._on_undo(journal.rows.pop)
        position = len(journal.rows)
        numbers = journal.numbers.setdefault(writer, [])
        bisect.insort(numbers, seq)
        self._on_undo(lambda: numbers.remove(seq))
        if addressee is not None:
            addressed = journal.addressed.setdefault(addressee, [])
            addressed.append(position)
            self._on_undo(addressed.pop)
        return Recorded(position, at_s, writer, seq, entry, addressee, based_on, FORMAT)

    def read(
        self,
        sweep: str,
        after: int,
        *,
        addressee: str | None = None,
        limit: int | None = None,
        wait_s: float = 0.0,
        bare: bool = False,  # noqa: ARG002
    ) -> list[Recorded]:
        deadline_s = time.monotonic() + wait_s
        with self._alone() as core:
            while True:
                found = self._read_now(sweep, max(after, 0), addressee, limit)
                left_s = deadline_s - time.monotonic()
                if found or left_s <= 0 or core.batch_of is self:
                    return found
                core.changed.wait(left_s)

    def _read_now(self, sweep: str, after: int, addressee: str | None, limit: int | None) -> list[Recorded]:
        journal = self._core.journals.get(sweep)
        if journal is None:
            return []
        if addressee is None:
            positions: Sequence[int] = range(after + 1, len(journal.rows) + 1)
        else:
            addressed = journal.addressed.get(addressee, [])
            positions = addressed[bisect.bisect_right(addressed, after) :]
        return [self._recorded(sweep, journal, position) for position in positions[:limit]]

    def _recorded(self, sweep: str, journal: _Journal, position: int) -> Recorded:
        row = journal.rows[position - 1]
        entry = readable(sweep, position, row.data)
        return Recorded(
            position, row.at_s, row.writer, row.seq, entry, row.addressee, row.based_on, row.format
        )

    def position(self, sweep: str) -> int:
        with self._alone() as core:
            journal = core.journals.get(sweep)
            return len(journal.rows) if journal is not None else 0

    def sweeps(self) -> list[str]:
        with self._alone() as core:
            return list(core.journals)

    def last_seq(self, sweep: str, writer: str) -> int:
        with self._alone() as core:
            journal = core.journals.get(sweep)
            numbers = journal.numbers.get(writer) if journal is not None else None
            return numbers[-1] if numbers else 0

    # --- index

    def read_index(self, sweep: str, prefix: str = "") -> Index:
        with self._alone() as core:
            rows = core.listings.get(sweep, {})
            return Index(
                core.upto.get(sweep, 0), {key: rows[key] for key in sorted(rows) if key.startswith(prefix)}
            )

    def write_index(self, sweep: str, index: Index) -> None:
        with self._alone() as core:
            self._set(core.listings, sweep, {})
            self._put_rows(sweep, index.upto, index.rows)

    def _put_rows(self, sweep: str, upto: int, rows: dict[str, bytes]) -> None:
        listings = self._core.listings
        if sweep not in listings:
            self._set(listings, sweep, {})
        for key, row in rows.items():
            self._set(listings[sweep], key, bytes(row))
        self._set(self._core.upto, sweep, upto)

    # --- history

    def append_history(self, sweep: str, chunks: Sequence[HistoryChunk]) -> None:
        for chunk in chunks:
            check_chunk(chunk)
        with self._alone() as core:
            if sweep not in core.histories:
                self._set(core.histories, sweep, {})
            for chunk in chunks:
                stored = core.histories[sweep].setdefault((chunk.run, chunk.attempt), [])
                for piece in without(chunk, self._overlaps(stored, chunk)):
                    bisect.insort(stored, piece, key=lambda one: one.first_row)
                    self._on_undo(functools.partial(stored.remove, piece))

    @staticmethod
    def _overlaps(stored: list[HistoryChunk], chunk: HistoryChunk) -> list[tuple[int, int]]:
        begin = bisect.bisect_right(stored, chunk.first_row, key=lambda one: one.first_row)
        end = bisect.bisect_left(stored, chunk.first_row + chunk.count, key=lambda one: one.first_row)
        return [(one.first_row, one.count) for one in stored[max(begin - 1, 0) : end]]

    def read_history(self, sweep: str, run: int, attempt: int | None = None) -> list[HistoryChunk]:
        with self._alone() as core:
            attempts = core.histories.get(sweep, {})
            wanted = sorted(key for key in attempts if key[0] == run and attempt in (None, key[1]))
            return [chunk for key in wanted for chunk in attempts[key]]

    # --- leases

    def clock(self) -> float:
        return self._core.clock()

    def acquire(self, name: str, holder: str, ttl_s: float) -> Lease | None:
        with self._alone() as core:
            if self._held(name) is not None:
                return None
            core.token += 1  # also when the batch is undone: tokens only have to grow
            lease = Lease(name, holder, core.token, core.clock() + ttl_s)
            self._set(core.leases, name, lease)
            return lease

    def renew(self, lease: Lease, ttl_s: float) -> Lease | None:
        with self._alone() as core:
            if not self._holds(lease):
                return None
            renewed = Lease(lease.name, lease.holder, lease.token, core.clock() + ttl_s)
            self._set(core.leases, lease.name, renewed)
            return renewed

    def release(self, lease: Lease) -> None:
        with self._alone() as core:
            held = core.leases.get(lease.name)
            if held is not None and (held.holder, held.token) == (lease.holder, lease.token):
                self._set(core.leases, lease.name, None)

    def leases(self, prefix: str) -> list[Lease]:
        with self._alone() as core:
            now_s = core.clock()
            return [
                core.leases[name]
                for name in sorted(core.leases)
                if name.startswith(prefix) and core.leases[name].expires_s > now_s
            ]

    def _held(self, name: str) -> Lease | None:
        lease = self._core.leases.get(name)
        return lease if lease is not None and lease.expires_s > self._core.clock() else None

    def _holds(self, lease: Lease) -> bool:
        held = self._held(lease.name)
        return held is not None and (held.holder, held.token) == (lease.holder, lease.token)

    def _check_fence(self, fence: Lease) -> None:
        if not self._holds(fence):
            raise stale(fence)

    # --- blobs

    def put_blob(self, data: bytes) -> str:
        digest = digest_of(data)
        with self._alone() as core:
            if digest not in core.blobs:
                self._set(core.blobs, digest, bytes(data))
        return digest

    def get_blob(self, digest: str) -> bytes | None:
        with self._alone() as core:
            return core.blobs.get(digest)

    def blobs(self, idle_s: float = 0.0) -> dict[str, int]:  # noqa: ARG002
        with self._alone() as core:
            return {digest: len(data) for digest, data in core.blobs.items()}

    def delete_blobs(self, digests: Collection[str]) -> None:
        with self._alone() as core:
            for digest in digests:
                self._set(core.blobs, digest, None)

    # --- caches

    def put_cache(self, sweep: str, name: str, data: bytes) -> None:
        with self._alone() as core:
            self._set(core.caches, sweep, {**core.caches.get(sweep, {}), name: bytes(data)})

    def get_cache(self, sweep: str, name: str) -> bytes | None:
        with self._alone() as core:
            return core.caches.get(sweep, {}).get(name)

    # --- housekeeping

    def delete_sweep(self, sweep: str) -> None:
        with self._alone() as core:
            tables: tuple[dict[str, Any], ...] = (
                core.journals,
                core.histories,
                core.listings,
                core.upto,
                core.caches,
            )
            for table in tables:
                self._on_undo(
                    functools.partial(_restore, table, dict(table))
                )  # with its order, that of creation
                table.pop(sweep, None)
            core.changed.notify_all()

    def compact(self) -> bool:
        return True


def _restore(table: dict[str, Any], before: dict[str, Any]) -> None:
    table.clear()
    table.update(before)
