"""One parameter's model -> its distribution, with real bounds, and the checks that need two of its keys.

The rule of this file: exponents end here. Everything behind it sees real values only.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sweep.core.domain import canonical
from sweep.core.multiples import multiples
from sweep.core.secrets import find_tokens, harmless_value, looks_secret_name
from sweep.core.space import Beta, Categorical, Constant, Distribution, Normal, Numeric
from sweep.spec import _distribution_models as m
from sweep.spec._problems import Path, Report, number, shorten
from sweep.spec._scalars import scientific_text
from sweep.spec._translate import show_yaml

_SUM_TOLERANCE = 1e-6
_LARGE_EXPONENT = 50.0


@dataclass(frozen=True, slots=True)
class Context:
    """What a check needs to know beside the parameter itself."""

    declared: str
    method: str | None
    at: Path
    report: Report

    def error(self, message: str, *below: str | int) -> None:
        self.report.error((*self.at, *below), message)

    def warn(self, message: str, *below: str | int) -> None:
        self.report.warn((*self.at, *below), message)


def build(context: Context, model: m.Model) -> Distribution | None:
    """The distribution; None when something is wrong with it, which the report then says."""
    if isinstance(model, m.ConstantParameter):
        _check_plain(context, model.value, "value")
        if isinstance(model.value, list) and len(model.value) > 1:
            context.warn("every run gets the whole list; to try its items one by one write `values`", "value")
        return Constant(model.value)
    if isinstance(model, m.CategoricalParameter | m.WeightedParameter):
        return _categorical(context, model)
    if isinstance(model, m.IntUniformParameter):
        if not _ordered(context, model.min, model.max):
            return None
        return Numeric(float(model.min), float(model.max), integer=True)
    if isinstance(model, m.UniformParameter | m.QUniformParameter):
        return _uniform(context, model)
    if isinstance(model, m.BetaParameter):
        return _beta(context, model)
    if isinstance(model, m.NormalParameter):
        return _normal(context, model)
    raise TypeError(f"{type(model).__name__} is no distribution")


# --- values in a list ------------------------------------------------------------------------------------------


def _categorical(
    context: Context, model: m.CategoricalParameter | m.WeightedParameter
) -> Distribution | None:
    for index, value in enumerate(model.values):
        _check_plain(context, value, "values", index)
    if not model.values:
        context.error("is empty; a parameter needs at least one value", "values")
        return None
    if isinstance(model, m.WeightedParameter):
        return _weighted(context, model)
    first: dict[str, int] = {}
    for index, value in enumerate(model.values):
        earlier = first.setdefault(canonical(value), index)
        if earlier != index:
            context.warn(
                f"equals value {earlier + 1} of the list and counts once; `probabilities` can make a value likelier",
                "values",
                index,
            )
    return Categorical(tuple(model.values[index] for index in first.values()))


def _weighted(context: Context, model: m.WeightedParameter) -> Distribution | None:
    if context.method == "grid":
        context.error(
            "a grid visits every value once, so probabilities have no meaning in it; remove them, or use `method: random`",
            "probabilities",
        )
        return None
    if len(model.probabilities) != len(model.values):
        context.error(
            f"there must be one probability for each value: {len(model.probabilities)} given for {len(model.values)} values",
            "probabilities",
        )
        return None
    total = math.fsum(model.probabilities)
    if abs(total - 1.0) > _SUM_TOLERANCE:
        context.error(f"the probabilities add up to {total:.6g}, and must add up to 1", "probabilities")
        return None
    merged: dict[str, tuple[Any, float]] = {}
    for value, probability in zip(model.values, model.probabilities, strict=True):
        key = canonical(value)
        first, sum_so_far = merged.get(key, (value, 0.0))
        merged[key] = (first, sum_so_far + probability)
    return Categorical(tuple(v for v, _ in merged.values()), tuple(p for _, p in merged.values()))


def _check_plain(context: Context, value: Any, *below: str | int) -> None:
    """Warnings about values that are legal and yet probably not meant."""
    name = str(context.at[-1])
    for path, text in _texts(value, below):
        here = (*context.at, *path)
        is_token = bool(find_tokens(text))
        if is_token or (looks_secret_name(name) and not harmless_value(text)):
            tell = (
                context.report.error if is_token else context.report.warn
            )  # a name alone may mean something else
            tell(
                here,
                "looks like a secret, and configs are recorded; pass it on through the environment: `env: {NAME: ${envvar:NAME}}`",
            )
        elif (as_number := scientific_text(text)) and context.report.is_plain(here):
            context.report.warn(
                here,
                f"`{shorten(text)}` is text for YAML 1.1; the number is written `{shorten(as_number)}` (or quote it if text is meant)",
            )


def _texts(value: Any, path: Path) -> Iterator[tuple[Path, str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _texts(item, (*path, index))
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _texts(item, (*path, key))


# --- numbers between bounds ------------------------------------------------------------------------------------


def _uniform(context: Context, model: m.UniformParameter | m.QUniformParameter) -> Distribution | None:
    if not _ordered(context, model.min, model.max):
        return None
    bounds = _real_bounds(context, model.min, model.max)
    if bounds is None:
        return None
    q, integer = _step(model)
    made = Numeric(*bounds, "log" if "log" in context.declared else "linear", q, integer)
    if q is None:
        return made if _fits_method(context, _grid_instead(made)) else None
    if context.method == "grid" and made.scale == "linear":
        return made  # counted from min, not in multiples of q
    return made if _has_multiple(context, made, model) else None


def _ordered(context: Context, low: float, high: float) -> bool:
    if low >= high:
        only = f"; for the single value write `value: {number(low)}`" if low == high else ""
        message = f"min ({number(low)}) must be below max ({number(high)}){only}"
        context.report.error(context.at, message, place=(*context.at, "min"))
        return False
    if not math.isfinite(float(high) - float(low)):
        context.error("the range from min to max is too wide for floating-point numbers")
        return False
    return True


def _real_bounds(context: Context, low: float, high: float) -> tuple[float, float] | None:
    """Bounds of the value itself, whatever the bounds in the file are of."""
    if "log" not in context.declared:
        return float(low), float(high)
    if context.declared.endswith("_values"):
        if low > 0:
            return float(low), float(high)
        context.error(f"min ({number(low)}) must be above 0 for a logarithmic scale", "min")
        return None
    first, last = (-high, -low) if context.declared == "inv_log_uniform" else (low, high)
    try:
        real = math.exp(first), math.exp(last)
    except OverflowError:
        real = (0.0, math.inf)
    if real[0] <= 0 or real[1] == math.inf or real[0] == real[1]:
        context.error(
            f"the bounds of `{context.declared}` are exponents of e, and exp({number(first)}) to exp({number(last)}) is no "
            f"usable range; if they are values, write `distribution: {_values_form(context.declared)}`"
        )
        return None
    if 0 < low < high <= 1 or high > _LARGE_EXPONENT:
        context.warn(
            f"the bounds of `{context.declared}` are exponents of e: this searches from {real[0]:.4g} to {real[1]:.4g}; "
            f"if they are values, write `distribution: {_values_form(context.declared)}`"
        )
    return real


def _values_form(declared: str) -> str:
    return f"{declared}_values"


def _step(model: m.Model) -> tuple[float | None, bool]:
    """(q, whether values are integers): they are when q is written as a whole number."""
    q = getattr(model, "q", None)
    return (None if q is None else float(q)), isinstance(q, int)


def _has_multiple(context: Context, made: Numeric, model: m.Model) -> bool:
    if made.low <= multiples(made.low, made.high, made.q or 1.0, False)[0] <= made.high:
        return True
    q, low, high = number(getattr(model, "q", 1.0)), number(made.low), number(made.high)
    context.error(f"no multiple of q ({q}) lies between {low} and {high}; make q smaller", "q")
    return False


# --- bells -----------------------------------------------------------------------------------------------------


def _beta(context: Context, model: m.BetaParameter) -> Distribution | None:
    q, integer = _step(model)
    if q is None:
        instead = f"`distribution: q_beta, a: {number(model.a)}, b: {number(model.b)}, q: 0.1`"
        return Beta(float(model.a), float(model.b)) if _fits_method(context, instead) else None
    if q > 1:
        context.error(
            f"q ({number(getattr(model, 'q', q))}) must be at most 1: the values lie between 0 and 1", "q"
        )
        return None
    return Beta(float(model.a), float(model.b), q, integer)


def _normal(context: Context, model: m.NormalParameter) -> Distribution | None:
    mu, sigma, log = float(model.mu), float(model.sigma), "log" in context.declared
    try:
        spread = [math.exp(x) if log else x for x in (mu - sigma, mu, mu + sigma)]
    except OverflowError:
        context.error(
            "exp(mu + sigma) is too large for a floating-point number: `mu` and `sigma` are of the logarithm"
        )
        return None
    q, integer = _step(model)
    normal = Normal(mu, sigma, log, q, integer)
    instead = f"`values: {show_yaml([_short(value) for value in spread])}`"
    if not log:
        low, high, step = _short(mu - 2 * sigma), _short(mu + 2 * sigma), q or _nice(0.4 * sigma)
        bounds = f"min: {number(low)}, max: {number(high)}, q: {number(step)}"
        instead = f"`distribution: q_uniform, {bounds}` or {instead}"
    return normal if _fits_method(context, instead) else None


# --- grids -----------------------------------------------------------------------------------------------------


def _fits_method(context: Context, instead: str) -> bool:
    if context.method != "grid":
        return True
    kind = "unbounded" if "normal" in context.declared else "continuous"
    context.error(
        f"a grid needs countable values, and `{context.declared}` is {kind}; write, for example, {instead}"
    )
    return False


def _grid_instead(made: Numeric) -> str:
    """A quantised form of about ten steps, with the numbers of this very parameter."""
    low, high = _short(made.low), _short(made.high)
    q = _nice((high - low) / 10)
    if made.scale == "linear":
        return f"`distribution: q_uniform, min: {number(low)}, max: {number(high)}, q: {number(q)}`"
    decades = math.log(made.high / made.low)
    spread = [float(f"{made.low * math.exp(decades * i / 3):.2g}") for i in range(4)]
    bounds = f"min: {number(low)}, max: {number(high)}"
    return f"`distribution: q_log_uniform_values, {bounds}, q: {number(q)}` or `values: {show_yaml(spread)}`"


def _short(x: float) -> float:
    return float(f"{x:.6g}")


def _nice(x: float) -> float:
    """1, 2 or 5 times a power of ten, near x > 0."""
    if not 1e-300 < x < 1e300:
        return x or 1.0
    power = 10.0 ** math.floor(math.log10(x))
    return float(f"{min((1, 2, 5, 10), key=lambda step: abs(step * power - x)) * power:.1g}")
