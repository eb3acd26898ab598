"""`early_terminate: hyperband`, exactly as the W&B dialect has it.

The rule of this file: the dialect's rule and nothing better; what is ours is called by other names.
"""

from __future__ import annotations

import math

from sweep.core.spec import EarlyTerminate, Metric, unit_of
from sweep.stopping._rungs import Judged, RungStopper

_MOST_BANDS = 100
_LONGEST = 2**53


class Hyperband(RungStopper):
    """Successive halving with bands, after Li et al., "Hyperband" (JMLR 18, 2018), as W&B simplified it.

    A run is condemned when its value at its highest band is worse than sorted(values at this band)[int(n / eta)]; ties
    survive. With `strict` a run's value at a band is the one logged at that iteration, else the best one so far. NaN
    and infinities are the worst value.
    """

    def __init__(self, metric: Metric, settings: EarlyTerminate) -> None:
        """Raises ValueError when the settings make no bands (neither min_iter nor max_iter, eta not above 1)."""
        self.bands = bands(settings)
        """The iterations at which runs are judged, increasing."""
        judged: Judged = "value" if settings.strict else "best"
        super().__init__(metric, self.bands, settings.eta, step=unit_of(settings), judged=judged)


def bands(settings: EarlyTerminate) -> tuple[int, ...]:
    """The iterations at which runs are judged: int(min_iter * eta**k), k = 0, 1, …; without min_iter int(max_iter / eta**k),
    k = 1 … s, as far as they are at least 1 (all of these when `s` is missing).

    Raises ValueError when there is neither min_iter nor max_iter, or eta is not above 1.
    """
    eta = settings.eta
    if not eta > 1:
        raise ValueError(f"early_terminate: eta must be above 1, not {eta:g}")
    most = math.ceil(math.log(_LONGEST) / math.log(eta))  # beyond it bands are too long, or below 1
    found: list[float]
    if settings.min_iter is not None:
        found = [settings.min_iter * eta**k for k in range(min(_MOST_BANDS, most))]
    elif settings.max_iter is not None:
        brackets = most if settings.s is None else min(settings.s, most)
        found = [settings.max_iter / eta**k for k in range(1, brackets + 1)]
    else:
        raise ValueError("early_terminate: hyperband needs min_iter, or max_iter and s")
    return tuple(sorted({int(band) for band in found if 1 <= band <= _LONGEST}))
