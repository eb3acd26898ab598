"""An artifact as content: the list of its files with their digests, its pieces as blobs, and back.

The digest of an artifact is the BLAKE3 hash of its files' names and BLAKE3 hashes, wherever and by whomever they are kept. Small ones are
kept in the store in pieces; larger ones in a folder or behind a URL, each file under its own digest.

The rules of this file: what comes out of a list is distrusted (a record may have been imported), and nothing is written outside the target
folder; what was written has been hashed, and is what was logged, or it is not there.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from sweep.core.errors import SweepError
from sweep.provenance.tree import FILE, TreeError, TreeFile, check_files, digest_bytes, display

FORMAT = 1
PIECE_BYTES = 1_000_000
KEPT_BYTES = 50_000_000
"""An artifact up to this size is kept in the store."""
MAX_FILES = 100_000
MAX_LIST_BYTES = 100_000_000

_READ_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_WRITE_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

_UNSAFE = re.compile(r"[^A-Za-z0-9._-]")
_NO_HEX = re.compile(r"[^0-9a-f]")

GetBlob = Callable[[str], bytes | None]
ReadPlace = Callable[[str], Iterator[bytes]]
"""Gives what is at an address, in parts. Raises SweepError."""


class ArtifactError(SweepError):
    """An artifact cannot be read or written; the message says which part and why."""


class File(msgspec.Struct, frozen=True, array_like=True):
    path: str
    size: int
    digest: str
    """BLAKE3, hex."""
    pieces: tuple[str, ...] = ()
    """The blobs that hold its content, in order; none where the store does not have it."""


class Listed(msgspec.Struct, frozen=True):
    """An artifact's list of files."""

    format: int
    digest: str
    files: tuple[File, ...]
    references: tuple[tuple[str, str], ...] = ()
    """(path, where it points): what was not copied."""

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)

    @property
    def whole(self) -> bool:
        """Whether the store has all of it."""
        return all(file.pieces or not file.size for file in self.files)


class Packed(msgspec.Struct, frozen=True):
    """An artifact that was read from disk."""

    listed: Listed
    manifest: str
    blobs: tuple[bytes, ...]
    """Its list, and its contents where these are to be kept in the store."""


_decode = msgspec.json.Decoder(Listed).decode


def pack(folder: Path, references: Mapping[str, str]) -> Packed:
    """Read and hash everything in `folder`. Raises ArtifactError."""
    try:
        found = sorted(_files(folder), key=lambda item: item[0])
        if len(found) > MAX_FILES:
            raise ArtifactError(f"it has more than {MAX_FILES:,} files")
        keep = sum(size for _, size in found) <= KEPT_BYTES
        blobs: list[bytes] = []
        files = tuple(_read(folder, path, blobs if keep else None) for path, _ in found)
    except OSError as error:
        raise ArtifactError(f"{error.filename or folder}: {error.strerror or error}") from None
    refs = tuple(sorted((str(path), str(uri)) for path, uri in references.items()))
    listed = Listed(FORMAT, digest_of(files, refs), files, refs)
    data = msgspec.json.encode(listed)
    return Packed(listed, digest_bytes(data), (data, *blobs))


def digest_of(files: tuple[File, ...], references: tuple[tuple[str, str], ...] = ()) -> str:
    """The digest of an artifact: of the names and digests of its files, and of what it refers to."""
    from blake3 import blake3

    lines = [["file", file.path, file.digest] for file in files] + [
        ["reference", *pair] for pair in references
    ]
    return str(blake3(msgspec.json.encode(sorted(lines))).hexdigest())


def parse(data: bytes | None) -> Listed:
    """The list in a blob. Raises ArtifactError when it is none, or when writing it could leave its folder."""
    if data is None:
        raise ArtifactError("its list of files is missing from the store, or damaged there")
    if len(data) > MAX_LIST_BYTES:
        raise ArtifactError("its list of files is too long")
    try:
        listed = _decode(data)
        check_files([TreeFile(file.path, FILE, 0, "") for file in listed.files])
    except (msgspec.DecodeError, UnicodeDecodeError, TreeError) as error:
        raise ArtifactError(f"its list of files is damaged: {error}") from None
    if listed.format != FORMAT:
        raise ArtifactError(
            f"its list of files has format {listed.format}; this version of sweep reads {FORMAT}"
        )
    if digest_of(listed.files, listed.references) != listed.digest:
        raise ArtifactError("its list of files is damaged: it does not have the digest that it names")
    return listed


def blobs_of_artifact(manifest: str, get_blob: GetBlob) -> set[str]:
    """The digests of everything in the store that an artifact needs; only its list where that is gone or damaged."""
    try:
        files = parse(get_blob(manifest)).files
    except ArtifactError:
        files = ()
    return {manifest, *(piece for file in files for piece in file.pieces)}


class Source(msgspec.Struct, frozen=True):
    """Where the contents of an artifact may be: in the store, at a place of their own, in the folder of the run that logged them."""

    get_blob: GetBlob
    read_place: ReadPlace
    place: str = ""
    folder: str = ""
    beside: str = ""
    """The store's own folder: contents that came with a bundle are there."""

    def parts(self, file: File) -> Iterator[bytes]:
        """The content of a file, in parts, unchecked. Raises ArtifactError."""
        if file.pieces or not file.size:
            for piece in file.pieces:
                data = self.get_blob(piece)
                if data is None:
                    raise ArtifactError(
                        f"a part of {display(file.path)} is missing from the store, or damaged there"
                    )
                yield data
        elif self.beside and os.path.exists(address_of(self.beside, file)):  # noqa: PTH110
            yield from _read_file(address_of(self.beside, file))
        elif self.place:
            try:
                yield from self.read_place(address_of(self.place, file))
            except SweepError as error:
                raise ArtifactError(str(error)) from None
        else:
            yield from self._from_folder(file)

    def _from_folder(self, file: File) -> Iterator[bytes]:
        path = f"{self.folder}/{file.path}"
        try:
            yield from _read_file(path)
        except OSError as error:
            raise ArtifactError(
                f"{display(file.path)} is neither in the store nor at a place of its own, and not in the folder of the run "
                f"that logged it ({path}: {error.strerror}); `outputs:` in the spec keeps large artifacts"
            ) from None


def _read_file(path: str) -> Iterator[bytes]:
    with os.fdopen(os.open(path, _READ_FLAGS), "rb") as stream:
        while data := stream.read(PIECE_BYTES):
            yield data


def address_of(place: str, file: File) -> str:
    """The path or URL of a file's content."""
    return f"{place.rstrip('/')}/artifacts/{file.digest[:2]}/{file.digest}"


def check(listed: Listed, source: Source) -> Iterator[str]:
    """What is wrong with the contents of an artifact, file by file; nothing where all is as it was logged."""
    for file in listed.files:
        problem = ""
        try:
            for _ in checked(file, source):
                pass
        except ArtifactError as error:
            problem = str(error)
        if problem:
            yield problem


def write(listed: Listed, source: Source, target: Path) -> Iterator[None]:
    """Write an artifact into the new folder `target`, part by part. Raises ArtifactError, OSError; `target` is then to be thrown away."""
    target.mkdir(mode=0o700, parents=True)
    for file in listed.files:
        path = target / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(path, _WRITE_FLAGS, 0o600), "wb") as stream:
            for part in checked(file, source):
                stream.write(part)
                yield


def checked(file: File, source: Source) -> Iterator[bytes]:
    """A file's content; raises ArtifactError at its end when it is not what was logged."""
    from blake3 import blake3

    hasher, left = blake3(), file.size
    for part in source.parts(file):
        left -= len(part)
        if left < 0:
            break
        hasher.update(part)
        yield part
    if left != 0:
        raise ArtifactError(
            f"{display(file.path)} has {file.size - left:,} bytes or more, and {file.size:,} were logged"
        )
    if hasher.hexdigest() != file.digest:
        raise ArtifactError(f"{display(file.path)} is not what was logged: its digest is another one")


def _files(folder: Path) -> Iterator[tuple[str, int]]:
    """(path, size) of all regular files."""
    for at, folders, names in os.walk(folder):
        folders.sort()
        for name in names:
            path = os.path.join(at, name)  # noqa: PTH118
            if os.path.isfile(path) and not os.path.islink(path):  # noqa: PTH113, PTH114
                yield os.path.relpath(path, folder), os.stat(path).st_size  # noqa: PTH116


def _read(folder: Path, path: str, blobs: list[bytes] | None) -> File:
    from blake3 import blake3

    hasher, size, pieces = blake3(), 0, []
    with os.fdopen(os.open(folder / path, _READ_FLAGS), "rb") as stream:
        while data := stream.read(PIECE_BYTES):
            hasher.update(data)
            size += len(data)
            if blobs is not None:
                pieces.append(digest_bytes(data))
                blobs.append(data)
    return File(path, size, str(hasher.hexdigest()), tuple(pieces))


def answer_of(name: str, kind: str, version: int, digest: str, path: str, listed: Listed) -> dict[str, Any]:
    """What a program is told of an artifact that lies in `path` now."""
    files = {file.path: {"size": file.size} for file in listed.files}
    return {
        "name": name,
        "type": kind,
        "version": f"v{version}",
        "digest": digest,
        "path": path,
        "files": {**files, **{inside: {"ref": uri} for inside, uri in listed.references}},
    }


def folder_name(name: str, version: int, digest: str) -> str:
    """Where a version is put below a folder of ours: `data/v3-0123456789ab`. The name may come from a record that was imported: it
    cannot lead elsewhere."""
    safe = _UNSAFE.sub("_", name)[:100].lstrip(".") or "artifact"
    return f"{safe}/v{version}-{_NO_HEX.sub('', digest)[:12]}"


def named(text: str) -> tuple[str, str, str]:
    """(sweep or '', name, version or alias) of `name`, `name:v3`, `SWEEP/name:best`. Raises ArtifactError."""
    before, _, word = text.rpartition("/")
    name, _, alias = word.partition(":")
    if not name or "/" in before or ":" in alias:
        raise ArtifactError(
            f"{text!r} names no artifact; write name, name:v3, name:alias or SWEEP/name:alias"
        )
    return before, name, alias or "latest"


def version_of(view: Any, alias: str) -> int | None:
    """The number of the version that an alias (`latest`, `best`) or `v3` names in an ArtifactView; None where there is none."""
    if alias in view.aliases:
        return int(view.aliases[alias])
    number = int(alias[1:]) if alias[:1] == "v" and alias[1:].isdecimal() else -1
    return number if 0 <= number < len(view.versions) else None
