"""Training scripts that are written for wandb, unmodified: under `sweep agent --wandb`, and under the real wandb, which shows that
they are what they say."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from sweep.analysis.history import History
from sweep.api import find_sweep, read_history
from sweep.stores import open_store

from .conftest import Project

SCRIPTS = Path(__file__).parent / "wandb_scripts"

SPEC = """
program: {program}
method: grid
metric: {{name: {metric}, goal: {goal}}}
parameters:
  {parameters}
command: ["${{interpreter}}", "${{program}}"{args}]
"""
LR = "lr: {values: [0.1, 0.2]}"


def work_off(
    project: Project,
    script: str,
    parameters: str = LR,
    metric: str = "loss",
    goal: str = "minimize",
    args: str = "",
    **env: str,
) -> list[dict[str, Any]]:
    """The runs of a sweep over one of the scripts, by their number."""
    shutil.copy(SCRIPTS / script, project.folder)
    spec = SPEC.format(program=script, metric=metric, goal=goal, parameters=parameters, args=args)
    runs = project.work_off(spec, "", "--wandb", **env)
    for run in runs:
        assert run["state"] == "completed", project.sweep("logs", run["id"])
    return sorted(runs, key=lambda run: run["run"])


def history(project: Project, run: int, name: str) -> tuple[list[float], list[float]]:
    """Steps and values of a metric."""
    with closing(open_store(None, project.folder, create=False)) as store:
        sweep = find_sweep(store, "latest")
        series = History.from_chunks(read_history(store, sweep, [run])[run]).series(name)
    return list(series.steps), list(series.values)


def test_a_plain_script(project: Project) -> None:
    parameters = LR + "\n  model: {parameters: {width: {value: 16}}}"
    runs = work_off(project, "plain.py", parameters)
    assert [run["config"] for run in runs] == [{"lr": lr, "model": {"width": 16}} for lr in (0.1, 0.2)]
    assert runs[0]["defaults"] == {"epochs": 4, "model": {"depth": 2}}
    weights = [5 * 0.6 ** (epoch + 1) for epoch in range(4)]
    steps, losses = history(project, 1, "loss")
    assert steps == [0, 1, 2, 3]
    assert losses == pytest.approx([w**2 for w in weights])
    assert history(project, 1, "val/error")[1] == pytest.approx(weights)
    summary = runs[1]["summary"]
    assert runs[1]["objective"] == summary["loss"] == pytest.approx(weights[-1] ** 2)
    assert summary["final"] == pytest.approx(weights[-1])
    assert (summary["wandb/tags"], summary["wandb/notes"], summary["wandb/project"]) == (
        ["plain"],
        "the first one",
        "scripts",
    )
    assert project.sweep("logs", runs[0]["id"]).strip() == ""


def test_a_script_with_argparse(project: Project) -> None:
    runs = work_off(project, "with_argparse.py", args=', "${args}"')
    assert runs[1]["defaults"] == {"epochs": 5, "name": "nobody", "device": "cpu"}
    assert runs[1]["summary"]["wandb/name"] == "lr-0.2"
    assert history(project, 1, "loss")[0] == history(project, 1, "train/loss")[0] == [0, 1, 2, 3, 4]
    said = project.sweep("logs", runs[1]["id"])
    assert "log(step=1) is smaller than the current step 4" in said
    assert "lr-0.2 {'lr': 0.2, 'epochs': 5, 'name': 'nobody', 'device': 'cpu'}" in said


def test_a_script_with_media(project: Project) -> None:
    runs = work_off(project, "with_media.py", metric="accuracy", goal="maximize")
    summary = runs[1]["summary"]
    assert runs[1]["objective"] == summary["accuracy/max"] == summary["best_accuracy"] == pytest.approx(0.8)
    assert (summary["accuracy"], summary["val/loss/min"], summary["val/loss/mean"]) == (0.0, 1.0, 3.0)
    assert summary["test/accuracy"] == 0.5
    folder = Path(runs[1]["folder"])
    table = json.loads((folder / summary["table"]["path"]).read_text())
    assert table == {"columns": ["input", "output"], "data": [[0, 0], [1, 1], [2, 4]]}
    assert (folder / summary["picture"]["path"]).read_bytes().startswith(b"\x89PNG")
    assert summary["chart"]["chart"]["fields"] == {"x": "input", "y": "output"}
    assert json.loads((folder / "artifacts" / "model" / "v0" / "model.json").read_text()) == {"lr": 0.2}
    assert json.loads((folder / "artifacts" / "model" / "v0.json").read_text())["aliases"] == [
        "latest",
        "best",
    ]
    project.sweep("runs", "latest", "--format", "csv")
    project.sweep("show", runs[1]["id"])
    project.sweep("plot", "latest")


def test_a_framework(project: Project) -> None:
    runs = work_off(project, "framework.py", "optimizer: {parameters: {lr: {values: [0.1, 0.2]}}}")
    assert runs[1]["config"] == {"optimizer": {"lr": 0.2}}
    assert runs[1]["defaults"] == {"optimizer": {"name": "sgd"}, "seed": 2, "epochs": 3, "phase": "test"}
    assert history(project, 1, "loss")[0] == history(project, 1, "train/loss")[0] == [0, 1, 2]
    assert history(project, 1, "test/loss")[0] == [3]
    assert runs[1]["objective"] == pytest.approx((5 * 0.8**3) ** 2 + 0.5)
    folder = Path(runs[1]["folder"])
    assert (folder / "files" / "checkpoints" / "last.txt").read_text().startswith("2.56")
    assert [path.read_text() for path in (folder / "files" / "notes").iterdir()] == ["saved"]
    assert json.loads((folder / "alerts.jsonl").read_text())["level"] == "WARN"
    said = project.sweep("logs", runs[1]["id"]).splitlines()
    assert said == [
        "sweep: wandb.watch does nothing here; log a wandb.Histogram of what you want to see",
        "wandb: alert (WARN) Done: the training is over",
    ]


@pytest.mark.parametrize("name", ["train.py", "sweep.py"])
def test_a_script_that_makes_its_own_sweep(project: Project, name: str) -> None:
    """Whatever it is called: `sweep.py` is a usual name for such a script."""
    shutil.copy(SCRIPTS / "own_sweep.py", project.folder / name)
    sweep = project.sweep("wandb", name).split()[-1]
    runs = sorted(project.runs(sweep), key=lambda run: run["run"])
    assert [(run["state"], run["config"], run["defaults"]) for run in runs] == [
        ("completed", {"lr": lr, "width": 4}, {"epochs": 3}) for lr in (0.1, 0.2)
    ]
    assert [run["objective"] for run in runs] == pytest.approx(
        [(5 * (1 - lr) ** 3) ** 2 for lr in (0.1, 0.2)]
    )
    assert history(project, 1, "width") == ([0, 1, 2], [4, 4, 4])
    assert project.status(sweep).state == "ended"


def test_what_wandbs_own_agent_sets(project: Project) -> None:
    project.write(
        "show.py",
        "import json, os, wandb\nimport yaml\nrun = wandb.init()\n"
        "values = yaml.safe_load(open(os.environ['WANDB_SWEEP_PARAM_PATH']))\n"
        "wandb.log({'loss': 1})\nrun.summary.update({'values': json.dumps(values), 'id': run.id, 'same':\n"
        "[os.environ['WANDB_RUN_ID'], os.environ['WANDB_SWEEP_ID'], run.sweep_id], 'path': os.environ['PYTHONPATH']})\n",
    )
    parameters = "lr: {value: .inf}\n  model: {parameters: {depth: {value: 3}, names: {value: [a, null]}}}"
    spec = SPEC.format(program="show.py", metric="loss", goal="minimize", parameters=parameters, args="")
    [run] = project.work_off(spec, "", "--wandb", PYTHONPATH="/elsewhere")
    assert run["state"] == "completed", project.sweep("logs", run["id"])
    summary = run["summary"]
    expected = {
        "wandb_version": 1,
        "lr": {"value": float("inf")},
        "model": {"value": {"depth": 3, "names": ["a", None]}},
    }
    assert json.loads(summary["values"]) == expected
    assert summary["same"] == [run["id"], run["sweep"], run["sweep"]]
    assert summary["id"] == run["id"]
    assert summary["path"].endswith(f"_path_wandb{os.pathsep}/elsewhere")


CHANCE = """
import random
random.seed(11)
import wandb
run = wandb.init()
run.log({"loss": random.random()})
"""


@pytest.mark.parametrize("level", ["seeded", "strict"])
def test_only_strict_seeds_the_generators(project: Project, level: str) -> None:
    spec = SPEC.format(program="train.py", metric="loss", goal="minimize", parameters=LR, args="")
    runs = project.work_off(spec + f"determinism: {level}\n", CHANCE, "--wandb")
    own = random.Random(11).random()
    assert [run["objective"] == own for run in runs] == [level == "seeded"] * 2
    assert len({run["objective"] for run in runs}) == 1, "the same seed, or the same generator"


def test_only_runs_of_an_agent_that_was_asked_find_the_stand_in(project: Project) -> None:
    train = "import os, sweep\nsweep.init().log({'loss': 'WANDB_RUN_ID' in os.environ or '_path_wandb' in os.environ.get('PYTHONPATH', '')})\n"
    spec = SPEC.format(
        program="train.py", metric="loss", goal="minimize", parameters="a: {value: 1}", args=""
    )
    [without] = project.work_off(spec, train)
    [asked] = project.work_off(spec, train, SWEEP_WANDB="1")
    assert (without["objective"], asked["objective"]) == (0, 1)
    project.write("train.py", "import sys\nsys.exit(\"ModuleNotFoundError: No module named 'wandb'\")\n")
    sweep = project.create()
    assert f"`sweep agent {sweep} --wandb`" in project.run("agent", sweep).stderr, "it is told how"
    said = "wandb.errors.errors.UsageError: No API key configured. Use `wandb login` to log in."
    project.write("train.py", f"import sys\nsys.exit({said!r})\n")
    sweep = project.create()
    assert f"recorded here: `sweep agent {sweep} --wandb`" in project.run("agent", sweep).stderr


def test_the_early_stop_reaches_a_script_for_wandb(project: Project) -> None:
    train = """
import time, wandb
wandb.init()
for step in range(2000):
    wandb.log({"loss": wandb.config.level}, step=step)
    time.sleep(0.01 if step > 4 else 0)
"""
    spec = """
program: train.py
method: grid
metric: {name: loss}
parameters: {level: {values: [1, 2, 3, 4]}}
early_terminate: {type: hyperband, min_iter: 4, eta: 2}
"""
    project.write("sweep.yaml", spec)
    project.write("train.py", train)
    sweep = project.create()
    agent = project.agent(sweep, "--wandb", "--slots", "4")
    project.wait_for(lambda: any(run["state"] == "pruned" for run in project.runs(sweep)))
    pruned = next(run for run in project.runs(sweep) if run["state"] == "pruned")
    assert pruned["config"]["level"] > 1
    assert pruned["steps"] >= 4
    project.sweep("cancel", sweep)
    project.wait_end(agent)


@pytest.mark.parametrize(
    ("script", "args"),
    [("plain.py", []), ("with_argparse.py", ["--lr", "0.2"]), ("with_media.py", []), ("framework.py", [])],
)
def test_the_scripts_run_under_the_real_wandb(script: str, args: list[str], tmp_path: Path) -> None:
    pytest.importorskip("wandb", reason="the real wandb is not installed")
    env = {name: value for name, value in os.environ.items() if not name.startswith(("WANDB_", "SWEEP_"))}
    for name in ("CONFIG", "CACHE", "DATA", "ARTIFACT"):
        env[f"WANDB_{name}_DIR"] = str(tmp_path / name)
        (tmp_path / name).mkdir()
    env.update(
        WANDB_MODE="offline", WANDB_SILENT="true", WANDB_ERROR_REPORTING="false", WANDB_DIR=str(tmp_path)
    )
    disabled = script == "framework.py"
    if disabled:  # offline, wandb.watch needs torch
        env["WANDB_MODE"] = "disabled"
    done = subprocess.run(
        [sys.executable, str(SCRIPTS / script), *args],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "wandb").glob("offline-run-*"))) == (0 if disabled else 1)
