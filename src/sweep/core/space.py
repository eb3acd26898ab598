"""The search space: parameters, their distributions, and configs as points of it.

A config is what a run gets: plain Python data (None, bool, int, float, str, list, dict with string keys),
nested as the parameters are nested. Everything here is pure and deterministic.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

Config = dict[str, Any]


class Constant(msgspec.Struct, frozen=True, tag="constant"):
    """Always `value`."""

    value: Any


class Categorical(msgspec.Struct, frozen=True, tag="categorical"):
    """One of `values`; `probabilities` (same length, sum 1) or None for equal ones. Equal values are merged."""

    values: tuple[Any, ...]
    probabilities: tuple[float, ...] | None = None


class Numeric(msgspec.Struct, frozen=True, tag="numeric"):
    """A number in [low, high], uniform on `scale`, both bounds in real values (never exponents).

    `q`: values are multiples of q, the ends clipped to the last multiple inside the bounds.
    `integer`: values are Python ints (int_uniform, or a quantised distribution with an integer q).
    """

    low: float
    high: float
    scale: Literal["linear", "log"] = "linear"
    q: float | None = None
    integer: bool = False


class Normal(msgspec.Struct, frozen=True, tag="normal"):
    """Normal(mu, sigma); with `log`, exp of it. `q` and `integer` as in `Numeric`."""

    mu: float = 0.0
    sigma: float = 1.0
    log: bool = False
    q: float | None = None
    integer: bool = False


class Beta(msgspec.Struct, frozen=True, tag="beta"):
    """Beta(a, b) on [0, 1]. `q` and `integer` as in `Numeric`."""

    a: float = 1.0
    b: float = 1.0
    q: float | None = None
    integer: bool = False


Distribution = Constant | Categorical | Numeric | Normal | Beta


class Condition(msgspec.Struct, frozen=True):
    """Holds while the parameter at `path` is itself active and has one of `values`."""

    path: tuple[str, ...]
    values: tuple[Any, ...]


class Parameter(msgspec.Struct, frozen=True):
    """One axis. `path` is where its value stands in the nested config: ("optimizer", "lr")."""

    path: tuple[str, ...]
    distribution: Distribution
    declared: str = ""
    """The dialect's name of the distribution (`log_uniform_values`), for people and pictures."""
    when: tuple[Condition, ...] = ()
    """The parameter is active, and part of a config, only where all of these hold; always without any."""

    @property
    def name(self) -> str:
        """Dotted name for people: `optimizer.lr`."""
        return ".".join(self.path)


class Space(msgspec.Struct, frozen=True):
    """All axes, in the order of the file, each leaf once, and the expressions (`sweep.core.constraints`) that every config
    satisfies."""

    parameters: tuple[Parameter, ...]
    constraints: tuple[str, ...] = ()
