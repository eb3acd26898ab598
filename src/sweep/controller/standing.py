"""Keeping the garbage collector away from a sweep's state.

The rule of this file: a state has many objects and no cycles, so whatever has lasted for a while is put where the collector does not
look. To look through all of it takes as long as a hundred agents' answers.
"""

from __future__ import annotations

import gc

EVERY = 5000
"""Entries after which what has come since is put aside as well; a sweep of fewer is left to the collector."""


class Standing:
    """What one driver has put aside."""

    def __init__(self) -> None:
        self._next = EVERY
        self._others = 0
        """What had been put aside before is not this driver's to give back."""
        self._frozen = False

    def consider(self, position: int) -> None:
        """At the end of a step that came to rest at `position` of the journal."""
        if position < self._next:
            return
        self._next = position + EVERY
        if not self._frozen:
            self._others = gc.get_freeze_count()
        gc.collect(1)  # what is young and garbage would never be found
        gc.freeze()
        self._frozen = True

    def close(self) -> None:
        """Give everything back to the collector."""
        self._next = EVERY
        if self._frozen and not self._others:
            gc.unfreeze()
        self._frozen = False
