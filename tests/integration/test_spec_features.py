"""What `sweep.yaml` can say, through runs that really happened."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.integration.conftest import Project

# Writes down what it got: arguments, config, environment, folder.
SHOW = """
import json, os, sys
import sweep
run = sweep.init()
got = {"argv": sys.argv[1:], "config": run.config.as_dict(), "env": dict(os.environ), "cwd": os.getcwd(), "seed": run.seed,
       "replicate": os.environ["SWEEP_REPLICATE"], "stdin": sys.stdin.read()}
with open(os.path.join(run.dir, "got.json"), "w") as file:
    json.dump(got, file)
run.log({"loss": 1.0})
"""
METRIC = "metric: {name: loss, goal: minimize}\n"


def got(run: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((Path(run["folder"]) / "got.json").read_text())
    return found


NESTED = """
program: train.py
method: grid
metric: {name: loss}
parameters:
  flag: {value: true}
  sizes: {value: [1, 2]}
  optimizer:
    parameters:
      name: {values: [adam]}
      lr: {value: 0.001}
command: %s
"""
CONFIG = {"flag": True, "sizes": [1, 2], "optimizer": {"name": "adam", "lr": 0.001}}
NAMED = "{'name': 'adam', 'lr': 0.001}"


@pytest.mark.parametrize(
    ("macro", "expected"),
    [
        ("${args}", ["--flag=True", "--sizes=[1, 2]", f"--optimizer={NAMED}"]),
        ("${args_no_hyphens}", ["flag=True", "sizes=[1, 2]", f"optimizer={NAMED}"]),
        ("${args_no_boolean_flags}", ["--flag", "--sizes=[1, 2]", f"--optimizer={NAMED}"]),
        ("${args_no_equals}", ["--flag", "True", "--sizes", "[1, 2]", "--optimizer", NAMED]),
        (
            "${args_append_hydra}",
            ["+flag=True", "+sizes=[1, 2]", "+optimizer.name=adam", "+optimizer.lr=0.001"],
        ),
        (
            "${args_override_hydra}",
            ["++flag=True", "++sizes=[1, 2]", "++optimizer.name=adam", "++optimizer.lr=0.001"],
        ),
        ("${args_json}", [CONFIG]),
        ("${args_json_file}", [CONFIG]),
        ("--home=${envvar:HOMELY}/x", ["--home=a b/x"]),
    ],
)
def test_macros(project: Project, macro: str, expected: list[Any]) -> None:
    command = json.dumps(["${env}", "${interpreter}", "${program}", macro])
    [run] = project.work_off(NESTED % command, SHOW, HOMELY="a b")
    found = got(run)
    argv = found["argv"]
    if macro == "${args_json}":
        argv = [json.loads(argv[0])]
    elif macro == "${args_json_file}":
        argv = [json.loads(Path(argv[0]).read_text())]
    assert argv == expected
    assert found["config"] == CONFIG
    assert run["config"] == CONFIG
    assert found["stdin"] == ""


def test_secrets_from_the_environment_are_not_in_the_record(project: Project) -> None:
    secret = "correct-horse-battery"
    spec = "program: train.py\nmethod: grid\nparameters: {x: {value: 1}}\n" + (
        "env: {TOKEN: 'Bearer ${envvar:MY_TOKEN}', PLAIN: 1.10}\n"
        "command: ['${interpreter}', '${program}', '--token=${envvar:MY_TOKEN}']\n"
    )
    [run] = project.work_off(spec, SHOW, MY_TOKEN=secret)
    found = got(run)["env"]
    assert found["TOKEN"] == f"Bearer {secret}"
    assert got(run)["argv"] == [f"--token={secret}"]
    assert run["command"][-1] == "--token=${envvar:MY_TOKEN}"
    assert found["PLAIN"] == "1.10"
    assert run["attempts"][0]["env"]["TOKEN"] == "Bearer ${envvar:MY_TOKEN}"
    (Path(run["folder"]) / "got.json").unlink()
    held = [
        path
        for path in project.folder.rglob("*")
        if path.is_file() and re.search(secret.encode(), path.read_bytes())
    ]
    assert held == []
    assert secret not in project.sweep("export", "latest", MY_TOKEN=secret)


def test_a_variable_that_the_node_lacks_is_named(project: Project) -> None:
    spec = (
        "program: train.py\nmethod: grid\nparameters: {x: {value: 1}}\nenv: {TOKEN: '${envvar:NOT_HERE}'}\n"
    )
    [run] = project.work_off(spec, SHOW, code=3)
    assert run["state"] == "failed"
    assert "NOT_HERE" in run["reason"]
    assert run["error_class"] == "start"


def test_what_runs_get_in_their_environment(project: Project) -> None:
    spec = "program: ../train.py\nworkdir: inner\nmethod: grid\nparameters: {x: {value: 1}}\nresources: {cpus: 1}\n"
    (project.folder / "inner").mkdir()
    [run] = project.work_off(spec, SHOW, OMP_NUM_THREADS="7", SWEEP_SECRET_OF_OURS="no")
    found = got(run)
    assert found["cwd"] == str(project.folder / "inner")
    env = found["env"]
    assert env["SWEEP_RUN_ID"] == run["id"]
    assert env["SWEEP_ATTEMPT"] == "1"
    assert int(env["SWEEP_SEED"]) == run["seed"] == found["seed"]
    assert json.loads(Path(env["SWEEP_CONFIG"]).read_text()) == {"x": 1}
    assert Path(env["SWEEP_RUN_DIR"]) == Path(run["folder"])
    assert Path(env["SWEEP_CHECKPOINT_DIR"]).parent == Path(run["folder"])
    assert env["OMP_NUM_THREADS"] == "7"  # the person's own wins
    assert env["MKL_NUM_THREADS"] == "1"
    assert env["CUDA_VISIBLE_DEVICES"] == ""
    assert "SWEEP_SECRET_OF_OURS" not in env


def test_replicates_share_seeds_across_trials(project: Project) -> None:
    spec = (
        "program: train.py\nmethod: grid\nseed: 11\nreplicates: 2\n"
        + METRIC
        + "parameters: {x: {values: [1, 2, 3]}}\n"
    )
    train = "import sweep\nrun = sweep.init()\nrun.log({'loss': run.config.x + run.seed % 2})\n"
    runs = project.work_off(spec, train)
    assert [(run["trial"], run["replicate"]) for run in runs] == [(t, r) for t in range(3) for r in range(2)]
    seeds = [{run["seed"] for run in runs if run["replicate"] == r} for r in range(2)]
    assert [len(found) for found in seeds] == [1, 1]
    assert seeds[0] != seeds[1]
    assert "REPLICATE" in project.sweep("runs", "latest")
    again = project.create()  # the same file, the same seeds
    project.sweep("agent", again, "--count", "2")
    assert [run["seed"] for run in project.runs(again)[:2]] == [run["seed"] for run in runs[:2]]


def test_random_search_is_repeated_by_its_seed(project: Project) -> None:
    spec = (
        "command: [sh, -c, 'exit 0']\nmethod: random\nrun_cap: 5\n%sparameters: {x: {min: 0.0, max: 1.0}}\n"
    )
    one = [run["config"] for run in project.work_off(spec % "seed: 3\n")]
    assert [run["config"] for run in project.work_off(spec % "seed: 3\n")] == one
    drawn = [run["config"] for run in project.work_off(spec % "")]
    assert drawn != one
    assert "seed 3\n" not in project.sweep("status", "latest")


def test_a_space_that_is_exhausted_ends_the_sweep(project: Project) -> None:
    spec = "command: [sh, -c, 'exit 0']\nmethod: random\nparameters: {x: {values: [1, 2]}, y: {values: [a, b, c]}}\n"
    runs = project.work_off(spec)
    assert len({json.dumps(run["config"]) for run in runs}) == len(runs) == 6
    assert project.json("status", "latest")["reason"] == "all 6 points of the space are done"


def test_a_grid_covers_every_point_and_heeds_its_cap(project: Project) -> None:
    spec = (
        "command: [sh, -c, 'exit 0']\nmethod: grid\nparameters: {x: {values: [1, 2]}, y: {min: 1, max: 3}}\n"
    )
    points = [run["config"] for run in project.work_off(spec)]
    assert points == [{"x": x, "y": y} for x in (1, 2) for y in (1, 2, 3)]
    capped = project.work_off(spec + "run_cap: 4\n")
    assert [run["config"] for run in capped] == points[:4]
    assert project.json("status", "latest")["reason"] == "run_cap: all 4 trials are done"


@pytest.mark.parametrize("engine", ["optuna-tpe", "skopt-et"])
def test_bayes(project: Project, engine: str) -> None:
    spec = (
        f"program: train.py\nmethod: bayes\nengine: {engine}\nrun_cap: 7\nreplicates: 2\nseed: 1\n{METRIC}"
        + (
            "parameters:\n  lr: {distribution: log_uniform_values, min: 1e-4, max: 1}\n  kind: {values: [a, b]}\n"
            "  inner: {parameters: {n: {distribution: q_uniform, min: 0, max: 10, q: 2}}}\n"
        )
    )
    train = (
        "import math, os, sys, sweep\nrun = sweep.init()\nc = run.config\n"
        "if os.environ['SWEEP_TRIAL'] == '1': sys.exit(1)\n"  # failed runs are part of it
        "run.log({'loss': abs(math.log10(c.lr) + 2) + (c.kind == 'b') + c.inner.n})\n"
    )
    runs = project.work_off(spec, train)
    assert len(runs) == 14
    assert len({json.dumps(run["config"]) for run in runs}) == 7
    assert [run["state"] for run in runs] == ["completed"] * 2 + ["failed"] * 2 + ["completed"] * 10
    for run in runs:
        assert 1e-4 <= run["config"]["lr"] <= 1
        assert run["config"]["inner"]["n"] in (0, 2, 4, 6, 8, 10)
    status = project.sweep("status", "latest")
    assert f"bayes ({engine}), 7 of 7 trials" in status


def test_the_target_ends_the_sweep(project: Project) -> None:
    spec = (
        "program: train.py\nmethod: grid\nmetric: {name: acc, goal: maximize, target: 0.8}\n"
        "parameters: {x: {min: 0, max: 1000}}\n"
    )
    train = "import sweep\nrun = sweep.init()\nrun.log({'acc': run.config.x / 5})\n"
    runs = project.work_off(spec, train, "--slots", "2")
    assert 5 <= sum(run["state"] == "completed" for run in runs) <= 10
    reason = project.json("status", "latest")["reason"]
    assert re.fullmatch(r"run \d+ reached the target: acc [0-9.]+", reason)
    assert {run["state"] for run in runs} <= {"completed", "cancelled"}


def test_failed_runs_are_tried_again(project: Project) -> None:
    spec = "program: train.py\nmethod: grid\nretry: {max: 2}\nparameters: {x: {values: [1, 2]}}\n" + METRIC
    train = """
import os, sweep
run = sweep.init()
before = run.checkpoint_dir / "tries"
tries = int(before.read_text()) if before.exists() else 0
before.write_text(str(tries + 1))
assert run.attempt == tries + 1
if run.config.x == 2 or tries < 2:
    raise SystemExit(f"try {tries} fails")
run.log({"loss": tries})
"""
    one, two = project.work_off(spec, train, "--slots", "1")
    assert (one["state"], one["attempt"], one["objective"]) == ("completed", 3, 2)
    assert [a["outcome"] for a in one["attempts"]] == ["failed", "failed", "completed"]
    assert (two["state"], two["attempt"], two["exit_code"]) == ("failed", 3, 1)
    assert two["reason"] == "exit code 1"
    assert two["attempts"][0]["tail"] == "try 0 fails"


def test_values_that_are_not_finite(project: Project) -> None:
    spec = "program: train.py\nmethod: grid\nparameters: {x: {values: [nan, inf, '1']}}\n" + METRIC
    train = "import sweep\nrun = sweep.init()\nrun.log({'loss': float(run.config.x)})\n"
    runs = project.work_off(spec, train)
    assert {run["state"] for run in runs} == {"completed"}
    assert [run["objective"] for run in runs] == [None, None, 1]
    assert [run["summary"]["loss"] for run in runs] == ["nan", "inf", 1]
    assert project.json("best", "latest")["config"] == {"x": "1"}


def test_defaults_of_the_program_are_recorded(project: Project) -> None:
    spec = "program: train.py\nmethod: grid\nparameters: {x: {value: 1}}\n"
    [run] = project.work_off(
        spec, "import sweep\nrun = sweep.init(config={'x': 5, 'depth': 3})\nprint(run.config)\n"
    )
    assert run["config"] == {"x": 1}
    assert "depth" in project.sweep("show", "latest")
    assert run["defaults"] == {"depth": 3}
    assert project.json("runs", "latest", "--filter", "depth == 3") == [run]


def test_what_validate_announces_is_what_there_is(project: Project) -> None:
    spec = (
        "command: [sh, -c, 'exit 0']\nmethod: %s\nparameters:\n  x: {distribution: q_uniform, min: 0, max: 1, q: 0.25}\n"
        "  y: {values: [1, 2]}\n"
    )
    for method, values in (("grid", 4), ("random", 5)):
        runs = project.work_off(spec % method)
        assert len(runs) == 2 * values
        assert project.json("validate", "sweep.yaml")["trials"] == 2 * values
        assert f"x: q_uniform, {values} values" in project.sweep("validate", "sweep.yaml")
        assert f"{2 * values} of {2 * values} trials" in project.sweep("status", "latest")
