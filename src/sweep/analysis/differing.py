"""What changed between two versions of a tree of files, as a person reads it: lines of text, or only sizes.

The rule of this file: pure. A file is text when it is UTF-8 without NUL; nothing longer than `MOST_BYTES` is compared by lines.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from typing import Literal

import msgspec

MOST_BYTES = 1_000_000
"""A longer file is named, and not compared line by line."""
CONTEXT_LINES = 3
_NO_NEWLINE = "(no newline at the end of the file)"

RUNS = "+x"
"""What follows the digest of a file that is executable."""

Kind = Literal["changed", "added", "deleted"]


class FileChange(msgspec.Struct, frozen=True):
    """One file that is not the same on both sides."""

    path: str
    kind: Kind
    added: int | None = None
    """Lines; None for a file that is not compared by lines."""
    deleted: int | None = None
    lines: tuple[str, ...] = ()
    """The unified diff, its head included; empty for a file that is not compared by lines."""
    why: str = ""
    """Why it is not compared by lines: `binary`, `too long`, `content not kept`; or `executable`, `not executable`: only that has changed."""


def changes(
    left: Mapping[str, str], right: Mapping[str, str], content: Callable[[str], bytes | None]
) -> list[FileChange]:
    """Every file that differs, by path. `left`, `right`: path -> digest, with `RUNS` for one that is executable; `content`: the bytes of a digest, None when they are not kept."""
    found = []
    for path in sorted({*left, *right}):
        before, after = left.get(path), right.get(path)
        if before != after:
            if before and after and before.removesuffix(RUNS) == after.removesuffix(RUNS):
                now = "executable" if after.endswith(RUNS) else "not executable"
                found.append(FileChange(path, "changed", why=now))
                continue
            kind: Kind = "added" if before is None else "deleted" if after is None else "changed"
            old, old_why = _text(before, content)
            new, new_why = _text(after, content)
            why = old_why or new_why
            found.append(FileChange(path, kind, why=why) if why else _by_lines(path, kind, old, new))
    return found


def _text(digest: str | None, content: Callable[[str], bytes | None]) -> tuple[list[str], str]:
    """(lines, why there are none)."""
    if digest is None:
        return [], ""
    data = content(digest.removesuffix(RUNS))
    if data is None:
        return [], "content not kept"
    if len(data) > MOST_BYTES:
        return [], "too long"
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return [], "binary"
    if "\0" in text:
        return [], "binary"
    lines = text.split("\n")
    return [*lines[:-1], *([lines[-1], _NO_NEWLINE] if lines[-1] else [])], ""


def _by_lines(path: str, kind: Kind, old: list[str], new: list[str]) -> FileChange:
    heads = (
        "/dev/null" if kind == "added" else f"a/{path}",
        "/dev/null" if kind == "deleted" else f"b/{path}",
    )
    lines = tuple(difflib.unified_diff(old, new, *heads, n=CONTEXT_LINES, lineterm=""))
    body = lines[2:]
    return FileChange(
        path,
        kind,
        sum(line.startswith("+") for line in body),
        sum(line.startswith("-") for line in body),
        lines,
    )
