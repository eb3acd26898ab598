"""Programs that seed nothing themselves: two executions are the same to the last bit, wherever and in whichever order; with another seed not."""

from __future__ import annotations

import importlib.util
import json
from typing import Any

import pytest

from tests.integration.conftest import Project

SPEC = """
program: train.py
method: grid
seed: {seed}
determinism: {level}
metric: {{name: loss, goal: minimize}}
parameters:
  x: {{values: {values}}}
"""
NUMPY = """
import random, sweep
run = sweep.init()
import numpy as np
for step in range(3):
    run.log({"loss": float(np.random.rand()), "other": random.random(), "x": run.config.x})
"""
SKLEARN = """
import sweep
from sklearn.neural_network import MLPClassifier
import numpy as np
run = sweep.init()
X = np.random.rand(60, 5)
model = MLPClassifier((8,), max_iter=5)
for step in range(3):
    model.partial_fit(X, X[:, 0] > 0.5, classes=[False, True])
    run.log({"loss": model.loss_, "x": run.config.x})
"""
TORCH = """
import sweep
run = sweep.init()
import torch
model, data = torch.nn.Linear(4, 1), torch.randn(64, 4)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for step in range(3):
    loss = ((torch.nn.functional.dropout(model(data)) - data.sum(1, keepdim=True)) ** 2).mean()
    optimizer.zero_grad(); loss.backward(); optimizer.step()
    run.log({"loss": loss.item(), "x": run.config.x})
"""
KERAS = """
import sweep
run = sweep.init()
import keras, tensorflow as tf
model = keras.Sequential([keras.layers.Dense(8, activation="relu"), keras.layers.Dropout(0.3), keras.layers.Dense(1)])
x = tf.random.normal([64, 4])
model.compile("adam", "mse")
for step in range(3):
    history = model.fit(x, tf.reduce_sum(x, 1), verbose=0)
    run.log({"loss": float(history.history["loss"][0]), "x": run.config.x})
"""
needs_torch = pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="PyTorch is not installed")
needs_keras = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("tensorflow", "keras")),
    reason="TensorFlow and Keras are not installed",
)


def values(
    project: Project,
    program: str,
    *arguments: str,
    seed: int = 7,
    level: str = "strict",
    points: tuple[int, ...] = (1, 2, 3),
) -> dict[int, Any]:
    """Config -> the run's rows, of a sweep that is created and worked off."""
    project.write("train.py", program)
    project.write("sweep.yaml", SPEC.format(seed=seed, level=level, values=list(points)))
    sweep = project.create()
    project.sweep("agent", sweep, *arguments, timeout=200)
    rows = json.loads(project.sweep("runs", sweep, "--history", "--format", "json"))
    found: dict[int, Any] = {}
    for row in rows:
        found.setdefault(row["x"], []).append({k: v for k, v in row.items() if k in ("loss", "other")})
    assert sorted(found) == sorted(points) and all(len(column) == 3 for column in found.values())
    return found


@pytest.mark.timeout(400)
@pytest.mark.parametrize("program", [NUMPY, SKLEARN, pytest.param(TORCH, marks=needs_torch)])
def test_two_executions_are_bit_identical(project: Project, program: str) -> None:
    points = (1, 2, 3) if program == NUMPY else (1, 2)  # the others take seconds to import
    once = values(project, program, "--slots", "1", points=points)
    assert values(project, program, "--slots", "8", points=(points[-1], *points[:-1])) == once
    assert once[1] == once[2], "all configs have the same seed"
    other = values(project, program, "--slots", "1", seed=8, points=points[-1:])
    assert all(other[x] != once[x] for x in other)


def test_what_the_libraries_say_is_recorded(project: Project) -> None:
    values(project, NUMPY, "--slots", "2")
    state = project.json("show", "latest-0")["attempts"][-1]["determinism"]
    assert state["level"] == "strict" and state["hash_seed"] == str(project.json("show", "latest-0")["seed"])
    assert state["numpy"]["seeded"] is True and state["random"]["seeded"] is True
    assert state["threads"]["OMP_NUM_THREADS"] == "1"


@needs_keras
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_executions_with_keras_are_bit_identical(project: Project) -> None:
    once = values(project, KERAS, "--slots", "1")
    state = project.json("show", "latest-0")["attempts"][-1]["determinism"]
    assert state["keras"]["seeded"] is True and state["tensorflow"]["seeded"] is True, state
    assert state["tensorflow"]["op_determinism"] is True
    assert values(project, KERAS, "--slots", "2") == once
    assert values(project, KERAS, "--slots", "2", seed=8) != once


@needs_torch
@pytest.mark.timeout(400)
def test_what_torch_says_is_recorded(project: Project) -> None:
    values(project, TORCH, "--slots", "2")
    state = project.json("show", "latest-0")["attempts"][-1]["determinism"]["torch"]
    assert state["seeded"] is True and state["deterministic_algorithms"] is True
    if state["cuda"] is not None:
        assert str(state["cudnn"]).isdigit() and state["nccl"][0].isdigit()


def test_a_library_that_was_only_looked_for_is_seeded_when_it_is_imported(project: Project) -> None:
    """As by libraries that ask which others there are."""
    looked = NUMPY.replace(
        "import numpy", "import importlib.util; importlib.util.find_spec('numpy')\nimport numpy"
    )
    assert values(project, looked, "--slots", "1") == values(project, looked, "--slots", "2")
    assert project.json("show", "latest-0")["attempts"][-1]["determinism"]["numpy"]["seeded"] is True


def test_chance_is_left_alone_where_that_is_asked_for(project: Project) -> None:
    once = values(project, NUMPY, "--slots", "2", level="off")
    assert once[1] != once[2]
    assert project.json("show", "latest-0")["attempts"][-1]["determinism"] == {}


def test_a_program_that_seeds_itself_has_the_last_word(project: Project) -> None:
    program = NUMPY.replace("import numpy as np\n", "import numpy as np\nnp.random.seed(3); random.seed(3)\n")
    once = values(project, program, "--slots", "2")
    assert values(project, program, "--slots", "2", seed=8) == once


def test_seeds_of_their_own(project: Project) -> None:
    project.write("train.py", NUMPY)
    project.write(
        "sweep.yaml",
        SPEC.format(seed=7, level="seeded", values=[1, 2]) + "seeds: independent\nreplicates: 2\n",
    )
    project.sweep("agent", project.create())
    seeds = {(run["config"]["x"], run["replicate"]): run["seed"] for run in project.runs("latest")}
    assert len(seeds) == len(set(seeds.values())) == 4
    assert project.run("audit", "latest").returncode == 0
