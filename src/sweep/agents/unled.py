"""Telling the person at an agent that never leads (`--no-controller`) when nobody else does."""

from __future__ import annotations

from sweep.agents.session import Session
from sweep.agents.view import View
from sweep.stores import StoreError

EVERY_S = 2.0


class Unled:
    """Looks now and then, and says it once each time that a sweep has no controller twice in a row: between two
    controllers there may be nobody for a moment."""

    def __init__(self, session: Session, view: View) -> None:
        self._session, self._view = session, view
        self._next = 0.0
        self._times = 0

    def tick(self, now: float) -> None:
        """Look, where it is time (seconds of a clock that never goes back)."""
        if now < self._next or self._session.willing:
            return
        wait_s = max(EVERY_S, self._session.timing.controller_ttl_s / 2)
        self._next = now + wait_s
        try:
            unled = self._session.unled()
        except StoreError:
            return  # the loop says what is wrong with the store
        if not unled and self._times > 1:
            self._view.say("the sweep has a controller again", "info")
        self._times = self._times + 1 if unled else 0
        if self._times == 2:
            self._view.say(
                f"nobody leads this sweep, so nothing new starts: `sweep controller {self._session.sweep}` does, "
                "or an agent without --no-controller",
                "warning",
            )
