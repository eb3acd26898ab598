"""Taking a sweep over: the state that the journal gives, by way of the last snapshot where there is one.

The rule of this file: a snapshot is used only when the journal has the entry that it is marked with, and kept only of a
state that came to rest. Whatever is wrong with one, the fold from the journal's start is what counts.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator

from sweep.core.entries import Recorded
from sweep.core.evolve import evolve
from sweep.core.snapshot import Mark, Packer, mark_of, read_mark
from sweep.core.state import MakeStopper, State
from sweep.stores.base import Store, StoreError

NAME = "state"
"""What a snapshot is called among a sweep's caches."""
EVERY, QUIET_SHARE = 2000, 64
"""A snapshot that is so many entries behind, and one part in so many of the journal, is renewed as soon as nothing else is to do."""
OVERDUE, SHARE = 2, 32
"""One that is so many times as much behind, and one part in so many of the journal, is renewed in spite of work: what all of a
sweep's snapshots have cost together stays in proportion to its length."""
COLD = 1000
"""Runs that nothing was heard of for so many entries are packed before a snapshot is due, a few in each step."""
WORTHWHILE = 200
"""Fewer entries are folded faster than a snapshot of them is read."""
BLOCK = 10_000
"""Entries read at a time: a long journal need not fit into memory."""


class Keeper:
    """Keeps snapshots of one sweep's state, seldom enough to cost nothing."""

    def __init__(self, store: Store, sweep: str) -> None:
        self._store, self._sweep = store, sweep
        self.last: Recorded | None = None
        """The entry that was folded last."""
        self.kept = 0
        """The position of the snapshot in the store, as far as this process knows."""
        self.every, self.worthwhile, self.cold = EVERY, WORTHWHILE, COLD
        self.packer = Packer()

    def consider(self, state: State, quiet: bool) -> None:
        """At the end of a step: keep a snapshot where it is time. `quiet`: nothing has happened since the last step."""
        least, share = (self.every, QUIET_SHARE) if quiet else (OVERDUE * self.every, SHARE)
        if state.position - self.kept >= max(least, state.position // share):
            self._keep(state)
        else:
            self.packer.prepare(state, state.position - self.cold)

    def leave(self, state: State) -> None:
        """At the end of leading: keep one for the next controller. Never fails: it is only a cache."""
        if state.position - self.kept < self.worthwhile or self.last is None:
            return
        with contextlib.suppress(StoreError):
            if _stands(self._store, self._sweep, mark_of(self.last)):
                self._keep(state)

    def _keep(self, state: State) -> None:
        if self.last is None or self.last.position != state.position:
            return
        data = self.packer.pack(state, mark_of(self.last))
        if data is not None:
            self._store.put_cache(self._sweep, NAME, data)
            self.kept = state.position


def recover(
    store: Store, sweep: str, indexed: int, make_stopper: MakeStopper, keeper: Keeper | None = None
) -> State:
    """The state of `sweep` at position `indexed`, up to which its index goes. Raises LookupError for an unknown sweep."""
    if keeper is None:
        keeper = Keeper(store, sweep)
    keeper.packer = Packer()
    with _without_collections():
        state = _from_snapshot(store, sweep, indexed, make_stopper, keeper.packer)
        keeper.kept = state.position if state is not None else 0
        if state is None:
            state = State(make_stopper)
        while state.position < indexed:
            left = indexed - state.position
            bare = left > WORTHWHILE  # not the last ones: who wrote them matters
            block = store.read(
                sweep, state.position, limit=min(BLOCK, left - WORTHWHILE if bare else left), bare=bare
            )
            for recorded in block:
                evolve(state, recorded)
            if not block:
                break
            keeper.last = block[-1]
    keeper.kept = max(keeper.kept, state.position - EVERY)  # one is due, but not before the first decisions
    if not state.sweep and store.position(sweep) == 0:
        raise LookupError(f"there is no sweep {sweep} in {store.url}")
    return state


def _from_snapshot(
    store: Store, sweep: str, indexed: int, make_stopper: MakeStopper, packer: Packer
) -> State | None:
    data = store.get_cache(sweep, NAME)
    mark = read_mark(data) if data is not None else None
    if data is None or mark is None or mark.position > indexed or not _stands(store, sweep, mark):
        return None
    return packer.unpack(data, make_stopper)


def _stands(store: Store, sweep: str, mark: Mark) -> bool:
    """Whether the journal has the entry that `mark` names."""
    found = store.read(sweep, mark.position - 1, limit=1)
    return bool(found) and mark_of(found[0]) == mark


@contextlib.contextmanager
def _without_collections() -> Iterator[None]:
    """Folding makes many objects and no garbage: looking for some again and again would double its cost."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            if not gc.get_freeze_count():  # what has been made is old at once: nobody looks through it now
                gc.freeze()
                gc.unfreeze()
            gc.enable()
