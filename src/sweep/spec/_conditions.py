"""`when:` -> conditions between parameters: names looked up, values checked, circles found.

The rule of this file: it works on parameters that were read without errors; a condition on one that has an error of its own is
left alone, so that one mistake is reported once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from sweep.core import domain
from sweep.core.conditions import compiled
from sweep.core.equality import canonical
from sweep.core.space import Categorical, Condition, Constant, Distribution, Parameter, Space
from sweep.spec._problems import Path, Report, listed, nearest, shorten, show
from sweep.spec._scalars import numeric_text
from sweep.spec._translate import show_yaml

_SHOWN = 8


class Clause(NamedTuple):
    """One line below a `when`."""

    scope: tuple[str, ...]
    """The group in which the name is looked up first."""
    name: str
    values: list[Any]
    listed: bool
    """Whether the values were written as a list."""
    at: Path


def read_when(body: Any, scope: tuple[str, ...], at: Path, report: Report) -> list[Clause]:
    """The clauses of a `when`; what is wrong with its form goes to the report."""
    if not isinstance(body, dict) or not body:
        shown = "an empty one" if body == {} else show(body)
        report.error(
            at,
            f"must be a mapping from parameters to values, such as `when: {{optimizer: sgd}}`, not {shown}",
        )
        return []
    clauses = []
    for name, value in body.items():
        if value == []:
            report.error((*at, name), "is an empty list: with no value to have, nothing is ever active")
            continue
        is_list = isinstance(value, list)
        clauses.append(Clause(scope, name, value if is_list else [value], is_list, (*at, name)))
    return clauses


def with_conditions(
    found: Sequence[Parameter],
    clauses: Mapping[tuple[str, ...], list[Clause]],
    known: Collection[str],
    method: str | None,
    report: Report,
) -> Space:
    """The space with what `clauses` say about each path. `known`: the names of all parameters, wrong ones included."""
    linker = _Linker({parameter.name: parameter for parameter in found}, known, method, report)
    linked = [
        msgspec.structs.replace(
            parameter, when=tuple(linker.conditions(parameter, clauses.get(parameter.path, [])))
        )
        for parameter in found
    ]
    space = Space(tuple(linked))
    at = {path: found[0].at[:-1] for path, found in clauses.items() if found}
    if linker.sound and _check_circles(space, at, report):
        _check_reachable(space, at, report)
    return space


class _Linker:
    def __init__(
        self, named: Mapping[str, Parameter], known: Collection[str], method: str | None, report: Report
    ) -> None:
        self._named, self._known, self._method, self._report = named, known, method, report
        self.sound = True

    def conditions(self, parameter: Parameter, clauses: list[Clause]) -> Iterator[Condition]:
        for clause in clauses:
            parent = self._parent(clause)
            if parent is None:
                continue
            if parent.path == parameter.path:
                self._error(clause.at, "a parameter cannot depend on itself")
            elif values := self._values(clause, parent):
                yield Condition(parent.path, tuple(values))

    def _error(self, at: Path, message: str) -> None:
        self.sound = False
        self._report.error(at, message)

    def _parent(self, clause: Clause) -> Parameter | None:
        """The parameter of this name: in the clause's own group, else in the groups around it, else at the top."""
        for depth in range(len(clause.scope), -1, -1):
            name = ".".join((*clause.scope[:depth], clause.name))
            if name in self._named:
                return self._named[name]
            if name in self._known:
                self.sound = False
                return None
        self._error(clause.at, f"there is no parameter `{shorten(clause.name)}`{self._meant(clause)}")
        return None

    def _meant(self, clause: Clause) -> str:
        inside = [name for name in self._known if name.startswith(f"{clause.name}.")]
        if inside:
            return f": it is a group; name a parameter in it, such as `{shorten(inside[0])}`"
        found = nearest(clause.name, list(self._known))
        return f"; did you mean `{shorten(found)}`?" if found else ""

    def _values(self, clause: Clause, parent: Parameter) -> list[Any]:
        dist = parent.distribution
        if domain.support(dist) is None:
            self._error(
                clause.at,
                f"`{shorten(parent.name)}` is continuous, so it never has exactly this value; a condition needs a parameter "
                "with values that can be listed",
            )
            return []
        found = []
        for index, value in enumerate(clause.values):
            at = (*clause.at, index) if clause.listed else clause.at
            if isinstance(value, str) and not isinstance(dist, Categorical | Constant):
                value = numeric_text(value) if numeric_text(value) is not None else value
            if can_occur(dist, value, self._method):
                found.append(value)
            else:
                self._error(
                    at, f"`{shorten(parent.name)}` is never {show(value)}{instead(dist, self._method)}"
                )
        return found


def can_occur(dist: Distribution, value: Any, method: str | None) -> bool:
    """Whether a search by `method` can give the parameter this value."""
    if method == "grid":
        try:
            choices = domain.grid_values(dist)
        except ValueError:
            return False
    else:
        possible = domain.support(dist)
        if possible is None:
            return domain.contains(dist, value)
        choices = possible
    if isinstance(choices, tuple):
        return canonical(value) in {canonical(choice) for choice in choices}
    return not isinstance(value, bool) and value in choices


def instead(dist: Distribution, method: str | None) -> str:
    """What a parameter can be, for after what it can not."""
    choices = domain.grid_values(dist) if method == "grid" else domain.support(dist)
    assert choices is not None
    if len(choices) == 1:
        return f"; it is always {_one(choices[0])}"
    if len(choices) <= _SHOWN:
        return f"; it is one of {listed([_one(choice) for choice in choices], 'or')}"
    return f"; it has {len(choices):,} values, from {_one(choices[0])} to {_one(choices[-1])}"


def _one(value: Any) -> str:
    return "null" if value is None else show_yaml(value) if isinstance(value, list) else show(value)


def _check_circles(space: Space, at: Mapping[tuple[str, ...], Path], report: Report) -> bool:
    """False, with an error at a parameter of each circle, when parameters depend on each other in a circle."""
    parents = {p.path: [condition.path for condition in p.when] for p in space.parameters}
    done: set[tuple[str, ...]] = set()
    for start in parents:
        chain: list[tuple[str, ...]] = []
        stack = [(start, 0)]
        while stack:
            path, index = stack.pop()
            if index == 0:
                if path in done:
                    continue
                if path in chain:
                    circle = [*chain[chain.index(path) :], path]
                    names = " depends on ".join(f"`{shorten('.'.join(member))}`" for member in circle)
                    report.error(
                        at[path], f"goes round in a circle: {names}; one of them must not depend on another"
                    )
                    return False
                chain.append(path)
            if index < len(parents[path]):
                stack += [(path, index + 1), (parents[path][index], 0)]
            else:
                chain.remove(path)
                done.add(path)
    return True


def _check_reachable(space: Space, at: Mapping[tuple[str, ...], Path], report: Report) -> None:
    """An error at each parameter whose conditions, with those of the parameters that it depends on, exclude each other."""
    conditions = compiled(space)
    if conditions is None:
        return
    allowed: list[dict[int, frozenset[str]]] = [{} for _ in space.parameters]
    for position in conditions.order:
        mine = allowed[position]
        for parent, keys in conditions.needs[position]:
            for other, others in [*allowed[parent].items(), (parent, keys)]:
                mine[other] = mine.get(other, others) & others
        clashing = [other for other, keys in mine.items() if not keys]
        if clashing:
            parameter, clash = space.parameters[position], space.parameters[clashing[0]].name
            report.error(
                at[parameter.path],
                f"`{shorten(parameter.name)}` can never be active: its conditions ask for different values of "
                f"`{shorten(clash)}`",
            )
            return
    try:
        domain.size(space)
    except ValueError as error:
        report.error(("parameters",), f"{error}; let fewer parameters depend on several others")
