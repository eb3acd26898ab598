"""Which files belong to the code: what git tracks or would track, else a walk that skips what is surely not code.

Only names are looked at here, never contents.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from pathlib import Path

import msgspec

from sweep.provenance import git
from sweep.provenance.tree import display

MAX_LISTED = 200_000
"""A folder with more files than this is not a folder of code; the rest of it is not looked at."""

_MAX_DEPTH = 8

SKIPPED_FOLDERS = frozenset(
    {
        ".sweep",
        ".git",
        ".hg",
        ".svn",
        "__pycache__",
        "node_modules",
        ".venv",
        ".tox",
        ".nox",
        ".mypy_cache",
        ".ruff_cache",
    }
    | {".pytest_cache", ".hypothesis", ".ipynb_checkpoints", ".cache", ".eggs", ".import_linter_cache"}
)


class Listed(msgspec.Struct, frozen=True):
    path: str
    """Relative to the root of the listing."""
    committed: bool
    """As it stands in a commit; otherwise changed, untracked, or not under version control at all."""


class Submodule(msgspec.Struct, frozen=True):
    """A repository inside the repository."""

    path: str
    commit: str | None
    """What is checked out; where nothing is, what the index asks for."""
    dirty: bool
    checked_out: bool
    """Its files are in the tree, too."""


class GitRecord(msgspec.Struct, frozen=True):
    commit: str | None
    branch: str | None
    remote: str | None
    """Without user info."""
    dirty: bool
    """A tracked file, or a submodule, is not as it was committed."""
    changed: int
    untracked: int
    """Files that are neither tracked nor ignored."""


class Listing(msgspec.Struct):
    root: Path
    files: list[Listed] = []
    git: GitRecord | None = None
    submodules: list[Submodule] = []
    warnings: list[str] = []
    truncated: bool = False
    """There are more files than were looked at."""
    exclude: frozenset[Path] = frozenset()
    """What is no code, and may be large: not looked into."""


def list_code(folder: Path, exclude: Iterable[Path] = ()) -> Listing:
    """The files of the code that `folder` belongs to. In a repository the root is that of the work tree, so that what a
    script imports from elsewhere in it is there, too. `exclude`: files and folders that are no code; some of them may still be
    listed. Never raises for what git or the file system say."""
    folder = folder.resolve()
    excluded = frozenset(exclude)
    try:
        listing = _list_repository(folder, excluded)
    except git.NoRepository as error:
        listing = Listing(folder, exclude=excluded)
        if any((parent / ".git").exists() for parent in (folder, *folder.parents)):
            listing.warnings.append(f"the commit is not recorded: {error}")
        _walk_into(listing, folder)
    except (git.GitError, OSError) as error:
        words = f"git could not be read ({error}): the commit is not recorded"
        listing = Listing(folder, warnings=[words], exclude=excluded)
        _walk_into(listing, folder)
    return listing


def _list_repository(folder: Path, exclude: frozenset[Path]) -> Listing:
    root = top = git.toplevel(folder)
    if top in (_home(), Path("/")):
        # A repository of somebody's settings: all of a home folder is not this sweep's code.
        root = folder
    listing = Listing(root, exclude=exclude)
    listing.git = _collect(listing, root, "", 0)
    if folder != top and git.is_ignored(top, folder):
        _walk_into(listing, folder)
    return listing


def _home() -> Path | None:
    """None for an account without a home folder, as containers have them."""
    try:
        return Path.home().resolve()
    except RuntimeError:
        return None


def _collect(listing: Listing, folder: Path, prefix: str, depth: int) -> GitRecord:
    """Add the files of the repository at `folder` to the listing, under `prefix`, and say how it stands."""
    index, status = git.tracked(folder), git.status(folder)
    dirty = bool(status.changed)
    for item in index:
        if item.mode == git.SUBMODULE:
            module = _submodule(listing, folder, prefix, item.path, depth)
            dirty |= module.dirty or (module.checked_out and module.commit != item.commit)
            listing.submodules.append(
                module if module.commit else msgspec.structs.replace(module, commit=item.commit)
            )
        elif ".sweep" not in item.path.split("/"):
            listing.files.append(Listed(prefix + item.path, item.path not in status.changed))
    untracked = _without_noise(listing, folder, status.untracked)
    for path in untracked:
        if path.endswith("/"):
            listing.submodules.append(_submodule(listing, folder, prefix, path[:-1], depth))
        else:
            listing.files.append(Listed(prefix + path, False))
    return GitRecord(
        commit=status.commit,
        branch=status.branch,
        remote=git.remote_url(folder),
        dirty=dirty,
        changed=len(status.changed),
        untracked=len(untracked),
    )


def _submodule(listing: Listing, folder: Path, prefix: str, path: str, depth: int) -> Submodule:
    """Add the files of a repository inside the repository, where it is checked out."""
    inner, name = folder / path, prefix + path
    if inner.is_symlink():
        listing.files.append(Listed(name, False))
    elif (inner / ".git").exists() and depth < _MAX_DEPTH:
        try:
            record = _collect(listing, inner, f"{name}/", depth + 1)
            return Submodule(name, record.commit, record.dirty, True)
        except (git.GitError, OSError) as error:
            listing.warnings.append(f"the repository in {display(name)} could not be read: {error}")
            _walk_into(listing, inner)
    return Submodule(name, None, False, False)


def _without_noise(listing: Listing, folder: Path, untracked: tuple[str, ...]) -> list[str]:
    """Untracked paths in `folder` without what is excluded, caches and virtual environments that nobody told git to ignore."""
    if listing.exclude:
        outside = tuple(f"{os.path.relpath(path, folder)}/" for path in listing.exclude)
        untracked = tuple(path for path in untracked if not f"{path}/".startswith(outside))
    environments = tuple(
        path.removesuffix("pyvenv.cfg") for path in untracked if path.endswith("/pyvenv.cfg")
    )
    kept = [
        path
        for path in untracked
        if not path.startswith(environments) and SKIPPED_FOLDERS.isdisjoint(path.removesuffix("/").split("/"))
    ]
    if len(kept) > MAX_LISTED:
        _say_too_many(listing)
    return kept[:MAX_LISTED]


def _walk_into(listing: Listing, folder: Path) -> None:
    """Add the files below `folder` that are not known yet, without any help of git."""
    known = {file.path for file in listing.files}
    start = os.path.relpath(folder, listing.root)
    prefix = "" if start == "." else f"{start}/"
    for path in _walk(str(folder), prefix, {str(path) for path in listing.exclude}):
        if path in known:
            continue
        if len(listing.files) >= MAX_LISTED:
            _say_too_many(listing)
            return
        listing.files.append(Listed(path, False))


def _walk(folder: str, prefix: str, exclude: Collection[str]) -> Iterable[str]:
    """Files and links below `folder`, hidden folders left out: outside a repository these are settings and caches."""
    waiting = [(folder, prefix)]
    while waiting:
        current, before = waiting.pop()
        try:
            entries = sorted(os.scandir(current), key=lambda entry: entry.name)
        except OSError:
            continue
        if before and any(_is_no_code(entry) for entry in entries):
            continue
        for entry in entries:
            if entry.path in exclude:
                continue
            if not entry.is_dir(follow_symlinks=False):
                yield before + entry.name
            elif entry.name not in SKIPPED_FOLDERS and not entry.name.startswith("."):
                waiting.append((entry.path, f"{before}{entry.name}/"))


def _is_no_code(entry: os.DirEntry[str]) -> bool:
    """Whether a file marks the folder it is in as an environment, or as made by a tool that wants it ignored whole."""
    if entry.name != ".gitignore":
        return entry.name in ("pyvenv.cfg", "conda-meta")
    try:
        lines = Path(entry.path).read_bytes().splitlines()
    except OSError:
        return False
    return [line for line in lines if line.strip() and not line.startswith(b"#")] == [b"*"]


def _say_too_many(listing: Listing) -> None:
    listing.truncated = True
    listing.warnings.append(
        f"{display(str(listing.root))} holds more than {MAX_LISTED} files; the others were not looked at: "
        "this sweep is not reconstructible from the record alone. Keep data out of the folder, or let .gitignore name it"
    )
