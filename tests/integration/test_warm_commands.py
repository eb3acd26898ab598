"""A command that is forked from a process that has imported it is the command: what it says, how it ends, where it works."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.integration import warm_commands
from tests.integration.conftest import PYTHON, Project

SPEC = "program: train.py\nmethod: grid\nname: ü\nparameters: {x: {values: [1, 2]}}\n"


@pytest.fixture
def made(project: Project) -> Project:
    project.write("train.py", "")
    project.write("sweep.yaml", SPEC)
    project.create()
    return project


@pytest.mark.parametrize(
    "args",
    [
        ("ls",),
        ("show", "nope"),
        ("runs", "latest", "--json"),
        ("validate", "none.yaml"),
        ("tag", "--help"),
        ("plot", "none"),
    ],
)
def test_it_says_and_ends_as_one_that_is_started(made: Project, args: tuple[str, ...]) -> None:
    warm = warm_commands.run(args, made.folder, made.env, 60)
    cold = subprocess.run(
        [*PYTHON, *args], cwd=made.folder, env=made.env, capture_output=True, text=True, check=False
    )
    assert warm is not None
    assert (warm.returncode, warm.stdout, warm.stderr) == (cold.returncode, cold.stdout, cold.stderr)


def test_it_has_the_folder_and_the_variables_that_it_is_given(made: Project, tmp_path: Path) -> None:
    elsewhere = {**made.env, "SWEEP_STORE": f"sqlite:///{tmp_path}/other.db"}
    assert made.create()
    done = warm_commands.run(["create", "sweep.yaml", "--json"], made.folder, elsewhere, 60)
    assert done is not None and done.returncode == 0
    assert (tmp_path / "other.db").exists()
    assert len(made.json("ls")) == 2


def test_what_lives_on_and_what_python_starts_otherwise_starts_cold(made: Project) -> None:
    for args, env in (
        (["agent", "latest"], {}),
        (["ls"], {"PYTHONPATH": "/nowhere"}),
        (["ls"], {"LC_ALL": "C"}),
    ):
        assert warm_commands.run(args, made.folder, {**made.env, **env}, 60) is None


def test_one_that_takes_too_long_is_killed(made: Project) -> None:
    os.mkfifo(made.folder / "never.yaml")
    with pytest.raises(subprocess.TimeoutExpired):
        warm_commands.run(["validate", "never.yaml"], made.folder, made.env, 0.5)
    assert made.sweep("ls")
