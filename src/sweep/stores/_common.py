"""What every store does alike: settle entries, cut history, name blobs. Pure functions, no I/O."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, TypeAlias

from sweep.stores.base import HistoryChunk, Lease, Moved, StaleFence, StoreError, SweepRemoved, Unreadable

if TYPE_CHECKING:  # the journal is imported where it is read or written: listings do neither
    from sweep.core.entries import AnyEntry, Recorded

Row = tuple[int, float, str, int, bytes, str | None, int | None, int]
"""Position, time, writer, its number, the entry as bytes, addressee, what it was based on, format."""

_ROUNDING_S = 1.0

Settled: TypeAlias = "tuple[int, bytes, AnyEntry]"
"""A writer's number, the entry as bytes, and the entry as readers will see it."""


def settle_all(entries: Sequence[AnyEntry], first_seq: int) -> list[Settled]:
    """Number and encode entries. Raises `JournalError` before anything is written."""
    from sweep.core.journal import settle

    return [(seq, *settle(entry)) for seq, entry in enumerate(entries, first_seq)]


def check_there(sweep: str, existing: bool, after: int | None, position: int, asked: int, fresh: int) -> None:
    """Raise SweepRemoved when the journal must have begun already and has not, and Moved unless the journal stands where the caller thinks, or the append is a repetition of one that
    succeeded (which itself has moved the journal)."""
    if existing and position == 0:
        raise SweepRemoved(f"sweep {sweep} has been removed")
    repeated = asked > 0 and fresh == 0
    if after is not None and after != position and not repeated:
        raise Moved(
            f"the journal of sweep {sweep} is at {position}, not at {after}: somebody else has written"
        )


def condemned(broken: StoreError, can_be: str) -> StoreError:
    """The first error of a batch, of the same class, as the reason why all of it is void."""
    error = type(broken)(f"nothing of this batch {can_be} recorded: {broken}")
    error.__cause__ = broken
    return error


def unexpired(row: tuple[str, str, int, float, float, str], clock_s: float, boot: str) -> Lease | None:
    """The lease of (name, holder, token, expires, ttl, boot). None for one that has run out, or was given before the
    machine's last boot: by its number of the boot, or, where that is not known, because it would run longer than it was
    given for."""
    name, holder, token, expires_s, ttl_s, its_boot = row
    if boot != its_boot or not 0 < expires_s - clock_s <= ttl_s + _ROUNDING_S:
        return None
    return Lease(name, holder, token, expires_s)


def stale(fence: Lease) -> StaleFence:
    return StaleFence(f"{fence.holder} no longer holds the lease {fence.name!r} (token {fence.token})")


def recorded_all(sweep: str, rows: Sequence[Row]) -> list[Recorded]:
    """The entries in these rows. Raises Unreadable, naming the first that cannot be read."""
    from sweep.core.entries import Recorded

    entries = _entries(sweep, [row[0] for row in rows], [row[4] for row in rows])
    return [
        Recorded(position, at_s, writer, seq, entry, to, based_on, version)
        for (position, at_s, writer, seq, _, to, based_on, version), entry in zip(rows, entries, strict=True)
    ]


def bare_all(sweep: str, rows: Sequence[tuple[int, float, bytes]]) -> list[Recorded]:
    """The entries in rows of position, time and bytes; nobody asks who wrote them. Raises Unreadable as `recorded_all`."""
    from sweep.core.entries import Recorded

    entries = _entries(sweep, [row[0] for row in rows], [row[2] for row in rows])
    return [
        Recorded(position, at_s, "", 0, entry)
        for (position, at_s, _), entry in zip(rows, entries, strict=True)
    ]


def _entries(sweep: str, positions: list[int], data: list[bytes]) -> list[AnyEntry]:
    from sweep.core.journal import JournalError, decode_all

    try:
        return decode_all(data)
    except JournalError:
        return [readable(sweep, *one) for one in zip(positions, data, strict=True)]


def readable(sweep: str, position: int, data: bytes) -> AnyEntry:
    """The entry in `data`. Raises Unreadable, naming where it stands."""
    from sweep.core.journal import JournalError, decode

    try:
        return decode(data)
    except JournalError as error:
        raise Unreadable(f"sweep {sweep}, journal entry {position}: {error}") from error


def prefix_end(prefix: str) -> str | None:
    """The least string above every string that begins with `prefix`, by code points; None when there is none."""
    for end in range(len(prefix) - 1, -1, -1):
        code = ord(prefix[end])
        if code < 0x10FFFF:
            following = 0xE000 if code + 1 == 0xD800 else code + 1  # text holds no surrogates
            return prefix[:end] + chr(following)
    return None


def digest_of(data: bytes) -> str:
    """The name of a blob: BLAKE2b with 256 bits, in hex."""
    import hashlib  # listings need none

    return hashlib.blake2b(data, digest_size=32).hexdigest()


_SAMPLE_BYTES = 65_536
_LARGE_BYTES = 4 * _SAMPLE_BYTES


def packed(data: bytes) -> tuple[int, bytes]:
    """(codec, bytes to store) of a blob: 1 for zlib, 0 for as it is. What is large and does not shrink at its beginning (weights of
    a network) is not tried whole."""
    import zlib  # listings need none

    if len(data) >= _LARGE_BYTES and len(zlib.compress(data[:_SAMPLE_BYTES], 1)) > 0.9 * _SAMPLE_BYTES:
        return 0, data
    small = zlib.compress(data, 1)
    return (1, small) if len(small) < len(data) else (0, data)


# --- history ---------------------------------------------------------------------------------------------------


def check_chunk(chunk: HistoryChunk) -> None:
    """Raise ValueError when `count` is not the number of rows in `data`: later cuts would lose or double rows."""
    rows = len(rows_of_chunk(chunk.data)) if chunk.count or chunk.data else 0
    if rows != chunk.count or chunk.first_row < 0:
        raise ValueError(
            f"run {chunk.run}, attempt {chunk.attempt}: a chunk from row {chunk.first_row} says {chunk.count} rows, has {rows}"
        )


def without(chunk: HistoryChunk, present: Iterable[tuple[int, int]]) -> list[HistoryChunk]:
    """What is left of `chunk` without the rows present already, given as (first row, count), ascending and disjoint."""
    start, end = chunk.first_row, chunk.first_row + chunk.count
    gaps: list[tuple[int, int]] = []
    for first, count in present:
        if first > start:
            gaps.append((start, min(first, end)))
        start = max(start, first + count)
        if start >= end:
            break
    if start < end:
        gaps.append((start, end))
    if gaps == [(chunk.first_row, end)]:
        return [chunk]
    return [_cut(chunk, first, last) for first, last in gaps]


def _cut(chunk: HistoryChunk, first: int, end: int) -> HistoryChunk:
    rows = rows_of_chunk(chunk.data)[first - chunk.first_row : end - chunk.first_row]
    tail = (
        b"\n" if chunk.data.endswith(b"\n") or not rows[-1] else b""
    )  # an empty last row must be closed to count
    return HistoryChunk(chunk.run, chunk.attempt, first, end - first, b"\n".join(rows) + tail)


def rows_of_chunk(data: bytes) -> list[bytes]:
    """Rows stand between newlines; one newline at the end closes the last row and begins none."""
    return data.removesuffix(b"\n").split(b"\n")
