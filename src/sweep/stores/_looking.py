"""What an agent looks at again and again: its orders and the sweep's row, in one go where the store can."""

from __future__ import annotations

from sweep.core.entries import Recorded
from sweep.stores.base import Index, Store


def look(store: Store, sweep: str, after: int, addressee: str, key: str) -> tuple[list[Recorded], Index, int]:
    """Entries for `addressee` behind position `after`, the row `key` (not a run's) of the index, with the position that
    the index reflects, and the journal's position. The row is no older than the entries, and they are no older than the position."""
    at_once = getattr(store, "look", None)
    if at_once is not None:
        found: tuple[list[Recorded], Index, int] = at_once(sweep, after, addressee, key)
        return found
    position = store.position(sweep)
    orders = store.read(sweep, after, addressee=addressee)
    index = store.read_index(sweep, key)
    return orders, Index(index.upto, {name: row for name, row in index.rows.items() if name == key}), position
