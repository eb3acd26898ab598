"""How runs, agents and sweeps end: limits, signals, people's commands, mistakes."""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import Any

import pytest

from tests.integration.conftest import Project

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")

SPEC = """
program: train.py
method: grid
metric: {name: loss}
parameters: {x: {values: [0, 1, 2]}}
"""
SLOW = "import sweep, time\nrun = sweep.init()\nrun.log({'loss': run.config.x})\ntime.sleep(60)\n"
QUICK = "import sweep\nrun = sweep.init()\nrun.log({'loss': run.config.x})\n"
RESUMES = """
import sweep, time
run = sweep.init()
mark = run.checkpoint_dir / "seen"
if not mark.exists():
    mark.write_text("x")
    run.log({"loss": 9})
    time.sleep(60)
run.log({"loss": run.attempt})
"""


def created(project: Project, train: str, spec: str = SPEC) -> str:
    project.write("train.py", train)
    project.write("sweep.yaml", spec)
    return project.create()


def states(project: Project, sweep: str) -> list[str]:
    return [run["state"] for run in project.json("runs", sweep)]


def running(project: Project, sweep: str) -> int:
    return sum(
        run["state"] == "running" and run["objective"] is not None for run in project.json("runs", sweep)
    )


def last_attempts(project: Project, sweep: str) -> list[dict[str, Any]]:
    return [run["attempts"][-1] for run in project.json("runs", sweep) if run["attempts"]]


# --- limits and failures


def test_limits_end_a_run_and_all_that_it_started(project: Project) -> None:
    train = """
import os, signal, subprocess, time
import sweep
run = sweep.init()
signal.signal(signal.SIGTERM, signal.SIG_IGN)
subprocess.Popen(["sleep", "61"], start_new_session=True)
if run.config.x == 0:
    while True:
        run.log({"loss": 1.0}); time.sleep(0.1)
time.sleep(60)
"""
    limits = "limits: {run_time: 2s, no_progress: 1s, kill_after: 500ms}\n"
    sweep = created(project, train, SPEC.replace("[0, 1, 2]", "[0, 1]") + limits)
    project.sweep("agent", sweep, "--slots", "2")
    by_x = {run["config"]["x"]: run for run in project.json("runs", sweep)}
    assert [by_x[x]["error_class"] for x in (0, 1)] == ["run_time", "no_progress"]
    assert [by_x[x]["exit_code"] for x in (0, 1)] == [-9, -9]
    assert "2 s" in by_x[0]["reason"]
    if sys.platform.startswith("linux"):
        assert project.processes(f"SWEEP_ID={sweep}") == []


def test_wall_time_ends_the_sweep(project: Project) -> None:
    sweep = created(project, SLOW, SPEC + "limits: {wall_time: 2s, kill_after: 1s}\n")
    project.sweep("agent", sweep, "--slots", "1")
    status = project.json("status", sweep)
    assert status["state"] == "ended"
    assert "wall_time" in status["reason"]
    assert set(states(project, sweep)) == {"cancelled"}


def test_a_target_ends_the_sweep(project: Project) -> None:
    spec = SPEC.replace("{name: loss}", "{name: loss, target: 1}").replace("[0, 1, 2]", "[5, 1, 7, 8]")
    sweep = created(project, QUICK, spec)
    project.sweep("agent", sweep, "--slots", "1")
    assert "target" in project.json("status", sweep)["reason"]
    assert states(project, sweep)[:2] == ["completed", "completed"]
    assert "completed" not in states(project, sweep)[2:]


def test_retry_and_the_tail_of_a_failure(project: Project) -> None:
    train = "import sweep\nrun = sweep.init()\nif run.attempt < 3 and run.config.x == 1: raise SystemExit('no luck')\n"
    sweep = created(project, train + "run.log({'loss': 1.0})\n", SPEC + "retry: {max: 2}\n")
    done = project.run("agent", sweep, "--slots", "1")
    assert done.returncode == 0
    assert "| no luck" in done.stderr
    runs = project.json("runs", sweep)
    assert {run["state"] for run in runs} == {"completed"}
    assert sorted(run["attempt"] for run in runs) == [1, 1, 3]


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (SPEC, "boom"),
        (SPEC.replace("program: train.py", "command: [./not-there, '${args}']"), "not-there"),
    ],
)
def test_an_agent_gives_up_where_everything_fails_at_once(project: Project, spec: str, said: str) -> None:
    sweep = created(project, "raise SystemExit('boom')\n", spec.replace("[0, 1, 2]", "[0, 1, 2, 3, 4, 5]"))
    done = project.run("agent", sweep, "--slots", "1")
    assert done.returncode == 3
    assert said in done.stderr
    assert "first 3 runs failed" in done.stderr
    assert states(project, sweep).count("failed") == 3
    assert project.json("status", sweep)["state"] == "active"


def test_a_loud_and_binary_program_does_no_harm(project: Project) -> None:
    train = "import os, sys\nfor _ in range(200): os.write(1, os.urandom(100_000))\nassert sys.stdin.read() == ''\n"
    sweep = created(project, train)
    project.sweep("agent", sweep)
    assert set(states(project, sweep)) == {"completed"}
    shown = project.folder / ".sweep" / "runs" / sweep / "0" / "output-1.log"
    assert shown.stat().st_size == 20_000_000


# --- signals


def test_ctrl_c_once_lets_runs_finish(project: Project) -> None:
    sweep = created(project, SLOW.replace("60", "3"))
    agent = project.agent(sweep, "--slots", "1")
    project.wait_for(lambda: running(project, sweep) == 1)
    agent.send_signal(signal.SIGINT)
    assert agent.wait(30) == 130
    assert states(project, sweep).count("completed") == 1
    assert "letting runs finish" in project.agent_output()
    project.sweep("agent", sweep)
    assert set(states(project, sweep)) == {"completed"}


@pytest.mark.parametrize("times", [2, 3])
def test_ctrl_c_again_ends_runs(project: Project, times: int) -> None:
    train = ("import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n" if times == 3 else "") + SLOW
    sweep = created(project, train)
    agent = project.agent(sweep, "--slots", "2")
    project.wait_for(lambda: running(project, sweep) == 2)
    for _ in range(times):
        agent.send_signal(signal.SIGINT)
        time.sleep(0.3)
    assert agent.wait(30) == 130
    assert {attempt["outcome"] for attempt in last_attempts(project, sweep)} == {"preempted"}


def test_sigterm_preempts_and_the_next_agent_goes_on(project: Project) -> None:
    sweep = created(project, RESUMES)
    agent = project.agent(sweep, "--slots", "3")
    project.wait_for(lambda: running(project, sweep) == 3)
    agent.send_signal(signal.SIGTERM)
    assert agent.wait(30) == 143
    assert {attempt["outcome"] for attempt in last_attempts(project, sweep)} == {"preempted"}
    project.sweep("agent", sweep)
    runs = project.json("runs", sweep)
    assert {(run["state"], run["attempt"], run["objective"]) for run in runs} == {("completed", 2, 2.0)}


@linux
def test_a_killed_agent_leaves_nothing_and_loses_nothing(project: Project) -> None:
    sweep = created(project, RESUMES)
    agent = project.agent(sweep, "--slots", "3")
    project.wait_for(lambda: running(project, sweep) == 3)
    agent.send_signal(signal.SIGKILL)
    agent.wait()
    project.wait_for(lambda: not project.processes(f"SWEEP_ID={sweep}"), timeout=30)
    project.sweep("agent", sweep)
    runs = project.json("runs", sweep)
    assert {(run["state"], run["attempt"]) for run in runs} == {("completed", 2)}
    assert {run["attempts"][0]["outcome"] for run in runs} == {"lost"}


# --- people


def test_pause_and_resume_under_an_agent(project: Project) -> None:
    sweep = created(
        project, QUICK + "import time; time.sleep(0.5)\n", SPEC.replace("[0, 1, 2]", "[0, 1, 2, 3, 4, 5]")
    )
    agent = project.agent(sweep, "--slots", "1")
    project.wait_for(lambda: "completed" in states(project, sweep))
    assert "paused" in project.sweep("pause", sweep)
    time.sleep(1.5)
    before = states(project, sweep).count("completed")
    time.sleep(1.5)
    assert states(project, sweep).count("completed") == before < 6
    project.sweep("resume", sweep)
    assert agent.wait(60) == 0
    assert states(project, sweep) == ["completed"] * 6


def test_stop_lets_running_runs_finish(project: Project) -> None:
    sweep = created(project, SLOW.replace("60", "3"))
    agent = project.agent(sweep, "--slots", "1")
    project.wait_for(lambda: running(project, sweep) == 1)
    project.sweep("stop", sweep)
    assert agent.wait(30) == 0
    assert sorted(states(project, sweep)) == ["cancelled", "cancelled", "completed"]
    project.sweep("resume", sweep)
    project.sweep("agent", sweep)
    assert states(project, sweep) == ["completed"] * 3


def test_cancel_ends_running_runs(project: Project) -> None:
    sweep = created(project, SLOW)
    agent = project.agent(sweep, "--slots", "2")
    project.wait_for(lambda: running(project, sweep) == 2)
    project.sweep("cancel", sweep)
    assert agent.wait(30) == 0
    assert project.json("status", sweep)["state"] == "ended"
    assert set(states(project, sweep)) == {"cancelled"}


def test_people_need_no_agent(project: Project) -> None:
    sweep = created(project, QUICK)
    assert project.json("pause", sweep)["state"] == "paused"
    assert project.json("resume", sweep)["state"] == "active"
    assert project.json("stop", sweep)["state"] == "ended"
    assert "has ended" in project.run("agent", sweep).stderr
    assert project.json("resume", sweep)["state"] == "active"
    assert project.json("cancel", sweep)["state"] == "ended"


def test_count_and_slots(project: Project) -> None:
    sweep = created(project, QUICK)
    project.sweep("agent", sweep, "--count", "2", "--slots", "1", "--gpus", "none")
    assert states(project, sweep).count("completed") == 2
    assert project.json("status", sweep)["state"] == "active"


# --- mistakes


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("agent", "nope"), "no sweep"),
        (("show", "latest-99"), "no run 99"),
        (("runs", "latest", "--filter", "los < 3"), "column 1"),
        (("runs", "latest", "--sort", "objectiv"), "objective"),
        (("plot", "latest", "--format", "gif"), "html"),
        (("creat", "sweep.yaml"), "did you mean `sweep create`"),
        (("create", "missing.yaml"), "missing.yaml"),
        (("create", "bad.yaml"), "bad.yaml:4:"),
        (("agent", "latest", "--gpus", "7"), "7"),
        (("ls", "--store", "redis://localhost"), "Redis"),
        (("best", "latest"), "no best run"),
        (("import", "sweep.yaml"), "line 1"),
        (("agent", "latest", "--slots", "0"), "--slots"),
    ],
)
def test_mistakes_are_told_in_words(project: Project, command: tuple[str, ...], said: str) -> None:
    created(project, QUICK)
    project.write("bad.yaml", "program: train.py\nmethod: grid\nparameters:\n  lr: {min: 0.1, max: 0.01}\n")
    done = project.run(*command)
    assert done.returncode == 2, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_without_a_store_there_is_advice(project: Project) -> None:
    done = project.run("ls")
    assert done.returncode == 2
    assert "sweep create" in done.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written(project: Project) -> None:
    project.write("sweep.yaml", SPEC)
    project.folder.chmod(0o500)
    try:
        done = project.run("create", "sweep.yaml")
    finally:
        project.folder.chmod(0o700)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
