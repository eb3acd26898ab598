"""The code as it was: `snapshot` keeps every file of it as a blob, `restore` writes it back.

Nothing is left out silently. What is too large, cannot be read or may hold a secret is listed with its reason, the
record says that it is not complete, and `warnings` has the words for a person.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import msgspec
from msgspec.structs import replace

from sweep.provenance.left_out import Caps, LeftOut, Reason, explain, explain_pointers, list_bytes
from sweep.provenance.listing import GitRecord, Listing, Submodule, list_code
from sweep.provenance.scrub import holds_secret, scrub
from sweep.provenance.secret_files import judge_name
from sweep.provenance.tree import (
    LINK,
    TreeError,
    TreeFile,
    digest_bytes,
    display,
    manifest_bytes,
    mode_of,
    parse_manifest,
    read_file,
    tree_on_disk,
    write_tree,
)

MAX_FILE_BYTES = 5_000_000
MAX_TOTAL_BYTES = 100_000_000
MAX_FILES = 50_000
MAX_HASHED_BYTES = 500_000_000
"""Files that are not kept are still hashed, the small ones first, up to this many bytes in all (about a second)."""
MAX_SHOWN = 20
"""So many left-out files stand in the record itself; all of them (up to `MAX_LEFT_OUT`) are in a blob."""
MAX_LEFT_OUT = 10_000
_POINTER = b"version https://git-lfs.github.com/spec/"
"""What a file begins with that stands for another one (Git LFS, docs/spec.md), and is smaller than `_POINTER_BYTES`."""
_POINTER_BYTES = 1024


class CodeRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What was recorded of the code. `msgspec.to_builtins` makes plain data of it, `msgspec.convert` reads that."""

    tree: str
    """Digest of the manifest of kept files, and the name of its blob: the identity of the code."""
    root: str
    """The folder that the tree was taken from, made printable: the root of the git work tree, or the given folder."""
    folder: str
    """The given folder, relative to `root`; empty for the root itself."""
    files: int
    bytes: int
    complete: bool
    """Whether every file of the code is in the tree, so that it can be written back from the record alone."""
    git: GitRecord | None = None
    submodules: tuple[Submodule, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    left_out_count: int = 0
    left_out_blob: str = ""
    """Digest of the whole list as JSON; empty when nothing was left out."""
    warnings: tuple[str, ...] = ()
    pointers: tuple[str, ...] = ()
    """Files of Git LFS whose content is not here: what is recorded of them names it. At most `MAX_SHOWN`."""


class _Candidate(msgspec.Struct, frozen=True):
    path: str
    committed: bool
    size: int
    link: bool


def snapshot(
    folder: Path,
    put_blob: Callable[[bytes], str],
    *,
    max_file_bytes: int = MAX_FILE_BYTES,
    max_total_bytes: int = MAX_TOTAL_BYTES,
    max_files: int = MAX_FILES,
    known_secrets: Sequence[str] = (),
    exclude: Sequence[Path] = (),
) -> CodeRecord:
    """Record the code that `folder` belongs to: tracked, changed and untracked files of its git repository (nothing
    that git ignores), without git every file below it that is not surely something else.

    Args:
        put_blob: stores bytes and returns their blake2b-256 in hex. Called once for each different content; a store
            that commits each time should be inside its `batch`.
        max_file_bytes, max_total_bytes, max_files: what is over them is listed, not kept; when a total is reached, committed
            files come first, and the small ones before the large ones.
        known_secrets: strings that must not be recorded; changed and untracked files that contain one are left out.
        exclude: files and folders that are not code, such as the store itself.

    Nothing on disk is changed. What cannot be read is listed, too; no error is raised for it.
    """
    excluded = [where for path in exclude for where in (path.resolve(), path.parent.resolve() / path.name)]
    listing = list_code(folder, excluded)
    caps = Caps(max_file_bytes, max_total_bytes, max_files, MAX_HASHED_BYTES)
    keeper = _Keeper(listing.root, put_blob, caps, known_secrets)
    for candidate in _candidates(listing, excluded, keeper):
        keeper.take(candidate)
    keeper.hash_left_out()
    return _record(folder.resolve(), listing, keeper, known_secrets, caps)


def restore(record: CodeRecord, get_blob: Callable[[str], bytes | None], target: Path) -> None:
    """Write the recorded tree into `target` (a new or empty folder) and compare its digest, recomputed from disk. The
    sweep's own folder is then `target / record.folder`. Raises TreeError, saying what is missing or damaged."""
    manifest = get_blob(record.tree)
    if manifest is None:
        raise TreeError(f"the code is missing: the store has no blob {record.tree}")
    if digest_bytes(manifest) != record.tree:
        raise TreeError(f"the code is damaged: its manifest is not what {record.tree} names")
    write_tree(parse_manifest(manifest), get_blob, target)
    if (found := tree_on_disk(target)) != record.tree:
        raise TreeError(
            f"the code in {target} differs from the record after writing it ({found}, not {record.tree})"
        )


class _Keeper:
    """Takes candidates in the order of their worth and decides for each whether it is kept."""

    def __init__(
        self, root: Path, put_blob: Callable[[bytes], str], caps: Caps, known: Sequence[str]
    ) -> None:
        self.kept: list[TreeFile] = []
        self.left_out: list[tuple[str, LeftOut]] = []
        self.bytes = 0
        self.pointers: list[str] = []
        self._root = str(root)
        self._put_blob = put_blob
        self._caps = caps
        self._known = known
        self._stored: set[str] = set()

    def take(self, candidate: _Candidate) -> None:
        try:
            if candidate.link:
                self._take_link(candidate)
            else:
                self._take_file(candidate)
        except OSError as error:
            if error.errno != errno.ENOENT:
                self.leave_out(candidate.path, candidate.size, "unreadable", error.strerror or "")

    def store(self, data: bytes) -> str:
        digest = digest_bytes(data)
        if digest not in self._stored:
            if (named := self._put_blob(data)) != digest:
                raise TreeError(
                    f"the store named a blob {named}, which is {digest}: it does not use blake2b-256"
                )
            self._stored.add(digest)
        return digest

    def leave_out(self, path: str, size: int, reason: Reason, detail: str = "") -> None:
        self.left_out.append((path, LeftOut(scrub(display(path), self._known), size, reason, detail)))

    def hash_left_out(self) -> None:
        """Add digests to what was left out for its size, as far as the limit allows; sort by path."""
        budget = self._caps.hashed_bytes
        hashed: dict[str, str] = {}
        for path, item in sorted(self.left_out, key=lambda pair: pair[1].size):
            if item.reason in ("large", "total", "count") and item.size <= budget:
                budget -= item.size
                hashed[path] = hash_file(f"{self._root}/{path}")
        self.left_out = [
            (path, replace(item, digest=hashed.get(path, ""))) for path, item in sorted(self.left_out)
        ]

    def _take_link(self, candidate: _Candidate) -> None:
        target = os.fsencode(os.readlink(f"{self._root}/{candidate.path}"))  # noqa: PTH115
        if not candidate.committed and (why := self._secret(candidate.path, target)):
            self.leave_out(candidate.path, len(target), "secret inside", why)
        else:
            self._keep(candidate.path, LINK, target)

    def _take_file(self, candidate: _Candidate) -> None:
        path, size = candidate.path, candidate.size
        verdict = judge_name(path)
        if verdict == "secret":
            self.leave_out(path, size, "secret name")
        elif size > self._caps.file_bytes:
            self.leave_out(path, size, "large")
        elif self.bytes + size > self._caps.total_bytes:
            self.leave_out(path, size, "total")
        elif len(self.kept) >= self._caps.files:
            self.leave_out(path, size, "count")
        elif (read := read_file(f"{self._root}/{path}", self._caps.file_bytes)) is None:
            self.leave_out(path, size, "large")
        else:
            data, permissions = read
            looked_into = not candidate.committed or verdict == "look inside"
            if looked_into and (why := self._secret(path, data)):
                self.leave_out(path, size, "secret inside", why)
            else:
                self._keep(path, mode_of(permissions), data)

    def _secret(self, path: str, data: bytes) -> str:
        if holds_secret(os.fsencode(path), self._known):
            return "its name looks like a token or a key"
        return holds_secret(data, self._known)

    def _keep(self, path: str, mode: str, data: bytes) -> None:
        self.kept.append(TreeFile(path, mode, len(data), self.store(data)))
        self.bytes += len(data)
        if mode != LINK and len(data) < _POINTER_BYTES and data.startswith(_POINTER):
            self.pointers.append(scrub(display(path), self._known))


def _candidates(listing: Listing, exclude: Sequence[Path], keeper: _Keeper) -> list[_Candidate]:
    """What is on disk of the listed files and links, the most worth keeping first."""
    root = str(listing.root)
    excluded = tuple(os.path.relpath(path, root) for path in exclude)
    found: list[_Candidate] = []
    for file in listing.files:
        if excluded and any(file.path == path or file.path.startswith(f"{path}/") for path in excluded):
            continue
        try:
            status = os.lstat(f"{root}/{file.path}")
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            keeper.leave_out(file.path, 0, "unreadable", error.strerror or "")
            continue
        kind = stat.S_IFMT(status.st_mode)
        if kind in (stat.S_IFREG, stat.S_IFLNK):
            found.append(_Candidate(file.path, file.committed, status.st_size, kind == stat.S_IFLNK))
    return sorted(_not_through_links(found), key=lambda c: (not c.committed, c.size, c.path))


def _not_through_links(found: list[_Candidate]) -> Iterable[_Candidate]:
    """Without paths below a link: git may still list the files of a folder that has since become one."""
    links = tuple(f"{candidate.path}/" for candidate in found if candidate.link)
    return found if not links else [candidate for candidate in found if not candidate.path.startswith(links)]


def hash_file(path: str) -> str:
    """blake2b-256 of a file of any size; empty when it cannot be read."""
    try:
        with open(path, "rb") as stream:  # noqa: PTH123
            return hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=32)).hexdigest()
    except OSError:
        return ""


def _record(folder: Path, listing: Listing, keeper: _Keeper, known: Sequence[str], caps: Caps) -> CodeRecord:
    left_out = [item for _, item in keeper.left_out]
    where = os.path.relpath(folder, listing.root)
    git = listing.git
    return CodeRecord(
        tree=keeper.store(manifest_bytes(keeper.kept)),
        root=scrub(display(str(listing.root)), known),
        folder="" if where == "." else scrub(display(where), known),
        files=len(keeper.kept),
        bytes=keeper.bytes,
        complete=not left_out and not listing.truncated,
        git=git
        and replace(
            git, branch=scrub(git.branch or "", known) or None, remote=scrub(git.remote or "", known) or None
        ),
        submodules=tuple(replace(item, path=scrub(display(item.path), known)) for item in listing.submodules),
        left_out=tuple(left_out[:MAX_SHOWN]),
        left_out_count=len(left_out),
        left_out_blob=keeper.store(list_bytes(left_out[:MAX_LEFT_OUT])) if left_out else "",
        warnings=tuple(
            scrub(text, known, assignments=False)
            for text in (*listing.warnings, *explain(left_out, caps), *explain_pointers(keeper.pointers))
        ),
        pointers=tuple(sorted(keeper.pointers)[:MAX_SHOWN]),
    )
