"""What tells an agent that others have written something for it, where its store can tell."""

from __future__ import annotations

import selectors

from sweep.stores import Listener, Store, listen

POLL_S = 0.05
"""How often the journal is looked at for what others wrote."""
IDLE_POLL_S = 1.0
"""The same where the store tells of what matters here, and nothing is awaited: many idle agents must not keep it busy."""


class News:
    """Wakes the loop's selector. Without it the loop looks now and then, as it does anyway."""

    def __init__(self, selector: selectors.BaseSelector) -> None:
        self._selector = selector
        self._listener: Listener | None = None
        self._fresh = False

    def follow(self, store: Store, sweep: str, agent: str) -> None:
        """Listen to what is written for `agent`."""
        self._listener = listen(store, sweep, agent)
        if self._listener is not None:
            self._selector.register(self._listener.fileno(), selectors.EVENT_READ, self._note)

    def _note(self) -> None:
        assert self._listener is not None
        self._listener.take()
        self._fresh = True

    def pause_s(self, settled: bool, ttl_s: float) -> float:
        """How long the journal may be left alone, as long as no news come. `settled`: nothing is awaited; `ttl_s`: the life of
        the controller's lease, within which somebody must notice that it has run out."""
        told = settled and self._listener is not None and self._listener.hears
        return min(IDLE_POLL_S, ttl_s / 10) if told else POLL_S

    @property
    def fresh(self) -> bool:
        """Whether there has been news since they were taken last."""
        return self._fresh

    def take(self, leads: bool) -> bool:
        """Whether a look at the journal may find something: there has been news since the last call, or none are heard. An
        agent that leads hears of all events."""
        if self._listener is not None:
            self._listener.leading = leads
        fresh, self._fresh = self._fresh, False
        return fresh or self._listener is None or not self._listener.hears

    def close(self) -> None:
        """Listen no longer."""
        if self._listener is not None:
            self._listener.close()
