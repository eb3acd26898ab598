"""`parameters:` -> the space: nesting, inference of distributions, and what must hold between a parameter's keys.

The rule of this file: every parameter is looked at, also after an error in another, so that one reading reports all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sweep.core.domain import grid_size
from sweep.core.space import Parameter, Space
from sweep.spec._conditions import Clause, read_when, with_conditions
from sweep.spec._distribution_models import Model
from sweep.spec._distributions import Context, build
from sweep.spec._models import DISTRIBUTIONS
from sweep.spec._problems import Path, Report, listed, nearest, shorten, show
from sweep.spec._scalars import numeric_text
from sweep.spec._translate import unknown_key, validate

_MAX_NAME = 256
MAX_GRID = 10**9
"""Points of a grid that is to be worked off whole. At a thousand runs a second that takes eleven days."""
_INFERRED_FROM = ["value", "values", "min", "max", "distribution"]

# What people write in a parameter, and what to write instead.
_MEANT = {
    "low": "write `min`",
    "high": "write `max`",
    "lower": "write `min`",
    "upper": "write `max`",
    "choices": "write `values`",
    "options": "write `values`",
    "categories": "write `values`",
    "weights": "write `probabilities`",
    "mean": "write `mu`",
    "std": "write `sigma`",
    "step": "write `q`, with `distribution: q_uniform`",
    "if": "write `when`",
    "where": "write `when`",
    "depends_on": "write `when: {parameter: value}`",
    "condition": "write `when: {parameter: value}`",
    "log": "write `distribution: log_uniform_values` for a log scale",
    "scale": "write `distribution: log_uniform_values` for a log scale",
    "default": "the program itself gives defaults; remove it",
    "parameters": "a group has no distribution of its own: only `parameters`",
}
_TYPES = {
    "double": "write the bounds with a decimal point (`min: 0.0`) and remove `type`",
    "float": "write the bounds with a decimal point (`min: 0.0`) and remove `type`",
    "int": "write whole numbers as bounds (`min: 1`) and remove `type`",
    "integer": "write whole numbers as bounds (`min: 1`) and remove `type`",
    "categorical": "write `values: […]` and remove `type`",
    "discrete": "write `values: […]` and remove `type`",
    "choice": "write `values: […]` and remove `type`",
    "bool": "write `values: [true, false]` and remove `type`",
    "boolean": "write `values: [true, false]` and remove `type`",
}
_OTHER_NAMES = {
    "loguniform": "log_uniform_values",
    "log": "log_uniform_values",
    "quniform": "q_uniform",
    "qloguniform": "q_log_uniform_values",
    "randint": "int_uniform",
    "int": "int_uniform",
    "integer": "int_uniform",
    "float": "uniform",
    "double": "uniform",
    "choice": "categorical",
    "discrete": "categorical",
    "gaussian": "normal",
    "lognormal": "log_normal",
    "fixed": "constant",
}


def read_space(parameters: Any, method: str | None, report: Report) -> Space:
    """The space; what is wrong goes to the report, and the parameter is left out."""
    reader = _Reader(method, report)
    at: Path = ("parameters",)
    if not isinstance(parameters, dict):
        report.error(at, f"must be a mapping from names to distributions, not {show(parameters)}")
    elif not parameters:
        report.error(at, "is empty; a sweep needs at least one parameter")
    else:
        reader.group(parameters, at, (), [])
    return with_conditions(reader.found, reader.clauses, reader.names, method, report)


class _Reader:
    def __init__(self, method: str | None, report: Report) -> None:
        self.found: list[Parameter] = []
        self._method = method
        self._report = report
        self.names: dict[str, Path] = {}
        self.clauses: dict[tuple[str, ...], list[Clause]] = {}

    def group(
        self, parameters: dict[Any, Any], at: Path, path: tuple[str, ...], around: list[Clause]
    ) -> None:
        """`around`: the conditions of the groups that this one stands in."""
        for name, body in parameters.items():
            if self._report.is_full:
                return
            here = (*at, name)
            if message := _name_problem(name):
                self._report.error(here, message)
            elif isinstance(body, dict) and "parameters" in body:
                self._nested(body, here, (*path, name), around)
            else:
                self._leaf(body, here, (*path, name), around)

    def _nested(self, body: dict[str, Any], at: Path, path: tuple[str, ...], around: list[Clause]) -> None:
        for key in body:
            if key not in ("parameters", "when"):
                self._report.error(
                    (*at, key),
                    "a group has only `parameters` and `when`; move this below `parameters`, or remove it",
                )
        inner = body["parameters"]
        if not isinstance(inner, dict) or not inner:
            self._report.error(
                (*at, "parameters"), f"must be a mapping from names to distributions, not {_empty_or(inner)}"
            )
            return
        self.group(inner, (*at, "parameters"), path, around + self._when(body, at, path))

    def _when(self, body: dict[str, Any], at: Path, path: tuple[str, ...]) -> list[Clause]:
        if body.get("when") is None:
            return []
        return read_when(body["when"], path[:-1], (*at, "when"), self._report)

    def _leaf(self, body: Any, at: Path, path: tuple[str, ...], around: list[Clause]) -> None:
        name = ".".join(path)
        if name in self.names:
            first = self._report.line(self.names[name])
            self._report.error(
                at, f"another parameter is called `{shorten(name)}`, too{first}; every name must be used once"
            )
            return
        self.names[name] = at
        if not isinstance(body, dict):
            self._report.error(at, _bare(path[-1], body))
            return
        self.clauses[path] = around + self._when(body, at, path)
        body = {key: value for key, value in body.items() if key != "when"}
        declared = self._declared(body, at)
        if declared is None:
            return
        read = self._read(declared, body, at)
        if read is None:
            return
        distribution = build(Context(declared, self._method, at, self._report), read)
        if distribution is not None:
            self.found.append(Parameter(path, distribution, declared))

    def _read(self, declared: str, body: dict[str, Any], at: Path) -> Model | None:
        """The parameter as its model; `distribution` itself was judged before."""
        model, _ = DISTRIBUTIONS[declared]
        keys = {key: value for key, value in body.items() if key != "distribution"}
        usable = self._known_keys(model, declared, keys, at)
        read = validate(model, {**usable, "distribution": declared}, at, self._report)
        return read if len(usable) == len(keys) else None

    def _known_keys(
        self, model: type[Model], declared: str, keys: dict[str, Any], at: Path
    ) -> dict[str, Any]:
        """`keys` without those that the model does not have, which are reported with a reason."""
        known = [key for key in model.model_fields if key not in ("distribution", "when")]
        usable = {key: value for key, value in keys.items() if key in known}
        for key in keys:
            if key not in usable and not self._report.is_full:
                self._report.error((*at, key), _extra_key(key, keys[key], declared, known))
        return usable

    def _declared(self, body: dict[str, Any], at: Path) -> str | None:
        """The dialect's name of the distribution: the one given, or the one that the keys imply."""
        given = body.get("distribution")
        if given is None:
            return self._inferred(body, at)
        if isinstance(given, str) and given in DISTRIBUTIONS:
            return given
        names = list(DISTRIBUTIONS)
        found = None
        if isinstance(given, str):
            plain = given.strip().lower()
            found = _OTHER_NAMES.get(plain.replace("_", ""), nearest(given, names))
        hint = f"; did you mean `{found}`?" if found else f"; the distributions are {listed(names)}"
        self._report.error((*at, "distribution"), f"there is no distribution {show(given)}{hint}")
        return None

    def _inferred(self, body: dict[str, Any], at: Path) -> str | None:
        for implies, name in _INFERENCE:
            if implies(body):
                return name
        if message := _no_inference(body, str(at[-1])):
            self._report.error(at, message)
            return None
        for key in body:
            if not self._report.is_full:
                self._report.error((*at, key), _extra_key(key, body[key], "", _INFERRED_FROM))
        return None


def check_grid(space: Space, run_cap: int | None, report: Report) -> None:
    """A grid is enumerated, never held in memory, so its size costs nothing; but one that no machine could work off is
    a mistake in its bounds, unless `run_cap` says how much of it is meant."""
    points = grid_size(space)
    if points is None or points <= MAX_GRID or run_cap is not None:
        return
    shown = f"{points:,}" if points < 10**18 else f"at least 10^{len(str(points)) - 1}"
    report.error(
        ("method",),
        f"the grid has {shown} points, more than could ever be run; add `run_cap`, give the parameters fewer "
        "values, or write `method: random`",
    )


def _has_bounds(body: dict[str, Any]) -> bool:
    return "min" in body or "max" in body


def _both_whole(body: dict[str, Any]) -> bool:
    bounds = [body[key] for key in ("min", "max") if key in body]
    read = [numeric_text(bound) if isinstance(bound, str) else bound for bound in bounds]
    return all(isinstance(bound, int) for bound in read)


_INFERENCE: list[tuple[Callable[[dict[str, Any]], bool], str]] = [
    (lambda body: "value" in body, "constant"),
    (lambda body: "values" in body and "probabilities" in body, "categorical_w_probabilities"),
    (lambda body: "values" in body, "categorical"),
    (lambda body: _has_bounds(body) and _both_whole(body), "int_uniform"),
    (_has_bounds, "uniform"),
    (lambda body: "probabilities" in body, "categorical_w_probabilities"),
]


def _no_inference(body: dict[str, Any], name: str) -> str | None:
    """What to write when the keys name no distribution; None when it is the keys themselves that are wrong."""
    if not set(body) - {"distribution"}:
        return "is empty; write `value: …`, `values: […]`, or `min: …` and `max: …` below it"
    if {"mu", "sigma"} & body.keys():
        return "`mu` and `sigma` need `distribution: normal` (or log_normal, q_normal, q_log_normal)"
    if {"a", "b"} >= body.keys():
        return "`a` and `b` need `distribution: beta` (or q_beta)"
    if any(isinstance(item, dict) for item in body.values()):
        return f"nested parameters stand below `parameters:`; write `{shorten(name)}: {{parameters: {{…}}}}`"
    return None


def _extra_key(key: str, value: Any, declared: str, known: list[str]) -> str:
    if key == "type":
        return f"unknown key; {_TYPES.get(str(value).lower(), 'the kind of a parameter is its `distribution`; remove `type`')}"
    if key in ("min", "max") and "mu" in known:
        return f"`{declared}` has no bounds; remove it, or use a distribution with `min` and `max`, such as uniform"
    if key == "q" and f"q_{declared}" in DISTRIBUTIONS:
        return f"`{declared}` has no step; write `distribution: q_{declared}`"
    if key == "q" and declared == "int_uniform":
        return "`int_uniform` has no step; write `distribution: q_uniform`"
    if key == "probabilities" and declared == "categorical":
        return "write `distribution: categorical_w_probabilities`, or leave the distribution out"
    every = {name for model, _ in DISTRIBUTIONS.values() for name in model.model_fields}
    if declared and key in every:
        return f"`{declared}` does not have this key; it has {listed([f'`{name}`' for name in known])}"
    return unknown_key(key, [*known, "when"], _MEANT)


def _name_problem(name: str) -> str | None:
    if not name:
        return "a parameter needs a name"
    if len(name) > _MAX_NAME:
        return f"a parameter's name has at most {_MAX_NAME} characters"
    if any(char.isspace() or not char.isprintable() for char in name) or "=" in name:
        return "a parameter's name cannot hold spaces, control characters or `=`: it becomes a part of the command line"
    return None


def _bare(name: str, body: Any) -> str:
    if isinstance(body, list):
        return f"must be a mapping, not a list; write `{shorten(name)}: {{values: […]}}`"
    if body is None:
        return "is empty; write `value: …`, `values: […]`, or `min: …` and `max: …` below it"
    shown = show(body)
    return f"must be a mapping, not {shown}; for a fixed value write `{shorten(name)}: {{value: {shown}}}`"


def _empty_or(inner: Any) -> str:
    return "an empty one" if inner == {} else show(inner)
