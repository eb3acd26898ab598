"""What tells an agent that others have written something for it, where its store can tell."""

from __future__ import annotations

import math
import selectors

from sweep.core.entries import Recorded, RunStarted
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
STARTED_S = 0.05
"""So long a controller may wait with what nothing is decided by: that runs have started."""
GATHER_S, GATHERED = 0.01, 8
"""For so long at most a controller that has just decided gathers what others write before it decides again, and less where more
entries than these would come meanwhile."""
_SPARSE_S = 0.05
"""Entries that come so far apart, or farther, are answered one by one."""


class News:
    """Wakes the loop's selector. Without it the loop looks now and then, as it does anyway."""

    def __init__(self, selector: selectors.BaseSelector) -> None:
        self._selector = selector
        self._listener: Listener | None = None
        self._agent = ""
        self._watched: int | None = None
        self.next_s = self._brisk_until_s = 0.0
        """`next_s`: when the journal is to be looked at although nothing was heard, by the monotonic clock."""
        self._look_by_s = 0.0
        """However much is heard, it is looked by then."""
        self._gathers_until_s: float | None = None
        """Nothing is listened to until then."""
        self._decided_s, self._apart_s, self._others = 0.0, _SPARSE_S, 0
        """When this controller has last decided; how far apart what others write has come of late; how much of it was taken last."""
        self._answered = False
        """There were orders among the news that were taken last."""
        self._wait_until_s: float | None = None
        """What has been heard can wait until then."""
        self._heard = Heard()
        self.fresh = False
        """Whether there has been news since they were taken last."""

    def follow(self, store: Store, sweep: str, agent: str) -> None:
        """Listen to what is written for `agent`."""
        self._listener, self._agent = listen(store, sweep, agent), agent
        self._watch()

    def _watch(self) -> None:
        """Wait for what the listener waits for, which changes when its connection breaks; while news gather, for nothing."""
        fd = None
        if self._listener is not None and self._gathers_until_s is None:
            fd = self._listener.fileno()
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

    @property
    def due_s(self) -> float:
        """When there is something to do although nothing more is heard, by the monotonic clock."""
        due_s = self.next_s if self._wait_until_s is None else min(self.next_s, self._wait_until_s)
        return due_s if self._gathers_until_s is None else min(due_s, self._gathers_until_s)

    def stir(self, stirred: bool, settled: bool, now_s: float) -> None:
        """After a commit: look often for a while where others write, or will. Who is told orders has missed none before them, and
        need not look so soon. `settled` as for `pause_s`; `now_s`: by the monotonic clock, as below."""
        if self._others:
            self._gather(now_s)
        if self._answered and self._listener is not None and self._listener.hears:
            self.next_s = max(self.next_s, min(self._look_by_s, now_s + self.pause_s(settled, math.inf)))
        if not stirred:
            return
        self._brisk_until_s = now_s + BRISK_S
        self.next_s = min(self.next_s, now_s + self.pause_s(False, math.inf, now_s))

    def _gather(self, now_s: float) -> None:
        """After a commit of a controller that answered others: where more is to come within moments, let it come. Each answer costs
        the same, and each message would wake this process."""
        apart_s = min((now_s - self._decided_s) / self._others, _SPARSE_S)
        self._apart_s += (apart_s - self._apart_s) / 4
        self._decided_s, self._others = now_s, 0
        if GATHERED * self._apart_s < 4 * GATHER_S:
            self._gathers_until_s = now_s + min(GATHER_S, GATHERED * self._apart_s)
            self._watch()

    def _asks(self, told: Recorded) -> bool:
        """Whether it is from another agent, and more than that a run has started."""
        return told.writer != self._agent and type(told.entry) is not RunStarted

    def gathers(self, now_s: float) -> bool:
        """Whether what this agent has to write for itself can wait a moment, for what others write."""
        return self._gathers_until_s is not None and now_s < self._gathers_until_s

    def looks(self, settled: bool, ttl_s: float, now_s: float) -> None:
        """The journal is looked at now; the rest as for `pause_s`."""
        self.next_s = now_s + self.pause_s(settled, ttl_s, now_s)
        self._look_by_s = now_s + self.pause_s(True, ttl_s, now_s)

    def pause_s(self, settled: bool, ttl_s: float, now_s: float = 0.0) -> float:
        """How long the journal may be left alone, as long as no news come. `settled`: nothing is awaited; `ttl_s`: the life of
        the controller's lease, within which somebody must notice that it has run out."""
        if self._listener is None:
            return BRISK_POLL_S if now_s < self._brisk_until_s else POLL_S
        if not self._listener.hears:
            return POLL_S
        return min(IDLE_POLL_S if settled else OWED_POLL_S, ttl_s / 10)

    def calls(self, leads: bool, seen: int, now_s: float) -> bool:
        """Whether there are news to act on now. For a controller that has folded the journal up to `seen`, what stands before is
        none, and is forgotten."""
        if self._listener is None or self.gathers(now_s):
            return False
        self._listen_again()
        if self.fresh and leads and not self._heard.unclear:
            kinds = {type(told.entry) for told in self._heard.events if told.position > seen}
            self.fresh = bool(kinds)
            if kinds == {RunStarted}:
                if self._wait_until_s is None:
                    self._wait_until_s = now_s + STARTED_S
                return now_s >= self._wait_until_s
        if not self.fresh:
            self.take(leads)
        return self.fresh

    def take(self, leads: bool) -> Heard:
        """The news since the last call. `leads`: an agent that leads hears of all events."""
        self._listen_again()
        heard, self._heard, self.fresh = self._heard, Heard(), False
        self._answered, self._wait_until_s = bool(heard.orders), None
        self._others = sum(map(self._asks, heard.events)) if leads else 0
        if self._listener is not None:
            self._listener.leading = leads
            self._watch()
            if self._listener.hears:
                return heard
        return Heard(heard.events, heard.orders, True)

    def _listen_again(self) -> None:
        """Take in what has gathered."""
        if self._gathers_until_s is not None:
            self._gathers_until_s = None
            self._note()

    def close(self) -> None:
        """Listen no longer."""
        if self._listener is not None:
            self._listener.close()
