"""Conditional parameters in the core: which are active, how many configs there are, and each of them once."""

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweep.core import domain
from sweep.core.codec import spec_from_builtins, spec_to_builtins
from sweep.core.conditions import INACTIVE, Conditions, active_under
from sweep.core.plugins import Observation
from sweep.core.revisions import is_used_up
from sweep.core.space import Categorical, Condition, Config, Constant, Distribution, Numeric, Parameter, Space
from sweep.core.spec import Metric, SweepSpec
from sweep.search import make_searcher
from sweep.search._activity import Activity
from sweep.search._axes import Axes
from sweep.search._stream import DistinctStream

fixed = settings(max_examples=60)


def parameter(name: str, dist: Distribution, **when: tuple[Any, ...]) -> Parameter:
    conditions = tuple(Condition(tuple(parent.split("__")), values) for parent, values in when.items())
    return Parameter(tuple(name.split(".")), dist, when=conditions)


OPTIMIZER = Space(
    (
        parameter("momentum", Categorical((0.0, 0.9)), optimizer=("sgd",)),
        parameter("optimizer", Categorical(("adam", "sgd", "lbfgs"))),
        parameter("nesterov", Categorical((True, False)), momentum=(0.9,)),
        parameter("lr", Categorical((1, 2)), optimizer=("adam", "sgd")),
    )
)


def configs_of(space: Space) -> set[str]:
    """By brute force: the whole product, with what is inactive taken away."""
    axes = [domain.support(p.distribution) or () for p in space.parameters]
    return {domain.canonical(domain.assemble(space, values)) for values in itertools.product(*axes)}


@st.composite
def spaces(draw: st.DrawFn) -> Space:
    """Up to six parameters in any order, each depending on some of those with a lower number."""
    made: list[Parameter] = []
    for number in range(draw(st.integers(1, 6))):
        dist = draw(
            st.sampled_from(
                [
                    Categorical(("a", "b", None)),
                    Categorical((True, 1, 2)),
                    Numeric(1, 4, integer=True),
                    Numeric(0, 1, q=0.5),
                    Numeric(1, 3, scale="log", q=1, integer=True),
                    Constant("only"),
                ]
            )
        )
        when = []
        for parent in draw(st.lists(st.sampled_from(made), max_size=2)) if made else []:
            values = list(domain.support(parent.distribution) or ())
            chosen = draw(st.lists(st.sampled_from(values), min_size=1, max_size=3))
            when.append(Condition(parent.path, tuple(chosen)))
        made.append(Parameter((f"p{number}",), dist, when=tuple(when)))
    return Space(tuple(draw(st.permutations(made))))


def test_an_inactive_parameter_and_what_depends_on_it_are_in_no_config() -> None:
    assert active_under(OPTIMIZER, [0.9, "adam", True, 1]) == [False, True, False, True]
    assert domain.assemble(OPTIMIZER, [0.9, "adam", True, 1]) == {"optimizer": "adam", "lr": 1}
    assert domain.assemble(OPTIMIZER, [0.9, "sgd", True, 1]) == {
        "momentum": 0.9,
        "optimizer": "sgd",
        "nesterov": True,
        "lr": 1,
    }
    assert domain.assemble(OPTIMIZER, [0.9, "lbfgs", True, 1]) == {"optimizer": "lbfgs"}


def test_values_of_a_config_are_those_of_its_active_parameters() -> None:
    assert domain.values_of(OPTIMIZER, {"optimizer": "lbfgs"}) == [INACTIVE, "lbfgs", INACTIVE, INACTIVE]
    assert domain.belongs(OPTIMIZER, {"optimizer": "lbfgs"})
    assert domain.belongs(OPTIMIZER, {"optimizer": "lbfgs", "momentum": 99})  # of an earlier revision
    assert not domain.belongs(OPTIMIZER, {"optimizer": "adam"})
    assert not domain.belongs(OPTIMIZER, {"optimizer": "sgd", "momentum": 0.5, "lr": 1})


def test_the_size_is_that_of_distinct_configs() -> None:
    assert domain.size(OPTIMIZER) == 2 + 2 * (1 + 2) + 1 == len(configs_of(OPTIMIZER))
    assert domain.grid_size(OPTIMIZER) == 9


@fixed
@given(spaces())
def test_every_point_is_numbered_once(space: Space) -> None:
    for points in (domain.points(space), domain.grid_points(space)):
        assert points is not None
        keys = [
            domain.canonical(domain.assemble(space, points.values(number))) for number in range(points.size)
        ]
        assert len(set(keys)) == len(keys)
    assert domain.size(space) == len(configs_of(space))
    stream = DistinctStream(space, seed=3)
    size = domain.size(space) or 0
    drawn = {domain.canonical(stream.config(k)) for k in range(size)}
    assert drawn == configs_of(space)
    assert stream.config(size) is None


@fixed
@given(spaces(), st.booleans())
def test_axes_lead_to_a_config_and_back_and_know_what_is_active(space: Space, quantiles: bool) -> None:
    axes = Axes(space, quantiles=quantiles)
    if not axes.axes:
        return
    generator = np.random.default_rng(1)
    columns = [
        generator.uniform(axis.low, axis.high, 40)
        if axis.kind == "float"
        else generator.integers(int(axis.low), int(axis.high) + 1, 40)
        for axis in axes.axes
    ]
    points = np.column_stack(columns).astype(float)
    mask = Activity(axes).mask(points)
    for row, active in zip(points.tolist(), mask.tolist(), strict=True):
        assert axes.active(row) == active
        config = axes.decode(row)
        point = axes.encode(config)
        assert point is not None
        assert axes.active(point) == active
        assert axes.decode(point) == config
        assert axes.settled(point) == point


def test_many_switches_are_counted_without_writing_their_product_out() -> None:
    switches = [parameter(f"a{i:02}", Categorical((True, False))) for i in range(60)]
    strengths = [
        parameter(f"b{i:02}", Numeric(1, 10, integer=True), **{f"a{i:02}": (True,)}) for i in range(60)
    ]
    space = Space((*switches, *strengths))
    assert domain.size(space) == domain.grid_size(space) == 11**60
    last = domain.grid_points(space).values(11**60 - 1)
    assert domain.assemble(space, last) == {f"a{i:02}": False for i in range(60)}


def test_conditions_that_are_too_entangled_are_refused() -> None:
    switches = [parameter(f"a{i:02}", Categorical((True, False))) for i in range(36)]
    pairs = [
        parameter(f"b{i}", Categorical((1, 2)), **{f"a{i:02}": (True,), f"a{i + 18:02}": (True,)})
        for i in range(18)
    ]
    with pytest.raises(ValueError, match="too many ways"):
        domain.size(Space((*switches, *pairs)))


def test_a_circle_and_an_unknown_parent_are_refused() -> None:
    with pytest.raises(ValueError, match="circle"):
        Conditions(Space((parameter("a", Constant(1), b=(1,)), parameter("b", Constant(1), a=(1,)))))
    with pytest.raises(ValueError, match="a depends on x, which is no parameter"):
        Conditions(Space((parameter("a", Constant(1), x=(1,)),)))


def test_a_grid_goes_through_the_names_with_children_right_after_their_parents() -> None:
    searcher = make_searcher(SweepSpec(method="grid", space=OPTIMIZER, seed=0))
    answer = searcher.propose([], 20)
    assert answer.exhausted
    assert list(answer.configs) == [
        {"optimizer": "adam", "lr": 1},
        {"optimizer": "adam", "lr": 2},
        {"optimizer": "sgd", "lr": 1, "momentum": 0.0},
        {"optimizer": "sgd", "lr": 1, "momentum": 0.9, "nesterov": True},
        {"optimizer": "sgd", "lr": 1, "momentum": 0.9, "nesterov": False},
        {"optimizer": "sgd", "lr": 2, "momentum": 0.0},
        {"optimizer": "sgd", "lr": 2, "momentum": 0.9, "nesterov": True},
        {"optimizer": "sgd", "lr": 2, "momentum": 0.9, "nesterov": False},
        {"optimizer": "lbfgs"},
    ]
    assert is_used_up(OPTIMIZER, "grid", answer.configs)
    assert not is_used_up(OPTIMIZER, "grid", answer.configs[1:])


def test_random_search_does_not_repeat_the_finite_part_of_an_infinite_space() -> None:
    space = Space(
        (
            parameter("optimizer", Categorical(("adam", "sgd"))),
            parameter("momentum", Numeric(0.0, 0.9), optimizer=("sgd",)),
        )
    )
    searcher = make_searcher(SweepSpec(method="random", space=space, seed=4))
    configs: tuple[Config, ...] = searcher.propose([], 50).configs
    assert len({domain.canonical(config) for config in configs}) == 50
    assert sum(config["optimizer"] == "adam" for config in configs) == 1


@pytest.mark.parametrize(("engine", "trials"), [("optuna-tpe", 30), ("skopt-et", 22)])
def test_a_model_learns_within_a_branch(engine: str, trials: int) -> None:
    space = Space(
        (
            parameter("kind", Categorical(("a", "b", "c"))),
            parameter("x", Numeric(0.0, 1.0), kind=("a", "b")),
            parameter("y", Numeric(0.0, 1.0), kind=("c",)),
        )
    )
    spec = SweepSpec(
        method="bayes", engine=engine, space=space, seed=2, metric=Metric(name="l"), run_cap=trials
    )
    searcher, seen = make_searcher(spec), list[Observation]()
    while len(seen) < trials:
        config = searcher.propose(seen, 1).configs[0]
        score = {"a": 1.0, "b": 2.0, "c": 0.0}[config["kind"]] + (config.get("x", config.get("y")) - 0.3) ** 2
        seen.append(Observation(len(seen), config, "completed", score))
    late = [observation.config for observation in seen[trials // 2 :]]
    assert sum(config["kind"] == "c" for config in late) > len(late) // 2
    best = min(seen, key=lambda observation: observation.score or 0.0).config
    assert best["kind"] == "c" and abs(best["y"] - 0.3) < 0.15


def test_conditions_pass_through_a_record() -> None:
    spec = SweepSpec(method="random", space=OPTIMIZER, seed=0)
    assert spec_from_builtins(spec_to_builtins(spec)) == spec
    old = spec_to_builtins(SweepSpec(method="random", space=Space((parameter("a", Constant(1)),)), seed=0))
    del old["space"]["parameters"][0]["when"]
    assert spec_from_builtins(old).space.parameters[0].when == ()
