"""What time it is by the store's clock: nodes' own clocks may be wrong, and limits and waits must not depend on who leads.

The rule of this file: the time of an entry that was written just now is the store's time just now.
"""

from __future__ import annotations

from collections.abc import Callable


class StoreTime:
    """Unix time by the store's clock, as far as this process has seen it."""

    def __init__(self, unix_s: Callable[[], float]) -> None:
        """`unix_s`: Unix time by this node's clock."""
        self._unix_s = unix_s
        self._ahead_s = 0.0
        self.known = False
        """Whether an entry has told; until then this node's clock is believed."""

    def now_s(self) -> float:
        """The time (Unix seconds)."""
        return self._unix_s() + self._ahead_s

    def saw(self, at_s: float) -> None:
        """An entry with this time has just been written."""
        self._ahead_s = at_s - self._unix_s()
        self.known = True
