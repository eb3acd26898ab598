"""From a URL, or none, to an open store: where the project folder is and what each form of URL means."""

from __future__ import annotations

import os
import re
from pathlib import Path

from sweep.stores.base import Store, StoreError

FOLDER = ".sweep"
FILE = "store.db"

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_FORMS = "sqlite:///relative/store.db, sqlite:////absolute/store.db, the path of a file, or memory:"


def open_store(url: str | None, cwd: Path, *, create: bool = False) -> Store:
    """Open the store that `url` names, as seen from the folder `cwd`.

    None means `.sweep/store.db` in the project folder: the nearest one at or above `cwd`, else (where `create` makes
    it) the top of the git work tree around `cwd`, else `cwd`. `memory:` is a new, empty store that ends with this
    process. Raises StoreError for a URL that means nothing, for a file that does not exist unless `create`, and for
    one that cannot serve.
    """
    if url == "memory:":
        from sweep.stores.memory import MemoryStore

        return MemoryStore()
    path = default_path(cwd) if url is None else _path_of(url, cwd)
    from sweep.stores.sqlite import SqliteStore

    return SqliteStore(path, create=create)


def default_path(cwd: Path) -> Path:
    """Where the store of the project around `cwd` is, or would be made."""
    cwd = cwd.resolve()
    folders = (cwd, *cwd.parents)
    for folder in folders:
        if _trusted(folder / FOLDER / FILE, cwd):
            return folder / FOLDER / FILE
    top = next((folder for folder in folders if (folder / ".git").exists()), cwd)
    return top / FOLDER / FILE


def _trusted(path: Path, cwd: Path) -> bool:
    """Whether a store that was found, not named, may be used. A sweep's record holds commands that an agent runs, so
    one that a stranger laid down in a shared folder above (`/tmp`) is passed by."""
    try:
        return path.is_file() and _owner(path) in (os.getuid(), _owner(cwd))
    except OSError:
        return False


def _owner(path: Path) -> int:
    return path.stat().st_uid


def _path_of(url: str, cwd: Path) -> Path:
    scheme = _SCHEME.match(url)
    if scheme and scheme[1] in ("redis", "rediss"):
        raise StoreError(f"{url}: this version of sweep has no Redis store yet; use {_FORMS}")
    if scheme and not url.startswith("sqlite:///"):
        raise StoreError(f"{url}: this is no store; use {_FORMS}")
    name = url.removeprefix("sqlite:///")
    if not name or "\0" in name:
        raise StoreError(f"{url!r}: this names no file; use {_FORMS}")
    path = (cwd / Path(name).expanduser()).resolve()
    if path.is_dir():
        raise StoreError(f"{url}: {path} is a folder; name the file in it: {path / FILE}")
    return path
