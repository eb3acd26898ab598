"""A store that does not work for the moment: said once, and tried again after a pause."""

from __future__ import annotations

import math

from sweep.agents.view import View
from sweep.stores import StoreError

PAUSE_S = 1.0
"""Pause before a store that failed is tried again."""
LAST_WAIT_S = 10.0
"""How long an agent that a signal ends waits for a store that has failed, to record what it knows of its last runs."""


class Trouble:
    """What is wrong with the store, as far as the loop knows."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._until = 0.0
        self._text = ""
        self._told_s = math.inf
        self._since_s = 0.0

    def __bool__(self) -> bool:
        """Whether the store has failed, and has not worked since."""
        return bool(self._text)

    def begins(self, error: StoreError, now: float) -> None:
        """It failed; `now` by a clock that never goes back."""
        self._until = now + PAUSE_S
        if not self._text:
            self._since_s = now
        if str(error) != self._text:
            self._text = str(error)
            self._view.say(f"{error} (training goes on; trying again every second)", "error")

    def waits(self, now: float) -> bool:
        """Whether it is too early to try again."""
        return now < self._until

    def told(self, now: float) -> None:
        """A signal ends the agent."""
        self._told_s = min(self._told_s, now)

    def outlasts(self, now: float) -> bool:
        """Whether an agent that a signal ends has waited for long enough: whoever sent it may kill it soon, and what it knows counts no
        more than what one that was killed knew."""
        return bool(self._text) and now >= max(self._told_s, self._since_s) + LAST_WAIT_S

    def leaves(self, now: float) -> bool:
        """Whether the agent has to leave without the store (`outlasts`); then it is said what follows."""
        if self.outlasts(now):
            self._view.say(
                "the agent leaves without having recorded all of it; the last runs here count as lost, and start again",
                "warning",
            )
            return True
        return False

    def over(self) -> bool:
        """It works. Whether it did so before."""
        if not self._text:
            return True
        self._text = ""
        self._view.say("the store works again", "info")
        return False

    def wake_s(self, times: list[float], now: float) -> list[float]:
        """When the loop must wake, of what is due for it: nothing is done about the store before the pause is over."""
        if not self.waits(now):
            return times
        return [min(max(t, min(self._until, now + PAUSE_S)) for t in times)]
