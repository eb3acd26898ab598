"""Files of the code that are not in the record: why, and the words that say so."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Literal

import msgspec

Reason = Literal["large", "total", "count", "unreadable", "secret name", "secret inside"]

_SHOWN = 3
_NOT_RECONSTRUCTIBLE = "this sweep is not reconstructible from the record alone"
_REMEDY = "Keep data out of the code's folder, or let .gitignore name it, and the record is whole"


class LeftOut(msgspec.Struct, frozen=True):
    """A file of the code that is not in the record."""

    path: str
    """Made printable."""
    size: int
    reason: Reason
    detail: str = ""
    digest: str = ""
    """Of the content, where it was hashed; never of what may be secret (a short secret can be found from its hash)."""


class Caps(msgspec.Struct, frozen=True):
    """How much of the code is kept, and how many bytes of the rest are at least hashed."""

    file_bytes: int
    total_bytes: int
    files: int
    hashed_bytes: int


def list_bytes(left_out: Sequence[LeftOut]) -> bytes:
    """The list as canonical JSON."""
    rows: list[Any] = [msgspec.to_builtins(item) for item in left_out]
    return json.dumps({"format": 1, "left_out": rows}, separators=(",", ":")).encode("ascii")


def parse_list(data: bytes) -> list[LeftOut]:
    """What `list_bytes` has written."""
    return msgspec.convert(json.loads(data)["left_out"], list[LeftOut])


def explain(left_out: Sequence[LeftOut], caps: Caps) -> list[str]:
    """The warnings for a person, one for each kind of reason; none when nothing was left out."""
    secret = [item for item in left_out if item.reason in ("secret name", "secret inside")]
    missing = [item for item in left_out if item not in secret] if secret else list(left_out)
    warnings: list[str] = []
    if missing:
        parts = [_part(missing, reason, caps) for reason in ("large", "total", "count", "unreadable")]
        said = "; ".join(part for part in parts if part)
        warnings.append(f"{said}: {_NOT_RECONSTRUCTIBLE}. {_REMEDY}")
    if secret:
        names = _names([f"{item.path} ({item.detail or 'by its name'})" for item in secret])
        verb, who = ("is", "it") if len(secret) == 1 else ("are", "they")
        warnings.append(f"{_count(secret)} {verb} left out of the record, as {who} may hold secrets: {names}")
    return warnings


def size_in_words(size_bytes: int) -> str:
    """`2.1 GB`, `640 kB`, `12 bytes`; units are powers of 1000."""
    size = float(size_bytes)
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 999.5:
            return (
                f"{size:.0f} {unit}"
                if unit == "bytes" or size == int(size) or size >= 99.5
                else f"{size:.1f} {unit}"
            )
        size /= 1000
    return f"{size:.1f} TB"


def explain_pointers(paths: Sequence[str]) -> list[str]:
    """The warning about files of Git LFS whose content is not here; none without them."""
    if not paths:
        return []
    verb = "is a pointer" if len(paths) == 1 else "are pointers"
    return [
        f"{_count(paths)} of Git LFS {verb} here, and so in the record, instead of the content: {_names(sorted(paths))}. "
        "`git lfs pull` fetches it"
    ]


def _part(left_out: Sequence[LeftOut], reason: Reason, caps: Caps) -> str:
    chosen = sorted((item for item in left_out if item.reason == reason), key=lambda item: -item.size)
    if not chosen:
        return ""
    verb = "is" if len(chosen) == 1 else "are"
    if reason == "unreadable":
        return f"{_count(chosen)} could not be read ({_names([f'{item.path}: {item.detail}' for item in chosen])})"
    why = {
        "large": f"over {size_in_words(caps.file_bytes)}",
        "total": f"past the total of {size_in_words(caps.total_bytes)}",
        "count": f"past the first {caps.files} files",
    }[reason]
    return f"{_count(chosen)} {why} {verb} not in the record ({_names([f'{i.path} {size_in_words(i.size)}' for i in chosen])})"


def _count(items: Sequence[object]) -> str:
    return "1 file" if len(items) == 1 else f"{len(items)} files"


def _names(names: Sequence[str]) -> str:
    return ", ".join((*names[:_SHOWN], "…") if len(names) > _SHOWN else names)
