"""Confirming a result with the real command and real processes: once, later, killed in the middle, stopped, and what is shown."""

from __future__ import annotations

import os
import signal
from typing import Any

from tests.integration.conftest import DOOMED, Project

SPEC = """\
program: train.py
method: grid
seed: 5
metric: {name: loss}
report_metric: test_loss
parameters: {x: {values: [0.1, 0.2, 0.3, 0.4]}}
"""
# Noise that is a function of config and seed; waits, once it has logged, until the file `go` is there.
TRAIN = """
import random, time, sweep
from pathlib import Path
run = sweep.init()
noise = random.Random(f"{run.seed} {run.config.x}").gauss(0, 0.05)
run.log({"loss": run.config.x + noise, "test_loss": run.config.x + 1})
while Path("hold").exists():
    time.sleep(0.05)
"""


def confirmations(project: Project) -> list[dict[str, Any]]:
    return [run for run in project.runs() if run["purpose"] == "confirm"]


def test_the_best_are_confirmed_when_the_search_has_ended(project: Project) -> None:
    runs = project.work_off(SPEC + "confirm: {top: 2, seeds: 4}\n", TRAIN, "--slots", "2")
    fresh = [run for run in runs if run["purpose"] == "confirm"]
    assert len(runs) == 12 and len(fresh) == 8 and {run["state"] for run in runs} == {"completed"}
    assert {run["replicate"] for run in fresh} == {1, 2, 3, 4} and len({run["seed"] for run in fresh}) == 4
    assert not {run["seed"] for run in fresh} & {run["seed"] for run in runs if run["purpose"] == "search"}
    found = project.json("best", "latest")
    result = found["result"]
    assert (result["status"], result["chosen_by"], result["choose"], result["looks"]) == (
        "confirmed", "fresh seeds", 2, 1,
    )  # fmt: skip
    chosen = result["rows"][0]
    mean = sum(point["value"] for point in chosen["reporting"]) / 2
    assert abs(chosen["confirmed"]["mean"] - mean) < 1e-12 and chosen["confirmed"]["n"] == 2
    assert result["report"]["mean"] == 1 + chosen["config"]["x"]
    assert found["summary"]["test_loss"].startswith("held back") and found["summary"]["loss"] < 1
    said = project.sweep("best", "latest")
    for part in ("IN SEARCH", "ON FRESH SEEDS", "±", "n = 2 seeds", "No such test can", "looked at 1 time"):
        assert part in said, said
    assert "held back" in project.sweep("show", "latest-3")
    assert "ON FRESH SEEDS" in project.sweep("status", "latest")
    shown = project.sweep("show", fresh[0]["id"].rpartition("-")[0])
    assert "ON FRESH SEEDS" in shown and "looked at 3 times" in shown, "best, status and show"
    assert "looked at 3 times" in project.sweep("best", "latest"), (
        "the same figures by the same command: no new look"
    )
    assert project.status().looks == 3 and project.status().state == "ended"
    assert "x=" in project.sweep("runs", "latest", "--group")
    [first, *_] = project.json("runs", "latest", "--group")
    assert (first["trial"], len(first["values"])) == (0, 1)


def test_an_ended_sweep_is_confirmed_later_and_an_agent_that_is_killed_loses_nothing(
    project: Project,
) -> None:
    project.work_off(SPEC, TRAIN)
    assert "too good" in project.sweep("best", "latest")
    said = project.sweep("confirm", "latest", "--top", "2", "--seeds", "3")
    assert "6 runs are to be done; `sweep agent" in said
    view = project.status()
    assert (view.state, view.confirming) == ("active", True)
    assert "is confirming" in project.sweep("status", "latest") and "confirming" in project.sweep("ls")
    (project.folder / "hold").touch()
    agent = project.agent("latest", "--slots", "2", **DOOMED)
    project.wait_for(lambda: sum(run["state"] == "running" for run in confirmations(project)) == 2)
    os.kill(agent.pid, signal.SIGKILL)
    (project.folder / "hold").unlink()
    project.sweep("agent", "latest", "--slots", "2")
    fresh = confirmations(project)
    assert len(fresh) == 6 and {run["state"] for run in fresh} == {"completed"}
    assert all(sum(a["outcome"] == "completed" for a in run["attempts"]) == 1 for run in fresh)
    assert len(project.runs()) == 10, "the search did not go on"
    assert "all of it is done already" in project.sweep("confirm", "latest")
    assert project.json("confirm", "latest", "--seeds", "4")["open"] == 2
    assert project.json("confirm", "latest", "--seeds", "5")["open"] == 4, "those that are added later count"
    assert project.json("confirm", "latest", "--seeds", "4")["open"] == 2


def test_what_is_asked_while_the_search_goes_on_is_done_at_its_end(project: Project) -> None:
    project.write("sweep.yaml", SPEC)
    project.write("train.py", TRAIN)
    project.create()
    assert "done when its search has ended" in project.sweep(
        "confirm", "latest", "--top", "1", "--seeds", "2"
    )
    project.sweep("agent", "latest")
    assert len(confirmations(project)) == 2


def test_stopping_it_and_asking_again(project: Project) -> None:
    project.write("sweep.yaml", SPEC + "confirm: {top: 1, seeds: 3}\n")
    project.write("train.py", TRAIN.replace("while", "while run.seed >= 2**31 and"))
    project.create()
    (project.folder / "hold").touch()
    agent = project.agent("latest", "--slots", "1")
    project.wait_for(lambda: any(run["state"] == "running" for run in confirmations(project)))
    project.sweep("stop", "latest")
    (project.folder / "hold").unlink()
    project.wait_end(agent)
    assert sorted(run["state"] for run in confirmations(project)) == ["cancelled", "cancelled", "completed"]
    assert project.status().reason.startswith("stopped")
    project.sweep("confirm", "latest")
    project.sweep("agent", "latest")
    assert [run["state"] for run in confirmations(project)] == ["completed"] * 3


def test_what_cannot_be_confirmed_is_said(project: Project) -> None:
    project.write("sweep.yaml", "program: train.py\nmethod: grid\nparameters: {x: {values: [1]}}\n")
    project.write("train.py", "")
    project.create()
    assert "has no metric" in project.mistake("confirm", "latest")
    project.work_off(
        "program: train.py\nmethod: grid\nmetric: {name: m}\nparameters: {x: {values: [1]}}\n", "pass\n"
    )
    assert "no trial has a finite score" in project.mistake("confirm", "latest")
    project.write("sweep.yaml", SPEC)
    project.create()
    assert "3 of 3 seeds cannot choose" in project.mistake(
        "confirm", "latest", "--seeds", "3", "--choose", "3"
    )


def test_the_expected_best_and_where_it_is_refused(project: Project) -> None:
    spec = SPEC.replace("method: grid", "method: random\nrun_cap: 4")
    project.work_off(spec, TRAIN)
    said = project.sweep("best", "latest", "--expected")
    assert "EXPECTED BEST loss" in said and said.splitlines()[1].startswith("1 ")
    assert len(project.json("best", "latest", "--expected")["rows"]) == 4
    project.work_off(SPEC, TRAIN)
    assert "`method: grid` took the points of a grid" in project.mistake("best", "latest", "--expected")


def test_output_that_names_the_report_metric_and_an_execution_again_are_looks(project: Project) -> None:
    spec = SPEC.replace("values: [", "values: [", 1)
    program = TRAIN + 'print("x" * 70_000)\nprint("test_loss is", run.config.x + 1 if run.config.x else "")\n'
    program = program.replace('print("test_loss is"', 'if run.config.x > 0.15: print("test_loss is"')
    project.work_off(spec, program)
    quiet, loud = (
        next(run["id"] for run in project.runs() if (run["config"]["x"] > 0.15) is spoken)
        for spoken in (False, True)
    )
    project.sweep("logs", quiet)
    assert project.status().looks == 0
    for _ in range(2):
        assert "test_loss is" in project.sweep("logs", loud)
        assert project.status().looks == 1
    project.sweep("fetch", loud, "--output", "--out", "output.log")
    assert project.status().looks == 2
    project.sweep("reproduce", quiet)
    assert project.status().looks == 3
