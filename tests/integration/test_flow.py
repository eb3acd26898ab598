"""From a file to finished runs, through the command line, with real processes."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from pathlib import Path

import pytest

from tests.integration.conftest import Project

TRAIN = """
import sweep
run = sweep.init(config={"steps": 3})
print("training with", run.config.as_dict())
for i in range(run.config.steps):
    run.log({"loss": (run.config.x - 2) ** 2 + 1.0 / (i + 1), "nested": {"a": i}})
run.summary["seed"] = run.seed
"""
GRID = """
program: train.py
method: grid
metric: {name: loss, goal: minimize}
parameters: {x: {values: [0, 1, 2, 3]}}
"""
FIELDS = (
    "id, trial, replicate, attempt, state, reason, config, seed, objective, summary, host, slot, gpus, started, "
    "ended, duration_s"
).split(", ")


def finished(project: Project, spec: str, *args: str, train: str = TRAIN, **env: str) -> str:
    """The ID of a sweep that an agent has worked off."""
    project.write("train.py", train)
    project.write("sweep.yaml", spec)
    sweep = project.create()
    project.sweep("agent", sweep, *args, **env)
    return sweep


def test_the_main_flow(project: Project) -> None:
    sweep = finished(project, GRID)
    runs = project.json("runs", "latest")
    assert [run["config"] for run in runs] == [{"x": x} for x in range(4)]
    for run in runs:
        assert set(FIELDS) <= set(run)
        assert run["state"] == "completed"
        assert run["objective"] == pytest.approx((run["config"]["x"] - 2) ** 2 + 1 / 3)
        assert run["summary"]["seed"] == run["seed"]
        assert run["summary"]["nested/a"] == 2
    assert len({run["seed"] for run in runs}) == 1, "all trials share the seed of replicate 0"
    assert project.json("best", sweep[:4])["config"] == {"x": 2}
    shown = project.json("show", "latest-2")
    assert shown["history_rows"] == 3
    assert shown["node"]["python"]["version"] == sys.version.split()[0]
    assert shown["code"]["files"] >= 2
    assert "training with {'x': 1, 'steps': 3}" in project.sweep("logs", f"{sweep}-1")
    assert project.json("ls")[0]["runs"] == {"completed": 4}
    assert project.json("status", sweep)["reason"] == "all 4 points of the space are done"
    table = list(
        csv.DictReader(io.StringIO(project.sweep("runs", sweep, "--format", "csv", "--sort", "-objective")))
    )
    assert [row["config.x"] for row in table] == ["0", "1", "3", "2"]
    chosen = json.loads(project.sweep("runs", sweep, "--filter", "x > 1 and state == 'completed'", "--json"))
    assert [run["config"]["x"] for run in chosen] == [2, 3]
    for command in (("ls",), ("status", sweep), ("runs", sweep), ("show", f"{sweep}-0"), ("best", sweep)):
        assert project.sweep(*command).strip()


def test_an_export_is_read_back_whole(project: Project) -> None:
    sweep = finished(project, GRID)
    project.sweep("export", sweep, "--out", "one.jsonl")
    assert project.sweep("import", "one.jsonl", "--store", "other.db").strip() == sweep
    project.sweep("export", sweep, "--out", "two.jsonl", "--store", "other.db")
    one, two = ((project.folder / name).read_text() for name in ("one.jsonl", "two.jsonl"))
    assert one == two
    assert project.json("runs", sweep) == json.loads(
        project.sweep("runs", sweep, "--json", "--store", "other.db")
    )
    project.sweep("import", "one.jsonl", code=2)
    broken = project.write("broken.jsonl", "\n".join(one.splitlines()[:-3]))
    project.sweep("import", str(broken), "--store", "third.db", code=2)
    assert "no sweeps" in project.run("ls", "--store", "third.db").stderr


def test_two_agents_share_one_file(project: Project) -> None:
    project.write(
        "sweep.yaml",
        'method: grid\ncommand: [sh, -c, "exit 0"]\nparameters: {x: {distribution: int_uniform, min: 1, max: 200}}\n',
    )
    sweep = project.create()
    agents = [project.agent(sweep, "--slots", "2") for _ in range(2)]
    assert [agent.wait(90) for agent in agents] == [0, 0]
    runs = project.json("runs", sweep)
    assert sorted(run["config"]["x"] for run in runs) == list(range(1, 201))
    assert {(run["state"], run["attempt"]) for run in runs} == {("completed", 1)}
    assert len({run["attempts"][0]["agent"] for run in runs}) == 2


@pytest.mark.parametrize("engine", ["optuna-tpe", "skopt-et"])
def test_bayes_with_replicates(project: Project, engine: str) -> None:
    spec = f"""
program: train.py
method: bayes
engine: {engine}
run_cap: 4
replicates: 2
metric: {{name: loss}}
parameters: {{x: {{min: 0.0, max: 4.0}}, steps: {{value: 2}}}}
"""
    sweep = finished(project, spec, "--slots", "2")
    runs = project.json("runs", sweep)
    assert len(runs) == 8
    assert len({run["config"]["x"] for run in runs}) == 4
    by_replicate = {
        run["replicate"]: {r["seed"] for r in runs if r["replicate"] == run["replicate"]} for run in runs
    }
    assert [len(seeds) for seeds in by_replicate.values()] == [1, 1]
    assert by_replicate[0] != by_replicate[1]


def test_secrets_pass_by_the_record(project: Project) -> None:
    spec = GRID + "env: {MY_TOKEN: '${envvar:PLANTED}'}\n"
    spec += "command: ['${interpreter}', '${program}', '--token=${envvar:PLANTED}']\n"
    train = "import os, sys\nassert os.environ['MY_TOKEN'] == 'hunter2-planted' == sys.argv[1][8:]\n" + TRAIN
    sweep = finished(project, spec, train=train, PLANTED="hunter2-planted")
    assert {run["state"] for run in project.json("runs", sweep)} == {"completed"}
    assert project.json("runs", sweep)[0]["command"][-1] == "--token=${envvar:PLANTED}"
    assert "hunter2-planted" not in project.sweep("export", sweep)
    for path in (project.folder / ".sweep").glob("store.db*"):
        assert b"hunter2-planted" not in path.read_bytes()


def test_hyperband_prunes_and_says_why(project: Project) -> None:
    train = """
import pathlib, time
import sweep
run = sweep.init(stop="raise")
try:
    for i in range(200):
        run.log({"loss": run.config.x})
        time.sleep(0.05)
except sweep.Pruned as pruned:
    (run.checkpoint_dir / "saved").write_text(str(pruned))
    raise
"""
    spec = GRID + "early_terminate: {type: hyperband, min_iter: 2, eta: 4}\n"
    sweep = finished(project, spec.replace("[0, 1, 2, 3]", "[0, 1, 2, 3, 4, 5]"), "--slots", "6", train=train)
    runs = project.json("runs", sweep)
    pruned = [run for run in runs if run["state"] == "pruned"]
    assert len(pruned) >= 3
    for run in pruned:
        assert "iteration" in run["reason"]
        assert run["objective"] == run["config"]["x"]
        saved = Path(run["folder"]) / "checkpoint" / "saved"
        assert saved.read_text() == run["reason"]


def test_each_run_sees_only_its_own_gpu(project: Project) -> None:
    project.write(
        "fake/pynvml.py",
        """
class NVMLError(Exception): pass
def nvmlInit(): pass
def nvmlShutdown(): pass
def nvmlDeviceGetCount(): return 2
def nvmlDeviceGetHandleByIndex(i): return i
def nvmlDeviceGetUUID(h): return f"GPU-{h}"
def nvmlDeviceGetName(h): return "Fake GPU"
def nvmlDeviceGetMigMode(h): return (0, 0)
class _Memory: total = 1 << 34; free = 1 << 34; used = 0
def nvmlDeviceGetMemoryInfo(h): return _Memory
def nvmlSystemGetDriverVersion(): return "1"
def nvmlSystemGetCudaDriverVersion(): return 12000
""",
    )
    train = """
import os, time
import sweep
run = sweep.init()
run.summary["gpu"] = os.environ["CUDA_VISIBLE_DEVICES"]
run.summary["order"] = os.environ["CUDA_DEVICE_ORDER"]
time.sleep(0.3)
"""
    sweep = finished(project, GRID, train=train, PYTHONPATH=str(project.folder / "fake"))
    runs = project.json("runs", sweep)
    assert {run["summary"]["gpu"] for run in runs} == {"0", "1"}
    assert {run["summary"]["order"] for run in runs} == {"PCI_BUS_ID"}
    for run in runs:
        assert run["gpus"] == [f"GPU-{run['summary']['gpu']}"]
        for other in runs:
            if other["id"] != run["id"] and other["gpus"] == run["gpus"]:
                assert other["started"] >= run["ended"] or run["started"] >= other["ended"]


@pytest.mark.parametrize("name", ["shell", "nested"])
def test_the_examples_run_as_they_are(project: Project, name: str) -> None:
    import shutil

    shutil.copytree(Path(__file__).parents[2] / "sweeps" / name, project.folder / name)
    sweep = project.create(f"{name}/sweep.yaml")
    project.sweep("agent", sweep)
    runs = project.json("runs", sweep)
    assert {run["state"] for run in runs} == {"completed"}
    assert all(run["objective"] is not None for run in runs)


def test_the_environment_of_the_tests_is_not_that_of_a_run() -> None:
    assert "SWEEP_RUN_ID" not in os.environ
