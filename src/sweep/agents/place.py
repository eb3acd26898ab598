"""Where runs start on a node, and the code that is there. Found by `sweep.api.placing`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import msgspec

from sweep.provenance.watch import CodeWatch


class Place(msgspec.Struct, frozen=True):
    """Where runs start on this node."""

    workdir: Path
    code: Literal["as it is", "same", "local", "unpacked"]
    """In the folder that the sweep was created in; compared and the same; compared and different; written from the record."""
    differs: tuple[str, ...] = ()
    """Some of the paths in which it differs from the record."""
    now: dict[str, Any] | None = None
    """The record of the code that is there (`CodeRecord` as plain data) where it is not the sweep's."""
    blobs: tuple[bytes, ...] = ()
    """What that names and the sweep's record does not."""
    watched: Watched | None = None
    """For code that people can edit while runs start in it."""

    @property
    def record(self) -> dict[str, Any]:
        """For the record of an agent."""
        return {"workdir": str(self.workdir), "code": self.code, "differs": list(self.differs)}

    @property
    def is_code_of(self) -> tuple[Path, str]:
        """What two places have in common where the same code is executed."""
        return self.workdir, self.now["tree"] if self.now else ""


class Watched:
    """Code that is used where it lies."""

    def __init__(
        self,
        watch: CodeWatch,
        paths: frozenset[str],
        again: Callable[[], Callable[[Callable[[str], None]], Place]],
    ) -> None:
        """`paths`: all in which it differs from the sweep's record. `again`: looks where runs should start now; takes its time, and
        may be called in a thread; what that returns is called in the thread that has the store, with what tells a person, and gives the place."""
        self.watch, self.paths, self.again = watch, paths, again
