"""`initial:` -> configs to try first: names and values checked, in the form in which a run's config has them.

The rule of this file: a value is judged where it stands, so that every message has its own line; whether a config can be
completed is judged at the end.
"""

from __future__ import annotations

from typing import Any

from sweep.core import domain
from sweep.core.conditions import compiled
from sweep.core.equality import canonical
from sweep.core.initial import completion
from sweep.core.space import (
    Beta,
    Categorical,
    Config,
    Constant,
    Distribution,
    Normal,
    Numeric,
    Parameter,
    Space,
)
from sweep.spec._conditions import can_occur, instead
from sweep.spec._models import SweepFile
from sweep.spec._problems import Path, Report, nearest, number, shorten, show
from sweep.spec._scalars import numeric_text


def read_initial(content: Any, space: Space, file: SweepFile, report: Report) -> tuple[Config, ...]:
    """The initial configs, as far as they are given; what is wrong with them goes to the report."""
    at: Path = ("initial",)
    if content is None:
        return ()
    if not isinstance(content, list):
        report.error(at, f"must be a list of configs, such as `initial: [{{lr: 0.1}}]`, not {show(content)}")
        return ()
    reader = _Reader(space, file.method, report)
    configs = [reader.config(item, (*at, index)) for index, item in enumerate(content)]
    if not report.errors:
        _check_complete(configs, space, file, report)
    if file.run_cap is not None and len(configs) > file.run_cap:
        report.warn(at, f"has {len(configs)} configs, and run_cap ends the sweep after {file.run_cap}")
    return tuple(configs)


class _Reader:
    def __init__(self, space: Space, method: str, report: Report) -> None:
        self._named = {parameter.name: parameter for parameter in space.parameters}
        self._space, self._method, self._report = space, method, report

    def config(self, body: Any, at: Path) -> Config:
        """What `body` gives, nested as a run's config is; names may be dotted or nested."""
        config: Config = {}
        if not isinstance(body, dict):
            self._report.error(at, f"must be a mapping from parameters to values, not {show(body)}")
            return config
        self._group(body, "", at, config)
        self._check_active(config, at)
        return config

    def _group(self, body: dict[str, Any], prefix: str, at: Path, config: Config) -> None:
        for key, value in body.items():
            name, here = f"{prefix}{key}", (*at, key)
            parameter = self._named.get(name)
            if parameter is not None:
                self._value(parameter, value, here, config)
            elif isinstance(value, dict) and any(known.startswith(f"{name}.") for known in self._named):
                self._group(value, f"{name}.", here, config)
            else:
                self._report.error(here, f"there is no parameter `{shorten(name)}`{self._meant(name)}")

    def _meant(self, name: str) -> str:
        if any(known.startswith(f"{name}.") for known in self._named):
            return f": it is a group; write `{shorten(name)}: {{…}}`"
        found = nearest(name, list(self._named))
        return f"; did you mean `{shorten(found)}`?" if found else ""

    def _value(self, parameter: Parameter, value: Any, at: Path, config: Config) -> None:
        dist = parameter.distribution
        if isinstance(value, str) and not isinstance(dist, Categorical | Constant):
            value = value if numeric_text(value) is None else numeric_text(value)
        if not _possible(dist, value, self._method):
            self._report.error(
                at, f"`{shorten(parameter.name)}` is never {show(value)}{_what_it_is(dist, self._method)}"
            )
            return
        level = config
        for key in parameter.path[:-1]:
            level = level.setdefault(key, {})
        if parameter.path[-1] in level:
            self._report.error(at, f"`{shorten(parameter.name)}` is given twice")
        level[parameter.path[-1]] = domain.as_declared(dist, value)

    def _check_active(self, config: Config, at: Path) -> None:
        """A value for a parameter that the other values make inactive is a mistake in one of them."""
        conditions = compiled(self._space)
        for position, parameter in enumerate(self._space.parameters):
            if conditions is None or not _has(config, parameter):
                continue
            for parent, keys in conditions.needs[position]:
                other = self._space.parameters[parent]
                if _has(config, other) and canonical(domain.value_at(config, other.path)) not in keys:
                    self._report.error(
                        at,
                        f"gives a value for `{shorten(parameter.name)}`, which is inactive where `{shorten(other.name)}` is "
                        f"{show(domain.value_at(config, other.path))}",
                    )


def _has(config: Config, parameter: Parameter) -> bool:
    try:
        domain.value_at(config, parameter.path)
    except KeyError:
        return False
    return True


def _possible(dist: Distribution, value: Any, method: str) -> bool:
    if isinstance(dist, Numeric | Normal | Beta) and (
        isinstance(value, bool) or not isinstance(value, int | float)
    ):
        return False
    return can_occur(dist, value, method)


def _what_it_is(dist: Distribution, method: str) -> str:
    if method == "grid" or domain.support(dist) is not None:
        return instead(dist, method)
    if isinstance(dist, Numeric):
        return f"; it lies between {number(dist.low)} and {number(dist.high)}"
    return (
        "; it lies between 0 and 1"
        if isinstance(dist, Beta)
        else "; it is a number that its distribution can give"
    )


def _check_complete(configs: list[Config], space: Space, file: SweepFile, report: Report) -> None:
    taken: set[str] = set()
    for index, config in enumerate(configs):
        whole = completion(space, file.method, config, file.seed or 0, index, taken)
        if whole is None:
            report.error(
                ("initial", index),
                "no config that is not among the others has these values and satisfies every condition and constraint",
            )
        elif canonical(whole) in taken:
            report.warn(("initial", index), "is the same as an earlier one and counts once")
        else:
            taken.add(canonical(whole))
