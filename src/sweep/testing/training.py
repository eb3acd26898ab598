"""Training processes and the guard above them, in virtual time.

The rule of this file: what really happened is kept here, whatever the journal says of it: the oracle compares the two.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import msgspec

from sweep.core.agent import KILL, TERM
from sweep.core.spec import Goal
from sweep.testing.scenario import METRIC, behaviour, spoilt, value_of

if TYPE_CHECKING:
    from sweep.testing.world import World

GUARD_MARGIN_S = 0.5


class Spawned(msgspec.Struct, frozen=True):
    process: Process


class Exited(msgspec.Struct, frozen=True):
    process: Process
    code: int


class GuardDied(msgspec.Struct, frozen=True):
    """The guard and all its processes are gone."""


GuardEvent = Spawned | Exited | GuardDied


class Process:
    """One training process. `rows` is all that it logged, in order: (step, value, text)."""

    def __init__(self, guard: Guard, run: int, attempt: int, slot: int) -> None:
        world = guard.world
        self.guard, self.world, self.run, self.attempt, self.slot = guard, world, run, attempt, slot
        self.does = behaviour(world.seed, world.spec, run, attempt)
        if world.bad_nodes.get(guard.listener.node) == "crashing":
            self.does = spoilt(self.does)
        self.began_s = world.now
        self.ended_s: float | None = None
        self.code: int | None = None
        self.guard_died = False
        """It was not its own end."""
        self.rows: list[tuple[int, float, bytes]] = []
        self._dying = False
        self._iteration = world.checkpoints.get(run, 0) if self.does.resumes else 0
        world.processes.append(self)
        self._go_on()

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self.ended_s is None

    @property
    def summary(self) -> dict[str, Any]:
        """What it leaves at a clean exit."""
        return self.does.summary if self.code == 0 else {}

    def score(self, goal: Goal) -> float | None:
        """The best finite objective of its rows and summary."""
        values = [value for _, value, _ in self.rows if math.isfinite(value)]
        if METRIC in self.summary:
            values.append(self.summary[METRIC])
        if not values:
            return None
        return min(values) if goal == "minimize" else max(values)

    def cpu_s(self) -> float:
        """CPU time that it has used up to now, or up to its end: nearly one CPU."""
        return 0.9 * ((self.world.now if self.ended_s is None else self.ended_s) - self.began_s)

    def energy_j(self) -> float | None:
        """Its energy likewise; not measured on every third node."""
        return None if self.guard.listener.node % 3 == 2 else 100.0 * self.cpu_s()

    def signal(self, number: int) -> None:
        """What the guard sends to it."""
        if not self.alive:
            return
        if number == KILL:
            self.end(-KILL)
        elif number == TERM and not self.does.ignores_term:
            self._wind_up()

    def told(self) -> None:
        """It was told over its socket to end; only who asked for that listens."""
        if self.alive and self.does.raises:
            self._wind_up()

    def end(self, code: int) -> None:
        """It is gone."""
        if not self.alive:
            return
        self.ended_s, self.code = self.world.now, code
        self.guard.ended(self)

    def _wind_up(self) -> None:
        if not self._dying:
            self._dying = True
            self.world.after(self.does.term_s, lambda: self.end(self.does.term_code))

    def _go_on(self) -> None:
        """The next iteration, unless there is none."""
        does, last = self.does, self._iteration >= self.does.iterations
        if does.kind == "crashing" and self._iteration >= does.crash_at:
            self.world.after(does.interval_s / 2, lambda: self.end(1))
        elif does.kind == "hanging" and self._iteration >= does.crash_at:
            return
        elif last:
            self.world.after(0.05, lambda: self.end(0))
        else:
            self.world.after(does.interval_s, self._iterate)

    def _iterate(self) -> None:
        if not self.alive or self._dying:
            return
        step, self._iteration = self._iteration, self._iteration + 1
        if self.does.kind != "silent":
            value = value_of(self.world.seed, self.run, step)
            self.rows.append((step, value, f'{{"_step":{step},"{METRIC}":{value}}}'.encode()))
            self.guard.logged()
        self.world.checkpoints[self.run] = max(self._iteration, self.world.checkpoints.get(self.run, 0))
        self._go_on()


class Guard:
    """The small process that kills everything when its agent's lease or its agent is gone."""

    def __init__(self, world: World, listener: Listener, deadline_s: float) -> None:
        self.world, self.listener = world, listener
        self.processes: dict[int, Process] = {}
        self.events: list[GuardEvent] = []
        self.alive = True
        self.frozen = False
        self.was_frozen = False
        self.deadline_s = deadline_s
        self._held: list[tuple[str, Any]] = []
        self._orphaned = False
        self.set_deadline(deadline_s)

    # --- what the agent asks for

    def set_deadline(self, deadline_s: float) -> None:
        """The end of the agent's lease by the store's clock, less a margin."""
        self.deadline_s = deadline_s
        self.world.after(max(0.0, deadline_s - self.world.now), self._check)

    def spawn(self, run: int, attempt: int, slot: int) -> None:
        """Start a process; `Spawned` follows."""
        slow = self.world.rng.random() < 0.1  # a cold disk
        self.world.after(1.5 if slow else 0.02, lambda: self._do("spawn", (run, attempt, slot)))

    def kill(self, run: int, number: int) -> None:
        """Signal a run."""
        self._do("signal", (run, number))

    def kill_all(self) -> None:
        """Kill every run."""
        self._do("end", None)

    def tell(self, run: int) -> None:
        """Not the guard's business but the socket's; here for its table of processes."""
        process = self.processes.get(run)
        if process is not None:
            process.told()

    # --- what happens

    def orphaned(self) -> None:
        """The agent is gone: its pipe closes."""
        self._orphaned = True
        self._check()

    def die(self) -> None:
        """Gone, and with it, on Linux by its agent's hand, what it guarded."""
        if not self.alive:
            return
        self.alive = False
        for process in list(self.processes.values()):
            process.guard_died = True
            process.end(-KILL)
        self.events.append(GuardDied())
        self.listener.guard_says()

    def freeze(self) -> None:
        self.frozen = self.was_frozen = True

    def thaw(self) -> None:
        """It looks at its clock before it does anything else."""
        self.frozen = False
        held, self._held = self._held, []
        self._check()
        for what, arguments in held:
            self._do(what, arguments)

    def ended(self, process: Process) -> None:
        """A process is gone."""
        if self.processes.get(process.run) is process:
            del self.processes[process.run]
        if self.alive:
            assert process.code is not None
            self.events.append(Exited(process, process.code))
            self.listener.guard_says()

    def logged(self) -> None:
        """A process wrote to its agent's socket."""
        if self.alive:
            self.listener.guard_says()

    def _check(self) -> None:
        if self.alive and not self.frozen and (self._orphaned or self.world.now >= self.deadline_s):
            self.world.counts["guard ended everything"] += bool(self.processes)
            self.die()

    def _do(self, what: str, arguments: Any) -> None:
        if not self.alive:
            return
        if self.frozen:
            self._held.append((what, arguments))
        elif what == "spawn":
            run, attempt, slot = arguments
            process = self.processes[run] = Process(self, run, attempt, slot)
            self.events.append(Spawned(process))
            self.listener.guard_says()
        elif what == "signal":
            process_ = self.processes.get(arguments[0])
            if process_ is not None:
                process_.signal(arguments[1])
        else:
            for process in list(self.processes.values()):
                process.end(-KILL)


class Listener:
    """Who wants to know that a guard has something to say."""

    agent: str
    node: int

    def guard_says(self) -> None:
        """There are new events, or new rows."""
