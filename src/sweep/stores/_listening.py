"""Hearing of news from a store that can tell, in place of looking again and again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from sweep.core.entries import Recorded
from sweep.stores.base import Store


class Told(NamedTuple):
    """Orders as they were told."""

    before: int
    """Position of the addressee's entry before these: who has not seen that one has missed something."""
    position: int
    """Of the journal, when they had been written."""
    seen: int
    """Up to which position whoever wrote them had seen the journal."""
    entries: Sequence[Recorded]


class Heard(NamedTuple):
    """What has been told, in the order in which it was written; it may have gaps, and stand in the journal only."""

    events: Sequence[Recorded] = ()
    """What was written by anybody but controllers."""
    orders: Sequence[Told] = ()
    unclear: bool = False
    """There is something that only a look tells."""


class Listener(Protocol):
    """Becomes readable soon after there is news. A hint, no more: news can be missed, and there can be none."""

    hears: bool
    """Whether news have come this way and nothing has failed since: then it is enough to look once in a while as well."""
    leading: bool
    """Whether events from others are news as well, as they are for the controller; may be set at any time."""

    def fileno(self) -> int:
        """May be another one after `take`."""
        ...

    def take(self) -> Heard:
        """What the news are. Not readable any more, until the next ones. Raises StoreError."""
        ...

    def close(self) -> None: ...


def listen(store: Store, sweep: str, addressee: str) -> Listener | None:
    """What hears of entries for `addressee`; None for a store where looking is as quick."""
    make = getattr(store, "listener", None)
    listener: Listener | None = None if make is None else make(sweep, addressee)
    return listener
