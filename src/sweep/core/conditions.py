"""Conditional parameters: which parameters of a config are active, and how many distinct configs there are.

The rule of this file: whether a parameter is active follows from the values of those it depends on and nothing else, and
an inactive parent makes its children inactive. Counting and numbering walk once through the parameters, parents first,
and remember only which of the later ones are ruled out already, so that no product of branches is ever written out.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any, NamedTuple

from sweep.core.equality import canonical
from sweep.core.multiples import Steps, count
from sweep.core.space import Space

MOST_STATES = 100_000


class _Inactive:
    def __repr__(self) -> str:
        return "(inactive)"


INACTIVE = _Inactive()
"""Stands among values in the place of an inactive parameter."""


class Conditions:
    """The conditions of a space by position."""

    def __init__(self, space: Space) -> None:
        """Raises ValueError for a condition on an unknown parameter, and for a circle."""
        position_of = {parameter.path: position for position, parameter in enumerate(space.parameters)}
        self.needs: list[list[tuple[int, frozenset[str]]]] = []
        """For each parameter what must hold: a parent's position, and the keys (`canonical`) of the values it may have."""
        for parameter in space.parameters:
            for condition in parameter.when:
                if condition.path not in position_of:
                    raise ValueError(
                        f"{parameter.name} depends on {'.'.join(condition.path)}, which is no parameter"
                    )
            self.needs.append(
                [(position_of[c.path], frozenset(map(canonical, c.values))) for c in parameter.when]
            )
        self.children: list[list[int]] = [[] for _ in self.needs]
        for position, needs in enumerate(self.needs):
            for parent in dict.fromkeys(parent for parent, _ in needs):
                self.children[parent].append(position)
        self.order = self.ordered(range(len(self.needs)))
        """All positions, parents before their children."""

    def ordered(self, preferred: Iterable[int]) -> list[int]:
        """The positions in this order, except that a conditional one comes right after the last that it depends on."""
        waiting = [len({parent for parent, _ in needs}) for needs in self.needs]
        preferred = list(preferred)
        rank = {position: place for place, position in enumerate(preferred)}
        order: list[int] = []
        for root in preferred:
            stack = [root] if not self.needs[root] else []
            while stack:
                position = stack.pop()
                order.append(position)
                ready = []
                for child in self.children[position]:
                    waiting[child] -= 1
                    if waiting[child] == 0:
                        ready.append(child)
                stack += sorted(ready, key=rank.__getitem__, reverse=True)
        if len(order) < len(self.needs):
            raise ValueError("conditions go round in a circle")
        return order

    def holds(self, position: int, values: Sequence[Any]) -> bool:
        """Whether the parameter is active under `values`, in which inactive parents are INACTIVE."""
        return all(
            values[parent] is not INACTIVE and canonical(values[parent]) in keys
            for parent, keys in self.needs[position]
        )

    def active(self, values: Sequence[Any]) -> list[bool]:
        """Which parameters are active; what stands in the place of an inactive one does not matter."""
        found = [True] * len(self.needs)
        for position in self.order:
            needs = self.needs[position]
            if needs:
                found[position] = all(
                    found[parent] and values[parent] is not INACTIVE and canonical(values[parent]) in keys
                    for parent, keys in needs
                )
        return found


# Spaces with lists as values cannot be hashed, so the cache goes by identity; it holds the space, too, so that the
# identity stays taken.
_COMPILED: dict[int, tuple[Space, Conditions | None]] = {}


def compiled(space: Space) -> Conditions | None:
    """The conditions of `space`; None when every parameter is always active. Raises ValueError as `Conditions` does."""
    found = _COMPILED.get(id(space))
    if found is not None and found[0] is space:
        return found[1]
    if len(_COMPILED) >= 256:
        _COMPILED.clear()
    made = Conditions(space) if any(parameter.when for parameter in space.parameters) else None
    _COMPILED[id(space)] = (space, made)
    return made


def active_under(space: Space, values: Sequence[Any]) -> list[bool]:
    """Which parameters are active when they have these values, one for each."""
    conditions = compiled(space)
    return [True] * len(space.parameters) if conditions is None else conditions.active(values)


class _Stretch(NamedTuple):
    """Consecutive values of a parameter that rule out the same later parameters (bits of their positions)."""

    start: int
    length: int
    ruled_out: int


class Points:
    """The distinct points of a finite space, numbered from 0, each with a number of its own. Nothing is enumerated: the
    size of the space costs nothing."""

    def __init__(self, space: Space, choices: Sequence[Sequence[Any]], preferred: Iterable[int]) -> None:
        """`choices`: the values of each parameter; `preferred`: positions, from the one that varies slowest. Raises ValueError
        when the conditions depend on each other in too many ways to be counted."""
        conditions = compiled(space)
        self._choices = choices
        self._order = list(preferred) if conditions is None else conditions.ordered(preferred)
        self._stretches = [self._cut(position, conditions) for position in range(len(choices))]
        self._children = [
            0 if conditions is None else sum(1 << child for child in conditions.children[position])
            for position in range(len(choices))
        ]
        self._place = {position: place for place, position in enumerate(self._order)}
        self._counts = self._counted(self._reached())
        self.size = self._counts[0][0]
        """How many points there are."""

    def values(self, number: int) -> list[Any]:
        """One value per parameter at point `number`; INACTIVE for one that is not active there."""
        found: list[Any] = [INACTIVE] * len(self._choices)
        out = 0
        for place, position in enumerate(self._order):
            if out >> position & 1:
                out = self._without(out, position)
                continue
            for start, length, ruled_out in self._stretches[position]:
                following = out | ruled_out
                block = self._counts[place + 1][following]
                if number < length * block:
                    digit, number = divmod(number, block)
                    found[position] = self._choices[position][start + digit]
                    out = following
                    break
                number -= length * block
        return found

    def span(self, number: int, positions: Collection[int]) -> tuple[int, int]:
        """The numbers, from the first to the one before which they end, of all points that agree with point `number` in the
        parameters that vary no faster than the fastest of these."""
        last = max(self._place[position] for position in positions)
        out, rest = 0, number
        for place, position in enumerate(self._order[: last + 1]):
            if out >> position & 1:
                out = self._without(out, position)
                continue
            for _, length, ruled_out in self._stretches[position]:
                block = self._counts[place + 1][out | ruled_out]
                if rest < length * block:
                    rest %= block
                    out |= ruled_out
                    break
                rest -= length * block
        first = number - rest
        return first, first + self._counts[last + 1][out]

    def _without(self, out: int, position: int) -> int:
        """What is ruled out once an inactive parameter has been passed: its children are, too."""
        return (out & ~(1 << position)) | self._children[position]

    def _next(self, out: int, position: int) -> Iterable[tuple[int, int]]:
        """The states that follow the state `out` at this parameter, each with the number of ways there."""
        if out >> position & 1:
            return [(self._without(out, position), 1)]
        return [(out | ruled_out, length) for _, length, ruled_out in self._stretches[position]]

    def _reached(self) -> list[set[int]]:
        """Before each place in the order, the sets of later parameters that may be ruled out there."""
        states: list[set[int]] = [{0}]
        for position in self._order:
            states.append({following for out in states[-1] for following, _ in self._next(out, position)})
            if len(states[-1]) > MOST_STATES:
                raise ValueError("the conditions depend on each other in too many ways to be counted")
        return states

    def _counted(self, states: list[set[int]]) -> list[dict[int, int]]:
        """For each place and state how many points the rest has."""
        counts: list[dict[int, int]] = [{} for _ in states]
        counts[-1] = dict.fromkeys(states[-1], 1)
        for place in range(len(self._order) - 1, -1, -1):
            position = self._order[place]
            counts[place] = {
                out: sum(ways * counts[place + 1][following] for following, ways in self._next(out, position))
                for out in states[place]
            }
        return counts

    def _cut(self, position: int, conditions: Conditions | None) -> list[_Stretch]:
        choices = self._choices[position]
        whole = [_Stretch(0, count(choices), 0)]
        if conditions is None or not conditions.children[position]:
            return whole
        asked = [
            (1 << child, keys)
            for child in conditions.children[position]
            for parent, keys in conditions.needs[child]
            if parent == position
        ]
        if not isinstance(choices, Steps):
            keys_of = map(canonical, choices)
            return [_Stretch(i, 1, _ruled_out(key, asked)) for i, key in enumerate(keys_of)]
        return self._cut_steps(choices, asked)

    def _cut_steps(self, steps: Steps, asked: list[tuple[int, frozenset[str]]]) -> list[_Stretch]:
        """A range of numbers may be long, so only the values that are asked for stand alone."""
        others = 0
        for bit, _ in asked:
            others |= bit
        stretches, start = [], 0
        for index in sorted(_indices(steps, {key for _, keys in asked for key in keys})):
            if index > start:
                stretches.append(_Stretch(start, index - start, others))
            stretches.append(_Stretch(index, 1, _ruled_out(canonical(steps[index]), asked)))
            start = index + 1
        if start < steps.count_all:
            stretches.append(_Stretch(start, steps.count_all - start, others))
        return stretches


def _ruled_out(key: str, asked: list[tuple[int, frozenset[str]]]) -> int:
    bits = 0
    for bit, keys in asked:
        if key not in keys:
            bits |= bit
    return bits


def _indices(steps: Steps, keys: set[str]) -> set[int]:
    """Where the numbers with these keys stand, as far as they are among the steps."""
    found = set()
    for key in keys:
        value = _number_of(key)
        if value is not None and value in steps:
            found.add(steps.index(value))
    return found


def _number_of(key: str) -> int | float | None:
    """The number that `canonical` made this key of."""
    if key.startswith("i"):
        return int(key[1:-1], 16)
    return float(key[1:-1]) if key.startswith("r") else None
