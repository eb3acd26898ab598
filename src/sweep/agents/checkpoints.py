"""`checkpoints: store`: an agent's part in it. Checkpoint folders are kept in the store now and then while runs are at work and when an
attempt ends, and the next attempt finds the newest one in its folder.

The rules of this file:
- Only what stood still is kept: the folder is the same in two looks, and still so when everything has been read.
- What a cache (`checkpoint/<run>/<attempt>`) calls whole is whole. It is written in one commit with the last blob, and names all blobs that
  the attempt has in the store, those of a copy in the making as well, so that no clean-up takes them away.
- Each attempt writes under its own name only: an agent that was cut off and comes back spoils nothing.
- The loop calls `step` and is held up for moments only, however large a checkpoint is.
"""

from __future__ import annotations

import contextlib
import errno
import secrets
import shutil
import time
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from sweep.agents.folders import RunFolder, write_atomically
from sweep.agents.view import View
from sweep.core.names import run_id
from sweep.provenance import checkpoint as c
from sweep.provenance.tree import TreeError
from sweep.stores.base import Store, StoreError
from sweep.stores.pointers import kept_copies, read_pointer, write_pointer

EVERY_S = 60.0
"""How often, at most, a folder that changes is kept."""
QUIET_S = 2.0
"""A folder that has not changed for so long is at rest."""
SHARE = 20.0
"""The next copy of a folder waits at least so many times as long as the last one took."""
STEP_S = 0.03
COMMIT_BYTES = 4_000_000
"""So much goes into one commit of the store."""
RETRY_S = 1.0
MOVING_AT_MOST = 3
_NEW = ".checkpoint-"
MARK = "checkpoint-attempt"
"""The file in a run's folder that says which attempt the checkpoint folder there is of."""


class _Watched:
    """An attempt whose checkpoint folder is kept."""

    def __init__(self, folder: RunFolder, run: int, attempt: int, next_s: float) -> None:
        self.folder, self.run, self.attempt = folder, run, attempt
        self.next_s = next_s
        self.last_look: tuple[float, tuple[c.Seen, ...]] = (0.0, ())
        self.copy: c.Copy | None = None
        """The last whole one."""
        self.stored: set[str] = set()
        """All blobs that it has in the store."""
        self.told = ""
        self.busy = False


class _Job:
    """Work that goes on over many steps. It is begun anew when the store fails."""

    def __init__(
        self, make: Callable[[], Iterator[None]], of: _Watched | None, instead: Callable[[], None] | None
    ) -> None:
        """`of`: whose folder is kept; `instead`: what to do when the job is given up, None for one that nobody waits for."""
        self.make, self.of, self.instead = make, of, instead
        self.steps: Iterator[None] | None = None


class Checkpoints:
    """The checkpoint folders of an agent's attempts."""

    def __init__(
        self,
        store: Store,
        sweep: str,
        root: Path,
        view: View,
        every_s: float = EVERY_S,
    ) -> None:
        """`root`: where run folders are."""
        self._store, self._sweep, self._root, self._view, self._every_s = store, sweep, root, view, every_s
        self._watched: dict[int, _Watched] = {}
        self._jobs: deque[_Job] = deque()
        self._pause_until_s = 0.0
        self._trouble = ""

    def due_s(self) -> float | None:
        """When `step` should be called at the latest, by the clock of its `now_s`."""
        if self._jobs:
            return self._pause_until_s
        if not self._watched:
            return None
        return min((watched.next_s for watched in self._watched.values() if not watched.busy), default=None)

    # --- what happens to attempts

    def begin(self, run: int, attempt: int, then: Callable[[], None]) -> None:
        """Put what this attempt is to go on from into its folder, which exists, and call `then`: now or in a later step."""
        folder = RunFolder(self._root, self._sweep, run)

        def ready() -> None:
            with contextlib.suppress(
                OSError
            ):  # without it the next attempt restores what it could have found here
                write_atomically(Path(folder.path, MARK), str(attempt).encode())
            watched = _Watched(folder, run, attempt, time.monotonic() + self._every_s)
            self._watched[run] = watched
            then()

        if attempt == 1 or _attempt_here(folder) == attempt - 1:
            ready()
        else:
            job = _Job(partial(self._restore, folder, run, attempt, ready), None, None)
            job.instead = ready
            self._jobs.appendleft(job)

    def ended(self, run: int, then: Callable[[str], None]) -> None:
        """Keep the folder of an attempt whose processes are gone, and call `then` with the digest of the copy ('' without
        one): now or in a later step."""
        watched = self._watched.pop(run, None)
        if watched is None:
            then("")
            return
        self._jobs = deque(job for job in self._jobs if job.of is not watched)
        watched.busy = True
        job = _Job(partial(self._keep_last, watched, then), watched, partial(then, ""))
        self._jobs.append(job)

    def give_up(self) -> None:
        """Let everybody who waits go on without."""
        jobs, self._jobs = self._jobs, deque()
        self._watched.clear()
        for job in jobs:
            if job.of is not None and job.instead is not None:
                job.instead()

    def forget(self) -> None:
        """Nothing that runs here counts any more."""
        self._jobs.clear()
        self._watched.clear()

    # --- work

    def step(self, now_s: float) -> None:
        """Do a little of what is to be done. Never raises StoreError: what failed is tried again."""
        if now_s < self._pause_until_s or not (self._jobs or self._watched):
            return
        self._look_around(now_s)
        until_s = time.monotonic() + STEP_S
        while self._jobs and time.monotonic() < until_s:
            self._advance(self._jobs[0], now_s)
            if self._pause_until_s > now_s:
                return

    def _advance(self, job: _Job, now_s: float) -> None:
        try:
            if job.steps is None:
                job.steps = job.make()
            next(job.steps)
        except StopIteration:
            self._drop(job)
            self._trouble = ""
        except StoreError as error:
            self._retry(job, now_s, str(error))
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            self._retry(job, now_s, f"{error.strerror}: a checkpoint waits for room on the disk")

    def _say(self, text: str) -> None:
        self._view.say(text, "warning")

    def _retry(self, job: _Job, now_s: float, why: str) -> None:
        job.steps = None
        self._pause_until_s = now_s + RETRY_S
        if why != self._trouble:
            self._trouble = why
            self._say(f"checkpoints: {why} (trying again every second)")

    def _drop(self, job: _Job) -> None:
        if job in self._jobs:
            self._jobs.remove(job)
        if job.of is not None:
            job.of.busy = False

    # --- keeping

    def _look_around(self, now_s: float) -> None:
        """Begin a copy of every folder that has changed, is at rest, and whose turn it is."""
        for watched in self._watched.values():
            if watched.busy or now_s < watched.next_s:
                continue
            seen = self._look(watched)
            if seen is None or not seen or (watched.copy is not None and watched.copy.seen == seen):
                watched.next_s = now_s + self._every_s
                continue
            at_s, before = watched.last_look
            if before == seen and now_s - at_s >= QUIET_S:
                watched.busy = True
                self._jobs.append(_Job(partial(self._keep_now, watched, seen), watched, None))
            else:
                if before != seen:
                    watched.last_look = (now_s, seen)
                watched.next_s = now_s + QUIET_S

    def _look(self, watched: _Watched) -> tuple[c.Seen, ...] | None:
        """What is in the folder; None, and said once, when it cannot be kept."""
        try:
            return c.look(Path(watched.folder.checkpoint))
        except c.TooLarge as error:
            self._tell(
                watched,
                f"its checkpoint is not kept in the store, because it is too large ({error}): on another node it starts over. "
                "Write less, or share the folder between nodes (`checkpoints: shared`)",
            )
        except OSError as error:
            self._tell(watched, f"its checkpoint is not kept in the store: {error.strerror or error}")
        return None

    def _tell(self, watched: _Watched, text: str) -> None:
        if watched.told != text:
            watched.told = text
            self._say(f"{run_id(self._sweep, watched.run)}: {text}")

    def _keep_now(self, watched: _Watched, seen: tuple[c.Seen, ...]) -> Iterator[None]:
        began_s = time.monotonic()
        try:
            yield from self._copy(watched, seen)
        except c.Moving:
            watched.last_look = (0.0, ())
        except (c.TooLarge, OSError):
            self._look(watched)
        now_s = time.monotonic()
        watched.next_s = now_s + max(self._every_s, SHARE * (now_s - began_s))

    def _keep_last(self, watched: _Watched, then: Callable[[str], None]) -> Iterator[None]:
        for _ in range(MOVING_AT_MOST):
            seen = self._look(watched)
            if seen is None or (not seen and watched.copy is None):
                break
            try:
                if watched.copy is None or watched.copy.seen != seen:
                    yield from self._copy(watched, seen)
                then(watched.copy.manifest if watched.copy is not None else "")
                return
            except c.Moving:
                self._tell(watched, "something still writes into its checkpoint folder")
            except (c.TooLarge, OSError) as error:
                self._tell(watched, f"its checkpoint is not kept in the store: {error}")
                break
        then("")

    def _copy(self, watched: _Watched, seen: tuple[c.Seen, ...]) -> Iterator[None]:
        """Put a copy into the store, blob by blob, and then take away what the one before had and this one has not. Raises
        Moving, OSError, StoreError."""
        run, attempt = watched.run, watched.attempt
        whole = watched.copy
        owner = c.owner_of(self._sweep, run, attempt)
        copy = c.Copy(Path(watched.folder.checkpoint), owner, seen, whole.pieces if whole is not None else {})
        waiting: dict[str, bytes] = {}
        for digest, blob in copy.blobs():
            if digest != copy.manifest and digest not in watched.stored:
                waiting[digest] = blob
            if len(waiting) * c.PIECE_BYTES >= COMMIT_BYTES or (waiting and copy.manifest):
                yield
                self._put(watched, whole.manifest if whole is not None else "", waiting)
            if copy.manifest:
                self._finish(watched, copy, blob)
            yield
        if whole is None:
            self._drop_earlier(run, attempt)

    def _put(self, watched: _Watched, manifest: str, blobs: dict[str, bytes]) -> None:
        """Store these blobs, and note that they are there. `manifest`: of the last whole copy."""
        with self._store.batch():
            self._point(watched, manifest, {*watched.stored, *blobs})
            for blob in blobs.values():
                self._store.put_blob(blob)
        watched.stored |= blobs.keys()
        blobs.clear()

    def _finish(self, watched: _Watched, copy: c.Copy, blob: bytes) -> None:
        with self._store.batch():
            self._point(watched, copy.manifest, copy.digests)
            self._store.put_blob(blob)
            self._store.delete_blobs(watched.stored - copy.digests)
        watched.copy, watched.stored = copy, copy.digests

    def _point(self, watched: _Watched, manifest: str, digests: set[str]) -> None:
        write_pointer(self._store, self._sweep, watched.run, watched.attempt, manifest, digests)

    def _drop_earlier(self, run: int, attempt: int) -> None:
        """What earlier attempts have kept is of no use once this one has kept something."""
        for number in range(1, attempt):
            pointer = read_pointer(self._store, self._sweep, run, number)
            if pointer.blobs:
                with self._store.batch():
                    self._store.delete_blobs(pointer.digests)
                    write_pointer(self._store, self._sweep, run, number, "", set())

    # --- restoring

    def _restore(self, folder: RunFolder, run: int, attempt: int, then: Callable[[], None]) -> Iterator[None]:
        for left in Path(folder.path).glob(f"{_NEW}*"):  # by an agent that was killed in the middle of this
            shutil.rmtree(left, ignore_errors=True)
        for number, digest in self._candidates(run, attempt):
            if number <= _attempt_here(folder):
                break  # what is in the folder is at least as new
            new = Path(folder.path, f"{_NEW}{secrets.token_hex(4)}")
            try:
                yield from c.write(digest, run_id(self._sweep, run), self._store.get_blob, new)
                _replace(folder, new)
            except TreeError as error:
                self._say(f"{run_id(self._sweep, run)}: attempt {number} cannot be gone on from: {error}")
            except OSError as error:
                if error.errno in (errno.ENOSPC, errno.EDQUOT):
                    raise
                self._say(
                    f"{run_id(self._sweep, run)}: its checkpoint cannot be written here: {error.strerror or error}"
                )
            else:
                break
            finally:
                shutil.rmtree(new, ignore_errors=True)
        then()

    def _candidates(self, run: int, attempt: int) -> Iterator[tuple[int, str]]:
        """(attempt, manifest) of what is kept of earlier attempts, the newest first."""
        return kept_copies(self._store, self._sweep, run, attempt - 1)


def _attempt_here(folder: RunFolder) -> int:
    """The attempt that the checkpoint folder on this node is of, 0 when it is not known."""
    try:
        return int((Path(folder.path, MARK)).read_bytes())
    except (OSError, ValueError):
        return 0


def _replace(folder: RunFolder, new: Path) -> None:
    """Put `new` in the place of the checkpoint folder. A process that is killed in the middle leaves none there, and a mark that
    says nothing of it: the next attempt restores again."""
    (Path(folder.path, MARK)).unlink(missing_ok=True)
    old = new.with_name(f"{new.name}-old")
    if Path(folder.checkpoint).exists():
        Path(folder.checkpoint).rename(old)
    new.rename(folder.checkpoint)
    shutil.rmtree(old, ignore_errors=True)
