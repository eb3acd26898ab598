"""Where a store is: what a URL, or none, means as seen from a folder.

The rule of this file: nothing is opened or made, and nothing is imported beyond `pathlib`, so that completing a command line
costs next to nothing.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

FOLDER = ".sweep"
FILE = "store.db"

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_FORMS = "sqlite:///relative/store.db, sqlite:////absolute/store.db, the path of a file, redis://host:port/0, or memory:"


def is_redis(url: str | None) -> bool:
    """Whether a URL names a store on a Redis server."""
    return url is not None and url.partition(":")[0].lower() in ("redis", "rediss", "unix")


def default_path(cwd: Path) -> Path:
    """Where the store of the project around `cwd` is, or would be made: the nearest one at or above it, else the top of
    the git work tree around it, else `cwd` itself."""
    cwd = cwd.resolve()
    folders = (cwd, *cwd.parents)
    for folder in folders:
        if _trusted(folder / FOLDER / FILE, cwd):
            return folder / FOLDER / FILE
    top = next((folder for folder in folders if (folder / ".git").exists()), cwd)
    return top / FOLDER / FILE


def shown(url: str) -> str:
    """A URL as it may stand in a message: without user, password and options."""
    scheme, mark, rest = url.partition("://")
    if not mark or scheme == "sqlite":
        return url
    place = rest.rpartition("@")[2].partition("?")[0].partition("#")[0]
    return f"{scheme}://{place}"


def path_of(url: str, cwd: Path) -> Path:
    """The file that a URL other than `memory:` names. Raises ValueError for one that names none, in words."""
    scheme = _SCHEME.match(url)
    if is_redis(url):
        raise ValueError("a Redis store is no file")  # said without the address: that may hold a password
    if scheme and not url.startswith("sqlite:///"):
        raise ValueError(f"{shown(url)}: this is no store; use {_FORMS}")
    name = url.removeprefix("sqlite:///")
    if not name or "\0" in name:
        raise ValueError(f"{url!r}: this names no file; use {_FORMS}")
    try:
        path = (cwd / Path(name).expanduser()).resolve()
    except RuntimeError:  # a loop of links, or `~` of an account without a home
        raise ValueError(f"{url}: this names no file that can be found; use {_FORMS}") from None
    if _is_folder(path):
        raise ValueError(f"{url}: {path} is a folder; name the file in it: {path / FILE}")
    return path


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # opening it will tell why it cannot be looked at
        return False


def _trusted(path: Path, cwd: Path) -> bool:
    """Whether a store that was found, not named, may be used. A sweep's record holds commands that an agent runs, so
    one that a stranger laid down in a shared folder above (`/tmp`) is passed by."""
    try:
        return path.is_file() and _owner(path) in (os.getuid(), _owner(cwd))
    except OSError:
        return False


def _owner(path: Path) -> int:
    return path.stat().st_uid
