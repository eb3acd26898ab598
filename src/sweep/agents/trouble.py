"""A store that does not work for the moment: said once, and tried again after a pause."""

from __future__ import annotations

from sweep.agents.view import View
from sweep.stores import StoreError

PAUSE_S = 1.0
"""Pause before a store that failed is tried again."""


class Trouble:
    """What is wrong with the store, as far as the loop knows."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._until = 0.0
        self._text = ""

    def __bool__(self) -> bool:
        """Whether the store has failed, and has not worked since."""
        return bool(self._text)

    def begins(self, error: StoreError, now: float) -> None:
        """It failed; `now` by a clock that never goes back."""
        self._until = now + PAUSE_S
        if str(error) != self._text:
            self._text = str(error)
            self._view.say(f"{error} (training goes on; trying again every second)", "error")

    def waits(self, now: float) -> bool:
        """Whether it is too early to try again."""
        return now < self._until

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
