"""docs/guide/coming-from.md: our side of every example runs as it stands there, and the others' code is Python."""

from __future__ import annotations

import ast
import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tests.integration.conftest import Project

PAGE = (Path(__file__).parents[2] / "docs" / "guide" / "coming-from.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## From (.+?)\n(.*?)(?=^## |\Z)", PAGE, re.S | re.M))
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.S | re.M)
WITH = re.compile(r"# with (\w+)")


def theirs(section: str) -> str:
    """The program of the other side."""
    [program] = [text for _, text in BLOCK.findall(SECTIONS[section]) if WITH.match(text)]
    return program


def test_the_page_has_these_sections() -> None:
    assert list(SECTIONS) == ["wandb", "Optuna", "Ray Tune"]


@pytest.mark.parametrize("section", SECTIONS)
def test_our_side_does_what_the_page_says(project: Project, section: str) -> None:
    blocks = BLOCK.findall(SECTIONS[section])
    for language, text in blocks:
        if language in ("python", "yaml") and not WITH.match(text):
            project.write(text.split()[1], text)
    commands = [
        line.removeprefix("$ sweep ").split()
        for language, text in blocks
        if language == "console"
        for line in text.splitlines()
    ]
    assert [command[0] for command in commands] == ["create", "agent", "best", "plot"]
    for command in commands:
        project.sweep(*command)
    runs = project.runs()
    assert len(runs) == 20
    assert {run["state"] for run in runs} <= {"completed", "pruned"}
    assert {run["steps"] for run in runs if run["state"] == "completed"} == {20}
    best = project.json("best", "latest")
    assert best["objective"] < 1e-2
    assert len(list(project.folder.glob("sweep-*/*.png"))) == 5


@pytest.mark.parametrize("section", ["Optuna", "Ray Tune"])
def test_their_side_is_python(section: str) -> None:
    ast.parse(theirs(section))


@pytest.mark.parametrize(("trials", "repeats"), [(12, False), (3, True)])
def test_their_side_runs_with_optuna(tmp_path: Path, trials: int, repeats: bool) -> None:
    """Twice: what the page says about a second start is true, of the number of trials and of the seed. (Its sampler draws the
    first ten at random.)"""
    program = theirs("Optuna").replace("n_trials=20", f"n_trials={trials}")
    (tmp_path / "theirs.py").write_text(program)
    for start in (1, 2):
        done = subprocess.run(
            [sys.executable, "theirs.py"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        with closing(sqlite3.connect(tmp_path / "study.db")) as study:
            query = "select param_value from trial_params where param_name = 'lr'"
            drawn = [row[0] for row in study.execute(query)]
        assert len(drawn) == trials * start
    assert (len(set(drawn)) < len(drawn)) is repeats
