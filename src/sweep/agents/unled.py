"""Telling the person at an agent what it waits for when nobody leads the sweep.

An agent that never leads (`--no-controller`) says that somebody must. One that would lead cannot before the lease of a leader that
has died runs out: it says how long that takes.
"""

from __future__ import annotations

from sweep.agents.session import Session
from sweep.agents.view import View
from sweep.stores import StoreError

EVERY_S = 2.0
SILENT_S = 1.5
"""A leader that has not answered for so long is spoken of."""


class Unled:
    """Looks now and then, and says it once each time that a sweep has no controller twice in a row (between two controllers
    there may be nobody for a moment), or that the one it has does not answer."""

    def __init__(self, session: Session, view: View) -> None:
        self._session, self._view = session, view
        self._next = 0.0
        self._times = 0
        self._since: float | None = None
        """Since when this agent waits for an answer; None while it does not."""
        self._said = False

    def tick(self, now: float) -> None:
        """Look, where it is time (seconds of a clock that never goes back)."""
        if self._session.willing:
            self._await_answer(now)
            return
        if now < self._next:
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

    def _await_answer(self, now: float) -> None:
        session = self._session
        if session.leads or session.settled:
            self._since, self._said = None, False
        elif self._since is None:
            self._since = now
        elif now - self._since >= SILENT_S and not self._said:
            try:
                leader, left_s = session.leader()
            except StoreError:
                return
            if leader and leader != session.agent:
                self._said = True
                self._view.say(
                    f"waiting for {leader}, which leads this sweep and does not answer; if it is gone, work goes on in "
                    f"{max(1, round(left_s))} s",
                    "info",
                )
