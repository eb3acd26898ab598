"""How large a sweep is: what `create` and `validate` announce is what the agent's progress counts up to."""

from __future__ import annotations

from sweep.core.domain import grid_size, size
from sweep.core.space import Space
from sweep.core.spec import Method, SweepSpec


def points(method: Method, space: Space) -> int | None:
    """How many configs a search has to choose from, None for no end. A grid over `q_uniform` has fewer than can be drawn
    at random: it stops below `max`."""
    return grid_size(space) if method == "grid" else size(space)


def trials(spec: SweepSpec, run_cap: int | None) -> int | None:
    """How many trials there can be: the smaller of `run_cap` and the number of points; None without either."""
    limits = [limit for limit in (points(spec.method, spec.space), run_cap) if limit is not None]
    return min(limits, default=None)
