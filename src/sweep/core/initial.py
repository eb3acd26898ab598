"""Configs to try first: what an initial config of the spec leaves open is drawn.

The rule of this file: the draws come from a stream of their own, a function of (space, seed, the config's number) alone, so that
every controller completes them alike.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from sweep.core import domain
from sweep.core.conditions import active_under
from sweep.core.equality import canonical
from sweep.core.seeds import uniform
from sweep.core.space import Config, Space
from sweep.core.spec import Method

TRIES = 5_000


def completed(space: Space, method: Method, initial: Sequence[Config], seed: int) -> list[Config]:
    """Whole configs for `initial`, each once; one that cannot be completed is left out (`sweep create` refuses it)."""
    found: dict[str, Config] = {}
    for number, partial in enumerate(initial):
        config = completion(space, method, partial, seed, number, found)
        if config is not None:
            found[canonical(config)] = config
    return list(found.values())


def completion(
    space: Space, method: Method, partial: Config, seed: int, number: int, taken: Collection[str]
) -> Config | None:
    """A config of the space that has all values of `partial`, is allowed and not among `taken`; None when none was found
    in some thousands of draws. One that leaves nothing open is itself, taken or not."""
    given = [_given(partial, parameter.path) for parameter in space.parameters]
    for attempt in range(TRIES):
        drawn = [
            _drawn(space, method, position, seed, f"initial-{attempt}", number) if is_open else value
            for position, (value, is_open) in enumerate(given)
        ]
        active = active_under(space, drawn)
        config = domain.assemble(space, drawn)
        suits = all(is_open or is_active for (_, is_open), is_active in zip(given, active, strict=True))
        if suits and domain.allows(space, config):
            is_whole = not any(
                is_open and is_active for (_, is_open), is_active in zip(given, active, strict=True)
            )
            if is_whole or canonical(config) not in taken:
                return config
    return None


def _given(partial: Config, path: tuple[str, ...]) -> tuple[Any, bool]:
    """The value, and whether it is left open."""
    try:
        return domain.value_at(partial, path), False
    except KeyError:
        return None, True


def _drawn(space: Space, method: Method, position: int, seed: int, stream: str, number: int) -> Any:
    parameter = space.parameters[position]
    u = uniform(seed, stream, number, parameter.path)
    if method != "grid":
        return domain.from_unit(parameter.distribution, u)
    choices = domain.grid_values(parameter.distribution)
    return choices[min(int(u * len(choices)), len(choices) - 1)]
