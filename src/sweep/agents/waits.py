"""How long an agent's loop waits for what."""

from __future__ import annotations

OBJECTIVE_S = 0.05
"""Objective values, and that a run has started, wait so long at most for others to share their commit."""
HISTORY_S = 1.0
"""Other rows wait so long at most."""
WATCH_S = 1.0
"""How often a leading agent looks for agents that have vanished."""
SHOW_S = 0.5
AGAIN_S = 1.0
"""Pause before a run that found no room on the disk is started again."""
GUARD_MARGIN_S = 0.5
"""The guard ends everything this long before the lease runs out by the store's clock."""
TAIL_LINES = 20
