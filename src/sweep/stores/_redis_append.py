"""An append to a journal in Redis: what the script is told, and what its answer means.

The rule of this file: as few steps as it takes, because every agent goes through it, from a cold cache each time, for each run.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, Literal, NoReturn

import msgspec

from sweep.core.entries import FORMAT, AnyEntry, Recorded, addressee_of
from sweep.core.journal import settle
from sweep.stores import _redis_pack as packing
from sweep.stores import _redis_scripts as scripts
from sweep.stores._common import stale
from sweep.stores._redis_keys import keys_of, lease_key
from sweep.stores._redis_link import Call
from sweep.stores.base import EntriesLost, IndexUpdate, Lease, Moved, SweepRemoved, lost_entries


class Appending(msgspec.Struct, array_like=True):
    """What the script APPEND is told, in its order; False where there is none."""

    known: bool
    """Whether the sweep is registered."""
    existing: bool
    fence: str
    token: str
    holder: str
    after: int | Literal[False]
    writer: str
    first: int
    at: str | Literal[False]
    upto: int | Literal[False]
    eager: bool
    """Whether it is not to wait for a controller that was overtaken."""
    pack_at: int
    concerns_all: bool
    entries: list[msgspec.Raw]
    addressed: list[int | str]
    """Which of them are for whom: a number, counted from one, and a name in turn."""
    changed: list[str | msgspec.Raw]
    """Rows of the index: keys and rows in turn."""


pack: Callable[[Appending], bytes] = msgspec.msgpack.Encoder().encode

Written = tuple[int, AnyEntry, str | None]
"""A writer's number, the entry as readers will see it, and whom it is for."""


def prepare(
    entries: Sequence[AnyEntry],
    writer: str,
    first_seq: int,
    fence: Lease | None,
    after: int | None,
    based_on: int | None,
    index: IndexUpdate | None,
) -> tuple[Appending, list[Written]]:
    """What to tell, as far as the caller of `append` says it. Raises `JournalError` for what cannot be written."""
    packed, addressed, written = list[msgspec.Raw](), list[int | str](), list[Written]()
    for number, entry in enumerate(entries, 1):
        seq = first_seq + number - 1
        data, read = settle(entry)
        addressee = addressee_of(read)
        if addressee is not None:
            addressed += (number, addressee)
        packed.append(packing.pack_entry(writer, seq, data, addressee, based_on))
        written.append((seq, read, addressee))
    changed: list[str | msgspec.Raw] = []
    for key, row in index.rows.items() if index is not None else ():
        changed += (key, packing.as_text(row))
    said = Appending(
        known=False,
        existing=False,
        fence="" if fence is None else fence.name,
        token="" if fence is None else str(fence.token),
        holder="" if fence is None else fence.holder,
        after=False if after is None else after,
        writer=writer,
        first=first_seq,
        at=False,
        upto=False if index is None else index.upto,
        eager=fence is not None,
        pack_at=0,
        concerns_all=False,
        entries=packed,
        addressed=addressed,
        changed=changed,
    )
    return said, written


@functools.lru_cache(64)
def call_of(sweep: str, fence: str) -> Call:
    """The script with the keys for appends to a sweep, fenced by this lease or none ("")."""
    keys = keys_of(sweep)
    return Call(scripts.APPEND, (*keys.journal, lease_key(fence) if fence else keys.leases))


def refuse(sweep: str, said: Appending, fence: Lease | None, answer: Any) -> NoReturn:
    """Raise what an answer says that is not that it was written."""
    if answer[0] == b"stale":
        assert fence is not None
        raise stale(fence)
    if answer[0] == b"gone":
        raise SweepRemoved(f"sweep {sweep} has been removed")
    if answer[0] == b"lost":
        raise EntriesLost(lost_entries(sweep, said.first - 1, int(answer[1]), " of this agent"))
    assert answer[0] == b"moved"
    moved = Moved(
        f"the journal of sweep {sweep} is at {answer[1]}, not at {said.after}: somebody else has written"
    )
    moved.position = int(answer[1])
    moved.written = packing.recorded_items(sweep, answer[2])
    raise moved


def as_recorded(
    written: Sequence[Written], position: int, at_s: float, writer: str, based_on: int | None
) -> tuple[Recorded, ...]:
    """The entries as they stand in the journal behind `position`."""
    return tuple(
        Recorded(at, at_s, writer, seq, entry, addressee, based_on, FORMAT)
        for at, (seq, entry, addressee) in enumerate(written, position + 1)
    )
