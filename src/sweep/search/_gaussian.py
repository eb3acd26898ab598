"""A Gaussian process for rows of a frame: Matérn-5/2 with a length scale per parameter.

The rule of this file: fitting is a function of the data alone (from one fixed start, with analytic gradients), so that
nothing has to be remembered between questions. Rasmussen and Williams, Gaussian Processes for Machine Learning (2006): eq. 4.17 is
the kernel (nu = 5/2), eq. 5.8 and 5.9 the likelihood and its gradient; the signal's variance is maximised in closed form.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.linalg import cho_solve, cholesky, solve_triangular
from scipy.linalg.lapack import dpotri
from scipy.optimize import minimize

from sweep.search._frame import INACTIVE, Array, Frame

_SQRT5 = math.sqrt(5.0)
LENGTH_SPREAD = 0.75
NOISE = 1e-3
NOISE_SPREAD = 1.5
PSEUDO = 2.0
"""The signal's variance is estimated as if so many more scores had come out with variance one."""
ITERATIONS = 30
MIDDLE = 0.5
"""Where a number that is not active stands: what sets it apart is the choice that it depends on."""


class Process:
    """The process given scores: `fit` finds its parameters, `condition` takes the scores in, `predict` asks."""

    def __init__(self, frame: Frame) -> None:
        self._frame = frame
        self.length = np.ones(len(frame))
        self.noise = NOISE
        self.variance = 1.0

    def fit(self, rows: Array, scores: Array, dimensions: float) -> None:
        """The most probable length scales and noise. `rows` are canonical, `scores` have mean 0 and variance 1 or so;
        `dimensions`: how many parameters are active in a config on average."""
        gaps = self._gaps(rows)
        middle = math.log(0.6 * math.sqrt(max(dimensions, 1.0)))
        start = np.append(np.full(len(self._frame), middle), math.log(NOISE))
        low = np.append(np.full(len(self._frame), math.log(0.04)), math.log(1e-6))
        high = np.append(np.full(len(self._frame), math.log(50.0)), math.log(1.0))
        found = minimize(
            loss_and_gradient,
            start,
            args=(gaps, scores, start),
            jac=True,
            method="L-BFGS-B",
            bounds=list(zip(low, high, strict=True)),
            options={"maxiter": ITERATIONS},
        )
        theta = found.x if np.all(np.isfinite(found.x)) else start
        self.length, self.noise = np.exp(theta[:-1]), math.exp(theta[-1])

    def condition(self, rows: Array, scores: Array) -> None:
        """Know these scores, with the parameters as they are."""
        self._inputs = self._features(rows)
        correlation = _matern(_square_distances(self._inputs, self._inputs))
        correlation[np.diag_indices_from(correlation)] += self.noise + 1e-9
        self._factor = cholesky(correlation, lower=True, check_finite=False)
        self._weights = cho_solve((self._factor, True), scores, check_finite=False)
        self.variance = float((scores @ self._weights + PSEUDO) / (len(scores) + PSEUDO))

    def predict(self, rows: Array) -> tuple[Array, Array]:
        """Mean and standard deviation of the function (without noise) at canonical rows."""
        cross = _matern(_square_distances(self._features(rows), self._inputs))
        mean = cross @ self._weights
        half = solve_triangular(self._factor, cross.T, lower=True, check_finite=False)
        left = np.maximum(1.0 - np.einsum("ij,ij->j", half, half), 1e-10)
        return mean, np.sqrt(self.variance * left)

    def _gaps(self, rows: Array) -> Array:
        """Squared differences per column: (columns, n, n)."""
        gaps = np.empty((len(self._frame), len(rows), len(rows)))
        for j, column in enumerate(self._frame.columns):
            values = rows[:, j]
            if column.choices:
                gaps[j] = values[:, None] != values[None, :]
            else:
                values = np.where(values == INACTIVE, MIDDLE, values)
                gaps[j] = (values[:, None] - values[None, :]) ** 2
        return gaps

    def _features(self, rows: Array) -> Array:
        """Coordinates in which the squared distance is that of the kernel: numbers over their length, choices one-hot."""
        parts = []
        for j, column in enumerate(self._frame.columns):
            values = rows[:, j, None]
            if column.choices:
                hot = values == np.arange(-1, column.choices)[None, :]
                parts.append(hot / (math.sqrt(2.0) * self.length[j]))
            else:
                parts.append(np.where(values == INACTIVE, MIDDLE, values) / self.length[j])
        return np.concatenate(parts, axis=1)


def loss_and_gradient(theta: Array, gaps: Array, scores: Array, middle: Array) -> tuple[float, Array]:
    """What `fit` minimises: the negative log posterior of (log lengths, log noise), up to a constant."""
    count = len(scores)
    inverse_squares = np.exp(-2.0 * theta[:-1])
    noise = math.exp(theta[-1])
    distance = np.sqrt(np.tensordot(inverse_squares, gaps, 1))
    decay = np.exp(-_SQRT5 * distance)
    correlation = (1.0 + _SQRT5 * distance + (5.0 / 3.0) * distance**2) * decay
    correlation[np.diag_indices(count)] += noise + 1e-9
    try:
        factor = cholesky(correlation, lower=True, check_finite=False)
    except np.linalg.LinAlgError:
        return 1e25, np.zeros_like(theta)
    weights = cho_solve((factor, True), scores, check_finite=False)
    variance = (float(scores @ weights) + PSEUDO) / (count + PSEUDO)
    spreads = np.append(np.full(len(theta) - 1, LENGTH_SPREAD), NOISE_SPREAD)
    away = (theta - middle) / spreads
    loss = 0.5 * (count + PSEUDO) * math.log(variance) + float(np.log(np.diag(factor)).sum())
    half = np.asarray(dpotri(factor, lower=1)[0])
    inverse = _symmetric(half)
    outer = inverse - np.outer(weights, weights) / variance
    slope = (5.0 / 3.0) * (1.0 + _SQRT5 * distance) * decay
    gradient = np.empty_like(theta)
    gradient[:-1] = 0.5 * np.tensordot(gaps, outer * slope, 2) * inverse_squares
    gradient[-1] = 0.5 * noise * float(np.trace(outer))
    return loss + 0.5 * float(away @ away), gradient + away / spreads


def _symmetric(half: Array) -> Array:
    lower: Array = np.tril(half)
    result: Array = lower + np.tril(half, -1).T
    return result


def _square_distances(one: Array, other: Array) -> Array:
    squares = (one**2).sum(1)[:, None] + (other**2).sum(1)[None, :] - 2.0 * (one @ other.T)
    result: Array = np.maximum(squares, 0.0)
    return result


def _matern(square: Array) -> Array:
    distance = np.sqrt(square)
    result: Array = (1.0 + _SQRT5 * distance + (5.0 / 3.0) * square) * np.exp(-_SQRT5 * distance)
    return result
