"""The space as a model sees it: one sensible axis per parameter that can vary, and the way to it and back.

The rule of this file: an axis holds plain floats and ints only. Numbers keep their own scale where a model can use it
(linear or log, in steps where the steps are even); everything else (normal, beta, quantised log) stands at its quantile
in [0, 1]; a choice stands as its index.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from sweep.core import domain
from sweep.core.conditions import INACTIVE, compiled
from sweep.core.constraints import constraints_of
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

    @property
    def rest(self) -> float | int:
        """Where the axis stands while its parameter is inactive: the middle, or the first choice."""
        if self.kind == "choice":
            return 0
        if self.log:
            return self._middle(math.sqrt(self.low * self.high))
        return self._middle((self.low + self.high) / 2)

    def _middle(self, x: float) -> float | int:
        return round(x) if self.kind == "int" else x

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
    """The axes of a space; parameters that can take one value only are left out.

    A point has a coordinate for every axis, also for those of parameters that are inactive there: `active(point)` tells
    which count. Whatever a model puts on an inactive axis is ignored by `decode`; `encode` puts `Axis.rest` there, and
    `settled` makes any point such a one, so that equal configs are equal points.
    """

    def __init__(self, space: Space, *, quantiles: bool = False) -> None:
        """`quantiles`: put every number at its quantile."""
        self.space = space
        self.axes: list[Axis] = []
        self._fixed: list[Any] = []
        self._positions: list[int | None] = []
        self._conditions = compiled(space)
        self._constraints = constraints_of(space)
        self._position_of = {parameter.path: number for number, parameter in enumerate(space.parameters)}
        for parameter in space.parameters:
            values = domain.support(parameter.distribution)
            if values is not None and count(values) == 1:
                self._fixed.append(values[0])
                self._positions.append(None)
                continue
            self._positions.append(len(self.axes))
            self._fixed.append(None)
            self.axes.append(_axis(parameter, quantiles))

    @property
    def conditional(self) -> bool:
        """Whether any parameter can be inactive."""
        return self._conditions is not None

    @property
    def order(self) -> list[int]:
        """The axes' numbers, those that others depend on first."""
        if self._conditions is None:
            return list(range(len(self.axes)))
        placed = (self._positions[position] for position in self._conditions.order)
        return [axis for axis in placed if axis is not None]

    def requirements(self, number: int) -> list[tuple[int, tuple[Any, ...]]]:
        """What must hold for axis `number` to be active: the axis of each parameter that it depends on, which must be active
        itself, and the values that one may have there. Parameters with one value only are no axes: what they depend on is
        said instead."""
        position = self._positions.index(number)
        found, waiting = [], [position]
        while waiting and self._conditions is not None:
            for condition in self.space.parameters[waiting.pop()].when:
                parent = self._position_of[condition.path]
                axis = self._positions[parent]
                if axis is None:
                    waiting.append(parent)
                else:
                    found.append((axis, condition.values))
        return found

    def active(self, point: Sequence[float | int]) -> list[bool]:
        """For each axis whether its parameter is active at `point`."""
        if self._conditions is None:
            return [True] * len(self.axes)
        found = self._conditions.active(self._decoded(point))
        return [
            is_active
            for is_active, position in zip(found, self._positions, strict=True)
            if position is not None
        ]

    def settled(self, point: Sequence[float | int]) -> list[float | int]:
        """`point` with `Axis.rest` on every inactive axis."""
        return [
            coordinate if is_active else axis.rest
            for coordinate, is_active, axis in zip(point, self.active(point), self.axes, strict=True)
        ]

    def encode(self, config: Config) -> list[float | int] | None:
        """The point of `config`; None when it does not belong here (it lacks a parameter that a new revision of the
        spec has, has a choice that was taken away, or is refused by a new constraint)."""
        point = [axis.rest for axis in self.axes]
        values = list(self._fixed)
        conditions = self._conditions
        try:
            for place in range(len(values)) if conditions is None else conditions.order:
                number = self._positions[place]
                if conditions is not None and not conditions.holds(place, values):
                    values[place] = INACTIVE
                elif number is not None:
                    values[place] = domain.value_at(config, self.axes[number].parameter.path)
                    point[number] = self.axes[number].encode(values[place])
        except (KeyError, ValueError):
            return None
        return point if self._constraints is None or self._constraints.allow(values) else None

    def decode(self, point: Sequence[float | int]) -> Config:
        """The config at `point`."""
        return domain.assemble(self.space, self._decoded(point))

    def _decoded(self, point: Sequence[float | int]) -> list[Any]:
        return [
            fixed if position is None else self.axes[position].decode(point[position])
            for position, fixed in zip(self._positions, self._fixed, strict=True)
        ]


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
