"""What the searchers' checks need: a searcher to be checked, spaces, a small sweep, and what a config of a space is.

The rule of this file: the scores come from a small function of the config's text, so that nothing is random.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

from sweep.core import domain
from sweep.core.conditions import INACTIVE
from sweep.core.plugins import Observation, Searcher, TrialStatus
from sweep.core.space import (
    Beta,
    Categorical,
    Condition,
    Config,
    Constant,
    Distribution,
    Normal,
    Numeric,
    Parameter,
    Space,
)
from sweep.core.spec import Goal, Method, Metric, SweepSpec


class Subject(msgspec.Struct, frozen=True):
    """A searcher to be checked: how it is made, and how much of the checks it can bear."""

    make: Callable[[SweepSpec], Searcher]
    method: Method
    engine: str | None = None
    continuous: bool = True
    """Whether it takes parameters with infinitely many values (a grid does not)."""
    seeded: bool = True
    """Whether another seed gives other proposals."""
    asks: int = 30
    """Proposals in the longer checks; fewer for a slow searcher."""

    def spec(
        self, space: Space, seed: int = 11, goal: Goal = "minimize", run_cap: int | None = 16
    ) -> SweepSpec:
        """A spec for this searcher."""
        metric = Metric(name="loss", goal=goal)
        return SweepSpec(
            method=self.method, engine=self.engine, space=space, seed=seed, metric=metric, run_cap=run_cap
        )

    def wide(self) -> Space:
        """Every distribution that the searcher takes, nested."""
        return space_of(FINITE | CONTINUOUS if self.continuous else FINITE)


FINITE: dict[str, Distribution] = {
    "constant": Constant({"deep": [1, None]}),
    "single": Categorical(("only",)),
    "choice": Categorical((None, True, 1, 1.0, "a", [1, 2], {"k": [3]})),
    "net.layers": Numeric(1, 8, integer=True),
    "net.width": Numeric(16, 256, q=16, integer=True),
    "net.drop": Numeric(0.1, 0.5, q=0.1),
}
CONTINUOUS: dict[str, Distribution] = {
    "weighted": Categorical(("often", "seldom", "never"), (0.9, 0.1, 0.0)),
    "opt.lr": Numeric(1e-5, 1e-1, scale="log"),
    "opt.sched.momentum": Numeric(-0.5, 0.99),
    "opt.sched.steps": Numeric(1, 10_000, scale="log", q=1, integer=True),
    "opt.decay": Numeric(0.01, 1.0, scale="log", q=0.01),
    "noise.normal": Normal(1, 3),
    "noise.log": Normal(0, 1, log=True),
    "noise.q": Normal(0, 2, q=0.5),
    "noise.qlog": Normal(1, 1, log=True, q=1, integer=True),
    "mix.beta": Beta(2, 5),
    "mix.qbeta": Beta(2, 2, q=0.1),
}
SMALL: dict[str, Distribution] = {
    "a": Numeric(1, 3, integer=True),
    "n.b": Categorical(("x", None)),
    "n.c": Numeric(0.0, 0.2, q=0.2),
}
"""Twelve points (eight in a grid, which leaves the upper bound of a q_uniform out)."""


def play(searcher: Searcher, trials: int, sign: float = 1.0) -> list[Observation]:
    """A sweep with the searcher: every kind of result occurs, and two trials are open at any time."""
    seen: list[Observation] = []
    while len(seen) < trials:
        answer = searcher.propose(seen, min(1 + len(seen) % 2, trials - len(seen)))
        seen += [Observation(len(seen) + i, config, "open") for i, config in enumerate(answer.configs)]
        if not answer.configs:
            break
        for index in range(len(seen) - 2):
            if seen[index].status == "open":
                seen[index] = result_of(seen[index], sign)
    return seen


def assert_belongs(space: Space, config: Config) -> None:
    """`config` has exactly the space's active parameters, each with a possible value of a plain type."""
    values = domain.values_of(space, config)
    for parameter, value in zip(space.parameters, values, strict=True):
        dist = parameter.distribution
        if value is INACTIVE:
            continue
        assert domain.contains(dist, value), f"{parameter.name}: {value!r} is not possible"
        if isinstance(dist, Numeric | Normal | Beta):
            assert type(value) is (int if dist.integer else float), f"{parameter.name}: {type(value)}"
        assert value != "never"
    assert domain.assemble(space, values) == config
    assert domain.allows(space, config)
    assert is_plain(config), f"{config!r} holds more than plain Python values"


def space_of(distributions: dict[str, Distribution]) -> Space:
    return Space(tuple(Parameter(tuple(name.split(".")), dist) for name, dist in distributions.items()))


def with_conditions(described: dict[str, tuple[Distribution, dict[str, tuple[Any, ...]]]]) -> Space:
    return Space(
        tuple(
            Parameter(
                tuple(name.split(".")),
                dist,
                when=tuple(Condition(tuple(parent.split(".")), values) for parent, values in when.items()),
            )
            for name, (dist, when) in described.items()
        )
    )


def to_the_end(searcher: Searcher, seen: list[Observation], most: int) -> list[Observation]:
    """`seen` and what follows until the searcher says that there is no more."""
    seen, ended = list(seen), False
    while not ended:
        answer = searcher.propose(seen, 3)
        assert len(seen) <= most
        assert answer.configs or answer.exhausted
        seen += ended_from(answer.configs, len(seen))
        ended = answer.exhausted
    return seen


def narrowed(space: Space) -> Space:
    """Bounds closer together, fewer choices."""
    return Space(tuple(Parameter(p.path, changed(p.distribution, 0.25, 0.5)) for p in space.parameters))


def moved(space: Space) -> Space:
    """Bounds moved beyond the old ones."""
    return Space(tuple(Parameter(p.path, changed(p.distribution, 0.5, 1.5)) for p in space.parameters))


def changed(dist: Distribution, low: float, high: float) -> Distribution:
    """Bounds at these shares of the old width; of choices the first is taken away where there are others."""
    if isinstance(dist, Categorical) and dist.probabilities is None and len(dist.values) > 1:
        return msgspec.structs.replace(dist, values=dist.values[1:])
    if not isinstance(dist, Numeric) or dist.q is not None:
        return dist
    width = dist.high - dist.low
    ends = (dist.low + low * width, dist.low + high * width)
    if dist.integer:
        ends = (math.floor(ends[0]), math.ceil(ends[1]))
    return msgspec.structs.replace(dist, low=ends[0], high=ends[1])


def holds(space: Space, config: Config) -> bool:
    try:
        assert_belongs(space, config)
    except (AssertionError, KeyError):
        return False
    return True


def points_of(subject: Subject, space: Space) -> int:
    points = domain.size(space) if subject.continuous else domain.grid_size(space)
    assert points is not None
    return points


def score_of(config: Config) -> float:
    digest = hashlib.sha256(domain.canonical(config).encode()).digest()
    return int.from_bytes(digest[:4], "big") / 2**32


def result_of(observation: Observation, sign: float) -> Observation:
    """Of every nine trials one fails, one logs nothing finite, one is pruned."""
    statuses: dict[int, TrialStatus] = {4: "failed", 7: "pruned"}
    status = statuses.get(observation.trial % 9, "completed")
    lost = observation.trial % 9 in (4, 6)
    return Observation(
        observation.trial, observation.config, status, None if lost else sign * score_of(observation.config)
    )


def ended_from(configs: Iterable[Config], first: int) -> list[Observation]:
    return [result_of(Observation(first + i, config, "open"), 1.0) for i, config in enumerate(configs)]


def versions(seen: Sequence[Observation]) -> list[list[Observation]]:
    """Histories that one searcher can be shown one after the other, forwards and backwards."""
    ended = [result_of(o, 1.0) for o in seen]
    retried = [
        msgspec.structs.replace(o, status="open", score=None) if o.status == "failed" else o for o in ended
    ]
    rescored = [o if o.score is None else msgspec.structs.replace(o, score=1 - o.score) for o in ended]
    return [list(seen), ended, retried, rescored, list(seen[: len(seen) // 2])]


def spoil(value: Any) -> None:
    for item in list(value.values()) if isinstance(value, dict) else list(value):
        if isinstance(item, dict | list):
            spoil(item)
    value.clear()


def is_plain(value: Any) -> bool:
    if type(value) is dict:
        return all(type(key) is str and is_plain(item) for key, item in value.items())
    if type(value) is list:
        return all(map(is_plain, value))
    return value is None or type(value) in (bool, int, float, str)
