"""Grid and random: searchers without a model, which need no scores.

The rule of this file: both walk through a fixed, lazy sequence of configs and propose what has not been proposed, so that
configs which came from elsewhere are neither repeated nor a reason to leave a point out.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from sweep.core import domain
from sweep.core.plugins import Observation, Proposals
from sweep.core.space import Config
from sweep.core.spec import SweepSpec
from sweep.search._history import History, Unseen
from sweep.search._stream import DistinctStream


class GridSearcher:
    """Every point of the grid, in the order of `domain.grid_points`. No point is built before it is proposed."""

    name = "grid"
    version = "1"
    heavy = False

    def __init__(self, spec: SweepSpec) -> None:
        """Raises ValueError when a parameter has no grid."""
        self._space = spec.space
        self._points = domain.grid_points(spec.space)
        self._history, self._unseen = History(), Unseen(self._point)

    def propose(self, seen: Sequence[Observation], n: int) -> Proposals:
        """The next `n` points; see `sweep.core.plugins.Searcher`."""
        return _next(self._history, self._unseen, seen, n)

    def _point(self, number: int) -> Config | int | None:
        """Point `number` of the grid; where constraints refuse it, the number to go on at; None beyond the last."""
        if number >= self._points.size:
            return None
        return domain.allowed_at(self._space, self._points, number)


class RandomSearcher:
    """Trial k gets the k-th distinct draw: a pure function of the sweep's seed and k."""

    name = "random"
    version = "1"
    heavy = False

    def __init__(self, spec: SweepSpec) -> None:
        self._stream = DistinctStream(spec.space, spec.seed)
        self._history, self._unseen = History(), Unseen(self._stream.config)

    def propose(self, seen: Sequence[Observation], n: int) -> Proposals:
        """The next `n` draws; see `sweep.core.plugins.Searcher`."""
        if self._stream.may_repeat:
            return _next(self._history, self._unseen, seen, n)
        drawn = (self._stream.config(len(seen) + i) for i in range(n))
        configs = tuple(config for config in drawn if config is not None)
        return Proposals(configs, exhausted=len(configs) < n)


def _next(history: History, unseen: Unseen, seen: Sequence[Observation], n: int) -> Proposals:
    history.update(seen)
    found = list(islice(unseen.configs(history), n + 1))
    return Proposals(tuple(found[:n]), exhausted=len(found) <= n)
