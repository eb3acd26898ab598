"""Which axes count, for many points at once: what a model with numpy asks of `Axes`.

The rule of this file: the answer is that of `Axes.active`, point by point. What a parent's coordinate must be is worked out
once: a set of coordinates for steps and choices, stretches of [0, 1] for numbers that stand at their quantile.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from sweep.core import domain
from sweep.search._axes import Axes, Axis

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_HALVINGS = 60


class _Need(NamedTuple):
    parent: int
    """The parent's axis."""
    coordinates: list[float]
    stretches: list[tuple[float, float]]
    """Each from its first number to the one before which it ends."""


class Activity:
    """The conditions of a space in terms of coordinates."""

    def __init__(self, axes: Axes) -> None:
        self._needs = [
            (
                number,
                [_need(axes.axes[parent], parent, values) for parent, values in axes.requirements(number)],
            )
            for number in axes.order
        ]

    def mask(self, points: NDArray[np.float64]) -> NDArray[np.bool_]:
        """`points`: one a row, a column for each axis. True where the axis' parameter is active."""
        import numpy as np

        found = np.ones(points.shape, dtype=np.bool_)
        for number, needs in self._needs:
            for need in needs:
                column = points[:, need.parent]
                holds = np.isin(column, need.coordinates)
                for start, end in need.stretches:
                    holds |= (column >= start) & (column < end)
                found[:, number] &= found[:, need.parent] & holds
        return found


def _need(axis: Axis, parent: int, values: tuple[Any, ...]) -> _Need:
    coordinates, stretches = [], []
    for value in values:
        if not domain.contains(axis.parameter.distribution, value):
            continue
        if axis.by_quantile:
            stretches.append(_stretch(axis, value))
        else:
            coordinates.append(float(axis.encode(value)))
    return _Need(parent, coordinates, stretches)


def _stretch(axis: Axis, value: Any) -> tuple[float, float]:
    """Where in [0, 1] the axis stands for `value`: its numbers only grow with the quantile."""
    return _first(axis, value, beyond=False), _first(axis, value, beyond=True)


def _first(axis: Axis, value: Any, *, beyond: bool) -> float:
    """The first quantile with this value, or with one beyond it; past the end when there is none."""
    low, high = 0.0, 1.0
    if _reaches(axis, value, low, beyond):
        return 0.0
    if not _reaches(axis, value, high, beyond):
        return 2.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if _reaches(axis, value, middle, beyond) else (middle, high)
    return high


def _reaches(axis: Axis, value: Any, quantile: float, beyond: bool) -> bool:
    found = axis.decode(quantile)
    return bool(found > value if beyond else found >= value)
