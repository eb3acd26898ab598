"""The recorded code in a folder of its own, for a node that has no checkout.

    <root>/code/<tree>[-<links>][-2, -3, …]      mode 0700; one for each tree and choice of links

The rules of this file: whoever uses a folder holds a lock on it, and only what nobody holds is taken away; a folder under its name is whole, because it was made beside and renamed; one that somebody has changed since
is never written to, as runs may be at work in it: another is made. Nothing is written outside of it, whatever a manifest says.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from sweep.core.links import link_problem
from sweep.provenance.tree import TreeError, TreeFile, differing, digest_bytes, display, write_tree

CODE = "code"
_MAKING = ".making-"
_LEFT_OVER_S = 86_400.0
"""What is being made is older than this only when its maker has died."""
_MOST = 1000
_TAKEN_S = 30.0
"""How long somebody who is about to take a tree away, or looks whether he could, is waited for; it takes milliseconds."""
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)
_held: dict[Path, int] = {}
"""Descriptors of the folders that this process uses; they are closed when it ends."""


def unpack(
    tree: str,
    files: Sequence[TreeFile],
    get_blob: Callable[[str], bytes | None],
    root: Path,
    folder: str,
    links: Mapping[str, Path],
    say: Callable[[str], None],
) -> Path:
    """The folder `folder` within the unpacked tree, below `root`; `links`: names below that folder, and where they lead.

    An earlier agent's is used again when every file in it is as recorded. It is kept from `trees_in` and whoever deletes until this
    process ends. Raises TreeError for code that is missing or damaged,
    and for a link that cannot be made.
    """
    home = root / CODE
    _make_home(home)
    _sweep_out(home)
    name = tree[:20]
    if links:
        text = json.dumps([[key, str(path)] for key, path in sorted(links.items())])
        name += f"-{digest_bytes(text.encode('utf-8', 'surrogateescape'))[:8]}"
    for number in range(1, _MOST):
        place = home / (name if number == 1 else f"{name}-{number}")
        lock = _made_and_held(place, files, get_blob, folder, links)
        if not (changed := _changed(place, files, folder, links)):
            if _held.setdefault(place, lock) != lock:
                os.close(lock)
            return place / folder if folder else place
        os.close(lock)
        say(
            f"the recorded code in {place} was changed since it was unpacked ({_names(changed)}); unpacking it anew"
        )
    raise TreeError(f"every copy of the recorded code in {home} was changed; remove them")


def trees_in(root: Path) -> Iterator[Path]:
    """The unpacked trees below `root` that nobody uses at present."""
    with contextlib.suppress(OSError):
        for place in sorted((root / CODE).iterdir()):
            with unused(place) as free:
                if free:
                    yield place


@contextlib.contextmanager
def unused(place: Path) -> Iterator[bool]:
    """Whether nobody uses an unpacked tree; nobody begins to, as long as this lasts."""
    if place.name.startswith(_MAKING) or place.is_symlink() or (lock := _lock(place, fcntl.LOCK_EX)) is None:
        yield False
        return
    try:
        yield True
    finally:
        os.close(lock)


def _made_and_held(
    place: Path,
    files: Sequence[TreeFile],
    get_blob: Callable[[str], bytes | None],
    folder: str,
    links: Mapping[str, Path],
) -> int:
    """A descriptor that holds `place`, which is made where it is not there, or was taken away in this moment."""
    until_s = time.monotonic() + _TAKEN_S
    while True:
        if not place.is_dir():
            _make(place, files, get_blob, folder, links)
        if (lock := _lock(place, fcntl.LOCK_SH)) is not None:
            return lock
        if time.monotonic() > until_s:
            raise TreeError(f"{place} is locked by somebody else, who does not go on")
        time.sleep(0.05)


def _lock(place: Path, how: int) -> int | None:
    """A descriptor that holds `place`; None where somebody else's lock speaks against it, or it is there no more."""
    try:
        lock = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(lock, how | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(lock), place.stat()):
            return lock
    except OSError as error:
        if how == fcntl.LOCK_SH and error.errno in _NO_LOCKS:
            return lock  # a file system without locks: there, nobody can take one to delete it
    os.close(lock)
    return None


def _make_home(home: Path) -> None:
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        home.chmod(0o700)
    except OSError as error:
        raise TreeError(
            f"cannot make the folder {home} for the recorded code: {error.strerror or error}"
        ) from None


def _make(
    place: Path,
    files: Sequence[TreeFile],
    get_blob: Callable[[str], bytes | None],
    folder: str,
    links: Mapping[str, Path],
) -> None:
    making = place.with_name(f"{_MAKING}{secrets.token_hex(8)}")
    try:
        making.mkdir(mode=0o700)
        write_tree(files, get_blob, making)
        workdir = _enter(making, folder)
        for name, target in links.items():
            _link(workdir, name, target)
        try:
            making.rename(place)
        except OSError:
            if not place.is_dir():
                raise
            # another agent was faster; what it made is looked at like any other
    except OSError as error:
        raise TreeError(f"cannot unpack the recorded code into {place}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(making, ignore_errors=True)


def _enter(top: Path, folder: str) -> Path:
    """The real folder `folder` below `top`, with no link on the way; an empty one has no files in a tree, and is made."""
    parts = folder.split("/") if folder else []
    if any(part in ("", ".", "..") for part in parts):
        raise TreeError(f"the folder that runs start in is not in the recorded code: {display(folder)}")
    path = top
    for part in parts:
        path = path / part
        if path.is_symlink() or (os.path.lexists(path) and not path.is_dir()):
            raise TreeError(
                f"the folder that runs start in is no folder in the recorded code: {display(folder)}"
            )
        path.mkdir(exist_ok=True)
    return path


def _link(workdir: Path, name: str, target: Path) -> None:
    """Make the link `name` in `workdir`, without following one that the code brings along."""
    if problem := link_problem(name):
        raise TreeError(problem)
    place = workdir / name
    for parent in reversed(place.relative_to(workdir).parents):
        above = workdir / parent
        if above.is_symlink() or (os.path.lexists(above) and not above.is_dir()):
            raise TreeError(
                f"links: {name} cannot be made, because {parent} in the recorded code is no folder"
            )
    if os.path.lexists(place):
        raise TreeError(f"links: {name} cannot be made, because the recorded code has files there")
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(target)


def _changed(place: Path, files: Sequence[TreeFile], folder: str, links: Mapping[str, Path]) -> list[str]:
    wrong = [
        name
        for name, target in links.items()
        if not (place / folder / name).is_symlink() or (place / folder / name).readlink() != target
    ]
    return [*differing(files, place), *wrong]


def _sweep_out(home: Path) -> None:
    """Delete what agents that died while unpacking have left."""
    for path in home.glob(f"{_MAKING}*"):
        try:
            old = path.lstat().st_mtime < time.time() - _LEFT_OVER_S
        except OSError:
            continue
        if old:
            shutil.rmtree(path, ignore_errors=True)


def _names(paths: Sequence[str]) -> str:
    shown = ", ".join(display(path) for path in paths[:3])
    return shown + (f" and {len(paths) - 3} more" if len(paths) > 3 else "")
