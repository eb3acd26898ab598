"""Every tick in the README's table can be run: it names a command that is there or a test that is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sweep.cli.main import COMMANDS

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGE = (ROOT / "docs" / "comparison.md").read_text(encoding="utf-8")
MARKS = ("✓", "◐", "–", "?")


def rows(text: str, columns: int) -> list[list[str]]:
    """The rows of the tables with so many columns, without their headers."""
    lines = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line] for line in lines if len(line) == columns]
    assert all(set(cell) <= {"-"} for cell in cells[1]), cells[:2]
    return cells[2:]


TABLE = rows(README.split("## How it compares")[1].split("\n## ")[0], 6)
BEHIND = {row[0]: row[1] for row in rows(PAGE, 3)}


def shown(text: str) -> tuple[list[str], list[str]]:
    """The commands and the tests that a cell names."""
    commands = re.findall(r"`sweep (\S+?)(?: [^`]*)?`", text)
    tests = re.findall(r"tests/\w+/\w+\.py(?:::\w+)?", text)
    return commands, tests


def exists(test: str) -> bool:
    path, _, name = test.partition("::")
    file = ROOT / path
    return file.is_file() and re.search(rf"^def {name}", file.read_text(encoding="utf-8"), re.M) is not None


def test_both_tables_have_the_same_rows() -> None:
    assert [row[0] for row in TABLE] == list(BEHIND)
    assert len(TABLE) >= 12


@pytest.mark.parametrize("row", TABLE, ids=[row[0] for row in TABLE])
def test_every_tick_of_ours_can_be_run(row: list[str]) -> None:
    what, ours, *theirs = row
    assert all(cell in MARKS for cell in theirs)
    assert ours[0] in MARKS
    if not ours.startswith("✓"):
        return
    commands, tests = shown(ours)
    assert commands or tests
    more_commands, more_tests = shown(BEHIND[what])
    assert more_commands or more_tests
    assert {*commands, *more_commands} <= set(COMMANDS)
    assert [test for test in [*tests, *more_tests] if not exists(test)] == []


def test_a_test_that_is_not_there_is_noticed() -> None:
    assert exists("tests/unit/test_docs_comparison.py::test_both_tables_have_the_same_rows")
    assert not exists("tests/unit/test_docs_comparison.py::test_of_nothing")
    assert not exists("tests/unit/test_nothing.py")
