"""Intervals and tests for few values: what can be said of a mean, of a difference on common seeds, of the best of m.

The rule of this file: pure functions of numbers, in plain Python (a listing must not pay for scipy); chance only from a seed
that is given. Lower is neither better nor worse here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product
from random import Random
from typing import Any, NamedTuple

import msgspec

LEVEL = 0.95
EXACT = 14
"""Up to so many pairs every way to flip their signs is looked at."""
FLIPS = 20_000
"""Beyond that, so many ways drawn at random."""
RESAMPLES = 1000
DRAWS = 4000
"""Samples that the quantile of a bootstrap-t is taken from."""
SMOOTHED = 0.1
"""Deviation that is added to each residual, in deviations between seeds. Measured by benchmarks/honesty.py: with more of it skewed
noise is covered too rarely, with less Gaussian noise too often."""
LARGE = 1e90
"""Values beyond this are divided by it first: cubes of them are no numbers any more."""
_STEPS = (-1.534, -0.887, -0.489, -0.157, 0.157, 0.489, 0.887, 1.534)
"""Eight values that stand for a standard normal one."""
LEAST_RESIDUALS = 5
"""With fewer of them for each value that is drawn nothing is known of how they are spread, and Student's t is taken."""
MOST_DRAWN = 50
"""With more values the mean is nearly Gaussian whatever they are."""


SKEW_STEP = 0.5
SKEWED: dict[int, tuple[float, ...]] = {
    3: (1.0, 1.03, 1.16, 1.4, 1.87, 2.72, 4.4),
    4: (1.0, 1.03, 1.15, 1.37, 1.77, 2.44, 3.52),
    5: (1.0, 1.03, 1.14, 1.34, 1.67, 2.18, 3.02),
    6: (1.0, 1.03, 1.12, 1.3, 1.58, 2.03, 2.65),
    8: (1.0, 1.02, 1.1, 1.24, 1.45, 1.79, 2.24),
    10: (1.0, 1.02, 1.08, 1.2, 1.38, 1.64, 2.0),
    15: (1.0, 1.01, 1.06, 1.13, 1.26, 1.44, 1.68),
    20: (1.0, 1.01, 1.04, 1.11, 1.2, 1.33, 1.49),
    30: (1.0, 1.01, 1.03, 1.08, 1.13, 1.22, 1.34),
    50: (1.0, 1.01, 1.02, 1.04, 1.08, 1.13, 1.19),
}
"""Number of values -> by how much the 95 % quantile of |t| over so many values of a gamma distribution is larger than Student's, for a
skewness of 0, 0.5, 1, … (`python benchmarks/honesty.py --skewed` draws it)."""


class Interval(msgspec.Struct, frozen=True):
    """A mean over n independent values, with the interval in which the mean over all possible ones lies."""

    mean: float
    low: float | None
    high: float | None
    """None where there are fewer than two values."""
    sd: float | None
    n: int

    @property
    def half(self) -> float | None:
        """What stands behind the ±."""
        return None if self.high is None else self.high - self.mean


def mean_interval(values: Sequence[float], level: float = LEVEL) -> Interval | None:
    """mean ± t(n-1)·s/√n (Student 1908); exact for Gaussian values, too narrow for few skewed ones. None without values."""
    n = len(values)
    if not n:
        return None
    if max(map(abs, values)) > LARGE:
        return _scaled_back(mean_interval([value / LARGE for value in values], level))
    # three times 0.1 are 0.3 and a bit: equal values do not differ by what rounding makes of them
    mean = values[0] if min(values) == max(values) else math.fsum(values) / n
    if n < 2:
        return Interval(mean, None, None, None, n)
    sd = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1))
    half = t_quantile(0.5 + level / 2, n - 1) * sd / math.sqrt(n)
    return Interval(mean, mean - half, mean + half, sd, n)


def pooled_intervals(
    wanted: Sequence[Sequence[float]], groups: Sequence[Sequence[float]], level: float = LEVEL
) -> list[Interval | None]:
    """`mean_interval` of each of `wanted`, widened where values are not Gaussian: instead of Student's t the quantile of |t| over
    samples drawn from what all `groups` (configs on several seeds) deviate from their means by: a symmetric bootstrap-t (Hall, The
    Bootstrap and Edgeworth Expansion, 1992, section 3.5) from pooled residuals, each in units of its group's deviation, since groups
    may differ in that. Three values alone do not show how they are spread; those of several configs do better. Residuals of small groups
    lack the long tail of skewed noise (the group's own deviation has it): where the skewness of all groups together, less half its
    standard error, asks for more (`SKEWED`), that is taken. Values that mostly repeat each other do not show how far apart they can be (three equal
    ones would have no interval at all): there it is Student's t with the deviation pooled over all groups, if that is wider. Never
    narrower than Student's t."""
    if any(abs(value) > LARGE for values in (*wanted, *groups) for value in values):
        small, known = ([[value / LARGE for value in values] for values in some] for some in (wanted, groups))
        return [_scaled_back(one) for one in pooled_intervals(small, known, level)]
    found = [mean_interval(values, level) for values in wanted]
    sizes = {one.n for one in found if one is not None and one.half and one.n <= MOST_DRAWN}
    residuals = _residuals(groups) if sizes else []
    sizes = {n for n in sizes if n > 2 and len(residuals) >= LEAST_RESIDUALS * n}
    widened = {n: _drawn_quantile(residuals, n, level) / t_quantile(0.5 + level / 2, n - 1) for n in sizes}
    skew = _least_skew(groups) if sizes else 0.0
    widened = {n: max(factor, _skewed_factor(skew, n)) for n, factor in widened.items()}
    return [
        None if one is None else _wider(one, widened.get(one.n, 1.0), _least_half(values, groups, level))
        for one, values in zip(found, wanted, strict=True)
    ]


def _scaled_back(found: Interval | None) -> Interval | None:
    if found is None or found.low is None or found.high is None or found.sd is None:
        return None if found is None else msgspec.structs.replace(found, mean=found.mean * LARGE)
    return Interval(LARGE * found.mean, LARGE * found.low, LARGE * found.high, LARGE * found.sd, found.n)


def _wider(found: Interval, factor: float, least: float) -> Interval:
    half = max(factor * (found.half or 0.0), least)
    if found.half is None or half <= found.half:
        return found
    return Interval(found.mean, found.mean - half, found.mean + half, found.sd, found.n)


def repeats(values: Sequence[float]) -> bool:
    """Whether values mostly repeat each other: at most half of them, rounded up, are different ones."""
    return len(values) > 1 and len(set(values)) <= (len(values) + 1) // 2


def _least_half(values: Sequence[float], groups: Sequence[Sequence[float]], level: float) -> float:
    """What the half width must be at least: where values repeat each other, what the deviation pooled over all groups says."""
    deviation, degrees = pooled_deviation(groups) if repeats(values) else (0.0, 0)
    return deviation * t_quantile(0.5 + level / 2, degrees) / math.sqrt(len(values)) if deviation else 0.0


def pooled_deviation(groups: Sequence[Sequence[float]]) -> tuple[float, int]:
    """The deviation within groups, and its degrees of freedom; 0 where nothing tells it."""
    found = [one for one in map(mean_interval, groups) if one is not None and one.sd is not None]
    degrees = sum(one.n - 1 for one in found)
    largest = max((one.sd or 0.0 for one in found), default=0.0)
    if not largest:
        return 0.0, degrees
    squares = math.fsum((one.n - 1) * ((one.sd or 0.0) / largest) ** 2 for one in found)
    return largest * math.sqrt(squares / degrees), degrees


def _residuals(groups: Sequence[Sequence[float]]) -> list[float]:
    """In units of the deviation within their group; values that are all equal tell nothing."""
    found: list[float] = []
    for group in groups:
        own = mean_interval(group)
        if own is not None and own.sd:
            found += [(value - own.mean) / own.sd for value in group]
    return found


def _least_skew(groups: Sequence[Sequence[float]]) -> float:
    """How skewed values are at least, whichever way: the third cumulant of all groups together (its unbiased estimate, Fisher's k₃) in
    units of their pooled deviation, less half its standard error for Gaussian values. Groups are not scaled first: dividing by
    the deviation of few values takes most of the skewness away."""
    cubes = squares = 0.0
    count = degrees = 0
    for group in groups:
        n = len(group)
        if n < 3:
            continue
        mean = math.fsum(group) / n
        apart = [value - mean for value in group]
        cubes += n * n / ((n - 1) * (n - 2)) * math.fsum(one * one * one for one in apart)
        squares += math.fsum(one * one for one in apart)
        count, degrees = count + n, degrees + n - 1
    if not squares > 0.0 or not math.isfinite(cubes):
        return 0.0
    deviation = math.sqrt(squares / degrees)
    return max(0.0, abs(cubes / count) / deviation**3 - 0.5 * math.sqrt(6 / count))


def _skewed_factor(skew: float, n: int) -> float:
    """`SKEWED` between its entries: along the skewness straight, along the number of values straight in 1/n."""
    below = max(size for size in SKEWED if size <= n)
    above = min(size for size in SKEWED if size >= n)
    low, high = (_between(SKEWED[size], skew / SKEW_STEP) for size in (below, above))
    return low if below == above else high + (low - high) * (1 / n - 1 / above) / (1 / below - 1 / above)


def _between(values: Sequence[float], at: float) -> float:
    at = min(at, len(values) - 1.0)
    left = min(int(at), len(values) - 2)
    return values[left] + (values[left + 1] - values[left]) * (at - left)


def _drawn_quantile(residuals: Sequence[float], n: int, level: float) -> float:
    """The quantile of |t| over samples of n different ones of the residuals, each smoothed a little. (With the same one twice in a
    sample of three its deviation would be too small, and the interval too wide where values are Gaussian.)"""
    random, pool = Random("bootstrap-t"), list(residuals)
    steps = iter(random.choices(_STEPS, k=n * DRAWS))
    found: list[float] = []
    while len(found) < DRAWS:
        random.shuffle(pool)
        for at in range(0, min(len(pool) // n, DRAWS - len(found)) * n, n):
            sample = [value + SMOOTHED * next(steps) for value in pool[at : at + n]]
            mean = sum(sample) / n
            squares = sum([value * value for value in sample]) - n * mean * mean
            found.append(abs(mean) * math.sqrt(n * (n - 1) / squares) if squares > 1e-12 else math.inf)
    return sorted(found)[math.ceil(level * DRAWS) - 1]


def sign_flip(differences: Sequence[float], seed: int = 0) -> float:
    """Two-sided p-value of paired differences being symmetric about zero (Fisher's randomisation test): the share of all
    2^n ways to flip their signs whose mean is at least as far from zero. Beyond `EXACT` pairs by drawing ways at random, the
    one that was seen counted among them. 1 without differences."""
    n, seen = len(differences), abs(math.fsum(differences))
    if not n or seen == 0.0:
        return 1.0
    least = seen * (1 - 1e-12)
    if n <= EXACT:
        ways = product((1.0, -1.0), repeat=n - 1)  # the other half mirrors these
        far = sum(
            abs(differences[0] + math.fsum(s * d for s, d in zip(way, differences[1:], strict=True))) >= least
            for way in ways
        )
        return float(far / 2 ** (n - 1))
    random = Random(f"sign flip/{seed}")
    far = sum(
        abs(math.fsum(d if random.random() < 0.5 else -d for d in differences)) >= least for _ in range(FLIPS)
    )
    return (far + 1) / (FLIPS + 1)


def least_p(n: int) -> float:
    """The smallest p-value that `sign_flip` can give on n pairs: 2/2^n."""
    return min(1.0, 2.0 ** (1 - n))


def pairs_needed(tests: int, level: float = LEVEL) -> int:
    """How many common seeds it takes before the first of so many tests can fall below 1 - `level` under Holm."""
    return math.ceil(math.log2(2 * max(tests, 1) / (1 - level)) - 1e-9)


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted for their number (Holm 1979), in their order: below 0.05 means told apart with a familywise error of
    5 %."""
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    adjusted, highest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, (len(order) - rank) * p_values[index]))
        adjusted[index] = highest
    return adjusted


class Expected(NamedTuple):
    """What the best of m trials is on average, with a bootstrap interval over trials."""

    m: int
    mean: float
    low: float
    high: float


def expected_best(
    scores: Sequence[float],
    lower_is_better: bool,
    most: int | None = None,
    seed: int = 0,
    level: float = LEVEL,
) -> list[Expected]:
    """The expected best of m = 1 … `most` (all, where None) trials of which these are an independent sample: the V-statistic
    of Dodge et al., "Show Your Work" (EMNLP 2019), eq. 7: sum of v_(i) · ((i/n)^m - ((i-1)/n)^m). Up to m = n; it is biased
    towards worse near there, which is why its interval matters."""
    import numpy as np

    n = len(scores)
    if not n:
        return []
    m = np.arange(1, min(most or n, n) + 1)
    sign = -1.0 if lower_is_better else 1.0
    ranks = np.arange(n + 1) / n
    weights = np.diff(ranks[None, :] ** m[:, None], axis=1)  # m × n, each row sums to 1

    def curve(values: Any) -> Any:
        return weights @ np.sort(values)

    values = sign * np.asarray(scores, dtype=np.float64)
    generator = np.random.default_rng([seed % 2**64, 0xB0])
    found = np.array([curve(values[generator.integers(n, size=n)]) for _ in range(RESAMPLES)])
    low, high = np.quantile(found, [0.5 - level / 2, 0.5 + level / 2], axis=0)
    if lower_is_better:
        low, high = -high, -low
    rows = zip(m, sign * curve(values), low, high, strict=True)
    return [Expected(int(a), float(b), float(c), float(d)) for a, b, c, d in rows]


# --- Student's t -----------------------------------------------------------------------------------------------


def t_quantile(p: float, df: int) -> float:
    """The quantile of Student's t with `df` degrees of freedom, for p in (0, 1); to about 12 digits."""
    if not 0 < p < 1 or df < 1:
        raise ValueError(f"there is no quantile {p} of t with {df} degrees of freedom")
    if p < 0.5:
        return -t_quantile(1 - p, df)
    low, high = 0.0, 1.0
    while t_cdf(high, df) < p:
        low, high = high, 2 * high
    for _ in range(200):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        low, high = (middle, high) if t_cdf(middle, df) < p else (low, middle)
    return (low + high) / 2


def t_cdf(t: float, df: int) -> float:
    """P(T <= t) for Student's t."""
    tail = 0.5 * _beta_inc(df / 2, 0.5, df / (df + t * t))
    return 1 - tail if t > 0 else tail


def _beta_inc(a: float, b: float, x: float) -> float:
    """The regularised incomplete beta function (DLMF 8.17.22, by Lentz's method)."""
    if x <= 0 or x >= 1:
        return 0.0 if x <= 0 else 1.0
    if x > (a + 1) / (a + b + 2):
        return 1 - _beta_inc(b, a, 1 - x)
    front = math.exp(
        math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    )
    tiny = 1e-300
    c, d = 1.0, 1 / _not_zero(1 - (a + b) * x / (a + 1), tiny)
    result = d
    for m in range(1, 10_000):
        up = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        d = 1 / _not_zero(1 + up * d, tiny)
        c = _not_zero(1 + up / c, tiny)
        result *= d * c
        down = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        d = 1 / _not_zero(1 + down * d, tiny)
        c = _not_zero(1 + down / c, tiny)
        result *= d * c
        if abs(d * c - 1) < 1e-15:
            break
    return front * result / a


def _not_zero(value: float, tiny: float) -> float:
    return value if abs(value) > tiny else tiny
