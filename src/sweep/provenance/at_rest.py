"""Whether the files of a folder are as they were when they were hashed: a look that is cheap enough for each run's begin and end.

The rules of this file:
- Each file is asked about at each look: nothing cheaper tells that its content is the same. What is saved is what is around that: the
  system writes what it knows of many files into one piece of memory (`statx`), where `os.stat` makes twenty objects of each.
- Names are not listed again where their folder's own times tell that they are the same: on file systems of this machine that keep these
  times (`_KEPT_BY`), and where they are old enough for a second change to show. Elsewhere there is no such look.
- Every doubt is answered with "not as it was". Who hears that looks in full.
"""

from __future__ import annotations

import os
import sys
from array import array
from collections.abc import Callable, Iterator, Sequence
from itertools import repeat
from typing import Any

import msgspec

Key = tuple[int, int, int, int, int]
"""Of a file: device, inode, size, time of change, time of the inode's change (in ns), as SQLite keeps integers: 64 bits with a sign."""
_WORD, _AT_ONCE = 1 << 64, 128
_STATX_BYTES = 256
_WANTED = 0x40 | 0x80 | 0x100 | 0x200
"""STATX_MTIME, STATX_CTIME, STATX_INO, STATX_SIZE."""
_WORDS = (4, 5, 12, 13, 14, 15, 17)
"""Where they are in `struct statx`, in words of 8 bytes: inode, size, seconds and nanoseconds of the inode's change and of the content's,
device."""
_KEPT_BY = {
    *(
        0xEF53,
        0x58465342,
        0x9123683E,
        0x01021994,
        0x858458F6,
        0x794C7630,
    ),  # ext, xfs, btrfs, tmpfs, ramfs, overlay
    *(0x2FC12FC1, 0xF2F52010, 0xCA451A4E, 0x73717368, 0xE0F5E1E2),  # zfs, f2fs, bcachefs, squashfs, erofs
}


class Listed(msgspec.Struct, frozen=True, array_like=True):
    """A folder below the one that is looked at, or that one itself."""

    prefix: bytes
    """`b/c/` below it; empty for itself."""
    stamp: tuple[int, int, int, int]
    """Its device, inode and times before its names were read."""
    names: bytes
    """Of its files, with a NUL between two."""


class Rest(msgspec.Struct, frozen=True, array_like=True):
    """What a folder was when it was at rest."""

    folders: tuple[Listed, ...]
    digest: bytes
    """Of what all files were."""


class _AnotherError(Exception):
    """Something is not as it was."""


class Looker:
    """Takes cheap looks, one at a time."""

    def __init__(self) -> None:
        self._system = _System.found()

    def rest(
        self, folder: str, folders: Sequence[Listed], keys: Sequence[Key], before_ns: int
    ) -> Rest | None:
        """What `is_at` compares with, from a look in full: `keys` are those of all files, in the order of `folders`. None where there can
        be no cheap look: a folder has been changed since `before_ns`, or its times tell nothing."""
        if self._system is None or any(max(one.stamp[2:]) > before_ns for one in folders):
            return None
        devices: set[int] = set()
        for one in folders:
            if one.stamp[0] not in devices and not self._system.keeps_times(_inside(folder, one.prefix)):
                return None
            devices.add(one.stamp[0])
        return Rest(tuple(folders), _digest_of(_columns(folders, keys)))

    def is_at(self, folder: str, rest: Rest) -> bool:
        """Whether every file is what it was, and there are no others."""
        try:
            return self._system is not None and _digest_of(self._looked(folder, rest)) == rest.digest
        except (OSError, _AnotherError):
            return False

    @staticmethod
    def has_its_names(folder: str, rest: Rest) -> bool:
        """Whether no file has come or gone; what the files are is not looked at."""
        try:
            return all(stamp_of(os.stat(_inside(folder, one.prefix))) == one.stamp for one in rest.folders)  # noqa: PTH116
        except OSError:
            return False

    def _looked(self, folder: str, rest: Rest) -> Iterator[bytes]:
        """As `_columns`. Raises _AnotherError where a folder is not as it was."""
        assert self._system is not None
        for one in rest.folders:
            here = os.open(_inside(folder, one.prefix), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                if stamp_of(os.fstat(here)) != one.stamp:
                    raise _AnotherError
                for names in _parts(one.names.split(b"\0") if one.names else []):
                    if not self._system.look(here, names):
                        raise _AnotherError
                    for word in _WORDS:
                        yield self._system.words[
                            word : len(names) * _STATX_BYTES // 8 : _STATX_BYTES // 8
                        ].tobytes()
            finally:
                os.close(here)


class _System:
    """`statx` and `fstatfs` of the C library."""

    def __init__(self, library: Any, ctypes: Any) -> None:
        self._statx, self._fstatfs = library.statx, library.fstatfs
        self._memory = ctypes.create_string_buffer(_AT_ONCE * _STATX_BYTES)
        self._places = [ctypes.byref(self._memory, at * _STATX_BYTES) for at in range(_AT_ONCE)]
        self.words = memoryview(self._memory).cast("B").cast("Q")

    @classmethod
    def found(cls) -> _System | None:
        """None where the system has no such thing, or lays it out in another way."""
        if not sys.platform.startswith("linux") or sys.byteorder != "little" or sys.maxsize < 1 << 32:
            return None
        try:
            import ctypes

            return cls(ctypes.CDLL(None), ctypes)
        except (ImportError, AttributeError, OSError):
            return None

    def look(self, folder: int, names: Sequence[bytes]) -> bool:
        """Have what files of a folder are written into `words`; False where one of them cannot be looked at."""
        called = map(self._statx, repeat(folder), names, repeat(0), repeat(_WANTED), self._places)
        return not any(called)

    def keeps_times(self, folder: bytes) -> bool:
        """Whether the file system that this folder lies on is known to keep the times of folders."""
        here = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            return not self._fstatfs(here, self._places[0]) and self.words[0] in _KEPT_BY
        finally:
            os.close(here)


def key_of(stat: os.stat_result) -> Key:
    """What tells one state of a file from another."""
    inode = stat.st_ino
    return (
        stat.st_dev,
        inode - _WORD if inode >= _WORD >> 1 else inode,
        stat.st_size,
        stat.st_mtime_ns,
        stat.st_ctime_ns,
    )


def stamp_of(stat: os.stat_result) -> tuple[int, int, int, int]:
    """What tells one state of a folder's names from another."""
    return stat.st_dev, stat.st_ino, stat.st_mtime_ns, stat.st_ctime_ns


def _columns(folders: Sequence[Listed], keys: Sequence[Key]) -> Iterator[bytes]:
    """What is known of files, as `statx` has it in `_WORDS`: of each part of a folder one of these after the other."""
    at = 0
    for one in folders:
        count = one.names.count(b"\0") + 1 if one.names else 0
        for part in _parts(keys[at : at + count]):
            for column in zip(*map(_as_statx, part), strict=True):
                yield array("Q", column).tobytes()
        at += count


def _as_statx(key: Key) -> tuple[int, ...]:
    device, inode, size, changed, status = key
    times = (status // 10**9 % _WORD, status % 10**9, changed // 10**9 % _WORD, changed % 10**9)
    return inode % _WORD, size, *times, os.major(device) | os.minor(device) << 32


def _digest_of(parts: Iterator[bytes]) -> bytes:
    from blake3 import blake3

    hasher = blake3()
    update: Callable[[bytes], Any] = hasher.update
    for part in parts:
        update(part)
    return bytes(hasher.digest())


def _parts(items: Sequence[Any]) -> Iterator[Sequence[Any]]:
    return (items[at : at + _AT_ONCE] for at in range(0, len(items), _AT_ONCE))


def _inside(folder: str, prefix: bytes) -> bytes:
    return (os.fsencode(folder) + b"/" + prefix).rstrip(b"/") or b"/"
