"""Where proposals are made: in this process when the searcher is cheap, in a child process when it is not.

Either way the answer carries what it was asked for, so that one that has become stale is recognised.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from sweep.core.plugins import Observation, Proposals
from sweep.core.spec import SweepSpec


class Request(msgspec.Struct, frozen=True):
    """One question to the searcher."""

    first: int
    """Number of the first trial asked for."""
    n: int
    revision: int
    seen: int
    """Journal position up to which results were known."""


class Answer(msgspec.Struct, frozen=True):
    request: Request
    proposals: Proposals
    engine: str
    engine_version: str


class SearchFailed(Exception):
    """The searcher could not answer; the message says why."""


class SearchPort(Protocol):
    """What the driver asks for proposals."""

    lookahead: int
    """Trials worth having ready beyond the free slots (cheap searchers are asked ahead, costly ones know more later)."""

    def ask(self, spec: SweepSpec, request: Request, seen: Sequence[Observation]) -> None:
        """Begin to answer. Only called while `busy` is false."""
        ...

    @property
    def busy(self) -> bool:
        """Whether a question is open."""
        ...

    def poll(self) -> Answer | None:
        """The answer, once it is there. Raises SearchFailed when there will be none."""
        ...

    def fileno(self) -> int | None:
        """A descriptor that becomes readable with the answer, if there is one to wait for."""
        ...

    def close(self) -> None: ...
