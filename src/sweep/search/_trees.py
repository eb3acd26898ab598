"""A forest of random trees over rows of a frame, grown level by level for all trees at once.

The rule of this file: every tree sees all rows; what differs between trees are the random splits, of which the best of a few
is taken (Geurts, Ernst and Wehenkel, Extremely randomized trees, Machine Learning 63, 2006). A threshold is drawn between
the smallest and the largest value in a node, so that the mean over trees is smooth, and trees disagree where nothing is known.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sweep.search._frame import Array, Frame

TREES = 32
LEAF = 3
"""Nodes with fewer rows are not split."""


class Forest:
    """Built from rows and scores; `predict` gives means and standard deviations."""

    def __init__(self, frame: Frame, rows: Array, scores: Array, rng: np.random.Generator) -> None:
        self._frame = frame
        self._most = int(frame.choices.max(initial=0)) + 1
        self._tries = max(2, (len(frame) + 1) // 2)
        self._grow(rows, scores, rng)

    def predict(self, rows: Array) -> tuple[Array, Array]:
        """Mean over the trees, and the standard deviation that their means and their leaves have, at canonical rows."""
        nodes = np.repeat(np.arange(TREES)[:, None], len(rows), axis=1)
        columns = np.arange(len(rows))[None, :]
        codes = rows.astype(np.int64) + 1
        for _ in range(self._depth):
            left = self._left[nodes]
            if np.all(left == 0):
                break
            chosen = self._column[nodes]
            value = rows[columns, chosen]
            if self._frame.is_choice.any():
                coded = np.clip(codes[columns, chosen], 0, self._most - 1)
                value = np.where(self._frame.is_choice[chosen], self._orders[nodes, coded], value)
            step = left + (value > self._threshold[nodes])
            nodes = np.where(left == 0, nodes, step)
        means = self._mean[nodes]
        variance = means.var(axis=0) + self._spread[nodes].mean(axis=0)
        return means.mean(axis=0), np.sqrt(variance)

    def _grow(self, rows: Array, scores: Array, rng: np.random.Generator) -> None:
        samples = np.tile(np.arange(len(rows)), TREES)  # the row of each entry
        own = np.repeat(
            np.arange(TREES), len(rows)
        )  # its node, counted from the first one of the level; ascending
        levels: list[tuple[NDArray[np.generic], ...]] = []
        first, size, self._depth = 0, TREES, 0
        while size:
            starts = np.searchsorted(own, np.arange(size))
            counts = np.diff(np.append(starts, len(own)))
            values = scores[samples]
            mean = np.add.reduceat(values, starts) / counts
            spread = np.maximum(np.add.reduceat(values**2, starts) / counts - mean**2, 0.0)
            column, threshold, orders, right, gain = self._best_splits(
                rows, values, samples, own, starts, counts, rng
            )
            apart = (counts >= LEAF) & (spread > 1e-12) & (gain > -np.inf)
            left = np.where(apart, first + size + 2 * (np.cumsum(apart) - 1), 0)
            levels.append((mean, spread, column, threshold, orders, left))
            inside = apart[own]
            target = (left[own] + right - (first + size))[inside]
            order = np.argsort(target, kind="stable")
            samples, own = samples[inside][order], target[order]
            first, size = first + size, int(2 * apart.sum())
            self._depth += 1
        parts = [np.concatenate(part) for part in zip(*levels, strict=True)]
        self._mean, self._spread, self._column, self._threshold, self._orders, self._left = parts

    def _best_splits(
        self,
        rows: Array,
        values: Array,
        samples: NDArray[np.int64],
        own: NDArray[np.int64],
        starts: NDArray[np.int64],
        counts: NDArray[np.int64],
        rng: np.random.Generator,
    ) -> tuple[NDArray[np.int64], Array, Array, NDArray[np.bool_], Array]:
        """For each node of a level the best of some random splits: column, threshold, order of the choices, which entries
        go right, and the gain (-inf: no split found)."""
        size = len(starts)
        total = np.add.reduceat(values, starts)
        column, threshold = np.zeros(size, dtype=np.int64), np.zeros(size)
        orders, gain = np.zeros((size, self._most)), np.full(size, -np.inf)
        right = np.zeros(len(own), dtype=bool)
        for _ in range(self._tries):
            tried = rng.integers(len(self._frame), size=size)
            ranks, cut = rng.random((size, self._most)), rng.random(size)
            seen = rows[samples, tried[own]]
            if self._most > 1:
                codes = np.clip(seen.astype(np.int64) + 1, 0, self._most - 1)
                seen = np.where(self._frame.is_choice[tried[own]], ranks[own, codes], seen)
            low, high = np.minimum.reduceat(seen, starts), np.maximum.reduceat(seen, starts)
            at = low + cut * (high - low)
            beyond = seen > at[own]
            count = np.add.reduceat(beyond.astype(np.int64), starts)
            part = np.add.reduceat(np.where(beyond, values, 0.0), starts)
            real = (count > 0) & (count < counts)
            with np.errstate(divide="ignore", invalid="ignore"):
                found = np.where(real, part**2 / count + (total - part) ** 2 / (counts - count), -np.inf)
            better = found > gain
            gain = np.where(better, found, gain)
            column, threshold = np.where(better, tried, column), np.where(better, at, threshold)
            orders = np.where(better[:, None], ranks, orders)
            right = np.where(better[own], beyond, right)
        return column, threshold, orders, right, gain
