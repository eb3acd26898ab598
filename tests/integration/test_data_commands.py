"""Comparing, repeating and exporting real runs, `sweep.load` on what agents recorded, and what these commands say."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import sweep
from tests.integration.conftest import PYTHON, Project

SPEC = """
program: train.py
method: grid
metric: {name: loss, goal: minimize}
env: {GREETING: hello}
parameters:
  x: {values: [1, 2, 3]}
  unit: {values: [m]}
"""
TRAIN = """
import os, random, sys, sweep
run = sweep.init(config={"rows": 2})
assert "--extra" not in sys.argv or os.environ["GREETING"] == "hello"
for step in range(run.config.rows):
    run.log({"loss": run.config.x / (step + 1), "draw": random.Random(run.seed).random()})
print("x is", run.config.x, "hash seed", os.environ["PYTHONHASHSEED"])
sys.exit(3 if "--extra" in sys.argv else 0)
"""


@pytest.fixture
def done(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project in which a sweep of three runs is done."""
    project.work_off(SPEC, TRAIN)
    monkeypatch.chdir(project.folder)
    monkeypatch.delenv("SWEEP_STORE", raising=False)
    return project


def rows(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line)["m"] for line in (folder / "rows.jsonl").read_text().splitlines()]


def test_what_agents_recorded_as_data(done: Project) -> None:
    loaded = sweep.load()
    history = loaded.history()
    assert history["loss"].tolist() == [1.0, 0.5, 2.0, 1.0, 3.0, 1.5]
    assert history["step"].tolist() == [0, 1] * 3
    assert loaded.runs["objective"].tolist() == [0.5, 1.0, 1.5]
    assert loaded.runs["defaults.rows"].tolist() == [2, 2, 2]
    assert loaded.best is not None and loaded.best["config"] == {"unit": "m", "x": 1}
    done.sweep("runs", "latest", "--history", "-o", "all.parquet")
    import pyarrow.parquet as pq

    assert pq.read_table(done.folder / "all.parquet")["loss"].to_pylist() == history["loss"].tolist()


def test_two_sweeps_side_by_side(done: Project) -> None:
    done.write("train.py", TRAIN.replace('rows": 2', 'rows": 3'))
    done.sweep("run", "sweep.yaml")
    first, second = (record["id"] for record in done.json("ls"))
    found = done.json("compare", f"{first}-0", f"{second}-0")
    assert found["sections"]["config"] == {"rows": {"values": [2, 3], "same": False}}
    assert found["sections"]["files"].keys() == {"train.py"}
    assert "packages" not in found["sections"] and found["same"]["packages"] > 5
    text = done.sweep("compare", "best", f"{first}-0..2")
    assert text.splitlines()[0].split() == [f"{second}-0", f"{first}-0", f"{first}-1", f"{first}-2"]
    assert "train.py" in text


def test_the_best_run_by_its_command_line(done: Project) -> None:
    line = done.sweep("best", "latest", "--command").strip()
    for _ in range(2):  # with the run's folder, and without it
        said = subprocess.run(
            ["/bin/sh", "-c", line],
            cwd="/",
            env=done.env,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        assert said.stdout.startswith("x is 1 hash seed")
        shutil.rmtree(done.folder / ".sweep" / "runs", ignore_errors=True)
        line = done.sweep("best", "latest", "--command").strip()
    local = sorted(path for path in (done.folder / ".sweep" / "local").iterdir() if path.is_dir())
    recorded = sweep.load().history(0)
    assert len(local) == 2
    for folder in local:
        assert [row["loss"] for row in rows(folder)] == recorded["loss"].tolist()
        assert [row["draw"] for row in rows(folder)] == recorded["draw"].tolist(), "the same seed"
    parts = done.json("best", "latest", "--command")
    assert parts["cwd"] == str(done.folder) and parts["env"]["GREETING"] == "hello"
    assert done.status().counts == {"completed": 3}, "the recorded sweep knows nothing of it"


def test_rerun(done: Project) -> None:
    before = sweep.load().rows()
    said = done.run("rerun", "latest-1")
    assert said.returncode == 0
    assert said.stdout.startswith("x is 2 hash seed"), "its output is on the terminal"
    assert "the code is as it was when the sweep was created" in said.stderr
    assert "its loss is 1; the recorded run had 1\n" in said.stderr
    (folder,) = (done.folder / ".sweep" / "local").iterdir()
    assert f"2 rows of it: {folder / 'rows.jsonl'}" in said.stderr
    assert [row["loss"] for row in rows(folder)] == [2.0, 1.0]
    assert json.loads((folder / "given-config.json").read_text()) == {"unit": "m", "x": 2}
    assert sweep.load().rows() == before


def test_rerun_with_more_arguments_and_other_code(done: Project) -> None:
    done.write("train.py", TRAIN + "\n# changed\n")
    done.write("more.py", "")
    said = done.run("rerun", "best", "--", "--extra", "1")
    assert said.returncode == 3, "the program's own exit code"
    assert (
        "the code is not what it was when the sweep was created (changed: train.py; new: more.py)"
        in said.stderr
    )
    done.write("train.py", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    said = done.run("rerun", "best")
    assert said.returncode == 128 + signal.SIGKILL
    assert "it logged no rows" in said.stderr


def test_rerun_hands_signals_on(done: Project) -> None:
    done.write(
        "train.py",
        "import time, sweep\nsweep.init().log({'loss': 1})\nprint('up', flush=True)\ntime.sleep(600)",
    )
    process = subprocess.Popen(
        [*PYTHON, "rerun", "latest-0"],
        cwd=done.folder,
        env=done.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None and process.stdout.readline() == b"up\n"
    process.terminate()
    assert process.wait(60) == 128 + signal.SIGTERM
    process.stdout.close()
    assert process.stderr is not None and b"1 row of it" in process.stderr.read()
    process.stderr.close()


def test_rerun_of_a_shell_script(project: Project) -> None:
    source = Path(__file__).parents[2] / "sweeps" / "shell"
    for file in source.iterdir():
        if file.is_file():
            shutil.copy(file, project.folder)
    project.sweep("run", "sweep.yaml", "--slots", "2")
    found = project.run("rerun", "latest-0")
    assert found.returncode == 0, found.stderr
    (folder,) = (project.folder / ".sweep" / "local").iterdir()
    assert [row["loss"] for row in rows(folder)] == [project.runs()[0]["objective"]]


def test_mistakes(done: Project) -> None:
    assert "has no run 9" in done.mistake("rerun", "latest-9")
    assert "at least two" in done.mistake("compare", "best")
    assert "there is no sweep" in done.mistake("best", "zzz", "--command")
    shutil.move(done.folder / "train.py", done.folder / "gone.py")
    said = done.run("rerun", "latest-0")
    assert said.returncode == 2 and "No such file" in said.stderr, "Python's own words and exit code"
    assert "gone: train.py" in said.stderr


def test_rerun_where_the_run_cannot_be_repeated(done: Project) -> None:
    folder = done.folder / "\u00e9"
    folder.mkdir()
    for name in ("train.py", "sweep.yaml"):
        shutil.copy(done.folder / name, folder)
    done.sweep("run", str(folder / "sweep.yaml"))
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    assert "means nothing in this locale; export LC_ALL=C.UTF-8" in done.mistake("rerun", "best", **plain)
    shutil.rmtree(folder)
    again = done.run("rerun", "best")
    assert again.returncode == 0, again.stderr
    assert f", in {done.folder}\n" in again.stderr, (
        "a checkout of the same code takes the place of a folder that is gone"
    )


def test_a_secret_is_asked_for(project: Project) -> None:
    spec = SPEC.replace("GREETING: hello", "GREETING: '${envvar:WORD}'").replace("[1, 2, 3]", "[1]")
    project.work_off(spec, TRAIN, WORD="hello")
    line = project.sweep("best", "latest", "--command")
    assert 'GREETING="${WORD:?}"' in line and "hello" not in line
    assert "WORD, which is not set here" in project.mistake("rerun", "best")
    assert project.run("rerun", "best", WORD="hello").returncode == 0


def test_the_schema_and_the_doctor_of_a_project(done: Project) -> None:
    schema = json.loads(done.sweep("schema"))
    assert "method" in schema["properties"]
    found = json.loads(done.sweep("doctor", "--json"))
    assert found["counts"]["broken"] == 0, found
    assert sys.executable in done.sweep("doctor")
