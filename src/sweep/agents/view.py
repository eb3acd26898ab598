"""What a person watching an agent is told. The command line implements it; tests and programs may, too."""

from __future__ import annotations

from typing import Literal, Protocol

import msgspec

from sweep.core import entries as e
from sweep.core.views import SweepView

Level = Literal["info", "warning", "error"]


class SlotLine(msgspec.Struct, frozen=True):
    """One slot as it is now."""

    slot: int
    gpus: tuple[str, ...]
    run: int | None = None
    attempt: int = 0
    config: dict[str, object] = {}
    running_s: float = 0.0
    rows: int = 0
    last: float | None = None
    """The objective's latest value."""
    ending: str = ""
    """Why the run is being ended, if it is."""
    waits: str = ""
    """Why the slot is not offered: another program uses its GPU, or that is lost."""


class Snapshot(msgspec.Struct, frozen=True):
    """The agent's node and sweep as they are now."""

    sweep: SweepView
    slots: tuple[SlotLine, ...]
    leads: bool
    draining: str


class View(Protocol):
    """Where the agent's loop shows what it does. Never raises."""

    def joined(self, agent: str) -> None:
        """This agent has its place in the sweep; again, under another name, after its lease was lost."""
        ...

    def say(self, text: str, level: Level) -> None: ...

    def started(self, assignment: e.RunAssigned) -> None: ...

    def ended(self, assignment: e.RunAssigned, event: e.AttemptEnded, duration_s: float) -> None: ...

    def show(self, snapshot: Snapshot) -> None:
        """Called about once a second."""
        ...
