"""What a store tells an agent, as a server that publishes would: soon or late, twice or not at all.

The rule of this file: what is told stands in the journal, and everything else about it may be wrong. Nothing here draws from the
world's own chance.
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from sweep.agents.session import NOTHING_TOLD
from sweep.stores import Heard, Told

if TYPE_CHECKING:
    from sweep.testing.world import World

FIRST = 1400
"""From this seed on half of those worlds whose store has no batches have one that tells; earlier ones are known for what happens in
them."""
LOOKS, MISSED, AGAIN = 0.5, 0.1, 0.1
"""How often an agent looks all the same, misses a message, hears one again."""


class Hearing:
    """One agent's connection that listens."""

    def __init__(self, world: World, agent: str) -> None:
        self._world, self._agent = world, agent
        self._chance = Random(f"hearing/{world.seed}/{agent}")
        self._hears = world.seed >= FIRST and world.seed % 2 == 1 and not world.atomic
        self._upto = self._order = 0
        """Position of the last entry that was told, or missed; of the last one for this agent among them."""

    def take(self, cut_off: bool) -> Heard:
        """What has been told since the last call; or that a look is due."""
        if not self._hears:
            return NOTHING_TOLD
        heard = self._listen()
        if cut_off or self._chance.random() < LOOKS:
            return Heard(heard.events, heard.orders, True)
        self._world.counts["told by the store"] += bool(heard.events or heard.orders)
        return heard

    def _listen(self) -> Heard:
        journal = self._world.store.read(self._world.sweep, self._upto)
        journal = journal[: self._chance.randint(0, len(journal))]
        before, events, orders = self._order, [], []
        for recorded in journal:
            missed = self._chance.random() < MISSED
            if recorded.addressee == self._agent:
                if not missed:
                    seen = recorded.based_on or 0
                    orders.append(Told(before, recorded.position, seen, (recorded,)))
                before = recorded.position
            if not (missed or recorded.writer.startswith("controller/")):
                events.append(recorded)
        if journal and self._chance.random() >= AGAIN:
            self._upto, self._order = journal[-1].position, before
        return Heard(events, orders)
