"""How a Redis store writes things down: an entry, a segment of old entries, a block of index rows, a block of history.

The rule of this file: pure functions, no I/O. What is old and will not change is compressed many at a time, because that is what a
small record costs least as; a reader gets the same back.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import msgspec

from sweep.core.entries import FORMAT, Recorded
from sweep.core.journal import decode
from sweep.core.rows import decode_sweep
from sweep.stores._common import Row, bare_all, recorded_all, rows_of_chunk
from sweep.stores._listening import Told
from sweep.stores.base import HistoryChunk, StoreError

T = TypeVar("T")

LEVEL = 6
_CACHE_LEVEL = 1
_SAMPLE_BYTES = 16_384
ROWS_PER_BLOCK = 64
RUN_PREFIX = "run/"
_run_key = re.compile(RUN_PREFIX + r"([0-9]{10})").fullmatch


class _Row(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An entry as it stands in the journal; its position and time stand beside it."""

    seq: int
    writer: str
    data: bytes
    addressee: str | None
    based_on: int | None
    format: int


class _Stamped(msgspec.Struct, frozen=True, array_like=True, gc=False):
    at_s: float
    row: _Row


class _BareRow(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """As much of a `_Row` as folding a journal needs."""

    seq: int
    writer: str
    data: bytes


class _BareStamped(msgspec.Struct, frozen=True, array_like=True, gc=False):
    at_s: float
    row: _BareRow


_encode = msgspec.msgpack.Encoder().encode
_decode_row = msgspec.msgpack.Decoder(_Row).decode
_decode_segment = msgspec.msgpack.Decoder(list[_Stamped]).decode
_decode_bare_segment = msgspec.msgpack.Decoder(list[_BareStamped]).decode
_decode_raw_segment = msgspec.msgpack.Decoder(list[tuple[float, msgspec.Raw]]).decode
_decode_rows = msgspec.msgpack.Decoder(dict[str, bytes]).decode
_decode_block = msgspec.msgpack.Decoder(dict[int, list[tuple[int, int, int, bytes]]]).decode

# --- the journal -------------------------------------------------------------------------------------------------


def as_text(data: bytes) -> msgspec.Raw:
    """Bytes as what MessagePack calls text: the server's Lua knows nothing else."""
    return msgspec.Raw(b"\xdb" + len(data).to_bytes(4) + data)


def pack_entry(
    writer: str, seq: int, data: bytes, addressee: str | None, based_on: int | None
) -> msgspec.Raw:
    """An entry for the stream of the last ones: a `_Row`."""
    return as_text(_encode((seq, writer, data, addressee, based_on, FORMAT)))


Fields = Sequence[bytes]
Item = tuple[bytes, Fields]
"""An item of a stream: its ID, and names and values of its fields in turn."""


def pack_segment(items: Iterable[Item], before: bytes = b"") -> bytes:
    """A segment of the stream's `items` that follow one another, behind those of the segment `before`."""
    rows = _decode_raw_segment(zlib.decompress(before)) if before else []
    rows += [(float(at), msgspec.Raw(row)) for row, at in map(_parts, items)]
    return zlib.compress(_encode(rows), LEVEL)


def _parts(item: Item) -> tuple[bytes, bytes]:
    fields = item[1]
    return fields[1], fields[3]


def position_of(item: Item) -> int:
    """The position that an item's ID names."""
    return int(item[0].partition(b"-")[0])


def naming(items: Iterable[Item], kind: bytes) -> list[Item]:
    """Those of the items that may be entries of this kind; perhaps others as well."""
    return [item for item in items if kind in item[1][1]]


def recorded_items(sweep: str, items: Iterable[Item]) -> list[Recorded]:
    """The entries of the stream's items. Raises Unreadable."""
    rows: list[Row] = []
    for item in items:
        data, at = _parts(item)
        rows.append(_flat(position_of(item), float(at), _decode_row(data)))
    return recorded_all(sweep, rows)


def told_events(said: bytes) -> list[Recorded]:
    """Entries as the script tells of them: their time, and each with its position. Raises ValueError (`JournalError` is one),
    struct.error."""
    (size,) = _size.unpack_from(said)
    return _told(said, float(said[4 : 4 + size]), 4 + size)


def told_orders(said: bytes) -> Told:
    """Orders, as told to whom they are for. Raises as `told_events`."""
    before, position, seen, size = _order.unpack_from(said)
    start = _order.size + size
    return Told(before, position, seen, _told(said, float(said[_order.size : start]), start))


def _told(said: bytes, at_s: float, start: int) -> list[Recorded]:
    found: list[Recorded] = []
    while start < len(said):
        position, size = _place.unpack_from(said, start)
        start += _place.size + size
        row = _decode_row(said[start - size : start])
        entry = decode(row.data)
        found.append(
            Recorded(position, at_s, row.writer, row.seq, entry, row.addressee, row.based_on, row.format)
        )
    return found


_size, _place, _order = struct.Struct(">I"), struct.Struct(">II"), struct.Struct(">IIII")


def recorded_segment(sweep: str, item: Item, after: int, addressee: str | None) -> list[Recorded]:
    """The entries of a segment that stand behind position `after`, or those of them with that addressee. Raises Unreadable."""
    last = position_of(item)
    rows = _segment_rows(sweep, last, item[1][1], _decode_segment)
    first = last - len(rows) + 1
    rows = rows[max(0, after + 1 - first) :]
    chosen = [
        _flat(position, stamped.at_s, stamped.row)
        for position, stamped in enumerate(rows, last - len(rows) + 1)
        if addressee is None or stamped.row.addressee == addressee
    ]
    return recorded_all(sweep, chosen)


def bare_segment(sweep: str, item: Item, after: int) -> list[Recorded]:
    """As `recorded_segment` for every addressee, where nobody asks who wrote the entries: half the work. Raises Unreadable."""
    last = position_of(item)
    rows = _segment_rows(sweep, last, item[1][1], _decode_bare_segment)
    first = last - len(rows) + 1
    skipped = max(0, after + 1 - first)
    numbered = enumerate(rows[skipped:] if skipped else rows, first + skipped)
    return bare_all(sweep, [(position, stamped.at_s, stamped.row.data) for position, stamped in numbered])


def _segment_rows(sweep: str, last: int, blob: bytes, decode: Callable[[bytes], list[T]]) -> list[T]:
    try:
        return decode(zlib.decompress(blob))
    except (zlib.error, msgspec.DecodeError) as error:
        raise StoreError(f"sweep {sweep}: the journal up to entry {last} is damaged ({error})") from error


def count_segment(blob: bytes) -> int:
    """How many entries a segment has."""
    return len(_decode_raw_segment(zlib.decompress(blob)))


def _flat(position: int, at_s: float, row: _Row) -> Row:
    return position, at_s, row.writer, row.seq, row.data, row.addressee, row.based_on, row.format


# --- index -------------------------------------------------------------------------------------------------------


def block_of(key: str) -> str | None:
    """The block that a run's row belongs into; None for a key that is not a run's."""
    found = _run_key(key)
    return None if found is None else str(int(found[1]) // ROWS_PER_BLOCK)


def proclaimed(row: bytes) -> tuple[object, ...]:
    """What of a sweep's row in its index each agent must know soon."""
    try:
        view = decode_sweep(row)
    except msgspec.DecodeError:
        return (row,)
    return view.state, view.reason, view.revision


def pack_rows(rows: dict[str, bytes], before: bytes = b"") -> bytes:
    """A block of rows: those of the block `before`, replaced or added to by `rows`."""
    return zlib.compress(_encode(dict(sorted({**unpack_rows(before), **rows}.items()))), LEVEL)


def unpack_rows(block: bytes) -> dict[str, bytes]:
    """The rows of a block."""
    return _decode_rows(zlib.decompress(block)) if block else {}


# --- history -----------------------------------------------------------------------------------------------------


def open_chunks(run: int, flat: Sequence[bytes]) -> list[HistoryChunk]:
    """The chunks in a run's hash, as Redis returns one: names and values in turn."""
    chunks: list[HistoryChunk] = []
    for name, data in zip(flat[::2], flat[1::2], strict=True):
        if not name.startswith(b"n"):
            attempt, first, count = map(int, name.split(b"."))
            chunks.append(HistoryChunk(run, attempt, first, count, data))
    return chunks


def pack_block(runs: dict[int, list[HistoryChunk]]) -> bytes:
    """A block of the history of several runs, the rows of each that follow one another in one piece."""
    plain = {
        run: [(chunk.attempt, chunk.first_row, chunk.count, chunk.data) for chunk in joined(chunks)]
        for run, chunks in runs.items()
    }
    return zlib.compress(_encode(plain), LEVEL)


def unpack_block(block: bytes, run: int) -> list[HistoryChunk]:
    """The chunks of one run in a block."""
    return [HistoryChunk(run, *fields) for fields in _decode_block(zlib.decompress(block)).get(run, ())]


def joined(chunks: Iterable[HistoryChunk]) -> list[HistoryChunk]:
    """The same rows in as few chunks as there can be. Chunks of one run, in any order, that share no row."""
    found: list[HistoryChunk] = []
    pieces: list[list[bytes]] = []
    for chunk in sorted(chunks, key=lambda one: (one.attempt, one.first_row)):
        last = found[-1] if found else None
        if last is not None and (last.attempt, last.first_row + last.count) == (
            chunk.attempt,
            chunk.first_row,
        ):
            found[-1] = msgspec.structs.replace(last, count=last.count + chunk.count)
            pieces[-1] += rows_of_chunk(chunk.data)
        else:
            found.append(chunk)
            pieces.append(rows_of_chunk(chunk.data))
    return [
        msgspec.structs.replace(chunk, data=b"\n".join(rows) + (b"" if rows[-1] else b"\n"))
        for chunk, rows in zip(found, pieces, strict=True)
    ]


# --- what is kept whole ------------------------------------------------------------------------------------------


def pack_whole(data: bytes, level: int = _CACHE_LEVEL) -> bytes:
    """A blob or cache, compressed where that makes it smaller: of what is long, a piece tells."""
    if len(data) > 4 * _SAMPLE_BYTES:
        middle = data[len(data) // 2 :][:_SAMPLE_BYTES]
        if len(zlib.compress(middle, 1)) > 0.95 * _SAMPLE_BYTES:
            return b"\0" + data
    packed = zlib.compress(data, level)
    return b"\1" + packed if len(packed) < len(data) else b"\0" + data


def unpack_whole(packed: bytes) -> bytes | None:
    """What was packed; None where it is damaged."""
    try:
        return zlib.decompress(packed[1:]) if packed[:1] == b"\1" else packed[1:]
    except zlib.error:
        return None
