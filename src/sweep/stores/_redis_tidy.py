"""Keeping a Redis store small: old entries, the rows of ended runs and their history move into compressed pieces.

The rules of this file: each move is one script that does nothing when anything has changed since it was looked at, so that readers
see all of it either here or there and two who tidy at once do no harm; and it is only done between batches, because somebody
waits for what is in one.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import msgspec

from sweep.core import entries as e
from sweep.core.lifecycle import ENDED
from sweep.stores import _redis_pack as packing
from sweep.stores import _redis_scripts as scripts
from sweep.stores._redis_keys import Keys, keys_of
from sweep.stores._redis_link import Link
from sweep.stores.base import HistoryChunk

_RUNS_AT_ONCE = 64
_BLOCKS_AT_ONCE = 4
"""Blocks of rows that are packed between two batches: somebody waits for the next one."""
_BLOCK_BYTES, _HUGE_BYTES = 2_000_000, 64_000_000
"""History of so many bytes goes into one block; that of a single run that has more than the second is left as it is."""


class Tidy:
    """What one handle has to tidy."""

    segment = 500
    """Entries in a segment."""
    pack_at = 800
    """So many entries outside of segments make one be packed."""
    hot_rows = 128
    """So many rows of runs outside of blocks, beside those that had to stay there last time, make some be packed."""
    busy_block = packing.ROWS_PER_BLOCK // 2
    """A block with so many rows of ended runs outside of it is worth packing although other runs of it go on."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._journals: set[str] = set()
        self._rows: set[str] = set()
        self._stayed: dict[str, int] = {}
        """How many rows of a sweep packing has left outside: those of runs that go on, and of blocks that had few."""
        self._mine: set[str] = set()
        """Sweeps of which this handle wrote the index: it led them."""

    def appended(self, sweep: str, pack: bool, hot_rows: int) -> None:
        """Take note of what an append has told."""
        if pack:
            self._journals.add(sweep)
        if hot_rows:
            self._mine.add(sweep)
            self._stayed[sweep] = stayed = min(self._stayed.get(sweep, 0), hot_rows)
            if hot_rows >= stayed + self.hot_rows:
                self._rows.add(sweep)

    def forget(self, sweep: str) -> None:
        """It is gone."""
        for noted in (self._journals, self._rows, self._mine):
            noted.discard(sweep)
        self._stayed.pop(sweep, None)

    def work(self) -> None:
        """Do what has come to be due. Raises StoreError."""
        while self._journals:
            self._pack_journal(self._journals.pop(), self.pack_at)
        while self._rows:
            self._pack_rows(self._rows.pop(), self.busy_block)

    def finish(self) -> None:
        """Before the handle is closed: leave nothing large behind in the sweeps that it led."""
        for sweep in sorted(self._mine):
            self.whole(sweep)

    def whole(self, sweep: str) -> None:
        """Pack all of a sweep that can be packed."""
        self._pack_journal(sweep, 1)
        self._pack_rows(sweep, 1)
        self._mine.discard(sweep)

    # --- journal and history

    def _pack_journal(self, sweep: str, least: int) -> None:
        """Move entries into segments, until fewer than `least` are outside."""
        keys, size = keys_of(sweep), self.segment
        while True:
            head = self._link.command("HMGET", keys.meta, "p", "packed", key=keys.meta)
            position, packed = (int(value or 0) for value in head)
            if position - packed < least:
                return
            before = self._short_segment(keys, size) if packed else b""
            room = size - (packing.count_segment(before) if before else 0)
            first = f"{packed + 1}-0"
            items = self._link.command("XRANGE", keys.log, first, "+", "COUNT", room, key=keys.log)
            if not items or packing.position_of(items[0]) != packed + 1:
                return
            last = packing.position_of(items[-1])
            args = [packed, packed if before else "", last, packing.pack_segment(items, before)]
            if not self._link.run(scripts.PACK, keys.reading, args):
                return  # somebody else was faster
            self._pack_history(sweep, _ended_runs(sweep, items))

    def _short_segment(self, keys: Keys, size: int) -> bytes:
        """The last segment, where it has room for more."""
        found = self._link.command("XREVRANGE", keys.segments, "+", "-", "COUNT", 1, key=keys.segments)
        blob: bytes = found[0][1][1] if found else b""
        return blob if blob and packing.count_segment(blob) < size * 4 // 5 else b""

    def _pack_history(self, sweep: str, runs: list[int]) -> None:
        keys = keys_of(sweep)
        while runs:
            where = [keys.history(run) for run in runs[:_RUNS_AT_ONCE]]
            found = self._link.run(scripts.OPEN_HISTORY, where, [_BLOCK_BYTES, _HUGE_BYTES])
            there = {run: flat for run, flat in zip(runs, found, strict=False) if flat}
            runs = runs[len(found) :]
            if there:
                self._move_history(keys, there)

    def _move_history(self, keys: Keys, there: dict[int, Any]) -> None:
        chunks: dict[int, list[HistoryChunk]] = {
            run: packing.open_chunks(run, flat) for run, flat in there.items()
        }
        where, args = [keys.meta, keys.history_blocks], list[bytes | str | int]([packing.pack_block(chunks)])
        for run, flat in there.items():
            where += [keys.history(run), keys.packed_history(run)]
            args += [run, len(flat) // 2]
        self._link.run(scripts.PACK_HISTORY, where, args)

    # --- index

    def _pack_rows(self, sweep: str, least: int) -> None:
        """Move rows into their blocks, where `least` rows of a block are outside of it. With more than one, those of runs that
        go on do not count, and stay: they change again soon. What is left of a block whose runs have all ended is never too little."""
        keys = keys_of(sweep)
        version, flat = self._link.run(scripts.HOT_ROWS, [keys.meta, keys.rows])
        blocks: dict[str, dict[str, bytes]] = defaultdict(dict)
        going_on: dict[str, int] = defaultdict(int)
        for key, row in zip(flat[::2], flat[1::2], strict=True):
            name = key.decode()
            block = packing.block_of(name)
            if block is not None and (least == 1 or _is_over(row)):
                blocks[block][name] = row
            elif block is not None:
                going_on[block] += 1
        newest = max(map(int, [*blocks, *going_on]), default=0)  # more runs come into it
        chosen = {
            block: rows
            for block, rows in blocks.items()
            if len(rows) >= least or (int(block) < newest and not going_on[block])
        }
        if least > 1 and len(chosen) > _BLOCKS_AT_ONCE:
            chosen = dict(list(chosen.items())[:_BLOCKS_AT_ONCE])
        self._stayed[sweep] = len(flat) // 2 - sum(map(len, chosen.values()))
        if not chosen:
            return
        before = self._link.command("HMGET", keys.row_blocks, *chosen, key=keys.row_blocks)
        args: list[bytes | str | int] = [version, len(chosen)]
        for (block, rows), old in zip(chosen.items(), before, strict=True):
            args += [block, packing.pack_rows(rows, old or b"")]
        args += [key for rows in chosen.values() for key in rows]
        self._link.run(scripts.PACK_ROWS, [keys.meta, keys.rows, keys.row_blocks], args)


class _Stands(msgspec.Struct, gc=False):
    """As much of a run's row as tells whether it changes any more."""

    state: str


_decode = msgspec.msgpack.Decoder(_Stands).decode


def _is_over(row: bytes) -> bool:
    """Whether it is the row of a run that has ended, or nothing that could tell."""
    try:
        return _decode(row).state in ENDED
    except msgspec.DecodeError:
        return True


def _ended_runs(sweep: str, items: list[packing.Item]) -> list[int]:
    """The runs of which an attempt ended in these entries."""
    named = packing.naming(items, e.AttemptEnded.__name__.encode())
    found = [
        recorded.entry.run
        for recorded in packing.recorded_items(sweep, named)
        if isinstance(recorded.entry, e.AttemptEnded)
    ]
    return sorted(set(found))
