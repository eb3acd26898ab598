"""Removing a sweep with all that belongs to it: journal, history, run folders, and blobs that no other sweep needs."""

from __future__ import annotations

import msgspec

from sweep.api.blobs import BlobUse
from sweep.api.finding import NotFound
from sweep.api.places import RUNS, Trash, size_bytes, store_folder
from sweep.api.reading import load_sweep_view
from sweep.api.requests import Refused
from sweep.core.names import AGENT_LEASES
from sweep.core.views import SweepView
from sweep.stores import Store


class Removal(msgspec.Struct, frozen=True):
    """What removing a sweep would take away, or has."""

    sweep: SweepView
    folder_bytes: int
    """What its run folders take on the disk."""
    blobs: int
    blob_bytes: int
    """Blobs that only this sweep needs."""


def agents_at_work(store: Store, sweep: str) -> list[str]:
    """The agents that hold their lease and have written into the journal of `sweep`."""
    return [lease.holder for lease in store.leases(AGENT_LEASES) if store.last_seq(sweep, lease.holder)]


def plan_removal(store: Store, sweep: str) -> Removal:
    """What `remove` would take away. Raises Refused while agents work on the sweep, NotFound."""
    _refuse_at_work(store, sweep)
    use = BlobUse(store)
    use.refresh()
    only = use.of(sweep) & use.orphans(without=sweep).keys()
    sizes = store.blobs()
    folder = store_folder(store) / RUNS / sweep
    return Removal(
        load_sweep_view(store, sweep), size_bytes(folder), len(only), sum(sizes[name] for name in only)
    )


def remove(store: Store, sweep: str) -> None:
    """Remove `sweep`. Raises Refused while agents work on it, NotFound when it is gone already."""
    use = BlobUse(store)
    use.refresh()  # the long look, which holds nobody up
    with store.batch():
        if not store.position(sweep):
            raise NotFound(f"sweep {sweep} has been removed already")
        _refuse_at_work(store, sweep)
        use.refresh()
        only = use.of(sweep) & use.orphans(without=sweep).keys()
        store.delete_sweep(sweep)
        store.delete_blobs(only)
    root = store_folder(store)
    trash = Trash(root)
    trash.put(root / RUNS / sweep)
    trash.empty()


def _refuse_at_work(store: Store, sweep: str) -> None:
    busy = agents_at_work(store, sweep)
    if busy:
        one = len(busy) == 1
        raise Refused(
            f"{', '.join(busy)} work{'s' if one else ''} on sweep {sweep}; end {'it' if one else 'them'} first: "
            f"`sweep cancel {sweep}`, or `sweep agents {sweep} --end {busy[0] if one else 'all'}`"
        )
