"""The agent's loop: one thread, one selector. It reports what happens to the pure `AgentCore`, carries out the actions
that come back, and commits to the store; what is to be done is decided elsewhere.

A loop turn: wait for something (a guard's message, a run's row, a signal, a time) -> tell the core -> carry out actions
-> one commit (events, history, and the controller's step when this agent leads) -> carry out what the controller ordered.
"""

from __future__ import annotations

import os
import selectors
import signal
import socket
import time
from collections import deque
from collections.abc import Callable, Sequence

from msgspec.structs import replace

from sweep.agents import waits
from sweep.agents.artifacts import Artifacts
from sweep.agents.causes import LOOKED_AT_BYTES
from sweep.agents.checkpoints import Checkpoints
from sweep.agents.data import Data
from sweep.agents.environment import MissingVariable
from sweep.agents.gpu_watch import GpuWatch
from sweep.agents.gpus import Slot
from sweep.agents.guardian import Exited, GuardDied, Spawned, SpawnFailed, WarmGone
from sweep.agents.leading import MakeDriver
from sweep.agents.leftovers import Leftovers
from sweep.agents.local import LocalRun, LocalRuns, is_full, new_agent_id
from sweep.agents.news import News
from sweep.agents.options import Options
from sweep.agents.phases import Phases
from sweep.agents.searching import SearchWatch
from sweep.agents.session import UNRENEWED, LeaseLost, Session, carry_orders
from sweep.agents.signals import Signals
from sweep.agents.sockets import RunServer
from sweep.agents.starting import Launcher
from sweep.agents.telemetry import Telemetry
from sweep.agents.trouble import Trouble
from sweep.agents.unled import Unled
from sweep.agents.view import Snapshot, View
from sweep.agents.wholes import Wholes
from sweep.core import agent as a
from sweep.core import entries as e
from sweep.core.gpu_slots import GpuSlots
from sweep.core.names import node_name
from sweep.core.spec import SweepSpec, unit_of
from sweep.core.views import SweepView
from sweep.spec import CommandError
from sweep.stores import Store, StoreError, StoreFull, SweepRemoved


class Loop:
    """One life of an agent: from joining a sweep to leaving it. A lost lease ends a life."""

    def __init__(
        self,
        store: Store,
        sweep: str,
        spec: SweepSpec,
        slots: Sequence[Slot],
        launcher: Launcher,
        view: View,
        make_driver: MakeDriver | None,
        options: Options,
    ) -> None:
        self.store, self.sweep, self.spec, self.slots = store, sweep, spec, slots
        self.launcher, self.view, self.options = launcher, view, options
        self.node = node_name(os.environ, socket.gethostname())
        self.agent = new_agent_id(self.node)
        now = time.monotonic()
        gpus = GpuSlots([s.number for s in slots if s.gpus], options.avoid_busy, options.aside)
        self.core = a.AgentCore(self.agent, len(slots), spec.limits, now, options.count, options.until, gpus)
        self.session = Session(store, sweep, self.agent, make_driver, timing=options.timing, unix_s=time.time)
        self.selector = selectors.DefaultSelector()
        self.server, self.news = RunServer(self.selector), News(self.selector)
        self.gpu_watch, self.guardian = GpuWatch(self.selector, slots, self.agent), self.launcher.guardian()
        self.leftovers = Leftovers(store, sweep, self.agent, options.timing.agent_ttl_s, view)
        data = Data(launcher.root, self.session)
        artifacts = Artifacts(store, sweep, launcher.root, self.session, view.say, data)
        wholes, telemetry = Wholes(sweep, view.say), Telemetry(self.selector, self.agent)
        put, code = self.session.caches.__setitem__, launcher.code
        self.local = LocalRuns(spec, put, wholes, artifacts, telemetry, data, code)
        self.checkpoints = Checkpoints(store, sweep, launcher.root, view, options.checkpoint_every_s)
        self._deadline: float | None = None
        """When the guard must end everything, by the monotonic clock."""
        self.lost = False
        """The lease ran out: whoever called `run` should begin another life."""
        self.ended_by = 0
        """The signal that made this agent leave, 0 for none."""
        self._history_due: float | None = None
        self._objective_due: float | None = None
        self._next_show = self._next_watch = 0.0
        self._trouble, self._search = Trouble(view), SearchWatch(self.selector)
        self._phases, self._unled = Phases(self.session, view), Unled(self.session, view)

    # --- life

    def run(self, joined: Callable[[str], e.AgentJoined]) -> None:
        """Work until the sweep has ended, this agent is done, or its lease is lost. `joined` makes the event of
        joining from this life's agent ID. Raises StoreError when the sweep cannot be joined."""
        signals = Signals(self.selector)
        try:
            self.begin(joined)
            while not self.over:
                self.settle(self.gather(self.due_s(time.monotonic()), signals.take))
            self.leave()
        finally:
            self.close()
            signals.close()

    def begin(self, joined: Callable[[str], e.AgentJoined]) -> None:
        """Join the sweep. Raises StoreError when that cannot be done; `close` follows in any case."""
        self._start_guard()
        self.gpu_watch.begin()
        self._set_deadline(self.session.join(joined(self.agent)))
        self.leftovers.tick(time.monotonic())
        self.news.follow(self.store, self.sweep, self.agent)
        self.perform(self.core.begin(time.monotonic()))
        self._commit(time.monotonic())
        self.view.joined(self.agent)

    @property
    def over(self) -> bool:
        """Whether nothing is left to do but `leave`."""
        if self.lost or not self.core.draining or not self.core.idle:
            return self.lost
        now = time.monotonic()
        return not (self.session.pending or self.local.owes(now)) or self._trouble.outlasts(now)

    def gather(self, until_s: float, signals: Callable[[], Sequence[int]]) -> float:
        """Wait until something happens, or until then, and take in what has; `signals` gives those that came. Returns the time
        (by the monotonic clock)."""
        ready = self.selector.select(max(0.0, until_s - time.monotonic()))
        now = time.monotonic()
        for key, _ in ready:
            if callable(key.data):
                key.data()
        self._beat()
        if self.lost:
            return now
        for number in signals():
            self._heed(number, now)
        self._guard_events(now)
        self._read_runs(now)
        for found in self.gpu_watch.take():
            self.perform(self.core.looked(found, now))
        self.perform(self.core.tick(now))
        for assignment in self.local.due(now):
            self.perform(self._start(assignment))
        return now

    def settle(self, now: float) -> None:
        """Commit what was gathered, when it is time, and carry out what follows. Raises SweepRemoved."""
        if self.lost:
            return
        self.checkpoints.step(now)
        self.leftovers.tick(now)
        self.local.step(now, None if self._trouble else self.session.add)
        self._unled.tick(now)
        if self._commit_due(now):
            self._commit(now)
        if why := self._phases.ended():
            self.perform(self.core.drain(why))
        if now >= self._next_show:
            self._next_show = now + waits.SHOW_S
            self.view.show(self._snapshot(now))

    def _heed(self, number: int, now: float) -> None:
        self.ended_by = number
        self._trouble.told(now)
        if number == signal.SIGINT:
            self.perform(self.core.interrupt(now))
        else:
            self.perform(self.core.terminate(f"the agent got {signal.Signals(number).name}", now))

    def leave(self) -> None:
        """Say goodbye, unless the lease is lost, or nobody can be told."""
        if not self.lost and not self._trouble.leaves(time.monotonic()):
            self.session.leave(self.core.draining or self.session.reason)

    def close(self) -> None:
        """End what is left here, within the time that runs have to end; give everything back."""
        try:
            self.let_go()
        finally:
            self.end_runs()

    def let_go(self) -> None:
        """The part of `close` that takes no time."""
        self.session.drop()
        self.news.close()
        self.local.close()
        self.server.close()
        self.gpu_watch.close()
        self.selector.close()

    def end_runs(self) -> None:
        """The rest of it: in whichever thread, and nothing else may be done with this loop any more."""
        self.guardian.close(timeout_s=self.spec.limits.kill_after_s)

    def due_s(self, now: float) -> float:
        """When something is due, by the monotonic clock."""
        times = [self.news.due_s, self._next_show, now + self.options.timing.agent_ttl_s / 4]
        for due in (
            self.core.next_wake_s(),
            self._history_due,
            self._objective_due,
            self.server.due_s(),
            self.checkpoints.due_s(),
            self.local.due_s(now),
        ):
            if due is not None:
                times.append(due)
        driver = self.session.driver
        if driver is not None and driver.wake_at_s is not None:
            times.append(now + max(0.0, driver.wake_at_s - self.session.time.now_s()))
        return min(self._trouble.wake_s(times, now))

    # --- what happened

    def _start_guard(self) -> None:
        self.guardian.set_deadline(self._deadline)
        self.guardian.start()
        self._guard_fd, self._guard_ready = self.guardian.fileno(), True
        self.selector.register(self._guard_fd, selectors.EVENT_READ, self._note_guard)

    def _note_guard(self) -> None:
        self._guard_ready = True

    def _guard_events(self, now: float) -> None:
        if not self._guard_ready and not self.guardian.owes:
            return
        self._guard_ready = False
        for event in self.guardian.poll():
            if isinstance(event, Spawned):
                self._spawned(event, now)
            elif isinstance(event, SpawnFailed):
                self._failed_to_start(event, now)
            elif isinstance(event, Exited):
                self._exited(event)
            elif isinstance(event, WarmGone):
                self.view.say(self.launcher.about_warm(event), "warning")
            elif isinstance(event, GuardDied):
                self._guard_died()

    def _spawned(self, event: Spawned, now: float) -> None:
        local = self.local.by_guard_id(event.id)
        if local is None or local.prepared is None:
            return
        assignment = local.assignment
        started = self.local.started(local, self.agent, self.node, event, self.slots[assignment.slot])
        self.perform(self.core.started(assignment.run, started, event.at_s))
        if self._objective_due is None:
            self._objective_due = now + waits.OBJECTIVE_S
        self.view.started(assignment)

    def _failed_to_start(self, event: SpawnFailed, now: float) -> None:
        local = self.local.by_guard_id(event.id)
        if local is None:
            return
        run = local.assignment.run
        self.local.over(run, now)
        self.server.forget(run)
        self.perform(self.core.start_failed(run, event.message, now))

    def _exited(self, event: Exited) -> None:
        local = self.local.by_guard_id(event.id)
        if local is None or local.prepared is None or local.inbox is None:
            return
        if event.status == -signal.SIGKILL and self.guardian.ending:
            return  # the guard ended it, because the lease was over when it looked: its own end follows
        run = local.assignment.run
        for connected in self.server.drain(run):
            self.perform(self.core.connected(*connected))
        local.inbox.take_unsent(local.prepared.unsent)
        self.local.collect(local, self.session.add)
        self.local.over(run, event.at_s)
        self.server.forget(run)
        tail = self.launcher.tail(local.prepared, waits.TAIL_LINES) if event.status != 0 else ""
        output = None
        if self.core.failed_by_itself(run, event.status):
            output = self.launcher.output_end(local.prepared, LOOKED_AT_BYTES)
        self.core.closing(run)
        self.local.measured(local, lambda: self._ended(local, event, tail, output))
        for doubt in self.local.doubts(local) if event.status == 0 else ():
            self.view.say(f"{self.launcher.run_id(run)} {doubt}", "warning")

    def _ended(self, local: LocalRun, event: Exited, tail: str, output: str | None) -> None:
        run, ended = local.assignment.run, self.local.ended(local, event, tail, output)
        self.checkpoints.ended(
            run,
            lambda digest: self.perform(self.core.exited(run, replace(ended, checkpoint=digest), event.at_s)),
        )

    def _guard_died(self) -> None:
        self.selector.unregister(self._guard_fd)
        self.local.give_up()
        self.checkpoints.give_up()
        gone = list(self.local.runs.values())
        for local in gone:
            self.server.drain(local.assignment.run)
            if local.inbox is not None:
                self.local.collect(local, self.session.add)
            self.server.forget(local.assignment.run)
        self.local.runs.clear()
        self.guardian.close(timeout_s=1.0)
        self.guardian = self.launcher.guardian()
        words: tuple[str, ...] = ()
        if self._deadline is not None and self._deadline <= time.monotonic():
            self._deadline, words = None, (UNRENEWED,)  # it did what it should; there is nothing to end yet
        self._start_guard()
        self.perform(self.core.guard_died(*words))

    def _read_runs(self, now: float) -> None:
        for connected in self.server.poll(now):
            self.perform(self.core.connected(*connected))
        for run in self.server.reported():
            self.core.reported(run, now)
            local = self.local.runs.get(run)
            if local is None or local.inbox is None:
                continue
            self.local.look(local)
            if local.inbox.has_objective and self._objective_due is None:
                self._objective_due = now + waits.OBJECTIVE_S
            if self._history_due is None:
                self._history_due = now + waits.HISTORY_S
        for number, text in self.server.complaints():
            name = "" if number is None else f"{self.launcher.run_id(number)}: "
            self.view.say(f"{name}{text}", "warning")

    def _beat(self) -> None:
        try:
            expires = self.session.beat()
        except LeaseLost as lost:
            self.lost = True
            self.perform(self.core.lease_lost(str(lost)))
            return
        except StoreError as error:
            self._trouble.begins(error, time.monotonic())
            if isinstance(error, StoreFull):  # the lease runs out, but nobody can say so: training goes on
                self._set_deadline(self.store.clock() + self.options.timing.agent_ttl_s)
            return
        if expires is not None:
            self._set_deadline(expires)

    def _set_deadline(self, expires: float) -> None:
        left = expires - self.store.clock()
        self._deadline = time.monotonic() + max(0.0, left - waits.GUARD_MARGIN_S)
        self.guardian.set_deadline(self._deadline)

    # --- actions

    def perform(self, actions: Sequence[a.Action]) -> None:
        """Carry out what the core wants done."""
        queue = deque(actions)
        while queue:
            action = queue.popleft()
            if isinstance(action, a.Append):
                self.session.add(action.entry)
                if isinstance(action.entry, e.AttemptEnded) and action.entry.run in self.local.gone:
                    self.view.ended(*self.local.told(action.entry))
            elif isinstance(action, a.Start):
                queue.extend(self._start(action.assignment))
            elif isinstance(action, a.Signal):
                self.guardian.kill(
                    f"{action.run}.{action.attempt}", action.signal, everything=action.everything
                )
            elif isinstance(action, a.TellStop):
                self.server.send_stop(action.run, action.reason)
            elif isinstance(action, a.Say):
                self.view.say(action.text, action.level)
            elif isinstance(action, a.Look):
                self.gpu_watch.look(action.slots, self.local.gpus(self.slots))
            else:
                self._forget(action)

    def _start(self, assignment: e.RunAssigned) -> list[a.Action]:
        now = time.monotonic()
        if not self.local.ready(assignment, now):
            return []
        if assignment.attempt > 1:
            self.leftovers.end()
        local = self.local.begin(assignment, now)
        try:
            local.prepared = self.launcher.prepare(
                self.agent, assignment, self.slots[assignment.slot], self.server.path
            )
        except (OSError, MissingVariable, CommandError) as error:
            del self.local.runs[assignment.run]
            if is_full(error) and self.core.attempts[assignment.run].order is None:
                if self.local.postpone(assignment, now + waits.AGAIN_S):
                    self.view.say(f"cannot start a run: {error} (trying again every second)", "error")
                return []
            actions = self.core.start_failed(assignment.run, str(error), now)
            for action in actions:
                if isinstance(action, a.Append) and isinstance(action.entry, e.AttemptEnded):
                    self.view.ended(assignment, action.entry, 0.0)
            return actions
        if self.spec.checkpoints == "store":
            self.checkpoints.begin(assignment.run, assignment.attempt, lambda: self._spawn(local))
        else:
            self._spawn(local)
        return []

    def _spawn(self, local: LocalRun) -> None:
        assignment, prepared = local.assignment, local.prepared
        assert prepared is not None
        metric = self.spec.metric.name if self.spec.metric is not None else None
        unit, run_id = unit_of(self.spec.early_terminate), self.launcher.run_id(assignment.run)
        local.inbox = self.server.expect(assignment.run, run_id, assignment.attempt, metric, unit)
        self.guardian.spawn(
            f"{assignment.run}.{assignment.attempt}",
            prepared.argv,
            prepared.env,
            prepared.workdir,
            prepared.output,
            prepared.warm,
        )

    def _forget(self, action: a.Forget) -> None:
        self.view.say(f"{action.reason}; everything here is ended and begins anew", "warning")
        self.guardian.kill_all()
        self.local.forget()
        self.checkpoints.forget()

    # --- the store

    def _commit_due(self, now: float) -> bool:
        if self._trouble.waits(now):
            return False
        if self.session.urgent and not self.news.gathers(now):
            return True
        for due in (self._history_due, self._objective_due):
            if due is not None and now >= due:
                return True
        driver = self.session.driver
        if driver is not None:
            if driver.wake_at_s is not None and self.session.time.now_s() >= driver.wake_at_s:
                return True
            if self._search.take() or now >= self._next_watch:
                self._next_watch = now + waits.WATCH_S
                return True
        if self.news.calls(self.session.leads, self.session.seen, now):
            return True  # the commit takes them
        if now < self.news.next_s:
            return False
        self.news.looks(self.session.settled, self.options.timing.controller_ttl_s, now)
        try:
            return self.session.behind() or self.session.driver is None
        except StoreError as error:
            self._trouble.begins(error, now)
            return False

    def _commit(self, now: float) -> None:
        """Commit, and carry out what the controller orders, until nothing more follows."""
        while True:
            if not self._trouble:  # else what runs say stays in the sockets, and memory does not grow
                for local in self.local.runs.values():
                    self.local.collect(local, self.session.add, now)
            due, self._history_due = self._objective_due, None
            try:
                heard = self.news.take(self.session.leads)
                orders = self.session.commit(self.local.history, heard, later=due is not None and now < due)
            except SweepRemoved:
                raise
            except StoreError as error:
                self._trouble.begins(error, now)
                return
            self.local.history.clear()
            self._objective_due = due if self.session.pending else None
            self.news.stir(self.session.stirred, self.session.settled, now)
            caught_up = self._trouble.over()
            self._search.follow(self.session.driver)
            self._follow_spec()
            self.perform(carry_orders(self.core, orders, now))
            if caught_up and not self.session.urgent:
                return

    def _follow_spec(self) -> None:
        """Take over a revised spec, before anything is started that was decided by it."""
        try:
            spec = self.session.revised()
        except StoreError as error:
            self._trouble.begins(error, time.monotonic())
            return
        if spec is None or spec == self.spec:
            return
        self.spec = self.local.spec = self.launcher.spec = spec
        self.core.limits = spec.limits
        self.guardian.set_kill_after(spec.limits.kill_after_s)
        self.view.say("the sweep's spec was revised; what starts from now on starts by it", "info")

    def _snapshot(self, now: float) -> Snapshot:
        sweep = self.session.view or SweepView(sweep=self.sweep, name=self.spec.name or "", state="active")
        lines = self.local.lines(self.slots, self.core, now)
        return Snapshot(sweep, lines, self.session.leads, self.core.draining)
