"""A driver that is looked over the shoulder: now and then, what it has folded is compared with a fresh fold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from sweep.controller.driver import Driver
from sweep.controller.searching import SearchPort
from sweep.core.entries import Recorded
from sweep.core.evolve import evolve
from sweep.core.index import rebuild
from sweep.core.state import MakeStopper, State
from sweep.stores.base import Lease
from sweep.testing.faults import FaultyStore
from sweep.testing.states import check_state, dump

if TYPE_CHECKING:
    from sweep.testing.world import World

LOOKS = 0.03


class WatchedDriver(Driver):
    """The real driver, checked after some of its steps."""

    def __init__(
        self,
        store: FaultyStore,
        sweep: str,
        lease: Lease,
        make_stopper: MakeStopper,
        make_search: Callable[[State], SearchPort] | None,
        warn: Callable[[str], None],
        world: World,
    ) -> None:
        super().__init__(store, sweep, lease, make_stopper, make_search, warn)
        self._world, self._stopper_maker, self._plain = world, make_stopper, store.plain
        self._keeper.every, self._keeper.worthwhile, self._keeper.cold = 5, 1, 10

    def step(self, now_s: float, written: Sequence[Recorded] = (), position: int | None = None) -> None:
        """A step of the real driver, and sometimes a look at what came of it."""
        super().step(now_s, written, position)
        if self._world.looks.random() < LOOKS:
            self._look()

    def _look(self) -> None:
        """Raise AssertionError when the state or the index is not what the journal gives."""
        self._world.counts["looks at a driver"] += 1
        check_state(self.state)
        journal = self._plain.read(self.sweep, 0)[: self.state.position]
        fresh = State(self._stopper_maker)
        for recorded in journal:
            evolve(fresh, recorded)
        if dump(fresh) != dump(self.state):
            raise AssertionError(f"a fresh fold of {len(journal)} entries is not what the driver has folded")
        index = self._plain.read_index(self.sweep)
        if index.rows != rebuild(State(self._stopper_maker), journal[: index.upto]):
            raise AssertionError(f"the index at {index.upto} is not what a rebuild gives")
