"""A tree-structured Parzen estimator over rows of a frame (Bergstra et al., NeurIPS 2011), multivariate.

The rule of this file: each scored row is one kernel over all columns that are active in it, and one more kernel is the space's
own distribution. A choice of a branch is drawn with the kernel, and what is active below it comes from the same row.
"""

from __future__ import annotations

import math

import numpy as np

from sweep.search._frame import INACTIVE, Array, Frame

DRAWS = 64
FEW_DRAWS = 24
"""Of which the marginals choose: few, so that they explore."""
SHARE = 0.15
STAY = 0.8
"""Weight of a kernel's own choice; the rest is shared by all."""


class Parzen:
    """Built from rows (the best first) and how many of them are good."""

    def __init__(self, frame: Frame, rows: Array, good: int) -> None:
        self._frame = frame
        self._good, self._bad = rows[:good], rows[good:]

    def draw(self, rng: np.random.Generator, count: int) -> Array:
        """Rows from the density of the good ones."""
        frame = self._frame
        out = frame.draw(rng, count)
        kernel = rng.integers(len(self._good) + 1, size=count)
        inside = kernel < len(self._good)
        centres = self._good[np.minimum(kernel, len(self._good) - 1)]
        width = self._width(len(self._good))
        moved = np.abs(centres + width * rng.standard_normal(out.shape))
        moved = frame.snapped(1.0 - np.abs(1.0 - moved % 2.0))
        stay = rng.random(out.shape) < STAY
        from_kernel = np.where(frame.is_choice, np.where(stay, centres, out), moved)
        use = inside[:, None] & (centres != INACTIVE)
        return np.where(use, from_kernel, out)

    def preference(self, rows: Array) -> Array:
        """Log of good density over bad density at canonical rows."""
        return self._log_density(rows, self._good) - self._log_density(rows, self._bad)

    def _width(self, count: int) -> float:
        active = max(1.0, float((self._good != INACTIVE).sum(1).mean()))
        return max(0.25 * math.pow(max(count, 1), -1.0 / (active + 4.0)), 0.03)

    def _log_density(self, rows: Array, centres: Array) -> Array:
        """Of the mixture of the kernels and the flat one."""
        total = np.zeros((len(rows), len(centres) + 1))
        width = self._width(len(centres))
        norm = 1.0 / (width * np.sqrt(2.0 * np.pi))
        for j, column in enumerate(self._frame.columns):
            ours, theirs = rows[:, j, None], centres[None, :, j]
            both = (ours != INACTIVE) & (theirs != INACTIVE)
            if column.choices:
                density = (1.0 - STAY) / column.choices + STAY * (ours == theirs)
                density = density * column.choices
            else:
                density = np.zeros(both.shape)
                for image in (theirs, -theirs, 2.0 - theirs):
                    density += norm * np.exp(-0.5 * ((ours - image) / width) ** 2)
            total[:, :-1] += np.where(both, np.log(np.maximum(density, 1e-12)), 0.0)
        top = total.max(1, keepdims=True)
        result: Array = top[:, 0] + np.log(np.exp(total - top).mean(1))
        return result


class Marginals:
    """Parzen estimators of each column by itself, from a handful of the best rows, as wide as the distance to the next one:
    what is good on its own in combinations that nobody has tried. That explores more than kernels over whole rows."""

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
