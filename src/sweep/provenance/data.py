"""The identity of data that a run reads: BLAKE3 of a file, or of a folder's list of files, remembered as long as the file stays as it is.

The rules of this file:
- What is remembered belongs to (device, inode, size, time of change, time of the inode's change): a write changes one of them. A file
  that was changed within `FRESH_S` is not remembered, as a second write within the clock's grain would not show.
- The cache is a cache: where it cannot be used, everything is read.
- Only what is not remembered is opened. A folder that was at rest is remembered as a whole, for other processes too, so that another look
  costs a question about each file (`sweep.provenance.at_rest`).
- A folder has the digest that an artifact with the same files has (`sweep.provenance.artifact`).
"""

from __future__ import annotations

import contextlib
import math
import os
import sqlite3
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from sweep.provenance.artifact import File, digest_of
from sweep.provenance.at_rest import Key, Listed, Looker, Rest, key_of, stamp_of
from sweep.provenance.scrub import holds_secret, scrub

PART_BYTES = 1 << 20
FRESH_S = 2.0
GRAIN_S = 0.1
"""So much at most is the time of a change older than the clock was."""
MAX_FILES = 1_000_000
MAX_FOLDERS = 16
"""So many folders are remembered as a whole, by each agent, and in the cache."""
MOST_NAMED = 3
"""So many files of a folder that is another one are named."""
AT_ONCE = 1_000
"""So many files are looked up in one query."""
_SCHEMA = """
create table if not exists digest (
    device integer, inode integer, size integer, changed integer, status integer, digest text, primary key (device, inode)
) without rowid
"""
_FOLDERS = "create table if not exists folders (number integer primary key, path text unique, stamps blob, seen blob, rest blob)"


class DataError(Exception):
    """Data cannot be read; the message says what and why."""


class Seen(msgspec.Struct, frozen=True):
    """Data as it was found."""

    digest: str
    """BLAKE3, hex."""
    size: int
    """In bytes."""
    files: int = 1
    newest_s: float = 0.0
    """When a file of it, or what is known about one, was changed last (Unix time)."""
    stamp: tuple[int, ...] = ()
    """Of a single file: inode, size, time of change, time of the inode's change (in ns), when it was read."""
    listing: bytes = b""
    """For a folder: its files with sizes and digests, as JSON; empty for a single file."""


class _Known(NamedTuple):
    """What a folder was."""

    stamps: bytes
    """The digest of the names and keys of all its files."""
    seen: Seen
    at_s: float
    """When that was so last, by the monotonic clock."""
    rest: Rest | None
    """For a cheap look, where there can be one."""


class Digests:
    """Hashes files and folders, each content once. Safe to use from several threads, one of which reads at a time."""

    def __init__(self, cache: Path | None = None) -> None:
        """`cache`: the file that remembers digests for other processes; None: nothing is remembered there."""
        self._cache, self._lock = cache, threading.Lock()
        self._known: sqlite3.Connection | None = None
        self._folders: dict[str, _Known] = {}
        """What folders were; the latest last."""
        self._looker: Looker | None = None

    def of(self, path: str, slack_s: float = 0.0) -> Seen:
        """The identity of a file or a folder, which may be a link to one. Raises DataError.

        Args:
            slack_s: a folder that was looked at so many seconds ago is not looked at again, where no cheap look can be taken.
        """
        with self._lock:
            try:
                if os.path.isdir(path):  # noqa: PTH112
                    return self._folder(path, slack_s)
                [(digest, key)] = self._digests([(path, key_of(os.stat(path)))])  # noqa: PTH116
                return Seen(digest, key[2], 1, _newest_s(key), (key[1] % (1 << 64), *key[2:]))
            except OSError as error:
                raise DataError(f"{error.filename or path}: {error.strerror or error}") from None

    def known(self, folder: str) -> tuple[Seen, Rest] | None:
        """What a folder was when it was looked at last, by whomever; None unless it was at rest and no file has come or gone since.
        Whether files have been written to since is not looked at: `of` tells later, and `settled` from when on."""
        with self._lock:
            before = self._folders.pop(folder, None) or self._recall(folder)
            if before is None:
                return None
            self._keep(folder, before)
            rest = before.rest
            return (before.seen, rest) if rest is not None and Looker.has_its_names(folder, rest) else None

    def settled(self, folder: str, rest: Rest, since_s: float) -> Seen | None:
        """What a folder is that `known` gave otherwise, where its times tell that it has been this since `since_s` (Unix time): files were
        written to before then, and nothing else has happened to it. None where they do not."""
        with self._lock, contextlib.suppress(OSError, DataError):
            folders, files = _files(folder)
            seen, keys = self._hashed(folder, files)
            same = tuple(folders) == rest.folders and keys == [key for _, key in files]
            # What a link leads to may be another file for long without a time that tells it.
            if same and seen.newest_s <= since_s - GRAIN_S and not _has_links(folder, rest):
                return seen
        return None

    def close(self) -> None:
        """Let go of the cache."""
        with self._lock:
            if self._known is not None:
                self._known.close()
                self._known = None

    def _folder(self, folder: str, slack_s: float) -> Seen:
        began_s, at_s = time.time(), time.monotonic()
        before = self._folders.pop(folder, None) or self._recall(folder)
        if before is not None:
            if before.rest is None and at_s - before.at_s < slack_s:
                return self._keep(folder, before)
            if before.rest is not None and self._look().is_at(folder, before.rest):
                return self._keep(folder, before._replace(at_s=at_s))
        folders, files = _files(folder)
        stamps = _stamps(files)
        if before is not None and before.stamps == stamps:
            seen, keys = before.seen, [key for _, key in files]
        else:
            seen, keys = self._hashed(folder, files)
        if keys == [key for _, key in files] and began_s - seen.newest_s > FRESH_S:
            before_ns = int((began_s - FRESH_S) * 1e9)
            rest = self._look().rest(folder, folders, keys, before_ns) if folders else None
            known = _Known(stamps, seen, at_s, rest)
            self._keep(folder, known)
            if before is None or before._replace(at_s=at_s) != known:
                self._note(folder, known)
        return seen

    def _hashed(self, folder: str, files: Sequence[tuple[str, Key]]) -> tuple[Seen, list[Key]]:
        """What the files are, and their keys when they were read."""
        found = self._digests([(f"{folder}/{name}", key) for name, key in files])
        names = [os.fsencode(name).decode("utf-8", "replace") for name, _ in files]
        rows = sorted((name, key[2], digest) for name, (digest, key) in zip(names, found, strict=True))
        keys = [key for _, key in found]
        seen = Seen(
            digest_of(tuple(File(*row) for row in rows)),
            sum(row[1] for row in rows),
            len(rows),
            max(map(_newest_s, keys), default=0.0),
            listing=msgspec.json.encode(rows),
        )
        return seen, keys

    def _look(self) -> Looker:
        self._looker = self._looker or Looker()
        return self._looker

    def _keep(self, folder: str, known: _Known) -> Seen:
        self._folders[folder] = known
        if len(self._folders) > MAX_FOLDERS:
            del self._folders[next(iter(self._folders))]
        return known.seen

    def _recall(self, folder: str) -> _Known | None:
        """What another process found there, at a time that nobody knows."""
        with contextlib.suppress(sqlite3.Error, OSError, msgspec.MsgspecError):
            known = self._opened()
            query = "select stamps, seen, rest from folders where path = ?"
            row = known.execute(query, (_text(folder),)).fetchone() if known is not None else None
            if row is not None:
                stamps, seen, rest = row
                decode = msgspec.msgpack.decode
                return _Known(stamps, decode(seen, type=Seen), -math.inf, decode(rest, type=Rest | None))
        return None

    def _note(self, folder: str, what: _Known) -> None:
        """Have it remembered for other processes."""
        with contextlib.suppress(sqlite3.Error, OSError):
            known = self._opened()
            if known is not None:
                encode = msgspec.msgpack.encode
                row = (_text(folder), what.stamps, encode(what.seen), encode(what.rest))
                known.execute(
                    "insert or replace into folders (path, stamps, seen, rest) values (?, ?, ?, ?)", row
                )
                kept = f"select number from folders order by number desc limit {MAX_FOLDERS}"
                known.execute(f"delete from folders where number not in ({kept})")

    def _digests(self, files: Sequence[tuple[str, Key]]) -> list[tuple[str, Key]]:
        """(digest, what the file was when it was read) of each of these files; those that are known are not opened."""
        known = self._look_up([key for _, key in files])
        found, new = [], []
        for path, key in files:
            digest = known.get(key)
            if digest is None:
                digest, key, quiet = _read(path)
                if quiet:
                    new.append((*key, digest))
            found.append((digest, key))
        self._remember(new)
        return found

    def _look_up(self, keys: Sequence[Key]) -> dict[Key, str]:
        found: dict[Key, str] = {}
        with contextlib.suppress(sqlite3.Error, OSError):
            known = self._opened()
            if known is not None:
                for device in {key[0] for key in keys}:
                    inodes = [key[1] for key in keys if key[0] == device]
                    for at in range(0, len(inodes), AT_ONCE):
                        part = inodes[at : at + AT_ONCE]
                        where = f"device = {device} and inode in ({','.join(map(str, part))})"
                        for row in known.execute(f"select * from digest where {where}"):
                            found[row[:5]] = row[5]
        return found

    def _remember(self, rows: Sequence[tuple[int | str, ...]]) -> None:
        with contextlib.suppress(sqlite3.Error, OSError):
            known = self._opened() if rows else None
            if known is not None:
                known.execute("begin immediate")
                try:
                    known.executemany("insert or replace into digest values (?, ?, ?, ?, ?, ?)", rows)
                finally:
                    known.execute("commit")

    def _opened(self) -> sqlite3.Connection | None:
        if self._known is None and self._cache is not None:
            self._cache.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._known = sqlite3.connect(
                self._cache, timeout=5, isolation_level=None, check_same_thread=False
            )
            self._known.execute("pragma journal_mode = wal")
            self._known.execute("pragma synchronous = off")
            self._known.execute(_SCHEMA)
            self._known.execute(_FOLDERS)
        return self._known


class _Row(msgspec.Struct, array_like=True, gc=False):
    """The first part of what a listing says of a file."""

    name: str


def what_changed(before: bytes, now: bytes) -> str:
    """Two listings of a folder (`Seen.listing`), in words: `b/x is another one, y is new, z is gone`; the first few files."""
    old, new = ({name: digest for name, _, digest in msgspec.json.decode(text)} for text in (before, now))
    words = [f"{name} is another one" for name in old if name in new and old[name] != new[name]]
    words += [f"{name} is new" for name in new if name not in old]
    words += [f"{name} is gone" for name in old if name not in new]
    more = len(words) - MOST_NAMED
    return ", ".join(words[:MOST_NAMED]) + (f" and {more:,} more" if more > 0 else "")


def without_secrets(listing: bytes, known: Sequence[str] = ()) -> bytes:
    """A listing as it may be recorded: names of files that look like tokens, or are among `known`, are replaced."""
    names = "\n".join([row.name for row in msgspec.json.decode(listing, type=list[_Row])])
    if not holds_secret(names.encode(), known):
        return listing
    rows = msgspec.json.decode(listing)
    return msgspec.json.encode([(scrub(name, known), size, digest) for name, size, digest in rows])


def _files(folder: str) -> tuple[list[Listed], list[tuple[str, Key]]]:
    """The folder and those below it, and (path below `folder`, what it is) of every file, in their order; links to files are followed,
    links to folders are not: with one of these no folders are told, as it may lead to a file later. Raises OSError, DataError."""
    folders: list[Listed] = []
    found: list[tuple[str, Key]] = []
    todo, linked = [""], False
    while todo:
        prefix = todo.pop()
        # By descriptor: each `stat` then begins here, and not at the root.
        at = f"{folder}/{prefix}".rstrip("/") or "/"
        here = os.open(at, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            names, stamp = [], stamp_of(os.fstat(here))
            with os.scandir(here) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        todo.append(f"{prefix}{entry.name}/")
                    elif entry.is_symlink() and entry.is_dir():
                        linked = True
                    else:
                        try:
                            found.append((prefix + entry.name, key_of(entry.stat())))
                        except OSError as error:
                            error.filename = f"{folder}/{prefix}{entry.name}"
                            raise
                        names.append(entry.name)
            folders.append(Listed(os.fsencode(prefix), stamp, os.fsencode("\0".join(names))))
        finally:
            os.close(here)
        if len(found) > MAX_FILES:
            raise DataError(f"{folder} has more than {MAX_FILES:,} files")
    return ([] if linked else folders), found


def _has_links(folder: str, rest: Rest) -> bool:
    names = ((one.prefix, name) for one in rest.folders for name in one.names.split(b"\0"))
    return any(os.path.islink(os.fsencode(folder) + b"/" + prefix + name) for prefix, name in names)  # noqa: PTH114


def _stamps(files: Sequence[tuple[str, Key]]) -> bytes:
    """A digest of the names and keys of files, in the order that their folders have them in."""
    from blake3 import blake3

    names = "\0".join(name for name, _ in files).encode("utf-8", "surrogateescape")
    keys = msgspec.msgpack.encode([key for _, key in files])
    return bytes(blake3(keys + names).digest())


def _read(path: str) -> tuple[str, Key, bool]:
    """The digest of a file, what the file was then, and whether that can be relied on: nobody has written to it for a while."""
    from blake3 import blake3

    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb", buffering=0) as stream:  # noqa: PTH123
        before = key_of(os.fstat(stream.fileno()))
        hasher, part = blake3(), bytearray(min(PART_BYTES, before[2] + 1))
        view = memoryview(part)
        while count := stream.readinto(part):
            hasher.update(view[:count])
        after = key_of(os.fstat(stream.fileno()))
    quiet = after == before and time.time() - _newest_s(before) > FRESH_S
    return str(hasher.hexdigest()), after, quiet


def _text(path: str) -> str:
    """A path as SQLite keeps text, whatever its bytes are."""
    return os.fsencode(path).hex() if any("\ud800" <= c <= "\udfff" for c in path) else path


def _newest_s(key: Key) -> float:
    return max(key[3], key[4]) / 1e9
