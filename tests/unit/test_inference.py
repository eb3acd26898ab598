"""Intervals and tests for few values, against scipy and against what is known to be true."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import stats

from sweep.analysis import inference
from sweep.analysis.inference import (
    EXACT,
    expected_best,
    holm,
    least_p,
    mean_interval,
    pairs_needed,
    pooled_intervals,
    sign_flip,
    t_cdf,
    t_quantile,
)


@pytest.mark.parametrize("df", [1, 2, 3, 4, 9, 30, 1000])
def test_quantiles_of_t_are_those_of_scipy(df: int) -> None:
    for p in (0.001, 0.2, 0.5, 0.51, 0.9, 0.975, 0.9995):
        assert t_quantile(p, df) == pytest.approx(stats.t.ppf(p, df), rel=1e-9, abs=1e-9)
    for t in (-30.0, -1.5, 0.0, 0.1, 2.0, 500.0):
        assert t_cdf(t, df) == pytest.approx(stats.t.cdf(t, df), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize(("p", "df"), [(0.0, 3), (1.0, 3), (0.5, 0)])
def test_there_is_no_such_quantile(p: float, df: int) -> None:
    with pytest.raises(ValueError, match="no quantile"):
        t_quantile(p, df)


@pytest.mark.parametrize("n", [2, 3, 5, 20])
def test_an_interval_is_that_of_a_t_test(n: int) -> None:
    values = list(np.random.default_rng(n).normal(3.0, 2.0, n))
    found = mean_interval(values)
    assert found is not None and found.n == n
    low, high = stats.ttest_1samp(values, 0.0).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((low, high), rel=1e-9)
    assert found.mean == pytest.approx(np.mean(values)) and found.sd == pytest.approx(np.std(values, ddof=1))
    assert found.half == pytest.approx((high - low) / 2)


def test_of_one_value_there_is_no_interval_and_of_none_nothing() -> None:
    one = mean_interval([2.5])
    assert one is not None and (one.mean, one.low, one.high, one.sd, one.half) == (
        2.5,
        None,
        None,
        None,
        None,
    )
    assert mean_interval([]) is None


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    generator = np.random.default_rng(1)
    covered = 0
    for _ in range(4000):
        found = mean_interval(list(generator.normal(0.7, 3.0, 3)))
        assert found is not None and found.low is not None and found.high is not None
        covered += found.low <= 0.7 <= found.high
    assert covered / 4000 == pytest.approx(0.95, abs=0.012)


@pytest.mark.parametrize("n", [1, 2, 3, 6, 10])
def test_a_sign_flip_test_is_scipys_permutation_test(n: int) -> None:
    for seed in range(5):
        values = np.random.default_rng([n, seed]).normal(0.6, 1.0, n)
        reference = (
            stats.permutation_test(
                (values, np.zeros(n)),
                lambda a, b, axis: np.mean(a - b, axis=axis),
                permutation_type="samples",
                n_resamples=np.inf,
                vectorized=True,
            ).pvalue
            if n > 1
            else 1.0
        )
        assert sign_flip(list(values)) == pytest.approx(reference)


def test_many_pairs_are_tested_by_drawing_ways() -> None:
    values = list(np.random.default_rng(3).normal(0.5, 1.0, EXACT + 2))
    drawn, other = sign_flip(values), sign_flip(values, seed=1)
    sums = [
        abs(sum(s * v for s, v in zip(way, values, strict=True)))
        for way in itertools.product((1, -1), repeat=len(values))
    ]
    exact = sum(one >= abs(sum(values)) * (1 - 1e-12) for one in sums) / len(sums)
    assert drawn == pytest.approx(exact, abs=0.01) and other == pytest.approx(exact, abs=0.01)
    assert drawn == sign_flip(values), "the same seed gives the same answer"


def test_what_no_sign_flip_test_can_reach() -> None:
    assert least_p(5) == 0.0625 > 0.05, "with five seeds nothing is ever told apart"
    for n in range(1, 9):
        assert sign_flip([1.0] * n) == least_p(n)
    assert sign_flip([0.0, 0.0]) == 1.0 and sign_flip([]) == 1.0
    for tests in (1, 2, 4, 9):
        n = pairs_needed(tests)
        assert tests * least_p(n) <= 0.05 < tests * least_p(n - 1)


def test_false_differences_are_as_rare_as_they_should_be() -> None:
    chance = random.Random(5)
    found = sum(sign_flip([chance.gauss(0, 1) for _ in range(7)]) <= 0.05 for _ in range(3000))
    assert found / 3000 <= 0.06


def test_holm_is_holms() -> None:
    # Holm (1979) by hand: 0.005·4, then 0.01·3, then 0.03·2, then what came before (0.04·1 is less).
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0] and holm([]) == [] and holm([0.2]) == [0.2]


@pytest.mark.parametrize("lower", [True, False])
def test_the_expected_best_is_the_mean_over_every_way_to_draw(lower: bool) -> None:
    scores = [3.0, 1.0, 4.0, 1.5]
    best = min if lower else max
    rows = expected_best(scores, lower)
    assert [row.m for row in rows] == [1, 2, 3, 4]
    for row in rows:
        ways = [best(way) for way in itertools.product(scores, repeat=row.m)]
        assert row.mean == pytest.approx(math.fsum(ways) / len(ways))
        assert row.low <= row.mean <= row.high
    assert expected_best([], lower) == [] and len(expected_best(scores, lower, most=2)) == 2


def test_the_expected_best_of_few_is_near_the_truth() -> None:
    generator = np.random.default_rng(11)
    found = [expected_best(list(generator.uniform(size=60)), True, most=5)[4].mean for _ in range(60)]
    assert np.mean(found) == pytest.approx(1 / 6, abs=0.012), "the best of five uniform numbers"


def _covered(draw: Callable[[np.random.Generator, tuple[int, int]], Any], worlds: int) -> tuple[float, float]:
    """How often the interval of 8 of 16 values of the first of five configs has the truth (0) in it: as widened, and as Student's."""
    chance, hits, plain = np.random.default_rng(4), 0, 0
    for _ in range(worlds):
        groups = [list(map(float, row)) for row in draw(chance, (5, 16))]
        [found], own = pooled_intervals([groups[0][8:]], groups), mean_interval(groups[0][8:])
        assert found is not None and found.low is not None and found.high is not None
        assert own is not None and own.low is not None and own.high is not None and found.low <= own.low
        hits += found.low <= 0 <= found.high
        plain += own.low <= 0 <= own.high
    return hits / worlds, plain / worlds


def test_seeds_of_other_configs_widen_the_interval_where_noise_is_skewed_and_not_where_it_is_gaussian() -> (
    None
):
    skewed, student = _covered(lambda chance, shape: chance.exponential(size=shape) - 1, 250)
    assert skewed > student + 0.02 and skewed >= 0.91
    gaussian, student = _covered(lambda chance, shape: chance.normal(size=shape), 250)
    assert student <= gaussian <= student + 0.02


def test_with_few_values_of_other_configs_the_interval_is_students() -> None:
    values = [1.0, 1.1, 1.3]
    assert pooled_intervals([values, [2.0], []], [values]) == [
        mean_interval(values),
        mean_interval([2.0]),
        None,
    ]
    equal = pooled_intervals([[1.0] * 3], [[1.0] * 3, [2.0] * 3])
    assert equal == [mean_interval([1.0] * 3)], "what never differs tells nothing"


def test_values_that_repeat_each_other_have_the_interval_that_all_configs_together_give() -> None:
    groups = [[0.0, 0.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 2.0, 0.0, 1.0]]
    within = [value - np.mean(group) for group in groups for value in group]
    least = stats.t.ppf(0.975, 12) * np.sqrt(np.square(within).sum() / 12) / np.sqrt(3)
    equal, one_apart, wider, different = pooled_intervals(
        [[0.0] * 3, [0.0, 0.0, 1e-3], [0.0, 0.0, 9.0], [0.0, 1e-3, 2e-3]], groups
    )
    for found in (equal, one_apart):
        assert found is not None and found.half == pytest.approx(least)
    assert equal is not None and (equal.mean, equal.sd) == (0.0, 0.0)
    assert wider is not None and wider.half is not None and wider.half > least
    assert different is not None and different.half is not None and different.half < least / 10
    assert pooled_intervals([[0.0] * 8], groups)[0] != mean_interval([0.0] * 8)


@pytest.mark.parametrize(
    ("values", "repeated"), [([1.0], False), ([1.0, 1.0], True), ([1.0, 2.0], False), ([1.0, 1.0, 2.0], True),
     ([1.0, 2.0, 3.0, 3.0], False), ([1.0, 2.0, 3.0, 3.0, 3.0], True), ([1.0, 2.0] * 4, True)]
)  # fmt: skip
def test_when_values_repeat_each_other(values: list[float], repeated: bool) -> None:
    assert inference.repeats(values) is repeated


def test_noise_that_rarely_shows_is_covered_nearly_as_often_as_said() -> None:
    """Most seeds give the very same value, one in five another one."""
    chance, hits, plain = np.random.default_rng(2), 0, 0
    for _ in range(250):
        groups = [list(map(float, row)) for row in chance.choice([-0.2, 0.8], p=[0.8, 0.2], size=(5, 5))]
        [found], own = pooled_intervals([groups[0][2:]], groups), mean_interval(groups[0][2:])
        assert found is not None and found.low is not None and found.high is not None
        assert own is not None and own.low is not None and own.high is not None
        hits += found.low <= 0 <= found.high
        plain += own.low <= 0 <= own.high
    assert hits / 250 >= 0.9 > plain / 250 + 0.3


def test_numbers_that_are_hardly_numbers_any_more_have_an_interval() -> None:
    values = [1e300, -3e299, 2e299]
    small = mean_interval([1.0, -0.3, 0.2])
    found = mean_interval(values)
    assert found is not None and small is not None and found.half is not None and small.half is not None
    assert (found.mean, found.half) == pytest.approx((1e300 * small.mean, 1e300 * small.half))
    groups = [[*values, 1.0, 2.0], [1e300] * 5, [0.5, 0.7, 0.1, 0.2, 0.9]]
    pooled = pooled_intervals([values, [1e300] * 3, [0.5, 0.7, 0.1], [1e300]], groups)
    assert all(one is not None and math.isfinite(one.mean) for one in pooled)


def test_a_pooled_interval_does_not_depend_on_the_unit() -> None:
    groups = [list(map(float, row)) for row in np.random.default_rng(0).exponential(size=(6, 6))]
    scaled = [[1000 * value + 7 for value in group] for group in groups]
    [one], [other] = pooled_intervals([groups[0]], groups), pooled_intervals([scaled[0]], scaled)
    assert one is not None and other is not None and one.half is not None
    assert other.half == pytest.approx(1000 * one.half) and pooled_intervals([groups[0]], groups) == [one]


def test_the_skewness_of_small_groups_is_found_together_and_not_where_there_is_none() -> None:
    chance = np.random.default_rng(3)
    for size in (5, 16):
        rows = chance.exponential(size=(4000, size))
        assert inference._least_skew([list(map(float, row)) for row in rows]) == pytest.approx(2, abs=0.2)
        mirrored = [[-float(value) for value in row] for row in rows]
        assert inference._least_skew(mirrored) == pytest.approx(2, abs=0.2)
    gaussian = chance.normal(size=(4000, 5)) * 10 ** chance.uniform(-0.5, 0.5, (4000, 1))
    assert inference._least_skew([list(map(float, row)) for row in gaussian]) < 0.1
    assert inference._least_skew([[1.0, 1.0, 1.0], [2.0, 2.0]]) == 0.0


def test_the_factor_for_skewed_noise_lies_between_those_of_the_table() -> None:
    assert inference._skewed_factor(0.0, 3) == 1.0
    assert inference._skewed_factor(2.0, 8) == inference.SKEWED[8][4]
    assert inference._skewed_factor(99.0, 50) == inference.SKEWED[50][-1]
    for n in range(3, inference.MOST_DRAWN + 1):
        factors = [inference._skewed_factor(step / 10, n) for step in range(31)]
        assert factors == sorted(factors) and factors[0] == 1.0
        assert n == 3 or factors[20] <= inference._skewed_factor(2.0, n - 1)


def test_three_values_of_skewed_noise_are_covered_nearly_as_often_as_said() -> None:
    chance, hits, plain = np.random.default_rng(8), 0, 0
    for _ in range(250):
        groups = [list(map(float, row)) for row in chance.exponential(size=(5, 5)) - 1]
        [found], own = pooled_intervals([groups[0][2:]], groups), mean_interval(groups[0][2:])
        assert found is not None and found.low is not None and found.high is not None
        assert own is not None and own.low is not None and own.high is not None
        hits += found.low <= 0 <= found.high
        plain += own.low <= 0 <= own.high
    assert hits / 250 >= 0.91 > plain / 250
