"""`constraints:` -> expressions that are known to mean something: each can be evaluated, and some config satisfies them all.

The rule of this file: what an expression does with real values is found out by trying it on configs of the space, drawn by
a generator of its own, so that the same file always reads the same.
"""

from __future__ import annotations

import random
from typing import Any

import msgspec

from sweep.core import domain
from sweep.core.conditions import INACTIVE, active_under
from sweep.core.constraints import ConstraintError
from sweep.core.expressions import Constraint
from sweep.core.space import Config, Space
from sweep.spec._problems import Report, number, shorten, show

SAMPLES = 2_000
MOST_SAMPLES = 20_000
_SELDOM = 0.01


def with_constraints(space: Space, texts: list[str], method: str, report: Report) -> Space:
    """The space under its constraints; what is wrong with them goes to the report."""
    position_of = {parameter.name: position for position, parameter in enumerate(space.parameters)}
    read: list[Constraint] = []
    for index, text in enumerate(texts):
        try:
            read.append(Constraint(text, position_of))
        except ConstraintError as error:
            report.error(("constraints", index), f"{_quoted(text)}: {error}")
    if len(read) < len(texts):
        return space
    constrained = msgspec.structs.replace(space, constraints=tuple(texts))
    if all(_can_be_evaluated(space, read, index, method, report) for index in range(len(read))):
        _check_satisfiable(constrained, read, method, report)
    return constrained


def _can_be_evaluated(space: Space, read: list[Constraint], index: int, method: str, report: Report) -> bool:
    """False, with an error, when a config of the sample cannot be compared as the expression asks."""
    constraint = read[index]
    chance = random.Random(0)
    for _ in range(SAMPLES):
        values = _drawn(space, method, chance)
        try:
            constraint.holds(values)
        except ConstraintError as error:
            names = sorted(constraint.positions)
            shown = ", ".join(f"{space.parameters[i].name} = {_value(values[i])}" for i in names)
            report.error(
                ("constraints", index), f"{_quoted(constraint.text)}: {error} (with {shorten(shown)})"
            )
            return False
    return True


def _check_satisfiable(space: Space, read: list[Constraint], method: str, report: Report) -> None:
    size = domain.grid_size(space) if method == "grid" else domain.size(space)
    if size is not None:
        if size == 0:
            _say_unsatisfiable(space, read, method, "no config of the space satisfies", report)
        return
    chance, found, tried = random.Random(1), 0, 0
    while tried < SAMPLES or (found == 0 and tried < MOST_SAMPLES):
        values = _drawn(space, method, chance)
        tried += 1
        found += all(constraint.holds(values) for constraint in read)
    if not found:
        _say_unsatisfiable(space, read, method, f"none of {tried:,} random configs satisfies", report)
    elif found / tried < _SELDOM:
        report.warn(
            ("constraints",),
            f"only {found} of {tried:,} random configs satisfy them; bounds that leave less out make the search faster",
        )


def _say_unsatisfiable(
    space: Space, read: list[Constraint], method: str, nothing: str, report: Report
) -> None:
    """At the constraint that nothing satisfies by itself, else at all of them."""
    for index, constraint in enumerate(read):
        chance = random.Random(2)
        if not any(constraint.holds(_drawn(space, method, chance)) for _ in range(SAMPLES)):
            alone = msgspec.structs.replace(space, constraints=(constraint.text,))
            size = domain.grid_size(alone) if method == "grid" else domain.size(alone)
            if not size:
                report.error(("constraints", index), f"{nothing} {_quoted(constraint.text)}")
                return
    report.error(("constraints",), f"{nothing} all of them together")


def _drawn(space: Space, method: str, chance: random.Random) -> list[Any]:
    """One value per parameter, INACTIVE where it is not active: of the grid for a grid, else as sampling gives them."""
    if method == "grid":
        axes = [domain.grid_values(parameter.distribution) for parameter in space.parameters]
        values = [choices[chance.randrange(min(len(choices), 2**53))] for choices in axes]
    else:
        values = [domain.from_unit(p.distribution, chance.random()) for p in space.parameters]
    active = active_under(space, values)
    return [value if is_active else INACTIVE for value, is_active in zip(values, active, strict=True)]


def refusing(space: Space, config: Config) -> str | None:
    """The first constraint that `config` does not satisfy, None when it satisfies all."""
    values = domain.values_of(space, config)
    position_of = {parameter.name: position for position, parameter in enumerate(space.parameters)}
    for text in space.constraints:
        try:
            if not Constraint(text, position_of).holds(values):
                return text
        except ConstraintError:
            return text
    return None


def _quoted(text: str) -> str:
    return f"`{shorten(' '.join(text.split()))}`"


def _value(value: Any) -> str:
    if value is INACTIVE:
        return "inactive"
    return "null" if value is None else number(value) if isinstance(value, float) else show(value)
