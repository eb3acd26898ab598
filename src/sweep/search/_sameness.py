"""Which configs are likely to be one and the same to the function: tables, rounding and plateaus give exactly equal scores.

The rule of this file: nothing is assumed. How far apart two configs must be to differ is learnt, column by column, from which
of the scores told are equal to the last bit; where none are, nothing is said.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from sweep.search._frame import INACTIVE, Array, Frame

MOST = 150
"""The latest scores, whose pairs are looked at."""
RATE, RATE_SPREAD = 15.0, 1.5
"""Sameness falls by a factor e within 1/15 of a column's range, give or take a factor of 4: what holds before anything is known."""
REPEAT, REPEAT_SPREAD = 1.5, 1.0
"""Log odds that the same config scores the same again."""
CERTAIN = 0.98
_APART = 1e3


class Sameness:
    """Two configs are the same with probability exp(-rates · differences); those with different choices never are."""

    def __init__(self, frame: Frame, rates: Array) -> None:
        self._frame, self.rates = frame, rates

    def log_novelty(self, rows: Array, tried: Array) -> Array:
        """Log of the probability that each of `rows` is none of those tried (all canonical)."""
        apart = np.zeros((len(rows), len(tried)))
        for j, rate in enumerate(self.rates):
            ours, theirs = rows[:, j, None], tried[None, :, j]
            if self._frame.is_choice[j]:
                apart += np.where(ours != theirs, _APART, 0.0)
            else:
                unlike = (ours == INACTIVE) != (theirs == INACTIVE)
                apart += np.where(unlike, _APART, rate * np.abs(ours - theirs))
        result: Array = np.log1p(-CERTAIN * np.exp(-apart)).sum(1)
        return result


def sameness_of(frame: Frame, rows: Array, scores: Array) -> Sameness | None:
    """Learnt from canonical rows and their scores (NaN: none); None where no two that could be the same score the same."""
    known = np.flatnonzero(~np.isnan(scores))[-MOST:]
    rows, scores = rows[known], scores[known]
    first, second = np.triu_indices(len(rows), 1)
    equal = scores[first] == scores[second]
    numbers = np.flatnonzero(~frame.is_choice)
    if not equal.any() or not len(numbers):
        return None
    unlike = (rows[first] == INACTIVE) != (rows[second] == INACTIVE)
    other = (rows[first] != rows[second])[:, frame.is_choice].any(1) | unlike.any(1)
    gaps = np.abs(rows[first] - rows[second])[:, numbers]
    if not equal[~other].any():
        return None
    # what is equal by chance is told from pairs that are far from each other
    far = other | (gaps.sum(1) > np.median(gaps.sum(1)))
    chance = (float(equal[far].sum()) + 0.1) / (float(far.sum()) + 10.0)
    rates = np.full(len(frame), RATE)
    rates[numbers] = _fitted(gaps[~other], equal[~other], chance)
    return Sameness(frame, rates)


def tied_share(scores: Array) -> float:
    """The share of scores that are equal, to the last bit, to an earlier one."""
    known = scores[~np.isnan(scores)]
    return 1.0 - len(np.unique(known)) / len(known) if len(known) else 0.0


def _fitted(gaps: Array, equal: NDArray[np.bool_], chance: float) -> Array:
    """The most probable rates, given which pairs score the same."""
    columns = gaps.shape[1]
    found = minimize(
        loss_and_gradient,
        np.append(np.full(columns, math.log(RATE)), REPEAT),
        args=(gaps, equal, chance),
        jac=True,
        method="L-BFGS-B",
        bounds=[(math.log(0.2), math.log(200.0))] * columns + [(-4.0, 4.0)],
        options={"maxiter": 30},
    )
    result: Array = np.exp(found.x[:-1])
    return result


def loss_and_gradient(
    theta: Array, gaps: Array, equal: NDArray[np.bool_], chance: float
) -> tuple[float, Array]:
    """What `_fitted` minimises: the negative log posterior of (log rates, log odds of a repeat), up to a constant."""
    rates, repeat = np.exp(theta[:-1]), 1.0 / (1.0 + math.exp(-theta[-1]))
    same = np.exp(-gaps @ rates)
    found = np.clip(chance + (1.0 - chance) * repeat * same, 1e-9, 1.0 - 1e-6)
    slope = np.where(equal, -1.0 / found, 1.0 / (1.0 - found)) * (1.0 - chance) * repeat * same
    middle = np.append(np.full(len(rates), math.log(RATE)), REPEAT)
    spreads = np.append(np.full(len(rates), RATE_SPREAD), REPEAT_SPREAD)
    away = (theta - middle) / spreads
    loss = -float(np.where(equal, np.log(found), np.log1p(-found)).sum()) + 0.5 * float(away @ away)
    gradient = np.append(-(slope @ gaps) * rates, float(slope.sum()) * (1.0 - repeat))
    return loss, gradient + away / spreads
