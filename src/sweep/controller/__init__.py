"""The controller's shell: it reads the journal, lets the pure core decide, and writes what was decided."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from sweep.controller.driver import Driver
from sweep.controller.ports import ChildSearch, InlineSearch
from sweep.controller.searching import Answer, Request, SearchFailed, SearchPort
from sweep.core.names import controller_lease
from sweep.core.state import State
from sweep.search import make_searcher
from sweep.stopping import make_stopper
from sweep.stores import Lease, StaleFence, Store

SETTLE_TTL_S = 10.0


def make_search(state: State, warn: Callable[[str], None]) -> SearchPort:
    """The searcher of the sweep's current spec: in this process when it is light, in a child when it is heavy."""
    searcher = make_searcher(state.spec)
    return ChildSearch(state.spec, warn) if searcher.heavy else InlineSearch(searcher)


def driver_maker(store: Store, sweep: str, warn: Callable[[str], None]) -> Callable[[Lease], Driver]:
    """What an agent calls when it has become the sweep's controller."""
    return lambda lease: Driver(
        store, sweep, lease, make_stopper, lambda state: make_search(state, warn), warn
    )


def settle(store: Store, sweep: str) -> None:
    """Where no controller is at work, act on what the journal asks for, as far as that needs no agent."""
    lease = store.acquire(controller_lease(sweep), f"settle/{os.getpid()}", SETTLE_TTL_S)
    if lease is None:
        return
    driver = Driver(store, sweep, lease, make_stopper, None, lambda _: None)
    try:
        with store.batch():
            if store.position(sweep):  # else it has been removed
                driver.step(time.time())
    except StaleFence:
        pass
    finally:
        driver.close()
        store.release(lease)


__all__ = [
    "Answer",
    "ChildSearch",
    "Driver",
    "InlineSearch",
    "Request",
    "SearchFailed",
    "SearchPort",
    "driver_maker",
    "make_search",
    "settle",
]
