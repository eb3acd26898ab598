"""Stoppers: what ends poor runs early. Pure; no stores, processes or clocks.

The rule of this package: a stopper judges by the reported values alone, whatever the order in which runs report.
"""

from __future__ import annotations

from sweep.core.plugins import Stopper
from sweep.core.spec import SweepSpec


def make_stopper(spec: SweepSpec) -> Stopper | None:
    """The stopper that `early_terminate` asks for; None without one, or without a metric to judge by.

    Raises ValueError when its numbers make no bands.
    """
    if spec.early_terminate is None or spec.early_terminate.type == "none" or spec.metric is None:
        return None
    from sweep.stopping._hyperband import Hyperband

    return Hyperband(spec.metric, spec.early_terminate)
