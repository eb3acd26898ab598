"""How sure a mean over problems and seeds is."""

from __future__ import annotations

import numpy as np


def interval(per_problem: list[np.ndarray], rounds: int = 2000) -> tuple[float, float, float]:
    """Mean over problems, and its 95 % interval by a bootstrap over problems and then seeds."""
    rng = np.random.default_rng(0)
    means = np.stack([x[rng.integers(0, len(x), (rounds, len(x)))].mean(1) for x in per_problem])
    count = len(per_problem)
    drawn = means[rng.integers(0, count, (rounds, count)), np.arange(rounds)[:, None]].mean(1)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(np.mean([x.mean() for x in per_problem])), float(low), float(high)
