"""A searcher that begins with the configs to try first.

The rule of this file: whether one has been tried is seen from the history, so that one added by a revision comes next.
"""

from __future__ import annotations

from collections.abc import Sequence

from sweep.core import domain
from sweep.core.equality import canonical
from sweep.core.initial import completed
from sweep.core.plugins import Observation, Proposals, Searcher
from sweep.core.space import Config
from sweep.core.spec import SweepSpec
from sweep.search._history import History


class InitialFirst:
    """The spec's initial configs that have not been tried, then what another searcher proposes."""

    def __init__(self, spec: SweepSpec, then: Searcher) -> None:
        self.name, self.version, self.heavy = then.name, then.version, then.heavy
        self._then = then
        self._first = completed(spec.space, spec.method, spec.initial, spec.seed)
        self._history = History()

    def propose(self, seen: Sequence[Observation], n: int) -> Proposals:
        """The next `n` configs; see `sweep.core.plugins.Searcher`."""
        self._history.update(seen)
        left = [config for config in self._first if canonical(config) not in self._history.keys]
        mine = left[:n]
        if len(mine) < len(left):
            return Proposals(_copies(mine))
        told = [*seen, *(Observation(len(seen) + i, config, "open") for i, config in enumerate(mine))]
        answer = self._then.propose(told, n - len(mine))
        return Proposals((*_copies(mine), *answer.configs), answer.exhausted)


def _copies(configs: Sequence[Config]) -> tuple[Config, ...]:
    return tuple(domain.copied(config) for config in configs)
