"""`pause`, `resume`, `stop` and `cancel`, with and without an agent at work; `--count` and `--slots`."""

from __future__ import annotations

import sys

import pytest

from tests.integration.conftest import Project

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
SPEC = "program: train.py\nmethod: grid\nmetric: {name: loss}\nparameters: {x: {values: [1, 2, 3, 4, 5]}}\n"
# Works until the file `go` is there.
TRAIN = """
import os, time, sweep
run = sweep.init()
run.log({"loss": run.config.x})
while not os.path.exists("go"):
    time.sleep(0.02)
"""


def make(project: Project, spec: str = SPEC) -> str:
    project.write("train.py", TRAIN)
    project.write("sweep.yaml", spec)
    return project.create()


def state(project: Project, sweep: str) -> str:
    return project.status(sweep).state


def states(project: Project, sweep: str) -> list[str]:
    return [run["state"] for run in project.runs(sweep)]


def test_pause_and_resume_under_a_living_agent(project: Project) -> None:
    sweep = make(project)
    agent = project.agent(sweep, "--slots", "1")
    project.wait_running(sweep)
    assert f"sweep {sweep} is paused; `sweep resume {sweep}` goes on" in project.sweep("pause", sweep)
    project.wait_for(lambda: "the sweep is paused" in project.agent_output())
    project.write("go", "")
    project.wait_for(lambda: states(project, sweep)[0] == "completed")
    assert states(project, sweep).count("completed") == 1
    assert agent.poll() is None
    assert "is paused, as before" in project.sweep("pause", sweep)
    assert f"`sweep agent {sweep}` works on it" in project.sweep("resume", sweep)
    said = project.wait_end(agent)
    assert "the sweep goes on" in said
    assert states(project, sweep) == ["completed"] * 5


def test_an_agent_that_starts_on_a_paused_sweep_says_how_it_goes_on(project: Project) -> None:
    project.write("go", "")
    sweep = make(project)
    project.sweep("pause", sweep)
    agent = project.agent(sweep)
    project.wait_for(
        lambda: f"the sweep is paused: no run starts until `sweep resume {sweep}`" in project.agent_output()
    )
    assert states(project, sweep) == []
    project.sweep("resume", sweep)
    project.wait_end(agent)
    assert states(project, sweep) == ["completed"] * 5


def test_stop_lets_runs_finish(project: Project) -> None:
    sweep = make(project)
    agent = project.agent(sweep, "--slots", "2")
    project.wait_running(sweep, 2)
    assert "ends when its running runs do" in project.sweep("stop", sweep)
    assert agent.poll() is None
    assert state(project, sweep) == "finishing"
    project.write("go", "")
    project.wait_end(agent)
    assert state(project, sweep) == "ended"
    assert states(project, sweep)[:2] == ["completed", "completed"]
    assert set(states(project, sweep)[2:]) <= {"cancelled"}
    # It can be taken up again.
    assert f"`sweep agent {sweep}` works on it" in project.sweep("resume", sweep)
    project.sweep("agent", sweep)
    assert states(project, sweep) == ["completed"] * 5
    assert [run["attempt"] for run in project.runs(sweep)] == [1] * 5
    assert [run["config"]["x"] for run in project.runs(sweep)] == [1, 2, 3, 4, 5]


@linux
def test_cancel_ends_runs(project: Project) -> None:
    sweep = make(project)
    agent = project.agent(sweep, "--slots", "2")
    project.wait_running(sweep, 2)
    said = project.sweep("cancel", sweep)
    assert "is ending its runs" in said or "has ended" in said  # it may be quick
    project.wait_end(agent)
    assert project.processes(f"SWEEP_ID={sweep}") == []
    assert state(project, sweep) == "ended"
    assert set(states(project, sweep)) == {"cancelled"}
    one = project.runs(sweep)[0]
    assert one["attempts"][0]["outcome"] == "cancelled"
    assert "cancelled" in one["reason"]
    assert one["objective"] == 1
    # The rest is done after a resume; what was running is not begun again.
    project.write("go", "")
    project.sweep("resume", sweep)
    project.sweep("agent", sweep)
    assert states(project, sweep) == ["cancelled"] * 2 + ["completed"] * 3
    assert "cancelled" in project.sweep("runs", sweep, "--filter", "state == 'cancelled'")


@pytest.mark.parametrize("how", ["stop", "cancel"])
def test_without_an_agent_it_is_done_at_once(project: Project, how: str) -> None:
    sweep = make(project)
    project.write("go", "")
    project.sweep("agent", sweep, "--count", "2")
    assert f"sweep {sweep} has ended" in project.sweep(how, sweep)
    status = project.json("status", sweep)
    assert status["state"] == "ended"
    assert status["reason"].startswith({"stop": "stopped", "cancel": "cancelled"}[how])
    assert project.run("agent", sweep).returncode == 0
    assert states(project, sweep).count("completed") == 2
    again = project.json(how, sweep)
    assert (again["state"], again["was"]) == ("ended", "ended")
    assert project.json("resume", sweep)["state"] == "active"
    project.sweep("agent", sweep)
    assert states(project, sweep) == ["completed"] * 5


def test_pause_without_an_agent_holds_for_the_next_one(project: Project) -> None:
    sweep = make(project)
    project.write("go", "")
    facts = project.json("pause", sweep)
    assert facts == {"id": sweep, "state": "paused", "was": "active", "reason": facts["reason"]}
    agent = project.agent(sweep)
    project.wait_for(lambda: "the sweep is paused" in project.agent_output())
    assert project.runs(sweep) == []
    project.sweep("resume", sweep)
    project.wait_end(agent)
    assert states(project, sweep) == ["completed"] * 5


def test_an_ended_sweep_is_not_run_again(project: Project) -> None:
    sweep = make(project)
    project.write("go", "")
    project.sweep("agent", sweep)
    assert f"sweep {sweep} has ended already" in project.sweep("pause", sweep)
    assert f"sweep {sweep} has ended already (all 5 points" in project.sweep("resume", sweep)
    project.sweep("agent", sweep)
    assert states(project, sweep) == ["completed"] * 5
    assert state(project, sweep) == "ended"


def test_count_is_how_many_runs_an_agent_takes(project: Project) -> None:
    sweep = make(project)
    project.write("go", "")
    for count, done in ((1, 1), (3, 4)):
        said = project.run("agent", sweep, "--count", str(count))
        assert said.returncode == 0
        assert states(project, sweep).count("completed") == done
        assert state(project, sweep) == "active"
    project.sweep("agent", sweep, "--count", "3")
    assert state(project, sweep) == "ended"


def test_slots_are_how_many_run_at_once(project: Project) -> None:
    sweep = make(project)
    agent = project.agent(sweep, "--slots", "3", "--gpus", "none")
    project.wait_running(sweep, 3)
    running = project.json("status", sweep)["running"]
    assert sorted(run["slot"] for run in running) == [0, 1, 2]
    text = project.sweep("status", sweep)
    assert text.count("  running   ") == 3
    assert "3 slots" in text
    project.write("go", "")
    project.wait_end(agent)
    assert states(project, sweep) == ["completed"] * 5


def test_more_slots_than_the_node_has_room_for(project: Project) -> None:
    sweep = make(project, SPEC + "resources: {cpus: 100000}\n")
    assert "each run needs 100000 CPUs, this node has" in project.mistake("agent", sweep)
    sweep = make(project, SPEC + "resources: {gpus: 1}\n")
    assert "each run needs 1 GPU, this node has none" in project.mistake("agent", sweep, "--gpus", "none")
