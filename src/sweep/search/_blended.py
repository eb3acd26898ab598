"""The model behind `blend`: a Gaussian process, and an explorer where it finds nothing better.

Where conditions divide the space into branches, every third proposal or so is for a branch that has been tried little for its
size: of a branch whose first trials were bad a process expects nothing any more, and the best config may well lie there.
Where the scores say that the function has steps (many are equal to the last bit), configs that are likely to be one already
tried are worth less, and while nothing better is found, every second proposal is the explorer's.

The rule of this file: an answer is a function of the rows and scores told and of the seed, computed from scratch for each
question, so that no state has to survive a restart. Costs are bounded by thinning the history, never by caching.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import erfcx, log_ndtr

from sweep.search._frame import INACTIVE, Array, Frame, Mask
from sweep.search._gaussian import Process
from sweep.search._marginals import Marginals
from sweep.search._sameness import sameness_of, tied_share
from sweep.search._scores import power_scores

FIT_MOST = 120
"""Scores that the process' parameters are fitted to at most; the best and a spread of the others."""
KNOW_MOST = 400
"""Scores that a model is told at most: a cubic cost ends here."""
NEAR = 0.06
"""A candidate closer than this to what has been tried, in every column, would show little new."""
NEAR_LATE, LATE = 0.02, 30
"""The same from so many trials on, unless the function has steps: what is left to find lies close to the best."""
STALLED = 15
"""Scores without a better one after which every second proposal explores, on a function with steps."""
TIED = 0.05
"""Share of scores equal to an earlier one from which a function counts as one with steps."""
BRANCH_TURNS = 1 / 3
"""Share of proposals that are for one branch, where conditions divide the space."""
EXPLORED = 24
"""Draws of which the explorer takes the best: few, so that it explores."""
OUTSIDE = -1e6
"""What is added to the log of an improvement outside of the branch that is looked at: any there is behind all inside."""
DRAWN, MUTATED, ROUNDS, BEAM, CHILDREN = 256, 256, 3, 8, 16


class Told(NamedTuple):
    """What is known: canonical rows, with scores of which the lowest is best (NaN: failed), and the rows still open."""

    rows: Array
    scores: Array
    pending: Array


def ranked(frame: Frame, told: Told, seed: int) -> Array:
    """Rows worth proposing, the most promising first; those near to something tried come last."""
    rng = np.random.default_rng(seed)
    if np.count_nonzero(~np.isnan(told.scores)) < 2:
        return frame.draw(rng, DRAWN)
    stepped = tied_share(told.scores) >= TIED
    same = sameness_of(frame, told.rows, told.scores)
    scores = np.where(np.isnan(told.scores), np.nanmax(told.scores), told.scores)
    keep = thinned(scores, KNOW_MOST)
    rows, scores = told.rows[keep], scores[keep]
    pending = told.pending[-KNOW_MOST // 2 :]
    known = np.concatenate([rows, pending])

    def novelty(at: Array) -> Array:
        return same.log_novelty(at, known) if same is not None else np.zeros(len(at))

    if frame.conditional and rng.random() < BRANCH_TURNS:
        branch = _due(frame, known, rng)
        found, value = _by_branch(frame, branch, rows, scores, pending, novelty, rng)
    elif stepped and _stalled(told.scores) and rng.random() < 0.5:
        found, value = _by_marginals(frame, rows, scores, pending, rng)
        value = value + novelty(frame.canonical(found))
    else:
        improvement = _by_process(frame, rows, scores, pending, rows)
        found, value = _climb(frame, lambda at: improvement(at) + novelty(at), rows, scores, rng)
    tried = np.concatenate([told.rows, told.pending])
    return _apart_first(frame, found, value, tried, NEAR if stepped or len(told.rows) < LATE else NEAR_LATE)


def _stalled(scores: Array) -> bool:
    """Whether nothing better has been seen for long."""
    return len(scores) - 1 - int(np.nanargmin(scores)) >= STALLED


def thinned(scores: Array, most: int) -> NDArray[np.int64]:
    """Indices of the best third of `most`, of the latest third, and of an even choice of the others; all, if not more."""
    count = len(scores)
    if count <= most:
        return np.arange(count)
    third = most // 3
    best = np.argsort(scores, kind="stable")[:third]
    latest = np.arange(count - third, count)
    rest = np.setdiff1d(np.arange(count), np.concatenate([best, latest]))
    some = rest[np.linspace(0, len(rest) - 1, most - third - third, dtype=np.int64)]
    return np.unique(np.concatenate([best, latest, some]))


def log_improvement(mean: Array, spread: Array, best: float) -> Array:
    """Log of the expected improvement below `best` (Ament et al., NeurIPS 2023, give the stable form)."""
    z = (best - mean) / spread
    near = np.maximum(z, -1.0)
    density = np.exp(-0.5 * near**2) / math.sqrt(2.0 * math.pi)
    high = np.log(density + near * np.exp(log_ndtr(near)))
    far = np.clip(-z, 1.0, 1e100)
    ratio = math.sqrt(math.pi / 2.0) * erfcx(far / math.sqrt(2.0)) * far
    tail = np.where(far < 1e3, np.log(np.maximum(1.0 - ratio, 1e-12)), -2.0 * np.log(far))
    low = -0.5 * far**2 - 0.5 * math.log(2.0 * math.pi) + tail
    result: Array = np.where(z > -1.0, high, low) + np.log(spread)
    return result


def log_discount(spread: Array, noise: float) -> Array:
    """Log of the share of an improvement that is not noise seen again (Huang et al., Journal of Global Optimization 34, 2006):
    without it a noisy process asks for its best config over and over."""
    result: Array = np.log(np.maximum(1.0 - np.sqrt(noise / (spread**2 + noise)), 1e-12))
    return result


def _due(frame: Frame, known: Array, rng: np.random.Generator) -> Mask:
    """The inactive cells of a branch: likely one that has many parameters for the trials that it has had."""
    branches = frame.canonical(frame.draw(rng, DRAWN)) == INACTIVE
    trials = (branches[:, None] == (known == INACTIVE)[None]).all(2).sum(1)
    weights = (~branches).sum(1) / (trials + 1.0)
    chosen: Mask = branches[rng.choice(DRAWN, p=weights / weights.sum())]
    return chosen


def _by_branch(
    frame: Frame,
    branch: Mask,
    rows: Array,
    scores: Array,
    pending: Array,
    novelty: Callable[[Array], Array],
    rng: np.random.Generator,
) -> tuple[Array, Array]:
    """Candidates with their values, of which those in a branch come first: what counts is to be better than the best there."""

    def inside(at: Array) -> Mask:
        found: Mask = ((at == INACTIVE) == branch).all(1)
        return found

    mine = inside(rows)
    own = (rows[mine], scores[mine]) if mine.any() else (rows, scores)
    improvement = _by_process(frame, rows, scores, pending, own[0])
    return _climb(
        frame, lambda at: improvement(at) + novelty(at) + np.where(inside(at), 0.0, OUTSIDE), *own, rng
    )


def _by_process(
    frame: Frame, rows: Array, scores: Array, pending: Array, rivals: Array
) -> Callable[[Array], Array]:
    """Log of the improvement on the best of `rivals` (rows) that the process expects."""
    values = power_scores(scores)
    process = Process(frame)
    fitted = thinned(values, FIT_MOST)
    dimensions = float((rows != INACTIVE).sum(1).mean())
    process.fit(rows[fitted], values[fitted], dimensions)
    process.condition(rows, values)
    if len(pending):
        believed = np.concatenate([values, process.predict(pending)[0]])
        process.condition(np.concatenate([rows, pending]), believed)
    best = float(process.predict(rivals)[0].min())

    def improvement(at: Array) -> Array:
        mean, spread = process.predict(at)
        return log_improvement(mean, spread, best) + log_discount(spread, process.variance * process.noise)

    return improvement


def _by_marginals(
    frame: Frame, rows: Array, scores: Array, pending: Array, rng: np.random.Generator
) -> tuple[Array, Array]:
    """Draws of the explorer with their values."""
    known = np.concatenate([rows[np.argsort(scores, kind="stable")], pending])
    marginals = Marginals(frame, known, max(1, math.ceil(0.25 * math.sqrt(len(rows)))))
    drawn = marginals.draw(rng, EXPLORED)
    return drawn, marginals.preference(frame.canonical(drawn))


def _climb(
    frame: Frame,
    value_of: Callable[[Array], Array],
    rows: Array,
    scores: Array,
    rng: np.random.Generator,
) -> tuple[Array, Array]:
    """Candidates with their values: draws from the space, changes of the best rows, and rounds of changes of the most
    promising candidates."""
    elite = frame.filled(rng, rows[np.argsort(scores, kind="stable")[:5]])
    start = elite[rng.integers(len(elite), size=MUTATED)]
    found = np.concatenate([frame.draw(rng, DRAWN), frame.mutated(rng, start, 0.15, 0.3)])
    value = value_of(frame.canonical(found))
    for step in range(ROUNDS):
        top = found[np.argsort(-value, kind="stable")[:BEAM]]
        more = frame.mutated(rng, np.repeat(top, CHILDREN, axis=0), 0.1 / 2**step, 0.3)
        found = np.concatenate([found, more])
        value = np.concatenate([value, value_of(frame.canonical(more))])
    return found, value


def _apart_first(frame: Frame, found: Array, value: Array, tried: Array, near: float) -> Array:
    """`found` by value, those closer than `near` to something tried behind all others."""
    order = np.argsort(-value, kind="stable")[:200]
    found = found[order]
    close = frame.distances(frame.canonical(found), tried).min(1) < near
    return np.concatenate([found[~close], found[close]])
