"""Hearing of news from a store that can tell, in place of looking again and again."""

from __future__ import annotations

from typing import Protocol

from sweep.stores.base import Store


class Listener(Protocol):
    """Becomes readable soon after there is news. A hint, no more: news can be missed, and there can be none."""

    hears: bool
    """Whether news have come this way and nothing has failed since: then it is enough to look once in a while as well."""
    leading: bool
    """Whether events from others are news as well, as they are for the controller; may be set at any time."""

    def fileno(self) -> int: ...

    def take(self) -> None:
        """Not readable any more, until the next news."""
        ...

    def close(self) -> None: ...


def listen(store: Store, sweep: str, addressee: str) -> Listener | None:
    """What hears of entries for `addressee`; None for a store where looking is as quick."""
    make = getattr(store, "listener", None)
    listener: Listener | None = None if make is None else make(sweep, addressee)
    return listener
