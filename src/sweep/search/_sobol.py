"""`sobol`: a scrambled Sobol sequence, which covers the space more evenly than chance and needs no scores.

The rule of this file: trial k gets the first point of the sequence from number k on that is new; where a small space makes
that rare, the random stream fills in. The sequence covers so many axes as scipy has direction numbers for (21,201).
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from sweep.core import domain
from sweep.core.domain import canonical
from sweep.core.plugins import Observation, Proposals
from sweep.core.seeds import derive
from sweep.core.space import Config, Space
from sweep.core.spec import SweepSpec
from sweep.search._history import History, Unseen
from sweep.search._stream import DistinctStream

_TRIES = 32
_BLOCK = 64


class SobolSearcher:
    """Points of a (t, m, s)-net (Sobol 1967) scrambled by Owen's method with the sweep's seed."""

    name = "sobol"
    heavy = True

    def __init__(self, spec: SweepSpec) -> None:
        self.version = f"1+scipy-{version('scipy')}"
        self._space = spec.space
        self._stream = DistinctStream(spec.space, spec.seed)
        self._history, self._unseen = History(), Unseen(self._stream.config)
        self._points = SobolPoints(spec.space, spec.seed)

    def propose(self, seen: Sequence[Observation], n: int) -> Proposals:
        """The next `n` points; see `sweep.core.plugins.Searcher`."""
        self._history.update(seen)
        taken: set[str] = set()
        configs: list[Config] = []
        while len(configs) < n:
            config = self._next(len(seen) + len(configs), taken) or self._any(taken)
            if config is None:
                return Proposals(tuple(configs), exhausted=True)
            configs.append(config)
            taken.add(canonical(config))
        return Proposals(tuple(configs), exhausted=self._any(taken) is None)

    def _next(self, trial: int, taken: set[str]) -> Config | None:
        for index in range(trial, trial + _TRIES):
            config = self._points.config(index)
            key = canonical(config)
            known = key in taken or key in self._history.keys
            if not known and domain.allows(self._space, config):
                return config
        return None

    def _any(self, taken: set[str]) -> Config | None:
        return next((c for c in self._unseen.configs(self._history) if canonical(c) not in taken), None)


class SobolPoints:
    """The configs of a scrambled Sobol sequence, by number."""

    def __init__(self, space: Space, seed: int) -> None:
        self._space, self._seed = space, seed
        self._engine: Any = None
        self._units: list[list[float]] = []

    def config(self, index: int) -> Config:
        """Point `index` of the sequence."""
        parameters = self._space.parameters
        if self._engine is None:
            from scipy.stats import qmc

            self._engine = qmc.Sobol(max(1, len(parameters)), seed=derive(self._seed, "sobol") % 2**63)
        while len(self._units) <= index:
            self._units += self._engine.random(_BLOCK).tolist()
        units = self._units[index]
        values = [domain.from_unit(p.distribution, u) for p, u in zip(parameters, units, strict=False)]
        return domain.assemble(self._space, values)
