"""The page of messages is true: each message on it is one that the code has, and what people meet most is on it."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "troubleshooting.md"
SOURCE = ROOT / "src" / "sweep"
HOLE = "…"


def flat(node: ast.expr) -> str | None:
    """A string of the code, with a hole for everything that is filled in."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else None
    if isinstance(node, ast.JoinedStr):
        return "".join(flat(part) or HOLE if isinstance(part, ast.Constant) else HOLE for part in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mod):
        left = flat(node.left)
        return None if left is None else re.sub(r"'?%[sd]'?", HOLE, left)
    return None


@cache
def texts() -> tuple[str, ...]:
    """Every string of the source, docstrings left out."""
    found: dict[str, None] = {}
    for path in sorted(SOURCE.rglob("*.py")):
        tree = ast.parse(path.read_text("utf-8"))
        documentation = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            if isinstance(node, ast.expr) and id(node) not in documentation:
                text = flat(node)
                if text:
                    found[text] = None
    return tuple(found)


def messages() -> list[str]:
    """The messages of the page: the code in the first column of its tables."""
    rows = [line for line in PAGE.read_text("utf-8").splitlines() if line.startswith("| `")]
    found = [match[2] for row in rows if (match := re.match(r"\| (`+)(.+?)\1 \|", row)) is not None]
    assert len(found) == len(rows)
    return [message for message in found if " " in message or message == "interrupted"]


def is_in(message: str, text: str) -> bool:
    """Whether all pieces of the message stand in the text, in their order."""
    pieces = [re.escape(piece) for piece in re.split(r"\s*…\s*", message) if piece.strip(" :;,.()`'")]
    return re.search(r"[\s\S]*?".join(pieces), text) is not None


@pytest.mark.parametrize("message", messages())
def test_every_message_of_the_page_is_one_of_the_codes(message: str) -> None:
    assert any(is_in(message, text) for text in texts()), message


def test_nonsense_is_not_found() -> None:
    for wrong in ("the disk of … is empty", "cannot stop …: no program", "given thrice (first in line …)"):
        assert not any(is_in(wrong, text) for text in texts())


def test_the_page_has_what_the_stores_can_say() -> None:
    """All messages of the SQLite store for a person; and one line of each area that people meet."""
    shown = messages()
    files = ("_sqlite_file.py", "_filesystem.py", "_holder.py")
    for name in files:
        for text in spoken(SOURCE / "stores" / name):
            assert any(is_in(message, text) for message in shown), text


def spoken(path: Path) -> list[str]:
    """Strings of a file that are sentences for a person: they have holes, or are what an error is made of."""
    tree = ast.parse(path.read_text("utf-8"))
    inner = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr) and id(node) not in inner:
            text = flat(node) or ""
            if len(text.replace(HOLE, "").split()) >= 6 and "PRAGMA" not in text and "about 1 GB" not in text:
                found.append(text)
    return found


@pytest.mark.parametrize(
    "words",
    [
        "not UTF-8", "larger than", "aliases expanded", "nested more than", "the grid has",
        "finite number", "the tag", "given twice", "is full", "cannot be written", "network file system",
        "is damaged", "another version", "clock that jumps", "sleeps", "ulimit -n", "LC_ALL=C", "`HOME`", "odd paths",
        "no program of that name", "not executable", "output-<attempt>.log", "has not logged", "NaN or infinity",
        "more than … different names", "a line of more than", "stands beside the program", "not installed for",
        "Python 3.8", "Two people", "Ctrl-C", "belongs to another user", "trying again every second",
    ],
)  # fmt: skip
def test_the_page_covers(words: str) -> None:
    assert words in PAGE.read_text("utf-8")
