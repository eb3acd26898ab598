"""Axes: scales, ticks, and the few values that would flatten all others."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysed import parameter
from sweep.analysis import text
from sweep.analysis.axes import objective_axis, parameter_axis
from sweep.analysis.table import ABSENT
from sweep.core.space import Beta, Categorical, Normal, Numeric


def test_a_log_parameter_has_a_log_axis_as_wide_as_its_bounds() -> None:
    axis = parameter_axis(parameter("lr", Numeric(1e-4, 1.0, "log")), [0.001, 0.01])
    assert axis.scale == "log"
    assert axis.low < -4.0 and axis.high > 0.0
    assert axis.position(0.01) == pytest.approx(-2.0)
    assert [tick.label for tick in axis.ticks()] == ["0.0001", "0.001", "0.01", "0.1", "1"]
    assert axis.title(20) == "lr (log scale)"


def test_a_quantised_log_parameter_that_rounds_to_zero_stays_on_the_axis() -> None:
    axis = parameter_axis(parameter("n", Numeric(0.001, 100, "log", q=1.0)), [0.0, 1.0, 50.0])
    assert axis.scale == "log"
    assert axis.position(0.0) == axis.low


def test_scales_of_the_other_distributions() -> None:
    assert parameter_axis(parameter("m", Normal(0, 1)), [-2.0, 3.0]).scale == "linear"
    assert parameter_axis(parameter("m", Normal(0, 1, log=True)), [0.1, 3.0]).scale == "log"
    assert parameter_axis(parameter("m", Beta(1, 1)), [0.1, 0.3]).scale == "linear"


def test_categories_keep_their_order_and_numbers_are_sorted() -> None:
    words = parameter_axis(parameter("o", Categorical(("sgd", "adam", None))), ["adam"])
    assert words.categories == ("sgd", "adam", "none")
    assert not words.ordinal
    assert words.position("adam") == 1.0
    numbers = parameter_axis(parameter("b", Categorical((64, 16, 32.0))), [16])
    assert numbers.categories == ("16", "32", "64")
    assert numbers.ordinal
    assert numbers.position(32) == 1.0


def test_true_and_one_are_different_categories() -> None:
    axis = parameter_axis(parameter("o", Categorical((True, 1, "1"))), [True])
    assert [axis.position(v) for v in (True, 1, "1")] == [0.0, 1.0, 2.0]


def test_an_absent_value_is_a_category_of_its_own_and_no_number() -> None:
    assert parameter_axis(parameter("o", Categorical(("a", "b"))), ["a", ABSENT]).categories == (
        "a",
        "b",
        "(absent)",
    )
    assert math.isnan(parameter_axis(parameter("x", Numeric(0, 1)), [0.5, ABSENT]).position(ABSENT))


def test_integers_have_whole_ticks() -> None:
    ticks = parameter_axis(parameter("n", Numeric(1, 3, integer=True)), [1, 3]).ticks()
    assert [tick.label for tick in ticks] == ["1", "2", "3"]


def test_the_objective_is_logarithmic_when_it_spreads_widely() -> None:
    assert objective_axis("loss", [0.1, 1.0, 10.0], True).scale == "log"
    assert objective_axis("loss", [0.1, 0.5, 1.0], True).scale == "linear"
    assert objective_axis("loss", [-1.0, 100.0], True).scale == "linear"


@pytest.mark.parametrize("minimize", [True, False])
def test_a_few_hopeless_values_lie_beyond_the_axis(minimize: bool) -> None:
    good = [10.0 + 0.01 * i for i in range(40)]
    bad = [100.0, 200.0] if minimize else [-100.0, -200.0]
    axis = objective_axis("loss", good + bad, minimize)
    assert axis.beyond == 2
    assert axis.low <= 10.0 and axis.high >= 10.39
    assert axis.high - axis.low < 2.0
    # On the good side nothing is ever cut.
    other = objective_axis("loss", good + bad, not minimize)
    assert other.low <= min(good + bad) and other.high >= max(good + bad)


@given(st.lists(st.floats(), min_size=1, max_size=30), st.booleans())
def test_any_objective_has_an_axis_with_finite_ends_and_ticks_on_it(
    values: list[float], minimize: bool
) -> None:
    axis = objective_axis("y", values, minimize)
    assert math.isfinite(axis.low) and math.isfinite(axis.high) and axis.low < axis.high
    ticks = axis.ticks()
    assert 1 <= len(ticks) <= 40
    slack = 1e-6 * (axis.high - axis.low)
    assert all(axis.low - slack <= tick.position <= axis.high + slack for tick in ticks)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0.0123, "0.0123"),
        (1.2e-5, "1.2e-5"),
        (128.0, "128"),
        (1e6, "1e6"),
        (math.nan, "nan"),
        (-math.inf, "-inf"),
        (0.0, "0"),
    ],
)
def test_numbers_for_people(value: float, said: str) -> None:
    assert text.number(value) == said


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (None, "–"),
        (0.04, "0.0 s"),
        (9.96, "10 s"),
        (59.6, "1 min"),
        (200, "3 min 20 s"),
        (7500, "2 h 5 min"),
        (273600, "3 d 4 h"),
    ],
)
def test_durations_for_people(seconds: float | None, said: str) -> None:
    assert text.duration(seconds) == said


@given(st.text(max_size=60), st.integers(1, 40))
def test_shortened_names_fit_and_keep_both_ends(name: str, width: int) -> None:
    short = text.shorten(name, width)
    assert len(short) <= width
    assert (
        short == name if len(name) <= width else (width < 3 or (short[0], short[-1]) == (name[0], name[-1]))
    )


def test_values_for_people_stand_on_one_line() -> None:
    assert [text.value(v) for v in (None, True, 3, 0.5, "a\nb", "", [1, {"k": None}])] == [
        "none", "true", "3", "0.5", "a b", '""', '[1,{"k":null}]',
    ]  # fmt: skip
    assert text.value(10**400) == "inf"
