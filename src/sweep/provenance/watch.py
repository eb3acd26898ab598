"""Whether files of a folder of code may have been changed since one last looked: by what the file system says of each, without opening any.

The rules of this file: a look costs a `stat` of each file and folder (2 µs); it never fails; what it names may have changed, and what it
does not name has not. Whatever is done to a file changes the time of its inode's change, which nobody can set, or it is another inode.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable

from sweep.provenance.kinds import is_output, may_be_code
from sweep.provenance.listing import SKIPPED_FOLDERS

MOST_FOLDERS = 20_000
"""So many folders are looked into for new files; further ones are not."""
Stamp = tuple[int, int] | None
"""Inode, and time of its change; None for a file that is not there."""


class CodeWatch:
    """Looks at a folder of code again and again."""

    def __init__(self, root: str, recorded: Iterable[str], apart: Collection[str] = ()) -> None:
        """`recorded`: the files of the code, relative to `root`; `apart`: files and folders that are no code, as they stand below it.
        What is there now is what the first `look` compares with."""
        self._root, self._apart = root.rstrip("/"), frozenset(apart)
        self._stamps: dict[str, Stamp] = {
            path: None for path in recorded if not is_output(path) and not self._is_apart(path)
        }
        self._folders: dict[str, int] = dict.fromkeys(
            (folder for path in self._stamps for folder in _parents(path)), 0
        )
        self._folders[""] = 0
        self.look()

    def __len__(self) -> int:
        return len(self._stamps)

    def look(self) -> list[str]:
        """The files that were changed, came or went since the last look, as far as they count as code."""
        root, stamps, found = self._root, self._stamps, list[str]()
        for path, before in stamps.items():
            now = _stamp(f"{root}/{path}")
            if now != before:
                found.append(path)
                stamps[path] = now
        return found + self._new()

    def _new(self) -> list[str]:
        """Code that has come: only in folders whose own time says that a name in them has changed."""
        found, waiting = list[str](), list(self._folders)
        while waiting:
            folder = waiting.pop()
            at = f"{self._root}/{folder}"
            try:
                changed_ns = os.lstat(at).st_mtime_ns
            except OSError:
                continue
            known = self._folders.get(folder)
            if changed_ns == known or (known is None and len(self._folders) >= MOST_FOLDERS):
                continue
            self._folders[folder] = changed_ns
            files, inner = self._names(at, folder)
            waiting += inner
            for path in files:
                self._stamps[path] = _stamp(f"{self._root}/{path}")
            found += files
        return found

    def _names(self, at: str, folder: str) -> tuple[list[str], list[str]]:
        """(files that may be code, folders) in a folder, those that are not known yet."""
        before, files, folders = f"{folder}/" if folder else "", list[str](), list[str]()
        try:
            with os.scandir(at) as entries:
                for entry in entries:
                    path = before + entry.name
                    if path in self._stamps or path in self._folders or self._is_apart(path):
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        folders += [] if _is_no_code(entry) else [path]
                    elif may_be_code(path):
                        files.append(path)
        except OSError:
            pass
        return files, folders

    def _is_apart(self, path: str) -> bool:
        return path in self._apart or any(path.startswith(f"{other}/") for other in self._apart)


def _parents(path: str) -> Iterable[str]:
    parts = path.split("/")[:-1]
    return ("/".join(parts[:n]) for n in range(1, len(parts) + 1))


def _is_no_code(entry: os.DirEntry[str]) -> bool:
    hidden = entry.name.startswith(".") or entry.name in SKIPPED_FOLDERS
    return hidden or os.path.exists(f"{entry.path}/pyvenv.cfg")  # noqa: PTH110


def _stamp(path: str) -> Stamp:
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return found.st_ino, found.st_ctime_ns
