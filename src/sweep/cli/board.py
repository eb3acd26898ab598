"""What an agent of several sweeps shows: a line for everything that happens, and on a terminal a live view of all of them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from types import TracebackType
from typing import Any, Literal

from msgspec.structs import replace

from sweep.agents.view import Snapshot
from sweep.cli.live import COLOURS, LiveView, PlainView, begin_live, on_terminal
from sweep.core.spec import SweepSpec


class Board:
    """The views of all sweeps, on one terminal."""

    def __init__(self, on_joined: Callable[[str], None] | None = None) -> None:
        """`on_joined` is told each name that the agent has."""
        self.on_joined = on_joined
        self._views: dict[str, SweepLines] = {}
        self._live: Any = None

    def __enter__(self) -> Board:
        if on_terminal():
            self._live = begin_live()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def of(self, sweep: str, spec: SweepSpec | None = None) -> SweepLines:
        """The view of one sweep; a new one where `spec` is given."""
        if spec is not None:
            self._views[sweep] = SweepLines(self, sweep, spec)
        return self._views[sweep]

    def line(self, text: str, colour: str | None = None) -> None:
        """A line above the picture."""
        if self._live is None:
            PlainView.write(text, colour)
        else:
            from rich.text import Text

            with contextlib.suppress(OSError):
                self._live.console.print(Text(text, style=colour or ""), soft_wrap=True)

    def say(self, text: str, level: Literal["info", "warning", "error"]) -> None:
        """A message that is about no single sweep."""
        self.line(text if level == "info" else f"{level}: {text}", COLOURS[level])

    def draw(self) -> None:
        """Draw all sweeps that are worked on."""
        if self._live is None:
            return
        from rich.console import Group

        pictures = [view.picture() for view in self._views.values()]
        with contextlib.suppress(OSError):
            self._live.update(Group(*(picture for picture in pictures if picture is not None)), refresh=True)


class SweepLines(LiveView):
    """The view of one of them; its lines and its picture are the board's."""

    def __init__(self, board: Board, sweep: str, spec: SweepSpec) -> None:
        super().__init__(sweep, spec)
        self._board = board
        self.on_joined = board.on_joined
        self._snapshot: Snapshot | None = None

    def line(self, text: str, colour: str | None = None) -> None:
        self._board.line(text, colour)

    def say(self, text: str, level: Literal["info", "warning", "error"]) -> None:
        """A message of the agent about this sweep."""
        super().say(text if self.sweep in text else f"{self.sweep}: {text}", level)

    def show(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._board.draw()

    def picture(self) -> Any:
        """Its slots that are in use, the best so far, the progress; None before there is anything, and after its end."""
        snapshot = self._snapshot
        if snapshot is None or snapshot.sweep.state == "ended":
            return None
        busy = tuple(slot for slot in snapshot.slots if slot.run is not None or slot.waits)
        return self._picture(replace(snapshot, slots=busy))

    def finish(self, views: Any) -> None:
        self._snapshot = None
        super().finish(views)
