"""What is common to all media: one file, written or copied into the run's folder, and the reference to it."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from sweep.sdk.wandb._record import Record

_PART = 1 << 20


class WBValue:
    """The base of everything that can be logged as a file or a structure."""

    def _stored(self, record: Record, key: str, step: int) -> dict[str, Any]:
        """Write what must be written; what the row holds."""
        raise TypeError(f"{type(self).__name__} has no form that can be logged")


class Media(WBValue):
    """One file: bytes, or a file to be copied."""

    _type = "file"

    def __init__(self, content: bytes | None, source: str | None, suffix: str, **more: Any) -> None:
        self._content, self._source, self._suffix = content, source, suffix
        self._more = {name: value for name, value in more.items() if value is not None}

    def _stored(self, record: Record, key: str, step: int) -> dict[str, Any]:
        path, inside = record.free_path(key, step, self._suffix)
        digest, size = write(path, self._content, self._source)
        return {"_type": self._type, "path": inside, "sha256": digest, "size": size, **self._more}

    @property
    def format(self) -> str:
        """The file's kind, such as `png`."""
        return self._suffix.lstrip(".")


BatchableMedia = Media


def write(path: str, content: bytes | None, source: str | None) -> tuple[str, int]:
    """Write `content`, or a copy of the file `source`; (SHA-256, bytes). Raises OSError."""
    from hashlib import sha256

    digest, size = sha256(), 0
    with open(path, "wb") as target:
        if content is not None:
            digest.update(content)
            target.write(content)
            return digest.hexdigest(), len(content)
        with open(source or "", "rb") as file:
            while True:
                part = file.read(_PART)
                if not part:
                    return digest.hexdigest(), size
                digest.update(part)
                target.write(part)
                size += len(part)


def existing(given: Any) -> str | None:
    """The path when `given` names a file that is there; None otherwise."""
    if isinstance(given, (str, bytes)) or hasattr(given, "__fspath__"):
        path = os.fspath(given)
        path = path.decode("utf-8", "surrogateescape") if isinstance(path, bytes) else path
        try:
            return os.path.abspath(path) if os.path.isfile(path) else None
        except ValueError:
            return None
    return None


def read(given: Any, what: str) -> bytes:
    """The bytes of an open file, or of text. TypeError for anything else."""
    if hasattr(given, "read"):
        if hasattr(given, "seek"):
            given.seek(0)
        given = given.read()
    if isinstance(given, str):
        return given.encode("utf-8", "replace")
    if isinstance(given, (bytes, bytearray)):
        return bytes(given)
    raise TypeError(f"{what} takes a path, an open file or text; got {type(given).__name__}")


def needed(given: Any, what: str) -> str:
    """The path of a file that must be there. FileNotFoundError when it is not."""
    path = existing(given)
    if path is None:
        raise FileNotFoundError(f"{what}: there is no file {os.fspath(given)!r}")
    return path
