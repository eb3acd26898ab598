"""Where a store's files lie: run folders, agents' logs, what waits to be deleted."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from sweep.stores import Store

RUNS, LOCAL, AGENTS, TRASH = "runs", "local", "agents", "trash"
_ELSEWHERE = "stores-elsewhere"
"""A file with the addresses (without passwords) of stores on servers whose sweeps have run folders here."""


def store_folder(store: Store) -> Path:
    """Where run folders are made: the folder that SWEEP_FOLDER names (a fast local disk, say), else beside the store file, or in
    this folder when the store is elsewhere."""
    if chosen := os.environ.get("SWEEP_FOLDER"):
        return Path(chosen).expanduser().absolute()
    return folder_of(store.url, Path.cwd())


def folder_of(url: str, cwd: Path) -> Path:
    """Beside the file of a store's URL, or in the folder `cwd` when the store is elsewhere."""
    if url.startswith("sqlite:///"):
        return Path(url.removeprefix("sqlite:///")).parent
    return cwd / ".sweep"


def run_root(store: Store) -> Path:
    """`store_folder`, for somebody who makes run folders there: it is noted whose they are."""
    root = store_folder(store)
    if not store.url.startswith(("sqlite:///", "memory:")) and store.url not in stores_elsewhere(root):
        with contextlib.suppress(OSError):
            root.mkdir(mode=0o700, parents=True, exist_ok=True)
            with (root / _ELSEWHERE).open("a", encoding="utf-8") as file:
                file.write(f"{store.url}\n")
    return root


def stores_elsewhere(root: Path) -> list[str]:
    """The stores on servers whose sweeps may have run folders here."""
    try:
        return (root / _ELSEWHERE).read_text("utf-8").split()
    except OSError:
        return []


def size_bytes(path: Path) -> int:
    """What a file, or a folder with everything in it, takes on the disk. Links are not followed; what vanishes or may not
    be read counts nothing."""
    try:
        found = path.lstat()
    except OSError:
        return 0
    total = found.st_blocks * 512
    for folder, _, files in os.walk(path):
        for name in [".", *files]:
            with contextlib.suppress(OSError):
                total += os.lstat(f"{folder}/{name}").st_blocks * 512
    return total


class Trash:
    """Takes files and folders out of the way in one step each, and deletes them afterwards: what is large is never deleted
    while others wait. What a process that died has left is deleted by the next one."""

    def __init__(self, root: Path) -> None:
        self.path = root / TRASH

    def put(self, path: Path) -> bool:
        """Take `path` away; False when it is not there. Raises OSError."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            path.rename(self.path / secrets.token_hex(8))
        except FileNotFoundError:
            return False
        return True

    def empty(self) -> None:
        """Delete all that was put here. What cannot be deleted stays for the next time."""
        shutil.rmtree(self.path, ignore_errors=True)


def folders_in(path: Path) -> Iterator[Path]:
    """The real folders in `path`, sorted; none when it is not there."""
    with contextlib.suppress(OSError):
        yield from sorted(found for found in path.iterdir() if found.is_dir() and not found.is_symlink())
