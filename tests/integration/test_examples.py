"""The examples in `sweeps/`, as they are. (`digits` is the README's main job and takes minutes: `.ci/run` types it.)"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.integration.conftest import Project

SWEEPS = Path(__file__).parents[2] / "sweeps"


@pytest.fixture
def example(project: Project, request: pytest.FixtureRequest) -> Project:
    shutil.copytree(SWEEPS / request.param, project.folder / "sweeps" / request.param)
    return project


@pytest.mark.parametrize("example", ["shell"], indirect=True)
def test_the_shell_example(example: Project) -> None:
    sweep = example.create("sweeps/shell/sweep.yaml")
    example.sweep("agent", sweep)
    runs = example.runs(sweep)
    assert len(runs) == 10
    for run in runs:
        assert run["state"] == "completed"
        assert run["objective"] == (run["config"]["x"] - 1) ** 2 + run["config"]["y"]
        assert example.sweep("logs", run["id"]) == (
            f"trying x={run['config']['x']} y={run['config']['y']} (run {run['id']}, seed {run['seed']})\n"
        )
    assert example.json("best", sweep)["config"] == {"x": 1, "y": 0}


@pytest.mark.parametrize("example", ["nested"], indirect=True)
def test_the_nested_example(example: Project) -> None:
    sweep = example.create("sweeps/nested/sweep.yaml")
    example.sweep("agent", sweep)
    runs = example.runs(sweep)
    assert [run["state"] for run in runs] == ["completed"] * 12
    for run in runs:
        assert set(run["config"]) == {"epochs", "optimizer", "data"}
        assert run["config"]["optimizer"]["name"] in ("sgd", "momentum")
        assert run["objective"] is not None
    head = example.sweep("runs", sweep).splitlines()[0].split()
    assert "optimizer.lr" in head
    assert "epochs" not in head  # a constant tells nothing


@pytest.mark.parametrize("example", ["digits", "shell", "nested"], indirect=True)
def test_every_example_is_valid_without_a_warning(example: Project) -> None:
    for file in (example.folder / "sweeps").glob("*/sweep.yaml"):
        done = example.run("validate", str(file))
        assert done.returncode == 0
        warnings = [line for line in done.stderr.splitlines() if "no effect" not in line]
        assert warnings == []
