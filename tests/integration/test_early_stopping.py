"""Rules that end runs early, from the training program's own words to what a recorded sweep tells of them."""

from __future__ import annotations

import pytest

from tests.integration.conftest import Project

HEAD = "method: grid\nprogram: train.py\nmetric: {name: loss}\nseed: 1\n"
TRAIN = """\
import os, time, sweep
run = sweep.init()
x = run.config.x
if x == 9:
    while len(os.listdir("done")) < 4:
        time.sleep(0.02)
run.log({"other": 1})
for epoch in range(0, 6, 2):
    run.log({"epoch": epoch})
    run.log({"loss": x + 1 / (epoch + 1)})
if x == 9:
    for epoch in range(6, 2000, 2):
        time.sleep(0.05)
        run.log({"epoch": epoch, "loss": x + 1 / (epoch + 1)})
open(f"done/{x}", "w").close()
"""


def test_a_rule_goes_by_a_metric_and_its_curves_can_be_replayed(project: Project) -> None:
    (project.folder / "done").mkdir()
    rule = "early_terminate: {type: asha, step: metric:epoch, min_iter: 4, min_runs: 5}\n"
    runs = project.work_off(
        HEAD + "parameters: {x: {values: [0, 1, 2, 3, 9]}}\n" + rule, TRAIN, "--slots", "2"
    )
    *good, poor = runs
    assert [run["state"] for run in good] == ["completed"] * 4
    assert poor["state"] == "pruned"
    assert poor["reason"].startswith("epoch "), "its epochs begin at 0, and are counted from 1"
    assert "best loss 9." in poor["reason"]
    assert poor["steps"] < 500
    found = project.json("simulate", "sweep.yaml", "--like", "latest", "--slots", "2", "--replays", "2")
    assert (found["runs"], found["left_out"]) == (4, 1)
    assert found["rules"][0]["from_file"] is True
    said = project.sweep("simulate", "sweep.yaml", "--like", "latest", "--replays", "2")
    assert "1 left out, which ended early or have no value" in said


@pytest.mark.parametrize("like", ["nothing", "none.csv"])
def test_what_cannot_be_replayed_is_told(project: Project, like: str) -> None:
    project.write("sweep.yaml", HEAD + "parameters: {x: {values: [0]}}\n")
    project.write("train.py", "")
    project.create()
    assert project.mistake("simulate", "sweep.yaml", "--like", like).startswith("sweep: ")
