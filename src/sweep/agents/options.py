"""What a person may ask of an agent."""

from __future__ import annotations

import msgspec

from sweep.agents.checkpoints import EVERY_S
from sweep.agents.session import Timing
from sweep.core.until import Until


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What the person asked of this agent."""

    count: int | None = None
    until: Until | None = None
    """When it must be gone, by the monotonic clock."""
    timing: Timing = Timing()
    checkpoint_every_s: float = EVERY_S
    avoid_busy: bool = False
    """Offer no slot while another program computes on its GPUs."""
    aside: dict[int, str] = {}
    """slot -> why it was set aside in an earlier life of this agent."""
