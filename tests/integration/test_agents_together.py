"""Several agents on one store, and agents that are killed."""

from __future__ import annotations

import os
import signal
import sys
from collections import Counter

import pytest

from tests.integration.conftest import DOOMED, Project
from tests.integration.test_chaos import guards

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
# Goes on from its checkpoint until the file `go` is there.
STEADY = """
import os, time, sweep
run = sweep.init()
saved = run.checkpoint_dir / "step"
print("found a checkpoint" if saved.exists() else "began anew")
for step in range(10_000):
    run.log({"loss": 1.0})
    saved.touch()
    if os.path.exists("go"):
        break
    time.sleep(0.05)
"""
SPEC = "program: train.py\nmethod: grid\nmetric: {name: loss}\nparameters: {x: {values: [1, 2, 3, 4]}}\n"


def test_two_agents_started_together_do_each_point_once(project: Project) -> None:
    project.write(
        "sweep.yaml",
        "command: [sh, -c, 'echo \"$SWEEP_RUN_ID $0\" >> witness', '${args_no_hyphens}']\nmethod: grid\n"
        "parameters: {x: {min: 1, max: 20}, y: {min: 1, max: 10}}\n",
    )
    sweep = project.create()
    project.sweep("pause", sweep)  # so that neither is done before the other one is there
    agents = [project.agent(sweep, "--slots", "2") for _ in range(2)]
    project.wait_for(lambda: len(project.json("status", sweep)["agents"]) == 2)
    project.sweep("resume", sweep)
    for agent in agents:
        project.wait_end(agent)
    runs = project.runs(sweep)
    assert len(runs) == 200
    assert {(run["state"], run["attempt"]) for run in runs} == {("completed", 1)}
    assert Counter((run["config"]["x"], run["config"]["y"]) for run in runs) == {
        (x, y): 1 for x in range(1, 21) for y in range(1, 11)
    }
    witness = Counter((project.folder / "witness").read_text().splitlines())
    assert witness == {f"{run['id']} x={run['config']['x']}": 1 for run in runs}
    assert len({run["attempts"][0]["agent"] for run in runs}) == 2
    [one, two] = project.json("status", sweep)["agents"]
    assert {one["state"], two["state"]} == {"left"}


def begin(project: Project) -> str:
    project.write("train.py", STEADY)
    project.write("sweep.yaml", SPEC)
    return project.create()


@linux
def test_a_new_agent_goes_on_where_a_killed_one_was(project: Project) -> None:
    sweep = begin(project)
    agent = project.agent(sweep, "--slots", "2", **DOOMED)
    project.wait_running(sweep, 2)
    agent.kill()
    agent.wait()
    project.wait_for(lambda: not project.processes(f"SWEEP_ID={sweep}"))
    project.write("go", "")
    project.sweep("agent", sweep)
    runs = project.runs(sweep)
    assert [run["state"] for run in runs] == ["completed"] * 4
    for run in runs[:2]:
        assert [a["outcome"] for a in run["attempts"]] == ["lost", "completed"]
        assert project.sweep("logs", run["id"]) == "found a checkpoint\n"
        assert project.sweep("logs", run["id"], "--attempt", "1") == "began anew\n"
    assert sorted(a["state"] for a in project.json("status", sweep)["agents"]) == ["left", "lost"]


@linux
def test_another_agent_takes_over_from_a_killed_one(project: Project) -> None:
    """The one that led is killed; the other one is the controller then, and does the rest."""
    sweep = begin(project)
    first = project.agent(sweep, "--slots", "1", **DOOMED)
    project.wait_running(sweep, 1)
    second = project.agent(sweep, "--slots", "1")
    project.wait_running(sweep, 2)
    first.kill()
    first.wait()
    project.write("go", "")
    project.wait_end(second)
    runs = project.runs(sweep)
    assert [run["state"] for run in runs] == ["completed"] * 4
    assert Counter(len(run["attempts"]) for run in runs) == {1: 3, 2: 1}


@linux
def test_runs_start_again_when_the_guard_is_killed(project: Project) -> None:
    sweep = begin(project)
    agent = project.agent(sweep, "--slots", "2")
    project.wait_running(sweep, 2)
    before = set(project.processes(f"SWEEP_ID={sweep}"))
    [guard] = guards(agent.pid)
    os.kill(guard, signal.SIGKILL)
    project.wait_for(lambda: [run["attempt"] for run in project.wait_running(sweep, 2)] == [2, 2])
    assert not before & set(project.processes(f"SWEEP_ID={sweep}"))
    assert guards(agent.pid) != [guard]
    project.write("go", "")
    said = project.wait_end(agent)
    assert "the guard process died; its runs start again" in said
    runs = project.runs(sweep)
    assert [run["state"] for run in runs] == ["completed"] * 4
    assert [a["outcome"] for a in runs[0]["attempts"]] == ["lost", "completed"]


@linux
def test_a_frozen_agent_finds_its_runs_given_away(project: Project) -> None:
    """Stopped (Ctrl-Z) for longer than its lease: another agent has its runs, and when it wakes up it joins anew."""
    sweep = begin(project)
    frozen = project.agent(sweep, "--slots", "1", **DOOMED)
    project.wait_running(sweep, 1)
    frozen.send_signal(signal.SIGTSTP)
    # Its guard ends what it had before anybody else may have it.
    project.wait_for(lambda: not project.processes(f"SWEEP_ID={sweep}"))
    other = project.agent(sweep, "--slots", "1")
    project.wait_for(lambda: any(run["attempt"] == 2 for run in project.wait_running(sweep, 1)))
    frozen.send_signal(signal.SIGCONT)
    project.write("go", "")
    for agent in (frozen, other):
        project.wait_end(agent)
    runs = project.runs(sweep)
    assert [run["state"] for run in runs] == ["completed"] * 4
    assert [a["outcome"] for a in runs[0]["attempts"]] == ["lost", "completed"]


@linux
def test_what_agent_and_guard_leave_behind_is_ended_before_a_run_starts_again(project: Project) -> None:
    """Killed in the same moment, nobody ends their runs; the next agent on this machine does."""
    sweep = begin(project)
    agent = project.agent(sweep, "--slots", "1", **DOOMED)
    project.wait_running(sweep, 1)
    [guard] = guards(agent.pid)
    agent.send_signal(signal.SIGSTOP)  # so that it does not notice the death of its guard
    os.kill(guard, signal.SIGKILL)
    agent.kill()
    agent.wait()
    assert project.processes("SWEEP_ATTEMPT=1") != []
    second = project.agent(sweep, "--slots", "1")
    project.wait_for(lambda: any(run["attempt"] == 2 for run in project.wait_running(sweep, 1)))
    assert project.processes("SWEEP_ATTEMPT=1") == []
    project.write("go", "")
    assert "had left behind" in project.wait_end(second)
    assert [run["state"] for run in project.runs(sweep)] == ["completed"] * 4
