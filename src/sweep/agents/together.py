"""One agent for several sweeps: a loop for each, all in one thread, and slots that are lent to one sweep at a time.

The rule of this file: what a slot takes of the machine is lent on only when the store has confirmed that the last offer of it is gone,
or the run that used it is over; and nothing that happens to one sweep holds up the others.

A turn: wait for something -> every loop takes in what has happened to it -> slots are asked back and lent -> every loop commits.
"""

from __future__ import annotations

import selectors
import signal
import threading
import time
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Any

import msgspec

from sweep.agents.functions import Function
from sweep.agents.guardian import become_subreaper
from sweep.agents.lives import Lives, Work
from sweep.agents.loop import Loop
from sweep.agents.node import End
from sweep.agents.options import Options
from sweep.agents.signals import Signals
from sweep.agents.view import Level
from sweep.core.sharing import Need, Sharing
from sweep.core.spec import Limits
from sweep.core.views import SweepView
from sweep.stores import Store, StoreError, SweepRemoved

REJOIN_S = 5.0
"""Pause before a store that failed is asked again to let this agent in."""
LOOK_S = 2.0
"""How often new sweeps are looked for."""
ENDING_S = 0.05
"""How often it is looked whether the runs of a sweep that is over have gone."""

FindMore = Callable[[Collection[str]], Iterable[Work]]


class Together:
    """An agent of several sweeps, until all of them have ended."""

    def __init__(
        self,
        store: Store,
        root: Path,
        options: Options,
        sharing: Sharing,
        say: Callable[[str, Level], None],
        *,
        wandb: bool = False,
        function: Function | None = None,
        more: FindMore | None = None,
        stays: bool = False,
    ) -> None:
        """`options.count` is of all sweeps together; `function`: what runs of all of them call. `more(known)`: work on sweeps that are
        not among those; it may raise StoreError. `stays`: it goes on looking for them when there is nothing to do."""
        self._store, self._root, self._wandb, self._function = store, root, wandb, function
        self._count = options.count
        self._options = msgspec.structs.replace(options, count=None)
        self._sharing, self._say, self._more, self._stays = sharing, say, more, stays
        self._selector = selectors.DefaultSelector()
        self._members: dict[str, _Member] = {}
        self._taken = 0
        """How many runs were begun for sweeps that are over."""
        self._no_more: set[str] = set()
        """Sweeps that were given up, or could not be worked on."""
        self._ended_by = 0
        self._leaving = ""
        self._next_look = 0.0
        self._trouble = ""
        self.ends: dict[str, End] = {}
        """sweep -> how it ended for this agent."""

    def run(self, works: Iterable[Work]) -> int:
        """Work; returns the signal that made an end of it, 0 for none. Raises StoreError when one of `works` cannot be joined."""
        become_subreaper()
        signals = Signals(self._selector)
        try:
            for work in works:
                self._members[work.sweep] = member = self._member(work)
                member.begin()
            while self._members or self._waits():
                self._turn(signals)
            return self._ended_by
        finally:
            for member in self._members.values():
                member.give_up("")
            for member in self._members.values():
                member.join()
            self._selector.close()
            signals.close()

    def _member(self, work: Work) -> _Member:
        lives = Lives(self._store, work, self._root, self._options, self._wandb, self._function)
        return _Member(lives, self._sharing, self._selector)

    def _waits(self) -> bool:
        return self._stays and not self._leaving

    # --- a turn

    def _turn(self, signals: Signals) -> None:
        now = time.monotonic()
        for key, _ in self._selector.select(max(0.0, self._due_s(now) - now)):
            if callable(key.data):
                key.data()
        taken = signals.take()
        if taken:
            self._ended_by, self._leaving = taken[-1], signal.Signals(taken[-1]).name
        for member in list(self._members.values()):
            self._each(member, lambda loop: loop.gather(0.0, lambda: taken))
        self._share()
        for member in list(self._members.values()):
            self._each(member, lambda loop: loop.settle(time.monotonic()))
            self._advance(member)
        self._look_for_more()

    def _due_s(self, now: float) -> float:
        times = [now + LOOK_S]
        for member in self._members.values():
            times.append(member.due_s(now))
        if (shared := self._sharing.next_wake_s(now)) is not None:
            times.append(shared)
        return min(times)

    def _each(self, member: _Member, act: Callable[[Loop], object]) -> None:
        if member.loop is None:
            return
        try:
            act(member.loop)
            member.confirm()
        except SweepRemoved as error:
            member.view.say(str(error), "warning")
            member.give_up(str(error))

    # --- slots

    def _share(self) -> None:
        now, sharing = time.monotonic(), self._sharing
        begun = self._taken + sum(member.taken for member in self._members.values())
        if self._count is not None:
            sharing.left = max(0, self._count - begun)
            if not sharing.left:
                self._drain(f"its {self._count} runs are done")
        for member in self._members.values():
            member.tell(now)
        self._lend(now)
        asked = sharing.recall(now)
        for loan in asked:
            member = self._members[loan.sweep]
            if member.loop is not None:
                member.loop.perform(member.loop.core.recall(loan.slot))
        for sweep in {loan.sweep for loan in asked}:
            self._each(self._members[sweep], lambda loop: loop.settle(now))
            self._members[sweep].tell(now)
        if asked:
            self._lend(now)

    def _lend(self, now: float) -> None:
        for loan in self._sharing.lend(now):
            member = self._members[loan.sweep]
            if member.loop is not None:
                member.loop.perform(member.loop.core.lend(loan.slot))

    def _drain(self, reason: str) -> None:
        self._leaving = self._leaving or reason
        for member in self._members.values():
            if member.loop is not None and not member.loop.core.draining:
                member.loop.perform(member.loop.core.drain(reason))

    # --- sweeps that come and go

    def _advance(self, member: _Member) -> None:
        """Take a member a step further on its way out, or into its next life."""
        if member.loop is not None:
            if member.loop.over:
                member.leave()
        elif member.gone():
            if member.end is not None or self._leaving:
                self._over(member)
        elif member.again_s is not None and time.monotonic() >= member.again_s:
            try:
                member.begin()
            except StoreError as error:
                again = member.end is None
                member.view.say(
                    f"{error} (trying again)" if again else str(error), "error" if again else "warning"
                )

    def _over(self, member: _Member) -> None:
        """It is over, and nothing of it is left on this machine."""
        del self._members[member.sweep]
        self._sharing.leave(member.sweep)
        self._taken += member.taken
        end = self.ends[member.sweep] = member.end or End(self._leaving)
        if not member.ended:
            self._no_more.add(member.sweep)
        if not self._leaving and (self._members or self._stays):
            member.view.say(f"this agent has done with it: {end.reason}", "info")

    def _look_for_more(self) -> None:
        now, until = time.monotonic(), self._options.until
        if until is not None and now >= until.end_runs_s(Limits()):
            self._leaving = self._leaving or f"the agent leaves at {until.text}"
        if self._more is None or self._leaving or now < self._next_look:
            return
        self._next_look = now + LOOK_S
        try:
            for work in self._more(self._members.keys() | self._no_more):
                member = self._member(work)
                try:
                    member.begin()
                except StoreError:
                    member.join()
                    self._sharing.leave(work.sweep)
                    raise
                self._members[work.sweep] = member
            self._trouble = ""
        except StoreError as error:
            if str(error) != self._trouble:
                self._trouble = str(error)
                self._say(f"{error} (looking for sweeps again soon)", "error")


class _Member:
    """One sweep's part in it."""

    def __init__(self, lives: Lives, sharing: Sharing, selector: selectors.BaseSelector) -> None:
        self._lives, self._sharing, self._selector = lives, sharing, selector
        self.sweep, self.view = lives.work.sweep, lives.work.view
        self.loop: Loop | None = None
        """While it takes part."""
        self.end: End | None = None
        """How it has ended for this agent; None while another life may follow."""
        self.ended = False
        """Whether the sweep has ended."""
        self.again_s: float | None = None
        """When its next life begins."""
        self._ending: threading.Thread | None = None
        self._pause_s = 0.0
        self._watched = -1
        needs = [
            Need(slot.cpus, {gpu.uuid: slot.share for gpu in slot.gpus}) for slot in lives.work.node.slots
        ]
        sharing.join(self.sweep, needs, lives.work.spec.priority)

    # --- life

    def begin(self) -> None:
        """Join the sweep. Raises StoreError: then another try is due after a pause, unless the sweep is gone."""
        self.again_s = None
        loop = self.loop = self._lives.begin()
        loop.core.lent = set()
        try:
            self._watched = _fileno(loop.selector)
            self._selector.register(self._watched, selectors.EVENT_READ)
            loop.begin(self._lives.joined)
        except StoreError as error:
            self._let_go(loop, End(str(error)) if isinstance(error, SweepRemoved) else None, REJOIN_S)
            raise

    def leave(self) -> None:
        """There is nothing left to do in this life: say goodbye. Never waits."""
        loop = self.loop
        if loop is None:
            return
        self.ended = not loop.lost and loop.session.phase == "ended"
        try:
            loop.leave()
        except StoreError as error:
            self.view.say(f"{error} (the others will find this agent gone)", "warning")
        self._let_go(loop, self._lives.over(loop))

    def give_up(self, reason: str) -> None:
        """End what runs, without a word to the store. Never waits."""
        if self.loop is not None:
            self._lives.over(self.loop)
            self._let_go(self.loop, End(reason))

    def _let_go(self, loop: Loop, end: End | None, pause_s: float = 0.0) -> None:
        self.loop, self.end, self._pause_s = None, end, pause_s
        self._selector.unregister(self._watched)
        loop.let_go()
        self._ending = threading.Thread(target=loop.end_runs, name=f"ending {self.sweep}")
        self._ending.start()

    def gone(self) -> bool:
        """Whether what the last life had left has just gone: once in each life."""
        if self._ending is None or self._ending.is_alive():
            return False
        self.join()
        self._sharing.forget(self.sweep)
        self.again_s = time.monotonic() + self._pause_s
        return True

    def join(self) -> None:
        """Wait until it has."""
        if self._ending is not None:
            self._ending.join()
            self._ending = None

    # --- what is due, and what has become of its slots

    def due_s(self, now: float) -> float:
        if self.loop is not None:
            return self.loop.due_s(now)
        if self._ending is not None:
            return now + ENDING_S
        return self.again_s if self.again_s is not None else now

    @property
    def taken(self) -> int:
        """How many runs it has begun."""
        return self._lives.taken + (self.loop.core.taken if self.loop is not None else 0)

    def confirm(self) -> None:
        """What was asked back has come back, if the store has all that it was to be told."""
        if self.loop is not None and not self.loop.session.urgent:
            self.loop.core.confirm()

    def tell(self, now: float) -> None:
        """Tell the sharing how the sweep stands."""
        loop, sharing, sweep = self.loop, self._sharing, self.sweep
        if loop is None:
            sharing.look(sweep, priority=0, wants=False, now_s=now)
            return
        self._tell_slots(loop, now)
        core, session = loop.core, loop.session
        dry, news = _prospects(session.view)
        sharing.look(
            sweep,
            priority=loop.spec.priority,
            wants=not core.draining and session.phase in ("active", "finishing"),
            dry=dry,
            news=(session.phase, news),
            blocked=core.gpus.aside,
            now_s=now,
        )

    def _tell_slots(self, loop: Loop, now: float) -> None:
        core, sharing, sweep = loop.core, self._sharing, self.sweep
        here = {attempt.assignment.slot for attempt in core.attempts.values()}
        lent = core.lent or set()
        for slot in set(sharing.busy(sweep)) - here:
            sharing.ended(sweep, slot, now)
        for slot in sharing.waiting(sweep):
            if slot not in lent:
                sharing.began(sweep, slot, now)
                if slot not in here:  # it is over already
                    sharing.ended(sweep, slot, now)
        for slot in sharing.returning(sweep):
            if slot in here:
                sharing.began(sweep, slot, now)
            elif slot not in core.returning:
                sharing.returned(sweep, slot)


def _prospects(view: SweepView | None) -> tuple[bool, object]:
    """What a sweep's row in the index says: whether no run is left to assign; and something that differs when one may have come."""
    if view is None:
        return False, None
    counts = view.counts
    queued = counts.get("queued", 0) + counts.get("paused", 0)
    done = sum(counts.get(state, 0) for state in ("completed", "failed", "pruned", "cancelled"))
    proposed = view.exhausted or (view.run_cap is not None and view.trials >= view.run_cap)
    dry = not queued and (proposed or view.state == "finishing")
    return dry, (view.revision, view.trials, queued, done)


def _fileno(selector: Any) -> int:
    """A selector as something that another one can watch: epoll and kqueue have a descriptor."""
    number: int = selector.fileno()
    return number
