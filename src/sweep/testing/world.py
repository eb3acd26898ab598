"""The simulated world: a whole sweep in virtual time, with every kind of trouble, from one seed.

The real controller, the real sessions and the real agents' decisions run here, on a memory store, with simulated
training processes. No threads, no real time: `World(seed).run()` does the same thing every time.

    python -m sweep.testing.world --seeds 1000
"""

from __future__ import annotations

import functools
import heapq
import itertools
import math
from collections import Counter
from collections.abc import Callable
from random import Random

import msgspec

from sweep.core import entries as e
from sweep.core.agent import TERM
from sweep.core.codec import spec_from_builtins, spec_to_builtins
from sweep.core.rows import SPEC_KEY, SWEEP_KEY, decode_spec, decode_sweep
from sweep.core.spec import Goal, SweepSpec
from sweep.core.state import State
from sweep.stopping import make_stopper
from sweep.stores.memory import MemoryStore
from sweep.testing.controllers import SimController
from sweep.testing.faults import SKEWS_S, Rates, draw_rates
from sweep.testing.nodes import SimAgent
from sweep.testing.revising import draw_confirm, draw_requests, draw_revision
from sweep.testing.scenario import Behaviour, SlowSearch, behaviour, draw_spec
from sweep.testing.training import Process

UNIX_0 = 1_700_000_000.0
STALLED_S = 60.0


_SHOWN_WHEN_ENDED = (
    e.ResumeRequested,
    e.ExtendRequested,
    e.ConfirmRequested,
    e.RetryRequested,
    e.SpecRevised,
    e.Annotated,
)
"""What people want to see in the listings, also of a sweep that has ended."""


class Unfinished(AssertionError):
    """The sweep did not end in the time in which it must."""


class World:
    """One sweep, its nodes, its people and its faults. All times are seconds of virtual time."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.sweep = "s1"
        self.rng = Random(f"world/{seed}")
        self.looks = Random(f"looks/{seed}")
        self.moods = Random(f"moods/{seed}")
        self.doubts = Random(f"doubts/{seed}")
        self.now = 0.0
        self.counts: Counter[str] = Counter()
        with_bad_nodes = self.rng.random() < 0.1
        drawn = draw_spec(self.rng, many=with_bad_nodes)
        self.spec: SweepSpec = msgspec.structs.replace(drawn, confirm=draw_confirm(self.doubts))
        with_controllers = self.rng.random() < 0.15
        self.rates: Rates = draw_rates(self.rng, with_bad_nodes, with_controllers)
        self.atomic = self.rng.random() < 0.5
        self.quiet_s = self.rng.uniform(8, 40)
        self.quiet = False
        """No fault happens any more."""
        self.quiet_at_s: float | None = None
        """Unix time since which none does."""
        self.disk_full = self.store_out = False
        self.asked = 0
        self.shown: dict[int, set[tuple[str, int]]] = {}
        """Position -> writer and number of the entry there, whenever a searcher was shown the journal up to it."""
        self.store = MemoryStore(clock=lambda: self.now, now=self.unix_s)
        self.processes: list[Process] = []
        self.checkpoints: dict[int, int] = {}
        self.agents: list[SimAgent] = []
        """The agent of each node, dead or alive."""
        self.make_stopper = make_stopper
        nodes = self.rng.choice((2, 3, 3) if with_bad_nodes else (1, 2, 2, 3, 4))
        self._slots = [self.rng.randint(1 + with_bad_nodes, 3) for _ in range(nodes)]
        self._has_gpus = [self.rng.random() < 0.8 for _ in self._slots]
        self._skews = [self.rng.choice(SKEWS_S) for _ in self._slots]
        self.bad_nodes: dict[int, str] = {}
        """Node -> how runs fail there at present."""
        self.controllers: list[SimController] = []
        """Controllers of their own, dead or alive: none in most worlds."""
        self.agents_lead = True
        if with_controllers:
            self.agents_lead = self.rng.random() < 0.5
            self.controllers = [SimController(self, number) for number in range(self.rng.randint(1, 2))]
        self._names = itertools.count(1)
        self._requests = itertools.count(1)
        self._waiting: dict[int, bool] = {}
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._told = self._written = 0
        self._written_s = 0.0
        self._said = "active"
        self._unlisted = 0
        """Position at which the sweep last ended, or was asked to go on after it had."""

    # --- time

    def unix_s(self) -> float:
        """Unix time."""
        return UNIX_0 + self.now

    def after(self, delay_s: float, call: Callable[[], None]) -> None:
        """Have `call` made in `delay_s` seconds."""
        heapq.heappush(self._heap, (self.now + delay_s, next(self._order), call))

    @property
    def goal(self) -> Goal:
        """The metric's direction."""
        assert self.spec.metric is not None
        return self.spec.metric.goal

    def skew_s(self, node: int) -> float:
        """How far the clock of a node is ahead of the store's."""
        return self._skews[node]

    def gpus_of(self, node: int) -> tuple[str, ...]:
        """The GPUs that a run on this node gets; some nodes have none."""
        wanted = self.spec.resources.gpus
        count = 1 if wanted is None else math.ceil(wanted)
        return tuple(f"GPU-{node}-{number}" for number in range(count)) if self._has_gpus[node] else ()

    def behaviour(self, run: int, attempt: int) -> Behaviour:
        """What an attempt's program does."""
        return behaviour(self.seed, self.spec, run, attempt)

    # --- the whole story

    def run(self) -> None:
        """From the creation of the sweep to the moment when it has ended and every agent has left.

        Raises Unfinished when that takes too long after the last fault.
        """
        self._append(e.SweepCreated(self.sweep, spec_to_builtins(self.spec)))
        for node in range(len(self._slots)):
            self._waiting[node] = True
            self.after(3 * self.rng.random(), functools.partial(self._new_agent, node))
        for controller in self.controllers:
            self.after(3 * self.rng.random(), controller.begin)
        self._plan_events()
        limit_s = self.quiet_s + self._longest_s()
        while self._heap and not self.over:
            at_s, _, call = heapq.heappop(self._heap)
            self.now = max(self.now, at_s)
            if self.now > limit_s:
                raise Unfinished(
                    f"the sweep has not ended {limit_s - self.quiet_s:.0f} s after the last fault"
                )
            call()
            self._check_progress()

    @property
    def over(self) -> bool:
        """The sweep has ended, nobody will want anything any more, and every agent has left."""
        if not self.quiet or any(self._waiting.values()) or self._alive() or self._phase() != "ended":
            return False
        if self._looks_unfinished():
            self._start_agents()
            return False
        return True

    def _check_progress(self) -> None:
        """Without faults something is written at least every minute: no run takes longer to log or to end."""
        position = self.store.position(self.sweep)
        if position != self._written or not self.quiet:
            self._written, self._written_s = position, self.now
        elif self.now - self._written_s > STALLED_S:
            raise Unfinished(
                f"nothing has happened since {self._written_s:.0f} s, and the sweep has not ended"
            )

    def _longest_s(self) -> float:
        """Time in which what is left must be done: every run tried as often as it may be, one after the other."""
        attempt_s = 16 + 4 + 3
        tries = 2 * (2 + 4 * 2) + 4
        return 120 + 40 * self.spec.replicates * tries * attempt_s

    # --- agents

    def _alive(self) -> list[SimAgent]:
        return [agent for agent in self.agents if agent.alive]

    def _new_agent(self, node: int) -> None:
        self._waiting[node] = False
        if self._phase() == "ended" and not self._looks_unfinished():
            return
        count = self.rng.randint(1, 5) if self.rng.random() < 0.2 else None
        agent = SimAgent(self, node, f"n{node}-{next(self._names)}", self._slots[node], count)
        self.agents = [one for one in self.agents if one.node != node] + [agent]
        self.counts["agent started"] += 1
        agent.begin()

    def agent_gone(self, agent: SimAgent) -> None:
        """A person, or Slurm, starts another one on that node later."""
        if not self._waiting.get(agent.node):
            self._waiting[agent.node] = True
            self.after(self.rng.uniform(0.2, 12.0), functools.partial(self._new_agent, agent.node))

    def journal_moved(self, by: SimAgent | SimController, before: int) -> None:
        """Others look soon when somebody wrote."""
        if self.store.position(self.sweep) != before:
            self._wake_all(by)

    def _wake_all(self, but: SimAgent | SimController | None = None) -> None:
        everybody: list[SimAgent | SimController] = [*self.agents, *self.controllers]
        for one in everybody:
            if one is not but:
                one.wake(0.3 * self.rng.random())

    def overtake(self, agent: str) -> bool:
        """Let another agent take a turn within a call of `agent`."""
        others = [one for one in self._alive() if one.agent != agent and not one.in_turn]
        if sum(one.in_turn for one in self.agents) > 1:
            return False
        if self.rng.random() < 0.05:
            self._request("pause")
            self.after(self.rng.uniform(0.1, 3.0), lambda: self._request("resume"))
        elif others:
            self.rng.choice(others).turn()
        return bool(others)

    def make_search(self, agent: SimAgent | SimController, state: State) -> SlowSearch:
        """A searcher's port for whoever leads."""
        slow = state.spec.method == "bayes"
        search = SlowSearch(
            state.spec,
            lambda: self.now,
            lambda request: self._asked(agent, request.seen, slow),
            lambda: self._fails("searcher failed", 0.1 if slow else 0.0),
            agent.wake,
        )
        search.lookahead = 0 if slow else 2
        return search

    def _asked(self, agent: SimAgent | SimController, seen: int, slow: bool) -> float:
        """Somebody asks a searcher. Returns how long it takes, in seconds."""
        self.asked += 1
        (last,) = agent.store.plain.read(self.sweep, seen - 1, limit=1)
        self.shown.setdefault(seen, set()).add((last.writer, last.seq))
        return self.rng.choice((0.05, 0.5, 4.0)) if slow else 0.0

    def _fails(self, name: str, rate: float) -> bool:
        happens = not self.quiet and self.rng.random() < rate
        self.counts[name] += happens
        return happens

    # --- faults and people

    def _plan_events(self) -> None:
        for name in self.rates.events:
            at_s = self._some_time_s() if name != "bad node" else self.rng.uniform(3.0, 8.0)
            self.after(at_s, functools.partial(self._fault, name))
        for names in draw_requests(self.rng):
            at_s = self._some_time_s()
            for name in names:
                self.after(at_s, functools.partial(self._request, name))
                at_s = min(self.quiet_s, at_s + self.rng.choice((0.1, 1.0, 5.0)))
        while self.doubts.random() < 0.2:
            at_s = self.quiet_s * self.doubts.random()
            self.after(at_s, functools.partial(self._request, "confirm"))
        self.after(self.quiet_s, self._grow_quiet)

    def _some_time_s(self) -> float:
        """A time before it grows quiet, rather early: many sweeps are short."""
        return float(self.quiet_s * self.rng.random() ** 1.5)

    def _fault(self, name: str) -> None:
        agents = [agent for agent in self._alive() if agent.frozen_until is None]
        if name == "disk full":
            self.disk_full = True
            self.counts[name] += 1
            self.after(self.rng.choice((0.5, 3.0, 9.0)), self._disk_has_room)
        elif name == "store outage":
            self.store_out = True
            self.counts[name] += 1
            self.after(self.rng.choice((0.5, 3.0, 9.0)), self._store_is_back)
        elif name.startswith("controller "):
            self._befall_controller(name)
        elif name == "preemption storm":
            self.counts[name] += len(agents) > 1
            for agent in agents:
                self.after(1.5 * self.rng.random(), functools.partial(self._preempt, agent))
        elif name == "flapping node":
            self._flap(self.rng.randrange(len(self._slots)), self.rng.randint(2, 5))
        elif name == "bad node":
            self._spoil(self.rng.randrange(len(self._slots)))
        elif agents:
            self._befall(name, self._victim(agents))

    def _victim(self, agents: list[SimAgent]) -> SimAgent:
        """Rather one whose trouble matters: the leader, or one with runs."""
        leading = [agent for agent in agents if agent.session.leads]
        busy = [agent for agent in agents if agent.runs]
        return self.rng.choice(self.rng.choice((leading, busy, busy)) or agents)

    def _befall(self, name: str, agent: SimAgent) -> None:
        rng = self.rng
        self.counts[name] += 1
        seconds = rng.choice((1.0, 5.0, 7.0, 9.0, 14.0, 20.0))
        if name == "agent crash":
            agent.crash()
        elif name == "agent frozen":
            agent.freeze(seconds, guard=False, mid_turn=rng.random() < 0.7)
        elif name == "agent and guard frozen":
            agent.freeze(seconds, guard=True, mid_turn=rng.random() < 0.7)
        elif name == "agent cut off":
            agent.cut_until = self.now + seconds
        elif name == "guard death":
            if agent.guard is not None:
                agent.guard.die()
        elif name == "process crash":
            running = list(agent.guard.processes.values()) if agent.guard is not None else []
            if running:
                rng.choice(running).end(-11)
        else:
            self._people_at(agent, name)

    def _people_at(self, agent: SimAgent, name: str) -> None:
        if name == "interrupt":
            for _ in range(self.rng.randint(1, 3)):
                agent.perform(agent.core.interrupt(self.now))
        else:
            agent.perform(agent.core.terminate("the agent got SIGTERM", self.now))

    def _befall_controller(self, name: str) -> None:
        working = [one for one in self.controllers if one.alive and one.frozen_until is None]
        if not working:
            return
        self.counts[name] += 1
        controller = self.rng.choice([one for one in working if one.leads] or working)
        if name == "controller crash":
            controller.crash()
        else:
            controller.freeze(self.rng.choice((1.0, 5.0, 7.0, 14.0)))

    def _preempt(self, agent: SimAgent) -> None:
        """A batch system sends its signal, to all processes of the job or to the agent alone."""
        if not agent.alive or agent.frozen_until is not None:
            return
        if agent.guard is not None and self.rng.random() < 0.5:
            for process in list(agent.guard.processes.values()):
                self.counts["signal from elsewhere"] += 1
                process.signal(TERM)
            self.after(0.5 * self.rng.random(), functools.partial(self._preempt_agent, agent))
        else:
            self._preempt_agent(agent)

    def _preempt_agent(self, agent: SimAgent) -> None:
        if agent.alive and agent.frozen_until is None:
            agent.perform(agent.core.terminate("the agent got SIGUSR1", self.now))

    def _flap(self, node: int, times: int) -> None:
        """A node's network, or the node, comes and goes."""
        if self.quiet or not times:
            return
        for agent in self._alive():
            if agent.node == node and agent.frozen_until is None:
                self.counts["flapping node"] += 1
                if self.rng.random() < 0.3:
                    agent.crash()
                else:
                    agent.cut_until = self.now + self.rng.choice((0.5, 2.0, 7.0))
        self.after(self.rng.uniform(1.0, 5.0), functools.partial(self._flap, node, times - 1))

    def _spoil(self, node: int) -> None:
        """From now on runs fail on this node, whatever they are."""
        self.counts["bad node"] += 1
        self.bad_nodes[node] = self.rng.choice(("unstartable", "crashing", "crashing"))
        if self.rng.random() < 0.3:
            self.after(self.rng.uniform(2.0, 10.0), functools.partial(self._mend, node))

    def _mend(self, node: int) -> None:
        self.bad_nodes.pop(node, None)

    def _store_is_back(self) -> None:
        self.store_out = False

    def _disk_has_room(self) -> None:
        self.disk_full = False

    def _grow_quiet(self) -> None:
        """No more faults; a sweep that somebody paused goes on."""
        self.quiet, self.disk_full, self.quiet_at_s = True, False, self.unix_s()
        self.store_out = False
        self.bad_nodes.clear()
        for agent in self.agents:
            agent.cut_until = 0.0
            agent.thaw()
        for controller in self.controllers:
            controller.thaw()
        if self._phase() == "paused":
            self._request("resume")

    def _request(self, name: str) -> None:
        """Somebody types a command."""
        self.counts[f"request: {name}"] += 1
        requests: dict[str, Callable[[], e.AnyEntry]] = {
            "pause": lambda: e.PauseRequested("ann"),
            "resume": lambda: e.ResumeRequested("ann"),
            "stop": lambda: e.StopRequested("ann"),
            "cancel": lambda: e.CancelRequested("ann"),
            "extend": lambda: e.ExtendRequested((self.spec.run_cap or 5) + self.rng.randint(0, 4), "ann"),
            "retry": lambda: e.RetryRequested(tuple(range(60)), "ann"),
            "retry some": lambda: e.RetryRequested(
                tuple(run for run in range(60) if self.moods.random() < 0.4), "ann"
            ),
            "confirm": lambda: e.ConfirmRequested(
                self.doubts.randint(1, 3), self.doubts.randint(2, 3), by="ann"
            ),
            "edit": self._edit,
            "annotate": self._annotate,
        }
        self._append(requests[name]())
        self._start_agents()

    def _look_at_the_end(self) -> None:
        """Somebody sees that the sweep has ended, and wants some of its runs tried again."""
        if not self.quiet and self.moods.random() < 0.6:
            self.after(self.moods.uniform(0.1, 2.0), lambda: self._request("retry some"))
        if not self.quiet and self.doubts.random() < 0.2:
            self.after(self.doubts.uniform(0.1, 2.0), lambda: self._request("confirm"))

    def _edit(self) -> e.SpecRevised:
        """Somebody revises the spec that the listings show; it may have moved on."""
        rows = self.store.read_index(self.sweep).rows
        spec, revision = self.spec, 2
        if SPEC_KEY in rows:
            spec = spec_from_builtins(decode_spec(rows[SPEC_KEY]).spec)
            revision = decode_sweep(rows[SWEEP_KEY]).revision + 1
        return e.SpecRevised(revision, spec_to_builtins(draw_revision(self.rng, spec, self.doubts)), by="ann")

    def _annotate(self) -> e.Annotated:
        rng = self.rng
        add, remove = (tuple(rng.sample(("a", "b", "c"), rng.randint(0, 2))) for _ in range(2))
        return e.Annotated(rng.randint(-1, 4), add, remove, rng.choice((None, "", "a note")), "ann")

    def _start_agents(self) -> None:
        """Who wants a sweep to go on starts agents."""
        for node in range(len(self._slots)):
            here = [agent for agent in self._alive() if agent.node == node]
            if not here and not self._waiting.get(node):
                self._waiting[node] = True
                self.after(self.rng.uniform(0.2, 5.0), functools.partial(self._new_agent, node))

    def _append(self, entry: e.AnyEntry) -> None:
        number = next(self._requests)
        self.store.append(self.sweep, [entry], writer=f"cli/{number}", first_seq=1)
        self._wake_all()

    def _phase(self) -> str:
        """The sweep's phase, told naively from what was written since the last call."""
        for recorded in self.store.read(self.sweep, self._told):
            self._told = recorded.position
            self._follow(recorded.entry)
        return self._said

    def _looks_unfinished(self) -> bool:
        """Whether listings, which people go by, do not show yet that the sweep has ended for good."""
        return self._unlisted > self.store.read_index(self.sweep, "sweep").upto

    def _follow(self, entry: e.AnyEntry) -> None:
        said = self._said
        if isinstance(entry, e.SweepEnded):
            self._said, self._unlisted = "ended", self._told
            self._look_at_the_end()
        elif isinstance(entry, e.SweepReopened):
            self._said = "active"
        elif said == "ended":
            if isinstance(entry, _SHOWN_WHEN_ENDED):
                self._unlisted = self._told
        elif isinstance(entry, e.ResumeRequested):
            self._said = "active"
        elif isinstance(entry, e.StopRequested | e.CancelRequested):
            self._said = "finishing"
        elif isinstance(entry, e.PauseRequested) and said == "active":
            self._said = "paused"


if __name__ == "__main__":
    import sys

    from sweep.testing.campaign import main

    sys.exit(main(sys.argv[1:], sys.stdout))
