"""Follows what becomes of the sweep: it waits, goes on, or has ended."""

from __future__ import annotations

from sweep.agents.session import Session
from sweep.agents.view import View


class Phases:
    """Tells a person once of each change."""

    def __init__(self, session: Session, view: View) -> None:
        self._session, self._view = session, view
        self._said = "active"

    def ended(self) -> str:
        """Why the agent should take no more runs, when the sweep has just ended; '' else."""
        session = self._session
        if session.phase == self._said:
            return ""
        self._said = session.phase
        if session.phase == "ended":
            return f"the sweep has ended: {session.reason}"
        if session.phase == "active":
            self._view.say("the sweep goes on", "info")
        elif session.phase == "paused":
            self._view.say(
                f"the sweep is {session.reason}: no run starts until `sweep resume {session.sweep}`", "info"
            )
        else:
            self._view.say(f"the sweep is {session.phase}: {session.reason}", "info")
        return ""
