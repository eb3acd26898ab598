"""What a person types, from `create` to `import`, on one small finished sweep."""

from __future__ import annotations

import csv
import io
import json
import platform
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.integration.conftest import Project

TRAIN = """
import sweep
run = sweep.init(config={"lr": 0.5, "width": 1, "extra": "a default"})
print("training with", run.config.lr, "and", run.config.width)
for epoch in range(4):
    run.log({"loss": (run.config.lr - 0.4) ** 2 + run.config.width / (epoch + 1), "val": {"accuracy": 0.25 * epoch}})
run.summary["test/accuracy"] = 0.75
"""
SPEC = """
name: first look
program: train.py
method: random
metric: {name: loss, goal: minimize}
run_cap: 6
seed: 5
parameters:
  lr: {min: 0.0, max: 1.0}
  width: {values: [1, 2, 3]}
"""
FIELDS = {
    "id", "trial", "replicate", "attempt", "state", "reason", "config", "seed", "objective", "summary", "host", "slot",
    "gpus", "started", "ended", "duration_s",
}  # fmt: skip
"""What every run in JSON has at least."""
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A finished sweep. Tests that use it only read."""
    project = Project(tmp_path_factory.mktemp("done"))
    project.write("train.py", TRAIN)
    project.write("sweep.yaml", SPEC)
    created = project.run("create", "sweep.yaml")
    assert created.returncode == 0
    sweep = created.stdout.strip()
    assert re.fullmatch(r"[a-z][a-z0-9]{7}", sweep), created.stdout
    assert "first look" in created.stderr
    assert f"sweep agent {sweep}" in created.stderr
    agent = project.run("agent", sweep)
    assert agent.returncode == 0
    assert agent.stdout == ""
    assert f"sweep {sweep} has ended: run_cap: all 6 trials are done (6 completed)" in agent.stderr
    assert "the best so far" in agent.stderr
    return project


@pytest.fixture(scope="module")
def sweep(done: Project) -> str:
    return done.status().sweep


def test_status_says_how_far_it_is(done: Project, sweep: str) -> None:
    text = done.sweep("status", "latest")
    assert f"sweep {sweep} (first look) is ended: run_cap: all 6 trials are done" in text
    assert "random, 6 of 6 trials proposed, seed 5" in text
    assert "6 completed" in text
    status = done.json("status", sweep)
    assert (status["id"], status["name"], status["state"]) == (sweep, "first look", "ended")
    assert status["runs"] == {"completed": 6}
    assert status["running"] == []
    assert [agent["state"] for agent in status["agents"]] == ["left"]
    best = done.json("best", sweep)
    assert (status["best"], status["best_run"]) == (best["objective"], best["id"])


def test_ls_lists_the_sweep(done: Project, sweep: str) -> None:
    [line] = [line for line in done.sweep("ls").splitlines() if line.startswith(sweep)]
    assert "first look" in line
    assert "6 done" in line
    [found] = done.json("ls")
    assert {"id", "name", "state", "reason", "created", "ended", "trials", "run_cap", "runs", "best"} <= set(
        found
    )
    assert TIME.fullmatch(found["created"])
    assert TIME.fullmatch(found["ended"])


def test_runs_have_every_field(done: Project, sweep: str) -> None:
    runs = done.json("runs", sweep)
    assert runs == done.runs(sweep)
    assert [run["id"] for run in runs] == [f"{sweep}-{i}" for i in range(6)]
    assert [run["trial"] for run in runs] == list(range(6))
    for run in runs:
        assert set(run) >= FIELDS
        assert (run["state"], run["reason"], run["attempt"], run["replicate"]) == ("completed", "", 1, 0)
        assert set(run["config"]) == {"lr", "width"}
        assert run["objective"] == pytest.approx(
            (run["config"]["lr"] - 0.4) ** 2 + run["config"]["width"] / 4
        )
        assert run["summary"]["test/accuracy"] == 0.75
        assert run["summary"]["val/accuracy"] == 0.75
        assert TIME.fullmatch(run["started"])
        assert TIME.fullmatch(run["ended"])
        assert run["started"] <= run["ended"]
        assert run["duration_s"] > 0
        assert run["gpus"] == []
        [attempt] = run["attempts"]
        assert (attempt["outcome"], attempt["exit_code"], attempt["rows"]) == ("completed", 0, 4)
        assert attempt["env"]["PYTHONHASHSEED"] == str(run["seed"] % 2**32)
    assert len({run["seed"] for run in runs}) == 1  # one replicate: one seed


def test_filter_and_sort(done: Project, sweep: str) -> None:
    runs = done.runs(sweep)
    few = done.json("runs", sweep, "--filter", "width == 2 or lr < 0.3", "--sort", "-objective")
    expected = [r for r in runs if r["config"]["width"] == 2 or r["config"]["lr"] < 0.3]
    assert 0 < len(few) < 6
    assert few == sorted(expected, key=lambda r: -r["objective"])
    assert done.json("runs", sweep, "--filter", "state == 'failed'") == []
    assert done.json("runs", sweep, "--format", "json") == runs


def test_runs_as_table(done: Project, sweep: str) -> None:
    head, *lines = done.sweep("runs", sweep, "--sort", "objective").splitlines()
    assert head.split() == ["RUN", "STATE", "loss", "TIME", "lr", "width"]
    assert [line.split()[0] for line in lines] == [
        run["id"] for run in sorted(done.runs(sweep), key=lambda run: run["objective"])
    ]
    nothing = done.run("runs", sweep, "--filter", "lr > 5")
    assert (nothing.returncode, nothing.stderr) == (0, "no runs\n")


def test_runs_as_csv(done: Project, sweep: str) -> None:
    rows = list(csv.DictReader(io.StringIO(done.sweep("runs", sweep, "--format", "csv"))))
    for row, run in zip(rows, done.runs(sweep), strict=True):
        assert row["id"] == run["id"]
        assert float(row["objective"]) == run["objective"]
        assert float(row["config.lr"]) == run["config"]["lr"]
        assert row["summary.test/accuracy"] == "0.75"


def test_show_a_run(done: Project, sweep: str) -> None:
    text = done.sweep("show", "latest-3")
    for part in (
        f"run {sweep}-3 is completed",
        "4 rows",
        "lr",
        "test/accuracy",
        "train.py --lr=",
        "exit      0",
    ):
        assert part in text
    shown = done.json("show", f"{sweep}-3")
    assert shown == {
        **done.runs(sweep)[3],
        **{key: shown[key] for key in shown.keys() - done.runs(sweep)[3].keys()},
    }
    assert shown["history_rows"] == 4
    assert shown["node"]["python"]["version"] == platform.python_version()
    assert shown["code"]["files"] >= 2
    assert shown["command"][-2:] == [f"--lr={shown['config']['lr']}", f"--width={shown['config']['width']}"]


def test_best_is_the_lowest(done: Project, sweep: str) -> None:
    best = done.json("best", "latest")
    assert set(best) >= FIELDS
    assert best["objective"] == min(run["objective"] for run in done.runs(sweep))
    text = done.sweep("best", sweep)
    assert text.startswith(f"{best['id']}: loss ")
    assert "test/accuracy" in text


def test_logs_are_what_the_run_printed(done: Project, sweep: str) -> None:
    run = done.runs(sweep)[2]
    expected = f"training with {run['config']['lr']} and {run['config']['width']}\n"
    assert done.sweep("logs", run["id"]) == expected
    assert done.sweep("logs", "2", "-f") == expected
    assert done.sweep("logs", "latest-2", "--attempt", "1") == expected


def test_ids_may_be_shortened(done: Project, sweep: str) -> None:
    assert done.json("status", sweep[:4])["id"] == sweep
    assert done.json("show", f"{sweep[:4]}-1")["id"] == f"{sweep}-1"
    assert done.json("show", "latest")["id"] == f"{sweep}-5"


def test_the_store_is_found_from_a_folder_below(done: Project, sweep: str) -> None:
    below = Project(done.folder / "some" / "where")
    below.folder.mkdir(parents=True, exist_ok=True)
    assert below.json("status", "latest")["id"] == sweep
    elsewhere = Project(done.folder.parent)
    url = f"sqlite:///{done.folder}/.sweep/store.db"
    assert json.loads(elsewhere.sweep("ls", "--json", "--store", url))[0]["id"] == sweep
    assert json.loads(elsewhere.sweep("ls", "--json", SWEEP_STORE=url))[0]["id"] == sweep


def test_plot_draws_and_says_what_mattered(done: Project, sweep: str, tmp_path: Path) -> None:
    text = done.sweep("plot", sweep, "--out", str(tmp_path / "pictures"), "--format", "html,png")
    assert "lr" in text
    assert "width" in text
    page = tmp_path / "pictures" / "index.html"
    assert str(page) in text
    assert page.stat().st_size > 100_000
    assert len(list((tmp_path / "pictures").glob("*.png"))) == 5
    facts = json.loads(done.sweep("plot", sweep, "--out", str(tmp_path / "few"), "--format", "png", "--json"))
    assert facts["id"] == sweep
    assert facts["n"] == 6
    assert all(Path(name).suffix == ".png" for name in facts["files"])
    assert facts["note"] or {row["parameter"] for row in facts["importance"]} == {"lr", "width"}


@pytest.mark.parametrize("repository", [True, False])
def test_pictures_are_not_code_to_the_next_sweep(project: Project, repository: bool) -> None:
    if repository:
        subprocess.run(["git", "init", "-q"], cwd=project.folder, check=True, timeout=60)
    spec = "command: [sh, -c, 'exit 0']\nmethod: grid\nparameters: {x: {values: [1]}}\n"
    project.work_off(spec)
    project.sweep("plot", "latest")
    assert (project.folder / f"sweep-{project.json('ls')[0]['id']}" / "index.html").exists()
    [run] = project.work_off(spec)
    assert project.json("show", run["id"])["code"]["bytes"] < 100_000


def test_a_second_agent_finds_nothing_to_do(done: Project, sweep: str) -> None:
    again = done.run("agent", sweep)
    assert again.returncode == 0
    assert "has ended" in again.stderr


def test_validate_says_how_large_it_is(done: Project) -> None:
    text = done.sweep("validate", "sweep.yaml")
    assert "random search, 6 trials" in text
    facts = done.json("validate", "sweep.yaml")
    assert facts["valid"] is True
    assert (facts["method"], facts["trials"], facts["runs"], facts["points"]) == ("random", 6, 6, None)
    assert facts["parameters"] == ["lr", "width"]


def test_export_and_import_lose_nothing(done: Project, sweep: str, tmp_path: Path) -> None:
    first = done.sweep("export", sweep).splitlines()
    done.sweep("export", sweep, "--out", str(tmp_path / "sweep.jsonl"))
    assert (tmp_path / "sweep.jsonl").read_text().splitlines() == first
    other = Project(tmp_path / "other")
    other.folder.mkdir()
    assert other.sweep("import", "../sweep.jsonl").strip() == sweep
    assert other.sweep("export", sweep).splitlines() == first
    assert other.runs(sweep) == done.runs(sweep)
    assert without(other.json("status", sweep), "agents") == without(done.json("status", sweep), "agents")
    assert "is already in this store" in other.mistake("import", "../sweep.jsonl")
    assert other.sweep("plot", sweep, "--format", "html")


def without(record: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in record.items() if name != key}


def test_a_broken_export_leaves_nothing(done: Project, sweep: str, tmp_path: Path) -> None:
    lines = done.sweep("export", sweep).splitlines()
    (tmp_path / "half.jsonl").write_text("\n".join(lines[: len(lines) // 2]))
    assert "ends too early" in Project(tmp_path).mistake("import", "half.jsonl")
    assert Project(tmp_path).json("ls") == []


@pytest.mark.parametrize("text", ["", "hello\n", '{"a": 1}\n', "[]\n", "null\n"])
def test_what_is_no_export_is_refused(text: str, project: Project) -> None:
    project.write("x.jsonl", text)
    assert "x.jsonl" in project.mistake("import", "x.jsonl") or "line 1" in project.mistake(
        "import", "x.jsonl"
    )
    assert project.json("ls") == []


def test_run_does_it_all(project: Project) -> None:
    project.write("train.py", TRAIN)
    project.write("sweep.yaml", SPEC)
    output = project.sweep("run", "sweep.yaml", "--slots", "1")
    sweep = project.json("ls")[0]["id"]
    assert output.splitlines()[0] == sweep
    assert "best of sweep" in output
    assert (project.folder / f"sweep-{sweep}" / "index.html").is_file()


def test_logs_follow_a_run_while_it_works(project: Project) -> None:
    train = """
import os, time, sweep
run = sweep.init()
print("first")
run.log({"loss": 1})
while not os.path.exists("go"):
    time.sleep(0.05)
print("last")
"""
    project.write("train.py", train)
    project.write(
        "sweep.yaml", "program: train.py\nmethod: grid\nmetric: {name: loss}\nparameters: {x: {value: 1}}\n"
    )
    sweep = project.create()
    agent = project.agent(sweep)
    project.wait_running(sweep)
    assert project.sweep("logs", "latest") == "first\n"
    follow = subprocess.Popen(
        [sys.executable, "-P", "-m", "sweep", "logs", "latest", "-f"],
        cwd=project.folder,
        env=project.env,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert follow.stdout is not None
    assert follow.stdout.readline() == "first\n"
    project.write("go", "")
    assert follow.stdout.read() == "last\n"
    assert follow.wait(60) == 0
    follow.stdout.close()
    project.wait_end(agent)


def test_commands_import_nothing_heavy(done: Project, sweep: str) -> None:
    """Only `create`, `validate` and `plot` may take their time to start."""
    words = [
        ["ls"],
        ["status", sweep],
        ["runs", sweep],
        ["show", "latest"],
        ["best", sweep],
        ["logs", "latest"],
    ]
    words += [["export", sweep], ["agent", sweep]]
    script = f"""
import sys
from sweep.cli import main
for words in {words!r}:
    try:
        main(words)
    except SystemExit as end:
        assert end.code == 0, (words, end.code)
    heavy = {{"pydantic", "yaml", "numpy", "optuna", "skopt", "rich", "plotly", "matplotlib"}} & set(sys.modules)
    assert not heavy, (words, heavy)
"""
    subprocess.run(
        [sys.executable, "-P", "-c", script], cwd=done.folder, env=done.env, capture_output=True, check=True
    )
