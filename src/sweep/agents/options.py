"""What a person may ask of an agent."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from sweep.agents.checkpoints import EVERY_S
from sweep.agents.leaving import leave_at
from sweep.agents.leaving import until as leaving_at
from sweep.agents.session import Timing
from sweep.core.errors import SweepError
from sweep.core.until import Until

SECONDS = {"SWEEP_LEASE_S": 10.0, "SWEEP_CHECKPOINT_S": EVERY_S}
"""Variables that give an agent seconds, and what holds without them."""


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


def asked(
    environ: Mapping[str, str],
    unix_s: float,
    monotonic_s: float,
    *,
    count: int | None = None,
    until: str | None = None,
    avoid_busy: bool = False,
) -> Options:
    """What a person asked for, in words and by the environment. `until`: as `--until`. Raises SweepError (BadTime is one)."""
    return Options(
        count=count,
        until=leaving_at(leave_at(until, environ, unix_s), unix_s, monotonic_s),
        timing=timing(environ),
        checkpoint_every_s=seconds(environ, "SWEEP_CHECKPOINT_S"),
        avoid_busy=avoid_busy,
    )


def timing(environ: Mapping[str, str]) -> Timing:
    """How long an agent or a controller may be silent before it counts as lost. Raises SweepError."""
    lease_s = seconds(environ, "SWEEP_LEASE_S")
    return Timing(lease_s, lease_s)


def seconds(environ: Mapping[str, str], name: str) -> float:
    """What a variable of SECONDS says. Raises SweepError."""
    text = environ.get(name, "")
    try:
        found = float(text or SECONDS[name])
    except ValueError:
        found = 0.0
    if not 1.0 <= found <= 3600.0:
        raise SweepError(f"{name} must be a number of seconds from 1 to 3600, not {text!r}")
    return found
