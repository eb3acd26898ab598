"""Constraints between parameters: which of a space's points they allow, and how many.

The rule of this file: what one constraint refuses is refused for all points that agree in what it names, so that whole
stretches of points are passed over at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sweep.core.conditions import Points
from sweep.core.errors import SweepError
from sweep.core.space import Space

if TYPE_CHECKING:
    from sweep.core.expressions import Constraint


class ConstraintError(SweepError):
    """An expression that is none, or one that cannot be evaluated for a config; the text says why."""


class Constraints:
    """All constraints of a space."""

    def __init__(self, space: Space) -> None:
        """Raises ConstraintError."""
        from sweep.core.expressions import Constraint  # needs Python's parser, and few specs have any

        position_of = {parameter.name: position for position, parameter in enumerate(space.parameters)}
        self.each = [Constraint(text, position_of) for text in space.constraints]

    def allow(self, values: Sequence[Any]) -> bool:
        """Whether all hold; one that cannot be evaluated for these values does not."""
        return all(_satisfied(constraint, values) for constraint in self.each)

    def refused_until(self, points: Points, number: int) -> int | None:
        """None when point `number` is allowed; else the next number that may be: points that agree with it in all that a
        refusing constraint names are refused with it."""
        values = points.values(number)
        ends = [
            points.span(number, constraint.positions)[1]
            for constraint in self.each
            if not _satisfied(constraint, values)
        ]
        return max(ends, default=None)

    def count(self, points: Points, most_steps: int) -> int | None:
        """How many points are allowed; None when finding out takes more than so many steps."""
        named = set().union(*(constraint.positions for constraint in self.each))
        total = number = 0
        for _ in range(most_steps):
            if number >= points.size:
                return total
            refused = self.refused_until(points, number)
            if refused is None:
                end = points.span(number, named)[1]
                total += end - number
            number = end if refused is None else refused
        return None


def _satisfied(constraint: Constraint, values: Sequence[Any]) -> bool:
    try:
        return constraint.holds(values)
    except ConstraintError:
        return False


# Spaces cannot always be hashed, so the cache goes by identity; it holds the space, so that the identity stays taken.
_COMPILED: dict[int, tuple[Space, Constraints | None]] = {}


def constraints_of(space: Space) -> Constraints | None:
    """The constraints of `space`, None when it has none. Raises ConstraintError."""
    found = _COMPILED.get(id(space))
    if found is not None and found[0] is space:
        return found[1]
    if len(_COMPILED) >= 256:
        _COMPILED.clear()
    made = Constraints(space) if space.constraints else None
    _COMPILED[id(space)] = (space, made)
    return made
