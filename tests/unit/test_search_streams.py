"""Grid and random: order, laziness, distinctness, and values that may never change."""

import itertools
from collections import Counter
from typing import Any

import pytest

from sweep.core import domain
from sweep.core.plugins import Observation
from sweep.core.space import Beta, Categorical, Config, Distribution, Normal, Numeric, Parameter, Space
from sweep.core.spec import Method, SweepSpec
from sweep.search import engines, make_searcher
from sweep.search._stream import DistinctStream, shuffled, uniform


def space(**distributions: Distribution) -> Space:
    return Space(tuple(Parameter(tuple(name.split("__")), dist) for name, dist in distributions.items()))


def spec(method: Method, over: Space, seed: int = 7) -> SweepSpec:
    return SweepSpec(method=method, space=over, seed=seed)


def seen(configs: list[Config]) -> list[Observation]:
    return [Observation(i, config, "open") for i, config in enumerate(configs)]


def whole(method: Method, over: Space, batch: int = 7, seed: int = 7) -> list[Config]:
    searcher, configs = make_searcher(spec(method, over, seed)), list[Config]()
    while True:
        answer = searcher.propose(seen(configs), batch)
        configs += answer.configs
        if answer.exhausted:
            return configs


def test_engines_and_unknown_ones() -> None:
    assert engines() == (
        *("grid", "random", "auto", "blend", "optuna-tpe", "optuna-gp", "optuna-cmaes"),
        *("skopt-et", "skopt-rf", "skopt-gp", "sobol"),
    )
    assert make_searcher(SweepSpec(method="bayes", space=space(), seed=0)).name == "auto"
    with pytest.raises(
        ValueError, match="engine 'gp' is unknown; there are grid, random, auto, blend, optuna-tpe"
    ):
        make_searcher(SweepSpec(method="bayes", engine="gp", space=space(), seed=0))


# --- grid ------------------------------------------------------------------------------------------------------


def test_grid_sorts_names_and_varies_the_last_fastest() -> None:
    over = space(
        z=Categorical((1, 2)),
        a__y=Numeric(0, 1, q=0.5),
        a__x=Numeric(1, 2, integer=True),
        m=Categorical(("p", "q", "p")),
    )
    expected = [
        {"z": z, "a": {"y": y, "x": x}, "m": m}
        for x, y, m, z in itertools.product((1, 2), (0.0, 0.5), ("p", "q"), (1, 2))
    ]
    assert whole("grid", over) == expected


def test_grid_of_a_million_million_points_is_never_built() -> None:
    over = space(**{f"p{i}": Numeric(1, 10_000, integer=True) for i in range(3)})
    searcher = make_searcher(spec("grid", over))
    first = searcher.propose([], 3)
    assert first.configs[2] == {"p0": 1, "p1": 1, "p2": 3}
    assert not first.exhausted


def test_grid_refuses_a_continuous_parameter_by_name() -> None:
    with pytest.raises(ValueError, match=r"parameters\.opt\.lr: a continuous distribution has no grid"):
        make_searcher(spec("grid", space(opt__lr=Numeric(0, 1))))


# --- random ----------------------------------------------------------------------------------------------------


def test_uniform_numbers_never_change() -> None:
    """Golden: a recorded sweep must give the same configs for ever."""
    assert uniform(7, "random", 0, ("lr",)) == 0.44824919330243335
    assert uniform(2**70, "random", 10**9, ("a", "b")) == 0.4755019439968487
    assert uniform(7, "random", 0, ("a.b",)) != uniform(7, "random", 0, ("a", "b"))


GOLDEN_SPACE = space(
    lr=Numeric(1e-5, 1e-1, scale="log"),
    net__layers=Numeric(1, 5, integer=True),
    net__drop=Numeric(0, 0.5, q=0.1),
    act=Categorical(("relu", "tanh", None), (0.5, 0.25, 0.25)),
    gain=Normal(0, 2),
    steps=Numeric(1, 1000, scale="log", q=1, integer=True),
)
GOLDEN: list[Any] = [
    {
        "lr": 0.0006208644212156289,
        "net": {"layers": 1, "drop": 0.4},
        "act": "relu",
        "gain": -3.1324295113374867,
        "steps": 3,
    },
    {
        "lr": 8.404082590472134e-05,
        "net": {"layers": 2, "drop": 0.0},
        "act": "relu",
        "gain": -1.464628365529762,
        "steps": 419,
    },
    {
        "lr": 0.00041543298155991075,
        "net": {"layers": 5, "drop": 0.2},
        "act": "relu",
        "gain": 3.099487928670585,
        "steps": 8,
    },
]


def test_random_configs_never_change() -> None:
    """Golden, like the uniform numbers; transcendental functions may differ in the last digits between platforms."""
    answer = make_searcher(spec("random", GOLDEN_SPACE)).propose([], 3)
    for config, golden in zip(answer.configs, GOLDEN, strict=True):
        for parameter in GOLDEN_SPACE.parameters:
            value, expected = (domain.value_at(c, parameter.path) for c in (config, golden))
            assert value == (pytest.approx(expected, rel=1e-12) if isinstance(expected, float) else expected)


def test_finite_golden_order() -> None:
    """Golden: draws first, then the shuffled rest."""
    over = space(a=Numeric(1, 4, integer=True), b=Categorical(("x", "y"), (0.99, 0.01)))
    assert [(c["a"], c["b"]) for c in whole("random", over)] == FINITE_GOLDEN


FINITE_GOLDEN: list[tuple[int, str]] = [
    (4, "x"),
    (1, "x"),
    (2, "x"),
    (3, "x"),
    (1, "y"),
    (2, "y"),
    (4, "y"),
    (3, "y"),
]


def test_random_trial_k_depends_on_seed_and_k_alone() -> None:
    for over in (GOLDEN_SPACE, space(a=Numeric(0, 999, integer=True))):
        together = make_searcher(spec("random", over)).propose([], 200).configs
        for k in (0, 1, 50, 199):
            alone = make_searcher(spec("random", over)).propose(seen(list(together[:k])), 1)
            assert alone.configs == (together[k],)
        assert make_searcher(spec("random", over, seed=8)).propose([], 200).configs != together


def test_random_covers_a_finite_space_however_unlikely_its_points() -> None:
    rare = Categorical(("often", "rare", "rarer"), (1 - 2e-12, 1e-12, 1e-12))
    over = space(a=rare, b=rare, c=Numeric(1, 7, integer=True))
    configs = whole("random", over)
    assert len(configs) == len({domain.canonical(config) for config in configs}) == 63
    assert {config["a"] for config in configs[:7]} == {"often"}, "the likely ones come first"


def test_random_follows_the_distributions() -> None:
    over = space(
        w=Categorical(("a", "b"), (0.8, 0.2)), lr=Numeric(1e-4, 1, scale="log"), n=Normal(1, 2), b=Beta(2, 2)
    )
    configs = make_searcher(spec("random", over)).propose([], 2000).configs
    share = Counter(config["w"] for config in configs)["a"] / 2000
    assert share == pytest.approx(0.8, abs=0.03)
    assert sum(config["lr"] < 1e-2 for config in configs) / 2000 == pytest.approx(0.5, abs=0.04)
    assert sum(config["n"] for config in configs) / 2000 == pytest.approx(1, abs=0.15)
    assert sum(config["b"] < 0.5 for config in configs) / 2000 == pytest.approx(0.5, abs=0.04)


def test_random_does_no_more_work_at_10_000_trials_than_at_100() -> None:
    """Work is counted, not timed: configs read from `seen`, and draws made."""
    for over in (GOLDEN_SPACE, space(**{f"p{i}": Numeric(0, 99, integer=True) for i in range(6)})):
        searcher = make_searcher(spec("random", over))
        history: list[Observation] = []
        reads = {}
        for size in (100, 10_000):
            while len(history) < size:
                for config in searcher.propose(history, 100).configs:
                    history.append(Observation(len(history), config, "open"))
            searcher.propose(history, 1)
            watched = Watched(history)
            searcher.propose(watched, 1)
            reads[size] = watched.reads
        assert reads[10_000] <= reads[100]


class Watched(list[Observation]):
    reads = 0

    def __getitem__(self, index: Any) -> Any:
        self.reads += 1
        return super().__getitem__(index)

    def __iter__(self) -> Any:
        self.reads += len(self)
        return super().__iter__()


@pytest.mark.parametrize("size", [1, 2, 3, 5, 16, 17, 1000])
def test_shuffled_is_a_permutation(size: int) -> None:
    order = [shuffled(i, size, seed=3) for i in range(size)]
    assert sorted(order) == list(range(size))
    assert size < 16 or (order != sorted(order) and order != [shuffled(i, size, seed=4) for i in range(size)])


def test_shuffled_works_beyond_64_bits() -> None:
    found = {shuffled(i, 10**40, seed=1) for i in range(100)}
    assert len(found) == 100
    assert max(found) > 10**39


def test_a_stream_ends_where_its_space_does() -> None:
    stream = DistinctStream(space(a=Categorical((1, 2, 3))), 0)
    assert stream.config(3) is None
    assert sorted((stream.config(k) or {})["a"] for k in (2, 0, 1)) == [1, 2, 3]
