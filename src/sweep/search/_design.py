"""The first points of a model-based sweep: the centre, then Latin hypercubes.

Each block of points has one in each of its equally likely slices of every parameter (McKay, Beckman and Conover,
Technometrics 21, 1979), so that a few points already show every parameter low, high and between, and choices come as
often as their probabilities say. Everything is a hash of (seed, index, path), like the random stream.
"""

from __future__ import annotations

from sweep.core import domain
from sweep.core.seeds import derive
from sweep.core.space import Config, Space
from sweep.search._stream import uniform

BLOCK = 9


def start_point(space: Space, seed: int, index: int) -> Config:
    """Point `index` (0, 1, …) of the design."""
    values = []
    for parameter in space.parameters:
        u = 0.5 if index == 0 else _slice(seed, index - 1, parameter.path)
        values.append(domain.from_unit(parameter.distribution, u))
    return domain.assemble(space, values)


def _slice(seed: int, index: int, path: tuple[str, ...]) -> float:
    block, place = divmod(index, BLOCK)
    order = sorted(range(BLOCK), key=lambda slot: derive(seed, "design", block, slot, *path))
    return (order[place] + uniform(seed, "design-jitter", index, path)) / BLOCK


def start_count(space_axes: int, run_cap: int | None) -> int:
    """How many scored trials a model waits for: ten, but no more than a quarter of a small budget (and at least four)."""
    if space_axes == 0:
        return 0
    return 10 if run_cap is None else min(10, max(4, run_cap // 4))
