"""The random stream: configs as a pure function of (space, seed, index), for ever.

The rule of this file: no generator has a state. Uniform number (index, path) is a hash of the seed, so the stream is the
same on every machine and in every release; golden values in the tests hold it. The distinct stream drops what it has
given before; in a finite space, when that happens too often, it goes on through the remaining points in a shuffled order,
so that every point comes exactly once.
"""

from __future__ import annotations

from typing import Any

from sweep.core import domain
from sweep.core.seeds import derive
from sweep.core.seeds import uniform as uniform
from sweep.core.space import Config, Space

# So many repeats in a row: drawing has become slower than enumerating what is left.
_PATIENCE = 32
# The same in an infinite space, where nothing can be enumerated.
_LONG_PATIENCE = 20_000
# So many draws that constraints refuse, for one that they allow, before the points are gone through one by one.
_REFUSALS = 20_000
# Points of a finite space in a row that constraints refuse, or that were drawn before.
_ENUMERATION_PATIENCE = 1_000_000
_ROUNDS = 4


def draw(space: Space, seed: int, index: int, stream: str = "random") -> list[Any]:
    """Draw number `index`: one value per parameter, each by its own distribution."""
    return [
        domain.from_unit(parameter.distribution, uniform(seed, stream, index, parameter.path))
        for parameter in space.parameters
    ]


class DistinctStream:
    """The distinct draws in their order. `config(k)` may be asked in any order; what was drawn on the way is kept."""

    def __init__(self, space: Space, seed: int) -> None:
        self._space, self._seed = space, seed
        self._finite = domain.points(space)
        self.may_repeat = self._finite is not None or not _always_new(space)
        """Whether two draws can be equal."""
        self._values: list[list[Any]] = []
        self._known: set[str] = set()
        self._draws = 0  # number of the next draw
        self._points = 0  # number of the next point of the enumeration
        self._enumerating = False

    def config(self, k: int) -> Config | None:
        """The k-th distinct draw that the constraints allow (from 0); None when the space has no more than k points. Where a
        continuous parameter is always active every draw counts as distinct, and any k costs the same. Where an infinite
        space gives nothing new or nothing allowed in thousands of tries, None is said, too."""
        if not self.may_repeat:
            return self._independent(k)
        while len(self._values) <= k:
            if not self._extend():
                return None
        return domain.assemble(self._space, self._values[k])

    def _independent(self, k: int) -> Config | None:
        """Draw k by itself; where it is refused, the first allowed one of a stream of its own."""
        for attempt in range(_LONG_PATIENCE):
            values = draw(self._space, self._seed, k, f"random-{attempt}" if attempt else "random")
            config = domain.assemble(self._space, values)
            if domain.allows(self._space, config):
                return config
        return None

    def _extend(self) -> bool:
        """Take one more; False when there is none."""
        repeats = refused = 0
        most = _PATIENCE if self._finite is not None else _LONG_PATIENCE
        while not self._enumerating and repeats < most and refused < _REFUSALS:
            taken = self._take(draw(self._space, self._seed, self._draws))
            self._draws += 1
            if taken:
                return True
            repeats, refused = (repeats, refused + 1) if taken is None else (repeats + 1, refused)
        self._enumerating = True
        if self._finite is None:
            return False
        for _ in range(_ENUMERATION_PATIENCE):
            if self._points >= self._finite.size:
                return False
            values = self._finite.values(shuffled(self._points, self._finite.size, self._seed))
            self._points += 1
            if self._take(values):
                return True
        return False

    def _take(self, values: list[Any]) -> bool | None:
        """Keep a draw. False: it was known; None: the constraints refuse it."""
        config = domain.assemble(self._space, values)
        key = domain.canonical(config)
        if key in self._known:
            return False
        if not domain.allows(self._space, config):
            return None
        self._known.add(key)
        self._values.append(values)
        return True


def _always_new(space: Space) -> bool:
    """Whether a parameter with infinitely many values is always active."""
    return any(not p.when and domain.support(p.distribution) is None for p in space.parameters)


def shuffled(index: int, size: int, seed: int) -> int:
    """Element `index` of a permutation of 0 … size-1, computed alone.

    A Feistel network over the next even power of two that walks along its cycle until it is back inside (Black and
    Rogaway, "Ciphers with arbitrary finite domains", 2002).
    """
    half = max((size - 1).bit_length() + 1, 2) // 2
    mask = (1 << half) - 1
    while True:
        left, right = index >> half, index & mask
        for number in range(_ROUNDS):
            left, right = right, left ^ (_mix(seed, number, right, half) & mask)
        index = (left << half) | right
        if index < size:
            return index


def _mix(seed: int, number: int, right: int, bits: int) -> int:
    mixed = 0
    for word in range(-(-bits // 64)):
        mixed = (mixed << 64) | derive(seed, "shuffle", number, word, right)
    return mixed
