"""What an agent looks at again and again: its orders and the sweep's row, in one go where the store can."""

from __future__ import annotations

from sweep.core.entries import Recorded
from sweep.stores.base import Index, Store


def look(store: Store, sweep: str, after: int, addressee: str, key: str) -> tuple[list[Recorded], Index]:
    """Entries for `addressee` behind position `after`, and the row `key` (not a run's) of the index, with the position that
    the index reflects. The row is no older than the entries."""
    at_once = getattr(store, "look", None)
    if at_once is not None:
        found: tuple[list[Recorded], Index] = at_once(sweep, after, addressee, key)
        return found
    orders = store.read(sweep, after, addressee=addressee)
    index = store.read_index(sweep, key)
    return orders, Index(index.upto, {name: row for name, row in index.rows.items() if name == key})
