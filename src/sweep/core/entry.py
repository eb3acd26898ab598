"""What all entries of a journal are made from (`sweep.core.entries` has the whole vocabulary)."""

from __future__ import annotations

import msgspec


class Entry(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=True):
    """Base of everything in a journal."""


class Event(Entry, frozen=True, array_like=True, gc=False, tag=True):
    """A fact from outside: recorded even when it comes too late to matter."""


class Decision(Entry, frozen=True, array_like=True, gc=False, tag=True):
    """Something the controller decided; appended under its lease, and always legal."""
