"""What an agent that was started from Python says: one line on standard error for everything that happens."""

from __future__ import annotations

import contextlib
import sys
from typing import Literal

from sweep.agents import Node, Snapshot
from sweep.core import entries as e
from sweep.core.names import run_id
from sweep.core.rows import Views
from sweep.core.spec import SweepSpec

_SHOWN = 100


def tell(text: str) -> None:
    """One line for a person. When nobody reads it any more the work goes on."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        sys.stderr.write(f"sweep: {text}\n")
        sys.stderr.flush()


class Lines:
    """A `View` of plain lines."""

    def __init__(self, sweep: str, spec: SweepSpec) -> None:
        self.sweep, self.spec = sweep, spec

    def begin(self, node: Node, views: Views | None = None) -> None:  # noqa: ARG002
        """What this agent is about to do."""
        gpus = f", {len(node.gpus)} GPU{'s' if len(node.gpus) != 1 else ''}" if node.gpus else ""
        slots = f"{len(node.slots)} slot{'s' if len(node.slots) != 1 else ''}"
        tell(f"agent for sweep {self.sweep}: {slots}{gpus}")

    def joined(self, agent: str) -> None:
        """Nothing: `begin` has said it."""

    def say(self, text: str, level: Literal["info", "warning", "error"]) -> None:
        """A message from the agent."""
        tell(text if level == "info" else f"{level}: {text}")

    def started(self, assignment: e.RunAssigned) -> None:
        """A run's process exists."""
        again = f" (attempt {assignment.attempt})" if assignment.attempt > 1 else ""
        config = ", ".join(f"{key}={value}" for key, value in assignment.config.items())
        shown = config if len(config) <= _SHOWN else f"{config[: _SHOWN - 1]}…"
        tell(f"{run_id(self.sweep, assignment.run)} started{again}: {shown}")

    def ended(self, assignment: e.RunAssigned, event: e.AttemptEnded, duration_s: float) -> None:
        """A run's process is gone."""
        text = f"{run_id(self.sweep, assignment.run)} {event.outcome} after {duration_s:.1f} s"
        if self.spec.metric is not None and event.score is not None:
            text += f": {self.spec.metric.name} {event.score:.6g}"
        tell(f"{text} ({event.reason})" if event.reason else text)
        if event.outcome == "failed" and event.tail:
            for line in event.tail.splitlines():
                tell(f"  | {line}")

    def show(self, snapshot: Snapshot) -> None:
        """Nothing: lines say it all."""


class SeveralLines(Lines):
    """The lines about one of several sweeps: each says which."""

    def say(self, text: str, level: Literal["info", "warning", "error"]) -> None:
        """A message from the agent about this sweep."""
        super().say(text if self.sweep in text else f"{self.sweep}: {text}", level)
