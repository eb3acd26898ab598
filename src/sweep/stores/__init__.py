"""Where sweeps are kept. `open_store` is the only place that knows which kind of store a URL means.

Names are resolved on first use, so that completing a command line can ask where the store is without importing one.
"""

from __future__ import annotations

TYPE_CHECKING = False  # as `typing` has it, without the cost of importing that
if TYPE_CHECKING:
    from typing import Any

    from sweep.stores._common import digest_of
    from sweep.stores._listening import Heard, Listener, Told, listen
    from sweep.stores._looking import look
    from sweep.stores._open import address_of, open_store
    from sweep.stores.base import (
        Appended,
        HistoryChunk,
        Index,
        IndexUpdate,
        Lease,
        Moved,
        StaleFence,
        Store,
        StoreError,
        StoreFull,
        SweepRemoved,
        Unreadable,
    )


_HOMES = {
    "address_of": "sweep.stores._open",
    "digest_of": "sweep.stores._common",
    "open_store": "sweep.stores._open",
    "Listener": "sweep.stores._listening",
    "Heard": "sweep.stores._listening",
    "Told": "sweep.stores._listening",
    "listen": "sweep.stores._listening",
    "look": "sweep.stores._looking",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = _HOMES.get(name, "sweep.stores.base")
    value = getattr(__import__(home, None, None, (name,)), name)
    globals()[name] = value
    return value


__all__ = [
    "Appended",
    "HistoryChunk",
    "Index",
    "IndexUpdate",
    "Lease",
    "Listener",
    "Moved",
    "StaleFence",
    "Store",
    "StoreError",
    "StoreFull",
    "SweepRemoved",
    "Unreadable",
    "address_of",
    "digest_of",
    "Heard",
    "Told",
    "listen",
    "look",
    "open_store",
]
