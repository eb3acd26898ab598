"""A tree of files as content: its manifest, its digest, and writing it back.

The manifest lists every kept file as (path, mode, size, digest), sorted by the bytes of the path, as canonical JSON. Its
own digest identifies the tree: two folders with the same code have the same one, wherever and whenever they were
recorded. What comes out of a manifest is distrusted (a record may have been imported): nothing is ever written outside
the target folder or through a link.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec

FORMAT = 1
FILE, EXECUTABLE, LINK = "100644", "100755", "120000"
MAX_TREE_BYTES = 2_000_000_000
MAX_TREE_FILES = 200_000
MAX_MANIFEST_BYTES = 100_000_000
"""No tree that is recorded is nearly as large (`sweep.provenance.code`): a manifest beyond these is damaged, or made to fill a disk."""
_MAX_NAME, _MAX_PATH = 255, 4000
"""In bytes, as file systems have it."""

_READ_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_WRITE_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class TreeError(Exception):
    """A recorded tree cannot be read or written back; the message says which part and why."""


class TreeFile(msgspec.Struct, frozen=True):
    """One kept file. `path` is relative, with `/`; names that are not UTF-8 are surrogate-escaped, as Python has them."""

    path: str
    mode: str
    """As git has it: 100644 (file), 100755 (executable file), 120000 (link: its blob is the target's path)."""
    size: int
    """In bytes."""
    digest: str
    """Of the content: blake2b-256, hex, the name of its blob."""


def digest_bytes(data: bytes) -> str:
    """blake2b-256 in hex, as every store names its blobs."""
    return hashlib.blake2b(data, digest_size=32).hexdigest()


def manifest_bytes(files: Iterable[TreeFile]) -> bytes:
    """The canonical manifest of `files`, given in any order; its digest is the tree's."""
    rows = [[f.path, f.mode, f.size, f.digest] for f in sorted(files, key=lambda f: os.fsencode(f.path))]
    # Escaped to ASCII, so that names that are not valid UTF-8 survive.
    return json.dumps({"format": FORMAT, "files": rows}, separators=(",", ":")).encode("ascii")


def parse_manifest(data: bytes) -> tuple[TreeFile, ...]:
    """The files of a manifest. Raises TreeError when it is not one, or when writing it could leave its folder."""
    if len(data) > MAX_MANIFEST_BYTES:
        raise TreeError(f"the manifest is damaged: it is larger than {MAX_MANIFEST_BYTES:,} bytes")
    try:
        content: dict[str, Any] = json.loads(data)
        if content["format"] != FORMAT:
            raise TreeError(
                f"the manifest has format {content['format']!r}; this version of sweep reads format {FORMAT}"
            )
        files = tuple(
            msgspec.convert(dict(zip(TreeFile.__struct_fields__, row, strict=True)), TreeFile)
            for row in content["files"]
        )
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise TreeError(f"the manifest is damaged: {error}") from error
    check_files(files)
    return files


def read_file(path: str, limit_bytes: int) -> tuple[bytes, int] | None:
    """(content, permission bits) of a plain file, None when it has more than `limit_bytes` or is no plain file. Follows
    no link and never waits on a pipe. Raises OSError."""
    fd = os.open(path, _READ_FLAGS)
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode) or status.st_size > limit_bytes:
            return None
        parts: list[bytes] = []
        left = limit_bytes + 1
        while left > 0 and (part := os.read(fd, min(left, status.st_size + 1))):
            parts.append(part)
            left -= len(part)
        return (b"".join(parts), status.st_mode) if left > 0 else None
    finally:
        os.close(fd)


def write_tree(files: Sequence[TreeFile], get_blob: Callable[[str], bytes | None], target: Path) -> None:
    """Write `files` into `target`, which must be empty or not exist. Raises TreeError for a missing or damaged blob."""
    check_files(files)
    target.mkdir(parents=True, exist_ok=True)
    if any(target.iterdir()):
        raise TreeError(
            f"{target} is not empty: code is restored into a new folder, so that nothing is overwritten"
        )
    made: set[str] = set()
    # Links come last: no file can then be written through one.
    for file in sorted(files, key=lambda f: (f.mode == LINK, f.path)):
        data = get_blob(file.digest)
        if data is None:
            raise TreeError(f"{display(file.path)} is missing: the store has no blob {file.digest}")
        if digest_bytes(data) != file.digest:
            raise TreeError(f"{display(file.path)} is damaged: its blob is not what {file.digest} names")
        if len(data) > file.size:
            raise TreeError(f"{display(file.path)} is damaged: it is larger than the manifest says")
        try:
            _write(str(target), file, data, made)
        except OSError as error:
            raise TreeError(f"{display(file.path)} cannot be written: {error.strerror}") from error


def differing(files: Sequence[TreeFile], folder: Path) -> list[str]:
    """The paths of `files` that are not in `folder` as they should be, by content. What else is there does not count."""
    found: list[str] = []
    for file in files:
        try:
            there = _from_disk(f"{folder}/{file.path}", file.path)
        except OSError:
            found.append(file.path)
        else:
            found += [file.path] if there != file else []
    return found


def tree_on_disk(folder: Path) -> str:
    """The digest of every file and link below `folder`, recomputed from disk (empty folders do not count)."""
    files: list[TreeFile] = []
    for parent, folders, names in os.walk(folder):
        links = [name for name in folders if os.path.islink(os.path.join(parent, name))]  # noqa: PTH114, PTH118
        for name in (*names, *links):
            path = os.path.join(parent, name)  # noqa: PTH118
            files.append(_from_disk(path, os.path.relpath(path, folder)))
    return digest_bytes(manifest_bytes(files))


def display(path: str) -> str:
    """A path as text that any terminal and encoding can show: control and undecodable characters are escaped."""
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def _from_disk(path: str, relative: str) -> TreeFile:
    status = os.lstat(path)
    if stat.S_ISLNK(status.st_mode):
        target = os.fsencode(os.readlink(path))  # noqa: PTH115
        return TreeFile(relative, LINK, len(target), digest_bytes(target))
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "not a file", path)
    with open(path, "rb") as stream:  # noqa: PTH123
        digest = hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=32)).hexdigest()
    return TreeFile(relative, mode_of(status.st_mode), status.st_size, digest)


def mode_of(permissions: int) -> str:
    """The mode of a plain file: only the owner's right to execute is kept, as in git."""
    return EXECUTABLE if permissions & stat.S_IXUSR else FILE


def check_files(files: Sequence[TreeFile]) -> None:
    """Raise TreeError unless every path stays inside the target and none lies below a file or link."""
    paths = {file.path for file in files}
    if len(paths) != len(files):
        raise TreeError("the manifest is damaged: it names a path twice")
    if len(files) > MAX_TREE_FILES or sum(file.size for file in files) > MAX_TREE_BYTES:
        raise TreeError(f"the manifest names more than {MAX_TREE_FILES:,} files or {MAX_TREE_BYTES:,} bytes")
    for file in files:
        _check_length(file.path)
        parts = file.path.split("/")
        if file.size < 0:
            raise TreeError(f"the manifest is damaged: {display(file.path)} has {file.size} bytes")
        if any(part in ("", ".", "..") or part.casefold() == ".git" for part in parts) or "\0" in file.path:
            raise TreeError(f"the manifest names {display(file.path)!r}, which must not be written")
        if file.mode not in (FILE, EXECUTABLE, LINK):
            raise TreeError(f"{display(file.path)} has mode {file.mode!r}, which is not known")
        if any("/".join(parts[:n]) in paths for n in range(1, len(parts))):
            raise TreeError(f"{display(file.path)} lies below a path that is itself a file or a link")


def _check_length(path: str) -> None:
    try:
        encoded = os.fsencode(path)
    except UnicodeEncodeError:
        raise TreeError(
            f"the manifest names {ascii(path)[:80]}, which cannot be the name of a file"
        ) from None
    if len(encoded) > _MAX_PATH or any(len(part) > _MAX_NAME for part in encoded.split(b"/")):
        raise TreeError(f"the manifest names a path that is too long: {display(path)[:80]}…")


def _write(target: str, file: TreeFile, data: bytes, made: set[str]) -> None:
    path = f"{target}/{file.path}"
    if (parent := os.path.dirname(path)) not in made:  # noqa: PTH120
        os.makedirs(parent, exist_ok=True)  # noqa: PTH103
        made.add(parent)
    if file.mode == LINK:
        os.symlink(os.fsdecode(data), path)  # noqa: PTH211
        return
    fd = os.open(path, _WRITE_FLAGS, 0o777 if file.mode == EXECUTABLE else 0o666)
    with os.fdopen(fd, "wb") as stream:
        stream.write(data)
