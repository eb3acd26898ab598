"""A run's checkpoint folder as blobs, and back.

A copy is a list of files (the manifest) and the pieces of their contents. Every blob begins with the attempt that it belongs to, so
that no two attempts share one: whoever replaces a copy may delete the blobs of the one before without asking anybody.

The rules of this file: a copy counts only when it is whole and the folder stood still while it was taken; work is done piece by
piece, so that a large checkpoint holds up nobody; what comes out of a store is distrusted, as with recorded code (`tree`).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import msgspec

from sweep.provenance.tree import (
    EXECUTABLE,
    FILE,
    LINK,
    TreeError,
    TreeFile,
    check_files,
    digest_bytes,
    mode_of,
)

FORMAT = 1
FOLDER = "040000"
PIECE_BYTES = 1_000_000
MAX_BYTES = 500_000_000
MAX_FILES = 10_000
MAX_MANIFEST_BYTES = 20_000_000

_READ_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_WRITE_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Moving(Exception):
    """Somebody has written into the folder while it was copied: this copy is void."""


class TooLarge(Exception):
    """The folder is over the limits; the message says which, for a person."""


class Seen(msgspec.Struct, frozen=True):
    """A file, link or folder as it was when it was looked at."""

    path: str
    mode: str
    size: int
    mtime_ns: int
    inode: int


class Kept(msgspec.Struct, frozen=True, array_like=True):
    """One file, link or folder of a copy."""

    path: str
    mode: str
    size: int
    mtime_ns: int
    pieces: tuple[str, ...] = ()
    """Digests of the blobs that hold its content, in order; a link's target is its content."""


class Manifest(msgspec.Struct, frozen=True):
    format: int
    owner: str
    """`<sweep>-<run>.<attempt>`."""
    files: tuple[Kept, ...]


_decode = msgspec.msgpack.Decoder(Manifest).decode


def owner_of(sweep: str, run: int, attempt: int) -> str:
    """The name of an attempt, in its blobs."""
    return f"{sweep}-{run}.{attempt}"


def look(folder: Path) -> tuple[Seen, ...]:
    """What is in `folder`, sorted; empty when it is not there. Pipes, sockets and devices do not count. Raises OSError, and
    TooLarge."""
    found: list[Seen] = []
    waiting = [("", str(folder))]
    while waiting:
        before, current = waiting.pop()
        try:
            entries = list(os.scandir(current))
        except FileNotFoundError:
            continue
        for entry in entries:
            try:
                status = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            kind = stat.S_IFMT(status.st_mode)
            if kind not in _KINDS or entry.name.casefold() == ".git":
                continue
            mode = mode_of(status.st_mode) if kind == stat.S_IFREG else _KINDS[kind]
            size = status.st_size if mode != FOLDER else 0
            mtime_ns = status.st_mtime_ns if mode != FOLDER else 0  # a file that came and went is no change
            found.append(Seen(before + entry.name, mode, size, mtime_ns, status.st_ino))
            if mode == FOLDER:
                waiting.append((f"{before}{entry.name}/", entry.path))
        if len(found) > MAX_FILES:
            raise TooLarge(f"more than {MAX_FILES:,} files")
    total = sum(seen.size for seen in found)
    if total > MAX_BYTES:
        raise TooLarge(f"{total / 1e6:,.0f} MB, and at most {MAX_BYTES / 1e6:,.0f} MB are kept")
    return tuple(sorted(found, key=lambda seen: seen.path))


_KINDS = {stat.S_IFREG: FILE, stat.S_IFLNK: LINK, stat.S_IFDIR: FOLDER}


class Copy:
    """One copy of a folder, in the making."""

    def __init__(
        self, folder: Path, owner: str, seen: tuple[Seen, ...], earlier: Mapping[Seen, tuple[str, ...]]
    ) -> None:
        """`earlier`: the pieces that this attempt has in the store of files that are as they were."""
        self.folder, self.owner, self.seen = folder, owner, seen
        self.pieces: dict[Seen, tuple[str, ...]] = {}
        self.manifest = ""
        """Its digest, once the copy is whole."""
        self._earlier = earlier
        self._header = f"{owner}\n".encode()

    @property
    def digests(self) -> set[str]:
        """All blobs that the copy consists of so far."""
        found = {digest for pieces in self.pieces.values() for digest in pieces}
        return found | {self.manifest} if self.manifest else found

    def blobs(self) -> Iterator[tuple[str, bytes]]:
        """The blobs that are to be stored, each with its digest; the manifest comes last, when everything has been read and
        the folder is still as it was. Raises Moving, OSError."""
        for seen in self.seen:
            known = self._earlier.get(seen)
            if known is not None or seen.mode == FOLDER:
                self.pieces[seen] = known or ()
                continue
            self.pieces[seen] = ()
            for piece in self._read(seen):
                blob = self._header + piece
                digest = digest_bytes(blob)
                self.pieces[seen] += (digest,)
                yield digest, blob
        if look(self.folder) != self.seen:
            raise Moving
        data = self._header + msgspec.msgpack.encode(Manifest(FORMAT, self.owner, self._files()))
        self.manifest = digest_bytes(data)
        yield self.manifest, data

    def _files(self) -> tuple[Kept, ...]:
        return tuple(Kept(s.path, s.mode, s.size, s.mtime_ns, self.pieces[s]) for s in self.seen)

    def _read(self, seen: Seen) -> Iterator[bytes]:
        path = f"{self.folder}/{seen.path}"
        try:
            if seen.mode == LINK:
                yield os.fsencode(os.readlink(path))  # noqa: PTH115
                return
            with os.fdopen(os.open(path, _READ_FLAGS), "rb") as file:
                left = seen.size
                while left > 0:
                    piece = file.read(min(left, PIECE_BYTES))
                    if not piece:
                        raise Moving
                    left -= len(piece)
                    yield piece
        except FileNotFoundError:
            raise Moving from None


def parse(data: bytes) -> Manifest:
    """The manifest in a blob. Raises TreeError when it is none, or when writing it could leave its folder."""
    if len(data) > MAX_MANIFEST_BYTES:
        raise TreeError("the checkpoint is damaged: its list of files is too long")
    header, _, body = data.partition(b"\n")
    try:
        manifest = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise TreeError(f"the checkpoint is damaged: {error}") from None
    if manifest.format != FORMAT:
        raise TreeError(f"the checkpoint has format {manifest.format}; this version of sweep reads {FORMAT}")
    if header != manifest.owner.encode():
        raise TreeError("the checkpoint is damaged: it belongs to another run")
    _check(manifest)
    return manifest


def _check(manifest: Manifest) -> None:
    files = [TreeFile(kept.path, kept.mode, kept.size, "") for kept in manifest.files if kept.mode != FOLDER]
    folders = [TreeFile(kept.path, FILE, 0, "") for kept in manifest.files if kept.mode == FOLDER]
    check_files(files)
    for folder in folders:
        check_files([folder])
    taken = {file.path for file in files}
    for folder in folders:
        parts = folder.path.split("/")
        if any("/".join(parts[:n]) in taken for n in range(1, len(parts) + 1)):
            raise TreeError(f"the checkpoint is damaged: {folder.path} is a folder and a file")
    if len(manifest.files) > MAX_FILES or sum(kept.size for kept in manifest.files) > MAX_BYTES:
        raise TreeError("the checkpoint is damaged: it is over the limits")


def blobs_of_checkpoint(digest: str, get_blob: Callable[[str], bytes | None]) -> set[str]:
    """The digests of everything that the copy with this manifest needs; only itself where it is gone or damaged."""
    data = get_blob(digest)
    try:
        files = parse(data).files if data is not None else ()
    except TreeError:
        files = ()
    return {digest, *(piece for kept in files for piece in kept.pieces)}


def write(digest: str, run: str, get_blob: Callable[[str], bytes | None], target: Path) -> Iterator[None]:
    """Write a copy into the new folder `target`, piece by piece. `run`: `<sweep>-<run>`, whose checkpoint it must be. Raises
    TreeError, OSError; `target` is then to be thrown away."""
    data = get_blob(digest)
    if data is None:
        raise TreeError("the checkpoint is not in the store any more")
    manifest = parse(data)
    if manifest.owner.rpartition(".")[0] != run:
        raise TreeError("the checkpoint is damaged: it belongs to another run")
    header = f"{manifest.owner}\n".encode()
    target.mkdir(mode=0o700)
    for kept in manifest.files:
        if kept.mode == FOLDER:
            (target / kept.path).mkdir(parents=True, exist_ok=True)
    # Links come last: no file can then be written through one.
    for kept in sorted(manifest.files, key=lambda kept: kept.mode == LINK):
        if kept.mode != FOLDER:
            yield from _write(target / kept.path, kept, header, get_blob)


def _write(path: Path, kept: Kept, header: bytes, get_blob: Callable[[str], bytes | None]) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    if kept.mode == LINK:
        target = b"".join(_content(kept, header, get_blob))
        os.symlink(os.fsdecode(target), path)  # noqa: PTH211
        os.utime(path, ns=(kept.mtime_ns, kept.mtime_ns), follow_symlinks=False)
        return
    with os.fdopen(os.open(path, _WRITE_FLAGS, 0o700 if kept.mode == EXECUTABLE else 0o600), "wb") as file:
        for piece in _content(kept, header, get_blob):
            file.write(piece)
            yield
        if file.tell() != kept.size:
            raise TreeError(f"the checkpoint is damaged: {kept.path} is not whole")
    os.utime(path, ns=(kept.mtime_ns, kept.mtime_ns))  # programs look for the newest file


def _content(kept: Kept, header: bytes, get_blob: Callable[[str], bytes | None]) -> Iterator[bytes]:
    left = kept.size
    for digest in kept.pieces:
        blob = get_blob(digest)
        if blob is None:
            raise TreeError(
                f"the checkpoint is not whole: a part of {kept.path} is not in the store any more"
            )
        piece = blob[len(header) :]
        left -= len(piece)
        if not blob.startswith(header) or digest_bytes(blob) != digest or left < 0:
            raise TreeError(f"the checkpoint is damaged: {kept.path} is not what was kept")
        yield piece
