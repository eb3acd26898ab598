"""sweeps/torch: a run that is killed with SIGKILL in the middle ends with the very weights of one that was left alone."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from sweep.analysis.history import History
from sweep.stores import open_store
from tests.integration.conftest import DOOMED, Project

SWEEPS = Path(__file__).parents[2] / "sweeps"
needs_torch = pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="PyTorch is not installed")

SPEC = """
program: {program}
method: grid
metric: {{name: val/accuracy, goal: maximize}}
seed: 11
parameters:
  epochs: {{value: 6}}
  channels: {{value: 4}}
  learning_rate: {{value: 0.01}}
resources: {{cpus: 1, gpus: 0}}
retry: {{max: 1}}
determinism: strict
env: {{HOW: {how}}}
"""

INTERRUPTED = '''
"""train.py, whose first attempt comes to the middle of its fourth epoch and no further."""

import os
import pathlib
import signal
import time

import torch

import train

step, steps = torch.optim.AdamW.step, 0


def interrupted(*args, **kwargs):
    global steps
    steps += 1
    if steps == 60 and os.environ["SWEEP_ATTEMPT"] == "1":  # 17 batches make an epoch
        if os.environ["HOW"] == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        pathlib.Path("reached").touch()
        time.sleep(600)
    return step(*args, **kwargs)


torch.optim.AdamW.step = interrupted
train.main()
'''


@pytest.fixture
def example(project: Project) -> Project:
    shutil.copytree(SWEEPS / "torch", project.folder, dirs_exist_ok=True)
    project.write("interrupted.py", INTERRUPTED)
    return project


def create(project: Project, program: str, how: str = "") -> str:
    project.write("sweep.yaml", SPEC.format(program=program, how=how or "alone"))
    return project.create()


def result(project: Project, sweep: str) -> tuple[dict[str, Any], dict[str, list[float]]]:
    """The only run of a sweep, and the columns of its history."""
    [run] = project.runs(sweep)
    assert run["state"] == "completed", run
    with closing(open_store(None, project.folder, create=False)) as store:
        history = History.from_chunks(store.read_history(sweep, run["run"]))
    columns = {name: list(history.series(name).values) for name in history.metrics}
    return run, {"step": list(history.steps), **columns}


def test_the_example_is_valid_without_a_warning(project: Project) -> None:
    shutil.copytree(SWEEPS / "torch", project.folder / "sweeps" / "torch")
    done = project.run("validate", "sweeps/torch/sweep.yaml")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("sweeps/torch/sweep.yaml: bayes search, 16 trials")


@needs_torch
@pytest.mark.timeout(300)
@pytest.mark.parametrize("how", ["killed", "agent killed"])
def test_a_killed_run_ends_as_one_that_was_left_alone(example: Project, how: str) -> None:
    alone = create(example, "train.py")
    example.sweep("agent", alone, "--slots", "1", timeout=200)
    expected, expected_rows = result(example, alone)
    assert expected_rows["step"] == [0, 1, 2, 3, 4, 5]
    assert len(set(expected_rows["loss"])) == 6

    killed = create(example, "interrupted.py", how)
    if how == "killed":
        example.sweep("agent", killed, "--slots", "1", timeout=200)
    else:
        agent = example.agent(killed, "--slots", "1", **DOOMED)
        example.wait_for((example.folder / "reached").exists, timeout=120)
        os.kill(agent.pid, signal.SIGKILL)
        agent.wait()
        example.sweep("agent", killed, "--slots", "1", timeout=200)

    run, rows = result(example, killed)
    assert [attempt["outcome"] for attempt in run["attempts"]] == [
        "failed" if how == "killed" else "lost",
        "completed",
    ]
    assert "attempt 2 goes on with epoch 3" in example.sweep("logs", run["id"])
    assert run["seed"] == expected["seed"]
    assert run["summary"] == expected["summary"]
    assert rows == expected_rows
