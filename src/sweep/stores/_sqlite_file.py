"""The SQLite file itself: making and opening it, its tables, and SQLite's errors in words.

The rule of this file: a file that is not ours, or that a newer version made, is left exactly as it was; and two
processes that make the same store in the same instant both succeed.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import sys
import time
from pathlib import Path
from typing import Any

from sweep.stores._filesystem import Mount, refuse_network
from sweep.stores._holder import holder_of
from sweep.stores.base import StoreError, StoreFull

SCHEMA = 1
"""`PRAGMA user_version` of the files that this version writes; it opens no other."""

_APPLICATION = 0x53574550
"""`PRAGMA application_id`, "SWEP": tells our files from anybody else's."""

_SYNCHRONOUS = ("OFF", "NORMAL", "FULL", "EXTRA")
"""What the numbers of `PRAGMA synchronous` mean."""

LOCK_POLL_S = 0.0005
"""How soon what another connection stood in the way of is tried again. SQLite's own waiting backs off to 100 ms and lets one
of several writers starve for seconds, so it is switched off."""

_TABLES = (
    # The order of creation of sweeps; a sweep is here exactly when it has a journal.
    "CREATE TABLE sweep (number INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE)",
    """CREATE TABLE journal (
        sweep TEXT NOT NULL, position INTEGER NOT NULL, at REAL NOT NULL, writer TEXT NOT NULL, seq INTEGER NOT NULL,
        addressee TEXT, based_on INTEGER, format INTEGER NOT NULL, entry BLOB NOT NULL,
        PRIMARY KEY (sweep, position)
    ) WITHOUT ROWID""",
    "CREATE UNIQUE INDEX journal_writer ON journal (sweep, writer, seq)",
    "CREATE INDEX journal_addressee ON journal (sweep, addressee, position) WHERE addressee IS NOT NULL",
    """CREATE TABLE history (
        sweep TEXT NOT NULL, run INTEGER NOT NULL, attempt INTEGER NOT NULL, first_row INTEGER NOT NULL,
        rows INTEGER NOT NULL, data BLOB NOT NULL,
        UNIQUE (sweep, run, attempt, first_row)
    )""",
    "CREATE TABLE listing (sweep TEXT NOT NULL, key TEXT NOT NULL, row BLOB NOT NULL, PRIMARY KEY (sweep, key)) WITHOUT ROWID",
    "CREATE TABLE listing_upto (sweep TEXT PRIMARY KEY, upto INTEGER NOT NULL) WITHOUT ROWID",
    """CREATE TABLE lease (
        name TEXT PRIMARY KEY, holder TEXT NOT NULL, token INTEGER NOT NULL, expires REAL NOT NULL, ttl REAL NOT NULL,
        boot TEXT NOT NULL
    ) WITHOUT ROWID""",
    # The last fencing token of all leases together: it grows even when leases are gone.
    "CREATE TABLE token (one INTEGER PRIMARY KEY CHECK (one = 1), last INTEGER NOT NULL)",
    "INSERT INTO token VALUES (1, 0)",
    # codec: 0 as it is, 1 zlib.
    "CREATE TABLE blob (digest TEXT PRIMARY KEY, codec INTEGER NOT NULL, data BLOB NOT NULL)",
)

_PRAGMAS = (
    "PRAGMA synchronous = FULL",  # a commit is on the disk before it is acted on
    "PRAGMA trusted_schema = OFF",  # a file somebody sent must not run code through its schema
    "PRAGMA cell_size_check = ON",  # notice a damaged page before reading from it
)


def open_file(
    path: Path, *, create: bool, busy_timeout_s: float, mounts: list[Mount] | None
) -> sqlite3.Connection:
    """A connection to the store in the file `path` (absolute), in autocommit mode. Raises StoreError."""
    refuse_network(path, mounts)
    try:
        if create:
            _make_empty(path)
        elif not path.exists() or path.stat().st_size == 0:
            raise StoreError(
                f"no sweep has been recorded here ({path} does not exist); run `sweep create FILE` first"
            )
    except OSError as error:
        raise _os_error(error, path) from error
    try:
        # mode=rw: never make a file here, with whatever permissions the umask happens to give.
        db = sqlite3.connect(
            f"{path.as_uri()}?mode=rw", uri=True, timeout=busy_timeout_s, isolation_level=None
        )
    except sqlite3.Error as error:
        raise in_words(error, path) from error
    try:
        _prepare(db, path, busy_timeout_s)
    except sqlite3.Error as error:
        db.close()
        raise in_words(error, path) from error
    except BaseException:
        db.close()
        raise
    return db


def _make_empty(path: Path) -> None:
    """The folder and an empty file, for the owner's eyes only: configs and environments stand in it."""
    folder = path.parent
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.name == ".sweep" and not (folder / ".gitignore").exists():
        (folder / ".gitignore").write_text("*\n", "utf-8")
    # Never open a file that is there: closing it again would drop all locks that this process has on it.
    if not path.exists():
        try:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))
        except FileExistsError:
            pass


def _prepare(db: sqlite3.Connection, path: Path, busy_timeout_s: float) -> None:
    db.execute("BEGIN")  # one view of the file: somebody else may be filling it
    try:
        new = _is_new(db, path)
    finally:
        if db.in_transaction:
            db.execute("ROLLBACK")
    for pragma in _PRAGMAS:
        db.execute(pragma)
    if new:  # before anything is written: deletions can then give their pages back (`_sqlite_compact`)
        db.execute("PRAGMA auto_vacuum = INCREMENTAL")
    _use_wal(db, path, time.monotonic() + busy_timeout_s)
    if new:
        _make_tables(db, path)
    db.execute("PRAGMA busy_timeout = 0")


def _is_new(db: sqlite3.Connection, path: Path) -> bool:
    """Whether the file is still empty. Raises StoreError when it is neither that nor a store we can use."""
    application, version = _pragma(db, "application_id"), _pragma(db, "user_version")
    if application == _APPLICATION and version == SCHEMA:
        return False
    if application == _APPLICATION:
        raise StoreError(
            f"{path} was written by another version of sweep (its format is {version}, this version knows {SCHEMA}); "
            "upgrade sweep, or name another store with --store"
        )
    if application or version or db.execute("SELECT EXISTS (SELECT 1 FROM sqlite_master)").fetchone()[0]:
        raise StoreError(
            f"{path} is an SQLite database, but not one of sweep's; name another file with --store"
        )
    return True


def _pragma(db: sqlite3.Connection, name: str) -> int:
    value: int = db.execute(f"PRAGMA {name}").fetchone()[0]
    return value


def _use_wal(db: sqlite3.Connection, path: Path, deadline_s: float) -> None:
    """Two processes may both be here; SQLite does not wait for its busy timeout in every such case."""
    while True:
        try:
            mode = db.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        except sqlite3.OperationalError as error:
            if not is_busy(error) or time.monotonic() > deadline_s:
                raise
            time.sleep(0.005)
            continue
        if mode != "wal":
            raise StoreError(
                f"the file system of {path} does not support what SQLite needs (write-ahead log: {mode}); name a file "
                "on a local disk with --store"
            )
        return


def _make_tables(db: sqlite3.Connection, path: Path) -> None:
    db.execute("BEGIN IMMEDIATE")
    try:
        if _is_new(db, path):  # else somebody else was faster
            for statement in _TABLES:
                db.execute(statement)
            db.execute(f"PRAGMA application_id = {_APPLICATION}")
            db.execute(f"PRAGMA user_version = {SCHEMA}")
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def take_lock(db: sqlite3.Connection, timeout_s: float) -> None:
    """Begin a transaction that may write, asking again and again at short notice."""
    deadline_s = time.monotonic() + timeout_s
    while True:
        try:
            db.execute("BEGIN IMMEDIATE")
            return
        except sqlite3.OperationalError as error:
            if not is_busy(error) or time.monotonic() > deadline_s:
                raise
        time.sleep(LOCK_POLL_S)


# --- words -----------------------------------------------------------------------------------------------------


def in_words(error: sqlite3.Error, path: Path) -> StoreError:
    """SQLite's error as what happened and what to do."""
    folder, code = path.parent, _code(error)
    if code == sqlite3.SQLITE_FULL or (code == sqlite3.SQLITE_IOERR and _no_room(folder)):
        return _full(path)
    if code == sqlite3.SQLITE_BUSY:
        return StoreError(f"{path} is busy: {holder_of(path)}; try again")
    words = {
        sqlite3.SQLITE_READONLY: f"{path} cannot be written (sweep writes beside it even to read); make {folder} and the "
        f"files in it writable, or name another store with --store{_whose(path)}",
        sqlite3.SQLITE_CANTOPEN: f"{path} cannot be opened; check that {folder} exists and is writable{_whose(path)}",
        sqlite3.SQLITE_PERM: f"{path} cannot be opened: permission denied{_whose(path)}",
        sqlite3.SQLITE_NOTADB: f"{path} is not a sweep store (no SQLite database at all); name another with --store",
        sqlite3.SQLITE_CORRUPT: f"{path} is damaged ({error}); copy it away, then try `sqlite3 {path.name} .recover`",
        sqlite3.SQLITE_IOERR: f"the disk of {path} reports an error ({error}); check the disk and the system's log",
        sqlite3.SQLITE_TOOBIG: f"{path}: SQLite cannot keep a single value that large (about 1 GB)",
    }
    return StoreError(words.get(code, f"{path}: {error}"))


def _full(path: Path) -> StoreFull:
    return StoreFull(f"the disk of {path} is full; free some space")


def _no_room(folder: Path) -> bool:
    """Whether the file system has no free block: SQLite's shared memory then ends in an error that does not say so."""
    try:
        return os.statvfs(folder).f_bavail == 0
    except OSError:
        return False


def is_busy(error: sqlite3.Error) -> bool:
    """Whether another connection is in the way: the same may succeed later."""
    return _code(error) == sqlite3.SQLITE_BUSY


def _code(error: sqlite3.Error) -> int:
    """SQLite's primary result code, -1 for an error of Python's own module."""
    code: int = getattr(error, "sqlite_errorcode", -1)
    return code & 0xFF if code >= 0 else -1


def _os_error(error: OSError, path: Path) -> StoreError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return _full(path)
    return StoreError(
        f"the store {path} cannot be made or opened: {error.strerror or error} ({error.filename}); name another with "
        f"--store{_whose(path)}"
    )


def _whose(path: Path) -> str:
    """Whose it is, for the message that it cannot be used; nothing when it is the person's own."""
    for found in (path, *path.parents):
        try:
            owner = found.stat().st_uid
        except OSError:
            continue
        if owner in (os.getuid(), 0):
            return ""
        return f" ({found} belongs to another user, {_name_of(owner)}; sharing one needs a common group)"
    return ""


def _name_of(uid: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user ID {uid}"


def describe_file(db: sqlite3.Connection, path: Path) -> dict[str, Any]:
    """What a person who looks after the file wants to know; plain values, sizes in bytes."""
    log = Path(f"{path}-wal")
    return {
        "path": str(path),
        "size_bytes": path.stat().st_size,
        "log_bytes": log.stat().st_size if log.exists() else 0,
        "schema": SCHEMA,
        "sqlite_version": sqlite3.sqlite_version,
        "journal_mode": db.execute("PRAGMA journal_mode").fetchone()[0],
        "synchronous": _SYNCHRONOUS[_pragma(db, "synchronous")],
        "durability": durability(),
    }


def durability() -> str:
    """What "recorded" means on this system."""
    if sys.platform == "darwin":
        return (
            "every commit is handed to the disk (fsync) before it is acted on; it survives a crash of programs and of the "
            "system, but macOS may leave it in the disk's own cache, which a power cut empties"
        )
    return "every commit is written to the disk (fsync) before it is acted on; it survives a crash and a power cut"
