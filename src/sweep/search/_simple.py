"""Grid and random: searchers without a model, which need no scores.

The rule of this file: both walk through a fixed, lazy sequence of configs and propose what has not been proposed, so that
configs which came from elsewhere are neither repeated nor a reason to leave a point out.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from sweep.core import domain
from sweep.core.multiples import count
from sweep.core.plugins import Observation, Proposals
from sweep.core.space import Config
from sweep.core.spec import SweepSpec
from sweep.search._history import History, Unseen
from sweep.search._stream import DistinctStream


class GridSearcher:
    """Every point of the grid: names sorted, the last one varies fastest. No point is built before it is proposed."""

    name = "grid"
    version = "1"
    heavy = False

    def __init__(self, spec: SweepSpec) -> None:
        """Raises ValueError when a parameter has no grid."""
        self._space = spec.space
        self._axes = []
        for position, parameter in enumerate(spec.space.parameters):
            try:
                self._axes.append((parameter.name, position, domain.grid_values(parameter.distribution)))
            except ValueError as error:
                raise ValueError(f"parameters.{parameter.name}: {error}") from None
        self._axes.sort(key=lambda axis: axis[0], reverse=True)
        self._history, self._unseen = History(), Unseen(self._point)

    def propose(self, seen: Sequence[Observation], n: int) -> Proposals:
        """The next `n` points; see `sweep.core.plugins.Searcher`."""
        return _next(self._history, self._unseen, seen, n)

    def _point(self, number: int) -> Config | None:
        """Point `number` in the mixed radix of the axes; None beyond the last."""
        values = [None] * len(self._axes)
        for _, position, choices in self._axes:
            number, digit = divmod(number, count(choices))
            values[position] = choices[digit]
        return domain.assemble(self._space, values) if number == 0 else None


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
        if self._stream.size is not None:
            return _next(self._history, self._unseen, seen, n)
        drawn = (self._stream.config(len(seen) + i) for i in range(n))
        return Proposals(tuple(config for config in drawn if config is not None))


def _next(history: History, unseen: Unseen, seen: Sequence[Observation], n: int) -> Proposals:
    history.update(seen)
    found = list(islice(unseen.configs(history), n + 1))
    return Proposals(tuple(found[:n]), exhausted=len(found) <= n)
