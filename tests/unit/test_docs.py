"""The docs say what is: links lead somewhere, the diagram is the table's, every command is described."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from sweep.cli.main import COMMANDS, cli
from sweep.core.lifecycle import diagram

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of a page in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.S | re.M)


def anchors(page: Path) -> set[str]:
    """What `#…` may name on a page: its headings, as they are shown on the web."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.S | re.M)
    headings = re.findall(r"^#+ (.+)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def leads_somewhere(page: Path, link: str) -> bool:
    path, _, anchor = link.partition("#")
    target = page.parent / path if path else page
    return target.exists() and (not anchor or anchor in anchors(target))


def command_lines(page: Path) -> list[str]:
    """The `sweep` commands that a page shows: inside of a line, after `$`, and in blocks for a shell."""
    text = page.read_text(encoding="utf-8")
    inline = re.findall(
        r"(?<!`)`(sweep [a-z][^`\n]*)`(?!`)", re.sub(r"^```.*?^```", "", text, flags=re.S | re.M)
    )
    shell = [
        line
        for kind in ("sh", "bash", "console")
        for block in blocks(page, kind)
        for line in block.splitlines()
        if kind != "console" or line.startswith("$")  # the rest is what it printed
    ]
    return inline + re.findall(r"^(?:\$ )?(sweep [a-z].*)$", "\n".join(shell), re.M)


def wrong_with(line: str) -> str | None:
    """Why a command line that the docs show would not be taken. What stands for a number (N) is one; arguments may be missing."""
    words = re.split(r"\s#|\s[|;>]|\s&&|…", line)[0].replace("\\|", "|")
    name, *rest = shlex.split(re.sub(r"(?<=\s)N\b", "1", words))[1:]
    if name not in COMMANDS:
        return f"{line}: there is no command {name}"
    command = cli.get_command(click.Context(cli), name)
    while isinstance(command, click.Group) and rest:
        if rest[0] not in command.commands:
            return f"{line}: there is no command {name} {rest[0]}"
        name, command = rest[0], command.commands[rest.pop(0)]
    assert command is not None
    try:
        if not isinstance(command, click.Group):
            command.make_context(name, rest)
    except (click.MissingParameter, click.exceptions.Exit):
        pass
    except click.ClickException as error:
        return f"{line}: {error.format_message()}"
    return None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?://)([^)\s]+)\)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not leads_somewhere(page, link)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_line_would_be_taken(page: Path) -> None:
    assert [wrong for line in command_lines(page) if (wrong := wrong_with(line)) is not None] == []


def test_a_command_line_that_would_not_be_taken_is_noticed() -> None:
    assert wrong_with("sweep status latest") is None
    assert wrong_with("sweep agent") is None
    assert wrong_with("sweep agent latest --count N  # and more") is None
    for line in (
        "sweep nothing",
        "sweep status --nothing",
        "sweep status one two",
        "sweep agent x --count y",
    ):
        assert wrong_with(line), line


def test_every_page_is_in_the_index() -> None:
    index = ROOT / "docs" / "README.md"
    links = re.findall(r"\]\(([^)#]+)", index.read_text(encoding="utf-8"))
    listed = {(index.parent / link).resolve() for link in links}
    assert [str(page) for page in PAGES[1:] if page != index and not {page, page.parent} & listed] == []


def test_every_variable_of_ours_is_in_the_docs() -> None:
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "src").rglob("*.py")]
    names = {name for text in sources for name in re.findall(r"(?<!b)[\"'`](SWEEP_[A-Z_]+)[\"'`]", text)}
    assert len(names) > 10
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    assert sorted(name for name in names if f"`{name}" not in text) == []


def test_the_diagram_is_drawn_from_the_table() -> None:
    page = ROOT / "docs" / "guide" / "how-it-works.md"
    assert blocks(page, "mermaid") == [diagram() + "\n"]


def test_the_first_two_blocks_of_the_readme_are_the_main_job_and_the_tests() -> None:
    job, tests = blocks(ROOT / "README.md", "sh")[:2]
    assert "sweep create sweeps/digits/sweep.yaml\nsweep agent latest\nsweep plot latest\n" in job
    assert tests.splitlines()[-1] == ".ci/check"


def test_words_of_the_glossary_are_the_words_of_the_code() -> None:
    from sweep.core.views import RunState

    text = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
    for state in RunState.__args__:  # type: ignore[attr-defined]
        assert f"`{state}`" in text


def test_the_heart_of_the_pytorch_example_is_the_examples() -> None:
    program = (ROOT / "sweeps" / "torch" / "train.py").read_text(encoding="utf-8")
    [heart] = blocks(ROOT / "docs" / "guide" / "pytorch.md", "python")
    lines = [line.strip() for line in program.splitlines()]
    assert [line for line in heart.splitlines() if line.strip() not in lines] == []
