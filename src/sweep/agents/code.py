"""An agent's part in the code that its runs execute: whether it is still what was recorded when the next of them starts.

The rules of this file:
- Code in a folder that people can edit is looked at before a run starts and when one has ended, by a `stat` of each file. Where nothing
  was changed that is all; looks take a twentieth of the time at most, and what is changed in between is seen by the next.
- Where a file was changed, the code is compared in a thread, and runs start when that is done: what is there now is recorded, and theirs.
- Runs that were at work since the last look that found nothing may have read either: that is recorded with them.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

from sweep.agents.place import Place
from sweep.agents.session import Session
from sweep.agents.view import Level
from sweep.core import entries as e

AGAIN_S = 0.02
RARELY = 20
"""A look is not repeated before so many times as long as it took."""
MOST = 32
"""So often code is recorded anew in one life of an agent; then it is only said that it changes."""
MOST_NAMED = 20
Key = tuple[int, int]
"""Run and attempt."""
Say = Callable[[str, Level], None]
Then = Callable[[Callable[[str], None]], Place]


class Code:
    """The code of an agent's runs, over all its lives."""

    def __init__(self, place: Place | None, move: Callable[[Place], None], say: Say) -> None:
        """`place`: None for runs that call a function. `move` is told where runs start from now on."""
        self._place, self._move, self._say = place, move, say
        self._session: Session | None = None
        self.number = 0
        """Of the code that runs which start now execute: 0 as when this life of the agent began, then 1, 2, …"""
        self._doubtful: set[Key] = set()
        """Attempts that have ended since the last look, or were at work at the one that found a change."""
        self._named: list[str] = []
        self._thread: threading.Thread | None = None
        self._then: Then | Exception | None = None
        self._next_s = 0.0

    @property
    def record(self) -> dict[str, Any]:
        """For the record of an agent that joins."""
        place = self._place
        if place is None:
            return {}
        return {"place": place.record, **({"code": place.now} if place.now is not None else {})}

    @property
    def blobs(self) -> tuple[bytes, ...]:
        """What that names."""
        return () if self._place is None else self._place.blobs

    def join(self, session: Session) -> None:
        """A life of the agent begins: its `record` is about to be written."""
        self._session, self.number = session, 0
        self._doubtful.clear()

    def ready(self, at_work: Iterable[Key]) -> bool:
        """Whether a run may start now; if not, ask again soon."""
        if self._thread is None and self._then is None:
            self._look(at_work)
        return self._thread is None and self._then is None

    def ended(self, key: Key, at_work: Iterable[Key]) -> None:
        """This attempt has ended."""
        self._doubtful.add(key)
        if self._thread is None and self._then is None:
            self._look(at_work)

    def step(self) -> None:
        """Record what has become known."""
        if self._thread is not None and not self._thread.is_alive():
            self._thread = None
        if self._thread is None and self._then is not None:
            then, self._then = self._then, None
            if isinstance(then, Exception):
                self._say(f"the code could not be compared: {then}", "warning")
            else:
                self._found(then(lambda text: self._say(text, "info")))
            self._doubtful.clear()

    def due_s(self, now_s: float) -> float | None:
        """When `step` should be called at the latest."""
        return now_s + AGAIN_S if self._busy else None

    def owes(self, _: float) -> bool:
        """Whether something is under way that is worth waiting for."""
        return self._busy

    def forget(self) -> None:
        """Nothing that runs here counts any more."""
        self._doubtful.clear()

    @property
    def _busy(self) -> bool:
        return self._thread is not None or self._then is not None

    def _look(self, at_work: Iterable[Key]) -> None:
        began_s = time.monotonic()
        if self._place is None or self._place.watched is None or began_s < self._next_s:
            return
        watched = self._place.watched
        self._named = watched.watch.look()
        self._next_s = time.monotonic() + (RARELY - 1) * (time.monotonic() - began_s)
        if not self._named:
            self._doubtful.clear()
            return
        self._doubtful.update(at_work)
        self._thread = threading.Thread(target=self._compare, args=(watched.again,), name="code", daemon=True)
        self._thread.start()

    def _compare(self, again: Callable[[], Then]) -> None:
        began_s = time.monotonic()
        try:
            self._then = again()
        except Exception as error:  # a thread has nobody else to tell
            self._then = error
        self._next_s = time.monotonic() + (RARELY - 1) * (time.monotonic() - began_s)

    def _found(self, now: Place) -> None:
        before = self._place
        assert before is not None and before.watched is not None and self._session is not None
        self._place = now
        if now.is_code_of == before.is_code_of:
            return
        paths = before.watched.paths | (now.watched.paths if now.watched is not None else frozenset())
        files = [path for path in self._named if path in paths] or self._named
        self.number += 1
        kept = self.number <= MOST
        if not kept:
            self._place = Place(now.workdir, now.code, tuple(files))
            self._say(
                f"the code changes all the time ({', '.join(files[:5])}): it is not recorded any more",
                "warning",
            )
        record = now.now if now.now is not None and kept else {}
        self._session.blobs.extend(now.blobs if kept else ())
        during = tuple(sorted(self._doubtful))
        self._session.add(
            e.CodeChanged(
                self._session.agent,
                self.number,
                tuple(files[:MOST_NAMED]),
                record,
                self._place.record,
                during,
            )
        )
        self._move(self._place)
