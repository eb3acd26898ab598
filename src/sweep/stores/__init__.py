"""Where sweeps are kept. `open_store` is the only place that knows which kind of store a URL means."""

from __future__ import annotations

from sweep.stores._open import open_store
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
    Unreadable,
)

__all__ = [
    "Appended",
    "HistoryChunk",
    "Index",
    "IndexUpdate",
    "Lease",
    "Moved",
    "StaleFence",
    "Store",
    "StoreError",
    "Unreadable",
    "open_store",
]
