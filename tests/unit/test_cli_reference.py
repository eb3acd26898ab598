"""The command line's reference page is what the generator writes, and every command says enough for it."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest

from sweep.cli.main import COMMANDS
from sweep.cli.reference import commands, missing, reference_markdown

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "cli.md"


def examples(command: click.Command) -> list[str]:
    """The command lines in a command's epilog."""
    lines = [line.strip() for line in (command.epilog or "").splitlines()]
    return [line for line in lines if line.startswith("sweep ")]


def test_the_committed_page_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == reference_markdown(), (
        "run: python -m sweep.cli.reference > docs/reference/cli.md"
    )


def test_nothing_is_without_help_or_example() -> None:
    assert missing() == []


def test_what_is_missing_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    @click.command("bare")
    @click.argument("file")
    @click.option("--quiet", is_flag=True)
    @click.option("--inner", hidden=True)
    def bare() -> None: ...

    monkeypatch.setattr("sweep.cli.reference.commands", lambda: iter([("sweep bare", bare)]))
    assert missing() == [
        "sweep bare: no help",
        "sweep bare: no example",
        "sweep bare: its text does not say what FILE is",
        "sweep bare: no help for --quiet",
    ]


def test_the_page_has_a_section_for_every_command() -> None:
    sections = re.findall(r"^## (.+)$", reference_markdown(), re.M)
    assert sections == [words for words, _ in commands()]
    assert {words.split()[1] for words in sections} == set(COMMANDS)


def test_the_width_of_the_terminal_changes_nothing() -> None:
    narrow = subprocess.run(
        [sys.executable, "-m", "sweep.cli.reference"],
        env={**os.environ, "COLUMNS": "30", "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        check=True,
    )
    assert narrow.stdout.decode() == reference_markdown()


def test_rows_have_as_many_cells_as_their_header() -> None:
    width = 0
    for line in reference_markdown().splitlines():
        cells = len(re.findall(r"(?<!\\)\|", line)) if line.startswith("|") else 0
        assert not (width and cells) or cells == width, line
        width = cells


def test_examples_are_command_lines_that_the_command_takes() -> None:
    for words, command in commands():
        for line in examples(command):
            told = shlex.split(re.split(r"\s#|\s[|;>]|\s&&", line)[0])
            if told[: len(words.split())] == words.split() and not isinstance(command, click.Group):
                command.make_context(words, told[len(words.split()) :])
