"""A controller alone, in virtual time: the real `Alone`, without the loop around it.

The rule of this file: it takes turns as `Alone.run` does, and decides nothing.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from sweep.agents.alone import Alone
from sweep.core.entries import Recorded
from sweep.stores.base import Lease
from sweep.testing.faults import Crash, FaultyStore
from sweep.testing.nodes import TIMING
from sweep.testing.watching import WatchedDriver

if TYPE_CHECKING:
    from sweep.testing.world import World


class SimController:
    """A place where somebody keeps a controller running."""

    def __init__(self, world: World, number: int) -> None:
        self.world, self.number = world, number
        self.alive = self.in_turn = False
        self.frozen_until: float | None = None
        self._lives = 0
        self._alone: Alone | None = None
        self._next_s = float("inf")
        self.store: FaultyStore

    @property
    def leads(self) -> bool:
        """Whether it is the sweep's controller at present, as far as it knows."""
        return self._alone is not None and self._alone.leads

    # --- life

    def begin(self) -> None:
        """Somebody starts it."""
        world = self.world
        if self.alive:
            return
        self._lives += 1
        self.alive, name = True, f"c{self.number}-{self._lives}"
        self.store = FaultyStore(world.store.client(), world, name, lambda: False)
        self._alone = Alone(
            self.store,
            world.sweep,
            name,
            self._make_driver,
            self,
            TIMING,
            unix_s=world.unix_s,  # it is believed until something is written: a controller alone writes nothing at first
            monotonic_s=lambda: world.now,
        )
        world.counts["controller started"] += 1
        self.wake(0.0)

    def wake(self, delay_s: float) -> None:
        """Take a turn in `delay_s` seconds at the latest."""
        at_s = self.world.now + delay_s
        if self.alive and at_s < self._next_s - 1e-9:
            self._next_s = at_s
            self.world.after(delay_s, lambda: self._due(at_s))

    def _due(self, at_s: float) -> None:
        if at_s == self._next_s:
            self._next_s = float("inf")
            self.turn()

    def turn(self) -> None:
        """One round of its loop."""
        alone = self._alone
        if not self.alive or alone is None or self.in_turn or self.frozen_until is not None:
            return
        self.in_turn = True
        before = self.world.store.position(self.world.sweep)
        try:
            alone.turn()
        except Crash:
            self.crash()
            return
        finally:
            self.in_turn = False
        self.world.journal_moved(self, before)
        self.wake(max(0.01, alone.due_in_s()))

    # --- what befalls it

    def crash(self) -> None:
        """kill -9; it is started again later."""
        if self.alive:
            self.alive = False
            self.world.after(self.world.rng.uniform(0.5, 12.0), self.begin)

    def freeze(self, seconds: float) -> None:
        """SIGSTOP, and SIGCONT later."""
        until = self.frozen_until = self.world.now + seconds
        self.world.after(seconds, lambda: self.thaw() if self.frozen_until == until else None)

    def thaw(self) -> None:
        """SIGCONT."""
        if self.frozen_until is not None:
            self.frozen_until = None
            self.wake(0.0)

    # --- who is told

    def say(self, text: str, level: str) -> None:  # noqa: ARG002
        self.world.counts["controller lost the lead"] += "lease" in text

    def recorded(self, recorded: Recorded) -> None:
        """Nobody reads it."""

    def _make_driver(self, lease: Lease) -> WatchedDriver:
        world = self.world
        world.counts["controller took the lead"] += 1
        return WatchedDriver(
            self.store,
            world.sweep,
            lease,
            world.make_stopper,
            functools.partial(world.make_search, self),
            lambda _: None,
            world,
        )
