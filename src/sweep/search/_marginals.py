"""Parzen estimators of each column by itself (Bergstra et al., NeurIPS 2011): the explorer of `blend`."""

from __future__ import annotations

import math

import numpy as np

from sweep.search._frame import INACTIVE, Array, Frame


class Marginals:
    """From a handful of the best rows, as wide as the distance to the next one: what is good on its own in combinations that
    nobody has tried. Built from rows (the best first) and how many of them are good."""

    def __init__(self, frame: Frame, rows: Array, good: int) -> None:
        self._frame = frame
        self._good, self._bad = rows[:good], rows[good:]

    def draw(self, rng: np.random.Generator, count: int) -> Array:
        """Rows with each column from its density of the good ones."""
        frame = self._frame
        out = frame.draw(rng, count)
        for j, column in enumerate(frame.columns):
            centres = self._good[self._good[:, j] != INACTIVE, j]
            if not len(centres):
                continue
            kernel = rng.integers(len(centres) + 1, size=count)
            inside = kernel < len(centres)
            chosen = np.minimum(kernel, len(centres) - 1)
            if column.choices:
                out[inside, j] = centres[chosen][inside]
            else:
                centres = np.sort(centres)
                moved = np.abs(centres[chosen] + _widths(centres)[chosen] * rng.standard_normal(count))
                out[inside, j] = (1.0 - np.abs(1.0 - moved % 2.0))[inside]
        return frame.snapped(out)

    def preference(self, rows: Array) -> Array:
        """Log of good density over bad density at canonical rows."""
        total = np.zeros(len(rows))
        for j in range(len(self._frame)):
            ratio = self._log_density(rows[:, j], self._good, j) - self._log_density(rows[:, j], self._bad, j)
            total += np.where(rows[:, j] != INACTIVE, ratio, 0.0)
        return total

    def _log_density(self, values: Array, rows: Array, j: int) -> Array:
        column = self._frame.columns[j]
        centres = rows[rows[:, j] != INACTIVE, j]
        if column.choices:
            same = (values[:, None] == centres[None, :]).sum(1)
            result: Array = np.log((same + 1.0 / column.choices) / (len(centres) + 1.0) * column.choices)
            return result
        centres = np.sort(centres)
        width = _widths(centres)[None, :]
        density = np.zeros((len(values), len(centres)))
        for image in (centres, -centres, 2.0 - centres):
            density += np.exp(-0.5 * ((values[:, None] - image) / width) ** 2)
        density /= width * math.sqrt(2.0 * math.pi)
        return np.asarray(np.log((density.sum(1) + 1.0) / (len(centres) + 1.0)))


def _widths(centres: Array) -> Array:
    """For sorted centres in [0, 1] the larger distance to a neighbour or a bound, within limits."""
    gaps = np.diff(np.concatenate([[0.0], centres, [1.0]]))
    widest: Array = np.clip(np.maximum(gaps[:-1], gaps[1:]), 1.0 / min(100, 1 + len(centres)), 1.0)
    return widest
