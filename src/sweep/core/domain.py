"""Functions on the space: from a uniform number to a value and back, enumeration, nesting.

The rule of this file: every function is pure and total on what `sweep.spec` lets through, and gives plain
Python values that share nothing mutable with the spec.
"""

from __future__ import annotations

import bisect
import itertools
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import msgspec

from sweep.core.conditions import INACTIVE, Points, active_under, compiled
from sweep.core.constraints import constraints_of
from sweep.core.equality import canonical as canonical
from sweep.core.multiples import Steps, is_finite, is_multiple, multiples, round_to, steps_from
from sweep.core.space import Beta, Categorical, Config, Constant, Distribution, Normal, Numeric, Space

# Inverse normal CDFs are taken at u in [2**-53, 1 - 2**-53]: within 8.3 sigma, and never infinite.
_TINY = 2.0**-53
_MAX_EXPONENT = 709.0
# Multiples beyond this are not told apart by floats.
_TOO_MANY = 2.0**53
_MIN_POSITIVE = 5e-324
MOST_COUNTED = 100_000
"""Steps that counting the configs under constraints may take."""


# --- between the unit interval and values ----------------------------------------------------------------------


def from_unit(dist: Distribution, u: float) -> Any:
    """The value at quantile `u` in [0, 1] (both ends allowed): the inverse of the distribution's CDF, then rounded to a
    multiple of q and clipped to the last multiple inside the bounds. Monotone in u for numbers; for categorical
    values u runs through them in their order, each as wide as its probability. Beta needs scipy.
    """
    if isinstance(dist, Numeric):
        return _numeric_from_unit(dist, u)
    if isinstance(dist, Categorical):
        return copied(_choices(dist).at(u))
    if isinstance(dist, Normal):
        return _normal_from_unit(dist, u)
    if isinstance(dist, Beta):
        return _beta_from_unit(dist, u)
    return copied(dist.value)


def to_unit(dist: Distribution, value: Any) -> float:
    """A `u` in [0, 1] with `from_unit(dist, u) == value`; numbers outside the bounds give the nearest end, and a
    constant gives 0.5. Raises ValueError when `value` is no number (or none of the categorical values)."""
    if isinstance(dist, Constant):
        return 0.5
    if isinstance(dist, Categorical):
        return _choices(dist).middle(value)
    number = _number(value)
    if isinstance(dist, Numeric):
        return _numeric_to_unit(dist, number)
    if isinstance(dist, Normal):
        return _normal_to_unit(dist, number)
    return _beta_cdf(dist, min(max(number, 0.0), 1.0))


def contains(dist: Distribution, value: Any) -> bool:
    """Whether sampling or a grid over `dist` can give `value` (3 and 3.0 are the same, 1 and True are not)."""
    if isinstance(dist, Constant):
        return canonical(value) == canonical(dist.value)
    if isinstance(dist, Categorical):
        return _choices(dist).index(value) is not None
    if not is_finite(value):
        return False
    if dist.integer and value != math.floor(value):
        return False
    if isinstance(dist, Normal):
        return is_multiple(value, dist.q) and (
            not dist.log or value > 0 or (dist.q is not None and value == 0)
        )
    steps = _steps(dist)
    if steps is not None and value in steps:
        return True
    if isinstance(dist, Numeric) and dist.q is not None and dist.scale == "linear":
        return value in _grid_steps(dist)
    low, high = (dist.low, dist.high) if isinstance(dist, Numeric) else (0.0, 1.0)
    return steps is None and low <= value <= high


def _numeric_from_unit(dist: Numeric, u: float) -> Any:
    steps = _steps(dist)
    if steps is not None and dist.q is None and dist.scale == "linear":  # integers, all equally likely
        return steps[min(int(u * steps.count_all), steps.count_all - 1)]
    if dist.scale == "log":
        low, high = math.log(dist.low), math.log(dist.high)
        x = math.exp(min(low + u * (high - low), _MAX_EXPONENT))
    else:
        x = dist.low * (1.0 - u) + dist.high * u
    x = min(max(x, float(dist.low)), float(dist.high))
    return x if steps is None else steps.nearest(x)


def _numeric_to_unit(dist: Numeric, value: float) -> float:
    steps = _steps(dist)
    if steps is not None and dist.q is None and dist.scale == "linear":
        return min(max((value - float(steps[0]) + 0.5) / steps.count_all, 0.0), 1.0)
    if dist.high <= dist.low:
        return 0.5
    value = min(max(value, dist.low), dist.high)
    if dist.scale == "log":
        low, high = math.log(dist.low), math.log(dist.high)
        return min(max((math.log(value) - low) / (high - low), 0.0), 1.0)
    return min(max((value - dist.low) / (dist.high - dist.low), 0.0), 1.0)


def _normal_from_unit(dist: Normal, u: float) -> Any:
    x = dist.mu + dist.sigma * _normal().inv_cdf(min(max(u, _TINY), 1.0 - _TINY))
    if dist.log:
        x = max(math.exp(min(x, _MAX_EXPONENT)), _MIN_POSITIVE)
    return round_to(x, dist.q, dist.integer)


def _normal_to_unit(dist: Normal, value: float) -> float:
    if dist.log:
        value = math.log(max(value, _MIN_POSITIVE))
    if dist.sigma <= 0:
        return 0.5
    return float(_normal().cdf((value - dist.mu) / dist.sigma))


@lru_cache(maxsize=1)
def _normal() -> Any:
    from statistics import NormalDist  # costs some milliseconds, and few spaces have a normal parameter

    return NormalDist()


def _beta_from_unit(dist: Beta, u: float) -> Any:
    from scipy.special import betaincinv

    x = float(betaincinv(dist.a, dist.b, min(max(u, 0.0), 1.0)))
    x = 0.5 if math.isnan(x) else min(max(x, 0.0), 1.0)
    steps = _steps(dist)
    return x if steps is None else steps.nearest(x)


def _beta_cdf(dist: Beta, x: float) -> float:
    from scipy.special import betainc

    u = float(betainc(dist.a, dist.b, x))
    return 0.5 if math.isnan(u) else min(max(u, 0.0), 1.0)


# --- enumeration -----------------------------------------------------------------------------------------------


def grid_values(dist: Distribution) -> Sequence[Any]:
    """The values of `dist` in a grid, as a lazy sequence: int_uniform inclusively, q_uniform from its min in steps of
    q below its max, other quantised ones by the multiples of q that sampling can give, categorical ones merged, in their order.

    Raises ValueError for a distribution with infinitely many values.
    """
    if isinstance(dist, Categorical):
        return _choices(dist).values
    if isinstance(dist, Numeric) and dist.q is not None and dist.scale == "linear":
        return _grid_steps(dist)
    values = support(dist)
    if values is None:
        raise ValueError("a continuous distribution has no grid; give it a step with a q_ distribution")
    return values


def support(dist: Distribution) -> Sequence[Any] | None:
    """All values that sampling can give, in order, as a lazy sequence; None when there are infinitely many."""
    if isinstance(dist, Constant):
        return (dist.value,)
    if isinstance(dist, Categorical):
        return _choices(dist).likely
    if isinstance(dist, Normal):
        return _normal_support(dist)
    steps = _steps(dist)
    if steps is None and isinstance(dist, Numeric) and dist.low == dist.high:
        return (float(dist.low),)
    return steps


def _normal_support(dist: Normal) -> Sequence[Any] | None:
    """The multiples of q within 8.2 sigma, where all that can be drawn lies."""
    low, high = from_unit(dist, 0.0), from_unit(dist, 1.0)
    if low == high:
        return (low,)
    q = dist.q if dist.q is not None else (1.0 if dist.integer else None)
    if q is None or max(abs(low), abs(high)) / q >= _TOO_MANY:
        return None
    return multiples(float(low), float(high), q, dist.integer)


def size(space: Space) -> int | None:
    """How many distinct configs sampling can give; None: infinitely many, or too many to count those that the constraints
    allow."""
    choices = _supports(space)
    return None if choices is None else _allowed_size(space, choices, "drawn")


def points(space: Space) -> Points | None:
    """All distinct configs that sampling can give, and those that constraints refuse, numbered: the first parameter of the
    file varies fastest. None when there are infinitely many."""
    choices = _supports(space)
    return None if choices is None else Points(space, choices, range(len(choices) - 1, -1, -1))


def _supports(space: Space) -> list[Sequence[Any]] | None:
    choices = [support(parameter.distribution) for parameter in space.parameters]
    known = [values for values in choices if values is not None]
    return known if len(known) == len(choices) else None


def grid_size(space: Space) -> int | None:
    """How many points a grid over the space has; None when a parameter has no grid, or when there are too many to count
    those that the constraints allow."""
    try:
        return _allowed_size(space, _grid_choices(space), "grid")
    except ValueError:
        return None


# Listings ask again and again how large a sweep is, each time about a spec that was just read.
_COUNTED: dict[tuple[str, bytes], int | None] = {}


def _allowed_size(space: Space, choices: Sequence[Sequence[Any]], kind: str) -> int | None:
    constraints = constraints_of(space)
    if constraints is None:
        return Points(space, choices, range(len(choices))).size
    key = (kind, msgspec.msgpack.encode(space))
    if key not in _COUNTED:
        named = set().union(*(constraint.positions for constraint in constraints.each))
        first = sorted(range(len(choices)), key=lambda position: position not in named)
        counted = constraints.count(Points(space, choices, first), MOST_COUNTED)
        if len(_COUNTED) >= 64:
            _COUNTED.clear()
        _COUNTED[key] = counted
    return _COUNTED[key]


def allows(space: Space, config: Config) -> bool:
    """Whether `config`, which has a value for every active parameter, satisfies the constraints."""
    constraints = constraints_of(space)
    return constraints is None or constraints.allow(values_of(space, config))


def allowed(space: Space, numbered: Points) -> Iterator[Config]:
    """The configs at these points that satisfy the constraints, in order."""
    number = 0
    while number < numbered.size:
        found = allowed_at(space, numbered, number)
        if isinstance(found, int):
            number = found
        else:
            number += 1
            yield found


def allowed_at(space: Space, numbered: Points, number: int) -> Config | int:
    """The config at a point, or, when the constraints refuse it, the next number that may be allowed."""
    constraints = constraints_of(space)
    refused = None if constraints is None else constraints.refused_until(numbered, number)
    return assemble(space, numbered.values(number)) if refused is None else refused


def grid_points(space: Space) -> Points:
    """All points of a grid, and those that constraints refuse, numbered: names sorted, the last one varies fastest; a
    conditional parameter comes right after those that it depends on. Raises ValueError (with the parameter's name) when a
    parameter has no grid."""
    names = [parameter.name for parameter in space.parameters]
    return Points(
        space, _grid_choices(space), sorted(range(len(names)), key=lambda position: names[position])
    )


def _grid_choices(space: Space) -> list[Sequence[Any]]:
    choices = []
    for parameter in space.parameters:
        try:
            choices.append(grid_values(parameter.distribution))
        except ValueError as error:
            raise ValueError(f"parameters.{parameter.name}: {error}") from None
    return choices


# --- nesting ---------------------------------------------------------------------------------------------------


def assemble(space: Space, values: Sequence[Any]) -> Config:
    """The nested config that has `values[i]` at the path of `space.parameters[i]`; lists and maps are copied. Parameters
    that these values make inactive are left out, whatever stands in their place."""
    config: Config = {}
    active = active_under(space, values)
    for position, (parameter, value) in enumerate(zip(space.parameters, values, strict=True)):
        if not active[position]:
            continue
        level = config
        for key in parameter.path[:-1]:
            level = level.setdefault(key, {})
        level[parameter.path[-1]] = copied(value)
    return config


def value_at(config: Config, path: Sequence[str]) -> Any:
    """The value at a path of the nested config. Raises KeyError (with the dotted path) when there is none."""
    level: Any = config
    for key in path:
        if not isinstance(level, Mapping) or key not in level:
            raise KeyError(".".join(path))
        level = level[key]
    return level


def values_of(space: Space, config: Config) -> list[Any]:
    """What `assemble` makes this config of: one value per parameter, INACTIVE for one that is inactive in it. Raises KeyError
    (with the dotted name) when a parameter that is active has no value."""
    conditions = compiled(space)
    if conditions is None:
        return [value_at(config, parameter.path) for parameter in space.parameters]
    values: list[Any] = [INACTIVE] * len(space.parameters)
    for position in conditions.order:
        if conditions.holds(position, values):
            values[position] = value_at(config, space.parameters[position].path)
    return values


def belongs(space: Space, config: Config) -> bool:
    """Whether every parameter that is active in `config` has a possible value there, and the constraints hold. What else stands in it does not
    matter: it may come from an earlier revision of the spec."""
    try:
        values = values_of(space, config)
    except KeyError:
        return False
    pairs = zip(space.parameters, values, strict=True)
    if not all(value is INACTIVE or contains(parameter.distribution, value) for parameter, value in pairs):
        return False
    return allows(space, config)


def as_declared(dist: Distribution, value: Any) -> Any:
    """A possible value in the form that a search gives it: 3 as 3.0 on a continuous axis, one that equals a choice as that."""
    if isinstance(dist, Constant):
        return copied(dist.value)
    if isinstance(dist, Categorical):
        index = _choices(dist).index(value)
        return copied(value if index is None else _choices(dist).values[index])
    return int(value) if dist.integer else float(value)


def copied(value: Any) -> Any:
    """Plain data that shares nothing mutable with the spec."""
    if isinstance(value, Mapping):
        return {key: copied(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [copied(item) for item in value]
    return value


def _steps(dist: Numeric | Beta) -> Steps | None:
    """The multiples of q (of 1 for integers) inside the bounds; None for a continuous distribution."""
    q = dist.q if dist.q is not None else (1.0 if dist.integer else None)
    if q is None:
        return None
    low, high = (dist.low, dist.high) if isinstance(dist, Numeric) else (0.0, 1.0)
    return multiples(float(low), float(high), float(q), dist.integer)


def _grid_steps(dist: Numeric) -> Steps:
    return steps_from(float(dist.low), float(dist.high), float(dist.q or 1.0), dist.integer)


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        raise ValueError(f"{value!r} is not a number")
    return float(min(max(value, -sys.float_info.max), sys.float_info.max))


# --- categorical values ----------------------------------------------------------------------------------------


class _Choices:
    """Distinct values of a Categorical with the summed probabilities of equal ones."""

    def __init__(self, dist: Categorical) -> None:
        weights = dist.probabilities or (1.0,) * len(dist.values)
        merged: dict[str, list[Any]] = {}
        for value, weight in zip(dist.values, weights, strict=True):
            merged.setdefault(canonical(value), [value, 0.0])[1] += max(float(weight), 0.0)
        if not any(weight > 0 for _, weight in merged.values()):
            merged = {key: [value, 1.0] for key, (value, _) in merged.items()}
        self._position = {key: index for index, key in enumerate(merged)}
        self.values = tuple(value for value, _ in merged.values())
        weighted = [float(weight) for _, weight in merged.values()]
        self.likely = tuple(v for v, weight in zip(self.values, weighted, strict=True) if weight > 0)
        total = math.fsum(weighted)
        self._ends = [end / total for end in itertools.accumulate(weighted)]
        self._last = max(index for index, weight in enumerate(weighted) if weight > 0)

    def at(self, u: float) -> Any:
        return self.values[min(bisect.bisect_right(self._ends, u), self._last)]

    def index(self, value: Any) -> int | None:
        return self._position.get(canonical(value))

    def middle(self, value: Any) -> float:
        index = self.index(value)
        if index is None:
            raise ValueError(f"{value!r} is none of the values")
        start = self._ends[index - 1] if index else 0.0
        return min((start + self._ends[index]) / 2, 1.0)


# Distributions with lists as values cannot be hashed, so the cache goes by identity; it holds the distribution, too, so
# that the identity stays taken.
_CHOICES: dict[int, tuple[Categorical, _Choices]] = {}


def _choices(dist: Categorical) -> _Choices:
    found = _CHOICES.get(id(dist))
    if found is not None and found[0] is dist:
        return found[1]
    if len(_CHOICES) >= 1024:
        _CHOICES.clear()
    made = _Choices(dist)
    _CHOICES[id(dist)] = (dist, made)
    return made
