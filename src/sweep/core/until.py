"""An agent that knows its end: until when it starts runs, and when it ends those that still run.

The rule of this file: times are seconds of the agent's own clock.
"""

from __future__ import annotations

import msgspec

from sweep.core.spec import Limits

PARTING_S = 2.0
"""What an agent that must be gone at a time needs to write down how its runs have ended."""


class Until(msgspec.Struct, frozen=True):
    """When an agent must be gone: a batch system ends its job then, or a person said so."""

    at_s: float
    text: str
    """How a person calls that time: `17:30`."""

    def last_start_s(self, limits: Limits) -> float:
        """From when on no run may begin any more: it could not end by its own limit before the runs here are ended."""
        return self.end_runs_s(limits) - (limits.run_time_s or 0.0)

    def end_runs_s(self, limits: Limits) -> float:
        """When what still runs is asked to end, to go on elsewhere."""
        return self.at_s - limits.kill_after_s - PARTING_S
