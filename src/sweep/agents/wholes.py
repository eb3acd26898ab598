"""Whole outputs of ended attempts, on their way to where the spec's `outputs` says.

The rules of this file: what is written takes as long as the network does, so a thread does it, one file after the other, and the
agent's loop only asks; the store is told where a file is when it is there, not before.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path

from sweep.agents.view import Level
from sweep.core.names import run_id, whole_output_cache
from sweep.core.outputs import whole_address
from sweep.stores.whole import WholeError, write_whole

WAITS_S = 60.0
"""An agent that has nothing else to do stays so long at most after the last attempt's end."""


class Wholes:
    """Brings files away."""

    def __init__(self, sweep: str, say: Callable[[str, Level], None]) -> None:
        """`say` tells a person what went wrong."""
        self._sweep, self._say = sweep, say
        self._waiting: deque[tuple[int, int, str, Path]] = deque()
        self._done: deque[tuple[int, int, str, Path, str]] = deque()
        self._thread: threading.Thread | None = None
        self._until_s = 0.0

    def begin(self, place: str, run: int, attempt: int, path: Path, now_s: float) -> None:
        """An attempt has ended whose output, the file `path`, is to be at `place`."""
        self._waiting.append((run, attempt, whole_address(place, self._sweep, run, attempt), path))
        self._until_s = now_s + WAITS_S
        self._go_on()

    def owes(self, now_s: float) -> bool:
        """Whether something is under way that is worth waiting for."""
        return now_s < self._until_s and bool(self._waiting or self._done or self._thread is not None)

    def step(self, put: Callable[[str, bytes], None]) -> None:
        """Take note of what has been written meanwhile; `put(name, content)` keeps something with the next commit."""
        while self._done:
            run, attempt, address, path, problem = self._done.popleft()
            if problem:
                name = run_id(self._sweep, run)
                self._say(f"the whole output of {name} stays on this node, in {path}: {problem}", "warning")
            else:
                put(whole_output_cache(run, attempt), address.encode("utf-8", "surrogateescape"))
        if self._thread is not None and not self._thread.is_alive():
            self._thread = None
            self._go_on()

    def _go_on(self) -> None:
        if self._waiting and self._thread is None:
            self._thread = threading.Thread(target=self._write, name="outputs", daemon=True)
            self._thread.start()

    def _write(self) -> None:
        while self._waiting:
            run, attempt, address, path = self._waiting.popleft()
            try:
                write_whole(address, path)
                problem = ""
            except WholeError as error:
                problem = str(error)
            self._done.append((run, attempt, address, path, problem))
