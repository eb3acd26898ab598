"""An agent's part in artifacts: what runs log is hashed and stored, what they ask for is brought to them.

The rules of this file:
- A run writes a line for each into a file of its folder and nudges the agent; lines of one run are heeded in their order.
- Hashing, copying and whatever takes long is done in a thread; the loop calls `step` and is held up for moments only. The store is used by
  the loop alone.
- The blobs of an artifact go in one commit with the entry that names them.
"""

from __future__ import annotations

import os
import secrets
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from sweep.agents.data import Data
from sweep.agents.folders import RunFolder, write_atomically
from sweep.agents.session import Session
from sweep.agents.view import Level
from sweep.core import entries as e
from sweep.core.names import run_id
from sweep.core.rows import ARTIFACT_PREFIX, decode_artifacts
from sweep.core.views import ArtifactView, VersionView
from sweep.provenance import artifact as a
from sweep.provenance import known_secrets
from sweep.provenance.scrub import scrub
from sweep.sdk._artifacts import check_name
from sweep.stores.base import Store, StoreError, sound_blob
from sweep.stores.whole import WholeError, read_whole, write_whole

WAITS_S = 120.0
"""An agent that has nothing else to do stays so long at most for what is not stored yet."""
STEP_S = 0.03
AGAIN_S = 0.05
LAGS_S = 10.0
"""How long a listing may lag behind what is asked of it."""
MAX_METADATA_BYTES = 100_000
ANSWERS, USED = ".artifact-answers", "used"

Say = Callable[[str, Level], None]


class NoneSuch(a.ArtifactError):
    """No such artifact was logged."""


class _Followed:
    """One attempt whose file of lines is read."""

    def __init__(self, run: int, attempt: int, folder: str) -> None:
        self.run, self.attempt, self.folder = run, attempt, Path(folder)
        self.offset = 0
        self.jobs: deque[Iterator[None]] = deque()
        self.over = False
        """The attempt has ended: nothing more is to come."""

    def lines(self) -> list[dict[str, Any]]:
        """What has been written since the last time, whole lines only."""
        try:
            with Path(self.folder, f"artifacts-{self.attempt}.jsonl").open("rb") as file:
                file.seek(self.offset)
                data = file.read()
        except OSError:
            return []
        whole = data[: data.rfind(b"\n") + 1]
        self.offset += len(whole)
        found = []
        for line in whole.splitlines():
            try:
                content = msgspec.json.decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                continue
            if isinstance(content, dict):
                found.append(content)
        return found


class Artifacts:
    """The artifacts of an agent's attempts."""

    def __init__(self, store: Store, sweep: str, root: Path, session: Session, say: Say, data: Data) -> None:
        """`root`: where run folders are; `session`: takes entries and blobs for the next commit; `data`: is told what runs say of data."""
        self._data = data
        self._store, self._sweep, self._root, self._session, self._say = store, sweep, root, session, say
        self._followed: dict[tuple[int, int], _Followed] = {}
        self._until_s = 0.0
        self._warned = False
        """A person has been told that files of runs may be mixed up."""
        self._known = known_secrets(os.environ)

    def noted(self, run: int, attempt: int, place: str | None) -> None:
        """This attempt has written lines. `place`: the spec's `outputs`."""
        key = (run, attempt)
        followed = self._followed.get(key)
        if followed is None:
            folder = RunFolder(self._root, self._sweep, run).path
            followed = self._followed[key] = _Followed(run, attempt, folder)
        for line in followed.lines():
            if line.get("op") == "log":
                followed.jobs.append(self._log(followed, line, place, self._doubt(followed, line)))
            elif line.get("op") == "use":
                followed.jobs.append(self._use(followed, line))
            elif line.get("op") == "data":
                self._data.used(
                    run, attempt, str(line.get("path", "")), _time(line.get("at")), _whole(line.get("stamp"))
                )
        self._until_s = time.monotonic() + WAITS_S

    def ended(self, run: int, attempt: int, place: str | None) -> None:
        """An attempt has ended: read what is left."""
        key = (run, attempt)
        folder = RunFolder(self._root, self._sweep, run).path
        if key in self._followed or os.path.exists(f"{folder}/artifacts-{attempt}.jsonl"):  # noqa: PTH110
            self.noted(run, attempt, place)
            self._followed[key].over = True

    def forget(self) -> None:
        """Nothing that runs here counts any more."""
        self._followed.clear()

    def due_s(self, now_s: float) -> float | None:
        """When `step` should be called at the latest."""
        return now_s + AGAIN_S if self._followed and self._busy else None

    def owes(self, now_s: float) -> bool:
        """Whether something is under way that is worth waiting for."""
        return self._busy and now_s < self._until_s

    @property
    def _busy(self) -> bool:
        return any(followed.jobs for followed in self._followed.values())

    def step(self) -> None:
        """Do a little of what is to be done. Never raises."""
        if not self._followed:
            return
        until_s = time.monotonic() + STEP_S
        for followed in list(self._followed.values()):
            while followed.jobs and time.monotonic() < until_s:
                job = followed.jobs[0]
                try:
                    next(job)
                except StopIteration:
                    followed.jobs.popleft()
                except StoreError:  # the loop says so; the next step tries again
                    followed.jobs.popleft()
                else:
                    break
            if followed.over and not followed.jobs:
                del self._followed[followed.run, followed.attempt]

    # --- logging

    def _doubt(self, followed: _Followed, line: dict[str, Any]) -> str:
        """Why what a run has logged may not be what it meant. Runs of several slots start in one folder: `model.pt` there is any run's."""
        source, written = line.get("source"), line.get("written")
        if not isinstance(source, str):
            return ""
        if not isinstance(written, int | float):
            return "was written to while it was copied"
        others, since_s = self._data.sharing(followed.run, followed.attempt)
        own = Path(source).is_relative_to(followed.folder) or run_id(self._sweep, followed.run) in source
        if own or not others or written < since_s:
            return ""
        names = ", ".join(run_id(self._sweep, other) for other in others[:3])
        doubt = f"was logged from {source} while {names} ran in the same folder: it may be another run's"
        if not self._warned:
            self._warned = True
            self._say(
                f"{run_id(self._sweep, followed.run)}: the artifact {line.get('name')} {doubt}. Write such files below `run.dir`",
                "warning",
            )
        return scrub(doubt, self._known)

    def _log(
        self, followed: _Followed, line: dict[str, Any], place: str | None, doubt: str
    ) -> Iterator[None]:
        name = str(line.get("name", ""))
        who = run_id(self._sweep, followed.run)
        folder = Path(str(line.get("folder", "")))
        try:
            check_name(name)
        except ValueError as error:
            self._say(f"{who}: {error}", "warning")
            return
        if ".." in folder.parts or not folder.is_relative_to(followed.folder):
            self._say(f"{who}: the artifact {name} is not recorded: it is not in the run's folder", "warning")
            return
        work = _InThread(partial(_keep, folder, line.get("refs") or {}, place))
        while not work.over:
            yield
        if work.problem:
            self._say(f"{who}: the artifact {name} is not recorded: {work.problem}", "warning")
            return
        packed: a.Packed
        packed, lost = work.result
        outside = bool(place) and not packed.listed.whole and not lost
        if lost:
            self._say(f"{who}: the artifact {name} stays on this node, in {folder}: {lost}", "warning")
        if not packed.listed.whole and not place:
            self._say(
                f"{who}: the artifact {name} has {packed.listed.size / 1e6:,.0f} MB, and the store keeps up to "
                f"{a.KEPT_BYTES / 1e6:.0f} MB: it stays on this node, in {folder}. `outputs:` in the spec names a place for such",
                "warning",
            )
        metadata = line.get("metadata")
        self._session.blobs.extend(packed.blobs)
        self._session.add(
            e.ArtifactLogged(
                followed.run,
                followed.attempt,
                name,
                str(line.get("type") or "file"),
                packed.listed.digest,
                packed.listed.size,
                len(packed.listed.files),
                packed.manifest,
                tuple(str(alias) for alias in line.get("aliases") or () if alias != "latest"),
                (place or "") if outside else "",
                str(folder),
                str(line.get("description") or "")[:10_000],
                _small(metadata) if isinstance(metadata, dict) else {},
                doubt,
            )
        )

    # --- using

    def _use(self, followed: _Followed, line: dict[str, Any]) -> Iterator[None]:
        key, asked = str(line.get("id", "")), str(line.get("name", ""))
        if not key.isalnum():
            return
        try:
            answer = yield from self._bring(followed, asked)
        except (a.ArtifactError, StoreError) as error:
            answer = {"error": str(error), "missing": isinstance(error, NoneSuch)}
        except OSError as error:
            answer = {"error": f"artifact {asked} cannot be written here: {error.strerror or error}"}
        try:
            write_atomically(followed.folder / ANSWERS / f"{key}.json", msgspec.json.encode(answer))
        except OSError as error:
            self._say(
                f"{run_id(self._sweep, followed.run)}: cannot answer: {error.strerror or error}", "warning"
            )

    def _bring(self, followed: _Followed, asked: str) -> Generator[None, None, dict[str, Any]]:
        """Write the artifact into the run's folder; gives what the program is told. Raises ArtifactError, OSError, StoreError."""
        other, name, alias = a.named(asked)
        sweep = other or self._sweep
        rows = yield from self._listing(sweep)
        view = rows.get(name)
        number = a.version_of(view, alias) if view is not None else None
        if view is None or number is None:
            raise NoneSuch(_none_such(sweep, name, alias, rows))
        version: VersionView = view.versions[number]
        listed = a.parse(sound_blob(self._store, version.manifest))
        target = followed.folder / USED / a.folder_name(name, number, version.digest)
        if not target.exists():
            source = a.Source(
                self._store.get_blob, read_whole, version.place, version.folder, str(self._root)
            )
            yield from _written(listed, source, target)
        self._session.add(
            e.ArtifactUsed(
                followed.run,
                followed.attempt,
                asked,
                sweep,
                name,
                number,
                version.digest,
                view.type,
                version.manifest,
                version.place,
                version.folder,
            )
        )
        return {
            **a.answer_of(name, view.type, number, version.digest, str(target), listed),
            "description": version.description,
            "metadata": version.metadata,
            "aliases": [word for word, at in view.aliases.items() if at == number],
            "run": run_id(sweep, version.runs[0]),
        }

    def _listing(self, sweep: str) -> Generator[None, None, dict[str, ArtifactView]]:
        """All artifacts of a sweep, as of now: what this agent has logged before is in it."""
        while self._session.pending:
            yield
        end, until_s = self._store.position(sweep), time.monotonic() + LAGS_S
        if end == 0:
            raise a.ArtifactError(f"there is no sweep {sweep}")
        index = self._store.read_index(sweep, ARTIFACT_PREFIX)
        while index.upto < end and sweep == self._sweep and time.monotonic() < until_s:
            yield
            index = self._store.read_index(sweep, ARTIFACT_PREFIX)
        return decode_artifacts(index.rows)


class _InThread:
    """Something that takes its time."""

    def __init__(self, work: Callable[[], Any]) -> None:
        self.result: Any = None
        self.problem = ""
        self._work = work
        self._thread = threading.Thread(target=self._run, name="artifact", daemon=True)
        self._thread.start()

    @property
    def over(self) -> bool:
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            self.result = self._work()
        except a.ArtifactError as error:
            self.problem = str(error)
        except Exception as error:  # a thread has nobody else to tell
            self.problem = f"{type(error).__name__}: {error}"


def _keep(folder: Path, references: dict[str, str], place: str | None) -> tuple[a.Packed, str]:
    """Read an artifact, and write its files to `place` where the store does not keep them; why that failed, in words."""
    packed = a.pack(folder, references)
    try:
        if place and not packed.listed.whole:
            for file in packed.listed.files:
                write_whole(a.address_of(place, file), folder / file.path)
    except WholeError as error:
        return packed, str(error)
    return packed, ""


def _written(listed: a.Listed, source: a.Source, target: Path) -> Iterator[None]:
    """Write an artifact to `target`, whole or not at all. From the store part by part; from elsewhere in a thread."""
    making = target.with_name(f".making-{secrets.token_hex(4)}")
    making.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        if listed.whole:
            yield from a.write(listed, source, making)
        else:
            work = _InThread(lambda: [None for _ in a.write(listed, source, making)])
            while not work.over:
                yield
            if work.problem:
                raise a.ArtifactError(work.problem)
        making.rename(target)
    finally:
        shutil.rmtree(making, ignore_errors=True)


def _none_such(sweep: str, name: str, alias: str, rows: dict[str, ArtifactView]) -> str:
    if name in rows:
        known = [f"v{version.version}" for version in rows[name].versions] + list(rows[name].aliases)
        return f"artifact {name} of sweep {sweep} has no {alias}; it has {', '.join(known)}"
    return f"sweep {sweep} has no artifact {name}; it has {', '.join(rows) or 'none'}"


def _time(value: Any) -> float:
    """A Unix time that a program sent; now where it sent none."""
    return float(value) if isinstance(value, int | float) else time.time()


def _whole(value: Any) -> tuple[int, ...]:
    """Whole numbers that a program sent; none where it sent something else."""
    sound = isinstance(value, list) and all(type(number) is int for number in value)
    return tuple(value) if sound else ()


def _small(metadata: dict[str, Any]) -> dict[str, Any]:
    size = len(msgspec.json.encode(metadata))
    return (
        metadata
        if size <= MAX_METADATA_BYTES
        else {"left out": f"{size:,} bytes of metadata are too many to record"}
    )
