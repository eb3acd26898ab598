"""The Redis server's clock as seen from here, without asking for it each time.

The rule of this file: `now_s` is never behind the server's clock by more than drift, so that whoever ends something before a
lease runs out by it does so in time. A reading lies between the moments of question and answer; several readings narrow
that down, and one that contradicts what was known (the server's clock was set) replaces it.
"""

from __future__ import annotations

import sys
import time

DRIFT = 1e-3
"""By how much two clocks may run apart, as a share: NTP slews by at most half of it."""


def machine_s() -> float:
    """A clock of this machine that nobody sets, and that goes on while the machine sleeps where the system has such a one."""
    if sys.platform == "linux":
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()


class ServerClock:
    """The server's time, in seconds since 1970, from readings of it."""

    def __init__(self) -> None:
        self._low, self._high = -float("inf"), float("inf")
        """Bounds of the server's clock minus ours, when they were last read."""
        self.read_at = 0.0
        """When it was last read, by `machine_s`."""

    def now_s(self) -> float:
        """The latest that it may be on the server now."""
        return self.at_s(machine_s())

    def at_s(self, here_s: float) -> float:
        """The latest that it may be on the server when it is `here_s` here, by `machine_s`."""
        return here_s + self._high

    def read(self, server_s: float, asked_s: float, answered_s: float) -> None:
        """The server's clock stood at `server_s` at some moment between two of this machine's."""
        low, high = server_s - answered_s, server_s - asked_s
        wider = DRIFT * max(0.0, answered_s - self.read_at)
        known_low, known_high = self._low - wider, self._high + wider
        if low <= known_high and high >= known_low:
            low, high = max(low, known_low), min(high, known_high)
        self._low, self._high, self.read_at = low, high, answered_s
