"""The examples' sweeps, drawn from at random and executed again: each value is the same; the controls say otherwise."""

from __future__ import annotations

import importlib.util
import json
import shutil
from typing import Any

import pytest

from tests.integration.conftest import Project
from tests.integration.test_examples import SWEEPS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
needs_torch = pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="PyTorch is not installed")
RUNS = 10


def worked_off(project: Project, example: str) -> Project:
    shutil.copytree(SWEEPS / example, project.folder, dirs_exist_ok=True)
    spec = (project.folder / "sweep.yaml").read_text()
    project.write(
        "sweep.yaml",
        "\n".join(f"run_cap: {RUNS}" if "run_cap" in line else line for line in spec.split("\n")),
    )
    project.sweep("agent", project.create(), timeout=400)
    return project


def drawn(project: Project, *arguments: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(
        project.sweep("reproduce", "latest", "--sample", str(RUNS), "--json", *arguments, timeout=800)
    )
    return found


@pytest.mark.parametrize("example", ["digits", pytest.param("torch", marks=needs_torch)])
def test_ten_of_ten_are_identical_in_an_environment_that_was_built_again(
    project: Project, example: str
) -> None:
    worked_off(project, example)
    found = drawn(project, "--env", "rebuild")
    assert found["verdicts"] == {"identical": RUNS}
    assert all(run["compared"] > 0 for run in found["runs"])
    assert found["compared"] == sum(run["compared"] for run in found["runs"])
    control = json.loads(project.sweep("reproduce", "best", "--seed", "99", "--json", code=12, timeout=200))
    assert (control["verdict"], control["first_difference"]["step"]) == ("different", 0)


def test_an_example_whose_noise_is_unseeded_is_found_out(project: Project) -> None:
    script = (SWEEPS / "digits" / "train.py").read_text()
    assert "random_state=run.seed" in script
    shutil.copytree(SWEEPS / "digits", project.folder, dirs_exist_ok=True)
    project.write(
        "train.py", "import os\n" + script.replace("run.seed", "int.from_bytes(os.urandom(3), 'big')")
    )
    project.sweep("agent", project.create(), "--count", "1", timeout=200)
    found = json.loads(project.sweep("reproduce", "latest-0", "--json", code=12, timeout=200))
    assert (found["verdict"], found["first_difference"]["step"]) == ("different", 0)
