"""Scores made fit for a model: the lowest is best, and what is far worse than the rest must not decide the scale."""

from __future__ import annotations

import numpy as np

from sweep.search._frame import Array

_POWERS = np.linspace(-2.0, 2.0, 17)
_LOWEST = 1e12


def power_scores(scores: Array) -> Array:
    """Winsorised above, then through the Yeo-Johnson transform (Biometrika 87, 2000) of largest likelihood, with mean 0 and
    variance 1."""
    z = _clipped(scores)
    best, likelihood = z, -np.inf
    signs = np.sum(np.sign(z) * np.log1p(np.abs(z)))
    for power in _POWERS:
        moved = _yeo_johnson(z, power)
        found = -0.5 * len(z) * np.log(max(float(moved.var()), 1e-12)) + (power - 1.0) * signs
        if found > likelihood:
            best, likelihood = moved, found
    return _standard(best)


def _clipped(scores: Array) -> Array:
    """Scores from their median in units of the good half's spread; the bad ones end at five."""
    middle = float(np.median(scores))
    width = middle - float(np.quantile(scores, 0.15))
    if not width > 0.0:
        width = float(np.std(scores)) or 1.0
    with np.errstate(over="ignore"):  # beside ordinary scores there may be one near the largest float
        z = (scores - middle) / width
    return np.clip(z, -_LOWEST, 5.0)


def _yeo_johnson(z: Array, power: float) -> Array:
    out = np.empty_like(z)
    up = z >= 0
    out[up] = np.log1p(z[up]) if power == 0.0 else ((1.0 + z[up]) ** power - 1.0) / power
    other = 2.0 - power
    out[~up] = -np.log1p(-z[~up]) if other == 0.0 else -((1.0 - z[~up]) ** other - 1.0) / other
    return out


def _standard(values: Array) -> Array:
    result: Array = (values - values.mean()) / (float(values.std()) or 1.0)
    return result
