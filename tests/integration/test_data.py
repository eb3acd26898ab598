"""Data that runs read: recorded, looked at again at the end, and verified before a run is executed again."""

from __future__ import annotations

import csv
import time
from typing import Any

import pytest
from blake3 import blake3

from sweep.provenance.data import FRESH_S
from tests.integration.conftest import Project
from tests.integration.test_reproduce import git, state_of, verdict

SPEC = """
program: train.py
method: grid
seed: 7
metric: {name: loss, goal: minimize}
inputs: [data]
parameters:
  x: {values: [1]}
"""
TRAIN = """
import sweep
run = sweep.init()
with open(run.use("data/train.csv")) as file:
    text = file.read()
for step in range(3):
    run.log({"loss": sum(map(ord, text)) / (step + 1)})
"""


@pytest.fixture
def with_data(project: Project) -> Project:
    project.write("data/train.csv", "1,2\n")
    project.write("data/more.csv", "3,4\n")
    project.write(".gitignore", "data\n.sweep\n")
    git(project.folder, "init", "-q")
    return project


def data_of(found: dict[str, Any]) -> dict[str, Any]:
    return {one["path"]: one for one in found["data"]}


def test_what_runs_read_is_recorded_and_verified(with_data: Project) -> None:
    with_data.work_off(SPEC, TRAIN)
    shown = with_data.json("show", "latest-0")
    found = data_of(shown)
    assert sorted(found) == ["data", "data/train.csv"]
    assert found["data/train.csv"]["digest"] == blake3(b"1,2\n").hexdigest()
    assert (found["data"]["files"], found["data"]["size"], found["data"]["changed"]) == (2, 8, False)
    assert shown["reproducible"] == {"grade": "reproducible", "lacks": []}

    same = verdict(with_data, "latest-0", code=0)
    assert (state_of(same, "data"), state_of(same, "data/train.csv")) == ("same", "same")

    with_data.write("data/more.csv", "5,6\n")  # changed, and no value depends on it
    other = verdict(with_data, "latest-0", code=0)
    assert (other["verdict"], state_of(other, "data"), state_of(other, "data/train.csv")) == (
        "identical",
        "changed",
        "same",
    )

    [here] = [check["here"] for check in other["preflight"] if check["what"] == "data"]
    assert here.endswith(": more.csv is another one")

    with_data.write("data/train.csv", "9,9\n")
    changed = verdict(with_data, "latest-0", code=13)
    assert (changed["verdict"], state_of(changed, "data/train.csv")) == ("inconclusive", "changed")

    (with_data.folder / "data").rename(with_data.folder / "moved")
    gone = verdict(with_data, "latest-0", code=14)
    assert (gone["verdict"], state_of(gone, "data/train.csv")) == ("unreproducible", "missing")


TOUCHING = """
if run.config.x == 2:
    open("own.csv", "w").close()
    open(run.use("own.csv"), "w").write("1")
"""


def test_runs_are_listed_with_their_grades(with_data: Project) -> None:
    with_data.work_off(SPEC.replace("[1]", "[1, 2]"), TRAIN + TOUCHING)
    for row, expected in zip(
        with_data.json("runs", "latest", "--grade"), ("reproducible", "partly"), strict=True
    ):
        assert row["reproducible"] == with_data.json("show", row["id"])["reproducible"]
        assert row["reproducible"]["grade"] == expected
    head, first, second = with_data.sweep("runs", "latest", "--grade").splitlines()
    assert [line.split()[-1] for line in (head, first, second)] == ["GRADE", "reproducible", "partly"]
    lines = csv.DictReader(with_data.sweep("runs", "latest", "--grade", "--format", "csv").splitlines())
    assert [(line["reproducible.grade"], line["reproducible.lacks"]) for line in lines] == [
        ("reproducible", "[]"),
        ("partly", '["data that changed while it ran: own.csv"]'),
    ]
    done = with_data.run("runs", "latest", "--grade", "--history")
    assert done.returncode == 2 and "--grade goes with" in done.stderr


def test_data_that_changes_while_a_run_reads_it_taints_the_run(with_data: Project) -> None:
    with_data.work_off(SPEC, TRAIN + "open('data/train.csv', 'a').write('5,6')\n")
    shown = with_data.json("show", "latest-0")
    assert {path: one["changed"] for path, one in data_of(shown).items()} == {
        "data": True,
        "data/train.csv": True,
    }
    assert shown["reproducible"]["grade"] == "partly"
    assert "tainted" in with_data.sweep("show", "latest-0")
    assert "data changed while these ran" in with_data.sweep("status", "latest")


def test_what_a_tainted_run_read_nobody_can_tell(with_data: Project) -> None:
    """Its data was put back as it was: nothing else differs, and yet that values do says nothing."""
    mischief = "open('data/train.csv', 'w').write('7,8'); text = open('data/train.csv').read()\n"
    once = "import os, time\nif 'SWEEP_AGENT' in os.environ: time.sleep(1); " + mischief
    with_data.work_off(SPEC, TRAIN.replace("for step", once + "for step"))
    with_data.write("data/train.csv", "1,2\n")
    found = verdict(with_data, "latest-0", code=13)
    assert found["verdict"] == "inconclusive"
    late = (
        "data/train.csv" in found["reason"]
    )  # the agent looked only after the mischief: what is recorded is not here, either
    assert late or "data changed while it ran" in found["reason"]


def test_data_that_is_written_to_between_two_runs_is_what_the_second_one_read(with_data: Project) -> None:
    """It is not looked at when the second one begins: the look at its end shows what it read."""
    time.sleep(FRESH_S + 0.1)  # data that is left alone so long can be looked at cheaply
    spec = SPEC.replace("[1]", "[1, 2]")
    with_data.write("train.py", TRAIN.replace('run.use("data/train.csv")', '"data/train.csv"'))
    with_data.write("sweep.yaml", spec)
    sweep = with_data.create()
    with_data.sweep("agent", sweep, "--count", "1")
    with_data.write("data/train.csv", "5,6\n")
    with_data.sweep("agent", sweep)
    shown = [with_data.json("show", f"latest-{number}") for number in (0, 1)]
    first, second = (data_of(one)["data"] for one in shown)
    assert [len(one["data"]) for one in shown] == [1, 1]
    assert (first["changed"], second["changed"]) == (False, False)
    assert first["digest"] != second["digest"]
    assert verdict(with_data, "latest-1", code=0)["verdict"] == "identical"
    assert state_of(verdict(with_data, "latest-0", code=13), "data") == "changed"


def test_an_input_that_is_not_there(with_data: Project) -> None:
    with_data.write("train.py", "import sweep\nsweep.init().log({'loss': 1.0})\n")
    with_data.write("sweep.yaml", SPEC.replace("[data]", "[nowhere.csv]"))
    said = with_data.run("create", "sweep.yaml").stderr
    assert "not there, although `inputs` says that runs read it: nowhere.csv" in said
    with_data.sweep("agent", "latest")
    shown = with_data.json("show", "latest-0")
    assert "No such file" in data_of(shown)["nowhere.csv"]["problem"]
    assert shown["reproducible"]["lacks"] == ["data that could not be read: nowhere.csv"]


def test_mistakes_in_the_spec(with_data: Project) -> None:
    with_data.write("train.py", "")
    for inputs, words in (
        ("['s3://bucket/x']", "is an address"),
        ("[data, data]", "is named twice"),
        ("['']", "inputs"),
    ):
        with_data.write("sweep.yaml", SPEC.replace("[data]", inputs))
        done = with_data.run("create", "sweep.yaml")
        assert done.returncode == 2 and words in done.stderr, done.stderr
