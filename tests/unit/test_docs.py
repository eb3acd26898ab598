"""The docs say what is: links lead somewhere, the diagram is the table's, every command is described."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sweep.cli.main import COMMANDS, cli
from sweep.core.lifecycle import diagram

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of a page in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.S | re.M)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?://|#)([^)#]+)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_the_diagram_is_drawn_from_the_table() -> None:
    page = ROOT / "docs" / "guide" / "how-it-works.md"
    assert blocks(page, "mermaid") == [diagram() + "\n"]


def test_the_first_two_blocks_of_the_readme_are_the_main_job_and_the_tests() -> None:
    job, tests = blocks(ROOT / "README.md", "sh")[:2]
    assert "sweep create sweeps/digits/sweep.yaml\nsweep agent latest\nsweep plot latest\n" in job
    assert tests.splitlines()[-1] == ".ci/check"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example(name: str) -> None:
    command = cli.get_command(None, name)  # type: ignore[arg-type]
    assert command is not None
    assert command.name == name
    assert command.help, name
    assert command.epilog and f"sweep {name}" in command.epilog


def test_words_of_the_glossary_are_the_words_of_the_code() -> None:
    from sweep.core.views import RunState

    text = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
    for state in RunState.__args__:  # type: ignore[attr-defined]
        assert f"`{state}`" in text
