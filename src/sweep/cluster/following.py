"""Following a sweep from outside its agents: the journal's new entries, and who works on what as they tell it.

The rule of this file: it reads the store and nothing else, and a turn costs what is new, not what is recorded.
"""

from __future__ import annotations

import time

from sweep.agents.view import SlotLine, Snapshot, View
from sweep.api.reading import load_sweep_view, load_views
from sweep.core import entries as e
from sweep.core.views import SweepView
from sweep.stores import Store


class Following:
    """Who works on a sweep, kept up to date by `turn`."""

    def __init__(self, store: Store, sweep: str) -> None:
        self._store, self._sweep = store, sweep
        views = load_views(store, sweep)
        self._position = views.upto
        self.spec = views.spec
        self.view: SweepView = views.sweep
        self.agents: dict[str, tuple[str, ...]] = {
            a.agent: a.gpus for a in views.agents if a.state == "joined"
        }
        """The agents at work, and their GPUs."""
        self._running: dict[int, _Running] = {}
        for run in views.runs:
            if run.attempts and (last := run.attempts[-1]).outcome is None:
                order = e.RunAssigned(
                    run.run,
                    last.attempt,
                    last.agent,
                    last.slot,
                    0,
                    run.trial,
                    run.replicate,
                    run.seed,
                    run.config,
                )
                self._running[run.run] = _Running(order, last.started_s or time.time())

    def turn(self, view: View | None = None) -> bool:
        """Take in what is new, and tell `view`. Whether there was anything. Raises StoreError, NotFound."""
        if self._store.position(self._sweep) == self._position:
            return False
        new = self._store.read(self._sweep, self._position)
        for recorded in new:
            self._take(recorded.entry, recorded.at_s, view)
            self._position = recorded.position
        self.view = load_sweep_view(self._store, self._sweep)
        return bool(new)

    def is_idle(self, agent: str) -> bool:
        """Whether this agent has no run."""
        return all(running.order.agent != agent for running in self._running.values())

    @property
    def at_work(self) -> int:
        """How many runs are assigned or running."""
        return len(self._running)

    def snapshot(self, draining: str = "") -> Snapshot:
        """As the live view shows it: a line for every agent, which has one slot."""
        by_agent = {running.order.agent: running for running in self._running.values()}
        now = time.time()
        lines = [
            _line(number, gpus, by_agent.get(agent), now)
            for number, (agent, gpus) in enumerate(self.agents.items())
        ]
        return Snapshot(self.view, tuple(lines), False, draining)

    # --- inside

    def _take(self, entry: e.AnyEntry, at_s: float, view: View | None) -> None:
        if isinstance(entry, e.AgentJoined):
            self.agents[entry.agent] = entry.gpus
            if view is not None:
                view.joined(entry.agent)
                view.say(f"agent {entry.agent} has joined on {entry.host}{_on(entry.gpus)}", "info")
        elif isinstance(entry, e.AgentLeft | e.AgentLost):
            self.agents.pop(entry.agent, None)
            if isinstance(entry, e.AgentLost) and view is not None:
                view.say(f"agent {entry.agent} is lost; its runs start again elsewhere", "warning")
        elif isinstance(entry, e.RunAssigned):
            self._running[entry.run] = _Running(entry, at_s)
        elif isinstance(entry, e.RunStarted | e.ObjectiveReported | e.AttemptEnded):
            self._of_run(entry, at_s, view)

    def _of_run(
        self, entry: e.RunStarted | e.ObjectiveReported | e.AttemptEnded, at_s: float, view: View | None
    ) -> None:
        running = self._running.get(entry.run)
        if running is None or running.order.attempt != entry.attempt:
            return  # late news of an attempt that does not count any more
        if isinstance(entry, e.RunStarted):
            running.since_s = at_s
            if view is not None:
                view.started(running.order)
        elif isinstance(entry, e.ObjectiveReported):
            running.rows, running.last = entry.first + len(entry.values), entry.values[-1]
        else:
            del self._running[entry.run]
            if view is not None:
                view.ended(
                    running.order, entry, at_s - running.since_s if entry.wall_s is None else entry.wall_s
                )


class _Running:
    """An attempt at work."""

    def __init__(self, order: e.RunAssigned, since_s: float) -> None:
        self.order, self.since_s = order, since_s
        self.rows = 0
        self.last: float | None = None


def _line(number: int, gpus: tuple[str, ...], running: _Running | None, now: float) -> SlotLine:
    if running is None:
        return SlotLine(number, gpus)
    order = running.order
    return SlotLine(
        number,
        gpus,
        order.run,
        order.attempt,
        order.config,
        max(0.0, now - running.since_s),
        running.rows,
        running.last,
    )


def _on(gpus: tuple[str, ...]) -> str:
    return f" with {', '.join(gpus)}" if gpus else ""
