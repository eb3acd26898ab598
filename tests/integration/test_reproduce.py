"""`sweep reproduce` on recorded runs after real changes, each with its right verdict."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.integration.conftest import Project

SPEC = """
program: train.py
method: grid
seed: 7
metric: {name: loss, goal: minimize}
parameters:
  x: {values: [1, 2]}
"""
TRAIN = """
import pathlib, random, sweep
from helper import scale
run = sweep.init()
noise = random.Random(run.seed)
bias = len(pathlib.Path("weights.bin").read_bytes())
for step in range(6):
    run.log({"loss": scale * run.config.x / (step + 1) + noise.random(), "bias": bias})
"""


def git(folder: Path, *arguments: str) -> None:
    who = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def done(project: Project) -> Project:
    """A finished sweep whose code is partly committed, partly changed since, partly untracked, and partly binary."""
    project.write("train.py", "never = 'run'\n")
    (project.folder / "weights.bin").write_bytes(b"\0\1\2\xff" * 10)
    git(project.folder, "init", "-q")
    git(project.folder, "add", "-A")
    git(project.folder, "commit", "-qm", "first")
    project.write("helper.py", "scale = 3.0\n")
    (project.folder / "weights.bin").write_bytes(b"\xfe\0" * 33)
    project.work_off(SPEC, TRAIN)
    return project


def verdict(project: Project, *arguments: str, code: int, **env: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(project.sweep("reproduce", *arguments, "--json", code=code, **env))
    return found


def state_of(found: dict[str, Any], what: str) -> str:
    return next(str(check["state"]) for check in found["preflight"] if check["what"] == what)


def elsewhere(project: Project, run: str) -> str:
    """The verdict on a run in another store, into which its sweep was brought."""
    sweep, other = run.rpartition("-")[0], str(project.folder / "other.db")
    project.sweep("export", sweep, "--out", "export.jsonl")
    project.sweep("import", "export.jsonl", "--store", other)
    return str(verdict(project, run, "--store", other, code=0)["verdict"])


def waits(x: int, factor: object, more: str = "") -> str:
    """A program whose run with this `x` waits, once it has logged, until `work_and_edit` has edited what it edits."""
    return f"""
import pathlib, sweep, time
{more}
run = sweep.init()
run.log({{"loss": {factor} * run.config.x}})
if run.config.x == {x}:
    pathlib.Path("at-work").touch()
    while not pathlib.Path("go-on").exists():
        time.sleep(0.02)
open("results.csv", "a").write("a line")
"""


def work_and_edit(project: Project, sweep: str, name: str, text: str) -> str:
    """Work the sweep off, with another text for a file while the program of `waits` waits; what the agent said."""
    agent = project.agent(sweep, "--slots", "1")
    project.wait_for((project.folder / "at-work").exists)
    project.write(name, text)
    (project.folder / "go-on").touch()
    return project.wait_end(agent)


def test_nothing_has_changed(done: Project) -> None:
    found = verdict(done, "latest-1", code=0)
    assert (found["verdict"], found["compared"], found["identical"]) == ("identical", 12, 12)
    assert found["first_difference"] is None
    assert [(metric["name"], metric["compared"]) for metric in found["metrics"]] == [("loss", 6), ("bias", 6)]
    assert {check["state"] for check in found["preflight"]} <= {"same", "restored"}
    then, now = found["usage"]["recorded"], found["usage"]["again"]
    assert then["cpu_s"] == done.json("show", "latest-1")["usage"]["cpu_s"] > 0
    assert now["cpu_s"] > 0 and now["wall_s"] > 0
    assert then["gpu_energy_j"] is None and now["gpu_energy_j"] is None, "never zero"
    [again] = done.json("show", "latest-1")["reproduced"]
    assert (again["verdict"], again["report"]["compared"]) == ("identical", 12)
    assert "again     identical" in done.sweep("show", "latest-1")
    assert done.status().counts == {"completed": 2}


def test_everything_in_the_checkout_has_changed(done: Project) -> None:
    """An edited file, another helper that git does not know, another binary file: what was recorded is what is executed."""
    done.write("train.py", TRAIN.replace("range(6)", "range(5)"))
    done.write("helper.py", "scale = 4.0\n")
    (done.folder / "weights.bin").write_bytes(b"\0")
    before = {path.name: path.read_bytes() for path in done.folder.iterdir() if path.is_file()}
    assert verdict(done, "latest-0", code=0)["verdict"] == "identical"
    assert {path.name: path.read_bytes() for path in done.folder.iterdir() if path.is_file()} == before
    (done.folder / "helper.py").unlink()
    assert verdict(done, "latest-0", code=0)["verdict"] == "identical"
    assert not list(done.folder.glob(".sweep/local/*/code")), "the worktrees are gone"


def test_code_that_was_edited_after_the_sweep_was_created(project: Project) -> None:
    """What an agent finds in the folder is what it runs, so that is recorded, and told apart from what others ran."""
    project.write("sweep.yaml", SPEC.replace("[1, 2]", "[1, 2, 3]"))
    project.write("train.py", "import sweep\nrun = sweep.init()\nrun.log({'loss': run.config.x})\n")
    sweep = project.create()
    project.sweep("agent", sweep, "--count", "1")
    project.write("train.py", "import sweep\nrun = sweep.init()\nrun.log({'loss': 10 * run.config.x})\n")
    project.write("new.py", "added = True\n")
    said = project.run("agent", sweep, "--count", "1").stderr
    assert "has changed since the sweep was created (changed: train.py; new: new.py)" in said
    project.write("train.py", "import sweep\nsweep.init().log({'loss': 'never executed'})\n")
    shown = [project.json("show", f"{sweep}-{run}") for run in (0, 1)]
    assert shown[0]["code"]["tree"] != shown[1]["code"]["tree"]
    assert [one["reproducible"]["grade"] for one in shown] == ["reproducible"] * 2
    assert [verdict(project, f"{sweep}-{run}", code=0)["verdict"] for run in (0, 1)] == ["identical"] * 2
    differs = project.json("diff", f"{sweep}-0", f"{sweep}-1")
    assert {file["path"]: file["change"] for file in differs["files"]} == {
        "new.py": "added",
        "train.py": "changed",
    }
    project.sweep("gc", "--yes")
    assert elsewhere(project, f"{sweep}-1") == "identical", "the code of an agent goes along"


def test_code_that_is_edited_while_an_agent_works(project: Project) -> None:
    """Runs that start afterwards execute, and record, the code as it is then; of the one at work it is said that nobody can tell."""
    project.write("sweep.yaml", SPEC.replace("[1, 2]", "[1, 2, 3, 4]"))
    project.write("train.py", waits(2, 1))
    sweep = project.create()
    work_and_edit(project, sweep, "train.py", waits(2, 10))
    shown = [project.json("show", f"{sweep}-{run}") for run in range(4)]
    assert [one["objective"] for one in shown] == [1, 2, 30, 40]
    trees = [one["code"]["tree"] for one in shown]
    assert trees[0] == trees[1] != trees[2] == trees[3]
    assert [one["reproducible"]["grade"] for one in shown] == [
        "reproducible",
        "partly",
        *["reproducible"] * 2,
    ]
    [lacks] = shown[1]["reproducible"]["lacks"]
    assert "before or after they were changed, while it ran: train.py" in lacks
    files = project.json("diff", f"{sweep}-1", f"{sweep}-2")["files"]
    assert [file["path"] for file in files] == ["train.py"]
    project.write("train.py", "import sweep\nsweep.init().log({'loss': 'never executed'})\n")
    project.sweep("gc", "--yes")
    assert verdict(project, f"{sweep}-3", code=0)["verdict"] == "identical"
    assert elsewhere(project, f"{sweep}-2") == "identical", "the code goes along"


def test_a_preloaded_module_that_is_edited_is_imported_anew(project: Project) -> None:
    project.write("sweep.yaml", SPEC.replace("[1, 2]", "[1, 2, 3]") + "preload: [helper]\n")
    project.write("train.py", waits(1, "factor", "from helper import factor"))
    project.write("helper.py", "factor = 1\n")
    work_and_edit(project, project.create(), "helper.py", "factor = 10\n")
    assert [run["objective"] for run in project.runs()] == [1, 20, 30]


def test_with_code_snapshot_an_edit_reaches_no_run_that_starts_later(project: Project) -> None:
    project.write("sweep.yaml", SPEC.replace("[1, 2]", "[1, 2, 3]") + "code: snapshot\n")
    project.write("train.py", waits(1, 1))
    sweep = project.create()
    said = work_and_edit(project, sweep, "train.py", waits(1, 10))
    assert "is not the recorded one (changed: train.py); runs use the recorded code" in said
    shown = [project.json("show", f"{sweep}-{run}") for run in range(3)]
    assert [one["objective"] for one in shown] == [1, 2, 3]
    assert len({one["code"]["tree"] for one in shown}) == 1
    assert [one["reproducible"]["grade"] for one in shown] == ["partly", "reproducible", "reproducible"]
    assert verdict(project, f"{sweep}-2", code=0)["verdict"] == "identical"


def test_the_commit_is_not_here_any_more(done: Project) -> None:
    shutil.rmtree(done.folder / ".git")
    found = verdict(done, "latest-0", code=0)
    assert (found["verdict"], state_of(found, "commit")) == ("identical", "restored")


def test_another_seed_is_a_control_and_not_recorded(done: Project) -> None:
    found = verdict(done, "latest-0", "--seed", "8", code=12)
    assert (found["verdict"], found["identical"]) == ("different", 6), (
        "what does not depend on it is the same"
    )
    assert found["first_difference"]["metric"] == "loss" and found["first_difference"]["step"] == 0
    assert done.json("show", "latest-0")["reproduced"] == []


def test_some_steps_only_and_a_sample(done: Project) -> None:
    assert verdict(done, "latest-0", "--steps", "2", code=0)["compared"] == 6
    said = done.sweep("reproduce", "latest", "--sample", "5")
    assert said.splitlines()[-1] == "2 of 2 runs identical; 24 values compared"
    assert done.json("show", "latest-1")["reproduced"][0]["verdict"] == "identical"


def test_the_code_is_damaged(done: Project) -> None:
    found = done.json("show", "latest-0")["code"]["tree"]
    import sqlite3

    with sqlite3.connect(done.folder / ".sweep" / "store.db") as store:
        tables = [name for (name,) in store.execute("select name from sqlite_master where type = 'table'")]
        [table] = [name for name in tables if name == "blob"]
        store.execute(f"delete from {table} where digest = ?", (found,))
    result = verdict(done, "latest-0", code=14)
    assert (result["verdict"], state_of(result, "code")) == ("unreproducible", "missing")


NOISE = """
import random, sweep
run = sweep.init()
run.log({"loss": random.SystemRandom().random(), "fixed": run.config.x})
"""


def test_noise_that_nobody_seeded(project: Project) -> None:
    project.work_off(SPEC, NOISE)
    found = verdict(project, "latest-0", code=12)
    assert (found["verdict"], found["first_difference"]["metric"]) == ("different", "loss")
    assert verdict(project, "latest-0", "--ignore", "loss", code=0)["verdict"] == "identical"
    calibrated = verdict(project, "latest-0", "--calibrate", "40", code=10)
    assert calibrated["verdict"] == "within tolerance"
    assert calibrated["calibrated"]["fixed"] == 0 < calibrated["calibrated"]["loss"]


def test_noise_within_what_seeds_do_and_chance_left_alone(project: Project) -> None:
    project.work_off(
        SPEC.replace("x: {values: [1, 2]}", "x: {value: 1}") + "replicates: 8\n",
        """
import os, random, sweep
run = sweep.init()
run.log({"loss": random.Random(run.seed).random() if "SWEEP_AGENT" in os.environ else 0.5})
""",
    )
    assert verdict(project, "latest-0", code=11)["verdict"] == "within seed noise"
    project.work_off(SPEC + "determinism: 'off'\n", NOISE)
    assert verdict(project, "latest-0", code=13)["verdict"] == "inconclusive"


def test_a_run_that_was_pruned_ends_where_it_was_pruned(project: Project) -> None:
    runs = project.work_off(
        SPEC.replace("[1, 2]", "[1, 2, 3, 4, 5, 6]") + "early_terminate: {type: hyperband, min_iter: 3}\n",
        """
import time, sweep
run = sweep.init()
for step in range(400):
    run.log({"loss": run.config.x + 1 / (step + 1)})
    time.sleep(0.02)
""",
        "--slots",
        "2",
    )
    [pruned, *_] = [run for run in runs if run["state"] == "pruned"]
    rows = project.json("show", pruned["id"])["history_rows"]
    assert 3 <= rows < 400
    found = verdict(project, pruned["id"], code=0)
    assert (found["verdict"], found["compared"]) == ("identical", rows)


def test_a_run_that_was_resumed_is_executed_in_one_go(project: Project) -> None:
    project.write("sweep.yaml", SPEC + "retry: {max: 1}\n")
    project.write(
        "train.py",
        """
import json, os, pathlib, random, sweep
run = sweep.init()
kept = pathlib.Path(run.checkpoint_dir, "at.json") if run.checkpoint_dir else None
begin = json.loads(kept.read_text()) if kept and kept.exists() else 0
for step in range(begin, 8):
    run.log({"loss": random.Random(f"{run.seed} {step}").random()}, step=step)
    if kept:
        kept.write_text(json.dumps(step + 1))
    if step == 4 and not begin and os.environ.get("SWEEP_ATTEMPT") == "1":
        os._exit(1)
""",
    )
    sweep = project.create()
    project.sweep("agent", sweep)
    assert [len(run["attempts"]) for run in project.runs(sweep)] == [2, 2]
    found = verdict(project, f"{sweep}-0", code=0)
    assert (found["verdict"], found["compared"]) == ("identical", 8)


def test_a_failure_is_reproduced_and_another_end_is_not_taken_for_it(project: Project) -> None:
    project.work_off(
        SPEC + "retry: {max: 0}\n",
        "import sweep, sys\nsweep.init().log({'loss': 1})\nsys.exit(5)\n",
        code=3,
    )
    found = verdict(project, "latest-0", code=0)
    assert (found["verdict"], found["exit_code"]) == ("identical", {"recorded": 5, "again": 5})
    project.work_off(
        SPEC,
        "import os, sweep, sys\nsweep.init().log({'loss': 1})\nsys.exit(0 if 'SWEEP_ATTEMPT' in os.environ else 3)\n",
    )
    found = verdict(project, "latest-0", code=12)
    assert (found["verdict"], found["exit_code"]) == ("different", {"recorded": 0, "again": 3})


def test_what_is_missing_is_named(project: Project) -> None:
    project.write("data/table.csv", "1,2,3\n")
    project.write(".gitignore", "data\n.sweep\n")
    git(project.folder, "init", "-q")
    project.write("sweep.yaml", SPEC + "env: {TOKEN: '${envvar:THE_TOKEN}'}\nlinks: [data]\n")
    project.write(
        "train.py",
        "import os, sweep\nassert os.environ['TOKEN'] == 'tea'\nsweep.init().log({'loss': len(open('data/table.csv').read())})\n",
    )
    sweep = project.create()
    project.sweep("agent", sweep, THE_TOKEN="tea")
    found = verdict(project, f"{sweep}-0", code=14)
    assert found["verdict"] == "unreproducible" and "$THE_TOKEN" in found["reason"]
    assert verdict(project, f"{sweep}-0", code=0, THE_TOKEN="tea")["verdict"] == "identical"
    (project.folder / "data").rename(project.folder / "elsewhere")
    found = verdict(project, f"{sweep}-0", code=14, THE_TOKEN="tea")
    assert "--link data=PATH" in found["reason"]
    link = f"data={project.folder / 'elsewhere'}"
    assert verdict(project, f"{sweep}-0", "--link", link, code=0, THE_TOKEN="tea")["verdict"] == "identical"
    project.write("elsewhere/table.csv", "1,2,3,4\n")
    changed = verdict(project, f"{sweep}-0", "--link", link, code=12, THE_TOKEN="tea")
    assert changed["first_difference"]["again"] == 8 and state_of(changed, "data") == "unknown"
    assert "tea" not in json.dumps([found, changed])
    assert not list(project.folder.glob(".sweep/local/*/code")), "also of what could not be executed"


def test_what_stands_in_the_summary_alone_is_compared(project: Project) -> None:
    """Such as a test score at the end, also of a program that logs no rows."""
    chance = "random.SystemRandom().random()"
    text = "import random, sweep\nrun = sweep.init()\nrun.log({'loss': 1})\nrun.log({'loss': 2})\nrun.summary['test'] = SCORE\nrun.summary['loss'] = 0.5\n"
    project.work_off(SPEC, text.replace("SCORE", "random.random()"))
    found = verdict(project, "latest-0", code=0)
    assert (found["compared"], [one["name"] for one in found["metrics"]]) == (3, ["loss", "test"])
    assert verdict(project, "latest-0", "--steps", "0", code=0)["compared"] == 1, "ended before"
    project.work_off(SPEC, text.replace("SCORE", chance))
    found = verdict(project, "latest-0", code=12)
    assert (found["first_difference"]["metric"], found["first_difference"]["step"]) == ("test", None)
    assert "first difference: test in the summary: " in project.run("reproduce", "latest-0").stdout
    project.work_off(SPEC, "import sweep\nsweep.init().summary['loss'] = 0.5\n")
    assert verdict(project, "latest-0", code=0)["compared"] == 1


def test_a_file_that_was_too_large_for_the_record(project: Project) -> None:
    (project.folder / "big.bin").write_bytes(os.urandom(5_000_001))
    project.work_off(SPEC, "import sweep\nsweep.init().log({'loss': open('big.bin', 'rb').read()[0]})\n")
    found = verdict(project, "latest-0", code=0)
    assert (found["verdict"], state_of(found, "big.bin")) == ("identical", "same")
    (project.folder / "big.bin").write_bytes(os.urandom(5_000_001))
    found = verdict(project, "latest-0", code=14)
    assert found["verdict"] == "unreproducible" and "big.bin: changed" in found["reason"]


def test_nothing_was_logged(project: Project) -> None:
    project.work_off("program: train.py\nmethod: grid\nparameters: {x: {value: 1}}\n", "print('quiet')\n")
    assert verdict(project, "latest-0", code=13)["verdict"] == "inconclusive"


def test_mistakes(done: Project) -> None:
    assert "has no run 9" in done.mistake("reproduce", "latest-9")
    assert "NAME=PATH" in done.mistake("reproduce", "latest-0", "--link", "data")
    assert "there is no" in done.mistake("reproduce", "latest-0", "--link", "data=/nowhere")
    done.write("sweep.yaml", SPEC)
    sweep = done.create()
    assert "has no run that completed" in done.mistake("reproduce", sweep, "--sample", "1")


def test_ctrl_c_ends_the_program(done: Project) -> None:
    done.work_off(
        SPEC,
        "import time, sweep\nrun = sweep.init()\nrun.log({'loss': 1})\ntime.sleep('SWEEP_AGENT' not in __import__('os').environ and 600)\n",
    )
    process = done.start("reproduce", "latest-0")
    done.wait_for(lambda: list(done.folder.glob(".sweep/local/*-again-*/again/rows.jsonl")))
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    place = f"{done.folder}/.sweep/local/".encode()
    left = [
        path
        for path in Path("/proc").glob("[0-9]*/environ")
        if _reads(path).find(b"SWEEP_LOCAL_DIR=" + place) >= 0
    ]
    assert left == []
    assert done.json("show", "latest-0")["reproduced"] == []


def _reads(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


@pytest.mark.slow
def test_another_version_of_a_package_and_the_environment_built_again(project: Project) -> None:
    """The runs' Python is an environment with one package, which is another version afterwards."""
    uv = [sys.executable, "-m", "uv"]
    place = project.folder / "theirs"
    subprocess.run([*uv, "venv", "-q", "--python", sys.executable, str(place)], check=True)
    python = place / "bin" / "python"
    install = [*uv, "pip", "install", "-q", "--python", str(python)]
    subprocess.run([*install, "attrs==24.2.0"], check=True)
    project.write(".gitignore", "theirs\n.sweep\n")
    git(project.folder, "init", "-q")
    project.work_off(
        SPEC + f"command: ['{python}', '${{program}}', '${{args}}']\n",
        "import importlib.metadata as m, sweep\nsweep.init().log({'loss': float(m.version('attrs').split('.')[0])})\n",
    )
    assert verdict(project, "latest-0", code=0)["verdict"] == "identical"
    subprocess.run([*install, "attrs==25.1.0"], check=True)
    found = verdict(project, "latest-0", code=13)
    assert (found["verdict"], state_of(found, "packages")) == ("inconclusive", "changed")
    assert (found["first_difference"]["recorded"], found["first_difference"]["again"]) == (24, 25)
    found = verdict(project, "latest-0", "--env", "rebuild", code=0)
    assert (found["verdict"], state_of(found, "packages")) == ("identical", "same")
    assert "environments" in found["python"]
    said = project.run("reproduce", "latest-0", "--env", "rebuild")
    assert "building" not in said.stderr, "it is kept"
