"""What every searcher must do, as checks that any searcher can be put through.

    for name, check in CHECKS.items():
        check(Subject(make_my_searcher, method="bayes", engine="mine"))

The rule of this file: a check knows a searcher by its protocol alone, and fails with AssertionError. The scores come from
a small function of the config's text, so that nothing is random.
"""

from __future__ import annotations

import copy
import hashlib
import math
import random
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

from sweep.core import domain
from sweep.core.conditions import INACTIVE
from sweep.core.plugins import Observation, Proposals, Searcher, TrialStatus
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
        return _space(FINITE | CONTINUOUS if self.continuous else FINITE)


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


CONDITIONAL: dict[str, tuple[Distribution, dict[str, tuple[Any, ...]]]] = {
    "sgd.nesterov": (Categorical((True, False)), {"sgd.steps": (2, 3)}),
    "name": (Categorical(("adam", "sgd", "plain")), {}),
    "sgd.steps": (Numeric(1, 4, integer=True), {"name": ("sgd",)}),
    "fixed": (Constant(7), {"name": ("sgd", "adam")}),
    "beta": (Numeric(0.5, 1.0, q=0.25), {"fixed": (7,), "name": ("adam",)}),
}
"""Conditions on conditions, on choices, numbers and a constant; children before and after their parents."""
MOMENTUM: dict[str, tuple[Distribution, dict[str, tuple[Any, ...]]]] = {
    "sgd.momentum": (Numeric(0.0, 0.99), {"name": ("sgd",), "sgd.steps": (1, 2)})
}


def check_describes_itself(subject: Subject) -> None:
    """Name, version and weight are there, and building another one gives the same."""
    first, second = (subject.make(subject.spec(subject.wide())) for _ in range(2))
    assert isinstance(first.name, str) and first.name
    assert isinstance(first.version, str) and first.version
    assert isinstance(first.heavy, bool)
    assert (first.name, first.version, first.heavy) == (second.name, second.version, second.heavy)


def check_stays_in_bounds(subject: Subject) -> None:
    """Every value of every distribution is possible, of the right type and where it belongs, and plain."""
    spec = subject.spec(subject.wide())
    for observation in play(subject.make(spec), subject.asks):
        assert_belongs(spec.space, observation.config)


def check_repeats_under_its_seed(subject: Subject) -> None:
    """The same seed gives the same proposals; another one gives others."""
    runs = [play(subject.make(subject.spec(subject.wide(), seed=s)), subject.asks) for s in (1, 1, 2)]
    assert runs[0] == runs[1]
    assert (runs[0] != runs[2]) == subject.seeded


def check_fresh_equals_used(subject: Subject) -> None:
    """A searcher built anew gives what one that has followed the sweep gives, also when results change their minds."""
    spec = subject.spec(subject.wide())
    used = subject.make(spec)
    seen = play(used, subject.asks)
    for history in _versions(seen):
        for n in (1, 3):
            assert used.propose(history, n) == subject.make(spec).propose(history, n)


def check_is_pure(subject: Subject) -> None:
    """Asking again changes nothing; neither the history nor Python's generator is touched; nobody shares a list."""
    searcher = subject.make(subject.spec(subject.wide()))
    seen = play(searcher, subject.asks)
    before, state = copy.deepcopy(seen), random.getstate()
    first = searcher.propose(seen, 2)
    kept = copy.deepcopy(first)
    for config in first.configs:
        _spoil(config)
    assert searcher.propose(seen, 2) == kept
    assert seen == before
    assert random.getstate() == state


def check_accepts_any_result(subject: Subject) -> None:
    """Histories of nothing but failures, open trials, pruned trials, equal, extreme or missing scores."""
    spec = subject.spec(subject.wide())
    base = play(subject.make(spec), 6)
    failed: tuple[TrialStatus, float | None] = ("failed", None)
    histories: list[list[tuple[TrialStatus, float | None]]] = [
        [failed] * 6,
        [("open", None)] * 6,
        [("completed", None)] * 6,
        [("pruned", 0.5)] * 6,
        [("completed", 1e308), ("completed", -1e308), ("pruned", 5e-324)] * 2,
        [("completed", math.nan), ("completed", math.inf), ("pruned", -math.inf)] * 2,
        [
            ("completed", 1.0),
            ("completed", 1.0),
            ("completed", 1.0),
            ("pruned", 1.0),
            ("completed", 1.0),
            failed,
        ],
    ]
    for history in histories:
        seen = [
            msgspec.structs.replace(o, status=status, score=score)
            for o, (status, score) in zip(base, history, strict=True)
        ]
        proposals = subject.make(spec).propose(seen, 1)
        assert len(proposals.configs) == 1
        assert_belongs(spec.space, proposals.configs[0])


def check_many_open_trials_differ(subject: Subject) -> None:
    """16 workers that ask before any of them reports get 16 different configs, one by one or all at once."""
    spec = subject.spec(subject.wide())
    start = play(subject.make(spec), 6)
    together = list(subject.make(spec).propose(start, 16).configs)
    searcher, seen = subject.make(spec), list(start)
    for _ in range(min(16, subject.asks)):
        config = searcher.propose(seen, 1).configs[0]
        seen.append(Observation(len(seen), config, "open"))
    for configs in (together, [observation.config for observation in seen]):
        assert len({domain.canonical(config) for config in configs}) == len(configs)


def check_exhausts_a_finite_space(subject: Subject) -> None:
    """Every point comes exactly once, the end is said exactly with the last one, and stays said."""
    spec = subject.spec(_space(SMALL))
    for batch in (1, 5):
        searcher, seen, ended = subject.make(spec), list[Observation](), False
        while not ended:
            answer = searcher.propose(seen, batch)
            assert len(answer.configs) == batch or answer.exhausted
            assert len(seen) <= _points(subject, spec.space)
            seen += _ended(answer.configs, len(seen))
            ended = answer.exhausted
            assert ended == (len(seen) == _points(subject, spec.space))
        assert len({domain.canonical(observation.config) for observation in seen}) == len(seen)
        assert searcher.propose(seen, batch) == Proposals((), exhausted=True)
        assert subject.make(spec).propose(seen, 1) == Proposals((), exhausted=True)


def check_respects_foreign_configs(subject: Subject) -> None:
    """Configs that it did not propose (points of the space and others) are not repeated, and nothing is left out."""
    spec = subject.spec(_space(SMALL))
    strange: list[Config] = [{"a": 3, "n": {"b": None, "c": 0.0}}, {"a": 2.0, "n": {"c": 0.0, "b": "x"}}]
    strange += [{"a": 99, "n": {"b": "x", "c": 0.0}}, {"other": 1}, {}]
    seen = _ended(strange, 0)
    searcher = subject.make(spec)
    for _ in range(_points(subject, spec.space)):
        seen += _ended(searcher.propose(seen, 4).configs, len(seen))
    keys = [domain.canonical(observation.config) for observation in seen]
    assert len(set(keys)) == len(keys)
    assert len(keys) == _points(subject, spec.space) + 3


def check_goes_on_in_another_space(subject: Subject) -> None:
    """Trials of an earlier revision of the spec, in other bounds, with other choices and other parameters, are accepted: the
    proposals lie in the new space, none is repeated, and a searcher built anew agrees with one that goes on."""
    spec = subject.spec(subject.wide())
    seen = play(subject.make(spec), subject.asks)
    for space in (_moved(spec.space), _narrowed(spec.space), Space(spec.space.parameters[:-1])):
        revised = subject.spec(space)
        used, history = subject.make(revised), list(seen)
        for n in (1, 2):
            answer = used.propose(history, n)
            assert answer == subject.make(revised).propose(history, n)
            assert len(answer.configs) == n
            for config in answer.configs:
                assert_belongs(space, config)
            history += _ended(answer.configs, len(history))
        keys = [domain.canonical(observation.config) for observation in history]
        assert len(set(keys)) == len(keys)


def check_goes_on_through_what_is_left(subject: Subject) -> None:
    """When a finite space changes in the middle, exactly the points of the new one that were not tried follow."""
    old, new = (
        _space(SMALL),
        _space({**SMALL, "a": Numeric(3, 5, integer=True), "n.b": Categorical(("x", "y"))}),
    )
    seen = _to_the_end(subject.make(subject.spec(old)), [], _points(subject, old))
    tried = sum(_holds(new, observation.config) for observation in seen)
    assert 0 < tried < len(seen)
    before = len(seen)
    seen = _to_the_end(subject.make(subject.spec(new)), seen, before + _points(subject, new))
    assert len(seen) - before == _points(subject, new) - tried
    assert len({domain.canonical(observation.config) for observation in seen}) == len(seen)


def check_conditions(subject: Subject) -> None:
    """What is inactive is in no config, and what does not differ in what is active is the same config: every one of a finite
    space comes once, and none of an infinite one twice, also where only a part of it is infinite."""
    small = _with_conditions(CONDITIONAL)
    seen = _to_the_end(subject.make(subject.spec(small)), [], _points(subject, small))
    assert len(seen) == _points(subject, small)
    wide = _with_conditions(CONDITIONAL | MOMENTUM) if subject.continuous else small
    spec = subject.spec(wide)
    searcher = subject.make(spec)
    played = play(searcher, min(subject.asks, len(seen)))
    for history in (played, played[: len(played) // 2]):
        if subject.continuous:
            assert searcher.propose(history, 2) == subject.make(spec).propose(history, 2)
    for space, history in ((small, seen), (wide, played)):
        for observation in history:
            assert_belongs(space, observation.config)
        assert len({domain.canonical(observation.config) for observation in history}) == len(history)


def check_constraints(subject: Subject) -> None:
    """Every proposal satisfies the constraints, one over an inactive parameter is satisfied, and of a finite space every
    point that is allowed comes once, also when it is one in many."""
    small = msgspec.structs.replace(
        _with_conditions(CONDITIONAL),
        constraints=("sgd.steps != 3 or not sgd.nesterov", "beta < 1", "fixed > 0"),
    )
    narrow = msgspec.structs.replace(
        _space({name: Numeric(1, 9, integer=True) for name in "abc"}),
        constraints=("a * b == 81", "c % 3 == 0"),
    )
    for space in (small, narrow):
        seen = _to_the_end(subject.make(subject.spec(space)), [], _points(subject, space))
        assert len({domain.canonical(observation.config) for observation in seen}) == len(seen)
        assert len(seen) == _points(subject, space)
        assert all(domain.allows(space, observation.config) for observation in seen)
    wide = msgspec.structs.replace(
        subject.wide(), constraints=("net.layers * net.width <= 256", 'choice != "a"')
    )
    spec = subject.spec(wide)
    searcher = subject.make(spec)
    for observation in play(searcher, min(subject.asks, 16)):
        assert_belongs(wide, observation.config)
        assert observation.config["net"]["layers"] * observation.config["net"]["width"] <= 256


def check_initial_configs(subject: Subject) -> None:
    """They come first and in order, what they leave open is filled in, and they are part of a finite space like any other."""
    space = _with_conditions(CONDITIONAL)
    given: tuple[Config, ...] = (
        {"sgd": {"nesterov": True}},
        {"name": "plain"},
        {"beta": 0.5},
        {"name": "plain"},
    )
    spec = msgspec.structs.replace(subject.spec(space), initial=given)
    searcher = subject.make(spec)
    first = searcher.propose([], 5).configs
    assert first[:2] == searcher.propose([], 2).configs
    assert first[0]["name"] == "sgd" and first[0]["sgd"]["nesterov"] is True
    assert first[1] == {"name": "plain"}
    assert first[2]["name"] == "adam" and first[2]["beta"] == 0.5
    seen = _to_the_end(searcher, [], _points(subject, space))
    assert [observation.config for observation in seen[:3]] == list(first[:3])
    assert len({domain.canonical(observation.config) for observation in seen}) == _points(subject, space)
    for observation in seen:
        assert_belongs(space, observation.config)
    late = _ended(subject.make(subject.spec(space)).propose([], 2).configs, 0)
    assert searcher.propose(late, 1) == subject.make(spec).propose(late, 1)


def check_a_single_point(subject: Subject) -> None:
    """A space in which nothing varies has one config."""
    space = _space({"x": Constant(3), "y": Categorical(("a", "a"))})
    searcher = subject.make(subject.spec(space))
    assert searcher.propose([], 4) == Proposals(({"x": 3, "y": "a"},), exhausted=True)


def check_directions_mirror(subject: Subject) -> None:
    """Maximising the negative is the same as minimising."""
    results = []
    for goal, sign in (("minimize", 1.0), ("maximize", -1.0)):
        spec = subject.spec(subject.wide(), goal=goal)  # type: ignore[arg-type]
        results.append([o.config for o in play(subject.make(spec), subject.asks, sign)])
    assert results[0] == results[1]


CHECKS: dict[str, Callable[[Subject], None]] = {
    name.removeprefix("check_"): value for name, value in list(globals().items()) if name.startswith("check_")
}
"""All checks, by name."""


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
                seen[index] = _result(seen[index], sign)
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
    assert _is_plain(config), f"{config!r} holds more than plain Python values"


def _space(distributions: dict[str, Distribution]) -> Space:
    return Space(tuple(Parameter(tuple(name.split(".")), dist) for name, dist in distributions.items()))


def _with_conditions(described: dict[str, tuple[Distribution, dict[str, tuple[Any, ...]]]]) -> Space:
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


def _to_the_end(searcher: Searcher, seen: list[Observation], most: int) -> list[Observation]:
    """`seen` and what follows until the searcher says that there is no more."""
    seen, ended = list(seen), False
    while not ended:
        answer = searcher.propose(seen, 3)
        assert len(seen) <= most
        assert answer.configs or answer.exhausted
        seen += _ended(answer.configs, len(seen))
        ended = answer.exhausted
    return seen


def _narrowed(space: Space) -> Space:
    """Bounds closer together, fewer choices."""
    return Space(tuple(Parameter(p.path, _changed(p.distribution, 0.25, 0.5)) for p in space.parameters))


def _moved(space: Space) -> Space:
    """Bounds moved beyond the old ones."""
    return Space(tuple(Parameter(p.path, _changed(p.distribution, 0.5, 1.5)) for p in space.parameters))


def _changed(dist: Distribution, low: float, high: float) -> Distribution:
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


def _holds(space: Space, config: Config) -> bool:
    try:
        assert_belongs(space, config)
    except (AssertionError, KeyError):
        return False
    return True


def _points(subject: Subject, space: Space) -> int:
    points = domain.size(space) if subject.continuous else domain.grid_size(space)
    assert points is not None
    return points


def _score(config: Config) -> float:
    digest = hashlib.sha256(domain.canonical(config).encode()).digest()
    return int.from_bytes(digest[:4], "big") / 2**32


def _result(observation: Observation, sign: float) -> Observation:
    """Of every nine trials one fails, one logs nothing finite, one is pruned."""
    statuses: dict[int, TrialStatus] = {4: "failed", 7: "pruned"}
    status = statuses.get(observation.trial % 9, "completed")
    lost = observation.trial % 9 in (4, 6)
    return Observation(
        observation.trial, observation.config, status, None if lost else sign * _score(observation.config)
    )


def _ended(configs: Iterable[Config], first: int) -> list[Observation]:
    return [_result(Observation(first + i, config, "open"), 1.0) for i, config in enumerate(configs)]


def _versions(seen: Sequence[Observation]) -> list[list[Observation]]:
    """Histories that one searcher can be shown one after the other, forwards and backwards."""
    ended = [_result(o, 1.0) for o in seen]
    retried = [
        msgspec.structs.replace(o, status="open", score=None) if o.status == "failed" else o for o in ended
    ]
    rescored = [o if o.score is None else msgspec.structs.replace(o, score=1 - o.score) for o in ended]
    return [list(seen), ended, retried, rescored, list(seen[: len(seen) // 2])]


def _spoil(value: Any) -> None:
    for item in list(value.values()) if isinstance(value, dict) else list(value):
        if isinstance(item, dict | list):
            _spoil(item)
    value.clear()


def _is_plain(value: Any) -> bool:
    if type(value) is dict:
        return all(type(key) is str and _is_plain(item) for key, item in value.items())
    if type(value) is list:
        return all(map(_is_plain, value))
    return value is None or type(value) in (bool, int, float, str)
