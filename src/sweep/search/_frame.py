"""The space as our own models see it: a table with one column per parameter that can vary.

The rule of this file: a row holds a number for every column, also for the inactive ones, which is ignored there. A numeric
column holds the quantile in [0, 1] (of an evenly spaced one the middle of the step), a choice its index. What a model is
given are rows in which every inactive cell has one value of its own, so that rows which mean the same config are equal.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

INACTIVE = -1.0
"""What an inactive cell holds in rows for a model."""


class Column(NamedTuple):
    """One parameter. `choices` is 0 for a number; `levels` are the sorted places of a number that has few values."""

    choices: int = 0
    levels: Array | None = None
    weights: Array | None = None
    """Probabilities of the choices; None: equal ones."""
    when: tuple[tuple[int, frozenset[int]], ...] = ()
    """Active only while each of these earlier columns is active and holds one of these choices."""


class Frame:
    """The columns, and what can be done with rows of them. A parent's column stands before its children's."""

    def __init__(self, columns: list[Column], activity: Callable[[Array], Mask] | None = None) -> None:
        """`activity`: which cells of rows are active, where that is not told by `Column.when`."""
        self.columns, self._activity = columns, activity
        self.choices = np.array([column.choices for column in columns], dtype=np.int64)
        self.is_choice: Mask = self.choices > 0
        self.conditional = activity is not None or any(column.when for column in columns)

    def __len__(self) -> int:
        return len(self.columns)

    def draw(self, rng: np.random.Generator, count: int) -> Array:
        """`count` rows by the parameters' own distributions, active and inactive cells alike."""
        return self.at(rng.random((count, len(self))))

    def at(self, units: Array) -> Array:
        """The rows at uniform numbers in [0, 1)."""
        rows = np.empty_like(units)
        for j, column in enumerate(self.columns):
            if not column.choices:
                rows[:, j] = _snapped(column, units[:, j])
            elif column.weights is None:
                rows[:, j] = np.minimum(np.floor(units[:, j] * column.choices), column.choices - 1)
            else:
                ends = np.cumsum(column.weights) / np.sum(column.weights)
                rows[:, j] = np.minimum(np.searchsorted(ends, units[:, j], side="right"), column.choices - 1)
        return rows

    def active(self, rows: Array) -> Mask:
        """Which cells are active."""
        if self._activity is not None:
            return self._activity(rows)
        mask = np.ones(rows.shape, dtype=bool)
        if self.conditional:
            for j, column in enumerate(self.columns):
                for parent, wanted in column.when:
                    mask[:, j] &= mask[:, parent] & np.isin(rows[:, parent], sorted(wanted))
        return mask

    def canonical(self, rows: Array) -> Array:
        """The rows with `INACTIVE` in every inactive cell."""
        return np.where(self.active(rows), rows, INACTIVE) if self.conditional else rows

    def filled(self, rng: np.random.Generator, rows: Array) -> Array:
        """Canonical rows with random values in their inactive cells, from where a search can go on."""
        holes = rows == INACTIVE
        return np.where(holes, self.draw(rng, len(rows)), rows) if holes.any() else rows

    def snapped(self, rows: Array) -> Array:
        """The rows with every number on the nearest of its levels."""
        out = rows.copy()
        for j, column in enumerate(self.columns):
            if column.levels is not None:
                out[:, j] = _snapped(column, rows[:, j])
        return out

    def mutated(self, rng: np.random.Generator, rows: Array, scale: float, share: float) -> Array:
        """Each row with about `share` of its active cells changed, at least one: numbers moved by normal steps of `scale`
        (reflected at the bounds), choices drawn anew."""
        count, width = rows.shape
        chosen = rng.random((count, width)) < share
        active = self.active(rows)
        chosen[np.arange(count), np.argmax(rng.random((count, width)) * active, axis=1)] = True
        moved = np.abs(rows + scale * rng.standard_normal((count, width)))
        moved = 1.0 - np.abs(1.0 - moved % 2.0)
        drawn = self.draw(rng, count)
        out = rows.copy()
        for j, column in enumerate(self.columns):
            new = drawn[:, j] if column.choices else _stepped(column, rows[:, j], moved[:, j])
            out[:, j] = np.where(chosen[:, j], new, rows[:, j])
        return out

    def distances(self, rows: Array, others: Array) -> Array:
        """The largest difference in any column between each of `rows` and each of `others` (both canonical);
        another choice counts as one, and so does active against inactive."""
        worst = np.zeros((len(rows), len(others)))
        for j in range(len(self)):
            ours, theirs = rows[:, j, None], others[None, :, j]
            if self.is_choice[j]:
                gap = (ours != theirs).astype(np.float64)
            else:
                gap = np.minimum(np.abs(ours - theirs), 1.0)
            np.maximum(worst, gap, out=worst)
        return worst


def _snapped(column: Column, places: Array) -> Array:
    """The nearest levels."""
    levels = column.levels
    if levels is None:
        return places
    right = np.clip(np.searchsorted(levels, places), 1, len(levels) - 1)
    left = right - 1
    return np.where(places - levels[left] <= levels[right] - places, levels[left], levels[right])


def _stepped(column: Column, old: Array, new: Array) -> Array:
    """`new` on the nearest levels, at least one level away from `old`: a step that rounds to nothing is none."""
    levels = column.levels
    if levels is None:
        return new
    snapped = _snapped(column, new)
    index = np.searchsorted(levels, old - 1e-12)
    beside = np.where(new >= old, index + 1, index - 1)
    beside = np.where(beside < 0, 1, np.where(beside >= len(levels), len(levels) - 2, beside))
    return np.where(np.abs(snapped - old) < 1e-9, levels[np.clip(beside, 0, len(levels) - 1)], snapped)
