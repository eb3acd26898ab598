"""The quick start, typed as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

from tests.integration.conftest import Project

PAGE = Path(__file__).parents[2] / "docs" / "guide" / "quickstart.md"


def block(language: str) -> str:
    """The first fenced block of the page in one language."""
    found = re.search(rf"^```{language}\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.S | re.M)
    assert found is not None
    return found.group(1)


def test_the_quick_start_does_what_it_says(project: Project) -> None:
    project.write("train.py", block("python"))
    project.write("sweep.yaml", block("yaml"))
    commands = [line.removeprefix("$ sweep ").split("#")[0].split() for line in block("console").splitlines()]
    assert [command[0] for command in commands] == ["create", "agent", "plot"]
    for command in commands:
        project.sweep(*command)
    status = project.json("status", "latest")
    assert status["state"] == "ended"
    assert sum(status["runs"].values()) == 20
    assert status["runs"].get("failed", 0) == 0
    best = project.json("best", "latest")
    assert best["objective"] < 1.0
    [pictures] = project.folder.glob("sweep-*")
    assert (pictures / "index.html").stat().st_size > 100_000
    assert len(list(pictures.glob("*.png"))) == 5


def test_the_script_runs_alone(project: Project) -> None:
    import subprocess
    import sys

    script = project.write("train.py", block("python"))
    done = subprocess.run(
        [sys.executable, script.name],
        cwd=project.folder,
        env=project.env,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "recorded in .sweep/local/" in done.stderr
    [rows] = project.folder.glob(".sweep/local/*/rows.jsonl")
    assert len(rows.read_text().splitlines()) == 20
