"""The checks of `sweep doctor` that look at the store and the disk it is on. The rule of this file: see `checkup`.

Nothing is repaired or made, and a store that is in use is only read.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from sweep.api.checkup import Check, Finding, Place
from sweep.stores._place import default_path, is_redis, path_of

LITTLE_BYTES = 1_000_000_000
HARDLY_ANY_BYTES = 50_000_000
LARGE_LOG_BYTES = 256_000_000
CHECK_FOR_S = 10.0
"""How long the check of every page may take."""
BUSY_S = 3.0
AHEAD_S = 60.0
_APPLICATION_AT, _VERSION_AT = 68, 60
"""Where SQLite's file format keeps `application_id` and `user_version`: https://www.sqlite.org/fileformat2.html#the_database_header."""


def store(place: Place) -> list[Finding]:
    """Where it is, and whether it can be opened and read."""
    if place.store_url == "memory:":
        return [Finding("store", "note", "memory: a new one for every command")]
    if is_redis(place.store_url):
        from sweep.api.checkup_redis import server

        return server(place)
    try:
        path = _path(place)
    except ValueError as error:
        return [Finding("store", "broken", str(error), "correct --store or SWEEP_STORE")]
    if not _exists(path):
        return [_none_yet(path)]
    header = _header(path)
    if header is not None:
        return [header]
    return list(_opened(path))


def folder(place: Place) -> Finding | list[Finding]:
    """Whether files can be made beside the store, as SQLite and the agents do."""
    import tempfile

    if (path := _known_path(place)) is None:
        return []
    inside = _existing(path.parent)
    try:
        with tempfile.NamedTemporaryFile(dir=inside, prefix=".sweep-doctor-") as file:
            file.write(b"x")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return Finding(
            "folder", "broken", f"nothing can be written in {inside}: {error.strerror or error}",
            "make it writable for this account, or name a store elsewhere with --store or SWEEP_STORE",
        )  # fmt: skip
    return Finding("folder", "ok", f"{inside} is writable")


def file_system(place: Place) -> Finding | list[Finding]:
    from sweep.stores._filesystem import is_network, mount_of, read_mounts

    if (path := _known_path(place)) is None:
        return []
    mount = mount_of(path, read_mounts())
    if mount is None:
        return Finding("file system", "note", f"that of {path} is not known")
    found = f"{mount.kind} at {mount.point}"
    if is_network(mount.kind):
        return Finding(
            "file system", "broken", f"{found} is shared over a network, where SQLite loses data",
            "name a file on a local disk: --store sqlite:////local/disk/store.db or SWEEP_STORE",
        )  # fmt: skip
    return Finding("file system", "ok", f"{found}, a local one")


def disk(place: Place) -> Finding | list[Finding]:
    if (path := _known_path(place)) is None:
        return []
    inside = _existing(path.parent)
    status = os.statvfs(inside)
    free, files = status.f_bavail * status.f_frsize, status.f_favail
    found = f"{_size(free)} free in {inside}"
    if free < HARDLY_ANY_BYTES or (status.f_files and files < 100):
        short = found if free < HARDLY_ANY_BYTES else f"{found}, but room for {files} more files only"
        return Finding("disk", "broken", short, "free some space: agents stop and wait when the disk is full")
    if free < LITTLE_BYTES:
        return Finding("disk", "warning", found, "free some space before it runs out")
    return Finding("disk", "ok", found)


CHECKS: tuple[Check, ...] = (store, folder, file_system, disk)


# --- the store's file


def _path(place: Place) -> Path:
    if place.store_url:
        return path_of(place.store_url, place.cwd or Path("/"))
    if place.cwd is None:
        raise ValueError("the current folder does not exist any more; cd into one that does")
    return default_path(place.cwd)


def _known_path(place: Place) -> Path | None:
    """None where `store` has already said that there is no file."""
    try:
        return None if place.store_url == "memory:" else _path(place)
    except ValueError:
        return None


def _exists(path: Path) -> bool:
    try:
        return path.stat().st_size > 0
    except FileNotFoundError:
        return False


def _none_yet(path: Path) -> Finding:
    return Finding("store", "note", f"none yet; `sweep create FILE` makes {path}")


def _header(path: Path) -> Finding | None:
    """What the first bytes of the file say against it, without SQLite; None when they are those of a store."""
    from sweep.stores._sqlite_file import SCHEMA

    try:
        with path.open("rb") as file:
            head = file.read(100)
    except OSError as error:
        advice = "give this account the right to read and write it"
        return Finding("store", "broken", f"{path} cannot be read: {error.strerror or error}", advice)
    if not head.startswith(b"SQLite format 3\0"):
        advice = "move it away, or name another store with --store; a copy from a backup may help"
        return Finding(
            "store", "broken", f"{path} is no SQLite database: something has written over it", advice
        )
    application = head[_APPLICATION_AT : _APPLICATION_AT + 4]
    version = int.from_bytes(head[_VERSION_AT : _VERSION_AT + 4], "big")
    if application not in (b"SWEP", bytes(4)):
        return Finding(
            "store", "broken", f"{path} is another program's database", "name another file with --store"
        )
    if version not in (SCHEMA, 0):
        advice = "upgrade sweep, or name another store with --store"
        return Finding("store", "broken", f"{path} has format {version}; this version knows {SCHEMA}", advice)
    return None


def _opened(path: Path) -> Iterator[Finding]:
    from sweep.api.checkup_record import recorded_files
    from sweep.stores.base import StoreError
    from sweep.stores.sqlite import SqliteStore

    try:
        with closing(SqliteStore(path, busy_timeout_s=BUSY_S)) as opened:
            sweeps, leases = opened.sweeps(), opened.leases("agent/")
            facts, files = opened.describe(), recorded_files(opened)
    except StoreError as error:
        yield Finding("store", "broken", str(error), "do what it says; `sweep export` saves what can be read")
        return
    agents = f", {len(leases)} agent{'s' if len(leases) != 1 else ''} at work" if leases else ""
    count = f"{len(sweeps):,} sweep{'s' if len(sweeps) != 1 else ''}"
    yield Finding(
        "store", "ok", f"{path}: format {facts['schema']}, {_size(facts['size_bytes'])}, {count}{agents}"
    )
    yield _log(facts["log_bytes"], bool(leases))
    yield _pages(path)
    yield files
    yield _times(path)
    yield _rights(path)


def _log(size: int, busy: bool) -> Finding:
    found = f"{_size(size)} in the write-ahead log"
    if size > LARGE_LOG_BYTES and not busy:
        advice = "a process that hangs may keep it from being folded back: end old `sweep` processes"
        return Finding("store's log", "warning", found, advice)
    return Finding("store's log", "ok", found)


def _pages(path: Path) -> Finding:
    """SQLite's own check of the file, for a limited time."""
    name, until = "store's content", time.monotonic() + CHECK_FOR_S
    advice = f"copy it away, then try `sqlite3 {path.name} .recover`; `sweep export` saves what can be read"
    try:
        with _reading(path) as db:
            db.set_progress_handler(lambda: time.monotonic() > until, 100_000)
            found = [row[0] for row in db.execute("PRAGMA quick_check(3)")]
    except sqlite3.OperationalError as error:
        if time.monotonic() > until:
            return Finding(
                name,
                "note",
                f"no damage found in {CHECK_FOR_S:.0f} s; the file is too large to read all of it",
            )
        return Finding(name, "broken", str(error), advice)
    except sqlite3.DatabaseError as error:
        return Finding(name, "broken", str(error), advice)
    if found != ["ok"]:
        return Finding(name, "broken", "; ".join(" ".join(str(line).split()) for line in found)[:300], advice)
    return Finding(name, "ok", "every page was read, no damage")


def _times(path: Path) -> Finding:
    with _reading(path) as db:
        last = db.execute(
            "SELECT MAX(at) FROM (SELECT MAX(position), at FROM journal GROUP BY sweep)"
        ).fetchone()[0]
    ahead_s = 0.0 if last is None else last - time.time()
    if ahead_s > AHEAD_S:
        return Finding(
            "store's times", "warning", f"the last entry is {ahead_s:,.0f} s ahead of this machine's clock",
            "the clock has been set back, or the file comes from another machine: times in records are off by that much",
        )  # fmt: skip
    return Finding("store's times", "ok", "no entry is ahead of this machine's clock")


def _rights(path: Path) -> Finding:
    mode = path.stat().st_mode & 0o777
    if mode & 0o077:
        advice = f"chmod 600 {path}, unless others are meant to see configs, code and output"
        return Finding("store's rights", "warning", f"other accounts may open it (mode {mode:o})", advice)
    return Finding("store's rights", "ok", "only this account may open it")


@contextmanager
def _reading(path: Path) -> Iterator[sqlite3.Connection]:
    # mode=rw makes no file, and unlike mode=ro it leaves none behind.
    db = sqlite3.connect(f"{path.as_uri()}?mode=rw", uri=True, timeout=BUSY_S, isolation_level=None)
    try:
        db.execute("PRAGMA query_only = ON")
        yield db
    finally:
        db.close()


def _existing(path: Path) -> Path:
    return next((found for found in (path, *path.parents) if found.is_dir()), Path("/"))


def _size(size: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"
