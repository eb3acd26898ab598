"""What git knows about a folder, read without changing anything.

No command here writes: not the index (no optional locks), not the objects, not the work tree. All output is read in its
NUL-separated form, and neither `GIT_*` variables nor settings for people (colours, quoting, renames) have any effect.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import msgspec

from sweep.provenance.urls import strip_user_info

TIMEOUT_S = 60.0
SUBMODULE = "160000"

_PREFIX = ("git", "--no-optional-locks", "-c", "core.fsmonitor=false", "-c", "core.quotePath=false")


class GitError(Exception):
    """git failed; the message is its own."""


class NoRepository(GitError):
    """The folder is in no work tree, or git is not installed."""


class Tracked(msgspec.Struct, frozen=True):
    """One path of the index."""

    path: str
    mode: str
    commit: str
    """For a submodule the commit that the index asks for, else the object of the content."""


class Status(msgspec.Struct, frozen=True):
    commit: str | None
    """None before the first commit."""
    branch: str | None
    """None on a detached head."""
    changed: frozenset[str]
    """Tracked paths that differ from the commit, staged or not; submodules are not looked at."""
    untracked: tuple[str, ...]
    """Not ignored; a nested repository stands with a slash at its end."""


def git_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """`environ` without anything that changes which repository git reads, or how it prints."""
    kept = {name: value for name, value in environ.items() if not name.startswith("GIT_")}
    return {**kept, "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}


def run_git(folder: Path, *arguments: str) -> bytes:
    """Standard output of `git ARGUMENTS` in `folder`. Raises GitError."""
    if shutil.which("git") is None:
        raise NoRepository("git is not installed")
    try:
        done = subprocess.run(
            [*_PREFIX, *arguments],
            cwd=folder,
            env=git_environment(os.environ),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise GitError(f"git {arguments[0]} took longer than {TIMEOUT_S:.0f} s") from error
    if done.returncode != 0:
        words = done.stderr.decode("utf-8", "replace").strip().split("\n")[0]
        kind = NoRepository if "not a git repository" in words or "in a work tree" in words else GitError
        raise kind(words or f"git {arguments[0]} ended with {done.returncode}")
    return done.stdout


def toplevel(folder: Path) -> Path:
    """The root of the work tree that holds `folder`. Raises NoRepository, or GitError when git refuses to read it."""
    return Path(os.fsdecode(run_git(folder, "rev-parse", "--show-toplevel").removesuffix(b"\n")))


def tracked(folder: Path) -> list[Tracked]:
    """Paths of the index below `folder`, relative to it, each once (also in the middle of a merge)."""
    found: dict[str, Tracked] = {}
    for entry in _fields(run_git(folder, "ls-files", "-s", "-z", "--", ".")):
        about, _, path = entry.partition("\t")
        mode, commit, _stage = about.split(" ")
        found[path] = Tracked(path, mode, commit)
    return list(found.values())


def status(folder: Path) -> Status:
    """How the work tree below `folder` differs from its commit; paths are relative to `folder`."""
    arguments = (
        "--porcelain=v2",
        "--branch",
        "-z",
        "--no-renames",
        "--untracked-files=all",
        "--ignore-submodules=all",
    )
    prefix = os.fsdecode(run_git(folder, "rev-parse", "--show-prefix").removesuffix(b"\n"))
    head: dict[str, str] = {}
    changed: set[str] = set()
    untracked: list[str] = []
    for entry in _fields(run_git(folder, "status", *arguments, "--", ".")):
        kind, _, rest = entry.partition(" ")
        if kind == "#":
            name, _, value = rest.partition(" ")
            head[name] = value
        elif kind == "?":
            untracked.append(rest.removeprefix(prefix))
        elif kind in ("1", "u"):
            changed.add(rest.split(" ", 7 if kind == "1" else 9)[-1].removeprefix(prefix))
    commit, branch = head.get("branch.oid"), head.get("branch.head")
    return Status(
        commit=None if commit == "(initial)" else commit,
        branch=None if branch == "(detached)" else branch,
        changed=frozenset(changed),
        untracked=tuple(untracked),
    )


def is_ignored(top: Path, folder: Path) -> bool:
    """Whether the repository at `top` ignores `folder`, which lies below it."""
    try:
        run_git(top, "check-ignore", "-q", "--", os.path.relpath(folder, top))
    except GitError:
        return False
    return True


def remote_url(folder: Path) -> str | None:
    """Where `origin` (or else the first remote) is, without user info. Taken as it stands in the settings: what git makes
    of it by `insteadOf` can hold a token."""
    try:
        output = run_git(folder, "config", "--local", "-z", "--get-regexp", r"^remote\..*\.url$")
    except GitError:
        return None
    urls = dict(
        reversed([(name, url) for name, _, url in (entry.partition("\n") for entry in _fields(output))])
    )
    chosen = urls.get("remote.origin.url") or next(reversed(urls.values()), None)
    return strip_user_info(chosen) if chosen else None


def _fields(output: bytes) -> list[str]:
    return [os.fsdecode(field) for field in output.split(b"\0") if field]
