"""What is said, and returned, when an agent leaves a sweep in which nothing has succeeded."""

from __future__ import annotations

from collections.abc import Sequence

from sweep.core.names import run_id
from sweep.core.views import SweepView

_WENT_WELL = ("completed", "pruned", "paused")


def nothing_succeeded(sweep: SweepView, failed: Sequence[int]) -> str:
    """How to look at it and what then, where runs have failed here (`failed`, by number: `End.failed`) and no run of the whole
    sweep has succeeded anywhere; '' otherwise. One that is still to be tried again has not failed yet."""
    count = sweep.counts.get("failed", 0)
    if not failed or not count or any(sweep.counts.get(state) for state in _WENT_WELL):
        return ""
    return (
        f"no run of this sweep has succeeded ({count} failed): `sweep logs {run_id(sweep.sweep, failed[0])}` prints what it said; "
        f"when that is mended, `sweep retry {sweep.sweep}` and `sweep agent {sweep.sweep}` try again"
    )
