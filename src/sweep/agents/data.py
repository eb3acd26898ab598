"""An agent's part in the data that runs read: what it was when they began, and whether it still was when they ended.

The rules of this file:
- Data is hashed beside the run, in threads; the loop calls `step`, and a run waits for nothing.
- Of a folder that the spec names, what it was when it was looked at last counts as what it is when a run begins, where it is at rest and no
  file has come or gone. The look at the run's end tells whether that was right: where files had been written to, and their times say that
  this was before the run began, what they are now is recorded instead; otherwise the run is tainted. Never does a content stay recorded that
  it did not read.
- Elsewhere such a folder may have been looked at `SLACK_S` before a run begins, at the end of the one before it, say.
- No name is recorded that looks like a token or is the value of a secret variable; no content is, in any case.
- Each piece is looked at again when the attempt has ended. What had changed by then taints the run: nobody can say which of the two it read.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from sweep.agents.session import Session
from sweep.core import entries as e
from sweep.provenance import known_secrets
from sweep.provenance.at_rest import Rest
from sweep.provenance.data import DataError, Digests, Seen, without_secrets
from sweep.provenance.scrub import scrub
from sweep.provenance.tree import digest_bytes

CACHE = "digests.db"
AGAIN_S = 0.05
SLACK_S = 1.0
STEP_S = 1.0
"""Times say when data was changed as long as the clock has not been set by this much."""
MOST = 1_000
"""So many pieces of data are recorded of one attempt."""


class _Piece:
    """A file or a folder that an attempt reads."""

    def __init__(self, path: str, name: str, since_s: float, stamp: Sequence[int]) -> None:
        self.path, self.name, self.since_s, self.stamp = path, name, since_s, tuple(stamp)
        self.found: Seen | str | None = None
        """What it was at first; in words why it cannot be read; None before that is known."""
        self.assumed: Rest | None = None
        """Where `found` is what it was before: how it was at rest then."""
        self.clock_s = time.time() - time.monotonic()
        self.instead = ""
        """The digest that was recorded at first, where only the end showed what it had been from the beginning."""


class _Attempt:
    def __init__(self, run: int, attempt: int, workdir: str) -> None:
        self.run, self.attempt, self.workdir = run, attempt, workdir
        self.pieces: dict[str, _Piece] = {}
        self.over = False
        self.now: dict[str, Seen | str] | None = None
        """Once it has ended: what its data is then."""


class Data:
    """The data of an agent's attempts."""

    def __init__(self, root: Path, session: Session) -> None:
        """`root`: the folder that remembers digests; `session`: takes entries and blobs for the next commit."""
        self._digests, self._session = Digests(root / CACHE), session
        self._workdirs: dict[tuple[int, int], tuple[Path, float]] = {}
        """Attempts that have begun and not ended -> the folder that they started in, and when (Unix time)."""
        self._attempts: dict[tuple[int, int], _Attempt] = {}
        """Those of them, and of those that have ended, that read data."""
        self._work: list[tuple[threading.Thread, Callable[[], None]]] = []
        self._known = known_secrets(os.environ)
        self._listings: dict[str, str] = {}
        """Folders, by their digests -> the blob that lists their files, which the store was given."""

    def begin(self, run: int, attempt: int, workdir: Path, inputs: Sequence[str], since_s: float) -> None:
        """An attempt has begun at `since_s` (Unix time); `inputs`: what the spec says that it reads, from the folder it starts in."""
        self._workdirs[run, attempt] = workdir, since_s
        for path in inputs:
            self._use(run, attempt, path, since_s, slack_s=SLACK_S)

    def used(self, run: int, attempt: int, path: str, since_s: float, stamp: Sequence[int] = ()) -> None:
        """An attempt says that it reads this file or folder, from this time on (Unix time). `stamp`: as `Seen.stamp` was then."""
        self._use(run, attempt, path, since_s, stamp)

    def _use(
        self,
        run: int,
        attempt: int,
        path: str,
        since_s: float,
        stamp: Sequence[int] = (),
        slack_s: float = 0.0,
    ) -> None:
        if (run, attempt) not in self._workdirs:
            return
        workdir = self._workdirs[run, attempt][0]
        here = self._attempts.get((run, attempt))
        if here is None:
            here = self._attempts[run, attempt] = _Attempt(run, attempt, os.path.abspath(workdir))  # noqa: PTH100
        path = os.path.normpath(os.path.join(here.workdir, os.path.expanduser(path)))  # noqa: PTH111, PTH118
        if path in here.pieces or len(here.pieces) >= MOST:
            return
        piece = here.pieces[path] = _Piece(path, name_of(path, here.workdir, self._known), since_s, stamp)
        self._start(partial(self._look, piece, slack_s), partial(self._report, here, piece))

    def sharing(self, run: int, attempt: int) -> tuple[list[int], float]:
        """(other runs that are at work in the same folder, since when one of them or this one is), in Unix time."""
        own = self._workdirs.get((run, attempt))
        if own is None:
            return [], 0.0
        others = [key for key, (folder, _) in self._workdirs.items() if folder == own[0] and key[0] != run]
        return [key[0] for key in others], min([own[1], *(self._workdirs[key][1] for key in others)])

    def ended(self, run: int, attempt: int) -> None:
        """An attempt has ended: look at its data once more."""
        self._workdirs.pop((run, attempt), None)
        if (here := self._attempts.get((run, attempt))) is not None:
            here.over = True

    def step(self) -> None:
        """Record what has become known."""
        if not self._attempts:
            return
        for thread, then in [item for item in self._work if not item[0].is_alive()]:
            self._work.remove((thread, then))
            then()
        for here in [one for one in self._attempts.values() if one.over and one.now is None]:
            if all(piece.found is not None for piece in here.pieces.values()):
                here.now = {}
                self._start(partial(self._look_again, here), partial(self._compare, here))

    def due_s(self, now_s: float) -> float | None:
        """When `step` should be called at the latest."""
        if not self._attempts:
            return None
        return now_s + AGAIN_S if self._work or any(one.over for one in self._attempts.values()) else None

    def owes(self, _: float) -> bool:
        """Whether something is under way that is worth waiting for."""
        return bool(self._work) or any(one.over for one in self._attempts.values())

    def forget(self) -> None:
        """Nothing that runs here counts any more."""
        self._workdirs.clear()
        self._attempts.clear()
        self._work.clear()
        self._listings.clear()

    def _start(self, work: Callable[[], None], then: Callable[[], None]) -> None:
        thread = threading.Thread(target=work, name="data", daemon=True)
        self._work.append((thread, then))
        thread.start()

    # --- in a thread

    def _seen(self, path: str, slack_s: float = 0.0) -> Seen | str:
        try:
            return self._digests.of(path, slack_s)
        except DataError as error:
            return scrub(str(error), self._known)
        except Exception as error:  # a thread has nobody else to tell
            return f"{type(error).__name__}: {scrub(str(error), self._known)}"

    def _look(self, piece: _Piece, slack_s: float) -> None:
        with contextlib.suppress(Exception):  # then it is looked at
            known = self._digests.known(piece.path) if slack_s else None
            if known is not None:
                piece.found, piece.assumed = known
                return
        piece.found = self._seen(piece.path, slack_s)

    def _look_again(self, here: _Attempt) -> None:
        now = {path: self._seen(path) for path in list(here.pieces)}
        for path, piece in here.pieces.items():
            steady = abs(time.time() - time.monotonic() - piece.clock_s) < STEP_S
            if piece.assumed is not None and steady and _digest(now[path]) != _digest(piece.found):
                settled = self._digests.settled(path, piece.assumed, piece.since_s)
                if settled is not None:
                    piece.instead = _digest(piece.found)
                    piece.found = now[path] = settled
        here.now = now

    # --- in the loop

    def _report(self, here: _Attempt, piece: _Piece) -> None:
        found = piece.found
        if isinstance(found, Seen):
            listing = self._listed(found) if found.listing else ""
            self._session.add(
                e.DataUsed(
                    here.run,
                    here.attempt,
                    piece.name,
                    found.digest,
                    found.size,
                    found.files,
                    listing,
                    scrub(piece.path, self._known),
                    instead=piece.instead,
                )
            )
        else:
            self._session.add(
                e.DataUsed(
                    here.run,
                    here.attempt,
                    piece.name,
                    problem=found or "",
                    place=scrub(piece.path, self._known),
                )
            )

    def _listed(self, found: Seen) -> str:
        """The blob that lists a folder's files. It goes to the store once, and with the entry that names it first."""
        if found.digest not in self._listings:
            listing = without_secrets(found.listing, self._known)
            self._session.blobs.append(listing)
            self._listings[found.digest] = digest_bytes(listing)
        return self._listings[found.digest]

    def _compare(self, here: _Attempt) -> None:
        now = here.now or {}
        for piece in here.pieces.values():
            if piece.instead:
                self._report(here, piece)
        changed = tuple(piece.name for path, piece in here.pieces.items() if _changed(piece, now.get(path)))
        self._session.add(e.DataChecked(here.run, here.attempt, changed))
        self._attempts.pop((here.run, here.attempt), None)


def _changed(piece: _Piece, now: Seen | str | None) -> bool:
    """Whether nobody can say what the attempt read: it is another content now, or was changed before it was looked at first."""
    found = piece.found
    if isinstance(found, Seen):
        stamped = piece.stamp and found.stamp
        if found.stamp != piece.stamp if stamped else found.newest_s > piece.since_s:
            return True
    return _digest(now) != _digest(found)


def _digest(found: Seen | str | None) -> str:
    return found.digest if isinstance(found, Seen) else ""


def name_of(path: str, workdir: str, known: Sequence[str] = ()) -> str:
    """How data is called in the record: relative to the folder that runs start in where it lies below it, else whole."""
    inside = path.startswith(f"{workdir.rstrip('/')}/")
    return scrub(os.path.relpath(path, workdir) if inside else path, known)
