"""Values and the unit interval, enumeration, equality and nesting."""

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweep.core import domain
from sweep.core.multiples import count, multiples, steps_from
from sweep.core.space import Beta, Categorical, Constant, Distribution, Normal, Numeric, Parameter, Space

units = st.floats(0, 1)
steps = st.sampled_from([None, 0.1, 0.25, 1.0, 7.0, 1e-3])


@st.composite
def numerics(draw: st.DrawFn) -> Numeric:
    scale = draw(st.sampled_from(["linear", "log"]))
    low = draw(st.floats(1e-6, 1e3) if scale == "log" else st.floats(-1e3, 1e3))
    high = low + draw(st.floats(1e-3, 1e5))
    q = draw(steps)
    integer = draw(st.booleans()) and (q is None or q >= 1)
    if integer and q is None:
        low, high = math.ceil(low), math.ceil(high) + 1
    return Numeric(low, high, scale, q, integer)  # type: ignore[arg-type]


@st.composite
def normals(draw: st.DrawFn) -> Normal:
    return Normal(draw(st.floats(-5, 5)), draw(st.floats(0.01, 3)), draw(st.booleans()), draw(steps))


@st.composite
def betas(draw: st.DrawFn) -> Beta:
    return Beta(draw(st.floats(0.1, 20)), draw(st.floats(0.1, 20)), draw(steps))


numbers = st.one_of(numerics(), normals(), betas())
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@given(numbers, units)
def test_a_drawn_number_is_possible_plain_and_repeatable(dist: Any, u: float) -> None:
    value = domain.from_unit(dist, u)
    assert type(value) is (int if dist.integer else float)
    assert math.isfinite(value)
    assert domain.contains(dist, value)
    assert domain.from_unit(dist, u) == value


@given(numbers, units, units)
def test_larger_quantiles_give_larger_numbers(dist: Any, u: float, v: float) -> None:
    low, high = sorted((u, v))
    assert domain.from_unit(dist, low) <= domain.from_unit(dist, high)


@given(numbers, st.floats(0.001, 0.999))
def test_to_unit_is_the_inverse(dist: Any, u: float) -> None:
    value = domain.from_unit(dist, u)
    back = domain.to_unit(dist, value)
    assert 0 <= back <= 1
    again = domain.from_unit(dist, back)
    if dist.q is not None or dist.integer:
        assert again == value
    else:
        assert again == pytest.approx(value, rel=1e-6, abs=1e-9)


@given(numerics(), units)
def test_numeric_values_stay_inside_unless_no_multiple_does(dist: Numeric, u: float) -> None:
    value = domain.from_unit(dist, u)
    if not dist.low <= value <= dist.high:
        assert count(domain.support(dist) or ()) == 1
        assert dist.q is not None
        assert abs(value - (dist.low + dist.high) / 2) <= dist.q / 2 * (1 + 1e-9)


@given(st.lists(values, min_size=1, max_size=6), units)
def test_choices_come_back(choices: list[Any], u: float) -> None:
    dist = Categorical(tuple(choices))
    value = domain.from_unit(dist, u)
    assert domain.contains(dist, value)
    assert domain.canonical(domain.from_unit(dist, domain.to_unit(dist, value))) == domain.canonical(value)
    assert count(domain.support(dist) or ()) == len({domain.canonical(choice) for choice in choices})


@pytest.mark.parametrize(
    ("dist", "expected"),
    [
        (Numeric(0.1, 0.35, q=0.1), [0.1, 0.2, 0.3]),
        (Numeric(0, 1, q=0.1), [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1]),
        (Numeric(0.3, 0.9, q=0.3), [0.3, 0.6, 0.9]),
        (Numeric(1, 4, integer=True), [1, 2, 3, 4]),
        (Numeric(-7, 8, q=5, integer=True), [-5, 0, 5]),
        (Numeric(1e-4, 0.5, scale="log", q=1.0), [0.0]),
        (Numeric(2, 2), [2.0]),
        (Beta(q=0.3), [0.0, 0.3, 0.6, 0.9]),
        (Beta(q=1, integer=True), [0, 1]),
        (Categorical((3, 3.0, True, 1), None), [3, True, 1]),
        (Categorical(("a", "b", "a", "c"), (0.5, 0.0, 0.25, 0.25)), ["a", "c"]),
        (Constant([1]), [[1]]),
    ],
)
def test_support(dist: Distribution, expected: list[Any]) -> None:
    support = domain.support(dist)
    assert support is not None
    assert list(map(domain.canonical, support)) == list(map(domain.canonical, expected))
    assert count(support) == len(expected)


@pytest.mark.parametrize(
    "dist", [Numeric(0, 1), Numeric(1, 2, scale="log"), Normal(), Beta(), Normal(log=True)]
)
def test_continuous_distributions_have_neither_support_nor_grid(dist: Distribution) -> None:
    assert domain.support(dist) is None
    with pytest.raises(ValueError, match="q_ distribution"):
        domain.grid_values(dist)


def test_a_quantised_normal_is_finite_because_draws_end_at_eight_sigma() -> None:
    assert list(domain.support(Normal(0, 1, q=2, integer=True)) or []) == [-8, -6, -4, -2, 0, 2, 4, 6, 8]
    assert domain.from_unit(Normal(0, 1, q=2, integer=True), 1.0) == 8
    assert domain.support(Normal(0, 1, q=1e-300)) is None


@pytest.mark.parametrize(
    ("dist", "expected"),
    [
        (Numeric(0, 100, q=25, integer=True), [0, 25, 50, 75]),  # upstream: below max
        (Numeric(0.05, 0.35, q=0.1), [0.05, 0.15, 0.25]),  # upstream: from min
        (Numeric(0.5, 3, q=1, integer=True), [1, 2]),
        (Numeric(1, 3, integer=True), [1, 2, 3]),
        (Numeric(1, 10, scale="log", q=3), [3.0, 6.0, 9.0]),
        (Categorical(("a", "b", "a"), (0.5, 0.0, 0.5)), ["a", "b"]),
    ],
)
def test_grid_values(dist: Distribution, expected: list[Any]) -> None:
    grid = domain.grid_values(dist)
    assert list(grid) == expected
    assert [type(value) for value in grid] == [type(value) for value in expected]
    assert all(domain.contains(dist, value) for value in grid)


def test_steps_are_lazy_at_any_size() -> None:
    values = domain.grid_values(Numeric(0, 1e12, q=0.001))
    assert len(values) == 10**15
    assert values[123_456_789_012] == 123456789.012
    assert values[-1] == 999999999999.999
    assert list(values[5:8]) == [0.005, 0.006, 0.007]
    assert values.index(0.006) == 6
    assert 0.0065 not in values
    assert True not in values
    assert count(multiples(-1e300, 1e300, 1.0, True)) > 2**63
    with pytest.raises(IndexError):
        steps_from(0.0, 1.0, 0.5, False)[2]


def test_int_uniform_is_even_and_reaches_both_ends() -> None:
    drawn = [domain.from_unit(Numeric(3, 5, integer=True), (i + 0.5) / 300) for i in range(300)]
    assert [drawn.count(value) for value in (3, 4, 5)] == [100, 100, 100]
    assert domain.from_unit(Numeric(3, 5, integer=True), 1.0) == 5


def test_log_uniform_is_even_in_the_logarithm() -> None:
    dist = Numeric(1e-4, 1, scale="log")
    assert [domain.from_unit(dist, u) for u in (0, 0.25, 0.5, 0.75, 1)] == pytest.approx(
        [1e-4, 1e-3, 1e-2, 1e-1, 1]
    )


def test_quantiles_of_normal_and_beta() -> None:
    assert domain.from_unit(Normal(2, 3), 0.5) == 2
    assert domain.from_unit(Normal(0, 1), 0.975) == pytest.approx(1.959964, abs=1e-6)
    assert domain.from_unit(Normal(1, 2, log=True), 0.5) == pytest.approx(math.e)
    assert domain.from_unit(Beta(2, 2), 0.5) == pytest.approx(0.5)
    assert domain.from_unit(Beta(1, 3), 0.3) == pytest.approx(1 - 0.7 ** (1 / 3))  # closed form for a = 1


def test_weights_decide_how_wide_a_choice_is() -> None:
    dist = Categorical(("a", "b", "never", "a"), (0.25, 0.5, 0.0, 0.25))
    drawn = [domain.from_unit(dist, (i + 0.5) / 100) for i in range(100)]
    assert [drawn.count(value) for value in ("a", "b", "never")] == [50, 50, 0]
    assert domain.from_unit(dist, 1.0) == "b"


def test_contains_minds_types_and_bounds() -> None:
    assert domain.contains(Numeric(0, 1), 1)
    assert not domain.contains(Numeric(0, 1), 1.0001)
    assert not domain.contains(Numeric(0, 1), True)
    assert not domain.contains(Numeric(0, 1), math.nan)
    assert not domain.contains(Numeric(0, 1), "0.5")
    assert not domain.contains(Numeric(0, 9, integer=True), 2.5)
    assert not domain.contains(Numeric(0, 1, q=0.25), 0.3)
    assert not domain.contains(Normal(log=True), -1.0)
    assert domain.contains(Categorical((3, None)), 3.0)
    assert not domain.contains(Categorical((1,)), True)
    assert not domain.contains(Constant("a"), "b")


def test_to_unit_clips_numbers_and_refuses_the_rest() -> None:
    assert domain.to_unit(Numeric(0, 1), 7) == 1
    assert domain.to_unit(Numeric(1, 2, scale="log"), -3) == 0
    assert domain.to_unit(Constant(1), 1) == 0.5
    for dist in (Numeric(0, 1), Normal(), Beta()):
        for value in ("a", None, True, math.nan):
            with pytest.raises(ValueError, match="is not a number"):
                domain.to_unit(dist, value)
    with pytest.raises(ValueError, match="none of the values"):
        domain.to_unit(Categorical((1, 2)), 3)


def test_values_share_nothing_with_the_spec() -> None:
    dist = Categorical(([1, {"a": [2]}],))
    value = domain.from_unit(dist, 0.5)
    value[1]["a"].append(3)
    assert dist.values == ([1, {"a": [2]}],)


def test_size() -> None:
    def space(*dists: Distribution) -> Space:
        return Space(tuple(Parameter((f"p{i}",), dist) for i, dist in enumerate(dists)))

    assert domain.size(space()) == 1
    assert domain.size(space(Numeric(1, 10, integer=True), Categorical(("a", "b")), Constant(1))) == 20
    assert domain.size(space(Numeric(1, 10), Constant(1))) is None
    assert domain.grid_size(space(Numeric(0, 1, q=0.5), Numeric(1, 10**6, integer=True))) == 2 * 10**6
    assert domain.grid_size(space(Numeric(0, 1))) is None


def _same(a: Any, b: Any) -> bool:
    """An account of equality that shares nothing with canonical()."""
    if isinstance(a, bool) or isinstance(b, bool) or a is None or b is None:
        return a is b
    if isinstance(a, int | float) and isinstance(b, int | float):
        return a == b or (a != a and b != b)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(_same, a, b))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_same(a[key], b[key]) for key in a)
    return type(a) is type(b) and bool(a == b)


TRICKY: tuple[Any, ...] = (
    *(0, 0.0, -0.0, 1, 1.0, 10**30, 1e30, 0.1, 0.1 + 1e-17, math.inf, -math.inf, math.nan),
    *(True, False, None, "", "1", "i1;", "n", "f", "t"),
    *([], [1], [1.0], [True], [[]], [{}], [math.nan], ["a", "b"], ["ab", ""]),
    *({}, {"a": 1}, {"a": 1.0}, {"a": True}, {"a": 1, "b": 2}, {"b": 2, "a": 1}),
)
near = st.sampled_from(TRICKY)


@given(near | values, near | values)
@settings(max_examples=500)
def test_canonical_is_equality(a: Any, b: Any) -> None:
    assert (domain.canonical(a) == domain.canonical(b)) == _same(a, b)


def test_canonical_of_all_tricky_pairs() -> None:
    for a in TRICKY:
        for b in TRICKY:
            assert (domain.canonical(a) == domain.canonical(b)) == _same(a, b), (a, b)


def test_canonical_sees_a_tuple_as_the_list_of_the_journal() -> None:
    assert domain.canonical((1, (2,))) == domain.canonical([1, [2]])
    assert domain.canonical(1 + 2j) != domain.canonical("(1+2j)")


def test_assemble_and_value_at() -> None:
    paths = [("lr",), ("opt", "name"), ("opt", "adam", "b1")]
    space = Space(tuple(Parameter(path, Constant(0)) for path in paths))
    config = domain.assemble(space, [0.1, "adam", (1, 2)])
    assert config == {"lr": 0.1, "opt": {"name": "adam", "adam": {"b1": [1, 2]}}}
    assert [domain.value_at(config, path) for path in paths] == [0.1, "adam", [1, 2]]
    with pytest.raises(KeyError, match=r"opt\.sgd\.x"):
        domain.value_at(config, ("opt", "sgd", "x"))
    with pytest.raises(KeyError, match=r"lr\.x"):
        domain.value_at(config, ("lr", "x"))
    with pytest.raises(ValueError):
        domain.assemble(space, [1])


def test_integers_that_floats_cannot_tell_apart() -> None:
    dist = Numeric(1e16, 1e16 + 1000, integer=True)
    assert [domain.contains(dist, 10**16 + i) for i in (-1, 0, 1, 999, 1000, 1001)] == [
        False,
        *[True] * 4,
        False,
    ]
    steps = domain.support(dist)
    assert steps is not None and [steps.index(10**16 + i) for i in (0, 1, 999)] == [0, 1, 999]
    assert not domain.contains(dist, 10**400)
    assert domain.to_unit(Numeric(0, 1), 10**400) == 1
    assert domain.to_unit(Numeric(0, 1), -math.inf) == 0
