"""A journal in memory for tests of the pure core: entries go in, the state is folded, no store is needed."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

from sweep.core import entries as e
from sweep.core.codec import spec_to_builtins
from sweep.core.decide import Command, Propose, WakeAt, decide
from sweep.core.evolve import evolve
from sweep.core.index import IndexFold
from sweep.core.plugins import Stopper
from sweep.core.space import Categorical, Parameter, Space
from sweep.core.spec import Limits, Metric, Retry, SweepSpec
from sweep.core.state import Run, State

SPACE = Space((Parameter(("x",), Categorical(tuple(range(100)))),))


def make_spec(**changes: Any) -> SweepSpec:
    """A small spec; `retry` and `wall_time_s` are shortcuts."""
    values: dict[str, Any] = {"method": "grid", "space": SPACE, "seed": 7, "metric": Metric(name="loss")}
    if "retry" in changes:
        values["retry"] = Retry(max=changes.pop("retry"))
    if "wall_time_s" in changes:
        values["limits"] = Limits(wall_time_s=changes.pop("wall_time_s"))
    return SweepSpec(**{**values, **changes})


class Threshold:
    """A stopper that condemns a run whose last value is above a limit."""

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self.values: dict[int, list[float]] = {}

    def report(self, run: int, values: Sequence[float], at: Sequence[float] | None = None) -> None:
        self.values[run] = list(values)

    def condemned(self, run: int, since: float | None = None) -> str | None:
        values = self.values.get(run)
        return f"{values[-1]:g} is above {self.limit:g}" if values and values[-1] > self.limit else None

    def spared(self, runs: Iterable[tuple[int, float | None]]) -> list[int]:
        return [run for run, _ in runs if self.condemned(run) is None]


@dataclasses.dataclass
class Lab:
    """A journal, its state and its index, with agents that answer at once."""

    spec: SweepSpec = dataclasses.field(default_factory=make_spec)
    limit: float | None = None
    now: float = 1000.0
    lookahead: int = 0

    def __post_init__(self) -> None:
        self.journal: list[e.Recorded] = []
        self.fold = IndexFold(self.fresh())
        self.commands: list[Command] = []
        self._offers = 0
        self.add(e.SweepCreated("s1", spec_to_builtins(self.spec)))

    def fresh(self) -> State:
        """An empty state with the same stopper."""
        limit = self.limit

        def make_stopper(_: SweepSpec) -> Stopper | None:
            return None if limit is None else Threshold(limit)

        return State(make_stopper)

    @property
    def state(self) -> State:
        return self.fold.state

    def add(self, entry: e.AnyEntry) -> str | None:
        """Append one entry; returns why it was ignored, None when it was not."""
        position = len(self.journal) + 1
        recorded = e.Recorded(position, self.now, "w", position, entry)
        refusal = self.fold.fold(recorded)
        self.journal.append(recorded)
        return refusal

    def settle(self) -> list[e.AnyEntry]:
        """Decide until nothing is left to decide; returns the decisions. Propositions are left in `commands`."""
        made: list[e.AnyEntry] = []
        while True:
            decisions, self.commands = decide(self.state, self.now, self.lookahead)
            assert decide(self.state, self.now, self.lookahead) == (decisions, self.commands)
            if not decisions:
                return made
            for decision in decisions:
                assert self.add(decision) is None, decision
            made += decisions

    def work(self, points: int | None = None) -> list[e.AnyEntry]:
        """`settle`, with every wish for proposals granted until the space has given `points` trials."""
        made = self.settle()
        while wanted := self.wanted():
            first = len(self.state.trials)
            left = wanted if points is None else min(wanted, points - first)
            self.propose(left, exhausted=points is not None and first + left >= points)
            made += self.settle()
        return made

    def wanted(self) -> int:
        return sum(command.n for command in self.commands if isinstance(command, Propose))

    def wakes(self) -> list[float]:
        return [command.at_s for command in self.commands if isinstance(command, WakeAt)]

    def propose(self, n: int, exhausted: bool = False) -> None:
        state = self.state
        first = len(state.trials)
        configs = tuple({"x": first + i} for i in range(n))
        entry = e.TrialsProposed(first, configs, exhausted, state.revision, "grid", "1", state.position)
        assert self.add(entry) is None

    def join(self, agent: str = "a", slots: int = 1, host: str = "host") -> None:
        """An agent joins and offers all its slots."""
        assert self.add(e.AgentJoined(agent, host, 1, slots)) is None
        for slot in range(slots):
            assert self.offer(agent, slot) is None

    def offer(self, agent: str = "a", slot: int = 0) -> str | None:
        self._offers += 1
        return self.add(e.SlotOffered(agent, slot, self._offers))

    def run(self, number: int = 0) -> Run:
        return self.state.runs[number]

    def states(self) -> list[str]:
        return [run.state for run in self.state.runs]

    def start(self, number: int = 0) -> None:
        run = self.run(number)
        assert self.add(e.RunStarted(number, run.attempt, run.agent, 11, "host", 0)) is None

    def report(self, number: int, *values: float, first: int = 0, step: float | None = None) -> str | None:
        begin = first if step is None else step
        steps = tuple(begin + i for i in range(len(values)))
        return self.add(e.ObjectiveReported(number, self.run(number).attempt, first, steps, values))

    def end(self, number: int, outcome: e.Outcome, score: float | None = None, **more: Any) -> str | None:
        run = self.run(number)
        return self.add(
            e.AttemptEnded(number, run.attempt, run.agent, outcome, f"it was {outcome}", score=score, **more)
        )

    def running(self, number: int = 0) -> None:
        """Bring run 0 to `running` on agent `a`."""
        if "a" not in self.state.agents:
            self.join()
        self.work()
        self.start(number)


def refold(lab: Lab) -> State:
    """The state of a fresh fold over the lab's journal."""
    state = lab.fresh()
    for recorded in lab.journal:
        evolve(state, recorded)
    return state
