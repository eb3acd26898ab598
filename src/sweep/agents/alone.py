"""A controller alone: a process that leads a sweep and works for none.

The rule of this file: the journal hears of it only by the decisions that it writes. It holds the controller's lease or waits
for it, and has no lease of its own, no slot and no run.
"""

from __future__ import annotations

import contextlib
import selectors
import time
from collections.abc import Callable
from typing import Protocol

from sweep.agents.clocks import StoreTime
from sweep.agents.leading import Lead, MakeDriver
from sweep.agents.news import News
from sweep.agents.searching import SearchWatch
from sweep.agents.session import Timing
from sweep.agents.signals import Signals
from sweep.agents.view import Level
from sweep.core.entries import Recorded
from sweep.core.rows import SWEEP_KEY, decode_sweep
from sweep.core.views import SweepView
from sweep.stores import StaleFence, Store, StoreError, SweepRemoved

POLL_S = 0.05
"""How often a leading controller looks for what others wrote."""
WATCH_S = 1.0
"""How often it looks for agents that have vanished."""
STANDBY_S = 0.5
"""How often one that does not lead looks at the store, at least."""
TROUBLE_S = 1.0
SETTLING = "settle/"
"""How commands that act on a sweep which nobody leads call themselves (`sweep.controller.settle`)."""


class Watcher(Protocol):
    """Who is told what a controller does. Never raises."""

    def say(self, text: str, level: Level) -> None: ...

    def recorded(self, recorded: Recorded) -> None:
        """An entry that came into the journal while this controller led."""
        ...


class Alone:
    """Leads one sweep whenever nobody else does, until it has ended or a signal comes."""

    def __init__(
        self,
        store: Store,
        sweep: str,
        name: str,
        make_driver: MakeDriver,
        watcher: Watcher,
        timing: Timing,
        *,
        unix_s: Callable[[], float] = time.time,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store, self._sweep, self._watcher, self._timing = store, sweep, watcher, timing
        self.name, self._time, self._monotonic_s = name, StoreTime(unix_s), monotonic_s
        self._lead = Lead(store, sweep, name, make_driver, timing.controller_ttl_s)
        self._selector = selectors.DefaultSelector()
        self._news = News(self._selector)
        self._renew_at = 0.0
        self._seen = 0
        """The journal's position when it was last brought to rest, or looked at."""
        self._told = 0
        self._next_watch = 0.0
        self._search = SearchWatch(self._selector)
        self._other: str | None = ""
        """Whom the person was told to lead; None: nobody, '': not told anything yet."""
        self._trouble = ""
        self._view: SweepView | None = None

    def run(self) -> tuple[SweepView | None, int]:
        """Work; the sweep's row as it was last seen, and the signal that made an end, 0 for none. Raises SweepRemoved."""
        signals = Signals(self._selector)
        try:
            self._news.follow(self._store, self._sweep, self.name)
            while True:
                for key, _ in self._selector.select(self._pause()):
                    key.data()
                self._news.take(self.leads)
                taken = signals.take()
                if taken:
                    return self._view, taken[-1]
                if self.turn() and self._view is not None and self._view.state == "ended":
                    return self._view, 0
        finally:
            with contextlib.suppress(StoreError):
                self._lead.stop(release=True)
            self._news.close()
            self._selector.close()
            signals.close()

    def _pause(self) -> float:
        if self._trouble:
            return TROUBLE_S
        return min(POLL_S if self.leads else STANDBY_S, self.due_in_s())

    def due_in_s(self) -> float:
        """In how many seconds the next turn is due if nothing happens."""
        driver = self._lead.driver
        if driver is None:
            return self._timing.controller_ttl_s / 10
        if driver.wake_at_s is None:
            return WATCH_S
        return min(WATCH_S, max(0.0, driver.wake_at_s - self._time.now_s()))

    @property
    def leads(self) -> bool:
        """Whether this is the sweep's controller at present."""
        return self._lead.driver is not None

    def turn(self) -> bool:
        """Look and act. Whether the store could be asked."""
        try:
            self._keep_the_lead()
            if self._due():
                self._step()
            self._look()
        except SweepRemoved:
            raise
        except StoreError as error:
            if str(error) != self._trouble:
                self._trouble = str(error)
                self._watcher.say(f"{error} (trying again every second)", "error")
            return False
        if self._trouble:
            self._trouble = ""
            self._watcher.say("the store works again", "info")
        return True

    def _keep_the_lead(self) -> None:
        now, led = self._store.clock(), self._lead.driver is not None
        if now >= self._renew_at:
            self._renew_at = now + self._timing.controller_ttl_s / 3
            self._lead.renew()
        if led and self._lead.driver is None:
            self._watcher.say("the lease ran out: it was frozen or cut off for too long", "warning")
        self._lead.seek()
        if self._lead.driver is None:
            self._say_who_leads()
        elif not led or self._other != self.name:
            self._begin()

    def _begin(self) -> None:
        self._told = self._store.position(self._sweep)
        self._seen, self._other = -1, self.name
        self._watcher.say("this controller leads", "info")

    def _say_who_leads(self) -> None:
        lease = self._lead.held()
        other = None if lease is None else lease.holder
        if other is not None and other.startswith(SETTLING):
            return  # a command has it for a moment
        if other != self._other and other is not None:
            self._watcher.say(f"{other} leads; waiting", "info")
        self._other = other

    def _due(self) -> bool:
        driver = self._lead.driver
        if driver is None:
            return False
        now, waiting = self._monotonic_s(), driver.wake_at_s
        due = (
            self._search.take()
            or now >= self._next_watch
            or (waiting is not None and self._time.now_s() >= waiting)
        )
        if due or self._store.position(self._sweep) != self._seen:
            self._next_watch = now + WATCH_S
            return True
        return False

    def _step(self) -> None:
        driver = self._lead.driver
        assert driver is not None
        try:
            with self._store.batch():
                self._check_there()
                driver.step(self._time.now_s())
                if driver.wrote_s is not None:
                    self._time.saw(driver.wrote_s)
        except StaleFence:
            self._lead.stop()
            self._watcher.say("the lease is lost: another controller has taken over", "warning")
        except BaseException:
            driver.forget()
            raise
        self._search.follow(self._lead.driver)

    def _look(self) -> None:
        """Tell what was written, and see how the sweep stands."""
        position = self._check_there()
        if position == self._seen:
            return
        if self._lead.driver is not None:
            for recorded in self._store.read(self._sweep, self._told):
                self._told = recorded.position
                if not self._time.known:
                    self._time.saw(recorded.at_s)
                self._watcher.recorded(recorded)
        index = self._store.read_index(self._sweep, SWEEP_KEY)
        row = index.rows.get(SWEEP_KEY)
        if row is not None:
            self._view = decode_sweep(row)
        if index.upto >= position:
            self._seen = position

    def _check_there(self) -> int:
        position = self._store.position(self._sweep)
        if position < max(1, self._seen):
            raise SweepRemoved(f"sweep {self._sweep} has been removed")
        return position
