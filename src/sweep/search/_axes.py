"""The space as a model sees it: one sensible axis per parameter that can vary, and the way to it and back.

The rule of this file: an axis holds plain floats and ints only. Numbers keep their own scale where a model can use it
(linear or log, in steps where the steps are even); everything else (normal, beta, quantised log) stands at its quantile
in [0, 1]; a choice stands as its index.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from sweep.core import domain
from sweep.core.multiples import Steps, count
from sweep.core.space import Categorical, Config, Constant, Distribution, Numeric, Parameter, Space

Kind = Literal["float", "int", "choice"]
# Integers from here on are not exact as floats, which models compute with.
_EXACT = 2**53


class Axis(msgspec.Struct, frozen=True):
    """One parameter as a model sees it: a number in [low, high], or an index in 0 … high for a choice."""

    parameter: Parameter
    kind: Kind
    low: float
    high: float
    log: bool = False
    by_index: bool = False
    """A number that stands as its index among the multiples of q."""
    by_quantile: bool = False

    def encode(self, value: Any) -> float | int:
        """Where `value` stands. Raises ValueError for what is no value of the parameter, and for a number outside its bounds
        (of an earlier revision of the spec): moved to the nearest bound, it would tell a model of a result that nobody had.
        A number between two steps counts as the nearest one."""
        dist = self.parameter.distribution
        if self.kind == "choice":
            key = domain.canonical(value)
            for index, choice in enumerate(_values(dist)):
                if domain.canonical(choice) == key:
                    return index
            raise ValueError(f"{value!r} is none of the values of {self.parameter.name}")
        if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
            raise ValueError(f"{value!r} is not a number, as {self.parameter.name} needs")
        if isinstance(dist, Numeric) and not dist.low <= value <= dist.high:
            raise ValueError(f"{value!r} is outside the bounds of {self.parameter.name}")
        if self.by_quantile:
            return domain.to_unit(dist, value)
        if self.by_index:
            steps = _values(dist)
            assert isinstance(steps, Steps)
            return steps.index_near(min(max(value, steps[0]), steps[-1]))
        clipped = min(max(value, self.low), self.high)
        return round(clipped) if self.kind == "int" else float(clipped)

    def decode(self, point: float | int) -> Any:
        """The value at `point`, in bounds whatever rounding a model has done."""
        dist = self.parameter.distribution
        if self.by_quantile:
            return domain.from_unit(dist, min(max(float(point), 0.0), 1.0))
        if self.kind == "float":
            return min(max(float(point), self.low), self.high)
        index = int(min(max(point, self.low), self.high))
        return _values(dist)[index] if self.kind == "choice" or self.by_index else index

    def neighbours(self, point: float | int) -> Sequence[float | int]:
        """Points one step away; every other one of a choice; none on a continuous axis."""
        if self.kind == "choice":
            return [index for index in range(int(self.high) + 1) if index != point]
        if self.kind == "int":
            return [step for step in (int(point) + 1, int(point) - 1) if self.low <= step <= self.high]
        return []


class Axes:
    """The axes of a space; parameters that can take one value only are left out."""

    def __init__(self, space: Space, *, quantiles: bool = False) -> None:
        """`quantiles`: put every number at its quantile."""
        self.space = space
        self.axes: list[Axis] = []
        self._fixed: list[Any] = []
        self._positions: list[int | None] = []
        for parameter in space.parameters:
            values = domain.support(parameter.distribution)
            if values is not None and count(values) == 1:
                self._fixed.append(values[0])
                self._positions.append(None)
                continue
            self._positions.append(len(self.axes))
            self._fixed.append(None)
            self.axes.append(_axis(parameter, quantiles))

    def encode(self, config: Config) -> list[float | int] | None:
        """The point of `config`; None when it does not belong here (it lacks a parameter that a new revision of the
        spec has, or has a choice that was taken away)."""
        try:
            return [axis.encode(domain.value_at(config, axis.parameter.path)) for axis in self.axes]
        except (KeyError, ValueError):
            return None

    def decode(self, point: Sequence[float | int]) -> Config:
        """The config at `point`."""
        values = [
            fixed if position is None else self.axes[position].decode(point[position])
            for position, fixed in zip(self._positions, self._fixed, strict=True)
        ]
        return domain.assemble(self.space, values)


def _values(dist: Distribution) -> Sequence[Any]:
    values = domain.support(dist)
    assert values is not None
    return values


def _axis(parameter: Parameter, quantiles: bool) -> Axis:
    dist = parameter.distribution
    assert not isinstance(dist, Constant)
    if isinstance(dist, Categorical):
        return Axis(parameter, "choice", 0, len(_values(dist)) - 1)
    if quantiles or not isinstance(dist, Numeric):
        return Axis(parameter, "float", 0.0, 1.0, by_quantile=True)
    steps = domain.support(dist)
    if steps is None:
        return Axis(parameter, "float", float(dist.low), float(dist.high), log=dist.scale == "log")
    if count(steps) >= _EXACT or (dist.q is not None and dist.scale == "log"):
        return Axis(parameter, "float", 0.0, 1.0, by_quantile=True)
    if dist.q is not None or max(abs(steps[0]), abs(steps[-1])) >= _EXACT:
        return Axis(parameter, "int", 0, count(steps) - 1, by_index=True)
    return Axis(parameter, "int", steps[0], steps[-1], log=dist.scale == "log")
