"""The training side: what runs inside the user's program. Standard library only, Python 3.8 syntax, nearly free to import.

Nothing here may raise or wait because of us: a program trains on when the agent is gone or the disk is full. Only `Run.use_artifact` waits,
and raises: without the data there is nothing to go on with.
"""

from __future__ import annotations

from sweep.sdk._config import Config, Summary
from sweep.sdk._run import Pruned, Run, current, init, log

TYPE_CHECKING = False
if TYPE_CHECKING:
    config: Config
    summary: Summary

__all__ = ["Config", "Pruned", "Run", "Summary", "config", "init", "log", "summary"]


def __getattr__(name: str) -> object:
    if name in ("config", "summary"):
        run = current()
        if run is None:
            raise AttributeError(f"sweep.{name}: there is no run yet; call sweep.init() first")
        return getattr(run, name)
    raise AttributeError(f"module 'sweep.sdk' has no attribute {name!r}")
