"""What the agent's core and the shell around it say to each other: actions to carry out, and what is known of an end."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from sweep.core import entries as e


class Append(msgspec.Struct, frozen=True):
    """Write this event to the journal."""

    entry: e.AnyEntry


class Start(msgspec.Struct, frozen=True):
    """Start the process of this assignment; then call `started` or `start_failed`."""

    assignment: e.RunAssigned


class Signal(msgspec.Struct, frozen=True):
    """Send a signal to a run: to its process group, or (`everything`) to every descendant."""

    run: int
    attempt: int
    signal: int
    everything: bool = False


class TellStop(msgspec.Struct, frozen=True):
    """Tell the training program, over its socket, that it should end."""

    run: int
    attempt: int
    reason: str


class Forget(msgspec.Struct, frozen=True):
    """Kill everything and drop all results: the lease is lost and others may be doing these runs by now."""

    reason: str


class Say(msgspec.Struct, frozen=True):
    """A line for the person at the terminal."""

    text: str
    level: Literal["info", "warning", "error"] = "info"


class Look(msgspec.Struct, frozen=True):
    """Look at the GPUs of these slots; then call `looked`."""

    slots: tuple[int, ...]


Action = Append | Start | Signal | TellStop | Forget | Say | Look


class Finding(msgspec.Struct, frozen=True):
    """What a look at the GPUs of a slot has found, in words for a person."""

    busy: str = ""
    """Who else computes there."""
    lost: str = ""
    """Why no run can compute there any more."""


class Cause(msgspec.Struct, frozen=True):
    """What the shell found out about a failure beyond the exit code."""

    error_class: e.ErrorClass
    text: str
    """In words, with the evidence."""


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """What the shell knows of an attempt when its process has ended and all its rows are in."""

    exit_code: int | None
    """Exit status, -N for signal N."""
    score: float | None = None
    summary: dict[str, Any] = {}
    rows: int = 0
    tail: str = ""
    defaults: dict[str, Any] = {}
    """What the program's own defaults added to its config."""
    state: dict[str, Any] = {}
    """How far its libraries were seeded and deterministic."""
    cpu_s: float | None = None
    maxrss_bytes: int | None = None
    wall_s: float | None = None
    cause: Cause | None = None
    checkpoint: str = ""
    """Digest of what is kept of its checkpoint folder."""
    usage: e.Usage | None = None
