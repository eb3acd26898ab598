"""Waking the agent's loop when a searcher, in its process of its own, has proposals ready."""

from __future__ import annotations

import selectors

from sweep.agents.leading import Leading


class SearchWatch:
    """Follows the searcher of whichever driver leads here at present."""

    def __init__(self, selector: selectors.BaseSelector) -> None:
        self._selector = selector
        self._fd: int | None = None
        self._ready = False

    def follow(self, driver: Leading | None) -> None:
        """Have the selector wake us when the searcher of this driver has something; None: nobody leads here."""
        wanted = driver.search_fileno() if driver is not None else None
        if wanted == self._fd:
            return
        if self._fd is not None:
            self._selector.unregister(self._fd)
        if wanted is not None:
            self._selector.register(wanted, selectors.EVENT_READ, self._note)
        self._fd = wanted

    def take(self) -> bool:
        """Whether it has had something since the last call."""
        ready, self._ready = self._ready, False
        return ready

    def _note(self) -> None:
        self._ready = True
