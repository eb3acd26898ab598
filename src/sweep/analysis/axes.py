"""Axes: where a value of a parameter or of the objective stands, and what is written beside the axis.

Importance and every picture use these, so that "log where the parameter is log" is decided in one place. A position
is the value itself on a linear axis, log10 of it on a log axis, and the category's number on a categorical one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import msgspec

from sweep.analysis import text
from sweep.analysis.table import ABSENT
from sweep.core.domain import canonical
from sweep.core.space import Beta, Categorical, Normal, Numeric, Parameter

Scale = Literal["linear", "log", "category"]

_LARGEST = 1e300


class Tick(msgspec.Struct, frozen=True):
    position: float
    label: str


class Axis(msgspec.Struct, frozen=True, kw_only=True):
    """One axis; `low` and `high` are positions, with a small margin."""

    name: str
    scale: Scale
    low: float
    high: float
    integer: bool = False
    ordinal: bool = False
    """Categories that are numbers, in ascending order: they correlate as numbers do."""
    categories: tuple[str, ...] = ()
    index: dict[str, int] = {}
    beyond: int = 0
    """How many values lie outside the axis because they would flatten all others."""

    def title(self, width: int) -> str:
        """The name, shortened to `width` characters, and the scale where it is not the plain one."""
        return text.shorten(self.name, width) + (" (log scale)" if self.scale == "log" else "")

    @property
    def beyond_note(self) -> str:
        """A sentence about the values outside; empty without any."""
        if not self.beyond:
            return ""
        return f"{text.plural(self.beyond, 'trial')} much worse than the others {'is' if self.beyond == 1 else 'are'} drawn at the edge."

    @property
    def crowded(self) -> bool:
        """Whether the category labels do not fit side by side on a small picture."""
        return self.scale == "category" and sum(min(len(label), 18) + 2 for label in self.categories) > 32

    def position(self, value: Any) -> float:
        """NaN when the value has no place on this axis."""
        if self.scale == "category":
            return float(self.index.get(_key(value), math.nan))
        number = _number(value)
        if number is None:
            return math.nan
        if self.scale == "linear":
            return number
        return math.log10(number) if number > 0 else self.low

    def clip(self, position: float) -> float:
        return min(max(position, self.low), self.high)

    def ticks(self, most: int = 7) -> list[Tick]:
        """At most about so many round values, with labels."""
        if self.scale == "category":
            every = math.ceil(len(self.categories) / max(most, 12))
            return [Tick(float(i), label) for i, label in enumerate(self.categories) if i % every == 0]
        if self.scale == "log":
            return _log_ticks(self.low, self.high, most)
        return _linear_ticks(self.low, self.high, most, self.integer)


def parameter_axis(parameter: Parameter, values: Sequence[Any]) -> Axis:
    """The axis of a parameter: as wide as what was searched and what was seen."""
    dist = parameter.distribution
    numbers = [x for x in map(_number, values) if x is not None]
    if isinstance(dist, Numeric | Normal | Beta) and numbers:
        log = (isinstance(dist, Numeric) and dist.scale == "log") or (isinstance(dist, Normal) and dist.log)
        bounds = (dist.low, dist.high) if isinstance(dist, Numeric) else ()
        positive = [x for x in (*numbers, *bounds) if x > 0]
        if log and positive:
            return _span(parameter.name, "log", [math.log10(x) for x in positive], dist.integer)
        return _span(parameter.name, "linear", [*numbers, *bounds], dist.integer)
    offered = dist.values if isinstance(dist, Categorical) else ()
    return _categories(parameter.name, offered, values)


_TINY = 1e-300
"""Widths below this are none: their parts cannot be told apart as floats."""


def objective_axis(name: str, values: Iterable[float], minimize: bool, *, cut: bool = True) -> Axis:
    """The axis of the objective. Logarithmic when all values are positive and spread over a factor of 50. With `cut`,
    a few values so bad that they would flatten all others (beyond 4 times the span of the best 90 %) lie outside."""
    finite = sorted(_bounded(x) for x in values if math.isfinite(x))
    if not finite:
        return Axis(name=name, scale="linear", low=0.0, high=1.0)
    scale: Scale = "log" if finite[0] > 0 and finite[-1] / finite[0] >= 50 else "linear"
    places = [math.log10(x) for x in finite] if scale == "log" else finite
    kept = _without_tail(places, minimize) if cut else places
    axis = _span(name, scale, kept, False)
    return msgspec.structs.replace(axis, beyond=len(places) - len(kept))


def _without_tail(places: list[float], minimize: bool) -> list[float]:
    if len(places) < 10:
        return places
    ordered = places if minimize else places[::-1]
    good = ordered[: math.ceil(0.9 * len(ordered))]
    span = abs(good[-1] - good[0])
    if span == 0 or abs(ordered[-1] - good[0]) <= 4 * span:
        return places
    return sorted(x for x in ordered if abs(x - good[0]) <= 1.5 * span)


def _span(name: str, scale: Scale, places: Sequence[float], integer: bool) -> Axis:
    low, high = min(places), max(places)
    width = high - low
    if not width > 0:
        width = abs(low) * 0.1 if scale == "linear" else 1.0
    if width < _TINY:
        width = 1.0
    return Axis(name=name, scale=scale, low=low - 0.04 * width, high=high + 0.04 * width, integer=integer)


def _categories(name: str, offered: Iterable[Any], seen: Sequence[Any]) -> Axis:
    items: dict[str, Any] = {}
    for item in (*offered, *seen):
        items.setdefault(_key(item), item)
    ordinal = len(items) > 2 and all(_number(item) is not None for item in items.values())
    ordered = sorted(items.items(), key=lambda pair: pair[1]) if ordinal else list(items.items())
    return Axis(
        name=name,
        scale="category",
        low=-0.5,
        high=len(ordered) - 0.5,
        ordinal=ordinal,
        categories=tuple("(absent)" if item is ABSENT else text.value(item) for _, item in ordered),
        index={key: position for position, (key, _) in enumerate(ordered)},
    )


def _key(value: Any) -> str:
    return "(absent)" if value is ABSENT else canonical(value)


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return _bounded(number) if math.isfinite(number) else None


def _bounded(number: float) -> float:
    """Kept so far from the largest float that the difference of two such numbers is finite."""
    return min(max(number, -_LARGEST), _LARGEST)


def _linear_ticks(low: float, high: float, most: int, integer: bool) -> list[Tick]:
    raw = (high - low) / most
    if not (raw > 0 and math.isfinite(raw)):
        return [Tick(low, text.number(low))]
    power = 10.0 ** math.floor(math.log10(raw))
    factors = (1, 2, 5, 10) if integer else (1, 2, 2.5, 5, 10)
    step = next(factor * power for factor in factors if factor * power >= raw * 0.999)
    if integer:
        step = max(1.0, float(round(step)))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    if last - first > 4 * most:  # beyond the resolution of floats
        return [Tick(low, text.number(low))]
    return [Tick(i * step, text.number(float(f"{i * step:.10g}"), 6)) for i in range(first, last + 1)]


def _log_ticks(low: float, high: float, most: int) -> list[Tick]:
    decades = range(math.floor(low), math.ceil(high) + 1)
    if high - low >= 2:
        every = max(1, math.ceil((high - low) / most))
        return [Tick(float(d), _power(d)) for d in decades if low <= d <= high and d % every == 0]
    found = [
        Tick(d + math.log10(factor), text.number(float(f"{factor}e{d}")))
        for d in decades
        for factor in ((1, 2, 5) if high - low > 0.5 else range(1, 10))
        if low <= d + math.log10(factor) <= high
    ]
    if len(found) >= 2:
        return found
    return [Tick(place, text.number(10.0**place, 3)) for place in (low, (low + high) / 2, high)]


def _power(decade: int) -> str:
    return text.number(float(f"1e{decade}")) if -4 <= decade <= 4 else f"1e{decade}"
