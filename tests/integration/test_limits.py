"""Runs that are ended: by a limit, by early stopping. Whatever they started is gone afterwards."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.integration.conftest import Project

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
HEAD = "program: train.py\nmethod: grid\nmetric: {name: loss, goal: minimize}\n"
# Ignores SIGTERM, and so do its children, one of them in a session of its own.
STUBBORN = """
import signal, subprocess, sys, time
import sweep
signal.signal(signal.SIGTERM, signal.SIG_IGN)
run = sweep.init()
child = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
for kwargs in ({}, {"start_new_session": True}):
    made = subprocess.Popen([sys.executable, "-S", "-c", child], stdout=subprocess.PIPE, **kwargs)
    made.stdout.readline()
run.log({"loss": 1.0})
time.sleep(600)
"""


def no_process_left(project: Project, sweep: str) -> None:
    assert project.processes(f"SWEEP_ID={sweep}") == []


@linux
@pytest.mark.parametrize("limit", ["run_time", "no_progress"])
def test_a_limit_ends_even_what_ignores_sigterm(project: Project, limit: str) -> None:
    spec = HEAD + f"parameters: {{x: {{value: 1}}}}\nlimits: {{{limit}: 4s, kill_after: 0.5s}}\n"
    [run] = project.work_off(spec, STUBBORN, code=3)
    no_process_left(project, run["sweep"])
    assert run["state"] == "failed"
    assert run["error_class"] == limit
    assert run["reason"].startswith(f"limits.{limit}: it ")
    assert run["exit_code"] == -9
    assert run["objective"] == 1.0
    assert 4.4 <= run["duration_s"] < 60


def test_progress_is_what_counts_for_no_progress(project: Project) -> None:
    train = """
import time, sweep
run = sweep.init()
for i in range(10):
    time.sleep(0.5)
    run.log({"loss": i})
"""
    spec = HEAD + "parameters: {x: {value: 1}}\nlimits: {no_progress: 4s}\n"
    [run] = project.work_off(spec, train)
    assert run["state"] == "completed"
    assert run["duration_s"] > 4


@linux
def test_wall_time_ends_the_sweep(project: Project) -> None:
    spec = HEAD + "parameters: {x: {min: 1, max: 50}}\nlimits: {wall_time: 5s, kill_after: 0.5s}\n"
    runs = project.work_off(spec, STUBBORN)
    status = project.json("status", "latest")
    assert status["state"] == "ended"
    assert status["reason"] == "limits.wall_time (5 s) is over"
    assert {run["state"] for run in runs} == {"cancelled"}
    assert any(run["attempt"] for run in runs)
    no_process_left(project, status["id"])


def test_a_killed_run_is_a_failed_one(project: Project) -> None:
    train = "import os, signal, sweep\nrun = sweep.init()\nrun.log({'loss': 3})\nos.kill(os.getpid(), signal.SIGSEGV)\n"
    [run] = project.work_off(HEAD + "parameters: {x: {value: 1}}\n", train, code=3)
    assert (run["state"], run["exit_code"], run["error_class"]) == ("failed", -11, "signal")
    assert run["reason"] == "killed by SIGSEGV"
    assert run["objective"] == 3.0


@linux
def test_children_that_outlive_their_run_are_ended(project: Project) -> None:
    train = """
import subprocess, sweep
run = sweep.init()
subprocess.Popen(["sleep", "600"], start_new_session=True)
run.log({"loss": 1})
"""
    runs = project.work_off(HEAD + "parameters: {x: {values: [1, 2]}}\n", train)
    assert [run["state"] for run in runs] == ["completed", "completed"]
    assert max(run["duration_s"] for run in runs) < 60
    no_process_left(project, runs[0]["sweep"])


# Run 0 and 1 are good and quick; the others report worse values and wait to be told to end.
PRUNED = """
import json, os, signal, sys, time
import sweep
run = sweep.init(config={"way": os.environ["WAY"]}, stop="raise" if os.environ["WAY"] == "raise" else "signal")
folder = run.checkpoint_dir
def save(why):
    (folder / "saved.json").write_text(json.dumps([time.time(), why]))
if os.environ["WAY"] == "handler":
    def on_term(*_):
        save("SIGTERM")
        sys.exit(0)
    signal.signal(signal.SIGTERM, on_term)
if run.config.x >= 3:
    while not os.path.exists("go"):
        time.sleep(0.02)
try:
    for step in range(1, 4):
        run.log({"loss": run.config.x + 1 / step})
    if run.config.x < 3:
        if run.config.x == 2:
            open("go", "w").close()
        sys.exit(0)
    for step in range(4, 400):
        time.sleep(0.1)
        run.log({"loss": run.config.x + 1 / step})
except sweep.Pruned as pruned:
    save(pruned.reason)
    run.log({"after": 1})
    raise
"""
HYPERBAND = (
    "parameters: {x: {values: [0, 1, 2, 50]}}\nearly_terminate: {type: hyperband, min_iter: 3, eta: 3}\nseed: 1\n"
    "env: {WAY: '${envvar:WAY}'}\nlimits: {kill_after: 20s}\n"
)


@pytest.mark.parametrize("way", ["raise", "handler", "nothing"])
def test_hyperband_ends_a_poor_run_at_once(project: Project, way: str) -> None:
    runs = project.work_off(HEAD + HYPERBAND, PRUNED, "--slots", "1", WAY=way)
    good, poor = runs[:3], runs[3]
    # Iteration 3 is a band and their last: one that is told before its process has ended counts as pruned.
    assert {run["state"] for run in good} <= {"completed", "pruned"}
    assert poor["state"] == "pruned"
    assert "worse" in poor["reason"] or "best" in poor["reason"]
    assert poor["objective"] == pytest.approx(50 + 1 / poor["steps"])
    assert poor["steps"] < 300  # it is about 4; slow machines are not what is tested
    saved = Path(poor["folder"]) / "checkpoint" / "saved.json"
    if way == "raise":
        assert poor["reason"] in saved.read_text().encode().decode("unicode_escape")
        assert poor["summary"]["after"] == 1
        assert poor["exit_code"] == 1  # a program need not catch it
    elif way == "handler":
        assert "SIGTERM" in saved.read_text()
        assert poor["exit_code"] == 0
    else:
        assert not saved.exists()
        assert poor["exit_code"] == -15
    best = project.json("best", "latest")
    assert best["config"]["x"] == 0


def test_why_a_run_was_pruned_is_shown(project: Project) -> None:
    found = project.work_off(HEAD + HYPERBAND, PRUNED, "--slots", "1", WAY="nothing")
    assert "pruned" in project.sweep("runs", "latest")
    shown = project.sweep("show", found[3]["id"])
    assert f"is pruned ({found[3]['reason']})" in shown
