"""What tells an agent that others have written something for it, where its store can tell."""

from __future__ import annotations

import math
import selectors

from sweep.stores import Heard, Listener, Store, listen

POLL_S = 0.05
"""How often the journal is looked at for what others wrote."""
BRISK_POLL_S, BRISK_S = 0.005, 0.5
"""The same where the store tells nothing, for so long after something was written that others answer, or that is to be answered:
agents that share a file wait for each other."""
IDLE_POLL_S = 1.0
"""The same where the store tells of what matters here, and nothing is awaited: many idle agents must not keep it busy."""
OWED_POLL_S = 0.25
"""The same where the controller owes an answer, of which the store will tell."""


class News:
    """Wakes the loop's selector. Without it the loop looks now and then, as it does anyway."""

    def __init__(self, selector: selectors.BaseSelector) -> None:
        self._selector = selector
        self._listener: Listener | None = None
        self._watched: int | None = None
        self.next_s = self._brisk_until_s = 0.0
        """`next_s`: when the journal is to be looked at although nothing was heard, by the monotonic clock."""
        self._heard = Heard()
        self.fresh = False
        """Whether there has been news since they were taken last."""

    def follow(self, store: Store, sweep: str, agent: str) -> None:
        """Listen to what is written for `agent`."""
        self._listener = listen(store, sweep, agent)
        self._watch()

    def _watch(self) -> None:
        """Wait for what the listener waits for, which changes when its connection breaks."""
        fd = self._listener.fileno() if self._listener is not None else None
        if fd == self._watched:
            return
        if self._watched is not None:
            self._selector.unregister(self._watched)
        if fd is not None:
            self._selector.register(fd, selectors.EVENT_READ, self._note)
        self._watched = fd

    def _note(self) -> None:
        assert self._listener is not None
        heard, before = self._listener.take(), self._heard
        self._watch()
        if not (heard.events or heard.orders or heard.unclear):
            return
        self._heard = Heard(
            [*before.events, *heard.events],
            [*before.orders, *heard.orders],
            before.unclear or heard.unclear,
        )
        self.fresh = True

    def stir(self, stirred: bool, now_s: float) -> None:
        """After a commit: look often for a while where others write, or will. `now_s`: by the monotonic clock, as below."""
        if not stirred:
            return
        self._brisk_until_s = now_s + BRISK_S
        self.next_s = min(self.next_s, now_s + self.pause_s(False, math.inf, now_s))

    def looks(self, settled: bool, ttl_s: float, now_s: float) -> None:
        """The journal is looked at now; the rest as for `pause_s`."""
        self.next_s = now_s + self.pause_s(settled, ttl_s, now_s)

    def pause_s(self, settled: bool, ttl_s: float, now_s: float = 0.0) -> float:
        """How long the journal may be left alone, as long as no news come. `settled`: nothing is awaited; `ttl_s`: the life of
        the controller's lease, within which somebody must notice that it has run out."""
        if self._listener is None:
            return BRISK_POLL_S if now_s < self._brisk_until_s else POLL_S
        if not self._listener.hears:
            return POLL_S
        return min(IDLE_POLL_S if settled else OWED_POLL_S, ttl_s / 10)

    def calls(self, leads: bool, seen: int) -> bool:
        """Whether there are news to act on. For a controller that has folded the journal up to `seen`, what stands before is none,
        and is forgotten."""
        heard = self._heard
        if self.fresh and leads:
            self.fresh = heard.unclear or bool(heard.events and heard.events[-1].position > seen)
        if not self.fresh:
            self.take(leads)
        return self.fresh

    def take(self, leads: bool) -> Heard:
        """The news since the last call. `leads`: an agent that leads hears of all events."""
        heard, self._heard, self.fresh = self._heard, Heard(), False
        if self._listener is not None:
            self._listener.leading = leads
            self._watch()
            if self._listener.hears:
                return heard
        return Heard(heard.events, heard.orders, True)

    def close(self) -> None:
        """Listen no longer."""
        if self._listener is not None:
            self._listener.close()
