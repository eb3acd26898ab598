"""Reading what is recorded: the listing index where it is current, the journal itself where it is not."""

from __future__ import annotations

import time

from sweep.core.index import SWEEP_KEY, Views, decode_sweep, decode_views, rebuild
from sweep.core.names import controller_lease
from sweep.core.state import State
from sweep.core.views import SweepView
from sweep.stopping import make_stopper
from sweep.stores import HistoryChunk, Store

CATCH_UP_S = 0.3
"""How long to wait for a living controller to bring the index up to date before folding the journal ourselves."""


def load_rows(store: Store, sweep: str) -> tuple[int, dict[str, bytes]]:
    """(journal position, index rows) as of now. Raises LookupError for an unknown sweep."""
    end = store.position(sweep)
    if end == 0:
        raise LookupError(f"there is no sweep {sweep}")
    until = time.monotonic() + CATCH_UP_S
    index = store.read_index(sweep)
    while index.upto < end and time.monotonic() < until and store.leases(controller_lease(sweep)):
        time.sleep(0.02)
        index = store.read_index(sweep)
    if index.upto >= end:
        return index.upto, index.rows
    journal = store.read(sweep, 0)
    return journal[-1].position, rebuild(State(make_stopper), journal)


def load_views(store: Store, sweep: str) -> Views:
    """Everything that listings and pictures need of a sweep. Raises LookupError for an unknown one."""
    return decode_views(*load_rows(store, sweep))


def read_history(store: Store, sweep: str, runs: list[int]) -> dict[int, list[HistoryChunk]]:
    """The logged rows of these runs, as recorded."""
    return {run: store.read_history(sweep, run) for run in runs}


def load_sweep_view(store: Store, sweep: str) -> SweepView:
    """The sweep's own row, without reading its runs where the index is current."""
    index = store.read_index(sweep, SWEEP_KEY)
    if index.upto == store.position(sweep) and SWEEP_KEY in index.rows:
        return decode_sweep(index.rows[SWEEP_KEY])
    return load_views(store, sweep).sweep
