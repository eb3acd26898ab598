"""What a store must be: an append-only journal per sweep, history, leases, blobs, and an index for listings.

A new store is a page of code that passes `sweep.testing.store_conformance`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol

import msgspec

from sweep.core.errors import SweepError

if TYPE_CHECKING:  # listings use stores, and need no journal
    from sweep.core.entries import AnyEntry, Recorded


class StoreError(SweepError):
    """The store cannot do what was asked; the message says what to do about it."""


class StoreFull(StoreError):
    """There is no room. Nobody can write until there is, so nobody can take anybody's place meanwhile, either."""


class StaleFence(StoreError):
    """The lease behind a fence was lost: whoever holds it now leads, the caller must stop leading."""


class SweepRemoved(StoreError):
    """The sweep is not in the store any more: whoever works on it must stop."""


class Moved(StoreError):
    """The journal went on past the position that the append was based on: read, decide again."""

    position: int | None = None
    """Where it is now, if the store says so."""
    written: Sequence[Recorded] = ()
    """What was written meanwhile, if it says that, too."""


class EntriesLost(StoreError):
    """A server has lost entries that this writer had appended: their numbers have a gap."""


class Unreadable(StoreError):
    """An entry that this version cannot read: a newer sweep wrote it, or it is damaged. Nobody may lead such a sweep."""


class Damaged(StoreError):
    """A blob is not what its name says."""


def lost_entries(sweep: str, known: int, position: int, whose: str = "") -> str:
    """In words, that a journal is shorter than somebody has seen it: no store does that, but a server that was restarted
    after a power cut, or replaced by a copy that lagged behind, may."""
    return f"the store has lost entries of sweep {sweep}: it had {known}{whose}, and has {position}; what it lost is done again"


class Lease(msgspec.Struct, frozen=True):
    """A held lease. `token` grows with every new acquisition of `name`: it is the fencing token."""

    name: str
    holder: str
    token: int
    expires_s: float
    """By the store's lease clock (`Store.clock`)."""


class Appended(msgspec.Struct, frozen=True):
    last: int
    """Journal position after the append."""
    recorded: tuple[Recorded, ...]
    """What was newly written (without entries that this writer had already appended)."""


class HistoryChunk(msgspec.Struct, frozen=True):
    """Rows first_row … first_row+count-1 of one attempt, as the newline-separated JSON rows that the run sent."""

    run: int
    attempt: int
    first_row: int
    count: int
    data: bytes


class IndexUpdate(msgspec.Struct, frozen=True):
    """Rows of the listing index that changed with this append: key -> encoded row. Replaces rows of the same key."""

    upto: int
    """The rows, as a whole, reflect the journal up to this position."""
    rows: dict[str, bytes]


class Index(msgspec.Struct, frozen=True):
    upto: int
    rows: dict[str, bytes]


class Store(Protocol):
    """All methods are synchronous, raise `StoreError` for what a person must mend, and are safe to call again after an
    error of which the outcome is unknown (appends and history are numbered by their writer)."""

    url: str
    """Its address, without a password."""
    whole_batches: bool
    """Whether a batch that raises leaves nothing, and no other writer gets into one."""

    def close(self) -> None: ...

    def batch(self) -> AbstractContextManager[None]:
        """Operations inside become durable together, at the latest at its end; where the store has `whole_batches`, none of
        them if the block raises, and no other writer gets in between. Not nestable."""
        ...

    # journal
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
        """Atomically append all entries, numbered first_seq, first_seq+1, … by `writer`; those that this writer already
        appended are skipped (a writer's numbers only grow). Addressees come from `addressee_of`. Raises StaleFence when `fence`
        (the lease of the sweep's controller, `sweep.core.names`) no longer holds, Moved
        when `after` is given and is not the journal's current position. On return the entries are durable (outside
        `batch`). `at_s` (import only) keeps an old record's time. `existing`: raises SweepRemoved instead of beginning a
        journal, and EntriesLost where the store is a server that can lose entries and has lost some of this writer's."""
        ...

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
        """Entries with position > after, in order; with `addressee` only those addressed to it. Waits up to
        `wait_s` for at least one. `bare`: the caller looks at position, time and entry only; what else stands there need
        not be true, where that is faster."""
        ...

    def position(self, sweep: str) -> int:
        """Position of the last entry, 0 for an unknown sweep. Cheap: may be polled 50 times a second."""
        ...

    def sweeps(self) -> list[str]:
        """IDs of all sweeps, in the order of their creation."""
        ...

    def last_seq(self, sweep: str, writer: str) -> int:
        """The last number that this writer appended, 0 if none."""
        ...

    # index
    def read_index(self, sweep: str, prefix: str = "") -> Index:
        """All rows whose key begins with `prefix`, and the position they reflect (0 and empty when never written)."""
        ...

    def write_index(self, sweep: str, index: Index) -> None:
        """Replace the whole index (import, repair)."""
        ...

    # history
    def append_history(self, sweep: str, chunks: Sequence[HistoryChunk]) -> None:
        """Rows already present (same run, attempt, row number) are skipped."""
        ...

    def read_history(self, sweep: str, run: int, attempt: int | None = None) -> list[HistoryChunk]:
        """Chunks in order of (attempt, first_row)."""
        ...

    # leases
    def clock(self) -> float:
        """The lease clock in seconds (monotonic; it need not be comparable to Unix time)."""
        ...

    def acquire(self, name: str, holder: str, ttl_s: float) -> Lease | None:
        """None while somebody else (or the same holder) holds an unexpired lease of that name."""
        ...

    def renew(self, lease: Lease, ttl_s: float) -> Lease | None:
        """None when it has expired or was taken over: a lease that has run out is never revived."""
        ...

    def release(self, lease: Lease) -> None: ...

    def leases(self, prefix: str) -> list[Lease]:
        """Unexpired leases whose name begins with prefix."""
        ...

    # blobs
    def put_blob(self, data: bytes) -> str:
        """Content-addressed: returns the digest (blake2b-256 hex); storing twice is a no-op."""
        ...

    def get_blob(self, digest: str) -> bytes | None: ...

    def blobs(self, idle_s: float = 0.0) -> dict[str, int]:
        """Digests of all blobs, and what each takes here (bytes). Where a batch is no transaction, only of those that nobody has
        put or got for `idle_s`: a younger one may be meant for an entry that is not written yet."""
        ...

    def delete_blobs(self, digests: Collection[str]) -> None:
        """Forget these blobs; those that are not there are passed over. Whether anybody needs them is the caller's
        business: look in the same `batch`."""
        ...

    # caches
    def put_cache(self, sweep: str, name: str, data: bytes) -> None:
        """Keep something that can be made again from the journal, in place of what was kept under that name. It goes with
        the sweep, and may vanish at any time."""
        ...

    def get_cache(self, sweep: str, name: str) -> bytes | None:
        """What was kept last under that name; None without it. The caller checks whether it is of any use."""
        ...

    # housekeeping
    def delete_sweep(self, sweep: str) -> None:
        """Forget its journal, history, index and caches; blobs stay. Unknown ones are passed over."""
        ...

    def compact(self) -> bool:
        """Give what deletions have freed back to the system, holding up nobody for longer than moments; not within a
        batch. False when that has to wait for a time when no agent is at work."""
        ...


def sound_blob(store: Store, digest: str) -> bytes | None:
    """A blob; None without it, and where it is damaged. Raises StoreError for anything else."""
    try:
        return store.get_blob(digest)
    except Damaged:
        return None
