"""Which configs have been proposed, and which of a stream have not: indexes over `seen` that grow with it.

The rule of this file: a trial's config never changes once it has its number (the journal is only appended), so an index
over the first m trials stays right as long as `seen` begins with them. That is probed at exponentially many steps back
from the last one; where a probe disagrees, everything is built again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from sweep.core.domain import canonical
from sweep.core.plugins import Observation
from sweep.core.space import Config

# Up to so many trials every one is probed.
_FULL = 128


class History:
    """The canonical keys of all configs in `seen`."""

    def __init__(self) -> None:
        self._configs: list[Config] = []
        self.keys: set[str] = set()
        self.generation = 0
        """Changes whenever what was known had to be thrown away."""

    def update(self, seen: Sequence[Observation]) -> None:
        """Know exactly the configs of `seen`."""
        if not self._continues(seen):
            self._configs, self.keys = [], set()
            self.generation += 1
        for number in range(len(self._configs), len(seen)):
            config = seen[number].config
            self._configs.append(config)
            self.keys.add(canonical(config))

    def _continues(self, seen: Sequence[Observation]) -> bool:
        known = len(self._configs)
        if known > len(seen):
            return False
        return all(
            self._configs[number] is seen[number].config
            or canonical(self._configs[number]) == canonical(seen[number].config)
            for number in _probes(known)
        )


def _probes(known: int) -> list[int]:
    if known <= _FULL:
        return list(range(known))
    return [0, *(known - (1 << power) for power in range(known.bit_length() - 1))]


class Unseen:
    """The configs of a stream that are not in the history, in the stream's order."""

    def __init__(self, source: Callable[[int], Config | int | None]) -> None:
        """`source`: what stands at a position; a number: nothing, go on there; None: nothing follows."""
        self._source = source
        self._next = 0  # everything before it is in the history
        self._generation = 0

    def configs(self, history: History) -> Iterator[Config]:
        """The unseen configs from the first one on; ends when the stream does."""
        if self._generation != history.generation:
            self._next, self._generation = 0, history.generation
        position, leading = self._next, True
        while (config := self._source(position)) is not None:
            if isinstance(config, int):
                position = config
                self._next = position if leading else self._next
                continue
            position += 1
            if canonical(config) not in history.keys:
                leading = False
                yield config
            elif leading:
                self._next = position
