"""One life of an agent in virtual time: the real `AgentCore` and the real `Session`, with a simulated guard and processes.

The rule of this file: it does what `sweep.agents.loop` does, in the same order, and decides nothing.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from sweep.agents.session import LeaseLost, Session, Timing, carry_orders
from sweep.core import agent as a
from sweep.core import entries as e
from sweep.core.spec import unit_of
from sweep.stores.base import HistoryChunk, Lease, StoreError
from sweep.testing.faults import Crash, FaultyStore
from sweep.testing.hearing import Hearing
from sweep.testing.scenario import far_of
from sweep.testing.training import GUARD_MARGIN_S, Exited, Guard, GuardDied, Listener, Process, Spawned
from sweep.testing.watching import WatchedDriver

if TYPE_CHECKING:
    from sweep.testing.world import World

TROUBLE_S = (0.1, 1.0)
WATCH_S = 1.2
REPORT_S = 2.0
TIMING = Timing(agent_ttl_s=6.0, controller_ttl_s=5.0)


class Local:
    """A run on this node: what of its rows has been taken."""

    def __init__(self, assignment: e.RunAssigned) -> None:
        self.assignment = assignment
        self.process: Process | None = None
        self.taken = 0
        self.report_s = 0.0
        """When it is to be told next what it has used."""


class SimAgent(Listener):
    """From joining a sweep to leaving it, or to a lost lease, or to a crash."""

    def __init__(self, world: World, node: int, agent: str, slots: int, count: int | None) -> None:
        self.world, self.node, self.agent = world, node, agent
        self.alive = True
        self.frozen_until: float | None = None
        self.cut_until = 0.0
        self.in_turn = False
        self.core = a.AgentCore(agent, slots, world.spec.limits, world.now, count)
        self._gpus = world.gpus_of(node)
        self.store = FaultyStore(world.store.client(), world, agent, lambda: world.now < self.cut_until)
        self.session = Session(
            self.store,
            world.sweep,
            agent,
            self._make_driver if world.agents_lead else None,
            timing=TIMING,
            unix_s=lambda: world.unix_s() + world.skew_s(node),
        )
        self.hearing = Hearing(world, agent)
        self.guard: Guard | None = None
        self.runs: dict[int, Local] = {}
        self.history: list[HistoryChunk] = []
        self._late_commit = False
        self._trouble_until = 0.0
        self._next_s = float("inf")

    # --- life

    def begin(self) -> None:
        """Join and offer. When the store fails, this life ends before it began."""
        try:
            expires = self.session.join(
                e.AgentJoined(self.agent, f"node{self.node}", 100 + self.node, self.core.slots)
            )
        except StoreError:
            self.die()
            return
        except Crash:
            self.crash()
            return
        self.guard = Guard(self.world, self, expires - GUARD_MARGIN_S)
        self.perform(self.core.begin(self.world.now))
        self.wake(0.0)

    def wake(self, delay_s: float) -> None:
        """Take a turn in `delay_s` seconds at the latest."""
        at_s = self.world.now + delay_s
        if self.alive and at_s < self._next_s - 1e-9:
            self._next_s = at_s
            self.world.after(delay_s, lambda: self._due(at_s))

    def _due(self, at_s: float) -> None:
        if at_s == self._next_s:
            self._next_s = float("inf")
            self.turn()

    def turn(self) -> None:
        """One round of the agent's loop."""
        if not self.alive or self.guard is None or self.in_turn or self.frozen_until is not None:
            return
        self.in_turn = True
        try:
            if self._late_commit:  # it was frozen between its heartbeat and its commit
                self._late_commit = False
                self._commit()
            self._turn()
        except Crash:
            self.crash()
        finally:
            self.in_turn = False

    def guard_says(self) -> None:
        self.wake(0.02)

    # --- what befalls it

    def crash(self) -> None:
        """kill -9."""
        self.die()
        if self.guard is not None:
            self.world.after(0.01, self.guard.orphaned)

    def die(self) -> None:
        """This life is over; the node gets another agent later."""
        if self.alive:
            self.alive = False
            self.world.agent_gone(self)

    def freeze(self, seconds: float, guard: bool, mid_turn: bool) -> None:
        """SIGSTOP for the agent, and perhaps for its guard; `mid_turn`: between what it heard last and the commit of it."""
        if mid_turn and self.guard is not None and not self.in_turn:
            for process in list(self.guard.processes.values()):
                if self.world.rng.random() < 0.5:
                    process.end(0)
            self._guard_events()
            self._late_commit = True
        until = self.frozen_until = self.world.now + seconds
        if guard and self.guard is not None:
            self.guard.freeze()
        self.world.after(seconds, lambda: self.thaw() if self.frozen_until == until else None)

    def thaw(self) -> None:
        """SIGCONT."""
        if self.frozen_until is None:
            return
        self.frozen_until = None
        if self.guard is not None and self.guard.frozen:
            self.guard.thaw()
        self.wake(0.0)

    # --- a turn

    def _turn(self) -> None:
        now = self.world.now
        self._beat()
        if not self.alive:
            return
        self._guard_events()
        for local in self.runs.values():
            if local.process is not None and len(local.process.rows) > local.taken:
                self.core.reported(local.assignment.run, now)
        self.perform(self.core.tick(now))
        if now >= self._trouble_until:
            self._commit()
        if self.session.phase == "ended":
            self.perform(self.core.drain("the sweep has ended"))
        if self.core.draining and self.core.idle and not self.session.pending and not self.history:
            self._leave()
        self._plan()

    def _plan(self) -> None:
        """When the next turn is due if nothing happens."""
        world = self.world
        due = [world.now + WATCH_S, self.core.next_wake_s()]
        driver = self.session.driver
        if driver is not None and driver.wake_at_s is not None:
            due.append(driver.wake_at_s - self.session.time.now_s() + world.now)
        self.wake(max(0.001, min(at for at in due if at is not None) - world.now))

    def _beat(self) -> None:
        try:
            expires = self.session.beat()
        except LeaseLost as lost:
            self.perform(self.core.lease_lost(str(lost)))
            return
        except StoreError:
            self._in_trouble()
            return
        if expires is not None and self.guard is not None:
            self.guard.set_deadline(expires - GUARD_MARGIN_S)

    def _commit(self) -> None:
        while True:
            for local in self.runs.values():
                self._collect(local)
                self._report(local)
            before = self.world.store.position(self.world.sweep)
            try:
                heard = self.hearing.take(self.world.store_out or self.world.now < self.cut_until)
                orders = self.session.commit(self.history, heard)
            except StoreError:
                self._in_trouble()
                return
            self.history.clear()
            self.world.journal_moved(self, before)
            self._follow_spec()
            self.perform(carry_orders(self.core, orders, self.world.now))
            if not self.session.pending:
                return

    def _follow_spec(self) -> None:
        try:
            spec = self.session.revised()
        except StoreError:
            self._in_trouble()
            return
        if spec is not None:
            self.world.counts["spec taken over"] += spec.limits != self.core.limits
            self.core.limits = spec.limits

    def _leave(self) -> None:
        try:
            self.session.leave(self.core.draining)
        except StoreError:
            self._in_trouble()
            return
        self.world.counts["agent left"] += 1
        if self.guard is not None:
            self.guard.orphaned()
        self.die()

    def _in_trouble(self) -> None:
        pause_s = self.world.rng.choice(TROUBLE_S)
        self._trouble_until = self.world.now + pause_s
        self.wake(pause_s)

    # --- guard and processes

    def _guard_events(self) -> None:
        guard = self.guard
        assert guard is not None
        events, guard.events = guard.events, []
        for event in events:
            if isinstance(event, Spawned):
                self._spawned(event.process)
            elif isinstance(event, Exited):
                self._exited(event.process, event.code)
            elif isinstance(event, GuardDied):
                self._guard_died()

    def _spawned(self, process: Process) -> None:
        local = self.runs.get(process.run)
        if local is None:
            return
        local.process = process
        started = e.RunStarted(
            process.run,
            process.attempt,
            self.agent,
            1000 + process.run,
            f"node{self.node}",
            process.slot,
            self._gpus,
        )
        self.perform(self.core.started(process.run, started, self.world.now))
        if process.does.raises:
            self.perform(self.core.connected(process.run, process.attempt, True))

    def _exited(self, process: Process, code: int) -> None:
        local = self.runs.pop(process.run, None)
        if local is None:
            return
        self._collect(local)
        crashed = code == 1 and process.does.kind == "crashing"
        ended = a.Ended(
            exit_code=code,
            cause=process.does.cause if crashed and self.core.failed_by_itself(process.run, code) else None,
            score=process.score(self.world.goal),
            summary=process.summary,
            rows=len(process.rows),
            tail="the last words" if code else "",
            cpu_s=process.cpu_s(),
            usage=e.Usage(energy_j=process.energy_j()),
        )
        self.perform(self.core.exited(process.run, ended, self.world.now))

    def _guard_died(self) -> None:
        for local in self.runs.values():
            self._collect(local)
        self.runs.clear()
        old = self.guard
        assert old is not None
        self.guard = Guard(self.world, self, old.deadline_s)
        self.perform(self.core.guard_died())

    def _collect(self, local: Local) -> None:
        """Take a process's new rows: into the history, and their values into the journal."""
        process = local.process
        if process is None or len(process.rows) == local.taken:
            return
        rows, first = process.rows[local.taken :], local.taken
        local.taken = len(process.rows)
        assignment = local.assignment
        self.history.append(
            HistoryChunk(
                assignment.run, assignment.attempt, first, len(rows), b"\n".join(text for _, _, text in rows)
            )
        )
        steps, values = tuple(float(step) for step, _, _ in rows), tuple(value for _, value, _ in rows)
        unit = unit_of(self.world.spec.early_terminate)
        far = tuple(far_of(unit, step, first + k, process.does) for k, step in enumerate(steps))
        progress = far if far != steps and unit != "count" else ()
        self.session.add(
            e.ObjectiveReported(assignment.run, assignment.attempt, first, steps, values, progress)
        )

    def _report(self, local: Local) -> None:
        """What it has used up to now, now and then."""
        process, now, limits = local.process, self.world.now, self.core.limits
        if limits.cpu_hours is None and limits.energy_kwh is None:
            return
        if process is None or now < local.report_s:
            return
        local.report_s = now + REPORT_S
        cpu_s, energy_j = process.cpu_s(), process.energy_j()
        self.session.add(e.UsageReported(process.run, process.attempt, self.agent, cpu_s, energy_j))

    # --- actions

    def perform(self, actions: list[a.Action]) -> None:
        """Carry out what the core wants."""
        queue = list(actions)
        while queue:
            action = queue.pop(0)
            if isinstance(action, a.Append):
                self.session.add(action.entry)
                self.wake(0.0)
            elif isinstance(action, a.Start):
                queue += self._start(action.assignment)
            elif isinstance(action, a.Signal):
                if self.guard is not None:
                    self.guard.kill(action.run, action.signal)
            elif isinstance(action, a.TellStop):
                if self.guard is not None:
                    self.guard.tell(action.run)
            elif isinstance(action, a.Forget):
                self._forget()
            elif isinstance(action, a.Look):
                raise AssertionError("simulated slots have no GPUs to look at")
            elif "set aside" in action.text:
                self.world.counts["agent set aside"] += 1
            elif "stops" in action.text:
                self.world.counts["agent gave up"] += 1

    def _start(self, assignment: e.RunAssigned) -> list[a.Action]:
        assert self.guard is not None
        unstartable = self.world.behaviour(assignment.run, assignment.attempt).kind == "unstartable"
        if unstartable or self.world.bad_nodes.get(self.node) == "unstartable":
            return self.core.start_failed(assignment.run, "no such program", self.world.now)
        self.runs[assignment.run] = Local(assignment)
        self.guard.spawn(assignment.run, assignment.attempt, assignment.slot)
        return []

    def _forget(self) -> None:
        self.world.counts["lease lost"] += 1
        if self.guard is not None:
            self.guard.kill_all()
            self.guard.orphaned()
        self.runs.clear()
        self.history.clear()
        self.session.drop()
        self.die()

    def _make_driver(self, lease: Lease) -> WatchedDriver:
        world = self.world
        world.counts["took the lead"] += 1
        return WatchedDriver(
            self.store,
            world.sweep,
            lease,
            world.make_stopper,
            functools.partial(world.make_search, self),
            lambda _: None,
            world,
        )
