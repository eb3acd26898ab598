"""An agent's dealings with the store: heartbeat, journal, history, and the controller when it is this agent's turn.

No processes and no waiting here: the real loop and the simulated world both drive a session by `pump`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from operator import attrgetter

import msgspec

from sweep.agents.clocks import StoreTime
from sweep.agents.leading import Lead, Leading, MakeDriver
from sweep.core import entries as e
from sweep.core.agent import Action, AgentCore
from sweep.core.codec import spec_from_builtins
from sweep.core.names import agent_lease
from sweep.core.rows import SPEC_KEY, SWEEP_KEY, decode_spec, decode_sweep
from sweep.core.spec import SweepSpec
from sweep.core.views import SweepState, SweepView
from sweep.stores import Heard, Told, look
from sweep.stores.base import (
    EntriesLost,
    HistoryChunk,
    Lease,
    StaleFence,
    Store,
    StoreError,
    StoreFull,
    SweepRemoved,
    lost_entries,
)

NOTHING_TOLD = Heard(unclear=True)
"""What is heard of a store that tells nothing."""
REOPENS = (
    e.SpecRevised,
    e.ResumeRequested,
    e.ExtendRequested,
    e.ConfirmRequested,
    e.RetryRequested,
    e.SweepReopened,
)
"""After these an ended sweep may go on."""


class Timing(msgspec.Struct, frozen=True):
    """Seconds. A lease is renewed three times within its life."""

    agent_ttl_s: float = 10.0
    controller_ttl_s: float = 10.0


UNRENEWED = "the agent could not renew its lease in time; its runs start again"
"""The guard has ended them, and itself."""


class LeaseLost(Exception):
    """Others may count this agent as lost: it must drop everything and join anew under another name."""


class Session:
    """One agent's place in one sweep."""

    def __init__(
        self,
        store: Store,
        sweep: str,
        agent: str,
        make_driver: MakeDriver | None,
        *,
        timing: Timing,
        unix_s: Callable[[], float],
    ) -> None:
        """`make_driver`: None for an agent that never leads. `unix_s`: the time, in seconds since 1970."""
        self.store, self.sweep, self.agent = store, sweep, agent
        self.timing, self.time = timing, StoreTime(unix_s)
        self._lead = Lead(store, sweep, agent, make_driver, timing.controller_ttl_s)
        self._lease: Lease | None = None
        self._seq = 0
        self._cursor = 0
        self._seen = 0
        self._told: int | None = None
        """The journal's position as `behind` has just found it: the commit that follows need not ask again."""
        self._stirred = False
        self._known = 0
        """The highest position at which this agent has seen the journal."""
        self._owed = self._answered = 0
        """The journal's position after the last commit of what the controller answers, and up to which it has seen the journal."""
        self._gone = ""
        """In words, that the store has lost entries that it had: perhaps some of this agent's."""
        self._joined_at = 0
        """The journal's position when this agent joined; it is shorter only where the sweep was removed."""
        self.blobs: list[bytes] = []
        """To be kept with what is pending: in one commit with the entry that names them, so that no clean-up finds them
        without it."""
        self.caches: dict[str, bytes] = {}
        """Name -> content, to be kept with the next commit."""
        self._pending: list[e.AnyEntry] = []
        self.urgent = False
        """Whether one of them cannot wait: anything but that a run has started, of which nobody else's next act depends."""
        self._renew_at = 0.0
        self._starved = False
        """The store has had no room since the lease was last renewed."""
        self.phase: SweepState = "active"
        self.reason = ""
        self.view: SweepView | None = None
        """The sweep's row in the index, as last seen."""
        self._revision = 0
        """The revision of the spec that `revised` last gave out."""

    @property
    def driver(self) -> Leading | None:
        """The controller's driver while this agent is the sweep's controller."""
        return self._lead.driver

    @property
    def leads(self) -> bool:
        """Whether this agent is the sweep's controller at present."""
        return self._lead.driver is not None

    def join(self, joined: e.AgentJoined) -> float:
        """Take the heartbeat lease and enter the journal. Returns the lease's end by the store's clock."""
        lease = self.store.acquire(agent_lease(self.agent), self.agent, self.timing.agent_ttl_s)
        if lease is None:
            raise StoreError(f"an agent called {self.agent} is already at work")
        self._lease = lease
        self._renew_at = self.store.clock() + self.timing.agent_ttl_s / 3
        self._joined_at = self._cursor = self.store.position(self.sweep)
        self._check_there(self._cursor)
        self.add(joined)
        return lease.expires_s

    def beat(self) -> float | None:
        """Renew the leases when it is time. Returns the new end of the agent's lease, None when nothing was due.

        Raises LeaseLost when the agent's own lease has run out.
        """
        if self._gone:
            self._lease = None
            raise LeaseLost(self._gone)
        now = self.store.clock()
        if now < self._renew_at or self._lease is None:
            return None
        self._check_own()
        try:
            renewed = self.store.renew(self._lease, self.timing.agent_ttl_s)
            if renewed is None and self._starved:
                renewed = self._regain()
        except StoreFull:
            self._starved = True
            raise
        self._starved = False
        if renewed is None:
            self._lease = None
            raise LeaseLost("the agent's lease ran out: it was frozen or cut off for too long")
        self._lease = renewed
        self._renew_at = now + self.timing.agent_ttl_s / 3
        self._lead.renew()
        return renewed.expires_s

    def _check_own(self) -> None:
        """Raise LeaseLost when a server has lost what this agent wrote: it may have nothing more to write, and would wait."""
        if self.store.whole_batches or (had := self.store.last_seq(self.sweep, self.agent)) >= self._seq:
            return
        self._lease = None
        raise LeaseLost(lost_entries(self.sweep, self._seq, had, " of this agent"))

    def _regain(self) -> Lease | None:
        """A lease that ran out while the store was full, taken anew: meanwhile nobody could write that this agent is lost.
        None when somebody has done so since."""
        with self.store.batch():
            since = self.store.read(self.sweep, self._seen)
            if any(isinstance(r.entry, e.AgentLost) and r.entry.agent == self.agent for r in since):
                return None
            # Others come back in this moment as well: to lead at once would be to count them as lost.
            self._lead.hold_back(min(2.0, self.timing.controller_ttl_s / 2))
            return self.store.acquire(agent_lease(self.agent), self.agent, self.timing.agent_ttl_s)

    @property
    def willing(self) -> bool:
        """Whether this agent leads when it is its turn."""
        return self._lead.willing

    def unled(self) -> bool:
        """Whether the sweep goes on and has no controller. Raises StoreError."""
        return self.phase != "ended" and self._lead.held() is None

    def leader(self) -> tuple[str, float]:
        """Who leads the sweep, '' for nobody, and how many seconds its lease has left. Raises StoreError."""
        lease = self._lead.held()
        return ("", 0.0) if lease is None else (lease.holder, lease.expires_s - self.store.clock())

    def add(self, entry: e.AnyEntry) -> None:
        """Have `entry` written with the next commit."""
        self._pending.append(entry)
        self.urgent |= type(entry) is not e.RunStarted

    @property
    def pending(self) -> bool:
        """Whether entries wait to be written."""
        return bool(self._pending)

    def behind(self) -> bool:
        """Whether the journal has gone on since the last commit. Cheap."""
        position = self.store.position(self.sweep)
        self._told = position if position != self._seen else None
        return self._told is not None

    @property
    def stirred(self) -> bool:
        """Whether the last commit wrote what the controller answers, or, in the controller's process, found what others wrote."""
        return self._stirred if self.driver is None else self.driver.stirred

    @property
    def seen(self) -> int:
        """The journal's position when this agent last looked at all of it, or brought it to rest."""
        return self._seen

    @property
    def settled(self) -> bool:
        """Whether the controller has seen, as far as this agent knows, all that it answers to this agent."""
        return self._answered >= self._owed

    def commit(
        self, history: Sequence[HistoryChunk] = (), heard: Heard = NOTHING_TOLD, *, later: bool = False
    ) -> list[e.AnyEntry]:
        """Write what is pending together with `history`, lead a step if this agent leads, and return what is
        addressed to this agent. One commit of the store; on StoreError all of it stays pending. `heard`: what the store has told
        since the last commit, where it does; what is told need not be looked for. `later`: what is not urgent may stay pending where
        to write it costs as much alone as with other things later."""
        if self._lease is not None and not heard.orders:  # whoever orders leads
            self._lead.seek()
        later = later and not (
            self.urgent or history or self.blobs or self.caches or self.store.whole_batches
        )
        if self.driver is None and (later or not (self._pending or history or self.caches)):
            if self._told is not None:
                return self._orders(self._position())
            orders = self._follow(heard)
            return self._news() if orders is None else orders
        try:
            with self.store.batch():
                position, seq, written = self._write(history, heard, [] if later else self._pending)
                latest = position
                if self.driver is not None:
                    given = sorted(
                        [*written, *heard.events], key=attrgetter("position")
                    )  # what was written counts first
                    self.driver.step(self.time.now_s(), given, position)
                    if self.driver.wrote_s is not None:
                        self.time.saw(self.driver.wrote_s)
                    latest = max(latest, self.driver.latest)
                    position = self.driver.view()[0] or latest
        except StaleFence:
            self._lead.stop()
            return self.commit(history)
        except BaseException:
            if self.driver is not None:
                self.driver.forget()
            raise
        self._stirred, self.urgent = self.urgent, False
        if not later:
            self._pending.clear()
            self.blobs.clear()
            self.caches.clear()
        self._seq, self._known = seq, max(position, latest)
        if self._stirred:
            self._owed = self._known
        orders = self._follow(heard) if self.driver is None else None
        return self._orders(position) if orders is None else orders

    def revised(self) -> SweepSpec | None:
        """The sweep's spec, where it has another revision than this told last time; None otherwise. Cheap when there is
        nothing new. Raises StoreError."""
        if self.view is None or self.view.revision == self._revision:
            return None
        row = self.store.read_index(self.sweep, SPEC_KEY).rows.get(SPEC_KEY)
        if row is None:
            return None
        self._revision = self.view.revision
        return spec_from_builtins(decode_spec(row).spec)

    def leave(self, reason: str) -> None:
        """Give everything back: the last commit of this agent."""
        self.add(e.AgentLeft(self.agent, reason))
        self.commit()
        self._lead.stop(release=True)
        if self._lease is not None:
            self.store.release(self._lease)
            self._lease = None

    def drop(self) -> None:
        """Close without a word: the lease is lost, or the process must go at once. Never fails: a lease that cannot be
        given back runs out."""
        self._pending.clear()
        self.urgent = False
        with contextlib.suppress(StoreError):
            self._lead.stop(release=True)

    # --- inside

    def _write(
        self, history: Sequence[HistoryChunk], heard: Heard, pending: Sequence[e.AnyEntry]
    ) -> tuple[int, int, Sequence[e.Recorded]]:
        if history:
            self.store.append_history(self.sweep, history)
        for blob in self.blobs:
            self.store.put_blob(blob)
        for name, data in self.caches.items():
            self.store.put_cache(self.sweep, name, data)
        if not pending and self.driver is not None and heard.events:
            return self._position(heard.events[-1].position), self._seq, ()
        if not pending:
            return self._position(), self._seq, ()
        self._told = None
        try:
            appended = self.store.append(
                self.sweep, pending, writer=self.agent, first_seq=self._seq + 1, existing=True
            )
        except EntriesLost as error:  # others have filled the journal up again: its length would not tell
            self._gone = str(error)
            raise
        self._check_there(appended.last - len(appended.recorded))
        if appended.recorded:
            self.time.saw(appended.recorded[-1].at_s)
        elif (
            not self.time.known
        ):  # it was written before, and the answer was lost: the store's time is this, or later
            self.time.saw(self.store.read(self.sweep, appended.last - 1, limit=1)[0].at_s)
        return appended.last, self._seq + len(pending), appended.recorded

    def _position(self, told: int | None = None) -> int:
        """The journal's position, now or when `behind` looked for it just before; as far as this agent knows where it was `told`
        that there is an entry at that one. Raises as `_check_there`."""
        position, self._told = self._told, None
        if told is not None:
            position = max(told, self._known, position or 0)
        if position is None or position < self._known:
            position = self.store.position(self.sweep)
        self._check_there(position)
        return position

    def _check_there(self, position: int) -> None:
        """Raise SweepRemoved when the journal, which was at `position`, is not the one that this agent joined."""
        least = (
            max(self._joined_at, 1) if self.store.whole_batches else 1
        )  # servers may lose entries: see below
        if position < least:
            raise SweepRemoved(f"sweep {self.sweep} has been removed")
        if position < self._known:  # what it lost may be this agent's: begin anew, as after a lost lease
            self._gone = lost_entries(self.sweep, self._known, position)
            raise StoreError(self._gone)
        self._known = position

    def _follow(self, heard: Heard) -> list[e.AnyEntry] | None:
        """Orders as they were told; None where something is missing, or only a look tells."""
        if heard.unclear:
            return None
        cursor, found = self._cursor, list[e.Recorded]()
        for told in heard.orders:
            if told.before > cursor:
                return None
            found += [recorded for recorded in told.entries if recorded.position > cursor]
            cursor = max(cursor, told.entries[-1].position)
        for told in heard.orders:
            self._note_told(told)
        self._cursor = cursor
        return [recorded.entry for recorded in found]

    def _note_told(self, told: Told) -> None:
        if self._known <= told.seen:  # whoever wrote it had seen all that is known here: nothing is owed
            self._seen = max(self._seen, told.position)
        self._known = max(self._known, told.position)
        self._answered = max(self._answered, told.seen)

    def _news(self) -> list[e.AnyEntry]:
        """What there is, in one question to the store where it has an answer to all of it."""
        orders, index, position = look(self.store, self.sweep, self._cursor, self.agent, SWEEP_KEY)
        self._check_there(position)
        self._answered = max(self._answered, index.upto)
        row = index.rows.get(SWEEP_KEY)
        view = decode_sweep(row) if row is not None else None
        return self._took(position, orders, index.upto >= position or self._is_over(view, index.upto), view)

    def _is_over(self, view: SweepView | None, upto: int) -> bool:
        """Whether a sweep that had ended at `upto` has ended for good although entries followed: the controller has gone then, and
        nobody takes agents' late words into the listing."""
        if view is None or view.state != "ended":
            return False
        return not any(isinstance(late.entry, REOPENS) for late in self.store.read(self.sweep, upto))

    def _orders(self, position: int) -> list[e.AnyEntry]:
        if position == self._seen:
            return []
        upto, view = self.driver.view() if self.driver is not None else (0, None)
        if self.driver is None or view is None or upto < position:
            return self._news()
        orders = self.driver.orders(self._cursor)
        if orders is None:
            orders = self.store.read(self.sweep, self._cursor, addressee=self.agent)
        return self._took(position, orders, True, view)

    def _took(
        self, position: int, orders: Sequence[e.Recorded], fresh: bool, view: SweepView | None
    ) -> list[e.AnyEntry]:
        """`fresh`: `view`, the sweep's row in the index, goes as far as `position`."""
        if orders:  # only now: nothing that fails above may lose them
            self._cursor = orders[-1].position
        if fresh:  # else look again: the listing lags behind
            self._seen = position
            self._answered = max(self._answered, position)
        if view is not None and (fresh or view.state != "ended"):  # it may have been asked to go on since
            self.view = view
            self.phase, self.reason = view.state, view.reason
        return [recorded.entry for recorded in orders]


def carry_orders(core: AgentCore, orders: Sequence[e.AnyEntry], now_s: float) -> list[Action]:
    """What the core makes of entries that are addressed to its agent."""
    actions: list[Action] = []
    for entry in orders:
        if isinstance(entry, e.RunAssigned):
            actions += core.assigned(entry, now_s)
        elif isinstance(entry, e.RunPruned | e.RunPaused | e.RunCancelled):
            actions += core.ordered(entry, now_s)
        elif isinstance(entry, e.NodeSetAside):
            actions += core.set_aside(entry)
    return actions
